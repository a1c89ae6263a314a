package ml2

import (
	"database/sql"
	"fmt"
	"net/netip"
	"slices"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"
)

// provisionalPrefix is what a subnet has until the provider's router has delegated a prefix to it (neutron_lib
// constants, PROVISIONAL_IPV6_PD_PREFIX).
const provisionalPrefix = "::/64"

// isProvisional tells whether the prefix of a subnet is to be delegated.
func isProvisional(s *model.Subnet) bool {
	return s.SubnetpoolID != nil && *s.SubnetpoolID == model.PrefixDelegation
}

// choosePool makes sure that the request says where its prefix comes from. It tells whether prefix delegation was asked
// for; a request that names a prefix gets that one all the same.
func (p *Plugin) choosePool(c *resource.Change[model.Subnet]) (delegated bool, err error) {
	s := c.New
	if s.CIDR != "" && s.Prefixlen != nil {
		return false, badRequest("subnets", "cidr and prefixlen must not be supplied together")
	}
	if p.Hooks.ChoosePool != nil {
		if err := p.Hooks.ChoosePool(c); err != nil {
			return false, err
		}
	}
	switch {
	case s.SubnetpoolID == nil && s.CIDR == "":
		return false, badRequest("subnets", "a subnetpool must be specified in the absence of a cidr")
	case s.SubnetpoolID == nil:
		return false, nil
	case s.CIDR == "" && c.Has("allocation_pools"):
		return false, badRequest("subnets", "allocation_pools allowed only for specific subnet requests.")
	case isProvisional(s) && s.CIDR != "":
		s.SubnetpoolID = nil
		return true, nil
	case isProvisional(s):
		s.CIDR = provisionalPrefix
		return true, checkDelegated(s)
	case p.Hooks.SubnetFromPool == nil:
		return false, fault.NotFound("SubnetPoolNotFound", "Subnet pool %s could not be found.", *s.SubnetpoolID)
	}
	return false, nil
}

// checkDelegated refuses what prefix delegation cannot do.
func checkDelegated(s *model.Subnet) error {
	automatic := func(mode *string) bool { return mode != nil && *mode != "dhcpv6-stateful" }
	switch {
	case s.IPVersion != 6:
		return badRequest("subnets", "Prefix Delegation can only be used with IPv6 subnets.")
	case !automatic(s.IPv6RAMode):
		return badRequest("subnets", "IPv6 RA Mode must be SLAAC or Stateless for Prefix Delegation.")
	case !automatic(s.IPv6AddressMode):
		return badRequest("subnets", "IPv6 Address Mode must be SLAAC or Stateless for Prefix Delegation.")
	}
	return nil
}

// neighbour is another subnet of the same network.
type neighbour struct {
	cidr, pool, scope string // "" = none
	version           int
}

// checkNeighbours compares a new subnet with the others of its network: no overlap, and all of a family from one pool
// or, if it is in one, from one address scope (upstream ipam_backend_mixin.py, _validate_network_subnetpools).
func checkNeighbours(tx *store.Tx, s *model.Subnet) error {
	cidr, err := netip.ParsePrefix(s.CIDR)
	if err != nil {
		return fmt.Errorf("subnet %s: %w", s.ID, err)
	}
	if cidr.Bits() == 0 {
		return fault.InvalidInput("0 is not allowed as CIDR prefix length")
	}
	others, err := neighbours(tx, s.NetworkID)
	if err != nil {
		return err
	}
	for _, o := range others {
		if p, err := netip.ParsePrefix(o.cidr); err == nil && p.Overlaps(cidr) && o.cidr != provisionalPrefix {
			return fault.InvalidInput("Requested subnet with cidr: %s for network: %s overlaps with another subnet", s.CIDR, s.NetworkID)
		}
	}
	others = slices.DeleteFunc(others, func(o neighbour) bool { return o.version != s.IPVersion })
	if i := slices.IndexFunc(others, func(o neighbour) bool { return o.scope != "" }); i >= 0 && s.SubnetpoolID != nil {
		return sameScope(tx, s, others[i].scope)
	}
	pool := ""
	if s.SubnetpoolID != nil {
		pool = *s.SubnetpoolID
	}
	if slices.ContainsFunc(others, func(o neighbour) bool { return o.pool != pool }) {
		return fault.BadRequest("NetworkSubnetPoolAffinityError", "Subnets hosted on the same network must be allocated from the same subnet pool.")
	}
	return nil
}

func neighbours(tx *store.Tx, networkID string) ([]neighbour, error) {
	rows, err := tx.Query("SELECT s.cidr, COALESCE(s.subnetpool_id, ''), COALESCE(p.address_scope_id, ''), s.ip_version FROM subnets s "+
		"LEFT JOIN subnetpools p ON p.id = s.subnetpool_id WHERE s.network_id = ?", networkID)
	list, err := store.All(rows, err, func(r *sql.Rows) (n neighbour, err error) {
		return n, r.Scan(&n.cidr, &n.pool, &n.scope, &n.version)
	})
	if err != nil {
		return nil, fmt.Errorf("read subnets of network %s: %w", networkID, err)
	}
	return list, nil
}

// sameScope refuses a pool that is not in the address scope of the network.
func sameScope(tx *store.Tx, s *model.Subnet, scope string) error {
	found, _, err := store.One[string](tx.QueryRow("SELECT COALESCE(address_scope_id, '') FROM subnetpools WHERE id = ?", *s.SubnetpoolID))
	if err != nil {
		return fmt.Errorf("read subnet pool %s: %w", *s.SubnetpoolID, err)
	}
	if found != scope {
		return fault.BadRequest("NetworkAddressScopeAffinityError", "Subnets of the same address family hosted on the same network must "+
			"all participate in the same address scope.")
	}
	return nil
}
