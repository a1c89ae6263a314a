package secgroup

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/netip"
	"slices"
	"testing"

	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/resource/resourcetest"
	"neutrino/internal/service/ml2"
	"neutrino/internal/service/quota"
	"neutrino/internal/store"
	"neutrino/internal/store/dbtest"
)

var (
	admin  = &identity.Caller{ProjectID: "p", IsAdmin: true}
	member = &identity.Caller{ProjectID: "p"}
	other  = &identity.Caller{ProjectID: "other"}
)

// body is a request's attributes.
type body = map[string]any

// env is the service with the core plug-in on a database of its own.
type env struct {
	testing.TB
	ctx     context.Context
	db      *store.DB
	catalog *model.Catalog
	core    *ml2.Plugin
	groups  *Service
	quota   *quota.Service
	rules   [][]string   // what RulesChanged was told
	members [][]string   // what MembersChanged was told
	at      []netip.Addr // where, the last time
}

func setUp(t testing.TB) *env {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	db := dbtest.Open(t)
	catalog := model.NewCatalog(func(string) bool { return true })
	e := &env{TB: t, ctx: t.Context(), db: db, catalog: catalog, quota: quota.New(nil)}
	e.core = ml2.New(ml2.Config{TenantNetworkTypes: []string{"vxlan"}, MechanismDrivers: []string{"linuxbridge"}, VNIRanges: []ml2.Range{{Min: 1, Max: 50}}},
		db, catalog, log)
	if err := e.core.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	e.groups = New(db, catalog, e.quota, log)
	e.core.Hooks.PrepareNetwork = append(e.core.Hooks.PrepareNetwork, e.groups.PrepareNetwork)
	e.core.Hooks.PreparePorts = append(e.core.Hooks.PreparePorts, e.groups.PreparePorts)
	e.core.Hooks.BeforePort = append(e.core.Hooks.BeforePort, e.groups.BeforePort)
	e.core.Hooks.AfterPort = append(e.core.Hooks.AfterPort, e.groups.AfterPort)
	e.groups.Hooks.RulesChanged = append(e.groups.Hooks.RulesChanged, func(_ context.Context, g []string) { e.rules = append(e.rules, g) })
	e.groups.Hooks.MembersChanged = append(e.groups.Hooks.MembersChanged, func(_ context.Context, g []string, at []netip.Addr) {
		e.members, e.at = append(e.members, g), at
	})
	return e
}

func createMany[R any](e *env, r *resource.Resource[R], logic resource.Logic[R], caller *identity.Caller, bodies ...body) ([]*R, error) {
	return resourcetest.CreateMany(e.db, r, logic, caller, bodies...)
}

func create[R any](e *env, r *resource.Resource[R], logic resource.Logic[R], caller *identity.Caller, b body) (*R, error) {
	return resourcetest.Create(e.db, r, logic, caller, b)
}

func update[R any](e *env, r *resource.Resource[R], logic resource.Logic[R], caller *identity.Caller, id string, b body) error {
	_, err := resourcetest.Update(e.db, r, logic, caller, id, b)
	return err
}

func remove[R any](e *env, r *resource.Resource[R], logic resource.Logic[R], caller *identity.Caller, id string) error {
	return resourcetest.Delete(e.db, r, logic, caller, id)
}

func (e *env) tryGroup(caller *identity.Caller, b body) (*model.SecurityGroup, error) {
	return create(e, e.catalog.SecurityGroups, e.groups.Groups(), caller, b)
}

func (e *env) group(name string) *model.SecurityGroup {
	e.Helper()
	g, err := e.tryGroup(member, body{"name": name})
	if err != nil {
		e.Fatal(err)
	}
	return g
}

func (e *env) tryRules(caller *identity.Caller, bodies ...body) ([]*model.SecurityGroupRule, error) {
	return createMany(e, e.catalog.SecurityGroupRules, e.groups.Rules(), caller, bodies...)
}

func (e *env) tryPort(caller *identity.Caller, b body) (*model.Port, error) {
	return create(e, e.catalog.Ports, e.core.Ports(), caller, b)
}

func (e *env) port(b body) *model.Port {
	e.Helper()
	p, err := e.tryPort(admin, b)
	if err != nil {
		e.Fatal(err)
	}
	return p
}

func (e *env) network(b body) *model.Network {
	e.Helper()
	n, err := create(e, e.catalog.Networks, e.core.Networks(), admin, b)
	if err != nil {
		e.Fatal(err)
	}
	return n
}

func (e *env) subnet(n *model.Network, cidr string) {
	e.Helper()
	if _, err := create(e, e.catalog.Subnets, e.core.Subnets(), admin, body{"network_id": n.ID, "cidr": cidr, "ip_version": json.Number("4")}); err != nil {
		e.Fatal(err)
	}
}

// strings reads one column.
func (e *env) strings(query string, args ...any) []string {
	e.Helper()
	var out []string
	err := e.db.Read(e.ctx, func(tx *store.Tx) (err error) {
		out, err = store.Strings(tx.Query(query, args...))
		return err
	})
	if err != nil {
		e.Fatal(err)
	}
	return out
}

func (e *env) defaultGroup(project string) string {
	e.Helper()
	ids := e.strings("SELECT security_group_id FROM default_security_group WHERE project_id = ?", project)
	if len(ids) != 1 {
		e.Fatalf("project %s has %d default groups", project, len(ids))
	}
	return ids[0]
}

func same(a, b []string) bool { return slices.Equal(sorted(a), sorted(b)) }
