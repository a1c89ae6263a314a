package chaos

import (
	"fmt"
	"net/netip"
	"slices"

	"neutrino/test/lab"
)

// may tells whether a probe must be answered, by what the API says.
func (s *snapshot) may(p probe) bool { return s.why(p) == "" }

// why says what keeps a probe from being answered; "" if nothing does.
func (s *snapshot) why(p probe) string {
	if p.from.guest == nil {
		return s.whyFromOutside(p)
	}
	from, ok := s.ports[p.from.guest.port]
	to, target := s.target(from, p)
	near := target && s.sameSubnet(from, p.src, p.dst)
	switch {
	case !ok || !from.up:
		return "the sender's port is down"
	case !s.maySendFrom(from, p.src):
		return "the source is not the sender's (port security)"
	case !s.groupsAllow(from, false, p.dst, p.traffic):
		return "no egress rule of the sender"
	case s.isStateless(from) && !s.groupsAllow(from, true, p.dst, p.answer()):
		return "no ingress rule of the stateless sender for the answer"
	case p.dst == lab.InternetIP && !s.goesOut(from, p.src):
		return "no way out that translates"
	case p.dst == lab.InternetIP:
		return ""
	case !target:
		return "nobody has the address"
	case !to.up:
		return "the receiver's port is down"
	case !near && !s.routed(from, p.src, p.dst):
		return "no route there"
	case !near && !s.routed(to, p.dst, p.src):
		return "no route back"
	}
	return s.whyNotTo(to, p)
}

// whyNotTo says what groups of the receiver keep a probe from being answered.
func (s *snapshot) whyNotTo(to port, p probe) string {
	switch {
	case !s.groupsAllow(to, true, p.src, p.traffic):
		return "no ingress rule of the receiver"
	case s.isStateless(to) && !s.groupsAllow(to, false, p.src, p.answer()):
		return "no egress rule of the stateless receiver for the answer"
	}
	return ""
}

// explain writes a probe with what must become of it, and why.
func (s *snapshot) explain(p probe) string {
	why := s.why(p)
	if why == "" {
		why = "must be answered: groups and routes allow it"
	} else {
		why = "must not be answered: " + why
	}
	return fmt.Sprintf("%s; from %s; to %s", why, s.describe(p.from.guest, p.src), s.describe(nil, p.dst))
}

// describe tells of the port that has an address what matters for probes.
func (s *snapshot) describe(g *guest, a netip.Addr) string {
	var found *port
	for _, p := range s.ports {
		if g != nil && p.id == g.port || g == nil && slices.ContainsFunc(p.fixed, func(f fixed) bool { return f.address == a }) {
			found = &p
		}
	}
	if found == nil {
		return a.String()
	}
	n := s.networks[found.network]
	return fmt.Sprintf("port %s (%s, %s) on %s, %s network %d, up %v, security %v, groups %v, pairs %v", found.id, found.mac, found.status, found.host,
		n.kind, n.segment, found.up, found.security, found.groups, found.pairs)
}

// isStateless tells whether connections of a port are not looked at: all its groups are stateless, or none.
func (s *snapshot) isStateless(p port) bool {
	return slices.ContainsFunc(p.groups, func(g string) bool { return s.stateless[g] })
}

// answer is traffic from the port that a service listens on to that of a client, which is any of those that the kernel gives.
func (t traffic) answer() traffic {
	if t.port != 0 {
		t.port = clientPort
	}
	t.reply = true
	return t
}

// clientPort stands for those of clients (net.ipv4.ip_local_port_range).
const clientPort = 32768

// maySendFrom is anti-spoofing.
func (s *snapshot) maySendFrom(p port, src netip.Addr) bool {
	return !p.security || slices.ContainsFunc(s.sources(p), func(x netip.Prefix) bool { return x.Contains(src) })
}

// sources are the addresses that a port may use; members of a remote group are these too.
func (s *snapshot) sources(p port) (all []netip.Prefix) {
	for _, f := range p.fixed {
		all = append(all, single(f.address))
	}
	return append(all, p.pairs...)
}

// target finds whose address a guest's probe goes to.
func (s *snapshot) target(from port, p probe) (port, bool) {
	if to, ok := s.portWith(from.network, p.dst); ok {
		return to, true
	}
	for _, n := range s.networks {
		if to, ok := s.portWith(n.id, p.dst); ok && n.id != from.network {
			return to, true
		}
	}
	return port{}, false
}

// sameSubnet tells whether both addresses are on one subnet of the port's network, so that no router is needed.
func (s *snapshot) sameSubnet(p port, a, b netip.Addr) bool {
	for _, x := range s.subnets {
		if x.network == p.network && x.prefix.Contains(a) && x.prefix.Contains(b) {
			return true
		}
	}
	return false
}

// first is the address with which a port goes through a router: the guest's default route is its subnet's.
func (p port) first(v6 bool) (fixed, bool) {
	for _, f := range p.fixed {
		if f.address.Is6() == v6 {
			return f, true
		}
	}
	return fixed{}, false
}

// gatewayOf is the router at the gateway address of the port's first subnet.
func (s *snapshot) gatewayOf(p port, src netip.Addr) (router, bool) {
	f, ok := p.first(src.Is6())
	if !ok || !s.subnets[f.subnet].prefix.Contains(src) {
		return router{}, false
	}
	at, ok := s.portWith(p.network, s.subnets[f.subnet].gateway)
	if !ok || !at.up {
		return router{}, false
	}
	r, ok := s.routers[at.device]
	return r, ok && r.up
}

