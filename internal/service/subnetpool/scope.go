package subnetpool

import (
	"fmt"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"

	"github.com/google/uuid"
)

// Scopes is what address scopes do beyond being stored.
func (s *Service) Scopes() resource.Logic[model.AddressScope] {
	return resource.Logic[model.AddressScope]{Create: s.createScope, Update: s.updateScope, Delete: s.deleteScope}
}

func (s *Service) createScope(c *resource.Change[model.AddressScope]) error {
	if c.New.ID == "" {
		c.New.ID = uuid.NewString()
	}
	if err := s.catalog.AddressScopes.Insert(c.Tx, c.New); err != nil || !c.New.Shared {
		return err
	}
	return share(c.Tx, "addressscoperbacs", c.New.ID, c.New.ProjectID)
}

func (s *Service) updateScope(c *resource.Change[model.AddressScope]) error {
	if c.Old.Shared && !c.New.Shared {
		return fault.BadRequest("AddressScopeUpdateError", "Unable to update address scope %s : Shared address scope can't be unshared.", c.Old.ID)
	}
	if _, err := s.catalog.AddressScopes.Save(c.Tx, c.Old, c.New); err != nil || !c.Has("shared") || !c.New.Shared {
		return err
	}
	return share(c.Tx, "addressscoperbacs", c.New.ID, c.Caller.ProjectID)
}

func (s *Service) deleteScope(c *resource.Change[model.AddressScope]) error {
	if err := lockScope(c.Tx, c.Old.ID); err != nil {
		return err
	}
	used, err := exists(c.Tx, resource.Cond{SQL: "subnetpools WHERE address_scope_id = ?", Args: []any{c.Old.ID}})
	if err != nil {
		return fmt.Errorf("read pools of address scope %s: %w", c.Old.ID, err)
	}
	if used {
		return fault.Conflict("AddressScopeInUse", "Unable to complete operation on address scope %s. There are one or more subnet pools "+
			"in use on the address scope.", c.Old.ID)
	}
	return s.catalog.AddressScopes.Delete(c.Tx, c.Old)
}

// lockScope makes changes of the pools of one scope wait for each other. A write of the same value locks the row
// everywhere, and where it makes a new version of the row, later writers start again.
func lockScope(tx *store.Tx, id string) error {
	if _, err := tx.Exec("UPDATE address_scopes SET ip_version = ip_version WHERE id = ?", id); err != nil {
		return fmt.Errorf("lock address scope %s: %w", id, err)
	}
	return nil
}

// mayLeave refuses to change a pool that is in a scope of somebody else.
func (s *Service) mayLeave(c *resource.Change[model.Subnetpool]) error {
	id := *c.Old.AddressScopeID
	scope, err := s.catalog.AddressScopes.Get(c.Tx, c.Caller, id, s.catalog.AddressScopes.Bit("project_id"))
	if err != nil {
		return err
	}
	if !c.Caller.IsAdmin && scope.ProjectID != c.Caller.ProjectID {
		return illegalUpdate("subnetpool %s cannot be updated when associated with shared address scope %s", c.Old.ID, id)
	}
	return nil
}

func illegalUpdate(format string, args ...any) error {
	return fault.BadRequest("IllegalSubnetPoolUpdate", "Illegal subnetpool update : %s.", fmt.Sprintf(format, args...))
}

// checkScope checks whether a pool with these prefixes may be in its address scope.
func (s *Service) checkScope(c *resource.Change[model.Subnetpool], set prefixSet) error {
	p := c.New
	if p.AddressScopeID == nil {
		return nil
	}
	scopes := s.catalog.AddressScopes
	scope, err := scopes.Get(c.Tx, c.Caller, *p.AddressScopeID, scopes.Bits("project_id", "ip_version", "shared"))
	if err != nil {
		return err
	}
	if !c.Caller.IsAdmin && scope.ProjectID != c.Caller.ProjectID && !scope.Shared {
		return fault.BadRequest("IllegalSubnetPoolAssociationToAddressScope",
			"Illegal subnetpool association: subnetpool %s cannot be associated with address scope %s.", p.ID, scope.ID)
	}
	if scope.IPVersion != p.IPVersion {
		return fault.BadRequest("IllegalSubnetPoolIpVersionAssociationToAddressScope", "Illegal subnetpool association: subnetpool %s "+
			"cannot associate with address scope %s because subnetpool ip_version is not %d.", p.ID, scope.ID, scope.IPVersion)
	}
	if err := lockScope(c.Tx, scope.ID); err != nil {
		return err
	}
	if err := networksAgree(c.Tx, p); err != nil {
		return err
	}
	return s.checkUnique(c, set)
}

// networksAgree refuses to move a pool into a scope if that would leave a network with subnets in several.
func networksAgree(tx *store.Tx, p *model.Subnetpool) error {
	left, err := exists(tx, resource.Cond{SQL: "subnets WHERE ip_version = ? AND network_id IN (SELECT network_id FROM subnets " +
		"WHERE subnetpool_id = ?) AND (subnetpool_id IS NULL OR subnetpool_id <> ?)", Args: []any{p.IPVersion, p.ID, p.ID}})
	if err != nil {
		return fmt.Errorf("read networks of subnet pool %s: %w", p.ID, err)
	}
	if left {
		return fault.BadRequest("NetworkAddressScopeAffinityError", "Subnets of the same address family hosted on the same network must "+
			"all participate in the same address scope.")
	}
	return nil
}

// checkUnique refuses prefixes that another pool of the scope has. As upstream, only pools that the caller may see count.
func (s *Service) checkUnique(c *resource.Change[model.Subnetpool], set prefixSet) error {
	pools, err := s.catalog.Subnetpools.Select(c.Tx, &resource.Query{Caller: c.Caller, Set: s.catalog.Subnetpools.Bit("prefixes"),
		Where: []resource.Cond{{SQL: "t.address_scope_id = ? AND t.id <> ?", Args: []any{*c.New.AddressScopeID, c.New.ID}}}})
	if err != nil {
		return err
	}
	for _, other := range pools {
		theirs, err := parse(other.Prefixes)
		if err != nil {
			return err
		}
		if set.overlaps(theirs) {
			return fault.Conflict("AddressScopePrefixConflict", "Failed to associate address scope: subnetpools within an address scope "+
				"must have unique prefixes.")
		}
	}
	return nil
}

func (s *Service) scopeChanged(tx *store.Tx, pool string) error {
	for _, h := range s.Hooks.ScopeChanged {
		if err := h(tx, pool); err != nil {
			return err
		}
	}
	return nil
}
