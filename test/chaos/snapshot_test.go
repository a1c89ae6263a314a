package chaos

import (
	"net/netip"
	"path"
	"slices"

	"neutrino/test/lab"
)

// snapshot is what the API says at one moment.
type snapshot struct {
	networks      map[string]network
	subnets       map[string]subnet
	ports         map[string]port
	groups        map[string][]rule
	stateless     map[string]bool // groups
	addressGroups map[string][]netip.Prefix
	routers       map[string]router
	floatingIPs   map[string]floatingIP
	labels        []string         // metering
	agents        map[string]agent // those of DHCP and of routers, by type
}

type network struct {
	id           string
	kind         string // provider:network_type
	segment, mtu int
	external, up bool
	scope        string // of IPv4 addresses
}

// agent is one that networks or routers are given to.
type agent struct {
	id    string
	up    bool // admin_state_up
	hosts map[string]bool
}

type subnet struct {
	id, network string
	prefix      netip.Prefix
	gateway     netip.Addr
	dhcp        bool
	mode        string // ipv6_address_mode
	pool        string
	dns         []string
	routes      []route
}

type port struct {
	id, network, device, owner, mac, host, status string

	up, security bool
	groups       []string
	fixed        []fixed
	pairs        []netip.Prefix // allowed address pairs with the port's own MAC
}

type fixed struct {
	subnet  string
	address netip.Addr
}

type rule struct {
	ingress, v6  bool
	protocol     string // "": any
	typed        bool   // has ports, or a type of ICMP, with a code or not
	min, max     int
	coded        bool
	prefix       netip.Prefix
	group        string // remote
	addressGroup string
}

type router struct {
	id              string
	enabled, hosted bool // admin_state_up, and an agent that is enabled has it
	up              bool // both
	snat            bool
	external        string // network
	fixed           []fixed
	routes          []route
}

type route struct {
	to  netip.Prefix
	via netip.Addr
}

type floatingIP struct {
	id, port, router, status string
	address, fixed           netip.Addr
}

// list asks the API, which may be on its way back.
func (w *world) list(collection string) []lab.Object {
	w.t.Helper()
	var answer []lab.Object
	w.patiently(func() error {
		a, err := w.API.Call("GET", "/"+collection, nil)
		answer = a.Objects(underscored(path.Base(collection)))
		return err
	})
	return answer
}

// look reads everything.
func (w *world) look() *snapshot {
	w.t.Helper()
	s := &snapshot{networks: map[string]network{}, subnets: map[string]subnet{}, ports: map[string]port{}, groups: map[string][]rule{},
		addressGroups: map[string][]netip.Prefix{}, routers: map[string]router{}, floatingIPs: map[string]floatingIP{},
		stateless: map[string]bool{}, agents: map[string]agent{}}
	w.lookAtAgents(s)
	for _, o := range w.list("networks") {
		s.networks[o.ID()] = network{o.ID(), o.Str("provider:network_type"), number(o, "provider:segmentation_id"), number(o, "mtu"),
			o["router:external"] == true, o["admin_state_up"] == true, o.Str("ipv4_address_scope")}
	}
	for _, o := range w.list("subnets") {
		s.subnets[o.ID()] = subnet{o.ID(), o.Str("network_id"), prefix(o.Str("cidr")), address(o.Str("gateway_ip")), o["enable_dhcp"] == true,
			o.Str("ipv6_address_mode"), o.Str("subnetpool_id"), texts(o, "dns_nameservers"), readRoutes(o, "host_routes")}
	}
	for _, o := range w.list("ports") {
		s.ports[o.ID()] = readPort(o)
	}
	for _, o := range w.list("security-groups") {
		s.groups[o.ID()], s.stateless[o.ID()] = []rule{}, o["stateful"] == false
		for _, r := range o.Objects("security_group_rules") {
			s.groups[o.ID()] = append(s.groups[o.ID()], readRule(r))
		}
	}
	for _, o := range w.list("address-groups") {
		s.addressGroups[o.ID()] = []netip.Prefix{}
		for _, text := range texts(o, "addresses") {
			s.addressGroups[o.ID()] = append(s.addressGroups[o.ID()], prefix(text))
		}
	}
	for _, o := range w.list("routers") {
		s.routers[o.ID()] = s.readRouter(o)
	}
	for _, o := range w.list("floatingips") {
		s.floatingIPs[o.ID()] = floatingIP{o.ID(), o.Str("port_id"), o.Str("router_id"), o.Str("status"),
			address(o.Str("floating_ip_address")), address(o.Str("fixed_ip_address"))}
	}
	for _, o := range w.list("metering/metering-labels") {
		s.labels = append(s.labels, o.ID())
	}
	return s
}

