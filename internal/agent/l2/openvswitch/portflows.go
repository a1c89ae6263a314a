package openvswitch

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"neutrino/internal/agent/l2/firewall"
	"neutrino/internal/ovs"
)

// The flows of ports. Register 5 has the number of the port that sends or receives, register 6 the network's local VLAN,
// which is the zone of connection tracking too. Connections that are no longer allowed get the mark 1, by which both
// directions are dropped.
const (
	trackZone = "zone=NXM_NX_REG6[0..15]"
	commit    = "ct(commit," + trackZone + ")"

	established = "ct_state=+est-rel-rpl" // in the direction of its first packet
	fresh       = "ct_state=+new-est"
)

// place is where a port is.
type place struct {
	number int // in the integration bridge
	vlan   int
}

func (p place) load() string {
	return fmt.Sprintf("set_field:%d->reg5,set_field:%d->reg6", p.number, p.vlan)
}

func (p place) reg5() string   { return fmt.Sprintf("reg5=%d", p.number) }
func (p place) output() string { return fmt.Sprintf("output:%d", p.number) }

// openFlows are those of a port that is not filtered.
func openFlows(p place) []ovs.Flow {
	return []ovs.Flow{
		{Table: tableLocal, Priority: 5, Match: inPort(p.number), Actions: resubmit(tableTransient)},
		{Table: tableTransient, Priority: 100, Match: inPort(p.number), Actions: p.load() + "," + resubmit(tableAcceptOrLocal)},
		{Table: tableAcceptOrLocal, Priority: 80, Match: p.reg5(), Actions: resubmit(tableNormal)},
	}
}

// filteredFlows are those of a port that is filtered, without those of its groups and of what is for other MAC addresses of its pairs. It may
// use the permitted Ethernet types, too.
func filteredFlows(p place, f firewall.Port, permitted ...uint16) []ovs.Flow {
	flows := []ovs.Flow{
		{Table: tableLocal, Priority: 5, Match: inPort(p.number), Actions: resubmit(tableTransient)},
		{Table: tableTransient, Priority: 100, Match: inPort(p.number), Actions: p.load() + "," + resubmit(tableBaseEgress)},
		{Table: tableAcceptOrLocal, Priority: 80, Match: p.reg5(), Actions: resubmit(tableNormal)},
	}
	flows = append(flows, deliveryFlows(p.vlan, f.MAC, receiver{p, f.Stateless})...)
	flows = append(flows, egressFlows(p, f)...)
	flows = append(flows, ingressFlows(p, f)...)
	for _, kind := range permitted {
		match := join(fmt.Sprintf("dl_type=%#04x", kind), p.reg5())
		flows = append(flows, ovs.Flow{Table: tableBaseEgress, Priority: 95, Match: match, Actions: resubmit(tableNormal)},
			ovs.Flow{Table: tableBaseIngress, Priority: 100, Match: match, Actions: p.output()})
	}
	if f.Stateless {
		return flows
	}
	for _, family := range []string{"ip", "ipv6"} {
		flows = append(flows, ovs.Flow{Table: tableAcceptOrLocal, Priority: 90, Match: join(fresh, family, p.reg5()),
			Actions: commit + "," + resubmit(tableAcceptedOut)})
	}
	// Unlike upstream's, what answers a port of this host goes through the rules of that port: they let it in at once, unless
	// the port is stateless.
	flows = append(flows, trackedFlows(p, tableRulesEgress, resubmit(tableAcceptOrLocal))...)
	return append(flows, trackedFlows(p, tableRulesIngress, p.output())...)
}

// receiver is a port that frames for a MAC address go to.
type receiver struct {
	place
	stateless bool
}

