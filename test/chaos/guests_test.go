package chaos

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"neutrino/test/lab"
)

// boot starts a guest on any host, with a port on any network that has a subnet.
func boot(w *world, s *snapshot) string {
	var with []string
	for _, x := range s.subnets {
		if !s.networks[x.network].external && x.prefix.Addr().Is4() {
			with = append(with, x.network)
		}
	}
	slices.Sort(with)
	id, ok := w.pick(slices.Compact(with))
	if !ok || len(w.guests) >= mostGuests {
		return ""
	}
	attributes := lab.Object{"network_id": id}
	if groups := w.someGroups(s); len(groups) > 0 && !w.chance(4) { // else the default group
		attributes["security_groups"] = groups
	}
	created, what := w.create("ports", "port", attributes)
	if created == nil {
		return what
	}
	w.names++
	g := &guest{number: w.names, port: created.ID()}
	g.name = fmt.Sprintf("guest%d", g.number)
	w.plug(g, created, w.anyHypervisor())
	w.guests = append(w.guests, g)
	return fmt.Sprintf("%s on %s with %v: %s", g.name, g.host.Name, created["fixed_ips"], what)
}

// someGroups are stateful ones, or stateless ones: a port may not have both.
func (w *world) someGroups(s *snapshot) []string {
	stateless := w.chance(3)
	return w.some(slices.DeleteFunc(slices.Collect(maps.Keys(s.groups)), func(id string) bool {
		_, ours := w.order[id]
		return !ours || s.stateless[id] != stateless
	}))
}

// plug starts the guest's machine on a host.
func (w *world) plug(g *guest, p lab.Object, on *lab.Host) {
	w.t.Helper()
	w.exorcise(func(x ghost) bool { return x.guest == g })
	g.host = on
	g.instance = w.Plug(g.name, g.host, p)
	w.start(g)
}

// start has the guest's machine answer.
func (w *world) start(g *guest) {
	w.t.Helper()
	g.node, g.guest = g.instance.Node, g
	for _, key := range []string{"accept_ra", "autoconf"} {
		g.node.Sysctl("net/ipv6/conf/eth0/"+key, "0")
	}
	serve(g.node)
	w.configure(g)
	w.upset[g] = true
}

func (w *world) anyHypervisor() *lab.Host { return w.Compute[w.random.IntN(len(w.Compute))] }

func (w *world) unplug(g *guest) {
	w.t.Helper()
	w.pull(g.instance)
	w.unplugged(g)
}

// unplugged drops what was known of a machine that is gone.
func (w *world) unplugged(g *guest) {
	for p := range w.known {
		if p.from == &g.endpoint {
			delete(w.known, p)
		}
	}
}

// pull takes a machine away.
func (w *world) pull(i *lab.Instance) {
	w.t.Helper()
	if w.OpenVSwitch {
		i.Host.Run("ovs-vsctl --timeout=60 --if-exists del-port br-int " + i.Tap)
	}
	i.Host.Run("ip link del " + i.Tap)
	i.Remove()
}

func (w *world) anyGuest() *guest {
	if len(w.guests) == 0 {
		return nil
	}
	return w.guests[w.random.IntN(len(w.guests))]
}

func destroy(w *world, _ *snapshot) string {
	g := w.anyGuest()
	if g == nil {
		return ""
	}
	w.upsetAll = true // its addresses may be another's by now
	return w.end(g)
}

// end destroys a guest's machine and port, in either order.
func (w *world) end(g *guest) string {
	w.t.Helper()
	w.guests = slices.DeleteFunc(w.guests, func(x *guest) bool { return x == g })
	before := w.chance(2) // Nova's order is the other
	what := ""
	if before {
		_, what = w.try("DELETE", "/ports/"+g.port, nil)
	}
	w.unplug(g)
	if !before {
		_, what = w.try("DELETE", "/ports/"+g.port, nil)
	}
	return g.name + ": " + what
}

// changeMAC gives a guest another card while it is switched off: a port that is bound keeps its address.
func changeMAC(w *world, _ *snapshot) string {
	g := w.anyGuest()
	if g == nil {
		return ""
	}
	w.upsetAll = true
	w.unplug(g)
	unbound := w.change("ports", "port", g.port, lab.Object{"binding:host_id": "", "device_id": "", "device_owner": ""})
	mac := fmt.Sprintf("fa:16:3e:%02x:%02x:%02x", w.random.IntN(256), w.random.IntN(256), w.random.IntN(256))
	what := w.change("ports", "port", g.port, lab.Object{"mac_address": mac, "allowed_address_pairs": []lab.Object{}})
	w.plug(g, g.instance.Port, w.anyHypervisor())
	w.announce(g)
	return fmt.Sprintf("%s to %s: %s, %s", g.name, g.host.Name, unbound, what)
}

// announce has routers and DHCP ports forget which card a guest had, as its announcement does once it is heard.
func (w *world) announce(g *guest) {
	w.t.Helper()
	for line := range strings.Lines(w.Network.Run("ip netns list")) {
		for _, a := range g.addresses() {
			_, _ = w.Network.Exec("ip", "-n", strings.Fields(line)[0], "neigh", "flush", "to", a.String())
		}
	}
}

