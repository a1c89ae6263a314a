package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"neutrino/internal/bus"
	"neutrino/internal/daemon"
	"neutrino/internal/rpc"
	"neutrino/internal/store/dbtest"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

// env is a running server.
type env struct {
	testing.TB
	server *Server
	url    string
	bus    bus.Transport
	token  string // sent with requests, if it is not empty
	end    func() // stops the daemon as the init system does, and waits
}

// start runs a server whose configuration is told more about in the last lines.
func start(t testing.TB, more ...string) *env {
	t.Helper()
	dir := t.TempDir()
	d, err := daemon.New(daemon.Options{Program: "neutron-server", Underlay: `
[DEFAULT]
host = server1
auth_strategy = noauth
bind_host = 127.0.0.1
bind_port = 0
core_plugin = ml2
service_plugins = router
log_dir = ` + dir + `
[database]
connection = ` + dbtest.SharedURL(t) + `
[ml2]
type_drivers = local,flat,vlan,vxlan
project_network_types = vxlan
mechanism_drivers = linuxbridge,l2population
extension_drivers = port_security
[ml2_type_vxlan]
vni_ranges = 1:100
[neutrino]
bus_listen =
` + strings.Join(more, "\n")})
	if err != nil {
		t.Fatal(err)
	}
	s, err := Start(d)
	if err != nil {
		t.Fatal(err)
	}
	agentBus, err := s.Connect("agents")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- d.Run() }()
	e := &env{TB: t, server: s, url: "http://" + s.APIAddress().String() + "/v2.0", bus: agentBus}
	e.end = func() {
		t.Helper()
		e.get("/networks", nil) // it runs, so the signal will be heard
		if err := syscall.Kill(syscall.Getpid(), syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
		agentBus.Close()
		s.Close()
		d.Close()
	}
	return e
}

// do sends a request and returns status and body.
// plain is a body that is sent as it is, whether JSON or not.
type plain string

func (e *env) do(method, path string, body any, roles ...string) (int, map[string]any) {
	e.Helper()
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if raw, isText := body.(plain); isText {
			b, err = []byte(raw), nil
		}
		if err != nil {
			e.Fatal(err)
		}
		in = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(e.Context(), method, e.url+path, in)
	if err != nil {
		e.Fatal(err)
	}
	req.Header.Set("X-Project-Id", "p")
	if e.token != "" {
		req.Header.Set("X-Auth-Token", e.token)
	}
	if len(roles) > 0 {
		req.Header.Set("X-Roles", strings.Join(roles, ","))
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		e.Fatal(err)
	}
	defer resp.Body.Close()
	var out map[string]any
	raw, _ := io.ReadAll(resp.Body)
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &out); err != nil {
			e.Fatalf("%s %s: %s", method, path, raw)
		}
	}
	return resp.StatusCode, out
}

// get reads and returns what is under key; nil key means the whole body.
func (e *env) get(path string, key any) any {
	e.Helper()
	status, body := e.do("GET", path, nil)
	if status != 200 {
		e.Fatalf("GET %s: %d %v", path, status, body)
	}
	if key == nil {
		return body
	}
	return body[key.(string)]
}

// post creates and returns the object.
func (e *env) post(kind, name string, attrs map[string]any) map[string]any {
	e.Helper()
	status, body := e.do("POST", kind, map[string]any{name: attrs})
	if status != 201 {
		e.Fatalf("POST %s: %d %v", kind, status, body)
	}
	return body[name].(map[string]any)
}

func (e *env) report(kind, host string, configurations map[string]any) {
	e.Helper()
	var args rpc.ReportStateArgs
	args.AgentState.AgentState = rpc.AgentState{Binary: "b", Host: host, AgentType: kind, Topic: "t", Configurations: configurations, StartFlag: true}
	args.Time = time.Now().UTC().Format(rpc.TimeFormat)
	if answer, err := rpc.ReportState.Call(e.Context(), e.bus, "", args); err != nil || answer != rpc.AgentNew {
		e.Fatalf("report: %q, %v", answer, err)
	}
}

