package subnetpool

import (
	"fmt"
	"net/netip"
	"slices"

	"neutrino/internal/fault"
	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"

	"github.com/google/uuid"
)

// Pools is what subnet pools do beyond being stored.
func (s *Service) Pools() resource.Logic[model.Subnetpool] {
	return resource.Logic[model.Subnetpool]{Create: s.create, Update: s.update, Delete: s.delete,
		Answer: func(c *resource.Change[model.Subnetpool], p *model.Subnetpool) {
			if c.Old != nil {
				p.ForUpdateAnswer(c.Has("address_scope_id"))
			}
		}}
}

// family is what differs between the IP versions.
type family struct {
	any  netip.Addr
	bits int // of an address
	min  int // default of min_prefixlen
	unit int // length of the prefixes that quota counts
}

var families = map[int]family{
	4: {any: netip.IPv4Unspecified(), bits: 32, min: 8, unit: 32},
	6: {any: netip.IPv6Unspecified(), bits: 128, min: 64, unit: 64},
}

func (s *Service) create(c *resource.Change[model.Subnetpool]) error {
	p := c.New
	if p.ID == "" {
		p.ID = uuid.NewString()
	}
	set, err := readPrefixes(p)
	if err != nil {
		return err
	}
	f := families[p.IPVersion]
	if !c.Has("min_prefixlen") {
		p.MinPrefixlen.Bits = f.min
	}
	if !c.Has("max_prefixlen") {
		p.MaxPrefixlen.Bits = f.bits
	}
	if !c.Has("default_prefixlen") {
		p.DefaultPrefixlen = p.MinPrefixlen
	}
	if err := checkBounds(p); err != nil {
		return err
	}
	if p.IsDefault {
		if err := s.onlyDefault(c.Tx, c.Caller, p.IPVersion); err != nil {
			return err
		}
	}
	if err := s.checkScope(c, set); err != nil {
		return err
	}
	if err := p.NameFits(); err != nil {
		return err
	}
	if err := s.catalog.Subnetpools.Insert(c.Tx, p); err != nil {
		return err
	}
	if p.Shared {
		return share(c.Tx, "subnetpoolrbacs", p.ID, p.ProjectID)
	}
	return nil
}

// readPrefixes brings the prefixes of a pool into their shortest form and sets its IP version.
func readPrefixes(p *model.Subnetpool) (prefixSet, error) {
	set, err := parse(p.Prefixes)
	if err != nil {
		return nil, err
	}
	if len(set) == 0 {
		return nil, fault.BadRequest("EmptySubnetPoolPrefixList", "Empty subnet pool prefix list.")
	}
	is4 := func(x netip.Prefix) bool { return x.Addr().Is4() }
	if slices.ContainsFunc(set, is4) != is4(set[len(set)-1]) {
		return nil, fault.BadRequest("PrefixVersionMismatch", "Cannot mix IPv4 and IPv6 prefixes in a subnet pool.")
	}
	p.IPVersion = map[bool]int{true: 4, false: 6}[is4(set[0])]
	p.Prefixes = set.strings()
	return set, nil
}

// checkBounds compares the prefix lengths of a pool with each other.
func checkBounds(p *model.Subnetpool) error {
	type bound struct {
		name string
		bits int
	}
	least, most := bound{"min_prefixlen", p.MinPrefixlen.Bits}, bound{"max_prefixlen", p.MaxPrefixlen.Bits}
	usual, all := bound{"default_prefixlen", p.DefaultPrefixlen.Bits}, bound{"ip_version_max", families[p.IPVersion].bits}
	for _, rule := range []struct {
		broken bool
		is, to bound
	}{
		{least.bits > most.bits, least, most}, {most.bits > all.bits, most, all},
		{usual.bits < least.bits, usual, least}, {usual.bits > most.bits, usual, most},
	} {
		if rule.broken {
			return fault.BadRequest("IllegalSubnetPoolPrefixBounds", "Illegal prefix bounds: %s=%d, %s=%d.",
				rule.is.name, rule.is.bits, rule.to.name, rule.to.bits)
		}
	}
	return nil
}

// onlyDefault refuses a second default pool of an IP version.
func (s *Service) onlyDefault(tx *store.Tx, caller *identity.Caller, version int) error {
	pool, err := s.defaultPool(tx, caller, version)
	if err == nil && pool != nil {
		err = fault.InvalidInput("A default subnetpool for this IP family has already been set. Only one default may exist per IP family")
	}
	return err
}

// defaultPool finds the default pool of an IP version; nil if there is none that the caller may see.
func (s *Service) defaultPool(tx *store.Tx, caller *identity.Caller, version int) (*model.Subnetpool, error) {
	pools, err := s.catalog.Subnetpools.Select(tx, &resource.Query{Caller: caller, Set: s.catalog.Subnetpools.Bits("id", "ip_version"),
		Where: []resource.Cond{{SQL: "t.is_default = ? AND t.ip_version = ?", Args: []any{true, version}}}})
	if err != nil || len(pools) == 0 {
		return nil, err
	}
	return pools[0], nil
}

func (s *Service) update(c *resource.Change[model.Subnetpool]) error {
	if c.Has("prefixes") {
		if err := onlyMore(c.Old, c.New); err != nil {
			return err
		}
	}
	set, err := readPrefixes(c.New)
	if err != nil {
		return err
	}
	if !c.Has("prefixes") {
		c.New.Prefixes = c.Old.Prefixes
	}
	if err := checkBounds(c.New); err != nil {
		return err
	}
	return s.save(c, set)
}

// onlyMore refuses an update that takes prefixes away: that is what remove_prefixes is for.
func onlyMore(old, now *model.Subnetpool) error {
	had, err := parse(old.Prefixes)
	if err != nil {
		return err
	}
	has, err := parse(now.Prefixes)
	if err != nil {
		return err
	}
	if !has.covers(had) {
		return fault.BadRequest("IllegalSubnetPoolPrefixUpdate", "Illegal update to prefixes: Existing prefixes must be a subset of the new prefixes.")
	}
	return nil
}

// save stores a changed pool whose prefixes are set, after the checks that depend on other objects.
func (s *Service) save(c *resource.Change[model.Subnetpool], set prefixSet) error {
	if c.New.IsDefault && !c.Old.IsDefault {
		if err := s.onlyDefault(c.Tx, c.Caller, c.New.IPVersion); err != nil {
			return err
		}
	}
	if c.Old.AddressScopeID != nil {
		if err := s.mayLeave(c); err != nil {
			return err
		}
	}
	if err := s.checkScope(c, set); err != nil {
		return err
	}
	if err := c.New.NameFits(); err != nil {
		return err
	}
	changed, err := s.catalog.Subnetpools.Save(c.Tx, c.Old, c.New)
	if err != nil || changed&s.catalog.Subnetpools.Bit("address_scope_id") == 0 {
		return err
	}
	return s.scopeChanged(c.Tx, c.New.ID)
}

func (s *Service) delete(c *resource.Change[model.Subnetpool]) error {
	if err := s.lock(c.Tx, c.Old.ID); err != nil {
		return err
	}
	used, err := exists(c.Tx, resource.Cond{SQL: "subnets WHERE subnetpool_id = ?", Args: []any{c.Old.ID}})
	if err != nil {
		return fmt.Errorf("read subnets of pool %s: %w", c.Old.ID, err)
	}
	if used {
		return fault.BadRequest("SubnetPoolDeleteError", "Unable to delete subnet pool: Subnet pool has existing allocations.")
	}
	return s.catalog.Subnetpools.Delete(c.Tx, c.Old)
}
