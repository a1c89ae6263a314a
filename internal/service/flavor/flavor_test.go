package flavor

import (
	"context"
	"testing"

	"neutrino/internal/fault"
	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"
	"neutrino/internal/store/dbtest"

	"github.com/google/uuid"
)

type env struct {
	t       *testing.T
	db      *store.DB
	catalog *model.Catalog
	s       *Service
	routers resource.Logic[model.Router]
}

func setUp(t *testing.T) *env {
	db := dbtest.Open(t)
	catalog := model.NewCatalog(func(string) bool { return true })
	s := New(catalog, []string{RouterType}, true)
	store := func(c *resource.Change[model.Router]) error {
		c.New.Distributed, c.New.HA = new(bool), new(bool)
		return catalog.Routers.Insert(c.Tx, c.New)
	}
	drop := func(c *resource.Change[model.Router]) error { return catalog.Routers.Delete(c.Tx, c.Old) }
	return &env{t, db, catalog, s, s.WithProviders(resource.Logic[model.Router]{Create: store, Delete: drop},
		func(*model.Router) (bool, bool) { return false, false })}
}

func (e *env) write(f func(tx *store.Tx) error) error { return e.db.Write(context.Background(), f) }

// must fails the test unless err has the class; "" stands for success.
func (e *env) must(class string, err error) {
	e.t.Helper()
	if class == "" && err != nil || class != "" && !fault.Is(err, class) {
		e.t.Fatalf("got %v, want %q", err, class)
	}
}

func (e *env) flavor(drivers ...string) string {
	id := uuid.NewString()
	e.must("", e.write(func(tx *store.Tx) error {
		f := &model.Flavor{ID: id, ServiceType: RouterType, Enabled: true}
		if err := e.s.Flavors().Create(&resource.Change[model.Flavor]{Resource: e.catalog.Flavors, Tx: tx, New: f}); err != nil {
			return err
		}
		for _, d := range drivers {
			p := &model.ServiceProfile{ID: uuid.NewString(), Driver: d, Enabled: true}
			if err := e.s.Profiles().Create(&resource.Change[model.ServiceProfile]{Resource: e.catalog.ServiceProfiles, Tx: tx, New: p}); err != nil {
				return err
			}
			if err := e.s.Bind(tx, id, p.ID); err != nil {
				return err
			}
		}
		return nil
	}))
	return id
}

func (e *env) router(flavorID string) (*model.Router, error) {
	r := &model.Router{Standard: model.Standard{ID: uuid.NewString(), ProjectID: "p"}}
	var named resource.Set
	if flavorID != "" {
		r.FlavorID, named = &flavorID, e.catalog.Routers.Bit("flavor_id")
	}
	return r, e.write(func(tx *store.Tx) error {
		return e.routers.Create(&resource.Change[model.Router]{Resource: e.catalog.Routers, Tx: tx, Caller: identity.System(), New: r, Named: named})
	})
}

func (e *env) provider(r *model.Router) (name string) {
	e.must("", e.write(func(tx *store.Tx) (err error) {
		name, _, err = store.One[string](tx.QueryRow("SELECT provider_name FROM providerresourceassociations WHERE resource_id = ?", r.ID))
		return err
	}))
	return name
}

func TestRoutersHaveProviders(t *testing.T) {
	e := setUp(t)
	dvr := e.flavor("neutron.services.l3_router.service_providers.dvr.DvrDriver")
	for flavorID, want := range map[string]string{"": "single_node", dvr: "dvr"} {
		r, err := e.router(flavorID)
		e.must("", err)
		if got := e.provider(r); got != want {
			t.Errorf("flavor %q: provider %s, want %s", flavorID, got, want)
		}
		if flavorID != "" {
			e.must("FlavorInUse", e.write(func(tx *store.Tx) error {
				return e.s.Flavors().Delete(&resource.Change[model.Flavor]{Resource: e.catalog.Flavors, Tx: tx, Old: &model.Flavor{ID: dvr}})
			}))
		}
		e.must("", e.write(func(tx *store.Tx) error {
			return e.routers.Delete(&resource.Change[model.Router]{Resource: e.catalog.Routers, Tx: tx, Old: r})
		}))
		if got := e.provider(r); got != "" {
			t.Errorf("deleted router still has provider %s", got)
		}
	}
	_, err := e.router("None")
	e.must("FlavorNotFound", err)
	_, err = e.router(e.flavor())
	e.must("FlavorServiceProfileBindingNotFound", err)
}

func TestProfiles(t *testing.T) {
	e := setUp(t)
	try := func(p model.ServiceProfile) error {
		p.ID = uuid.NewString()
		return e.write(func(tx *store.Tx) error {
			return e.s.Profiles().Create(&resource.Change[model.ServiceProfile]{Resource: e.catalog.ServiceProfiles, Tx: tx, New: &p})
		})
	}
	info := "x"
	e.must("ServiceProfileEmpty", try(model.ServiceProfile{}))
	e.must("ServiceProfileDriverNotFound", try(model.ServiceProfile{Driver: "nobody"}))
	e.must("", try(model.ServiceProfile{Metainfo: &info}))
	_, _, err := e.catalog.Flavors.Create(identity.System(), map[string]any{"service_type": "TEA"})
	e.must("InvalidServiceType", err)
	id := e.flavor("neutron.services.l3_router.service_providers.ha.HaDriver")
	e.must("", e.write(func(tx *store.Tx) error {
		profile, _, err := store.One[string](tx.QueryRow("SELECT service_profile_id FROM flavorserviceprofilebindings WHERE flavor_id = ?", id))
		if err != nil {
			return err
		}
		if err := e.s.Bind(tx, id, profile); !fault.Is(err, "FlavorServiceProfileBindingExists") {
			t.Errorf("bound twice: %v", err)
		}
		err = e.s.Profiles().Delete(&resource.Change[model.ServiceProfile]{Resource: e.catalog.ServiceProfiles, Tx: tx, Old: &model.ServiceProfile{ID: profile}})
		if !fault.Is(err, "ServiceProfileInUse") {
			t.Errorf("deleted a profile in use: %v", err)
		}
		if err := e.s.Unbind(tx, id, profile); err != nil {
			return err
		}
		if err := e.s.Unbind(tx, id, profile); !fault.Is(err, "FlavorServiceProfileBindingNotFound") {
			t.Errorf("unbound twice: %v", err)
		}
		return nil
	}))
}
