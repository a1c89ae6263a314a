package l3

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"neutrino/internal/fault"
	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource/resourcetest"
	"neutrino/internal/rpc"
	"neutrino/internal/service/ml2"
	"neutrino/internal/service/quota"
	"neutrino/internal/store"
	"neutrino/internal/store/dbtest"

	"github.com/google/uuid"
)

var ctx = context.Background()

// Callers of the project "p": an administrator and a user.
var (
	admin  = &identity.Caller{ProjectID: "p", IsAdmin: true}
	member = &identity.Caller{ProjectID: "p"}
)

// env is a server's L3 service with the core plug-in.
type env struct {
	testing.TB
	db      *store.DB
	catalog *model.Catalog
	core    *ml2.Plugin
	l3      *Service
	told    *recorder
}

// recorder notes what agents are told.
type recorder struct {
	mu  sync.Mutex
	log []string
}

func (r *recorder) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = append(r.log, fmt.Sprintf(format, args...))
}

func (r *recorder) RoutersUpdated(_ context.Context, host string, ids []string) {
	r.note("%s updated %s", host, strings.Join(ids, " "))
}

func (r *recorder) FloatingIPUpdated(ctx context.Context, host string, routers []string, id string) {
	if id == "" {
		r.note("no floating IP is named")
	}
	r.RoutersUpdated(ctx, host, routers)
}

func (r *recorder) RouterDeleted(_ context.Context, host, id string) {
	r.note("%s deleted %s", host, id)
}

func (r *recorder) RouterRemovedFromAgent(_ context.Context, host, id string) {
	r.note("%s removed %s", host, id)
}

func (r *recorder) RouterAddedToAgent(_ context.Context, host string, ids []string) {
	r.note("%s added %s", host, strings.Join(ids, " "))
}

// take returns what was noted since the last call.
func (r *recorder) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	log := r.log
	r.log = nil
	return log
}

func newEnv(t testing.TB, db *store.DB) *env {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	catalog := model.NewCatalog(func(string) bool { return true })
	core := ml2.New(ml2.Config{TenantNetworkTypes: []string{"vxlan"}, MechanismDrivers: []string{"linuxbridge"}, VNIRanges: []ml2.Range{{Min: 1, Max: 500}}},
		db, catalog, log)
	if err := core.Start(ctx); err != nil {
		t.Fatal(err)
	}
	e := &env{TB: t, db: db, catalog: catalog, core: core, told: &recorder{}}
	e.l3 = New(Config{EnableSNATByDefault: true, RouterAutoSchedule: true, AutomaticFailover: true, HAAgents: 3, HANetworkCIDR: "169.254.192.0/18"}, db, catalog, core, log)
	e.l3.Notifier, e.l3.Quota = e.told, quota.New(map[string]int{"router_route": 3})
	h := &core.Hooks
	h.BeforeNetwork = append(h.BeforeNetwork, e.l3.BeforeNetwork)
	h.BeforePort = append(h.BeforePort, e.l3.BeforePort)
	h.GuardPortDelete = append(h.GuardPortDelete, e.l3.GuardPortDelete)
	h.GuardFixedIPs = append(h.GuardFixedIPs, e.l3.GuardFixedIPs)
	h.AfterNetwork = append(h.AfterNetwork, e.l3.AfterNetwork)
	h.AfterSubnet = append(h.AfterSubnet, e.l3.AfterSubnet)
	h.AfterPort = append(h.AfterPort, e.l3.AfterPort)
	return e
}

func setUp(t testing.TB) *env { return newEnv(t, dbtest.Open(t)) }

type body = map[string]any

func must[R any](e *env, obj R, err error) R {
	e.Helper()
	if err != nil {
		e.Fatal(err)
	}
	return obj
}

func (e *env) network(caller *identity.Caller, attrs body) *model.Network {
	e.Helper()
	n, err := resourcetest.Create(e.db, e.catalog.Networks, e.core.Networks(), caller, attrs)
	return must(e, n, err)
}

func (e *env) subnet(n *model.Network, cidr string, more body) *model.Subnet {
	e.Helper()
	attrs := body{"network_id": n.ID, "cidr": cidr, "ip_version": json.Number("4"), "project_id": n.ProjectID}
	if strings.Contains(cidr, ":") {
		attrs["ip_version"] = json.Number("6")
	}
	maps.Copy(attrs, more)
	s, err := resourcetest.Create(e.db, e.catalog.Subnets, e.core.Subnets(), admin, attrs)
	return must(e, s, err)
}

func (e *env) tryPort(caller *identity.Caller, attrs body) (*model.Port, error) {
	return resourcetest.Create(e.db, e.catalog.Ports, e.core.Ports(), caller, attrs)
}

func (e *env) port(n *model.Network, more body) *model.Port {
	e.Helper()
	attrs := body{"network_id": n.ID, "project_id": n.ProjectID}
	maps.Copy(attrs, more)
	p, err := e.tryPort(admin, attrs)
	return must(e, p, err)
}

func (e *env) updatePort(caller *identity.Caller, id string, attrs body) error {
	_, err := resourcetest.Update(e.db, e.catalog.Ports, e.core.Ports(), caller, id, attrs)
	return err
}

func (e *env) deletePort(caller *identity.Caller, id string) error {
	return resourcetest.Delete(e.db, e.catalog.Ports, e.core.Ports(), caller, id)
}

func (e *env) tryRouter(caller *identity.Caller, attrs body) (*model.Router, error) {
	return resourcetest.Create(e.db, e.catalog.Routers, e.l3.Routers(), caller, attrs)
}

func (e *env) router(attrs body) *model.Router {
	e.Helper()
	r, err := e.tryRouter(member, attrs)
	return must(e, r, err)
}

