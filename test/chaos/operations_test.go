package chaos

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"neutrino/test/lab"
)

// operation is something that users, administrators or accidents do. It says what it did, or "" if there was nothing to
// do it with.
type operation struct {
	name     string
	weight   int
	accident bool
	do       func(w *world, s *snapshot) string
}

var operations = []operation{
	{"network", 2, false, addNetwork},
	{"network deleted", 1, false, deleteNetwork},
	{"network torn down", 1, false, tearDown},
	{"network MTU", 1, false, changeMTU},
	{"subnet", 3, false, addSubnet},
	{"subnet deleted", 1, false, func(w *world, s *snapshot) string { return w.remove("subnets", slices.Collect(maps.Keys(s.subnets))) }},
	{"subnet DHCP", 1, false, toggleDHCP},
	{"subnet gateway", 1, false, moveGateway},
	{"router", 1, false, addRouter},
	{"router deleted", 1, false, func(w *world, s *snapshot) string { return w.remove("routers", slices.Collect(maps.Keys(s.routers))) }},
	{"router interface", 4, false, addInterface},
	{"router interface removed", 1, false, removeInterface},
	{"gateway", 3, false, setGateway},
	{"router admin state", 1, false, toggleRouter},
	{"transit", 1, false, addTransit},
	{"extra routes", 1, false, setRoutes},
	{"floating IP", 3, false, addFloatingIP},
	{"floating IP moved", 2, false, moveFloatingIP},
	{"floating IP deleted", 1, false, func(w *world, s *snapshot) string {
		w.upsetAll = true
		return w.remove("floatingips", slices.Collect(maps.Keys(s.floatingIPs)))
	}},
	{"security group", 2, false, addGroup},
	{"security group deleted", 1, false, func(w *world, s *snapshot) string {
		return w.remove("security-groups", slices.Collect(maps.Keys(s.groups)))
	}},
	{"security group stateful", 1, false, toggleStateful},
	{"rule", 6, false, addRule},
	{"rule deleted", 3, false, deleteRule},
	{"address group", 1, false, addAddressGroup},
	{"address group changed", 2, false, changeAddressGroup},
	{"boot", 5, false, boot},
	{"destroy", 2, false, destroy},
	{"move", 2, false, move},
	{"live migration", 2, false, migrate},
	{"plugged again", 2, false, replug},
	{"port MAC", 1, false, changeMAC},
	{"leases", 1, false, askForLeases},
	{"metering label", 1, false, addLabel},
	{"metering label deleted", 1, false, func(w *world, s *snapshot) string { return w.remove("metering/metering-labels", s.labels) }},
	{"agent disabled or enabled", 1, false, toggleAgent},
	{"unscheduled or scheduled", 1, false, reschedule},
	{"port admin state", 2, false, togglePort},
	{"port groups", 4, false, changeGroups},
	{"port security", 2, false, toggleSecurity},
	{"port address pairs", 2, false, changePairs},
	{"port addresses", 2, false, changeAddresses},
	{"network admin state", 1, false, toggleNetwork},
	{"subnet options", 1, false, changeSubnetOptions},
	{"external gateway", 1, false, moveExternalGateway},
	{"gateway addresses", 2, false, setGatewayAddresses},
	{"interface address", 1, false, moveInterface},
	{"DHCP port deleted", 1, false, deleteDHCPPort},
	{"evacuation", 2, false, evacuate},
	{"daemon killed", 5, true, killDaemon},
	{"daemon frozen", 2, true, freezeDaemon},
	{"daemon restarted", 2, true, restartDaemon},
	{"server killed", 1, true, killServer},
	{"bus cut", 2, true, cutBus},
	{"switch killed", 1, true, restartSwitch},
	{"agent forgotten", 1, true, forgetAgent},
	{"by hand", 1, true, damageHosts},
}

// Bounds on what there is: a small cloud changes more thoroughly than a large one.
const (
	mostNetworks = 4
	mostSubnets  = 3 // of a network
	mostRouters  = 3
	mostGroups   = 5
	mostRules    = 40
	mostGuests   = 8
	mostFloating = 4
	mostLabels   = 2
)

func operationNamed(name string) operation {
	return operations[slices.IndexFunc(operations, func(o operation) bool { return o.name == name })]
}