// TestBoot goes the way of an instance's port from the request to ACTIVE, over HTTP and the bus, and stops the server.
func TestBoot(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	e := start(t)
	defer e.end()
	heard := make(chan string, 100)
	stop, err := e.bus.Serve(rpc.TopicDHCPAgent, "node", func(_ context.Context, m *bus.Message) (any, error) {
		heard <- m.Method
		return nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	e.report(rpc.AgentTypeLinuxBridge, "node", map[string]any{"tunneling_ip": "192.0.2.1", "tunnel_types": []string{"vxlan"}, "l2_population": true,
		"interface_mappings": map[string]string{}})
	e.report(rpc.AgentTypeDHCP, "node", nil)

	network := e.post("/networks", "network", map[string]any{"name": "n"})
	e.post("/subnets", "subnet", map[string]any{"network_id": network["id"], "cidr": "10.0.0.0/24", "ip_version": 4})
	port := e.post("/ports", "port", map[string]any{"network_id": network["id"], "binding:host_id": "node", "device_owner": "compute:nova", "device_id": "vm"})
	for _, want := range []string{"network_create_end", "subnet_create_end", "port_create_end"} {
		select {
		case got := <-heard:
			if got != want {
				t.Errorf("the DHCP agent got %s, want %s", got, want)
			}
		case <-time.After(time.Minute):
			t.Fatalf("the DHCP agent never got %s", want)
		}
	}
	if port["binding:vif_type"] != "bridge" {
		t.Errorf("the port is bound as %v", port["binding:vif_type"])
	}
	id := port["id"].(string)
	if r, err := rpc.GetDevicesDetails.Call(e.Context(), e.bus, "", rpc.DevicesArgs{Devices: []string{"tap" + id[:11]}, Host: "node"}); err != nil ||
		r.Devices[0].PortID != id {
		t.Fatalf("details: %+v, %v", r, err)
	}
	if _, err := rpc.UpdateDeviceList.Call(e.Context(), e.bus, "", rpc.DeviceListArgs{DevicesUp: []string{"tap" + id[:11]}, Host: "node"}); err != nil {
		t.Fatal(err)
	}
	if _, err := rpc.DHCPReadyOnPorts.Call(e.Context(), e.bus, "", rpc.PortIDsArgs{PortIDs: []string{id}}); err != nil {
		t.Fatal(err)
	}
	if got := e.get("/ports/"+id, "port").(map[string]any)["status"]; got != "ACTIVE" {
		t.Errorf("the port is %v", got)
	}
}

func TestAgentsAPI(t *testing.T) {
	e := start(t)
	defer e.end()
	e.report(rpc.AgentTypeDHCP, "node", nil)
	list := func(query string) int { t.Helper(); return len(e.get("/agents"+query, "agents").([]any)) }
	for query, want := range map[string]int{"": 1, "?alive=true": 1, "?alive=False": 0, "?agent_type=L3+agent": 0, "?agent_type=DHCP+Agent": 1, "?host=node": 1} {
		if got := list(query); got != want {
			t.Errorf("GET /agents%s: %d agents, want %d", query, got, want)
		}
	}
	if status, body := e.do("GET", "/agents", nil, "member"); status != 200 || len(body["agents"].([]any)) != 0 {
		t.Errorf("a user sees agents: %d %v", status, body)
	}
	agent := e.get("/agents", "agents").([]any)[0].(map[string]any)
	path := "/agents/" + agent["id"].(string)
	if agent["alive"] != true || agent["admin_state_up"] != true || agent["availability_zone"] != "nova" {
		t.Errorf("%v", agent)
	}
	network := e.post("/networks", "network", map[string]any{"name": "n"})
	other := e.post("/networks", "network", map[string]any{"name": "o", "admin_state_up": false})
	for _, step := range []struct {
		method, path string
		body         any
		status       int
		fault        string
	}{
		{"PUT", path, map[string]any{"agent": map[string]any{"description": "x", "admin_state_up": true}}, 200, ""},
		{"PUT", path, map[string]any{"agent": map[string]any{"host": "x"}}, 400, "HTTPBadRequest"},
		{"POST", path + "/dhcp-networks", map[string]any{"network_id": network["id"]}, 201, ""},
		{"POST", path + "/dhcp-networks", map[string]any{"network_id": network["id"]}, 409, "NetworkHostedByDHCPAgent"},
		{"POST", path + "/dhcp-networks", map[string]any{"network_id": "x"}, 404, "NetworkNotFound"},
		{"GET", path + "/dhcp-networks", nil, 200, ""},
		{"GET", "/agents/x/dhcp-networks", nil, 404, "AgentNotFound"},
		{"GET", "/networks/" + network["id"].(string) + "/dhcp-agents", nil, 200, ""},
		{"DELETE", path + "/dhcp-networks/" + other["id"].(string), nil, 409, "NetworkNotHostedByDhcpAgent"},
		{"DELETE", path + "/dhcp-networks/" + network["id"].(string), nil, 204, ""},
		{"DELETE", path, nil, 204, ""},
		{"GET", path, nil, 404, "AgentNotFound"},
	} {
		status, body := e.do(step.method, step.path, step.body)
		if f, _ := body["NeutronError"].(map[string]any); status != step.status || step.fault != "" && f["type"] != step.fault {
			t.Errorf("%s %s: %d %v, want %d %s", step.method, step.path, status, body, step.status, step.fault)
		}
		if list, ok := body["networks"].([]any); ok && (len(list) != 1 || list[0].(map[string]any)["id"] != network["id"]) {
			t.Errorf("the agent's networks are %v", list)
		}
		if list, ok := body["agents"].([]any); ok && (len(list) != 1 || list[0].(map[string]any)["alive"] != true) {
			t.Errorf("the network's agents are %v", list)
		}
	}
}

func TestQuotasAPI(t *testing.T) {
	e := start(t)
	defer e.end()
	e.post("/networks", "network", map[string]any{"name": "n"})
	e.post("/networks", "network", map[string]any{"name": "m"})
	quota := func(kv ...any) any {
		m := map[string]any{}
		for i := 0; i+1 < len(kv); i += 2 {
			m[kv[i].(string)] = kv[i+1]
		}
		return map[string]any{"quota": m}
	}
	for _, step := range []struct {
		method, path string
		body         any
		roles        []string
		status       int
		want         string // of the quota's network, or the error
	}{
		{"GET", "/quotas/p", nil, nil, 200, "100"},
		{"GET", "/quotas/p", nil, []string{"member"}, 200, "100"},
		{"GET", "/quotas/other", nil, []string{"member"}, 403, "PolicyNotAuthorized"},
		{"GET", "/quotas/other/details", nil, []string{"member"}, 403, "AdminRequired: User does not have admin privileges: Only admin is authorized to access quotas for another project."},
		{"GET", "/quotas/p/details", nil, []string{"member"}, 200, "map[limit:100 reserved:0 used:2]"},
		{"GET", "/quotas/p/default", nil, nil, 200, "100"},
		{"GET", "/quotas/project", nil, nil, 200, ""},
		{"POST", "/quotas", quota(), nil, 501, "HTTPNotImplemented: POST requests are not supported on this resource."},
		{"PUT", "/quotas/p", quota("network", 50), nil, 200, "50"},
		{"PUT", "/quotas/p", quota("network", "60", "check_limit", true), nil, 200, "60"},
		{"PUT", "/quotas/p", quota("network", 1), nil, 400, "HTTPBadRequest: Quota limit 1 for network must be greater than or equal to already used 2"},
		{"PUT", "/quotas/p", quota("network", 1, "force", "true"), nil, 400, "HTTPBadRequest: Quota limit 1 for network must be greater than or equal to already used 2"},
		{"PUT", "/quotas/p", quota("network", 1, "force", true), nil, 200, "1"},
		{"PUT", "/quotas/p", quota("network", -1), nil, 200, "-1"},
		{"PUT", "/quotas/p", quota("network", -2), nil, 400, "HTTPBadRequest: Invalid input for network. Reason: '-2' is too small - must be at least '-1'."},
		{"PUT", "/quotas/p", quota("network", 1<<31), nil, 400, "HTTPBadRequest: Invalid input for network. Reason: '2147483648' is too large - must be no larger than '2147483647'."},
		{"PUT", "/quotas/p", quota("network", "many"), nil, 400, "InvalidInput: Invalid input for operation: 'many' is not an integer."},
		{"PUT", "/quotas/p", quota("ponies", 1, "apples", 2), nil, 400, "HTTPBadRequest: Unrecognized attribute(s) 'apples, ponies'"},
		{"PUT", "/quotas/p", quota("network", 5), []string{"member"}, 403, "PolicyNotAuthorized"},
		{"GET", "/quotas/p/default", nil, nil, 200, "100"},
		{"DELETE", "/quotas/p", nil, nil, 204, ""},
		{"DELETE", "/quotas/p", nil, nil, 404, "TenantQuotaNotFound: Quota for project p could not be found."},
	} {
		status, body := e.do(step.method, step.path, step.body, step.roles...)
		got := ""
		if q, ok := body["quota"].(map[string]any); ok {
			got = fmt.Sprint(q["network"])
		}
		if f, ok := body["NeutronError"].(map[string]any); ok {
			got = fmt.Sprint(f["type"], ": ", f["message"])
		}
		if status != step.status || !strings.HasPrefix(got, step.want) {
			t.Errorf("%s %s %v as %v: %d %s, want %d %s", step.method, step.path, step.body, step.roles, status, got, step.status, step.want)
		}
	}
	if diff := cmp.Diff(map[string]any{"quotas": []any{}}, e.get("/quotas", nil)); diff != "" {
		t.Errorf("quotas of all projects (-want +got):\n%s", diff)
	}
	for _, project := range []string{"p", "other"} {
		if status, body := e.do("PUT", "/quotas/"+project, quota("network", 7)); status != 200 {
			t.Fatalf("set quota of %s: %d %v", project, status, body)
		}
	}
	for role, want := range map[string]int{"admin": 2, "manager": 1} {
		if _, body := e.do("GET", "/quotas", nil, role); len(body["quotas"].([]any)) != want {
			t.Errorf("%s sees %v", role, body["quotas"])
		}
	}
}

// TestWithoutPlugins: what no plug-in adds does not need one.
func TestWithoutPlugins(t *testing.T) {
	e := start(t, "[DEFAULT]", "service_plugins =")
	defer e.end()
	network := e.post("/networks", "network", map[string]any{"name": "n"})["id"].(string)
	subnet := e.post("/subnets", "subnet", map[string]any{"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/24"})["id"].(string)
	port := e.post("/ports", "port", map[string]any{"network_id": network})["id"].(string)
	for _, r := range []struct {
		method, path string
		body         any
		want         int
	}{
		{"PUT", "/ports/" + port, map[string]any{"port": map[string]any{"fixed_ips": []any{map[string]any{"ip_address": "10.0.0.9"}}}}, 200},
		{"DELETE", "/ports/" + port, nil, 204},
		{"DELETE", "/subnets/" + subnet, nil, 204},
		{"DELETE", "/networks/" + network, nil, 204},
	} {
		if status, body := e.do(r.method, r.path, r.body); status != r.want {
			t.Errorf("%s %s: %d %v", r.method, r.path, status, body)
		}
	}
}

// TestNoPortSecurityDriver: without the extension driver port_security, every port has port security.
func TestNoPortSecurityDriver(t *testing.T) {
	e := start(t, "[ml2]", "extension_drivers =")
	defer e.end()
	network := e.post("/networks", "network", map[string]any{"name": "n"})["id"]
	e.post("/subnets", "subnet", map[string]any{"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/24"})
	port := e.post("/ports", "port", map[string]any{"network_id": network})
	if _, shown := port["port_security_enabled"]; shown || len(port["security_groups"].([]any)) != 1 {
		t.Errorf("port %v", port)
	}
	for _, change := range []map[string]any{{"name": "x"},
		{"allowed_address_pairs": []any{map[string]any{"ip_address": "10.0.0.9"}}}, {"security_groups": []any{}}} {
		if status, answer := e.do("PUT", "/ports/"+port["id"].(string), map[string]any{"port": change}); status != http.StatusOK {
			t.Errorf("%v: %d %v", change, status, answer)
		}
	}
}
