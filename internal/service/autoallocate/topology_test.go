package autoallocate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	"neutrino/internal/fault"
	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/resource/resourcetest"
	"neutrino/internal/service/l3"
	"neutrino/internal/service/ml2"
	"neutrino/internal/service/subnetpool"
	"neutrino/internal/store"
	"neutrino/internal/store/dbtest"

	"github.com/google/go-cmp/cmp"
)

var (
	ctx    = context.Background()
	admin  = &identity.Caller{ProjectID: "admin", IsAdmin: true}
	member = &identity.Caller{ProjectID: "p"}
)

type env struct {
	*testing.T
	db         *store.DB
	catalog    *model.Catalog
	core       *ml2.Plugin
	pools      *subnetpool.Service
	topologies *Service
}

func setUp(t *testing.T) *env {
	log := slog.New(slog.DiscardHandler)
	db := dbtest.Open(t)
	catalog := model.NewCatalog(func(string) bool { return true })
	core := ml2.New(ml2.Config{TenantNetworkTypes: []string{"vxlan"}, VNIRanges: []ml2.Range{{Min: 1, Max: 100}}}, db, catalog, log)
	if err := core.Start(ctx); err != nil {
		t.Fatal(err)
	}
	pools := subnetpool.New(catalog, false)
	core.Hooks.ChoosePool, core.Hooks.SubnetFromPool = pools.Choose, pools.Allocate
	routers := l3.New(l3.Config{EnableSNATByDefault: true}, db, catalog, core, log)
	routers.Notifier = silent{}
	core.Hooks.BeforePort = append(core.Hooks.BeforePort, routers.BeforePort)
	return &env{t, db, catalog, core, pools, New(catalog, Parts{Networks: core.Networks(), Subnets: core.Subnets(), Routers: routers.Routers(),
		AddInterface: routers.AddRouterInterface, RemoveInterface: routers.RemoveRouterInterface})}
}

// silent tells no agents: there are none.
type silent struct{}

func (silent) RoutersUpdated(context.Context, string, []string)            {}
func (silent) FloatingIPUpdated(context.Context, string, []string, string) {}
func (silent) RouterDeleted(context.Context, string, string)               {}
func (silent) RouterRemovedFromAgent(context.Context, string, string)      {}
func (silent) RouterAddedToAgent(context.Context, string, []string)        {}

func (e *env) write(f func(tx *store.Tx) error) {
	e.Helper()
	if err := e.db.Write(ctx, f); err != nil {
		e.Fatal(err)
	}
}

func add[R any](e *env, r *resource.Resource[R], logic resource.Logic[R], attrs map[string]any) *R {
	e.Helper()
	obj, err := resourcetest.Create(e.db, r, logic, admin, attrs)
	if err != nil {
		e.Fatal(err)
	}
	return obj
}

// provide makes what topologies need.
func (e *env) provide() {
	e.Helper()
	n := add(e, e.catalog.Networks, e.core.Networks(), map[string]any{"router:external": true, "is_default": true})
	add(e, e.catalog.Subnets, e.core.Subnets(), map[string]any{"network_id": n.ID, "ip_version": "4", "cidr": "203.0.113.0/24"})
	for _, prefix := range []string{"10.0.0.0/16", "fd00::/48"} {
		add(e, e.catalog.Subnetpools, e.pools.Pools(), map[string]any{"name": "default", "prefixes": []any{prefix}, "is_default": true, "shared": true,
			"default_prefixlen": map[bool]string{true: "24", false: "64"}[prefix[0] == '1']})
	}
}

func (e *env) get() (network string, err error) {
	err = e.db.Write(ctx, func(tx *store.Tx) (err error) {
		network, err = e.topologies.Get(tx, member, "p")
		return err
	})
	return network, err
}

func (e *env) count(table string) (n int) {
	e.Helper()
	err := e.db.Read(ctx, func(tx *store.Tx) error {
		return tx.QueryRow("SELECT COUNT(*) FROM " + table).Scan(&n)
	})
	if err != nil {
		e.Fatal(err)
	}
	return n
}

func wants(t *testing.T, err error, want string) {
	t.Helper()
	got := ""
	if err != nil {
		got = err.Error()
		if f, ok := errors.AsType[*fault.Error](err); ok {
			got = fmt.Sprintf("%d %s", f.Status, f)
		}
	}
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestRequirements(t *testing.T) {
	e := setUp(t)
	check := func() error {
		return e.db.Read(ctx, func(tx *store.Tx) error { return e.topologies.Check(tx, member) })
	}
	const noNetwork = "409 AutoAllocationFailure: Deployment error: No default router:external network."
	wants(t, check(), noNetwork)
	_, err := e.get()
	wants(t, err, noNetwork)
	add(e, e.catalog.Networks, e.core.Networks(), map[string]any{"router:external": true, "is_default": true})
	wants(t, check(), "409 AutoAllocationFailure: Deployment error: No default subnetpools defined.")
	_, err = e.get()
	wants(t, err, "409 AutoAllocationFailure: Deployment error: Unable to provide project private network.")
	if n := e.count("networks"); n != 1 {
		t.Errorf("%d networks: something of the topology is left", n)
	}
}

func TestTopology(t *testing.T) {
	e := setUp(t)
	e.provide()
	first, err := e.get()
	wants(t, err, "")
	again, err := e.get()
	wants(t, err, "")
	if first != again {
		t.Errorf("two networks: %s, %s", first, again)
	}
	var names []string
	e.write(func(tx *store.Tx) (err error) {
		names, err = store.Strings(tx.Query("SELECT name FROM networks WHERE project_id = 'p' UNION SELECT name FROM subnets WHERE project_id = 'p' " +
			"UNION SELECT name FROM routers WHERE project_id = 'p' ORDER BY name"))
		return err
	})
	if d := cmp.Diff([]string{"auto_allocated_network", "auto_allocated_router", "auto_allocated_subnet_v4", "auto_allocated_subnet_v6"}, names); d != "" {
		t.Error(d)
	}
	e.write(func(tx *store.Tx) error { return e.topologies.Delete(tx, member, "p") })
	for table, want := range map[string]int{"networks": 1, "routers": 0, "ports": 0, "auto_allocated_topologies": 0} {
		if n := e.count(table); n != want {
			t.Errorf("%d rows are left in %s, want %d", n, table, want)
		}
	}
	e.write(func(tx *store.Tx) error { return e.topologies.Delete(tx, member, "p") })
}

// Of several requests at the same time one makes the topology, and all get it.
func TestParallelRequests(t *testing.T) {
	e := setUp(t)
	e.provide()
	got := make([]string, 4)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			network, err := e.get()
			if err != nil {
				t.Error(err)
			}
			got[i] = network
		})
	}
	wg.Wait()
	for _, network := range got {
		if network != got[0] {
			t.Errorf("several networks: %v", got)
		}
	}
	if n := e.count("networks"); n != 2 {
		t.Errorf("%d networks, want the external one and one more", n)
	}
}

func TestProject(t *testing.T) {
	s := New(nil, Parts{})
	for _, c := range []struct {
		caller  *identity.Caller
		project string
		want    string
		err     string
	}{
		{member, "p", "p", ""}, {member, "None", "p", ""}, {admin, "p", "p", ""}, {member, "q", "", "403 NotAuthorized: Not authorized."},
	} {
		got, err := s.Project(c.caller, c.project)
		wants(t, err, c.err)
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.project, got, c.want)
		}
	}
}
