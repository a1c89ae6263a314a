package chaos

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"neutrino/test/lab"
)

// facts are statements about a host's kernel, such as "device tap… in brq… mtu 1450". What the API says is turned into
// facts here, what the kernel has in found_test.go, and both must be the same.
type facts map[string]bool

func (f facts) add(format string, args ...any) { f[fmt.Sprintf(format, args...)] = true }

// named is the device of a port, or the bridge of a network: upstream's prefix and as much of the id as fits.
func named(prefix, id string) string { return prefix + id[:11] }

// wanted are the facts that the API implies for a host.
func (w *world) wanted(s *snapshot, h *lab.Host) facts {
	f := facts{}
	networks := map[string]bool{}
	if w.OpenVSwitch {
		w.wantSwitch(f, s, h)
	}
	for _, p := range w.portsOn(s, h) {
		if w.OpenVSwitch {
			break
		}
		networks[p.network] = true
		f.add("device %s in %s mtu %d", named("tap", p.id), named("brq", p.network), s.networks[p.network].mtu)
		if !p.up {
			f.add("map guard: %s", named("tap", p.id))
			f.add("map ingress: %s", named("tap", p.id))
			continue
		}
		f.add("set ports: %s", named("tap", p.id))
		if p.security && !service(p) {
			s.wantFilter(f, p)
		}
	}
	for id := range networks {
		w.wantNetwork(f, s, s.networks[id], h)
	}
	if h == w.Network {
		for _, n := range s.networks {
			s.wantDHCP(f, n, map[bool]string{false: "ns-", true: "tap"}[w.OpenVSwitch])
		}
		for _, r := range s.routers {
			s.wantRouter(f, r)
		}
	}
	return f
}

func service(p port) bool { return strings.HasPrefix(p.owner, "network:") }

// portsOn are the ports that have a device on the host.
func (w *world) portsOn(s *snapshot, h *lab.Host) (all []port) {
	for _, p := range s.ports {
		switch {
		case !service(p):
			if slices.ContainsFunc(w.guests, func(g *guest) bool { return g.port == p.id && g.host == h }) {
				all = append(all, p)
			}
		case h != w.Network:
		case p.owner == "network:dhcp" && s.served(p.network):
			all = append(all, p)
		case p.owner == "network:router_interface" || p.owner == "network:router_gateway":
			if s.routers[p.device].up {
				all = append(all, p)
			}
		}
	}
	return all
}

// served tells whether there is DHCP on the network.
func (s *snapshot) served(network string) bool {
	if !s.agents[dhcpAgent].serves(network) || !s.networks[network].up {
		return false
	}
	for _, x := range s.subnets {
		if x.network == network && x.dhcp {
			return true
		}
	}
	return false
}

// waits tells whether a port that is wired is not ACTIVE because no agent serves its network: as with upstream's server it waits
// for the word of one that was switched off.
func (s *snapshot) waits(p port) bool {
	return p.up && p.status == "BUILD" && !s.served(p.network) && slices.ContainsFunc(p.fixed, func(f fixed) bool { return s.subnets[f.subnet].dhcp })
}

// wired tells whether other hosts know of a port.
func (s *snapshot) wired(p port) bool { return p.status == "ACTIVE" || s.waits(p) }

func (w *world) wantNetwork(f facts, s *snapshot, n network, h *lab.Host) {
	bridge := named("brq", n.id)
	f.add("device %s mtu %d", bridge, n.mtu)
	switch n.kind {
	case "flat":
		f.add("device ext0 in %s mtu 1500", bridge)
		f.add("set ports: ext0")
		return
	case "vlan":
		device := fmt.Sprintf("ext0.%d", n.segment)
		f.add("device %s in %s mtu 1500", device, bridge)
		f.add("set ports: %s", device)
		f.add("tag %d", n.segment)
		return
	}
	tunnel := fmt.Sprintf("vxlan-%d", n.segment)
	f.add("device %s in %s mtu %d", tunnel, bridge, n.mtu)
	f.add("set ports: %s", tunnel)
	w.wantForwarding(f, s, n, h)
}

// wantForwarding are the entries for ports elsewhere.
func (w *world) wantForwarding(f facts, s *snapshot, n network, h *lab.Host) {
	if !w.active(s, n, h) { // nobody here can use what it knows of others, which may be old
		return
	}
	tunnel, bridge := fmt.Sprintf("vxlan-%d", n.segment), named("brq", n.id)
	for _, o := range w.Hosts() {
		if o == h {
			continue
		}
		for _, p := range s.ports {
			if p.network != n.id || p.host != o.Name || !s.wired(p) {
				continue
			}
			f.add("forward %s 00:00:00:00:00:00 to %s", tunnel, o.Underlay)
			f.add("forward %s %s to %s", tunnel, p.mac, o.Underlay)
			for _, x := range p.fixed {
				f.add("neighbour %s %s %s", bridge, x.address, p.mac)
			}
		}
	}
}

