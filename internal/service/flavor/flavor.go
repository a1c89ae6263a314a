// Package flavor lets projects choose who provides a service, such as a router: flavors, the service profiles behind
// them, and the providers that the server has (upstream neutron/db/flavors_db.py, neutron/db/servicetype_db.py).
package flavor

import (
	"fmt"
	"slices"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"
)

// Service is the flavors plug-in.
type Service struct {
	catalog   *model.Catalog
	providers []Provider
	types     []string
}

// New makes the plug-in. types are the service types that can have flavors; routers tells whether there are any.
func New(catalog *model.Catalog, types []string, routers bool) *Service {
	s := &Service{catalog: catalog, types: types}
	catalog.Flavors.SetCheck("service_type", s.checkType)
	if routers {
		s.providers = routerProviders()
	}
	return s
}

// checkType refuses a flavor of a service that is not there, like any other bad value: before policy is asked.
func (s *Service) checkType(f *model.Flavor) error {
	if !slices.Contains(s.types, f.ServiceType) {
		return fault.BadRequest("InvalidServiceType", "Invalid service type: %s.", f.ServiceType)
	}
	return nil
}

// Flavors is what flavors do beyond storing their attributes.
func (s *Service) Flavors() resource.Logic[model.Flavor] {
	return resource.Logic[model.Flavor]{
		Create: func(c *resource.Change[model.Flavor]) error {
			return s.catalog.Flavors.Insert(c.Tx, c.New)
		},
		Delete: func(c *resource.Change[model.Flavor]) error {
			err := s.catalog.Flavors.Delete(c.Tx, c.Old)
			if store.IsForeignKey(err) {
				return fault.Conflict("FlavorInUse", "Flavor %s is used by some service instance.", c.Old.ID)
			}
			return err
		},
	}
}

// Profiles is what service profiles do beyond storing their attributes.
func (s *Service) Profiles() resource.Logic[model.ServiceProfile] {
	return resource.Logic[model.ServiceProfile]{
		Create: func(c *resource.Change[model.ServiceProfile]) error {
			if c.New.Driver == "" && (c.New.Metainfo == nil || *c.New.Metainfo == "") {
				return fault.BadRequest("ServiceProfileEmpty", "Service Profile needs either a driver or metainfo.")
			}
			if err := s.checkDriver(c.New.Driver); err != nil {
				return err
			}
			return s.catalog.ServiceProfiles.Insert(c.Tx, c.New)
		},
		Update: func(c *resource.Change[model.ServiceProfile]) error {
			if c.Has("driver") {
				if err := s.checkDriver(c.New.Driver); err != nil {
					return err
				}
			}
			if err := notBound(c.Tx, c.Old.ID); err != nil {
				return err
			}
			_, err := s.catalog.ServiceProfiles.Save(c.Tx, c.Old, c.New)
			return err
		},
		Delete: func(c *resource.Change[model.ServiceProfile]) error {
			if err := notBound(c.Tx, c.Old.ID); err != nil {
				return err
			}
			return s.catalog.ServiceProfiles.Delete(c.Tx, c.Old)
		},
	}
}

// checkDriver refuses drivers that no provider has.
func (s *Service) checkDriver(driver string) error {
	if driver != "" && s.providerOf(driver) == nil {
		return driverNotFound(driver)
	}
	return nil
}

func driverNotFound(driver string) error {
	return fault.NotFound("ServiceProfileDriverNotFound", "Service Profile driver %s could not be found.", driver)
}

// notBound refuses to change a profile that a flavor has.
func notBound(tx *store.Tx, id string) error {
	n, _, err := store.One[int](tx.QueryRow("SELECT COUNT(*) FROM flavorserviceprofilebindings WHERE service_profile_id = ?", id))
	if err != nil {
		return fmt.Errorf("count flavors of profile %s: %w", id, err)
	}
	if n > 0 {
		return fault.Conflict("ServiceProfileInUse", "Service Profile %s is used by some service instance.", id)
	}
	return nil
}
