package server

import (
	"fmt"
	"io"
	"net/http"
	"syscall"
	"testing"
	"time"
)

// BenchmarkPorts measures requests to a whole server with 5000 ports of one network.
func BenchmarkPorts(b *testing.B) {
	e := start(b, "[ml2]", "extension_drivers = port_security,subnet_dns_publish_fixed_ip,data_plane_status,uplink_status_propagation,"+
		"port_device_profile,port_numa_affinity_policy,port_hints,port_trusted,port_hardware_offload_type,dns")
	defer e.end()
	e.do("PUT", "/quotas/p", map[string]any{"quota": map[string]any{"port": -1}})
	network := e.post("/networks", "network", map[string]any{})["id"]
	e.post("/subnets", "subnet", map[string]any{"network_id": network, "ip_version": 4, "cidr": "10.64.0.0/16", "enable_dhcp": false})
	for i := range 100 {
		ports := make([]map[string]any, 50)
		for j := range ports {
			ports[j] = map[string]any{"network_id": network, "name": fmt.Sprint("port", i*50+j)}
		}
		if status, body := e.do("POST", "/ports", map[string]any{"ports": ports}); status != 201 {
			b.Fatal(status, body)
		}
	}
	var one string
	for _, p := range e.get("/ports?fields=id&limit=1", "ports").([]any) {
		one = p.(map[string]any)["id"].(string)
	}
	for _, request := range []struct{ name, path, roles string }{
		{"list", fmt.Sprint("/ports?network_id=", network), "admin"},
		{"list/member", fmt.Sprint("/ports?network_id=", network), "member,reader"},
		{"ids", fmt.Sprint("/ports?fields=id&network_id=", network), "admin"},
		{"ids/member", fmt.Sprint("/ports?fields=id&network_id=", network), "member,reader"},
		{"page", fmt.Sprint("/ports?limit=500&network_id=", network), "admin"},
		{"show", "/ports/" + one, "admin"},
		{"network", fmt.Sprint("/networks/", network), "admin"},
	} {
		b.Run(request.name, func(b *testing.B) {
			b.ReportAllocs()
			defer reportProcessor(b)()
			for b.Loop() {
				req, err := http.NewRequestWithContext(b.Context(), "GET", e.url+request.path, nil)
				if err != nil {
					b.Fatal(err)
				}
				req.Header = http.Header{"X-Project-Id": {"p"}, "X-Roles": {request.roles}}
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					b.Fatal(err)
				}
				n, err := io.Copy(io.Discard, resp.Body)
				if err != nil || resp.StatusCode != 200 {
					b.Fatal(resp.Status, err)
				}
				resp.Body.Close()
				b.SetBytes(n)
			}
		})
	}
	b.Run("create", func(b *testing.B) {
		defer reportProcessor(b)()
		for b.Loop() {
			e.post("/ports", "port", map[string]any{"network_id": network})
		}
	})
}

// reportProcessor tells the processor time of an operation, client included: on a busy machine it says more than the clock.
func reportProcessor(b *testing.B) func() {
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := used()
	return func() { b.ReportMetric(float64(used()-before)/float64(time.Millisecond)/float64(b.N), "cpu-ms/op") }
}
