package agents

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"neutrino/internal/rpc"
	"neutrino/internal/store"

	"github.com/google/go-cmp/cmp"
)

// served lists network@host, sorted.
func (e *env) served() []string {
	e.Helper()
	return e.strings("SELECT b.network_id || '@' || a.host FROM networkdhcpagentbindings b JOIN agents a ON a.id = b.dhcp_agent_id ORDER BY 1")
}

func (e *env) schedule(network string) {
	e.Helper()
	e.write(func(tx *store.Tx) error { return e.ScheduleNetwork(tx, network) })
}

func TestScheduleNetwork(t *testing.T) {
	for _, tt := range []struct {
		name   string
		cfg    func(*Config)
		hints  string
		agents map[string]string // zone by host
		before func(e *env)
		want   []string
	}{
		{"no agent", nil, "", nil, nil, nil},
		{"one of one", nil, "", map[string]string{"h1": ""}, nil, []string{"n@h1"}},
		{"two of two", func(c *Config) { c.DHCPAgentsPerNetwork = 2 }, "", map[string]string{"h1": "", "h2": ""}, nil, []string{"n@h1", "n@h2"}},
		{"two of one", func(c *Config) { c.DHCPAgentsPerNetwork = 2 }, "", map[string]string{"h1": ""}, nil, []string{"n@h1"}},
		{"not the dead one", nil, "", map[string]string{"h1": "", "h2": ""}, func(e *env) { e.silent("h1", time.Hour) }, []string{"n@h2"}},
		{"not the disabled one", nil, "", map[string]string{"h1": "", "h2": ""},
			func(e *env) { e.exec("UPDATE agents SET admin_state_up = ? WHERE host = 'h2'", false) }, []string{"n@h1"}},
		{"of the hinted zone", nil, `["az2"]`, map[string]string{"h1": "az1", "h2": "az2"}, nil, []string{"n@h2"}},
		{"of the default zone", func(c *Config) { c.DefaultZones = []string{"az1"} }, "", map[string]string{"h1": "az1", "h2": "az2"}, nil, []string{"n@h1"}},
		{"by hand only", func(c *Config) { c.NetworkAutoSchedule = false }, "", map[string]string{"h1": ""}, nil, nil},
		{"the least loaded", nil, "", map[string]string{"h1": "", "h2": ""}, func(e *env) {
			e.network("x", "", true)
			e.exec("INSERT INTO networkdhcpagentbindings (network_id, dhcp_agent_id, binding_index) SELECT 'x', id, 1 FROM agents WHERE host = 'h1'")
		}, []string{"n@h2", "x@h1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := defaults()
			if tt.cfg != nil {
				tt.cfg(&cfg)
			}
			e := setUp(t, cfg)
			for host, zone := range tt.agents {
				e.dhcp(host, zone)
			}
			if tt.before != nil {
				tt.before(e)
			}
			e.network("n", tt.hints, true)
			e.schedule("n")
			e.schedule("n")
			if diff := cmp.Diff(tt.want, e.served()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			want := 0
			for _, s := range tt.want {
				if s[0] == 'n' {
					want++
				}
			}
			if len(e.told) != want {
				t.Errorf("told %v", e.told)
			}
		})
	}
}

func TestAutoSchedule(t *testing.T) {
	cfg := defaults()
	cfg.DHCPAgentsPerNetwork = 2
	e := setUp(t, cfg)
	for i := range 3 {
		e.network(fmt.Sprint("n", i), "", true)
	}
	e.network("static", "", false)
	e.network("far", `["elsewhere"]`, true)
	ask := func(host string) int64 {
		t.Helper()
		before := e.db.Statements()
		e.write(func(tx *store.Tx) error { return e.AutoSchedule(tx, host) })
		return e.db.Statements() - before
	}
	for _, h := range []string{"h1", "h2", "h3"} {
		e.dhcp(h, "")
	}
	ask("unknown")
	e.silent("h3", time.Hour)
	ask("h3")
	if got := e.served(); got != nil {
		t.Errorf("a dead agent serves %v", got)
	}
	few := ask("h1")
	ask("h1")
	ask("h2")
	e.dhcp("h3", "")
	ask("h3")
	want := []string{"n0@h1", "n0@h2", "n1@h1", "n1@h2", "n2@h1", "n2@h2"}
	if diff := cmp.Diff(want, e.served()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := e.strings("SELECT DISTINCT binding_index FROM networkdhcpagentbindings ORDER BY 1"); !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("indexes %v", got)
	}
	for i := range 20 {
		e.network(fmt.Sprint("m", i), "", true)
	}
	if many := ask("h1"); many != few {
		t.Errorf("3 networks took %d statements, 20 took %d", few, many)
	}
	e.write(func(tx *store.Tx) error {
		ids, err := e.NetworksOn(tx, "h1")
		if len(ids) != 23 {
			t.Errorf("h1 serves %d networks", len(ids))
		}
		return err
	})
}

func (e *env) dhcpPort(network, host string) {
	e.Helper()
	e.write(func(tx *store.Tx) error {
		row, err := tx.Insert("INSERT INTO standardattributes (resource_type, revision_number) VALUES ('ports', 1)")
		if err != nil {
			return err
		}
		_, err = tx.Exec("INSERT INTO ports (id, project_id, name, network_id, mac_address, admin_state_up, status, device_id, device_owner, standard_attr_id) "+
			"VALUES (?, 'p', '', ?, ?, ?, 'ACTIVE', ?, 'network:dhcp', ?)", "port-"+host, network, host, true, rpc.DHCPDeviceID(host, network), row)
		return err
	})
}

func TestByHand(t *testing.T) {
	e := setUp(t, defaults())
	h1 := e.dhcp("h1", "")
	e.network("n", "", true)
	e.dhcpPort("n", "h1")
	try := func(f func(tx *store.Tx) error) string {
		if err := e.db.Write(t.Context(), f); err != nil {
			return describe(err)
		}
		return ""
	}
	add := func(id string) string { return try(func(tx *store.Tx) error { return e.AddNetwork(tx, id, "n") }) }
	del := func(id string) string { return try(func(tx *store.Tx) error { return e.RemoveNetwork(tx, id, "n") }) }
	if _, err := e.report(state(rpc.AgentTypeL3, "h1"), time.Now()); err != nil {
		t.Fatal(err)
	}
	l3 := e.strings("SELECT id FROM agents WHERE agent_type = ?", rpc.AgentTypeL3)[0]
	for _, step := range []struct{ name, got, want string }{
		{"an L3 agent", add(l3), "404 InvalidDHCPAgent: Agent " + l3 + " is not a valid DHCP Agent or has been disabled."},
		{"nobody", add("x"), "404 AgentNotFound: Agent x could not be found."},
		{"added", add(h1), ""},
		{"twice", add(h1), "409 NetworkHostedByDHCPAgent: The network n has been already hosted by the DHCP Agent " + h1 + "."},
	} {
		if step.got != step.want {
			t.Errorf("%s: %s, want %s", step.name, step.got, step.want)
		}
	}
	e.exec("UPDATE agents SET admin_state_up = ?", false)
	if got := del(h1); got != "" {
		t.Errorf("a disabled agent can lose its networks: %s", got)
	}
	if got, want := del(h1), "409 NetworkNotHostedByDhcpAgent: The network n is not hosted by the DHCP Agent "+h1+"."; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := e.strings("SELECT device_id FROM ports"); got[0] != rpc.ReservedDHCPPort {
		t.Errorf("the port is %v, want reserved", got)
	}
	if diff := cmp.Diff([]string{"+n@h1", "-n@h1"}, e.told); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestRescheduleDown(t *testing.T) {
	e := setUp(t, defaults())
	e.dhcp("h1", "")
	for _, n := range []string{"n1", "n2"} {
		e.network(n, "", true)
		e.schedule(n)
	}
	e.dhcpPort("n1", "h1")
	e.told = nil
	check := func(what string, want, told []string) {
		t.Helper()
		if err := e.RescheduleDown(t.Context()); err != nil {
			t.Fatal(err)
		}
		slices.Sort(e.told)
		if diff := cmp.Diff(want, e.served()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
		if diff := cmp.Diff(told, e.told); diff != "" {
			t.Errorf("%s, messages (-want +got):\n%s", what, diff)
		}
	}
	before := []string{"n1@h1", "n2@h1"}
	e.silent("h1", time.Hour)
	check("nobody else is there", before, nil)
	e.dhcp("h2", "")
	e.silent("h1", 100*time.Second)
	check("silent, but not for long", before, nil)
	e.silent("h1", time.Hour)
	e.exec("UPDATE agents SET started_at = ? WHERE host = 'h1'", store.Now())
	check("it just started", before, nil)
	e.silent("h1", time.Hour)
	check("dead", []string{"n1@h2", "n2@h2"}, []string{"+n1@h2", "+n2@h2"})
	if got := e.strings("SELECT device_id FROM ports"); got[0] != rpc.ReservedDHCPPort {
		t.Errorf("the port is %v, want reserved", got)
	}
}