// deliveryFlows have what is for a MAC address on a network judged by the rules of its ports: several if their address pairs share it, since
// nobody knows which of them has it at the moment.
func deliveryFlows(vlan int, mac string, to ...receiver) []ovs.Flow {
	var outside, local, begun []string // what comes from outside, what this host sends, and what of that begins a connection
	stateless := false
	for i, r := range to {
		port := fmt.Sprintf("set_field:%d->reg5", r.number)
		rules := port + "," + resubmit(tableBaseIngress)
		if local = append(local, rules); i == 0 {
			rules = r.load() + ",strip_vlan," + resubmit(tableBaseIngress)
		}
		outside = append(outside, rules)
		rules = local[i]
		if r.stateless { // what it answers must find the connection of a sender that is not
			// Each fragment is looked up after the commit: a userspace datapath keeps them there until all have come, and sends
			// all on by the actions of the last one.
			rules, stateless = fmt.Sprintf("%s,ct(commit,table=%d,%s)", port, tableBaseIngress, trackZone), true
		}
		begun = append(begun, rules)
	}
	flows := []ovs.Flow{{Table: tableTransient, Priority: 90, Match: fmt.Sprintf("dl_vlan=%d,dl_dst=%s", vlan, mac), Actions: strings.Join(outside, ",")},
		{Table: tableAcceptOrLocal, Priority: 100, Match: fmt.Sprintf("reg6=%d,dl_dst=%s", vlan, mac), Actions: strings.Join(local, ",")}}
	if stateless {
		for _, family := range []string{"ip", "ipv6"} {
			flows = append(flows, ovs.Flow{Table: tableAcceptOrLocal, Priority: 101, Match: fmt.Sprintf("%s,%s,reg6=%d,dl_dst=%s", fresh, family, vlan, mac),
				Actions: strings.Join(begun, ",")})
		}
	}
	return flows
}

// pair is a source that a port may use.
type pair struct {
	mac    string
	prefix netip.Prefix
}

// pairsOf are the sources of a port, with the link-local addresses of MACs that have IPv6.
func pairsOf(f firewall.Port) []pair {
	var out []pair
	seen := map[pair]bool{}
	add := func(p pair) {
		if !seen[p] {
			seen[p] = true
			out = append(out, p)
		}
	}
	for _, x := range f.Pairs {
		add(pair{x.MAC, x.Prefix})
		if lla, ok := firewall.LinkLocal(x.MAC); ok && x.Prefix.Addr().Is6() {
			add(pair{x.MAC, netip.PrefixFrom(lla, 128)})
		}
	}
	return out
}

func macsOf(f firewall.Port) []string {
	macs := []string{f.MAC}
	for _, x := range f.Pairs {
		if !slices.Contains(macs, x.MAC) {
			macs = append(macs, x.MAC)
		}
	}
	return macs
}