// move is a cold migration.
func move(w *world, _ *snapshot) string {
	g := w.anyGuest()
	if g == nil {
		return ""
	}
	from := g.host.Name
	w.unplug(g)
	w.plug(g, g.instance.Port, w.anyHypervisor())
	return fmt.Sprintf("%s from %s to %s", g.name, from, g.host.Name)
}

// replug is a hard reboot: the tap is gone for a moment, the port stays where it is.
func replug(w *world, _ *snapshot) string {
	g := w.anyGuest()
	if g == nil {
		return ""
	}
	w.unplug(g)
	w.plug(g, g.instance.Port, g.host)
	return fmt.Sprintf("%s on %s", g.name, g.host.Name)
}

// migrate is a live migration: the machine is plugged at the destination, whose binding is inactive; then that is
// activated, and what is left at the source goes.
func migrate(w *world, _ *snapshot) string {
	g := w.anyGuest()
	if g == nil {
		return ""
	}
	source, to := g.host, w.anyHypervisor()
	if source == to {
		return ""
	}
	bindings := "/ports/" + g.port + "/bindings"
	if made, what := w.try("POST", bindings, lab.Object{"binding": lab.Object{"host": to.Name}}); made == nil {
		return what
	}
	w.upset[g] = true
	old := g.instance
	w.exorcise(func(x ghost) bool { return x.guest == g })
	w.unplugged(g)
	g.host, g.instance = to, w.PlugBound(g.name, to, old)
	order := w.random.IntN(3)
	if order == 0 { // the source goes first
		w.pull(old)
	}
	_, what := w.try("PUT", bindings+"/"+to.Name+"/activate", nil)
	if order != 0 {
		w.pull(old)
	}
	_, _ = w.try("DELETE", bindings+"/"+source.Name, nil)
	w.start(g)
	return fmt.Sprintf("%s from %s to %s: %s", g.name, source.Name, to.Name, what)
}

// changePort updates a guest's port.
func (w *world) changePort(g *guest, attributes lab.Object) string {
	w.t.Helper()
	w.upset[g] = true
	return w.changeFilter(g, attributes)
}

// changeFilter updates what a guest's port may send and receive. Its own host and those of ports with rules about it learn of that one after
// another, and what was not allowed before and is not afterwards may be in between.
func (w *world) changeFilter(g *guest, attributes lab.Object) string {
	w.t.Helper()
	for p := range w.known {
		if p.from == &g.endpoint || p.dst == g.alias || slices.Contains(g.addresses(), p.dst) {
			delete(w.known, p)
		}
	}
	return g.name + ": " + w.change("ports", "port", g.port, attributes)
}

func togglePort(w *world, s *snapshot) string {
	g := w.anyGuest()
	if g == nil {
		return ""
	}
	return w.changePort(g, lab.Object{"admin_state_up": !s.ports[g.port].up})
}

func changeGroups(w *world, s *snapshot) string {
	g := w.anyGuest()
	if g == nil || !s.ports[g.port].security {
		return ""
	}
	return w.changeFilter(g, lab.Object{"security_groups": w.someGroups(s)})
}

func toggleSecurity(w *world, s *snapshot) string {
	g := w.anyGuest()
	if g == nil {
		return ""
	}
	if s.ports[g.port].security {
		return w.changePort(g, lab.Object{"port_security_enabled": false, "security_groups": []string{}, "allowed_address_pairs": []lab.Object{}})
	}
	return w.changePort(g, lab.Object{"port_security_enabled": true, "security_groups": w.someGroups(s)})
}

func changePairs(w *world, s *snapshot) string {
	g := w.anyGuest()
	if g == nil || !s.ports[g.port].security {
		return ""
	}
	pairs := []lab.Object{}
	if g.alias.IsValid() && len(s.ports[g.port].pairs) == 0 {
		text := g.alias.String()
		if f, ok := s.ports[g.port].first(false); ok && w.chance(3) {
			text = s.subnets[f.subnet].prefix.String()
		}
		pairs = append(pairs, lab.Object{"ip_address": text})
	}
	return w.changeFilter(g, lab.Object{"allowed_address_pairs": pairs})
}

// changeAddresses adds an address on any subnet of the port's network, or drops all but the first.
func changeAddresses(w *world, s *snapshot) string {
	g := w.anyGuest()
	if g == nil {
		return ""
	}
	p := s.ports[g.port]
	var on []string
	for _, x := range s.subnets {
		if x.network == p.network {
			on = append(on, x.id)
		}
	}
	list := []lab.Object{}
	for i, f := range p.fixed {
		if i == 0 || len(p.fixed) < 3 {
			list = append(list, lab.Object{"subnet_id": f.subnet, "ip_address": f.address.String()})
		}
	}
	if subnet, ok := w.pick(on); ok && len(p.fixed) < 3 {
		list = append(list, lab.Object{"subnet_id": subnet})
	}
	what := w.changePort(g, lab.Object{"fixed_ips": list})
	w.configure(g)
	w.upsetAll = true // replies to what was its address
	return what
}
