package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// attacker sends what no client sends and watches the server.
type attacker struct {
	*env
	client *http.Client
}

// slowest is how long an answer to bad input may take, also on a busy machine.
const slowest = 20 * time.Second

// raw sends a request and fails if the answer is an error of the server, late or missing.
func (a *attacker) raw(what, method, path string, body []byte) (status int, answer []byte) {
	a.Helper()
	ctx, cancel := context.WithTimeout(a.Context(), slowest)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, a.url+path, bytes.NewReader(body))
	if err != nil {
		a.Errorf("%s %s %s: %v", what, method, cut(path), err)
		return 0, nil
	}
	req.Header.Set("X-Project-Id", "p")
	start := time.Now()
	resp, err := a.client.Do(req)
	if err != nil {
		a.Errorf("%s %s %s: %v", what, method, cut(path), err)
		return 0, nil
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	took := time.Since(start)
	upstreams := bytes.Contains(answer, []byte("NetworkTunnelRangeError")) // for which upstream's status is 500, too
	if err != nil || resp.StatusCode >= 500 && resp.StatusCode != http.StatusNotImplemented && !upstreams {
		a.Errorf("%s %s %s: %d %s %v", what, method, cut(path), resp.StatusCode, cut(string(answer)), err)
	}
	if took > time.Second {
		a.Logf("%s %s %s: %d after %v", what, method, cut(path), resp.StatusCode, took)
	}
	return resp.StatusCode, answer
}

func cut(s string) string { return s[:min(len(s), 300)] }

// target is a kind of object that is attacked.
type target struct {
	path, name string
	attrs      map[string]any // of one that can be created
	id         string
	now        map[string]any // as the API shows it
}

// targets makes an object of each kind.
func (a *attacker) targets() []*target {
	a.Helper()
	made := map[string]*target{}
	var all []*target
	add := func(path, name string, attrs map[string]any) *target {
		a.Helper()
		t := &target{path: path, name: name, attrs: attrs}
		t.now = a.post(path, name, attrs)
		t.id = t.now["id"].(string)
		made[name] = t
		all = append(all, t)
		return t
	}
	network := add("/networks", "network", map[string]any{"name": "n"})
	outside := a.post("/networks", "network", map[string]any{"name": "outside", "router:external": true})["id"]
	a.post("/subnets", "subnet", map[string]any{"network_id": outside, "ip_version": 4, "cidr": "203.0.113.0/24"})
	add("/subnets", "subnet", map[string]any{"network_id": network.id, "ip_version": 4, "cidr": "10.0.0.0/8"})
	add("/ports", "port", map[string]any{"network_id": network.id})
	add("/address-scopes", "address_scope", map[string]any{"name": "s", "ip_version": 4})
	add("/subnetpools", "subnetpool", map[string]any{"name": "s", "prefixes": []any{"10.0.0.0/8"}, "default_prefixlen": 24})
	add("/security-groups", "security_group", map[string]any{"name": "g"})
	add("/security-group-rules", "security_group_rule", map[string]any{"security_group_id": made["security_group"].id, "direction": "ingress"})
	add("/address-groups", "address_group", map[string]any{"name": "g", "addresses": []any{"10.0.0.0/24"}})
	add("/default-security-group-rules", "default_security_group_rule", map[string]any{"direction": "ingress", "protocol": "tcp", "used_in_default_sg": true, "used_in_non_default_sg": true})
	add("/routers", "router", map[string]any{"name": "r"})
	add("/floatingips", "floatingip", map[string]any{"floating_network_id": outside})
	add("/rbac-policies", "rbac_policy", map[string]any{"object_type": "network", "object_id": network.id, "action": "access_as_shared", "target_tenant": "*"})
	add("/flavors", "flavor", map[string]any{"name": "f", "service_type": "L3_ROUTER_NAT"})
	add("/service_profiles", "service_profile", map[string]any{"metainfo": "m"})
	add("/metering/metering-labels", "metering_label", map[string]any{"name": "m"})
	add("/metering/metering-label-rules", "metering_label_rule", map[string]any{"metering_label_id": made["metering_label"].id, "remote_ip_prefix": "10.0.0.0/8", "direction": "ingress"})
	add("/segments", "segment", map[string]any{"network_id": network.id, "network_type": "vxlan"})
	add("/network-segment-ranges", "network_segment_range", map[string]any{"name": "r", "network_type": "vxlan", "minimum": 1000, "maximum": 2000, "shared": true})
	add("/qos/policies", "policy", map[string]any{"name": "q"})
	return all
}

