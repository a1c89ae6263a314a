package l3

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"neutrino/internal/model"
	"neutrino/internal/rpc"

	"github.com/google/go-cmp/cmp"
)

func (x *site) sync(host string, ids ...string) []rpc.Router {
	x.Helper()
	list, err := x.l3.SyncRouters(ctx, host, ids, nil)
	return must(x.env, list, err)
}

func TestSyncRouters(t *testing.T) {
	x := newSite(setUp(t))
	more := x.subnet(x.internal, "10.0.1.0/24", body{"dns_nameservers": []any{"9.9.9.9", "1.1.1.1"}})
	x.agent("h1", 0, "z", "{}")
	x.bridgeAgent("h1")
	x.schedule()
	server := x.server("10.0.0.30")
	f := x.floatingIP(body{"floating_network_id": x.external.ID, "floating_ip_address": "203.0.113.50", "port_id": server.ID})
	x.floatingIP(body{"floating_network_id": x.external.ID}) // unused: of no interest
	if err := x.setRoutes(route("10.5.0.0/16", "10.0.0.9")); err != nil {
		t.Fatal(err)
	}
	got := x.sync("h1")
	raw, err := json.MarshalIndent(got, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	gw, in := got[0].GatewayPort, got[0].Interfaces[0]
	for id, name := range map[string]string{x.gateway.ID: "ROUTER", x.external.ID: "EXTERNAL", x.internal.ID: "INTERNAL", x.public.ID: "PUBLIC", x.private.ID: "PRIVATE",
		more.ID: "MORE", server.ID: "SERVER", f.ID: "FIP", gw.ID: "GW", in.ID: "IF", gw.MACAddress: "GW-MAC", in.MACAddress: "IF-MAC", gw.FixedIPs[0].IPAddress: "GW-IP",
		gw.UpdatedAt: "TIME", in.UpdatedAt: "TIME"} {
		text = strings.ReplaceAll(text, id, name)
	}
	want, err := os.ReadFile("testdata/router.json")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), text+"\n"); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// An agent that asks for some floating IPs is told of no others, and nothing of those that are no longer its router's.
func TestSyncOfSomeFloatingIPs(t *testing.T) {
	x := newSite(setUp(t))
	x.agent("h1", 0, "z", "{}")
	x.bridgeAgent("h1")
	x.schedule()
	var all []string
	for i := range 3 {
		server := x.server(fmt.Sprintf("10.0.0.%d", 30+i))
		all = append(all, x.floatingIP(body{"floating_network_id": x.external.ID, "port_id": server.ID}).ID)
	}
	unused := x.floatingIP(body{"floating_network_id": x.external.ID}).ID
	for _, tt := range []struct{ ask, want []string }{
		{nil, all}, {all[1:2], all[1:2]}, {[]string{all[2], unused, missing}, all[2:]}, {[]string{missing}, nil},
	} {
		list, err := x.l3.SyncRouters(ctx, "h1", []string{x.gateway.ID}, tt.ask)
		got := must(x.env, list, err)
		ids := map[string]bool{}
		for _, f := range got[0].FloatingIPs {
			ids[f.ID] = true
		}
		want := map[string]bool{}
		for _, id := range tt.want {
			want[id] = true
		}
		if diff := cmp.Diff(want, ids); diff != "" || got[0].GatewayPort == nil || len(got[0].Interfaces) == 0 {
			t.Errorf("asked for %v (-want +got):\n%s", tt.ask, diff)
		}
	}
}

func TestSyncBindsPorts(t *testing.T) {
	x := newSite(setUp(t))
	for _, h := range []string{"h1", "h2"} {
		x.agent(h, 0, "z", "{}")
		x.bridgeAgent(h)
	}
	x.exec("UPDATE agents SET admin_state_up = ? WHERE host = ? AND agent_type = ?", false, "h2", rpc.AgentTypeL3)
	x.schedule()
	hosts := func() []string {
		return x.column("SELECT DISTINCT b.host || ' ' || b.vif_type FROM ml2_port_bindings b JOIN routerports rp ON rp.port_id = b.port_id")
	}
	got := x.sync("h1")
	for _, p := range []*rpc.Port{got[0].GatewayPort, &got[0].Interfaces[0]} {
		if p.HostID != "h1" || p.VIFType != "bridge" {
			t.Errorf("port %s is on %q as %q", p.DeviceOwner, p.HostID, p.VIFType)
		}
	}
	if diff := cmp.Diff([]string{"h1 bridge"}, hosts()); diff != "" {
		t.Errorf("bindings (-want +got):\n%s", diff)
	}
	x.exec("UPDATE agents SET admin_state_up = ? WHERE host = ?", true, "h2")
	x.exec("UPDATE routerl3agentbindings SET l3_agent_id = (SELECT id FROM agents WHERE host = 'h2' AND agent_type = ?)", rpc.AgentTypeL3)
	if got := x.sync("h1"); len(got) > 0 {
		t.Errorf("the old host still gets %d routers", len(got))
	}
	x.sync("h2")
	if diff := cmp.Diff([]string{"h2 bridge"}, hosts()); diff != "" {
		t.Errorf("bindings after the move (-want +got):\n%s", diff)
	}
}

func TestSyncLeavesOut(t *testing.T) {
	x := newSite(setUp(t))
	x.agent("h1", 0, "z", "{}")
	x.bridgeAgent("h1")
	off := x.router(body{"admin_state_up": false})
	second := x.router(nil)
	x.schedule()
	ids := func(list []rpc.Router) map[string]bool {
		out := map[string]bool{}
		for _, r := range list {
			out[r.ID] = true
		}
		return out
	}
	for _, c := range []struct {
		name string
		ask  []string
		want []*model.Router
	}{
		{"all that are on", nil, []*model.Router{x.gateway, second}},
		{"the asked for", []string{second.ID, missing}, []*model.Router{second}},
		{"switched off", []string{off.ID}, nil},
	} {
		want := map[string]bool{}
		for _, r := range c.want {
			want[r.ID] = true
		}
		if diff := cmp.Diff(want, ids(x.sync("h1", c.ask...))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
	_, err := x.l3.SyncRouters(ctx, "nowhere", nil, nil)
	expect(t, err, 404, "AgentNotFoundByTypeHost", "Agent with agent_type=L3 agent and host=nowhere could not be found.")
	x.exec("UPDATE agents SET admin_state_up = ? WHERE agent_type = ?", false, rpc.AgentTypeL3)
	if got := x.sync("h1"); len(got) > 0 {
		t.Errorf("an agent that is switched off gets %d routers", len(got))
	}
}

// TestSyncIsBounded: a sync that changes nothing takes as many statements for many routers as for one, and only reads.
func TestSyncIsBounded(t *testing.T) {
	x := newSite(setUp(t))
	x.agent("h1", 0, "z", "{}")
	x.bridgeAgent("h1")
	grow := func(i int) {
		r := x.router(body{"external_gateway_info": body{"network_id": x.external.ID}})
		n := x.network(member, nil)
		x.connect(r, x.subnet(n, fmt.Sprintf("10.%d.0.0/24", i), nil))
		x.floatingIP(body{"floating_network_id": x.external.ID, "port_id": x.port(n, nil).ID})
	}
	grow(100)
	x.schedule()
	x.sync("h1") // binds
	few := x.statements(func() { x.sync("h1") })
	for i := range 15 {
		grow(i + 1)
	}
	x.sync("h1")
	if many := x.statements(func() { x.sync("h1") }); many != few {
		t.Errorf("%d statements for 2 routers, %d for 17", few, many)
	}
}
