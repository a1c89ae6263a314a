// Package addressgroup is the service of address groups: sets of addresses that security group rules name.
package addressgroup

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"neutrino/internal/fault"
	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"

	"github.com/google/uuid"
)

// Service manages address groups.
type Service struct {
	// Changed is told, after the commit, which groups have other addresses.
	Changed func(ctx context.Context, groups []string)

	catalog *model.Catalog
}

// New makes the service.
func New(catalog *model.Catalog, changed func(ctx context.Context, groups []string)) *Service {
	return &Service{Changed: changed, catalog: catalog}
}

// Groups is what address groups do beyond being stored.
func (s *Service) Groups() resource.Logic[model.AddressGroup] {
	return resource.Logic[model.AddressGroup]{Create: s.create, Update: s.update, Delete: s.delete}
}

// create stores a group. Its revision is the number of its addresses: upstream adds them one by one to an empty group.
func (s *Service) create(c *resource.Change[model.AddressGroup]) error {
	g := c.New
	if err := storable(g); err != nil {
		return err
	}
	if g.ID == "" {
		g.ID = uuid.NewString()
	}
	if err := s.catalog.AddressGroups.Insert(c.Tx, g); err != nil {
		return err
	}
	return s.catalog.AddressGroups.CountUp(c.Tx, len(g.Addresses), g)
}

func (s *Service) update(c *resource.Change[model.AddressGroup]) error {
	if err := storable(c.New); err != nil {
		return err
	}
	_, err := s.catalog.AddressGroups.Save(c.Tx, c.Old, c.New)
	return err
}

// storable refuses a description that has no place in the database. Upstream's fails then.
func storable(g *model.AddressGroup) error {
	if g.Description == nil {
		return nil
	}
	if _, err := resource.String(model.MaxDescription).Parse(*g.Description); err != nil {
		return fault.BadRequest("HTTPBadRequest", "Invalid input for description. Reason: %s.", err.Error())
	}
	return nil
}

func (s *Service) delete(c *resource.Change[model.AddressGroup]) error {
	n, _, err := store.One[int](c.Tx.QueryRow("SELECT COUNT(*) FROM securitygrouprules WHERE remote_address_group_id = ?", c.Old.ID))
	if err != nil {
		return fmt.Errorf("read rules with address group %s: %w", c.Old.ID, err)
	}
	if n > 0 {
		return fault.Conflict("AddressGroupInUse", "Address group %s is in use on one or more security group rules.", c.Old.ID)
	}
	return s.catalog.AddressGroups.Delete(c.Tx, c.Old)
}

// Add adds the addresses in a request's body to a group and returns the group as JSON.
func (s *Service) Add(tx *store.Tx, caller *identity.Caller, id string, body map[string]any) (json.RawMessage, error) {
	return s.change(tx, caller, id, body, func(has, given []string) ([]string, error) {
		if known := overlap(given, has, true); len(known) > 0 {
			return nil, fault.BadRequest("AddressesAlreadyExist", "Addresses %s already exist in the address group %s.", pyList(known), id)
		}
		return slices.Concat(has, given), nil
	})
}

// Remove takes the addresses in a request's body out of a group and returns the group as JSON.
func (s *Service) Remove(tx *store.Tx, caller *identity.Caller, id string, body map[string]any) (json.RawMessage, error) {
	return s.change(tx, caller, id, body, func(has, given []string) ([]string, error) {
		if unknown := overlap(given, has, false); len(unknown) > 0 {
			return nil, fault.NotFound("AddressesNotFound", "Addresses %s not found in the address group %s.", pyList(unknown), id)
		}
		return overlap(has, given, false), nil
	})
}

// overlap are the elements of list that are in other, or are not.
func overlap(list, other []string, in bool) []string {
	there := make(map[string]bool, len(other))
	for _, x := range other {
		there[x] = true
	}
	return slices.DeleteFunc(slices.Clone(list), func(x string) bool { return there[x] != in })
}

func (s *Service) change(tx *store.Tx, caller *identity.Caller, id string, body map[string]any,
	f func(has, given []string) ([]string, error)) (json.RawMessage, error) {
	groups := s.catalog.AddressGroups
	given, err := addresses(body)
	if err != nil {
		return nil, err
	}
	old, err := groups.Get(tx, caller, id, groups.All)
	if err != nil {
		return nil, err
	}
	now := *old
	if now.Addresses, err = f(old.Addresses, given); err != nil {
		return nil, err
	}
	slices.Sort(now.Addresses)
	if len(given) > 0 {
		if _, err := groups.Save(tx, old, &now); err != nil {
			return nil, err
		}
		if err := groups.CountUp(tx, len(given)-1, &now); err != nil { // Save counted one
			return nil, err
		}
		tx.OnCommit(func(ctx context.Context) { s.Changed(ctx, []string{id}) })
	}
	// Only these answers show the attribute "shared".
	shown := groups.Append([]byte(`{"address_group":`), &now, groups.Shown|groups.Bit("shared"))
	return fmt.Appendf(shown[:len(shown)-1], `,"standard_attr_id":%d}}`, now.RowID), nil
}

// addresses reads the addresses of an action's body, which upstream checks less strictly than those of a new group.
func addresses(body map[string]any) ([]string, error) {
	list, ok := body["addresses"].([]any)
	if keys, isObject := body["addresses"].(map[string]any); isObject && len(keys) > 0 { // of which Python takes the keys
		return nil, notAddress(slices.Min(slices.Collect(maps.Keys(keys))))
	}
	if !ok {
		return nil, notAddress(body["addresses"])
	}
	var all []string
	seen := map[string]bool{}
	for _, e := range list {
		s, isText := e.(string)
		p, err := model.ParseNetwork(s)
		if !isText || err != nil {
			return nil, notAddress(e)
		}
		if !seen[p] {
			seen[p] = true
			all = append(all, p)
		}
	}
	return all, nil
}

func notAddress(v any) error {
	return fault.BadRequest("AddrFormatError", "invalid IPNetwork %s", resource.Py(v))
}

func pyList(list []string) string {
	values := make([]any, len(list))
	for i, s := range list {
		values[i] = s
	}
	return resource.PyRepr(values)
}
