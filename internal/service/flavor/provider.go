package flavor

import (
	"fmt"
	"slices"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/resource"
)

// RouterType is the service type of routers.
const RouterType = "L3_ROUTER_NAT"

// Provider provides a service.
type Provider struct {
	ServiceType string `json:"service_type"`
	Name        string `json:"name"`
	Default     bool   `json:"default"`

	driver          string // upstream's class
	distributed, ha bool   // what its routers are
}

// routerProviders are those of upstream's driver controller, in its order.
func routerProviders() []Provider {
	const path = "neutron.services.l3_router.service_providers."
	return []Provider{
		{ServiceType: RouterType, Name: "dvrha", driver: path + "dvrha.DvrHaDriver", distributed: true, ha: true},
		{ServiceType: RouterType, Name: "dvr", driver: path + "dvr.DvrDriver", distributed: true},
		{ServiceType: RouterType, Name: "ha", driver: path + "ha.HaDriver", ha: true},
		{ServiceType: RouterType, Name: "single_node", driver: path + "single_node.SingleNodeDriver"},
	}
}

// Driver is how service profiles name the provider.
func (p *Provider) Driver() string { return p.driver }

// Providers are the providers that the server has.
func (s *Service) Providers() []Provider { return s.providers }

func (s *Service) providerOf(driver string) *Provider {
	i := slices.IndexFunc(s.providers, func(p Provider) bool { return p.driver == driver })
	if i < 0 {
		return nil
	}
	return &s.providers[i]
}

func (s *Service) providerFor(distributed, ha bool) *Provider {
	i := slices.IndexFunc(s.providers, func(p Provider) bool { return p.distributed == distributed && p.ha == ha })
	return &s.providers[i]
}

// WithProviders adds to the logic of routers that each has a provider, which a flavor may choose. kind tells what kind of
// router a request asks for.
func (s *Service) WithProviders(routers resource.Logic[model.Router], kind func(*model.Router) (distributed, ha bool)) resource.Logic[model.Router] {
	create, update, remove := routers.Create, routers.Update, routers.Delete
	routers.Create = func(c *resource.Change[model.Router]) error {
		p, err := s.choose(c, kind)
		if err != nil {
			return err
		}
		if err := create(c); err != nil {
			return err
		}
		if _, err := c.Tx.Exec("INSERT INTO providerresourceassociations (provider_name, resource_id) VALUES (?, ?)", p.Name, c.New.ID); err != nil {
			return fmt.Errorf("associate router %s with its provider: %w", c.New.ID, err)
		}
		return nil
	}
	routers.Update = func(c *resource.Change[model.Router]) error {
		if c.Old.FlavorID != nil {
			for _, flag := range flags {
				if is, _ := c.Resource.Text(c.Old, flag); c.Has(flag) && value(c, flag) != is && value(c, flag) != "None" {
					return fault.InvalidInput("Changing the 'ha' and 'distributed' attributes on a router associated with a flavor is not supported")
				}
			}
		}
		if err := update(c); err != nil {
			return err
		}
		distributed, ha := kind(c.New)
		if d, h := kind(c.Old); d == distributed && h == ha {
			return nil
		}
		if _, err := c.Tx.Exec("UPDATE providerresourceassociations SET provider_name = ? WHERE resource_id = ?",
			s.providerFor(distributed, ha).Name, c.New.ID); err != nil {
			return fmt.Errorf("change the provider of router %s: %w", c.New.ID, err)
		}
		return nil
	}
	routers.Delete = func(c *resource.Change[model.Router]) error {
		if err := remove(c); err != nil {
			return err
		}
		if _, err := c.Tx.Exec("DELETE FROM providerresourceassociations WHERE resource_id = ?", c.Old.ID); err != nil {
			return fmt.Errorf("forget the provider of router %s: %w", c.Old.ID, err)
		}
		return nil
	}
	return routers
}

// flags are the attributes of routers that depend on the provider.
var flags = []string{"distributed", "ha"}

// value is what a request asks of a flag, as Python prints it; "" if that attribute does not exist.
func value(c *resource.Change[model.Router], flag string) string {
	text, _ := c.Resource.Text(c.New, flag)
	return text
}

// choose finds the provider of a new router by its flavor or else by its flags.
func (s *Service) choose(c *resource.Change[model.Router], kind func(*model.Router) (distributed, ha bool)) (*Provider, error) {
	if !c.Has("flavor_id") {
		return s.providerFor(kind(c.New)), nil
	}
	p, err := s.NextProvider(c.Tx, *c.New.FlavorID)
	if err != nil {
		return nil, err
	}
	for i, has := range []bool{p.distributed, p.ha} {
		want := value(c, flags[i])
		if c.Has(flags[i]) && (want == "True" || want == "False") && (want == "True") != has {
			return nil, fault.InvalidInput("Provider %s does not support %s=%s", p.Name, flags[i], want)
		}
	}
	return p, nil
}
