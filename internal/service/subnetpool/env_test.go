package subnetpool

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"testing"

	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/resource/resourcetest"
	"neutrino/internal/service/ml2"
	"neutrino/internal/store"
	"neutrino/internal/store/dbtest"
)

var ctx = context.Background()

// Callers: an administrator, and a user of each of two projects.
var (
	admin  = &identity.Caller{ProjectID: "admin", IsAdmin: true}
	member = &identity.Caller{ProjectID: "p"}
	other  = &identity.Caller{ProjectID: "q"}
)

type body = map[string]any

// env is a server with pools and the core plug-in.
type env struct {
	*testing.T
	db      *store.DB
	catalog *model.Catalog
	core    *ml2.Plugin
	pools   *Service
	changed []string // pools whose scope changed
}

func setUp(t *testing.T) *env {
	log := slog.New(slog.DiscardHandler)
	db := dbtest.Open(t)
	catalog := model.NewCatalog(func(string) bool { return true })
	e := &env{T: t, db: db, catalog: catalog, pools: New(catalog, false)}
	e.core = ml2.New(ml2.Config{TenantNetworkTypes: []string{"vxlan"}, VNIRanges: []ml2.Range{{Min: 1, Max: 100}}}, db, catalog, log)
	if err := e.core.Start(ctx); err != nil {
		t.Fatal(err)
	}
	e.core.Hooks.ChoosePool, e.core.Hooks.SubnetFromPool = e.pools.Choose, e.pools.Allocate
	e.pools.Hooks.ScopeChanged = append(e.pools.Hooks.ScopeChanged, func(_ *store.Tx, pool string) error {
		e.changed = append(e.changed, pool)
		return nil
	})
	return e
}

func create[R any](e *env, r *resource.Resource[R], logic resource.Logic[R], caller *identity.Caller, attrs body) (*R, error) {
	return resourcetest.Create(e.db, r, logic, caller, attrs)
}

func update[R any](e *env, r *resource.Resource[R], logic resource.Logic[R], caller *identity.Caller, id string, attrs body) (*R, error) {
	return resourcetest.Update(e.db, r, logic, caller, id, attrs)
}

func remove[R any](e *env, r *resource.Resource[R], logic resource.Logic[R], caller *identity.Caller, id string) error {
	return resourcetest.Delete(e.db, r, logic, caller, id)
}

func (e *env) tryPool(caller *identity.Caller, attrs body) (*model.Subnetpool, error) {
	with := body{"name": "pool"}
	maps.Copy(with, attrs)
	return create(e, e.catalog.Subnetpools, e.pools.Pools(), caller, with)
}

func (e *env) changePool(caller *identity.Caller, id string, attrs body) (*model.Subnetpool, error) {
	return update(e, e.catalog.Subnetpools, e.pools.Pools(), caller, id, attrs)
}

func (e *env) trySubnet(caller *identity.Caller, network string, attrs body) (*model.Subnet, error) {
	with := body{"network_id": network, "ip_version": num(4)}
	maps.Copy(with, attrs)
	return create(e, e.catalog.Subnets, e.core.Subnets(), caller, with)
}

func (e *env) pool(attrs body) *model.Subnetpool {
	e.Helper()
	p, err := e.tryPool(member, attrs)
	e.ok(err)
	return p
}

func (e *env) scope(caller *identity.Caller, version int, shared bool) string {
	e.Helper()
	s, err := create(e, e.catalog.AddressScopes, e.pools.Scopes(), caller, body{"ip_version": num(version), "shared": shared})
	e.ok(err)
	return s.ID
}

func (e *env) network() string {
	e.Helper()
	n, err := create(e, e.catalog.Networks, e.core.Networks(), member, body{})
	e.ok(err)
	return n.ID
}

func (e *env) subnet(network string, attrs body) *model.Subnet {
	e.Helper()
	s, err := e.trySubnet(member, network, attrs)
	e.ok(err)
	return s
}

func (e *env) ok(err error) {
	e.Helper()
	if err != nil {
		e.Fatal(err)
	}
}

func num(n int) json.Number { return json.Number(fmt.Sprint(n)) }

func list(texts ...string) []any {
	out := []any{}
	for _, t := range texts {
		out = append(out, t)
	}
	return out
}