func address(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// field matches addresses; all of them for the prefix of length 0.
func field(name string, p netip.Prefix) string {
	if !p.IsValid() || p.Bits() == 0 {
		return ""
	}
	return name + "=" + address(p)
}

// egressFlows keep a port from sending what is not its own, and from serving DHCP or routing.
func egressFlows(p place, f firewall.Port) []ovs.Flow {
	var flows []ovs.Flow
	from := join(p.reg5(), inPort(p.number))
	add := func(priority int, match, actions string) {
		flows = append(flows, ovs.Flow{Table: tableBaseEgress, Priority: priority, Match: join(match, from), Actions: actions})
	}
	track := "ct(table=" + fmt.Sprint(tableRulesEgress) + "," + trackZone + ")"
	if f.Stateless {
		track = resubmit(tableRulesEgress)
	}
	rarp := map[string]bool{}
	for _, x := range pairsOf(f) {
		src := "dl_src=" + x.mac
		if x.prefix.Addr().Is4() {
			add(95, join("arp", src, field("arp_spa", x.prefix)), resubmit(tableNormal))
			if !rarp[x.mac] {
				rarp[x.mac] = true
				add(95, join("dl_type=0x8035", src), resubmit(tableNormal))
			}
			add(80, join("udp", src, field("nw_src", x.prefix), "tp_src=68,tp_dst=67"), resubmit(tableAcceptOrLocal))
			add(65, join("ip", src, field("nw_src", x.prefix)), track)
			continue
		}
		for _, kind := range []int{130, 131, 132, 133, 135, 143} {
			add(95, join("icmp6", src, field("ipv6_src", x.prefix), fmt.Sprintf("icmp_type=%d", kind)), resubmit(tableNormal))
		}
		add(95, join("icmp6", src, "icmp_type=136,icmp_code=0", field("nd_target", x.prefix)), resubmit(tableNormal)) // upstream takes any MAC
		add(80, join("udp6", src, field("ipv6_src", x.prefix), "tp_src=546,tp_dst=547"), resubmit(tableAcceptOrLocal))
		add(65, join("ipv6", src, field("ipv6_src", x.prefix)), track)
	}
	add(80, join("udp", "dl_src="+f.MAC, "nw_src=0.0.0.0,tp_src=68,tp_dst=67"), resubmit(tableAcceptOrLocal))
	if slices.ContainsFunc(f.Pairs, func(x firewall.Pair) bool { return x.Prefix.Addr().Is6() }) { // address detection and joining groups before there is an address
		for _, kind := range []int{131, 135, 143} {
			add(95, join("icmp6", "dl_src="+f.MAC, "ipv6_src=::", fmt.Sprintf("icmp_type=%d", kind)), resubmit(tableNormal))
		}
	}
	add(70, "udp,tp_src=67,tp_dst=68", resubmit(tableDropped))
	add(70, "udp6,tp_src=547,tp_dst=546", resubmit(tableDropped))
	add(70, "icmp6,icmp_type=134", resubmit(tableDropped))
	add(10, "", "ct_clear,"+resubmit(tableDropped))
	return flows
}

// ingressFlows let through what every port gets, and send the rest to the rules.
func ingressFlows(p place, f firewall.Port) []ovs.Flow {
	var flows []ovs.Flow
	add := func(priority int, match, actions string) {
		flows = append(flows, ovs.Flow{Table: tableBaseIngress, Priority: priority, Match: join(match, p.reg5()), Actions: actions})
	}
	add(100, "arp", p.output())
	for _, kind := range []int{130, 134, 135, 136} {
		add(100, fmt.Sprintf("icmp6,icmp_type=%d", kind), p.output())
	}
	add(95, "udp,tp_src=67,tp_dst=68", p.output())
	add(95, "udp6,tp_src=547,tp_dst=546", p.output())
	if f.Stateless {
		add(80, "", resubmit(tableRulesIngress))
		return flows
	}
	for _, family := range []string{"ip", "ipv6"} {
		add(90, "ct_state=-trk,"+family, fmt.Sprintf("ct(table=%d,%s)", tableRulesIngress, trackZone))
	}
	add(80, "ct_state=+trk", resubmit(tableRulesIngress))
	return flows
}

// trackedFlows decide by the state of connections, before and after the rules of one direction.
func trackedFlows(p place, table int, accept string) []ovs.Flow {
	var flows []ovs.Flow
	add := func(priority int, match, actions string) {
		flows = append(flows, ovs.Flow{Table: table, Priority: priority, Match: join(match, p.reg5()), Actions: actions})
	}
	add(50, "ct_state=+trk+inv", resubmit(tableDropped))
	add(50, "ct_mark=0x1", resubmit(tableDropped))
	for _, state := range []string{"+est-rel+rpl", "-new-est+rel-inv"} {
		add(50, fmt.Sprintf("ct_state=%s,ct_mark=0,ct_zone=%d", state, p.vlan), accept)
	}
	add(40, "ct_state=-est", resubmit(tableDropped))
	for _, family := range []string{"ip", "ipv6"} {
		add(40, "ct_state=+est,"+family, "ct(commit,"+trackZone+",exec(set_field:0x1->ct_mark))")
	}
	return flows
}

// againFlows take the mark off connections whose packets a rule accepts: it came back after they were cut. What leaves for a port of this
// host keeps it, until that port's rules have accepted it, too.
func againFlows() []ovs.Flow {
	output := "output:NXM_NX_REG5[]"
	flows := []ovs.Flow{{Table: tableAcceptedAgain, Priority: 0, Actions: output}}
	for _, family := range []string{"ip", "ipv6"} {
		unmark := "ct(commit," + trackZone + ",exec(set_field:0->ct_mark)),"
		flows = append(flows, ovs.Flow{Table: tableAcceptedAgain, Priority: 1, Match: "ct_mark=0x1," + family, Actions: unmark + output},
			ovs.Flow{Table: tableAcceptOrLocal, Priority: 85, Match: join(established, "ct_mark=0x1", family), Actions: unmark + resubmit(tableNormal)})
	}
	return flows
}

// protocolNames are words that ovs-ofctl has for protocols, in IPv4; those of IPv6 end in 6.
var protocolNames = map[int]string{1: "icmp", 58: "icmp", 6: "tcp", 17: "udp", 132: "sctp"}

// ruleMatches are what a rule matches beside the port and the state of the connection.
func ruleMatches(r firewall.Rule) []string {
	family, name := "ip", protocolNames[r.Protocol]
	if r.V6 {
		family = "ipv6"
	}
	icmp := r.Protocol == 1 || r.Protocol == 58
	protocol := name
	switch {
	case r.Protocol < 0:
		protocol = family
	case name == "" || icmp && (r.Protocol == 58) != r.V6:
		protocol = fmt.Sprintf("%s,nw_proto=%d", family, r.Protocol)
	case r.V6:
		protocol += "6"
	}
	remote := remoteField(r)
	base := join(protocol, remote)
	var narrow []string
	switch {
	case r.Min < 0 || name == "":
	case icmp && r.Max < 0:
		narrow = []string{fmt.Sprintf("%s,icmp_type=%d", base, r.Min)}
	case icmp:
		narrow = []string{fmt.Sprintf("%s,icmp_type=%d,icmp_code=%d", base, r.Min, r.Max)}
	default:
		for _, mask := range portMasks(r.Min, max(r.Min, r.Max)) {
			narrow = append(narrow, base+",tp_dst="+mask)
		}
	}
	switch {
	case r.V6 && r.Protocol >= 0: // to flows the protocol of later fragments is that of fragments
		return append(orElse(narrow, base), join(family, remote, laterFragment))
	case narrow != nil:
		return append(narrow, base+","+laterFragment)
	}
	return []string{base}
}

// laterFragment matches fragments after the first one, which have no ports and types for rules. The kernel's datapath has put
// them together; the userspace's tracks them together, but its flows see each by itself. Of a new connection they go to the
// commit that the first one goes to if its port is allowed: there they wait for it, in vain if it was dropped.
const laterFragment = "nw_frag=later"

func orElse(list []string, other string) []string {
	if list != nil {
		return list
	}
	return []string{other}
}

// remoteField matches the other end of a rule's traffic.
func remoteField(r firewall.Rule) string {
	prefix := map[bool]string{true: "ipv6_", false: "nw_"}[r.V6]
	return field(prefix+map[bool]string{true: "src", false: "dst"}[r.Ingress], r.Prefix)
}

// specificity orders flows of which one matches more closely than another.
func specificity(r firewall.Rule) int {
	icmp := r.Protocol == 1 || r.Protocol == 58
	switch {
	case r.Protocol < 0:
		return 0
	case icmp && r.Min < 0:
		return 1
	case icmp && r.Max < 0:
		return 2
	}
	return 3
}

// states are what a rule is compared with: connections that it would have allowed, and new ones.
func states(stateless bool) []string {
	if stateless {
		return []string{""}
	}
	return []string{established, fresh}
}

// accepts is what a rule of a port does with a packet.
func accepts(p place, ingress bool, state string) (table int, actions string) {
	switch {
	case !ingress:
		return tableRulesEgress, resubmit(tableAcceptOrLocal)
	case state == fresh:
		return tableRulesIngress, commit + "," + p.output()
	case state == established:
		return tableRulesIngress, resubmit(tableAcceptedAgain)
	}
	return tableRulesIngress, p.output()
}

// conjunctionKey is what a conjunction stands for: the rules of a group about a remote group, on one network.
type conjunctionKey struct {
	vlan          int
	group, remote string
	ingress, v6   bool
	specificity   int
	stateless     bool
}

// groupFlows are the flows of a port for the rules of its groups. Those about remote groups are one side of conjunctions,
// whose other side, the members, is common to all ports.
func groupFlows(p place, f firewall.Port, groups map[string][]firewall.Rule, id func(conjunctionKey) uint32) []ovs.Flow {
	var flows []ovs.Flow
	parts := map[string]*conjunctions{}
	for _, g := range slices.Sorted(slices.Values(f.Groups)) {
		for _, r := range groups[g] {
			if r.Remote != "" {
				key := conjunctionKey{p.vlan, g, r.Remote, r.Ingress, r.V6, specificity(r), f.Stateless}
				flows = append(flows, conjunctionFlows(p, r, id(key), f.Stateless, parts)...)
				continue
			}
			for _, match := range ruleMatches(r) {
				for _, state := range states(f.Stateless) {
					table, actions := accepts(p, r.Ingress, state)
					flows = append(flows, ovs.Flow{Table: table, Priority: 74 + specificity(r), Match: join(state, match, p.reg5()), Actions: actions})
				}
			}
		}
	}
	for _, k := range keysSorted(parts) {
		flows = append(flows, parts[k].flow())
	}
	return flows
}

// conjunctions are flows with the same match: what they are parts of.
type conjunctions struct {
	ovs.Flow
	side int
	ids  []uint32
}

func addPart(parts map[string]*conjunctions, table, priority int, match string, side int, id uint32) {
	key := fmt.Sprintf("%d %d %s", table, priority, match)
	if parts[key] == nil {
		parts[key] = &conjunctions{Flow: ovs.Flow{Table: table, Priority: priority, Match: match}, side: side}
	}
	if !slices.Contains(parts[key].ids, id) {
		parts[key].ids = append(parts[key].ids, id)
	}
}

func (c *conjunctions) flow() ovs.Flow {
	slices.Sort(c.ids)
	texts := make([]string, len(c.ids))
	for i, id := range c.ids {
		texts[i] = fmt.Sprintf("conjunction(%d,%d/2)", id, c.side)
	}
	c.Actions = strings.Join(texts, ",")
	return c.Flow
}

// conjunctionFlows accept what is in both sides of a conjunction, and add the rule to its second side. Each state has an
// id of its own, counted from id.
func conjunctionFlows(p place, r firewall.Rule, id uint32, stateless bool, parts map[string]*conjunctions) []ovs.Flow {
	var flows []ovs.Flow
	family := map[bool]string{true: "ipv6", false: "ip"}[r.V6]
	for i, state := range states(stateless) {
		table, actions := accepts(p, r.Ingress, state)
		for _, match := range ruleMatches(r) {
			addPart(parts, table, 70+specificity(r), join(state, match, p.reg5()), 2, id+uint32(i))
		}
		flows = append(flows, ovs.Flow{Table: table, Priority: 70 + specificity(r), Match: join(fmt.Sprintf("conj_id=%d", id+uint32(i)), family, p.reg5()),
			Actions: actions})
	}
	return flows
}

// memberFlows are the first sides of conjunctions of a network: the addresses of members.
func memberFlows(used map[conjunctionKey]uint32, members func(group string, v6 bool) []netip.Prefix) []ovs.Flow {
	return firstSides(used, func(k conjunctionKey) (matches []string) {
		name := map[bool]string{true: "src", false: "dst"}[k.ingress]
		if name = "nw_" + name; k.v6 {
			name = "ipv6_" + strings.TrimPrefix(name, "nw_")
		}
		for _, m := range members(k.remote, k.v6) {
			matches = append(matches, field(name, m))
		}
		return matches
	})
}

// roamingFlows are those of members that may have every address: their frames are told by the MAC, in either direction. Else one of them
// would make everybody a member (neutron/agent/linux/openvswitch_firewall/rules.py, create_flows_for_ip_address_and_mac).
func roamingFlows(used map[conjunctionKey]uint32, roaming map[memberKey][]string) []ovs.Flow {
	return firstSides(used, func(k conjunctionKey) (matches []string) {
		for _, mac := range roaming[memberKey{k.remote, k.v6}] {
			matches = append(matches, "dl_src="+mac)
		}
		return matches
	})
}

// firstSides are the first sides of conjunctions, each with some matches.
func firstSides(used map[conjunctionKey]uint32, matches func(conjunctionKey) []string) []ovs.Flow {
	parts := map[string]*conjunctions{}
	for k, id := range used {
		family := map[bool]string{true: "ipv6", false: "ip"}[k.v6]
		table := tableRulesEgress
		if k.ingress {
			table = tableRulesIngress
		}
		for _, match := range matches(k) {
			for i, state := range states(k.stateless) {
				addPart(parts, table, 70+k.specificity, join(state, family, fmt.Sprintf("reg6=%d", k.vlan), match), 1, id+uint32(i))
			}
		}
	}
	var flows []ovs.Flow
	for _, k := range keysSorted(parts) {
		flows = append(flows, parts[k].flow())
	}
	return flows
}
