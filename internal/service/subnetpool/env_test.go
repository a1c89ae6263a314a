package subnetpool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"testing"

	"neutrino/internal/fault"
	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
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

// create does what the API does with a POST body.
func create[R any](e *env, r *resource.Resource[R], logic resource.Logic[R], caller *identity.Caller, attrs body) (obj *R, err error) {
	err = e.db.Write(ctx, func(tx *store.Tx) error {
		var named resource.Set
		if obj, named, err = r.Create(caller, maps.Clone(attrs)); err != nil {
			return err
		}
		return logic.Create(&resource.Change[R]{Resource: r, Tx: tx, Caller: caller, New: obj, Named: named})
	})
	return obj, err
}

// update does what the API does with a PUT body.
func update[R any](e *env, r *resource.Resource[R], logic resource.Logic[R], caller *identity.Caller, id string, attrs body) (obj *R, err error) {
	err = e.db.Write(ctx, func(tx *store.Tx) error {
		old, err := r.Get(tx, caller, id, r.All)
		if err != nil {
			return err
		}
		now := *old
		obj = &now
		named, err := r.Update(caller, obj, maps.Clone(attrs))
		if err != nil {
			return err
		}
		return logic.Update(&resource.Change[R]{Resource: r, Tx: tx, Caller: caller, Old: old, New: obj, Named: named})
	})
	return obj, err
}

func remove[R any](e *env, r *resource.Resource[R], logic resource.Logic[R], caller *identity.Caller, id string) error {
	return e.db.Write(ctx, func(tx *store.Tx) error {
		old, err := r.Get(tx, caller, id, r.All)
		if err != nil {
			return err
		}
		return logic.Delete(&resource.Change[R]{Resource: r, Tx: tx, Caller: caller, Old: old})
	})
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

// wants compares an error with "STATUS TYPE: MESSAGE"; "" is success.
func wants(t *testing.T, err error, want string) {
	t.Helper()
	got := ""
	if err != nil {
		got = "500 " + err.Error()
		if f, ok := errors.AsType[*fault.Error](err); ok {
			got = fmt.Sprintf("%d %s: %s", f.Status, f.Type, f.Message)
		}
	}
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
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
