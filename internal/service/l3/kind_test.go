package l3

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"neutrino/internal/model"
	"neutrino/internal/store"

	"github.com/google/go-cmp/cmp"
)

// owners lists the ports of a router by owner, sorted.
func (e *env) owners(router string) string {
	e.Helper()
	list := e.column("SELECT p.device_owner FROM ports p JOIN routerports rp ON rp.port_id = p.id AND rp.port_type = p.device_owner WHERE rp.router_id = ?", router)
	slices.Sort(list)
	for i, o := range list {
		list[i] = strings.TrimPrefix(o, "network:")
	}
	return strings.Join(list, " ")
}

func TestKindOfRouters(t *testing.T) {
	const up, down = "BadRequest", ""
	for _, c := range []struct {
		name, before string
		change       body
		owners       string // after the change
		class        string
	}{
		{"stays", "", body{"distributed": nil, "ha": nil}, "router_interface", down},
		{"becomes distributed", "down", body{"distributed": true}, "router_interface_distributed", down},
		{"not while it is up", "", body{"distributed": true}, "router_interface", up},
		{"not even when it goes down", "", body{"distributed": true, "admin_state_up": false}, "router_interface", up},
		{"becomes available", "", body{"ha": true, "admin_state_up": false}, "ha_router_replicated_interface router_ha_interface router_ha_interface", down},
		{"not while up", "down", body{"ha": true, "admin_state_up": true}, "router_interface", up},
		{"loses availability", "down ha", body{"ha": false}, "router_interface", down},
		{"becomes central", "down distributed", body{"distributed": false}, "router_interface", down},
		{"both", "down", body{"distributed": true, "ha": true}, "router_ha_interface router_interface_distributed", down},
		{"from both, as upstream", "down distributed ha", body{"distributed": false}, "router_ha_interface router_ha_interface router_interface", down},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := setUp(t)
			e.agent("h1", 0, "z", `{"agent_mode": "legacy"}`)
			e.agent("h2", 0, "z", `{"agent_mode": "dvr_snat"}`)
			has := func(word string) bool { return strings.Contains(c.before, word) }
			r, err := e.tryRouter(admin, body{"distributed": has("distributed"), "ha": has("ha"), "admin_state_up": !has("down")})
			if err != nil {
				t.Fatal(err)
			}
			e.connect(r, e.subnet(e.network(member, nil), "10.0.0.0/24", nil))
			_, err = e.updateRouter(r.ID, c.change)
			e.wantClass(err, c.class)
			if got := e.owners(r.ID); got != c.owners {
				t.Errorf("ports: %s; want %s", got, c.owners)
			}
			wantNetworks := 0
			if strings.Contains(c.owners, "router_ha_interface") {
				wantNetworks = 1
			}
			if got := len(e.column("SELECT network_id FROM ha_router_networks")); got != wantNetworks {
				t.Errorf("%d HA networks, want %d", got, wantNetworks)
			}
			if got := len(e.column("SELECT network_id FROM ha_router_vrid_allocations")); got != wantNetworks {
				t.Errorf("%d VRIDs, want %d", got, wantNetworks)
			}
		})
	}
}

func (e *env) wantClass(err error, class string) {
	e.Helper()
	if class == "" && err != nil || class != "" && (err == nil || !strings.HasPrefix(err.Error(), class)) {
		e.Errorf("got %v, want %q", err, class)
	}
}

func TestSNATPorts(t *testing.T) {
	x := newSite(setUp(t))
	r, err := x.tryRouter(admin, body{"distributed": true})
	if err != nil {
		t.Fatal(err)
	}
	x.connect(r, x.subnet(x.network(member, nil), "10.5.0.0/24", nil))
	want := func(owners string) {
		t.Helper()
		if got := x.owners(r.ID); got != owners {
			t.Errorf("ports: %s; want %s", got, owners)
		}
	}
	want("router_interface_distributed")
	must2 := func(_ *model.Router, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must2(x.updateRouter(r.ID, body{"external_gateway_info": body{"network_id": x.external.ID}}))
	want("router_centralized_snat router_gateway router_interface_distributed")
	other := x.subnet(x.network(member, nil), "10.6.0.0/24", nil)
	x.connect(r, other)
	want("router_centralized_snat router_centralized_snat router_gateway router_interface_distributed router_interface_distributed")
	if _, err := x.removeInterface(r.ID, body{"subnet_id": other.ID}); err != nil {
		t.Fatal(err)
	}
	want("router_centralized_snat router_gateway router_interface_distributed")
	must2(x.updateRouter(r.ID, body{"external_gateway_info": nil}))
	want("router_interface_distributed")
}

func TestAvailableRoutersAreOnSeveralAgents(t *testing.T) {
	e := setUp(t)
	for i := range 5 {
		e.agent(fmt.Sprintf("h%d", i), 0, fmt.Sprintf("z%d", i%2), `{"agent_mode": "legacy"}`)
	}
	r, err := e.tryRouter(admin, body{"ha": true})
	if err != nil {
		t.Fatal(err)
	}
	if got := len(strings.Fields(e.where(r)[0])); got != 3 {
		t.Errorf("on %d agents, want max_l3_agents_per_router", got)
	}
	if got := e.column("SELECT binding_index FROM routerl3agentbindings ORDER BY binding_index"); !cmp.Equal(got, []string{"1", "2", "3"}) {
		t.Errorf("binding_index: %v", got)
	}
	if got := e.owners(r.ID); got != "router_ha_interface router_ha_interface router_ha_interface" {
		t.Errorf("ports: %s", got)
	}
	var states map[string]AgentState
	var ids []string
	host := strings.Fields(e.where(r)[0])[0]
	e.write(func(tx *store.Tx) (err error) {
		if states, err = e.l3.AgentStates(tx, r.ID); err != nil {
			return err
		}
		ids, err = e.l3.RouterIDsOnHost(tx, host)
		return err
	})
	if len(states) != 3 || len(ids) != 0 {
		t.Errorf("states %v; our agents are told to serve %v", states, ids)
	}
	if err := e.deleteRouter(r.ID); err != nil {
		t.Fatal(err)
	}
	if left := e.column("SELECT id FROM networks"); len(left) > 0 {
		t.Errorf("left over: networks %v", left)
	}
}