// try makes a call that the API may refuse, and returns what was created or changed. An error of the server's own is a
// failure of the test.
func (w *world) try(method, path string, body lab.Object) (lab.Object, string) {
	w.t.Helper()
	var send any // a nil Object would be sent as null
	if body != nil {
		send = body
	}
	answer, err := w.API.Call(method, path, send)
	collection := strings.Split(strings.Trim(path, "/"), "/")[0]
	count := w.counts[method+" "+collection]
	count[0]++
	defer func() { w.counts[method+" "+collection] = count }()
	var refusal *lab.APIError
	switch {
	case errors.As(err, &refusal) && refusal.Status < 500:
		count[1]++
		return nil, fmt.Sprintf("%s %s refused: %d %s %s", method, path, refusal.Status, refusal.Type, refusal.Message)
	case err != nil:
		w.fail("a call that fails", []string{err.Error()})
		return nil, err.Error()
	}
	for _, value := range answer {
		if inner, ok := value.(map[string]any); ok && method == "POST" {
			o := lab.Object(inner)
			w.order[o.ID()] = len(w.order)
			return o, method + " " + path + " " + o.ID()
		}
	}
	return answer, fmt.Sprintf("%s %s %v", method, path, body)
}

func (w *world) create(collection, singular string, attributes lab.Object) (lab.Object, string) {
	w.t.Helper()
	w.names++
	attributes["name"] = fmt.Sprintf("%s%d", strings.ReplaceAll(singular, "_", "-"), w.names)
	if slices.Contains([]string{"floatingip", "security_group_rule", "metering_label_rule"}, singular) {
		delete(attributes, "name")
	}
	o, what := w.try("POST", "/"+collection, lab.Object{singular: attributes})
	return o, fmt.Sprintf("%s %v", what, attributes)
}

func (w *world) change(collection, singular, id string, attributes lab.Object) string {
	w.t.Helper()
	_, what := w.try("PUT", "/"+collection+"/"+id, lab.Object{singular: attributes})
	return what
}

func (w *world) remove(collection string, ids []string) string {
	w.t.Helper()
	id, ok := w.pick(ids)
	if !ok {
		return ""
	}
	_, what := w.try("DELETE", "/"+collection+"/"+id, nil)
	return what
}

// pick chooses among objects that operations made.
func (w *world) pick(ids []string) (string, bool) {
	ids = slices.DeleteFunc(slices.Clone(ids), func(id string) bool { _, ours := w.order[id]; return !ours })
	if len(ids) == 0 {
		return "", false
	}
	slices.SortFunc(ids, func(a, b string) int { return w.order[a] - w.order[b] })
	return ids[w.random.IntN(len(ids))], true
}

// some picks each with a chance of a half.
func (w *world) some(ids []string) []string {
	chosen := []string{}
	slices.SortFunc(ids, func(a, b string) int { return w.order[a] - w.order[b] })
	for _, id := range ids {
		if w.chance(2) {
			chosen = append(chosen, id)
		}
	}
	return chosen
}

// chance is true once in n times.
func (w *world) chance(n int) bool { return w.random.IntN(n) == 0 }

func (w *world) tenantNetworks(s *snapshot) (ids []string) {
	for id, n := range s.networks {
		if !n.external {
			ids = append(ids, id)
		}
	}
	return ids
}

// upsetNetwork says that guests on the network were interrupted on purpose.
func (w *world) upsetNetwork(s *snapshot, id string) {
	for _, g := range w.guests {
		if s.ports[g.port].network == id {
			w.upset[g] = true
		}
	}
}

func addNetwork(w *world, s *snapshot) string {
	if len(w.tenantNetworks(s)) >= mostNetworks {
		return ""
	}
	attributes := lab.Object{}
	if w.chance(3) {
		attributes["provider:network_type"], attributes["provider:physical_network"] = "vlan", "public"
	}
	_, what := w.create("networks", "network", attributes)
	return what
}

func deleteNetwork(w *world, s *snapshot) string { return w.remove("networks", w.tenantNetworks(s)) }

