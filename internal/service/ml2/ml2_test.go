package ml2

import (
	"context"
	"log/slog"
	"testing"

	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/resource/resourcetest"
	"neutrino/internal/store"
	"neutrino/internal/store/dbtest"

	"github.com/google/uuid"
)

var ctx = context.Background()

// admin and member are callers of the project "p".
var (
	admin  = &identity.Caller{ProjectID: "p", IsAdmin: true}
	member = &identity.Caller{ProjectID: "p"}
)

type env struct {
	t       testing.TB
	db      *store.DB
	plugin  *Plugin
	catalog *model.Catalog
}

func testConfig() Config {
	return Config{
		TenantNetworkTypes: []string{"vxlan"}, MechanismDrivers: []string{"linuxbridge", "l2population"},
		VNIRanges: []Range{{1, 50}}, VLANRanges: []SegmentRange{{"physnet1", Range{100, 102}}, {"physnet2", Range{}}},
		FlatNetworks: []string{"physnet1"},
	}
}

func newEnv(t testing.TB, db *store.DB, cfg Config) *env {
	t.Helper()
	catalog := model.NewCatalog(func(string) bool { return true })
	e := &env{t: t, db: db, plugin: New(cfg, db, catalog, slog.New(slog.DiscardHandler)), catalog: catalog}
	if err := e.plugin.Start(ctx); err != nil {
		t.Fatal(err)
	}
	return e
}

func setUp(t testing.TB) *env { return newEnv(t, dbtest.Open(t), testConfig()) }

// body is a request's attributes.
type body = map[string]any

func (e *env) tryNetwork(attrs body) (*model.Network, error) {
	return resourcetest.Create(e.db, e.catalog.Networks, e.plugin.Networks(), admin, attrs)
}

func (e *env) trySubnet(attrs body) (*model.Subnet, error) {
	return resourcetest.Create(e.db, e.catalog.Subnets, e.plugin.Subnets(), admin, attrs)
}

func (e *env) tryPort(attrs body) (*model.Port, error) {
	return resourcetest.Create(e.db, e.catalog.Ports, e.plugin.Ports(), admin, attrs)
}

func must[R any](e *env, f func(body) (*R, error), attrs body) *R {
	e.t.Helper()
	r, err := f(attrs)
	if err != nil {
		e.t.Fatalf("%v: %v", attrs, err)
	}
	return r
}

func (e *env) network(kv ...any) *model.Network { return must(e, e.tryNetwork, with(body{}, kv...)) }

func (e *env) subnet(n *model.Network, cidr string, kv ...any) *model.Subnet {
	version := 4
	for _, c := range cidr {
		if c == ':' {
			version = 6
		}
	}
	return must(e, e.trySubnet, with(body{"network_id": n.ID, "cidr": cidr, "ip_version": num(version)}, kv...))
}

func (e *env) port(n *model.Network, kv ...any) *model.Port {
	return must(e, e.tryPort, with(body{"network_id": n.ID}, kv...))
}

func with(b body, kv ...any) body {
	for i := 0; i+1 < len(kv); i += 2 {
		b[kv[i].(string)] = kv[i+1]
	}
	return b
}

// reread gets an object as the database has it.
func reread[R any](e *env, r *resource.Resource[R], id string) *R {
	e.t.Helper()
	var obj *R
	err := e.db.Read(ctx, func(tx *store.Tx) (err error) {
		obj, err = r.Get(tx, admin, id, r.All)
		return err
	})
	if err != nil {
		e.t.Fatal(err)
	}
	return obj
}

func (e *env) count(query string, args ...any) (n int) {
	e.t.Helper()
	err := e.db.Read(ctx, func(tx *store.Tx) (err error) {
		n, _, err = store.One[int](tx.QueryRow(query, args...))
		return err
	})
	if err != nil {
		e.t.Fatal(err)
	}
	return n
}

func (e *env) exec(query string, args ...any) {
	e.t.Helper()
	err := e.db.Write(ctx, func(tx *store.Tx) error { _, err := tx.Exec(query, args...); return err })
	if err != nil {
		e.t.Fatal(err)
	}
}

// agent registers a living agent.
func (e *env) agent(host, kind, configurations string) string {
	e.t.Helper()
	id := uuid.NewString()
	e.exec("INSERT INTO agents (id, agent_type, "+e.db.Dialect().Quote("binary")+", topic, host, admin_state_up, created_at, started_at, heartbeat_timestamp, "+
		"configurations, \"load\", availability_zone) VALUES (?, ?, 'b', 't', ?, ?, ?, ?, ?, ?, 0, 'nova')",
		id, kind, host, true, store.Now(), store.Now(), store.Now(), configurations)
	return id
}