func (e *env) updateRouter(id string, attrs body) (*model.Router, error) {
	return resourcetest.Update(e.db, e.catalog.Routers, e.l3.Routers(), member, id, attrs)
}

func (e *env) deleteRouter(id string) error {
	return resourcetest.Delete(e.db, e.catalog.Routers, e.l3.Routers(), member, id)
}

func (e *env) addInterface(caller *identity.Caller, router string, attrs body) (info body, err error) {
	err = e.db.Write(ctx, func(tx *store.Tx) error {
		info, err = e.l3.AddRouterInterface(tx, caller, router, attrs)
		return err
	})
	return info, err
}

func (e *env) removeInterface(router string, attrs body) (info body, err error) {
	err = e.db.Write(ctx, func(tx *store.Tx) error {
		info, err = e.l3.RemoveRouterInterface(tx, member, router, attrs)
		return err
	})
	return info, err
}

func (e *env) connect(r *model.Router, subnets ...*model.Subnet) {
	e.Helper()
	for _, s := range subnets {
		if _, err := e.addInterface(member, r.ID, body{"subnet_id": s.ID}); err != nil {
			e.Fatal(err)
		}
	}
}

func (e *env) tryFloatingIP(caller *identity.Caller, attrs body) (*model.FloatingIP, error) {
	return resourcetest.Create(e.db, e.catalog.FloatingIPs, e.l3.FloatingIPs(), caller, attrs)
}

func (e *env) floatingIP(attrs body) *model.FloatingIP {
	e.Helper()
	f, err := e.tryFloatingIP(member, attrs)
	return must(e, f, err)
}

func (e *env) updateFloatingIP(id string, attrs body) (*model.FloatingIP, error) {
	return resourcetest.Update(e.db, e.catalog.FloatingIPs, e.l3.FloatingIPs(), member, id, attrs)
}

// agent stores an L3 agent that reported ago.
func (e *env) agent(host string, ago time.Duration, zone string, configurations string) string {
	e.Helper()
	id := uuid.NewString()
	beat := store.Time{Time: time.Now().UTC().Add(-ago).Truncate(time.Second)}
	e.exec("INSERT INTO agents (id, agent_type, "+e.db.Dialect().Quote("binary")+", topic, host, admin_state_up, created_at, started_at, heartbeat_timestamp, configurations, "+
		"availability_zone) VALUES "+store.In(11), id, rpc.AgentTypeL3, "neutron-l3-agent", rpc.TopicL3Agent, host, true, beat, beat, beat, configurations, zone)
	return id
}

// bridgeAgent stores a living Linux bridge agent, so that ports can be bound on the host.
func (e *env) bridgeAgent(host string) {
	e.Helper()
	e.exec("INSERT INTO agents (id, agent_type, "+e.db.Dialect().Quote("binary")+", topic, host, admin_state_up, created_at, started_at, heartbeat_timestamp, configurations) "+
		"VALUES "+store.In(10), uuid.NewString(), "Linux bridge agent", "neutron-linuxbridge-agent", "N/A", host, true, store.Now(), store.Now(), store.Now(),
		`{"tunneling_ip": "192.0.2.1", "tunnel_types": ["vxlan"], "bridge_mappings": {}}`)
}

func (e *env) exec(query string, args ...any) {
	e.Helper()
	if err := e.db.Write(ctx, func(tx *store.Tx) error { _, err := tx.Exec(query, args...); return err }); err != nil {
		e.Fatal(err)
	}
}

// column reads the rows of a query of one column.
func (e *env) column(query string, args ...any) (list []string) {
	e.Helper()
	err := e.db.Read(ctx, func(tx *store.Tx) (err error) {
		list, err = store.Strings(tx.Query(query, args...))
		return err
	})
	return must(e, list, err)
}

// write runs f in a transaction.
func (e *env) write(f func(tx *store.Tx) error) {
	e.Helper()
	if err := e.db.Write(ctx, f); err != nil {
		e.Fatal(err)
	}
}

// statements counts the statements of f.
func (e *env) statements(f func()) int64 {
	before := e.db.Statements()
	f()
	return e.db.Statements() - before
}

// site is what most tests need: an external network with a gateway for the router, and an internal network.
type site struct {
	*env
	external, internal *model.Network
	public, private    *model.Subnet
	gateway            *model.Router
}

func newSite(e *env) *site {
	e.Helper()
	x := &site{env: e}
	x.external = e.network(admin, body{"name": "public", "router:external": true, "project_id": "operator"})
	// Addresses that tests name are outside of the pools, where ports get addresses by chance.
	pool := func(prefix string) body {
		return body{"allocation_pools": []any{body{"start": prefix + "100", "end": prefix + "199"}}}
	}
	x.public = e.subnet(x.external, "203.0.113.0/24", pool("203.0.113."))
	x.internal = e.network(member, body{"name": "private"})
	x.private = e.subnet(x.internal, "10.0.0.0/24", pool("10.0.0."))
	x.gateway = e.router(body{"name": "r", "external_gateway_info": body{"network_id": x.external.ID}})
	e.connect(x.gateway, x.private)
	e.told.take()
	return x
}

// expect checks that err is a fault and how it looks.
func expect(t testing.TB, err error, status int, class, message string) {
	t.Helper()
	f, ok := errors.AsType[*fault.Error](err)
	if !ok {
		t.Fatalf("got %v, want %d %s", err, status, class)
	}
	if f.Status != status || f.Type != class || f.Message != message {
		t.Errorf("got  %d %s: %s\nwant %d %s: %s", f.Status, f.Type, f.Message, status, class, message)
	}
}