func changeMTU(w *world, s *snapshot) string {
	id, ok := w.pick(w.tenantNetworks(s))
	if !ok {
		return ""
	}
	w.upsetNetwork(s, id)
	w.upsetAll = true // routers
	what := w.change("networks", "network", id, lab.Object{"mtu": 1300 + 50*w.random.IntN(4)})
	for _, g := range w.guests {
		if s.ports[g.port].network == id {
			w.configure(g)
		}
	}
	return what
}

func addSubnet(w *world, s *snapshot) string {
	id, ok := w.pick(w.tenantNetworks(s))
	count, six := 0, 0
	for _, x := range s.subnets {
		if x.network == id {
			count++
			if x.prefix.Addr().Is6() {
				six++
			}
		}
	}
	if !ok || count >= mostSubnets {
		return ""
	}
	w.names++
	pool := w.poolOf(s, id)
	base := fmt.Sprintf("10.%d.%d.", w.names>>8+map[string]int{w.pools[0]: 128, w.pools[1]: 192}[pool], w.names&255)
	attributes := lab.Object{"network_id": id, "ip_version": 4, "cidr": base + "0/24",
		"allocation_pools": []lab.Object{{"start": base + "2", "end": base + "199"}}} // the others are aliases of guests
	if pool != "" {
		attributes["subnetpool_id"] = pool
	}
	if six < 2 && count > six && count > 0 && (six == 0 || w.chance(2)) {
		attributes = lab.Object{"network_id": id, "ip_version": 6, "cidr": fmt.Sprintf("fd00:%x::/64", w.names)}
		if mode := []string{"", "slaac", "dhcpv6-stateful", "dhcpv6-stateless"}[w.random.IntN(4)]; mode != "" {
			attributes["ipv6_ra_mode"], attributes["ipv6_address_mode"] = mode, mode
		}
		if w.chance(2) {
			attributes["gateway_ip"] = fmt.Sprintf("fd00:%x::1", w.names)
		}
	}
	_, what := w.create("subnets", "subnet", attributes)
	if mode := attributes["ipv6_address_mode"]; mode == "slaac" || mode == "dhcpv6-stateless" { // ports get addresses on it by themselves
		for _, g := range w.guests {
			if s.ports[g.port].network == id {
				w.configure(g)
			}
		}
	}
	return what
}

// poolOf is where a network's subnets come from, which is the same for all: one of the pools, or none.
func (w *world) poolOf(s *snapshot, network string) string {
	for _, x := range s.subnets {
		if x.network == network && x.prefix.Addr().Is4() {
			return x.pool
		}
	}
	return append([]string{"", ""}, w.pools...)[w.random.IntN(2+len(w.pools))]
}

// moveGateway gives a subnet another gateway, or none. It is refused while a router has the address.
func moveGateway(w *world, s *snapshot) string {
	id, ok := w.pick(slices.Collect(maps.Keys(s.subnets)))
	x := s.subnets[id]
	if !ok || x.prefix.Addr().Is6() {
		return ""
	}
	at := x.prefix.Addr().As4()
	at[3] = []byte{1, 254}[w.random.IntN(2)]
	var gateway any = netip.AddrFrom4(at).String()
	if w.chance(3) {
		gateway = nil
	}
	w.upsetAll = true
	what := w.change("subnets", "subnet", id, lab.Object{"gateway_ip": gateway})
	for _, g := range w.guests {
		if s.ports[g.port].network == x.network {
			w.configure(g)
		}
	}
	return what
}

// tearDown takes a network away with all that is on it, in one go and, if accidents happen, while a daemon is dead.
func tearDown(w *world, s *snapshot) string {
	id, ok := w.pick(w.tenantNetworks(s))
	if !ok {
		return ""
	}
	done := []string{}
	if *accident && w.chance(2) {
		done = append(done, "with the death of "+killDaemon(w, s))
	}
	w.upsetAll = true
	for _, g := range slices.Clone(w.guests) {
		if s.ports[g.port].network == id {
			done = append(done, w.end(g))
		}
	}
	for _, p := range w.look().ports {
		if p.network == id && p.owner == "network:router_interface" {
			_, what := w.try("PUT", "/routers/"+p.device+"/remove_router_interface", lab.Object{"port_id": p.id})
			done = append(done, what)
		}
	}
	_, what := w.try("DELETE", "/networks/"+id, nil)
	return strings.Join(append(done, what), ", ")
}

