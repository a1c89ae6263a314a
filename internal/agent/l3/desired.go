package l3

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"neutrino/internal/linux/veth"
	"neutrino/internal/ra"
	"neutrino/internal/rpc"
)

// options of the host that shape every router.
type options struct {
	metadataPort int        // 0: no metadata proxy
	ipv6         bool       // the kernel knows IPv6
	ipv6Gateway  netip.Addr // default gateway of external networks without IPv6 gateway; invalid = by advertisement

	advertisements ra.Interval
}

// builder collects a State, and what of the router could not be understood.
type builder struct {
	options
	state    State
	problems []error
}

// desired says what the router should look like. What cannot be understood is left out and reported, so that one bad
// route or address does not take the rest of the router down.
func desired(r rpc.Router, o options) (State, []error) {
	b := builder{options: o, state: State{ID: r.ID}}
	b.state.NAT.MetadataPort = o.metadataPort
	for _, p := range r.Interfaces {
		if p.AdminStateUp {
			b.internal(p)
		}
	}
	routes := map[netip.Prefix][]Hop{}
	if r.GatewayPort != nil {
		b.external(*r.GatewayPort, r.FloatingIPs, routes)
		b.state.NAT.EnableSNAT = r.EnableSNAT
	}
	slices.SortFunc(b.state.Interfaces, func(x, y Interface) int { return cmp.Compare(x.Name, y.Name) })
	b.scopes(r.GatewayPort, r.Interfaces)
	b.extraRoutes(r.Routes, routes)
	b.sortRoutes(routes)
	return b.state, b.problems
}

func (b *builder) problem(format string, args ...any) {
	b.problems = append(b.problems, fmt.Errorf(format, args...))
}

// port starts an Interface with what both kinds have in common.
func (b *builder) port(p rpc.Port, prefix string) (Interface, bool) {
	i := Interface{Name: veth.DeviceName(prefix, p.ID), PortID: p.ID, Network: p.NetworkID, MTU: p.MTU}
	mac, err := net.ParseMAC(p.MACAddress)
	if err != nil || len(mac) != 6 {
		b.problem("port %s: MAC address %q", p.ID, p.MACAddress)
		return i, false
	}
	i.MAC = mac
	lengths := prefixLengths(p)
	for _, ip := range p.FixedIPs {
		addr, err := netip.ParseAddr(ip.IPAddress)
		if err != nil {
			b.problem("port %s: %w", p.ID, err)
			continue
		}
		if addr.Is6() && !b.ipv6 {
			continue
		}
		bits := cmp.Or(ip.Prefixlen, lengths[ip.SubnetID], addr.BitLen())
		i.Addresses = append(i.Addresses, netip.PrefixFrom(addr, bits))
	}
	return i, true
}

func prefixLengths(p rpc.Port) map[string]int {
	bits := map[string]int{}
	for _, s := range p.Subnets {
		if c, err := netip.ParsePrefix(s.CIDR); err == nil {
			bits[s.ID] = c.Bits()
		}
	}
	return bits
}

func (b *builder) internal(p rpc.Port) {
	i, ok := b.port(p, internalPrefix)
	if !ok {
		return
	}
	if hasIPv6(i.Addresses) {
		i.Advertise = ra.ForSubnets(p.MTU, b.advertisements, b.advertised(p.Subnets))
		i.Addresses = append(i.Addresses, linkLocal(i.MAC))
		if b.metadataPort != 0 {
			i.Metadata = true
			i.Addresses = append(i.Addresses, metadataV6)
		}
	}
	b.add(i)
}

func (b *builder) add(i Interface) {
	slices.SortFunc(i.Addresses, comparePrefix)
	i.Addresses = slices.Compact(i.Addresses)
	b.state.Interfaces = append(b.state.Interfaces, i)
}

func (b *builder) advertised(subnets []rpc.RouterSubnet) []ra.Subnet {
	var out []ra.Subnet
	for _, s := range subnets {
		prefix, err := netip.ParsePrefix(s.CIDR)
		if err != nil || !prefix.Addr().Is6() {
			continue
		}
		sub := ra.Subnet{Prefix: prefix}
		if s.IPv6RAMode != nil {
			sub.Mode = *s.IPv6RAMode
		}
		for _, server := range s.DNSNameservers {
			if addr, err := netip.ParseAddr(server); err == nil {
				sub.NameServers = append(sub.NameServers, addr)
			}
		}
		out = append(out, sub)
	}
	return out
}

func (b *builder) external(p rpc.Port, floating []rpc.FloatingIP, routes map[netip.Prefix][]Hop) {
	i, ok := b.port(p, externalPrefix)
	if !ok {
		return
	}
	i.External = true
	nat := &b.state.NAT
	nat.Gateway = i.Name
	if n := slices.IndexFunc(i.Addresses, func(a netip.Prefix) bool { return a.Addr().Is4() }); n >= 0 {
		nat.Source = i.Addresses[n].Addr() // upstream: the first IPv4 address in the port's order
	}
	nat.FloatingIPs = b.floatingIPs(floating)
	i.Addresses = slices.Grow(i.Addresses, len(nat.FloatingIPs)+1)
	for _, pair := range nat.FloatingIPs {
		i.Addresses = append(i.Addresses, netip.PrefixFrom(pair.Floating, pair.Floating.BitLen()))
	}
	for _, s := range p.ExtraSubnets {
		if c, err := netip.ParsePrefix(s.CIDR); err == nil && b.usable(c.Addr()) {
			routes[c.Masked()] = []Hop{{Dev: i.Name}}
		}
	}
	v6 := b.defaultRoutes(p, i.Name, routes)
	if b.ipv6 {
		i.AcceptRA = !v6
		i.Addresses = append(i.Addresses, linkLocal(i.MAC))
	}
	b.add(i)
}

