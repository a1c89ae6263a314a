package l3

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"neutrino/internal/model"
	"neutrino/internal/store"
	"neutrino/internal/store/dbtest"

	"github.com/google/go-cmp/cmp"
)

const long = time.Hour // since the last report of a dead agent

// where tells which host has which router.
func (e *env) where(routers ...*model.Router) []string {
	e.Helper()
	var out []string
	for _, r := range routers {
		out = append(out, strings.Join(e.column("SELECT a.host FROM routerl3agentbindings b JOIN agents a ON a.id = b.l3_agent_id WHERE b.router_id = ?", r.ID), " "))
	}
	return out
}

func TestChoose(t *testing.T) {
	zone := func(z string) *string { return &z }
	a := func(id string, load int, z string, conf model.Dict) *agent {
		return &agent{&model.Agent{ID: id, AvailabilityZone: zone(z), Configurations: conf}, load}
	}
	for _, c := range []struct {
		name   string
		agents []*agent
		router unplaced
		want   string
	}{
		{"the least loaded", []*agent{a("x", 2, "", nil), a("y", 1, "", nil)}, unplaced{}, "y"},
		{"in a hinted zone", []*agent{a("x", 2, "z1", nil), a("y", 1, "z2", nil)}, unplaced{hints: model.ZoneHints{"z1", "z3"}}, "x"},
		{"no hinted zone", []*agent{a("x", 2, "z1", nil)}, unplaced{hints: model.ZoneHints{"z3"}}, ""},
		{"not on distributed agents", []*agent{a("x", 0, "", model.Dict{"agent_mode": "dvr"}), a("y", 9, "", model.Dict{"agent_mode": "dvr_snat"})}, unplaced{}, "y"},
		{"no internal routers", []*agent{a("x", 0, "", model.Dict{"handle_internal_only_routers": false})}, unplaced{}, ""},
		{"with a gateway", []*agent{a("x", 0, "", model.Dict{"handle_internal_only_routers": false})}, unplaced{gateway: "n"}, "x"},
		{"another external network", []*agent{a("x", 0, "", model.Dict{"gateway_external_network_id": "m"})}, unplaced{gateway: "n"}, ""},
		{"only one router", []*agent{a("x", 0, "", model.Dict{"router_id": "s"})}, unplaced{id: "r"}, ""},
	} {
		got := ""
		for _, p := range choose(c.agents, []unplaced{c.router}) {
			got = p.agent
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestSchedule(t *testing.T) {
	e := setUp(t)
	e.agent("h1", 0, "z", "{}")
	e.agent("h2", 0, "z", "{}")
	e.agent("dead", long, "z", "{}")
	off := e.agent("off", 0, "z", "{}")
	e.exec("UPDATE agents SET admin_state_up = ? WHERE id = ?", false, off)
	var routers []*model.Router
	for i := range 4 {
		r := e.router(nil)
		if got := e.where(r)[0]; got != "" {
			t.Errorf("router without connections is on %s", got)
		}
		e.connect(r, e.subnet(e.network(member, nil), fmt.Sprintf("10.%d.0.0/24", i), nil))
		routers = append(routers, r)
	}
	got := e.where(routers...)
	slices.Sort(got)
	if diff := cmp.Diff([]string{"h1", "h1", "h2", "h2"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if told := e.told.take(); len(told) != 4 || !strings.HasPrefix(told[0], e.where(routers[0])[0]+" updated "+routers[0].ID) {
		t.Errorf("told: %v", told)
	}
}

func TestAutoSchedule(t *testing.T) {
	x := newSite(setUp(t)) // scheduled to nobody
	ids := func(host string) (out []string) {
		x.write(func(tx *store.Tx) (err error) { out, err = x.l3.RouterIDsOnHost(tx, host); return err })
		return out
	}
	dead := x.agent("dead", long, "z", "{}")
	x.agent("h1", 0, "z", "{}")
	for _, c := range []struct {
		host string
		want []string
	}{{"unknown", []string{}}, {"dead", []string{}}, {"h1", []string{x.gateway.ID}}} {
		if diff := cmp.Diff(c.want, ids(c.host)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.host, diff)
		}
	}
	x.exec("UPDATE agents SET heartbeat_timestamp = ? WHERE id = ?", store.Now(), dead)
	if got := ids("dead"); len(got) > 0 {
		t.Errorf("a router that has an agent was given to another: %v", got)
	}
	x.exec("UPDATE agents SET admin_state_up = ? WHERE host = ?", false, "h1")
	if got := ids("h1"); len(got) > 0 {
		t.Errorf("an agent that is switched off gets %v", got)
	}
}

func TestAgentAPI(t *testing.T) {
	x := newSite(setUp(t))
	one, two := x.agent("h1", 0, "z", "{}"), x.agent("h2", 0, "z", "{}")
	dvr, off := x.agent("h3", 0, "z", `{"agent_mode": "dvr"}`), x.agent("h4", 0, "z", "{}")
	x.exec("UPDATE agents SET admin_state_up = ? WHERE id = ?", false, off)
	x.exec("UPDATE agents SET agent_type = 'DHCP agent' WHERE id = ?", x.agent("h5", 0, "z", "{}"))
	dhcp := x.column("SELECT id FROM agents WHERE host = 'h5'")[0]
	add := func(agent, router string) error {
		return x.db.Write(ctx, func(tx *store.Tx) error { return x.l3.AddRouterToAgent(tx, agent, router) })
	}
	drop := func(agent, router string) error {
		return x.db.Write(ctx, func(tx *store.Tx) error { return x.l3.RemoveRouterFromAgent(tx, agent, router) })
	}
	list := func() (out string) {
		err := x.db.Read(ctx, func(tx *store.Tx) error {
			routers, err := x.l3.RoutersOnAgent(tx, one)
			if err != nil {
				return err
			}
			agents, err := x.l3.AgentsHostingRouter(tx, member, x.gateway.ID)
			for _, r := range routers {
				out += fmt.Sprint("router ", r.Name, " gateway ", r.Gateway != nil, " ")
			}
			for _, a := range agents {
				out += fmt.Sprint("agent ", a.Host, " alive ", a.Alive)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	r := x.gateway.ID
	expect(t, add(missing, r), 404, "AgentNotFound", "Agent "+missing+" could not be found.")
	expect(t, add(one, missing), 404, "RouterNotFound", "Router "+missing+" could not be found")
	expect(t, add(dvr, r), 409, "DVRL3CannotAssignToDvrAgent", "Not allowed to manually assign a router to an agent in 'dvr' mode.")
	expect(t, drop(dvr, r), 409, "DVRL3CannotRemoveFromDvrAgent", "Not allowed to manually remove a router from an agent in 'dvr' mode.")
	for _, id := range []string{dhcp, off} {
		expect(t, add(id, r), 404, "InvalidL3Agent", "Agent "+id+" is not a L3 Agent or has been disabled")
	}
	for range 2 {
		if err := add(one, r); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, add(two, r), 409, "RouterHostedByL3Agent", "The router "+r+" has been already hosted by the L3 Agent "+one+".")
	if got, want := list(), "router r gateway true agent h1 alive true"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := drop(one, r); err != nil {
		t.Fatal(err)
	}
	if got := list(); got != "" {
		t.Errorf("after removal: %q", got)
	}
	if diff := cmp.Diff([]string{"h1 added " + r, "h1 removed " + r}, x.told.take()); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	err := x.db.Read(ctx, func(tx *store.Tx) error { _, err := x.l3.RoutersOnAgent(tx, missing); return err })
	expect(t, err, 404, "AgentNotFound", "Agent "+missing+" could not be found.")
}

func TestRescheduleDown(t *testing.T) {
	x := newSite(setUp(t))
	h1 := x.agent("h1", 0, "z", "{}")
	x.schedule()
	x.told.take()
	die := func(host string) {
		x.exec("UPDATE agents SET heartbeat_timestamp = ? WHERE host = ?", store.Time{Time: time.Now().UTC().Add(-long)}, host)
	}
	reschedule := func() {
		t.Helper()
		if err := x.l3.RescheduleDown(ctx); err != nil {
			t.Fatal(err)
		}
	}
	die("h1")
	reschedule()
	if got := x.where(x.gateway)[0]; got != "h1" {
		t.Errorf("without another agent the router went to %q", got)
	}
	x.agent("h2", 0, "z", "{}")
	x.exec("UPDATE agents SET admin_state_up = ? WHERE id = ?", false, h1)
	reschedule()
	if got := x.where(x.gateway)[0]; got != "h1" {
		t.Errorf("from an agent that is switched off the router went to %q", got)
	}
	x.exec("UPDATE agents SET admin_state_up = ? WHERE id = ?", true, h1)
	reschedule()
	reschedule()
	if got := x.where(x.gateway)[0]; got != "h2" {
		t.Errorf("the router is on %q", got)
	}
	if diff := cmp.Diff([]string{"h1 removed " + x.gateway.ID, "h2 added " + x.gateway.ID}, x.told.take()); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

func TestDeletedRouterIsToldToDeadAgentsToo(t *testing.T) {
	e := setUp(t)
	e.agent("h1", 0, "z", "{}")
	r := e.router(nil)
	e.schedule()
	e.exec("UPDATE agents SET heartbeat_timestamp = ?", store.Time{Time: time.Now().UTC().Add(-long)})
	e.told.take()
	if err := e.deleteRouter(r.ID); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"h1 deleted " + r.ID}, e.told.take()); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

// TestServersRaceForRouter: two servers choose agents for the same routers; each router must get exactly one.
func TestServersRaceForRouter(t *testing.T) {
	file := dbtest.SharedURL(t)
	first := newEnv(t, dbtest.OpenURL(t, file))
	servers := []*env{first, newEnv(t, dbtest.OpenURL(t, file))}
	var routers []*model.Router
	for range 10 {
		routers = append(routers, first.router(nil))
	}
	for i := range 4 {
		first.agent(fmt.Sprint("h", i), 0, "z", "{}")
	}
	var all sync.WaitGroup
	for i, e := range servers {
		all.Go(func() {
			for _, r := range routers {
				if err := e.db.Write(ctx, func(tx *store.Tx) error { return e.l3.ScheduleRouter(tx, r.ID) }); err != nil {
					t.Errorf("server %d: %v", i, err)
				}
				if err := e.db.Write(ctx, func(tx *store.Tx) error { _, err := e.l3.RouterIDsOnHost(tx, fmt.Sprint("h", i)); return err }); err != nil {
					t.Errorf("server %d: %v", i, err)
				}
			}
		})
	}
	all.Wait()
	for _, host := range first.where(routers...) {
		if host == "" || strings.Contains(host, " ") {
			t.Errorf("a router is on %q", host)
		}
	}
}

// TestLostRace: a binding that another server wrote in the meantime makes the transaction start again.
func TestLostRace(t *testing.T) {
	e := setUp(t)
	one, two := e.agent("h1", 0, "z", "{}"), e.agent("h2", 0, "z", "{}")
	r := e.router(nil)
	tries := 0
	e.write(func(tx *store.Tx) error {
		if tries++; tries > 1 {
			return nil
		}
		if err := bind(tx, []placement{{router: r.ID, agent: one}}); err != nil {
			return err
		}
		return bind(tx, []placement{{router: r.ID, agent: two}})
	})
	if tries != 2 {
		t.Errorf("%d tries, want 2", tries)
	}
}

func TestScheduleOptions(t *testing.T) {
	for _, c := range []struct {
		name  string
		set   func(*Config)
		attrs body
		want  string // the hosts that may have it
	}{
		{"the least loaded", func(*Config) {}, nil, "h2"},
		{"default zones", func(c *Config) { c.DefaultZones = []string{"z1"} }, nil, "h1"},
		{"own zones win over the default", func(c *Config) { c.DefaultZones = []string{"z1"} }, body{"availability_zone_hints": []any{"z2"}}, "h2"},
		{"no agent in the default zones", func(c *Config) { c.DefaultZones = []string{"z3"} }, nil, ""},
	} {
		e := setUp(t)
		c.set(&e.l3.cfg)
		busy := e.agent("h1", 0, "z1", "{}")
		e.agent("h2", 0, "z2", "{}")
		other := e.router(nil)
		e.exec("INSERT INTO routerl3agentbindings (router_id, l3_agent_id, binding_index) VALUES (?, ?, 1)", other.ID, busy)
		r := e.router(c.attrs)
		e.connect(r, e.subnet(e.network(member, nil), "10.0.0.0/24", nil))
		if got := e.where(r)[0]; got != c.want {
			t.Errorf("%s: on %q, want %q", c.name, got, c.want)
		}
	}
	e := setUp(t)
	e.l3.cfg.ByChance = true
	busy := e.agent("h1", 0, "z", "{}")
	e.agent("h2", 0, "z", "{}")
	for range 3 {
		e.exec("INSERT INTO routerl3agentbindings (router_id, l3_agent_id, binding_index) VALUES (?, ?, 1)", e.router(nil).ID, busy)
	}
	seen := map[string]bool{}
	for i := 0; len(seen) < 2 && i < 60; i++ { // that chance spares one host 60 times is unlikely enough
		e.write(func(tx *store.Tx) error {
			agents, err := e.l3.candidates(tx)
			for _, p := range choose(agents, []unplaced{{id: "r"}}) {
				seen[p.host] = true
			}
			return err
		})
	}
	if len(seen) != 2 {
		t.Errorf("by chance only %v", seen)
	}
}

// TestServicesOnDisabledAgents: with the option a switched off agent keeps its routers, and gets them by hand.
func TestServicesOnDisabledAgents(t *testing.T) {
	for _, serve := range []bool{false, true} {
		x := newSite(setUp(t))
		x.l3.cfg.ServeDisabled = serve
		id := x.agent("h1", 0, "z", "{}")
		x.exec("UPDATE agents SET admin_state_up = ?", false)
		added := x.db.Write(ctx, func(tx *store.Tx) error { return x.l3.AddRouterToAgent(tx, id, x.gateway.ID) }) == nil
		x.exec("DELETE FROM routerl3agentbindings")
		x.exec("INSERT INTO routerl3agentbindings (router_id, l3_agent_id, binding_index) VALUES (?, ?, 1)", x.gateway.ID, id)
		var ids []string
		x.write(func(tx *store.Tx) (err error) { ids, err = x.l3.RouterIDsOnHost(tx, "h1"); return err })
		routers, err := x.l3.SyncRouters(ctx, "h1", nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if added != serve || len(ids) == 1 != serve || len(routers) == 1 != serve {
			t.Errorf("option %v: added by hand %v, ids %v, %d routers", serve, added, ids, len(routers))
		}
	}
}