// askForLeases has guests renew what they have, some time after agents were restarted.
func askForLeases(w *world, _ *snapshot) string {
	w.settle()
	w.leases()
	return "asked for"
}

func toggleDHCP(w *world, s *snapshot) string {
	id, ok := w.pick(slices.Collect(maps.Keys(s.subnets)))
	if !ok {
		return ""
	}
	return w.change("subnets", "subnet", id, lab.Object{"enable_dhcp": !s.subnets[id].dhcp})
}

func addRouter(w *world, s *snapshot) string {
	if len(s.routers) >= mostRouters {
		return ""
	}
	_, what := w.create("routers", "router", lab.Object{})
	return what
}

func (w *world) pickRouter(s *snapshot) (string, bool) {
	return w.pick(slices.Collect(maps.Keys(s.routers)))
}

// addInterface connects a subnet by its gateway address.
func addInterface(w *world, s *snapshot) string {
	id, ok := w.pickRouter(s)
	var free []string
	for _, x := range s.subnets {
		if _, used := s.portWith(x.network, x.gateway); !used && !s.networks[x.network].external {
			free = append(free, x.id)
		}
	}
	subnet, found := w.pick(free)
	if !ok || !found {
		return ""
	}
	_, what := w.try("PUT", "/routers/"+id+"/add_router_interface", lab.Object{"subnet_id": subnet})
	return what
}

func removeInterface(w *world, s *snapshot) string {
	id, ok := w.pickRouter(s)
	if !ok {
		return ""
	}
	var on []string
	for _, p := range s.interfacesOf(id) {
		for _, f := range p.fixed {
			on = append(on, f.subnet)
		}
	}
	subnet, ok := w.pick(on)
	if !ok {
		return ""
	}
	w.upsetAll = true
	_, what := w.try("PUT", "/routers/"+id+"/remove_router_interface", lab.Object{"subnet_id": subnet})
	return what
}

func setGateway(w *world, s *snapshot) string {
	id, ok := w.pickRouter(s)
	if !ok {
		return ""
	}
	w.upsetAll = true
	if w.chance(4) {
		return w.change("routers", "router", id, lab.Object{"external_gateway_info": nil})
	}
	return w.change("routers", "router", id, lab.Object{"external_gateway_info": lab.Object{"network_id": w.public, "enable_snat": !w.chance(4)}})
}

func toggleRouter(w *world, s *snapshot) string {
	id, ok := w.pickRouter(s)
	if !ok {
		return ""
	}
	w.upsetAll = true
	return w.change("routers", "router", id, lab.Object{"admin_state_up": !s.routers[id].enabled})
}

// addTransit connects a router to a subnet that another one is the gateway of.
func addTransit(w *world, s *snapshot) string {
	id, ok := w.pickRouter(s)
	var taken []string
	for _, x := range s.subnets {
		at, used := s.portWith(x.network, x.gateway)
		_, mine := s.connectedTo(id, x)
		if used && !mine && at.device != id && x.prefix.Addr().Is4() && !s.anycast(x.network) {
			taken = append(taken, x.id)
		}
	}
	subnet, found := w.pick(taken)
	if !ok || !found {
		return ""
	}
	port, what := w.create("ports", "port", lab.Object{"network_id": s.subnets[subnet].network, "fixed_ips": []lab.Object{{"subnet_id": subnet}}})
	if port == nil {
		return what
	}
	_, what = w.try("PUT", "/routers/"+id+"/add_router_interface", lab.Object{"port_id": port.ID()})
	if strings.Contains(what, "refused") {
		_, _ = w.try("DELETE", "/ports/"+port.ID(), nil)
	}
	return what
}

// anycast tells whether each router on the network answers for its IPv6 gateway: the address of all zeros is that of any router of a subnet
// (RFC 4291, section 2.6.1), and a port gets an address on subnets of SLAAC without asking.
func (s *snapshot) anycast(network string) bool {
	for _, x := range s.subnets {
		if x.network == network && x.prefix.Addr().Is6() && x.gateway == x.prefix.Addr() && (x.mode == "slaac" || x.mode == "dhcpv6-stateless") {
			return true
		}
	}
	return false
}