// routed tells whether packets from the address find their way to the other by routers, all within one address scope.
func (s *snapshot) routed(p port, src, dst netip.Addr) bool {
	r, ok := s.gatewayOf(p, src)
	for hops := 0; ok && hops < 4; hops++ {
		if out, there := s.connects(r, dst); there {
			return s.sameScope(p, out, src)
		}
		if r, ok = s.next(r, dst, func(out subnet) bool { return s.sameScope(p, out, src) }); !ok {
			return false
		}
	}
	return false
}

// sameScope tells whether an address of a port and those of a subnet are of one address scope. There are none of IPv6.
func (s *snapshot) sameScope(p port, x subnet, src netip.Addr) bool {
	return src.Is6() || s.networks[p.network].scope == s.networks[x.network].scope
}

// connects finds the subnet of the address that the router has an interface on.
func (s *snapshot) connects(r router, a netip.Addr) (subnet, bool) {
	for _, i := range s.interfacesOf(r.id) {
		for _, f := range i.fixed {
			if i.up && s.subnets[f.subnet].prefix.Contains(a) {
				return s.subnets[f.subnet], true
			}
		}
	}
	return subnet{}, false
}

// next follows an extra route, if it may leave by the subnet that the other router is on.
func (s *snapshot) next(r router, dst netip.Addr, may func(subnet) bool) (router, bool) {
	for _, e := range r.routes {
		out, there := s.connects(r, e.via)
		if !e.to.Contains(dst) || !there {
			continue
		}
		for _, p := range s.ports {
			if p.owner == "network:router_interface" && p.up && slices.ContainsFunc(p.fixed, func(f fixed) bool { return f.address == e.via }) {
				n, ok := s.routers[p.device]
				return n, ok && n.up && may(out)
			}
		}
	}
	return router{}, false
}

// goesOut tells whether packets to the internet find their way there and back: translated ones do, and those of the external
// network's address scope, which the internet has routes for.
func (s *snapshot) goesOut(p port, src netip.Addr) bool {
	r, ok := s.gatewayOf(p, src)
	if !ok || r.external == "" || src.Is6() {
		return false
	}
	if r.snat || s.networks[p.network].scope == s.networks[r.external].scope {
		return true
	}
	for _, f := range s.floatingIPs {
		if f.fixed == src && f.port == p.id && f.router == r.id {
			return true
		}
	}
	return false
}

// routeOutside gives the internet routes to all subnets behind routers, whatever their scope.
func (w *world) routeOutside(s *snapshot) {
	want := map[netip.Prefix]netip.Addr{}
	for _, r := range s.routers {
		for _, p := range s.interfacesOf(r.id) {
			for _, f := range p.fixed {
				if x := s.subnets[f.subnet]; f.address.Is4() && x.gateway == f.address && len(r.fixed) > 0 {
					want[x.prefix] = r.fixed[0].address
				}
			}
		}
	}
	for to, via := range want {
		if w.outside[to] != via {
			w.Internet.Run(fmt.Sprintf("ip route replace %s via %s", to, via))
		}
	}
	for to := range w.outside {
		if !want[to].IsValid() {
			w.Internet.Run("ip route del " + to.String())
		}
	}
	w.outside = want
}

// whyFromOutside is for probes from the internet to floating IPs, and to addresses of guests.
func (s *snapshot) whyFromOutside(p probe) string {
	for _, f := range s.floatingIPs {
		if f.address != p.dst || f.port == "" {
			continue
		}
		to := s.ports[f.port]
		r, ok := s.gatewayOf(to, f.fixed)
		switch {
		case !to.up:
			return "the receiver's port is down"
		case !ok || r.id != f.router || r.external == "":
			return "the floating IP's router does not work"
		}
		return s.whyNotTo(to, p)
	}
	for _, to := range s.ports {
		if f, ok := to.first(false); !ok || f.address != p.dst {
			continue
		}
		r, ok := s.gatewayOf(to, p.dst)
		switch {
		case !to.up:
			return "the receiver's port is down"
		case !ok || r.external == "":
			return "no way in"
		case s.networks[to.network].scope != s.networks[r.external].scope:
			return "the receiver is of another address scope"
		}
		return s.whyNotTo(to, p)
	}
	return "no floating IP"
}

func (s *snapshot) groupsAllow(p port, ingress bool, remote netip.Addr, t traffic) bool {
	if !p.security {
		return true
	}
	for _, g := range p.groups {
		if slices.ContainsFunc(s.groups[g], func(r rule) bool { return r.ingress == ingress && s.matches(r, remote, t) }) {
			return true
		}
	}
	return false
}

func (s *snapshot) matches(r rule, remote netip.Addr, t traffic) bool {
	if r.v6 != remote.Is6() {
		return false
	}
	protocol := t.protocol
	if protocol == "icmp" && r.v6 {
		protocol = "ipv6-icmp"
	}
	if r.protocol != "" && r.protocol != protocol || !r.covers(t) {
		return false
	}
	contains := func(p netip.Prefix) bool { return p.Contains(remote) }
	switch {
	case r.prefix.IsValid():
		return contains(r.prefix)
	case r.addressGroup != "":
		return slices.ContainsFunc(s.addressGroups[r.addressGroup], contains)
	case r.group != "":
		return slices.ContainsFunc(s.members(r.group), contains)
	}
	return true
}

// covers tells whether a rule is about the ports of TCP and UDP, or the type of ICMP.
func (r rule) covers(t traffic) bool {
	if t.protocol == "icmp" {
		return !r.typed || r.min == t.kind(r.v6)
	}
	return !r.typed || r.min <= t.port && t.port <= r.max
}

// members are the addresses of a remote group.
func (s *snapshot) members(group string) (all []netip.Prefix) {
	for _, p := range s.ports {
		if slices.Contains(p.groups, group) {
			all = append(all, s.sources(p)...)
		}
	}
	return all
}