// evil are values that fit no attribute, or fit it in a way that nobody means.
func evil() map[string]json.RawMessage {
	list := func(n int, element func(i int) string) json.RawMessage {
		b := []byte{'['}
		for i := range n {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, element(i)...)
		}
		return append(b, ']')
	}
	address := func(i int) string { return fmt.Sprintf("10.%d.%d.%d", 1+i>>16, i>>8&255, i&255) }
	return map[string]json.RawMessage{
		"null": json.RawMessage("null"), "true": json.RawMessage("true"), "object": json.RawMessage(`{"": {"a": [1]}}`), "empty": json.RawMessage("{}"),
		"huge":     json.RawMessage("1e999"),
		"tiny":     json.RawMessage("-1e-999"),
		"fraction": json.RawMessage("1.5"), "minus": json.RawMessage("-1"),
		"64 bits": json.RawMessage("9223372036854775808"), "32 bits": json.RawMessage("2147483648"), "1e15": json.RawMessage("1e15"),
		"digits":    json.RawMessage(strings.Repeat("9", 100_000)),
		"exponent":  json.RawMessage("1e1000000000"),
		"text":      json.RawMessage(`"` + strings.Repeat("x", 3<<20) + `"`),
		"NUL":       json.RawMessage(`"\u0000"`),
		"surrogate": json.RawMessage(`"\ud800"`),
		"nested":    json.RawMessage(strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000)),
		"deep":      json.RawMessage(strings.Repeat(`{"a":`, 9_000) + "1" + strings.Repeat("}", 9_000)),
		"numbers":   list(100_000, func(i int) string { return fmt.Sprint(i) }),
		"same":      list(100_000, func(int) string { return `"x"` }),
		"addresses": list(100_000, func(i int) string { return `"` + address(i) + `"` }),
		"prefixes":  list(100_000, func(i int) string { return `"` + address(i) + `/32"` }),
		"uuids":     list(100_000, func(i int) string { return fmt.Sprintf(`"00000000-0000-4000-8000-%012d"`, i) }),
		"objects":   list(100_000, func(i int) string { return fmt.Sprintf(`{"a":%d}`, i) }),
		"fixed IPs": list(100_000, func(i int) string { return fmt.Sprintf(`{"ip_address":%q}`, address(i)) }),
		"routes":    list(20_000, func(i int) string { return fmt.Sprintf(`{"destination":"%s/32","nexthop":"10.0.0.9"}`, address(i)) }),
		"pools":     list(20_000, func(i int) string { return fmt.Sprintf(`{"start":%q,"end":%[1]q}`, address(i)) }),
		"options":   list(20_000, func(i int) string { return fmt.Sprintf(`{"opt_name":"%d","opt_value":"%[1]d"}`, i) }),
		"tags":      list(20_000, func(i int) string { return fmt.Sprintf(`"t%d"`, i) }),
		"gateway": json.RawMessage(`{"network_id":"00000000-0000-4000-8000-000000000000","external_fixed_ips":` +
			string(list(100_000, func(i int) string { return fmt.Sprintf(`{"ip_address":%q}`, address(i)) })) + `}`),
		"segments": list(30_000, func(i int) string {
			return fmt.Sprintf(`{"provider:network_type":"vxlan","provider:segmentation_id":%d,"provider:physical_network":null}`, i+1)
		}),
	}
}

// long are the lists for the attributes that hold such.
var long = map[string]string{"allocation_pools": "pools", "extra_dhcp_opts": "options", "security_groups": "uuids", "fixed_ips": "fixed IPs",
	"allowed_address_pairs": "fixed IPs", "host_routes": "routes", "routes": "routes", "dns_nameservers": "addresses", "prefixes": "prefixes",
	"addresses": "prefixes", "tags": "tags", "service_types": "tags", "availability_zone_hints": "tags", "external_gateway_info": "gateway"}

// TestEvilValues gives every attribute of every resource values that do not fit, and lists lists that are too long.
func TestEvilValues(t *testing.T) {
	a := &attacker{env: start(t, "[DEFAULT]", "service_plugins = router,metering,segments,qos,network_segment_range,auto_allocate,flavors",
		"[ml2]", "extension_drivers = port_security,qos,dns_domain_ports,uplink_status_propagation,port_device_profile,port_numa_affinity_policy,port_hints,data_plane_status"), client: &http.Client{}}
	defer a.end()
	defer a.client.CloseIdleConnections()
	values := evil()
	for _, target := range a.targets() {
		one := target.path + "/" + target.id
		for attr := range target.now {
			for name, value := range values {
				if len(value) < 1000 {
					a.raw(name+" for "+attr, "PUT", one, fmt.Appendf(nil, `{%q: {%q: %s}}`, target.name, attr, value))
				}
			}
			name := long[attr]
			if name == "" {
				continue
			}
			rest := []byte{}
			for k, v := range target.attrs {
				if text, err := json.Marshal(v); err == nil && k != attr {
					rest = fmt.Appendf(rest, "%q: %s, ", k, text)
				}
			}
			a.raw(name+" for "+attr, "POST", target.path, fmt.Appendf(nil, `{%q: {%s%q: %s}}`, target.name, rest, attr, values[name]))
			a.raw(name+" for "+attr, "PUT", one, fmt.Appendf(nil, `{%q: {%q: %s}}`, target.name, attr, values[name]))
		}
	}
	for _, query := range []string{strings.Repeat("&sort_key=id&sort_dir=asc", 2000), strings.Repeat("&id=", 15_000), strings.Repeat("&fields=id", 5000),
		strings.Repeat("&fixed_ips=ip_address_substr%3D1", 1500), "&tags=" + strings.Repeat("a,", 30_000), "&limit=99999999999999999999", "&limit=1&marker=%00",
		"&name=%00", "&name=%ff", "&name=%F0%9F%98%80", "&id=%00", "&changed_since=9999999-01-01"} {
		for _, path := range []string{"/ports", "/networks"} {
			a.raw("query", "GET", path+"?"+query[1:], nil)
		}
	}
	for _, name := range []string{"text", "nested", "deep", "numbers", "tags", "objects"} {
		a.raw(name, "POST", "/networks", values[name])
		a.raw(name, "POST", "/networks", fmt.Appendf(nil, `{"networks": %s}`, values[name]))
	}
	a.raw("10 MB", "POST", "/networks", bytes.Repeat([]byte(" "), 10<<20))
}
