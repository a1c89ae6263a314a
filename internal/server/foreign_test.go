package server

import (
	"fmt"
	"testing"
)

// TestForeignNetworks: policy decides who may put a port or subnet on a network of another project. About a port it looks
// the network up as the project, to which a hidden one does not exist; about a subnet it only asks whose it is.
func TestForeignNetworks(t *testing.T) {
	e := start(t)
	network := func(attrs map[string]any) string {
		return fmt.Sprint(e.post("/networks", "network", attrs)["id"])
	}
	hidden := network(map[string]any{"project_id": "other"})
	external := network(map[string]any{"project_id": "other", "router:external": true})
	shared := network(map[string]any{"project_id": "other", "shared": true})
	own := network(map[string]any{})
	for _, tc := range []struct {
		name, id string
		want     int
		message  string
	}{
		{"hidden", hidden, 404, "Network " + hidden + " could not be found."},
		{"external", external, 403, "rule:create_port is disallowed by policy"},
		{"shared", shared, 201, ""},
		{"own", own, 201, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			status, body := e.do("POST", "/ports", map[string]any{"port": map[string]any{"network_id": tc.id}}, "member")
			message := ""
			if f, ok := body["NeutronError"].(map[string]any); ok {
				message = fmt.Sprint(f["message"])
			}
			if status != tc.want || message != tc.message {
				t.Errorf("port: %d %q, want %d %q", status, message, tc.want, tc.message)
			}
		})
	}
	if status, body := e.do("POST", "/subnets", map[string]any{"subnet": map[string]any{"network_id": hidden, "ip_version": 4, "cidr": "10.0.0.0/24"}},
		"member"); status != 403 {
		t.Errorf("subnet: %d %v", status, body)
	}
}