// floatingIPs returns the translations, at most one for a fixed address: a packet can leave with one source only.
func (b *builder) floatingIPs(floating []rpc.FloatingIP) []Pair {
	pairs := make([]Pair, 0, len(floating))
	for _, f := range floating {
		if f.FixedIPAddress == nil {
			continue
		}
		outside, err1 := netip.ParseAddr(f.FloatingIPAddress)
		inside, err2 := netip.ParseAddr(*f.FixedIPAddress)
		if err1 != nil || err2 != nil || !outside.Is4() || !inside.Is4() {
			b.problem("floating IP %s: %s to %s is no IPv4 translation", f.ID, f.FloatingIPAddress, *f.FixedIPAddress)
			continue
		}
		pairs = append(pairs, Pair{outside, inside})
	}
	slices.SortFunc(pairs, func(x, y Pair) int {
		return cmp.Or(x.Floating.Compare(y.Floating), x.Fixed.Compare(y.Fixed))
	})
	return slices.CompactFunc(pairs, func(x, y Pair) bool { return x.Floating == y.Floating })
}

// defaultRoutes adds the default routes by the subnets' gateways, in each family the first one's. It tells whether
// there is one for IPv6.
func (b *builder) defaultRoutes(p rpc.Port, dev string, routes map[netip.Prefix][]Hop) (v6 bool) {
	for _, s := range p.Subnets {
		if s.GatewayIP == nil || *s.GatewayIP == "" {
			continue
		}
		gateway, err := netip.ParseAddr(*s.GatewayIP)
		if err != nil {
			b.problem("gateway of subnet %s: %w", s.ID, err)
			continue
		}
		if !b.usable(gateway) {
			continue
		}
		cidr, err := netip.ParsePrefix(s.CIDR)
		if err == nil && !cidr.Contains(gateway) && !gateway.IsLinkLocalUnicast() {
			routes[netip.PrefixFrom(gateway, gateway.BitLen())] = []Hop{{Dev: dev}}
		}
		addDefault(routes, gateway, dev)
		v6 = v6 || gateway.Is6()
	}
	if !v6 && b.ipv6 && b.ipv6Gateway.IsValid() {
		addDefault(routes, b.ipv6Gateway, dev)
		v6 = true
	}
	return v6
}

func addDefault(routes map[netip.Prefix][]Hop, gateway netip.Addr, dev string) {
	everything := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if gateway.Is6() {
		everything = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	if _, ok := routes[everything]; !ok {
		routes[everything] = []Hop{{gateway, dev}}
	}
}

// extraRoutes adds the router's routes attribute. A destination that is there already, like the default route, is
// replaced, as upstream does; several next hops of one destination share the load.
func (b *builder) extraRoutes(extra []rpc.Route, routes map[netip.Prefix][]Hop) {
	own := map[netip.Prefix][]Hop{}
	for _, r := range extra {
		dst, err := netip.ParsePrefix(r.Destination)
		if err != nil {
			b.problem("route: %w", err)
			continue
		}
		via, err := netip.ParseAddr(r.Nexthop)
		if err != nil || via.Is4() != dst.Addr().Is4() {
			b.problem("route to %s: next hop %q", r.Destination, r.Nexthop)
			continue
		}
		if !b.usable(via) {
			continue
		}
		dev, ok := b.deviceTowards(via, routes)
		if !ok {
			b.problem("route to %s: next hop %s is on no network of the router", r.Destination, r.Nexthop)
			continue
		}
		own[dst.Masked()] = append(own[dst.Masked()], Hop{via, dev})
	}
	for dst, hops := range own {
		slices.SortFunc(hops, compareHop)
		routes[dst] = slices.Compact(hops)
	}
}

// deviceTowards finds the interface whose link has the address: the longest prefix wins.
func (b *builder) deviceTowards(via netip.Addr, routes map[netip.Prefix][]Hop) (dev string, ok bool) {
	best := -1
	consider := func(p netip.Prefix, name string) {
		if p.Bits() > best && p.Masked().Contains(via) {
			best, dev = p.Bits(), name
		}
	}
	for _, i := range b.state.Interfaces {
		for _, a := range i.Addresses {
			if !a.IsSingleIP() && !a.Addr().IsLinkLocalUnicast() {
				consider(a, i.Name)
			}
		}
	}
	for dst, hops := range routes {
		if !hops[0].Via.IsValid() {
			consider(dst, hops[0].Dev)
		}
	}
	return dev, best >= 0
}

func (b *builder) sortRoutes(routes map[netip.Prefix][]Hop) {
	for dst, hops := range routes {
		b.state.Routes = append(b.state.Routes, Route{dst, hops})
	}
	slices.SortFunc(b.state.Routes, func(x, y Route) int { return comparePrefix(x.Dst, y.Dst) })
}

func (b *builder) usable(a netip.Addr) bool { return a.Is4() || b.ipv6 }

func hasIPv6(addrs []netip.Prefix) bool {
	return slices.ContainsFunc(addrs, func(a netip.Prefix) bool { return a.Addr().Is6() })
}

func comparePrefix(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), a.Bits()-b.Bits())
}

func compareHop(a, b Hop) int { return cmp.Or(a.Via.Compare(b.Via), cmp.Compare(a.Dev, b.Dev)) }