// The types of agents that networks and routers are given to, and the collections of what one has.
const (
	dhcpAgent = "DHCP agent"
	l3Agent   = "L3 agent"
)

var given = map[string]string{dhcpAgent: "dhcp-networks", l3Agent: "l3-routers"}

func (w *world) lookAtAgents(s *snapshot) {
	w.t.Helper()
	for _, o := range w.list("agents") {
		kind := o.Str("agent_type")
		if given[kind] == "" {
			continue
		}
		a := agent{id: o.ID(), up: o["admin_state_up"] == true, hosts: map[string]bool{}}
		for _, x := range w.list("agents/" + a.id + "/" + given[kind]) {
			a.hosts[x.ID()] = true
		}
		s.agents[kind] = a
	}
}

// serves tells whether the agent has the network or router and is enabled.
func (a agent) serves(id string) bool { return a.up && a.hosts[id] }

func readPort(o lab.Object) port {
	p := port{id: o.ID(), network: o.Str("network_id"), device: o.Str("device_id"), owner: o.Str("device_owner"), mac: o.Str("mac_address"),
		host: o.Str("binding:host_id"), status: o.Str("status"), up: o["admin_state_up"] == true, security: o["port_security_enabled"] == true,
		groups: texts(o, "security_groups"), fixed: readFixed(o, "fixed_ips")}
	for _, pair := range o.Objects("allowed_address_pairs") {
		if pair.Str("mac_address") == p.mac {
			p.pairs = append(p.pairs, prefix(pair.Str("ip_address")))
		}
	}
	return p
}

func readFixed(o lab.Object, name string) (all []fixed) {
	for _, f := range o.Objects(name) {
		all = append(all, fixed{f.Str("subnet_id"), address(f.Str("ip_address"))})
	}
	return all
}

// protocolNames are those of numbers.
var protocolNames = map[string]string{"1": "icmp", "6": "tcp", "17": "udp", "58": "ipv6-icmp"}

func readRule(o lab.Object) rule {
	protocol := o.Str("protocol")
	if name := protocolNames[protocol]; name != "" {
		protocol = name
	}
	return rule{ingress: o.Str("direction") == "ingress", v6: o.Str("ethertype") == "IPv6", protocol: protocol,
		typed: o["port_range_min"] != nil, coded: o["port_range_max"] != nil,
		min: number(o, "port_range_min"), max: number(o, "port_range_max"), prefix: prefix(o.Str("remote_ip_prefix")),
		group: o.Str("remote_group_id"), addressGroup: o.Str("remote_address_group_id")}
}

func (s *snapshot) readRouter(o lab.Object) router {
	r := router{id: o.ID(), enabled: o["admin_state_up"] == true, hosted: s.agents[l3Agent].serves(o.ID())}
	r.up = r.enabled && r.hosted
	if gateway := o.Object("external_gateway_info"); gateway != nil {
		r.external, r.snat, r.fixed = gateway.Str("network_id"), gateway["enable_snat"] == true, readFixed(gateway, "external_fixed_ips")
	}
	r.routes = readRoutes(o, "routes")
	return r
}

func readRoutes(o lab.Object, name string) (all []route) {
	for _, e := range o.Objects(name) {
		all = append(all, route{prefix(e.Str("destination")), address(e.Str("nexthop"))})
	}
	return all
}

func number(o lab.Object, name string) int {
	n, _ := o[name].(float64)
	return int(n)
}

func texts(o lab.Object, name string) (all []string) {
	list, _ := o[name].([]any)
	for _, e := range list {
		if s, ok := e.(string); ok {
			all = append(all, s)
		}
	}
	slices.Sort(all)
	return all
}

// address and prefix read what may be missing; then the result is not valid.
func address(text string) netip.Addr {
	a, _ := netip.ParseAddr(text)
	return a
}

func prefix(text string) netip.Prefix {
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(a, a.BitLen())
	}
	p, _ := netip.ParsePrefix(text)
	return p.Masked()
}

// single is the prefix of one address.
func single(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// interfacesOf are the ports of a router inside.
func (s *snapshot) interfacesOf(router string) (all []port) {
	for _, p := range s.ports {
		if p.device == router && p.owner == "network:router_interface" {
			all = append(all, p)
		}
	}
	return all
}

// portsWith are the ports of a network that have the address.
func (s *snapshot) portWith(network string, a netip.Addr) (port, bool) {
	for _, p := range s.ports {
		if p.network == network && slices.ContainsFunc(p.fixed, func(f fixed) bool { return f.address == a }) {
			return p, true
		}
	}
	return port{}, false
}
