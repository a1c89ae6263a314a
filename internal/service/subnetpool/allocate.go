package subnetpool

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/service/ipam"
)

// Choose replaces a request for the default pool by one for a certain pool (hook of the ML2 plug-in).
func (s *Service) Choose(c *resource.Change[model.Subnet]) error {
	n := c.New
	switch {
	case !n.UseDefaultPool:
		return nil
	case n.SubnetpoolID != nil:
		return badRequest("subnetpool_id and use_default_subnetpool cannot both be specified")
	}
	version := n.IPVersion
	if cidr, err := netip.ParsePrefix(n.CIDR); err == nil {
		version = map[bool]int{true: 4, false: 6}[cidr.Addr().Is4()]
	}
	if version == 6 && s.delegate {
		id := model.PrefixDelegation
		n.SubnetpoolID = &id
		return nil
	}
	pool, err := s.defaultPool(c.Tx, c.Caller, version)
	if err != nil {
		return err
	}
	if pool == nil {
		return badRequest("No default subnetpool found for IPv%d", version)
	}
	n.SubnetpoolID = &pool.ID
	return nil
}

// badRequest is upstream's BadRequest about subnets.
func badRequest(format string, args ...any) error {
	return fault.BadRequest("BadRequest", "Bad subnets request: %s.", fmt.Sprintf(format, args...))
}

// Allocate gives a new subnet its prefix out of the pool that it names, and the gateway that follows from it; a prefix
// that the request names is checked (hook of the ML2 plug-in; upstream ipam/subnet_alloc.py).
func (s *Service) Allocate(c *resource.Change[model.Subnet]) error {
	n := c.New
	pool, err := s.catalog.Subnetpools.Get(c.Tx, c.Caller, *n.SubnetpoolID, s.catalog.Subnetpools.All)
	if err != nil {
		return err
	}
	if n.IPVersion != pool.IPVersion {
		return badRequest("Cannot allocate IPv%d subnet from IPv%d subnet pool", n.IPVersion, pool.IPVersion)
	}
	wanted, bits, err := wish(n, pool)
	if err != nil {
		return err
	}
	if err := fits(bits, pool); err != nil {
		return err
	}
	if err := s.lock(c.Tx, pool.ID); err != nil {
		return err
	}
	if err := checkQuota(c, pool, bits); err != nil {
		return err
	}
	free, err := freePrefixes(c, pool)
	if err != nil {
		return err
	}
	if wanted.IsValid() {
		if !free.covers(prefixSet{wanted}) {
			return allocationError("Cannot allocate requested subnet from the available set of prefixes")
		}
		n.CIDR = wanted.String()
		return nil
	}
	found, ok := free.smallest(bits)
	if !ok {
		return allocationError("Insufficient prefix space to allocate subnet size /" + strconv.Itoa(bits))
	}
	n.CIDR = found.String()
	if !c.Has("gateway_ip") { // for IPv6 too, where the gateway of a requested prefix is its first address
		gateway := found.Addr().Next().String()
		n.GatewayIP = &gateway
	}
	return nil
}

// allocationError has no HTTP status of its own, so it is an internal error, but one that says why.
func allocationError(reason string) error {
	return fault.New(500, "SubnetAllocationError", "Failed to allocate subnet: %s.", reason)
}

// wish finds out which prefix the request wants, or only how long it shall be. A gateway without a prefix stands for the
// prefix around it.
func wish(n *model.Subnet, pool *model.Subnetpool) (wanted netip.Prefix, bits int, err error) {
	if n.CIDR != "" {
		if wanted, err = netip.ParsePrefix(n.CIDR); err != nil {
			return wanted, 0, fmt.Errorf("prefix of subnet %s: %w", n.ID, err)
		}
		return wanted, wanted.Bits(), nil
	}
	bits = pool.DefaultPrefixlen.Bits
	if n.Prefixlen != nil {
		bits = *n.Prefixlen
	}
	if n.GatewayIP == nil {
		return netip.Prefix{}, bits, nil
	}
	gateway, err := netip.ParseAddr(*n.GatewayIP)
	if err != nil {
		return wanted, 0, fmt.Errorf("gateway of subnet %s: %w", n.ID, err)
	}
	if wanted, err = gateway.Prefix(bits); err != nil {
		return wanted, 0, fault.BadRequest("AddrFormatError", "invalid IPNetwork %s/%d", gateway, bits)
	}
	if !ipam.GatewayValid(wanted, gateway) {
		return wanted, 0, fault.Conflict("IpamValueInvalid", "Gateway IP %s cannot be the network or broadcast IP address %s", gateway, wanted)
	}
	return wanted, bits, nil
}

// fits compares a prefix length with what the pool allows.
func fits(bits int, pool *model.Subnetpool) error {
	switch {
	case bits > pool.MaxPrefixlen.Bits:
		return fault.BadRequest("MaxPrefixSubnetAllocationError", "Unable to allocate subnet with prefix length %d, maximum allowed prefix is %d.",
			bits, pool.MaxPrefixlen.Bits)
	case bits < pool.MinPrefixlen.Bits:
		return fault.BadRequest("MinPrefixSubnetAllocationError", "Unable to allocate subnet with prefix length %d, minimum allowed prefix is %d.",
			bits, pool.MinPrefixlen.Bits)
	}
	return nil
}

// checkQuota compares what a project has of the pool with its default_quota. As upstream, it is the project of the pool
// whose subnets count, whoever asks.
func checkQuota(c *resource.Change[model.Subnet], pool *model.Subnetpool, bits int) error {
	if pool.DefaultQuota == nil || *pool.DefaultQuota == 0 {
		return nil
	}
	unit := families[pool.IPVersion].unit
	units := func(bits int) float64 { return math.Exp2(float64(unit - bits)) }
	rows, err := c.Tx.Query("SELECT cidr FROM subnets WHERE subnetpool_id = ? AND project_id = ?", pool.ID, pool.ProjectID)
	if err != nil {
		return fmt.Errorf("read subnets of pool %s: %w", pool.ID, err)
	}
	defer rows.Close()
	sum := units(bits)
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return fmt.Errorf("read subnets of pool %s: %w", pool.ID, err)
		}
		cidr, err := netip.ParsePrefix(text)
		if err != nil {
			return fmt.Errorf("subnet of pool %s: %w", pool.ID, err)
		}
		sum += units(cidr.Bits())
	}
	if sum > float64(*pool.DefaultQuota) {
		return fault.Conflict("SubnetPoolQuotaExceeded", "Per-project subnet pool prefix quota exceeded.")
	}
	return rows.Err()
}

// freePrefixes are the prefixes of the pool that no subnet has.
func freePrefixes(c *resource.Change[model.Subnet], pool *model.Subnetpool) (prefixSet, error) {
	all, err := parse(pool.Prefixes)
	if err != nil {
		return nil, err
	}
	used, err := allocated(c.Tx, pool.ID)
	if err != nil {
		return nil, err
	}
	return all.minus(used), nil
}

// smallest finds a prefix of the wanted length at the start of the smallest member that has room for it, so that large
// ones stay whole.
func (s prefixSet) smallest(bits int) (netip.Prefix, bool) {
	bySize := slices.Clone(s)
	slices.SortStableFunc(bySize, func(a, b netip.Prefix) int { return b.Bits() - a.Bits() })
	for _, p := range bySize {
		if p.Bits() <= bits {
			return netip.PrefixFrom(p.Addr(), bits), true
		}
	}
	return netip.Prefix{}, false
}
