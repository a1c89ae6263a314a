package ipam

import (
	"net/netip"
	"slices"

	"neutrino/internal/fault"
	"neutrino/internal/model"
)

// DefaultGateway is the gateway of a subnet whose request does not name one: the first host address, for IPv6 the
// network address, which every router answers to (RFC 4291, section 2.6.1).
func DefaultGateway(cidr netip.Prefix) netip.Addr {
	if cidr.Addr().Is6() {
		return cidr.Masked().Addr()
	}
	return cidr.Masked().Addr().Next()
}

// hosts is what pools may cover: without the network address and, for IPv4, without the broadcast address.
func hosts(cidr netip.Prefix) span {
	all := span{cidr.Masked().Addr(), last(cidr)}
	switch {
	case cidr.Addr().Is6():
		if all.first != all.last {
			all.first = all.first.Next()
		}
	case cidr.Bits() <= 30:
		all.first, all.last = all.first.Next(), all.last.Prev()
	}
	return all
}

// DefaultPools are the pools of a subnet whose request does not name any: everything but the gateway.
func DefaultPools(cidr netip.Prefix, gateway netip.Addr) []model.Pool {
	all := hosts(cidr)
	if cidr.IsSingleIP() || !all.contains(gateway) {
		return spans{all}.pools()
	}
	var parts spans
	if gateway != all.first {
		parts = append(parts, span{all.first, gateway.Prev()})
	}
	if gateway != all.last {
		parts = append(parts, span{gateway.Next(), all.last})
	}
	return parts.pools()
}

// CheckPools refuses pools that are no ranges of the subnet or that overlap.
func CheckPools(cidr netip.Prefix, pools []model.Pool) error {
	allowed := hosts(cidr)
	if cidr.Addr().Is6() && cidr.IsSingleIP() {
		allowed.first = allowed.first.Next() // upstream leaves no valid pool in a /128
	}
	all := make(spans, len(pools))
	for i, p := range pools {
		var err error
		if all[i], err = parseSpan(p); err != nil {
			return fault.BadRequest("InvalidAllocationPool", "The allocation pool {'start': '%s', 'end': '%s'} is not valid.", p.Start, p.End)
		}
	}
	for _, s := range all {
		if s.first.Is4() != cidr.Addr().Is4() {
			return fault.BadRequest("InvalidAllocationPool", "The allocation pool %s is not valid.", s)
		}
		if !allowed.contains(s.first) || !allowed.contains(s.last) {
			return fault.BadRequest("OutOfBoundsAllocationPool", "The allocation pool %s spans beyond the subnet cidr %s.", s, cidr)
		}
	}
	if i, j, found := all.overlap(); found {
		return fault.Conflict("OverlappingAllocationPools", "Found overlapping allocation pools: %s %s for subnet %s.", all[i], all[j], cidr)
	}
	return nil
}

// overlap finds the first range that overlaps another one, and that one.
func (s spans) overlap() (first, second int, found bool) {
	order := make([]int, len(s))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return s[a].first.Compare(s[b].first) })
	first = len(s)
	for k, furthest := 1, 0; k < len(order); k++ { // furthest is the place of the range before k that ends last
		if !s[order[furthest]].last.Less(s[order[k]].first) {
			first = min(first, order[furthest], order[k])
		}
		if s[order[furthest]].last.Less(s[order[k]].last) {
			furthest = k
		}
	}
	for i := range s {
		if first < i && (s[i].contains(s[first].first) || s[first].contains(s[i].first)) {
			return first, i, true
		}
	}
	return 0, 0, false
}

func parseSpan(p model.Pool) (span, error) {
	first, err := netip.ParseAddr(p.Start)
	if err != nil {
		return span{}, err
	}
	end, err := netip.ParseAddr(p.End)
	if err != nil {
		return span{}, err
	}
	if first.Is4() != end.Is4() || end.Less(first) {
		return span{}, fault.InvalidInput("%s is not before %s", p.Start, p.End)
	}
	return span{first, end}, nil
}

// CheckGatewayOutside refuses a gateway that a pool would hand out.
func CheckGatewayOutside(gateway netip.Addr, pools []model.Pool) error {
	for _, p := range pools {
		if s, err := parseSpan(p); err == nil && s.contains(gateway) {
			return fault.Conflict("GatewayConflictWithAllocationPools", "Gateway ip %s conflicts with allocation pool %s.", gateway, s)
		}
	}
	return nil
}

// GatewayValid tells whether the address may be a gateway: inside an IPv4 subnet it must not be the network or the
// broadcast address; outside anything goes.
func GatewayValid(cidr netip.Prefix, gateway netip.Addr) bool {
	return !cidr.Contains(gateway) || cidr.Addr().Is6() || gateway != cidr.Masked().Addr() && gateway != last(cidr)
}

// EUI64 is the address that a host with this MAC address makes for itself in a /64 (RFC 4291, appendix A).
func EUI64(cidr netip.Prefix, mac string) (netip.Addr, error) {
	hw, err := parseMAC(mac)
	if err != nil {
		return netip.Addr{}, fault.InvalidInput("Bad prefix or mac format for generating IPv6 address by EUI-64: %s, %s", cidr, mac)
	}
	b := cidr.Masked().Addr().As16()
	copy(b[8:], []byte{hw[0] ^ 2, hw[1], hw[2], 0xff, 0xfe, hw[3], hw[4], hw[5]})
	return netip.AddrFrom16(b), nil
}

// isEUI64 tells whether the address looks like one made of a MAC address.
func isEUI64(a netip.Addr) bool {
	if !a.Is6() {
		return false
	}
	b := a.As16()
	return b[11] == 0xff && b[12] == 0xfe
}
