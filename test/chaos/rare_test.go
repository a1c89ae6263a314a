package chaos

import (
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"neutrino/test/lab"
)

// What is done rarely, and while objects are in use.

// toggleNetwork ends or begins DHCP on a network. Packets are not concerned, as with upstream.
func toggleNetwork(w *world, s *snapshot) string {
	id, ok := w.pick(w.tenantNetworks(s))
	if !ok {
		return ""
	}
	return w.change("networks", "network", id, lab.Object{"admin_state_up": !s.networks[id].up})
}

// changeSubnetOptions changes what clients are told.
func changeSubnetOptions(w *world, s *snapshot) string {
	id, ok := w.pick(slices.Collect(maps.Keys(s.subnets)))
	x := s.subnets[id]
	if !ok {
		return ""
	}
	servers, routes := []string{}, []lab.Object{}
	far, server := netip.MustParsePrefix("198.51.100.0/24"), "198.51.100.%d"
	if x.prefix.Addr().Is6() {
		far, server = netip.MustParsePrefix("2001:db8:100::/64"), "2001:db8:100::%d"
	}
	for range w.random.IntN(3) {
		servers = append(servers, fmt.Sprintf(server, 1+w.random.IntN(200)))
	}
	if w.chance(2) {
		routes = append(routes, lab.Object{"destination": far.String(), "nexthop": x.prefix.Addr().Next().Next().String()})
	}
	return w.change("subnets", "subnet", id, lab.Object{"dns_nameservers": servers, "host_routes": routes})
}

// moveExternalGateway has all routers go out by another address of the internet.
func moveExternalGateway(w *world, s *snapshot) string {
	w.upsetAll = true
	for _, x := range s.subnets {
		if x.network == w.public {
			to := lab.InternetIP
			if x.gateway == to {
				to = otherInternet
			}
			return w.change("subnets", "subnet", x.id, lab.Object{"gateway_ip": to.String()})
		}
	}
	return ""
}

// otherInternet is one more address of the internet.
var otherInternet = netip.MustParseAddr("203.0.113.254")

// setGatewayAddresses gives a router one to three addresses outside.
func setGatewayAddresses(w *world, s *snapshot) string {
	id, ok := w.pickRouter(s)
	if !ok {
		return ""
	}
	w.upsetAll = true
	addresses := []lab.Object{}
	for range 1 + w.random.IntN(3) {
		addresses = append(addresses, lab.Object{"ip_address": fmt.Sprintf("203.0.113.%d", 200+w.random.IntN(20))})
	}
	return w.change("routers", "router", id, lab.Object{"external_gateway_info": lab.Object{"network_id": w.public, "external_fixed_ips": addresses}})
}

// moveInterface gives a router's interface another address, or that of the subnet's gateway.
func moveInterface(w *world, s *snapshot) string {
	id, ok := w.pickRouter(s)
	if !ok {
		return ""
	}
	w.upsetAll = true
	interfaces := slices.SortedFunc(slices.Values(s.interfacesOf(id)), func(a, b port) int { return strings.Compare(a.mac, b.mac) })
	for _, p := range interfaces {
		f, ok := p.first(false)
		if !ok || w.chance(2) {
			continue
		}
		x := s.subnets[f.subnet]
		to := lab.Object{"subnet_id": x.id}
		if _, taken := s.portWith(x.network, x.gateway); !taken && x.gateway.IsValid() {
			to["ip_address"] = x.gateway.String()
		}
		list := []lab.Object{to}
		for _, other := range p.fixed {
			if other != f {
				list = append(list, lab.Object{"subnet_id": other.subnet, "ip_address": other.address.String()})
			}
		}
		return w.change("ports", "port", p.id, lab.Object{"fixed_ips": list})
	}
	return ""
}

// deleteDHCPPort takes away an agent's port, which makes itself another one.
func deleteDHCPPort(w *world, s *snapshot) string {
	for _, id := range slices.SortedFunc(slices.Values(w.tenantNetworks(s)), func(a, b string) int { return w.order[a] - w.order[b] }) {
		for _, p := range s.ports {
			if p.network == id && p.owner == "network:dhcp" && s.served(id) && w.chance(2) {
				w.upsetAll = true
				_, what := w.try("DELETE", "/ports/"+p.id, nil)
				return what
			}
		}
	}
	return ""
}

// ghost is a machine that goes on where it was though its port is bound elsewhere: the host was thought dead.
type ghost struct {
	*lab.Instance
	guest *guest
	until int
}

// evacuate starts a guest anew on another host, while the old machine goes on and says that the addresses are its own.
func evacuate(w *world, s *snapshot) string {
	g := w.anyGuest()
	if g == nil || !s.ports[g.port].security {
		return ""
	}
	to := w.anyHypervisor()
	if to == g.host {
		return ""
	}
	old := g.instance
	w.unplugged(g)
	from := g.host.Name
	w.plug(g, old.Port, to)
	w.ghosts = append(w.ghosts, ghost{old, g, w.steps + 4 + w.random.IntN(20)})
	return fmt.Sprintf("%s from %s to %s, with a ghost", g.name, from, to.Name)
}

// exorcise ends ghosts whose time has come, those of a guest, or all.
func (w *world) exorcise(these func(ghost) bool) {
	w.t.Helper()
	w.ghosts = slices.DeleteFunc(w.ghosts, func(x ghost) bool {
		if !these(x) {
			return false
		}
		w.pull(x.Instance)
		w.note("end of the ghost of %s on %s", x.guest.name, x.Host.Name)
		return true
	})
}

// haunted are ghosts that reach somebody.
func (w *world) haunted(s *snapshot) (bad []string) {
	for _, x := range w.ghosts {
		for _, g := range w.guests {
			to, ok := s.ports[g.port].first(false)
			if !ok || g == x.guest || s.ports[g.port].network != x.Port.Str("network_id") {
				continue
			}
			if _, err := x.Exec("ping", "-c", "1", "-W", "1", to.address.String()); err == nil {
				bad = append(bad, fmt.Sprintf("the ghost of %s on %s reaches %s", x.guest.name, x.Host.Name, to.address))
			}
		}
	}
	return bad
}

// haunts tells whether a fact is about a ghost or its network, which stays on the host for it. That ghosts are cut off is seen by their packets.
func (s *snapshot) haunts(x ghost) func(fact string, _ bool) bool {
	n := s.networks[x.Port.Str("network_id")]
	about := regexp.MustCompile(fmt.Sprintf(`%s|%s|%s|%s|vxlan-%d |ext0\.%[5]d|tag %[5]d$`, x.Tap, x.Port.ID(), named("brq", x.Port.Str("network_id")),
		x.Port.Str("network_id"), n.segment))
	return func(fact string, _ bool) bool { return about.MatchString(fact) }
}

// forgetAgent has the server forget an L2 agent that is dead, and starts it again.
func forgetAgent(w *world, _ *snapshot) string {
	h := w.anyHypervisor()
	name := w.L2Agent()
	if slices.ContainsFunc(w.outages, func(o *outage) bool { return o.host == h && (o.daemon == name || o.daemon == "") }) {
		return ""
	}
	w.upsetAll = true
	h.Daemons[name].Kill()
	said := ""
	for _, o := range w.list("agents") {
		if o.Str("host") == h.Name { // a hypervisor has no other agent
			_, said = w.try("DELETE", "/agents/"+o.ID(), nil)
		}
	}
	h.Daemons[name].Restart()
	if err := h.WaitHealthy(name, 30*time.Second); err != nil { // without it nothing can be bound to the host
		w.fail("a daemon that is not well", []string{err.Error()})
	}
	return said
}