// connectedTo returns the address that a router has on a subnet.
func (s *snapshot) connectedTo(router string, x subnet) (netip.Addr, bool) {
	for _, p := range s.interfacesOf(router) {
		for _, f := range p.fixed {
			if f.subnet == x.id {
				return f.address, true
			}
		}
	}
	return netip.Addr{}, false
}

// setRoutes gives a router routes to all that is behind its neighbours, or none.
func setRoutes(w *world, s *snapshot) string {
	id, ok := w.pickRouter(s)
	if !ok {
		return ""
	}
	w.upsetAll = true
	routes := []lab.Object{}
	for _, x := range s.subnetsInOrder(w) {
		if _, mine := s.connectedTo(id, x); !mine && x.prefix.Addr().Is4() {
			if via, ok := s.neighbourWith(w, id, x); ok {
				routes = append(routes, lab.Object{"destination": x.prefix.String(), "nexthop": via.String()})
			}
		}
	}
	if w.chance(3) {
		routes = []lab.Object{}
	}
	return w.change("routers", "router", id, lab.Object{"routes": routes})
}

func (s *snapshot) subnetsInOrder(w *world) []subnet {
	return slices.SortedFunc(maps.Values(s.subnets), func(a, b subnet) int { return w.order[a.id] - w.order[b.id] })
}

// neighbourWith finds a router that shares a subnet with the first and has an interface on the other.
func (s *snapshot) neighbourWith(w *world, router string, far subnet) (netip.Addr, bool) {
	for _, shared := range s.subnetsInOrder(w) {
		if _, mine := s.connectedTo(router, shared); !mine || shared.prefix.Addr().Is6() {
			continue
		}
		others := slices.SortedFunc(maps.Keys(s.routers), func(a, b string) int { return w.order[a] - w.order[b] })
		for _, other := range others {
			_, there := s.connectedTo(other, far)
			if via, here := s.connectedTo(other, shared); other != router && here && there {
				return via, true
			}
		}
	}
	return netip.Addr{}, false
}

// guestPorts are the guests' ports that have an IPv4 address.
func (w *world) guestPorts(s *snapshot) (ids []string) {
	for _, g := range w.guests {
		if _, ok := s.ports[g.port].first(false); ok {
			ids = append(ids, g.port)
		}
	}
	return ids
}

// anyFixed is one of the IPv4 addresses that a port has on its first subnet.
func (w *world) anyFixed(p port) fixed {
	first, _ := p.first(false)
	var all []fixed
	for _, f := range p.fixed {
		if f.subnet == first.subnet {
			all = append(all, f)
		}
	}
	return all[w.random.IntN(len(all))]
}

func addFloatingIP(w *world, s *snapshot) string {
	port, ok := w.pick(w.guestPorts(s))
	if !ok || len(s.floatingIPs) >= mostFloating {
		return ""
	}
	w.upsetAll = true
	f := w.anyFixed(s.ports[port])
	_, what := w.create("floatingips", "floatingip", lab.Object{"floating_network_id": w.public, "port_id": port, "fixed_ip_address": f.address.String()})
	return what
}

func moveFloatingIP(w *world, s *snapshot) string {
	id, ok := w.pick(slices.Collect(maps.Keys(s.floatingIPs)))
	if !ok {
		return ""
	}
	w.upsetAll = true
	port, ok := w.pick(w.guestPorts(s))
	if !ok || w.chance(3) {
		return w.change("floatingips", "floatingip", id, lab.Object{"port_id": nil})
	}
	f := w.anyFixed(s.ports[port])
	return w.change("floatingips", "floatingip", id, lab.Object{"port_id": port, "fixed_ip_address": f.address.String()})
}

func addGroup(w *world, s *snapshot) string {
	if len(s.groups) >= mostGroups {
		return ""
	}
	attributes := lab.Object{}
	if w.chance(3) {
		attributes["stateful"] = false
	}
	_, what := w.create("security-groups", "security_group", attributes)
	return what
}

// toggleStateful is refused while a port has the group.
func toggleStateful(w *world, s *snapshot) string {
	id, ok := w.pick(slices.Collect(maps.Keys(s.groups)))
	if !ok {
		return ""
	}
	return w.change("security-groups", "security_group", id, lab.Object{"stateful": s.stateless[id]})
}