// active tells whether a port of the network works on the host.
func (w *world) active(s *snapshot, n network, h *lab.Host) bool {
	return slices.ContainsFunc(w.portsOn(s, h), func(p port) bool { return p.network == n.id && s.wired(p) })
}

func (s *snapshot) wantFilter(f facts, p port) {
	tap := named("tap", p.id)
	for _, m := range []string{"guard", "egress", "ingress"} {
		f.add("map %s: %s", m, tap)
	}
	f.add("set macs: %s . %s", tap, p.mac)
	if s.isStateless(p) && s.hasRules(p) {
		f.add("set loose: %s", tap)
	}
	six := false
	pair := func(a netip.Addr) {
		if a.Is4() {
			f.add("set pairs4: %s . %s . %s", tap, p.mac, a)
			return
		}
		six = true
		f.add("set pairs6: %s . %s . %s", tap, p.mac, a)
	}
	for _, x := range s.sources(p) {
		if x.IsSingleIP() {
			pair(x.Addr())
			continue
		}
		six = six || x.Addr().Is6()
		f.add("map wide: %s", tap)
	}
	if six {
		pair(linkLocal(p.mac))
	}
	for _, g := range p.groups {
		f.add("chain in-%s", g)
		f.add("chain out-%s", g)
		for _, r := range s.groups[g] {
			s.wantMembers(f, r)
		}
	}
}

// hasRules tells whether a port's groups have any: without, hosts do not learn that they are stateless.
func (s *snapshot) hasRules(p port) bool {
	return slices.ContainsFunc(p.groups, func(g string) bool { return len(s.groups[g]) > 0 })
}

func (s *snapshot) wantMembers(f facts, r rule) {
	id, members := r.group, s.members(r.group)
	if r.addressGroup != "" {
		id, members = r.addressGroup, s.addressGroups[r.addressGroup]
	}
	if id == "" {
		return
	}
	set := "members4-" + id
	if r.v6 {
		set = "members6-" + id
	}
	f.add("set %s", set)
	for _, m := range members {
		inside := slices.ContainsFunc(members, func(o netip.Prefix) bool { return o.Bits() < m.Bits() && o.Overlaps(m) })
		if m.Addr().Is6() == r.v6 && !inside {
			f.add("set %s: %s", set, m)
		}
	}
}

// linkLocal is what the kernel makes of a MAC address (RFC 4291, appendix A).
func linkLocal(mac string) netip.Addr {
	b, _ := net.ParseMAC(mac)
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: b[0] ^ 2, 9: b[1], 10: b[2], 11: 0xff, 12: 0xfe, 13: b[3], 14: b[4], 15: b[5]})
}

func (s *snapshot) wantDHCP(f facts, n network, device string) {
	if !s.served(n.id) {
		return
	}
	f.add("namespace qdhcp-%s", n.id)
	for _, p := range s.ports {
		if p.network == n.id && p.owner == "network:dhcp" {
			s.wantAddresses(f, "qdhcp-"+n.id, named(device, p.id), p.fixed)
		}
	}
}

func (s *snapshot) wantAddresses(f facts, namespace, device string, list []fixed) {
	for _, x := range list {
		f.add("%s: %s has %s", namespace, device, netip.PrefixFrom(x.address, s.subnets[x.subnet].prefix.Bits()))
	}
}

func (s *snapshot) wantRouter(f facts, r router) {
	interfaces := s.interfacesOf(r.id)
	if !r.up {
		return
	}
	namespace := "qrouter-" + r.id
	f.add("namespace %s", namespace)
	for _, label := range s.labels {
		f.add("%s: counts %s", namespace, label)
	}
	for _, p := range interfaces {
		s.wantAddresses(f, namespace, named("qr-", p.id), p.fixed)
	}
	for _, e := range r.routes {
		f.add("%s: route %s via %s", namespace, e.to, e.via)
	}
	for _, p := range s.ports {
		if p.device == r.id && p.owner == "network:router_gateway" {
			s.wantGateway(f, r, p)
		}
	}
}

func (s *snapshot) wantGateway(f facts, r router, p port) {
	namespace, device := "qrouter-"+r.id, named("qg-", p.id)
	s.wantAddresses(f, namespace, device, p.fixed)
	for _, x := range p.fixed {
		f.add("%s: route default via %s", namespace, s.subnets[x.subnet].gateway)
	}
	if r.snat {
		f.add("%s: snat to %s", namespace, r.fixed[0].address)
	}
	source := map[netip.Addr]netip.Addr{}
	for _, x := range s.floatingIPs {
		if x.router != r.id || x.port == "" {
			continue
		}
		f.add("%s: %s has %s", namespace, device, single(x.address))
		f.add("%s: %s is %s", namespace, x.address, x.fixed)
		if old := source[x.fixed]; !old.IsValid() || x.address.Less(old) {
			source[x.fixed] = x.address
		}
	}
	for inside, outside := range source {
		f.add("%s: %s goes out as %s", namespace, inside, outside)
	}
}