func addRule(w *world, s *snapshot) string {
	count := 0
	for _, rules := range s.groups {
		count += len(rules)
	}
	group, ok := w.pick(slices.Collect(maps.Keys(s.groups)))
	if !ok || count >= mostRules {
		return ""
	}
	attributes := lab.Object{"security_group_id": group, "direction": "ingress", "ethertype": "IPv4"}
	if w.chance(5) {
		attributes["direction"] = "egress"
	}
	v6 := w.chance(3)
	if v6 {
		attributes["ethertype"] = "IPv6"
	}
	switch protocol := []string{"icmp", "tcp", "udp", ""}[w.random.IntN(4)]; {
	case protocol == "icmp":
		if v6 {
			attributes["protocol"] = "ipv6-icmp"
		}
		if !v6 {
			attributes["protocol"] = []string{"icmp", "1"}[w.random.IntN(2)]
		}
		if w.chance(2) {
			echo := traffic{protocol: "icmp", reply: w.chance(2)}
			attributes["port_range_min"] = echo.kind(v6)
			if w.chance(2) {
				attributes["port_range_max"] = 0
			}
		}
	case protocol == "tcp" || protocol == "udp":
		r := [][2]int{{ports[0], ports[0]}, {ports[0], ports[1]}, {1, 65535}}[w.random.IntN(3)]
		attributes["protocol"], attributes["port_range_min"], attributes["port_range_max"] = protocol, r[0], r[1]
		if w.chance(3) {
			attributes["protocol"] = map[string]string{"tcp": "6", "udp": "17"}[protocol]
		}
	case protocol != "":
		attributes["protocol"] = protocol
	}
	w.remoteOf(s, attributes, v6)
	_, what := w.create("security-group-rules", "security_group_rule", attributes)
	return what
}

func (w *world) remoteOf(s *snapshot, attributes lab.Object, v6 bool) {
	switch w.random.IntN(5) {
	case 0, 1:
		if g, ok := w.pick(slices.Collect(maps.Keys(s.groups))); ok {
			attributes["remote_group_id"] = g
		}
	case 2:
		if g, ok := w.pick(slices.Collect(maps.Keys(s.addressGroups))); ok {
			attributes["remote_address_group_id"] = g
		}
	case 3:
		if all := w.somePrefixes(s, v6); len(all) > 0 {
			attributes["remote_ip_prefix"] = all[w.random.IntN(len(all))]
		}
	}
}

// somePrefixes are those of subnets and guests.
func (w *world) somePrefixes(s *snapshot, v6 bool) (all []string) {
	for _, x := range s.subnetsInOrder(w) {
		if x.prefix.Addr().Is6() == v6 {
			all = append(all, x.prefix.String())
		}
	}
	for _, g := range w.guests {
		if f, ok := s.ports[g.port].first(v6); ok {
			all = append(all, single(f.address).String())
		}
	}
	return all
}

func deleteRule(w *world, _ *snapshot) string {
	var ids []string
	for _, r := range w.list("security-group-rules") {
		ids = append(ids, r.ID())
	}
	return w.remove("security-group-rules", ids)
}

func addAddressGroup(w *world, s *snapshot) string {
	if len(s.addressGroups) >= 2 {
		return ""
	}
	_, what := w.create("address-groups", "address_group", lab.Object{"addresses": w.some(w.somePrefixes(s, w.chance(3)))})
	return what
}

func changeAddressGroup(w *world, s *snapshot) string {
	id, ok := w.pick(slices.Collect(maps.Keys(s.addressGroups)))
	if !ok {
		return ""
	}
	if w.chance(6) {
		_, what := w.try("DELETE", "/address-groups/"+id, nil)
		return what
	}
	action, addresses := "add_addresses", w.some(w.somePrefixes(s, w.chance(3)))
	if w.chance(2) {
		action, addresses = "remove_addresses", nil
		for _, p := range s.addressGroups[id] {
			addresses = append(addresses, p.String())
		}
		addresses = w.some(addresses)
	}
	_, what := w.try("PUT", "/address-groups/"+id+"/"+action, lab.Object{"addresses": addresses})
	return what
}
