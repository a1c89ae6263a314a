package firewall

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A frame from one local port to another passes
//
//	bridge prerouting -300   guard: anti-spoofing of the sender, before the bridge learns its address
//	inet   prerouting -300   zone: the conntrack zone of the bridge, or no tracking     } by br_netfilter, IP only
//	inet   prerouting -150   state: the connection's state becomes the packet mark      }
//	bridge forward    -200   established: accept; else the rules of the sender (egress), then of the receiver (ingress)
//	bridge postrouting       the packet mark is cleared, else the outer packet of a tunnel would inherit it
//
// br_netfilter lends bridges the connection tracking of IP. Where the bridge family has ct of its own (conntrack-bridge)
// this way works as well, so it is the only one. The mark is how the state gets from the IP hooks, which see only the
// bridge, to the bridge hooks, which see the ports. All names are ours; nothing of other tables is touched.
const tableName = "neutrino"

// Families of our two tables.
const (
	familyBridge = "bridge"
	familyInet   = "inet"
)

// Packet marks, between inet prerouting and bridge postrouting only.
const (
	markEstablished = 0x10000000
	markInvalid     = 0x20000000
	markNew         = 0x40000000
)

// MarkOwn is the packet mark of what a bridge itself gets of neighbour discovery from its own ports: what of that is an announcement is
// sent through the bridge's tunnel (bridge.Relay).
const MarkOwn = 0x08000000

// markDead is the conntrack mark of a connection that is no longer allowed. Forgetting the connection would not do: its
// next packet would make a new one, in the direction that may still be allowed.
const markDead = 1

// object names a set, map or chain.
type object struct{ Family, Name string }

func inBridge(name string) object { return object{familyBridge, name} }

// Shared sets and maps.
var (
	setPorts     = inBridge("ports")   // devices that may take part: filtered, open, uplinks
	setMACs      = inBridge("macs")    // device . source MAC
	setPairs4    = inBridge("pairs4")  // device . source MAC . source address
	setPairs6    = inBridge("pairs6")  //
	setTargets   = inBridge("targets") // device . source MAC . target of a neighbour advertisement
	mapGuard     = inBridge("guard")   // device: what checks its frames
	mapWide      = inBridge("wide")    // device: chain of a port with prefixes in its address pairs
	mapEgress    = inBridge("egress")  // device: rules for what it sends
	mapIngress   = inBridge("ingress") // device: rules for what it gets
	mapZones     = object{familyInet, "zones"}
	setLoose     = inBridge("loose")               // stateless devices
	setStateless = object{familyInet, "stateless"} // their bridge . MAC
	setTracked   = object{familyInet, "tracked"}   // bridge . MAC of the other filtered ones
)

// sharedSets are the declarations of the shared sets and maps.
func sharedSets() map[object]string {
	return map[object]string{
		setPorts:     "set type ifname",
		setMACs:      "set type ifname . ether_addr",
		setPairs4:    "set type ifname . ether_addr . ipv4_addr",
		setPairs6:    "set type ifname . ether_addr . ipv6_addr",
		setTargets:   "set typeof iifname . ether saddr . @th,64,128", // nft 1.0.6 has no icmpv6 taddr
		mapGuard:     "map type ifname : verdict",
		mapWide:      "map type ifname : verdict",
		mapEgress:    "map type ifname : verdict",
		mapIngress:   "map type ifname : verdict",
		mapZones:     "map typeof iifname : ct zone",
		setLoose:     "set type ifname",
		setStateless: "set type ifname . ether_addr",
		setTracked:   "set type ifname . ether_addr",
	}
}

// chain is a chain as we write it. A Hook makes it a base chain.
type chain struct {
	Hook  string
	Rules []string
	Sum   string // fingerprint, kept in the kernel as comment of the last rule
}

// What servers of DHCPv4 and v6 send, and clients (RFC 2131, RFC 8415); ownMAC drops what a port sends with an address that is
// not its own. For the chains that every packet passes comparisons are cheaper than a set.
const (
	dhcpServer4 = "udp sport 67 udp dport 68"
	dhcpServer6 = "udp sport 547 udp dport 546"
	dhcpServer  = "udp sport . udp dport { 67 . 68, 547 . 546 }"
	dhcpClient  = "udp sport . udp dport { 68 . 67, 546 . 547 }"
	ownMAC      = "iifname . ether saddr != @macs drop"
)

// sharedChains are the chains that do not depend on ports and groups.
func sharedChains(cfg Config) map[object]chain {
	markOwn := fmt.Sprintf(`iifname != "vxlan-*" iifname @ports meta mark set meta mark | %#x`, MarkOwn)
	chains := map[object]chain{
		inBridge("prerouting"): {Hook: "type filter hook prerouting priority -300", Rules: []string{
			"iifname vmap @guard",
		}},
		inBridge("guard"): {Rules: []string{ // what most packets are, first
			"ether type ip goto guard4",
			"ether type ip6 goto guard6",
			"ether type arp goto guard_arp",
			"drop", // also VLAN tags, which would hide the packet from all that follows
		}},
		inBridge("guard4"): {Rules: []string{
			dhcpServer4 + " drop",
			"iifname . ether saddr . ip saddr @pairs4 accept",
			ownMAC,
			"ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 udp dport 67 accept",
			"iifname vmap @wide",
			"drop",
		}},
		inBridge("guard6"): {Rules: []string{
			dhcpServer6 + " drop",
			"icmpv6 type nd-router-advert drop",
			"icmpv6 type nd-neighbor-advert goto guard_advert",
			"iifname . ether saddr . ip6 saddr @pairs6 accept",
			ownMAC,
			// duplicate address detection and the group joins before it (RFC 4862, RFC 3810)
			"ip6 saddr :: ip6 daddr ff02::/16 icmpv6 type { mld-listener-report, mld2-listener-report, nd-neighbor-solicit } accept",
			"iifname vmap @wide",
			"drop",
		}},
		inBridge("guard_arp"): {Rules: []string{ // sender addresses inside ARP count as well as the frame's (RFC 826)
			ownMAC,
			"iifname . arp saddr ether != @macs drop",
			"arp saddr ip 0.0.0.0 accept", // a probe (RFC 5227)
			"iifname . ether saddr . arp saddr ip @pairs4 iifname . arp saddr ether . arp saddr ip @pairs4 accept",
			"iifname vmap @wide",
			"drop",
		}},
		inBridge("guard_advert"): {Rules: []string{
			ownMAC,
			"iifname . ether saddr . ip6 saddr @pairs6 iifname . ether saddr . @th,64,128 @targets accept",
			"iifname vmap @wide",
			"drop",
		}},
		inBridge("input"): {Hook: "type filter hook input priority -200", Rules: []string{
			"ether type arp " + markOwn,
			"icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } " + markOwn,
			dhcpServer + " iifname vmap @egress",
			fmt.Sprintf("meta mark & %#x != 0 accept", markEstablished),
			"iifname vmap @egress",
		}},
		inBridge("forward"): {Hook: "type filter hook forward priority -200", Rules: []string{
			// An instance whose device is plugged before we know of it: nothing reaches it and it reaches nobody.
			`iifname "tap*" iifname != @ports jump stranger`,
			`oifname "tap*" oifname != @ports iifname @ports drop`,
			// Fragments were put together meanwhile; what was hidden in them must not count as established.
			dhcpServer4 + " iifname vmap @egress",
			dhcpServer6 + " iifname vmap @egress",
			fmt.Sprintf("meta mark & %#x != 0 jump %s", markEstablished, chainEstablished.Name),
			"iifname vmap @egress",
			"oifname vmap @ingress",
		}},
		inBridge("stranger"): {Rules: []string{
			"oifname @ports drop",
			fmt.Sprintf("meta mark & %#x != 0 drop", markEstablished|markInvalid|markNew), // in one of our bridges
		}},
		inBridge("postrouting"): {Hook: "type filter hook postrouting priority 0", Rules: []string{
			fmt.Sprintf("meta mark & %#x != 0 meta mark set 0", markEstablished|markInvalid|markNew),
		}},
		inBridge("deliver"): {Rules: []string{
			fmt.Sprintf("meta mark & %#x != 0 oifname != @loose accept", markEstablished), // an answer from a stateless port to another
			"oifname vmap @ingress", "accept",
		}},
		inBridge("always_egress"): {Rules: []string{
			"ether type arp goto deliver",
			dhcpServer + " drop",
			"icmpv6 type nd-router-advert drop",
			fmt.Sprintf("meta mark & %#x != 0 drop", markInvalid),
			dhcpClient + " goto deliver",
			"icmpv6 type { mld-listener-query, mld-listener-report, mld-listener-done, nd-router-solicit, " +
				"nd-neighbor-solicit, nd-neighbor-advert, mld2-listener-report } goto deliver",
		}},
		inBridge("always_ingress"): {Rules: []string{
			"ether type arp accept",
			fmt.Sprintf("meta mark & %#x != 0 drop", markInvalid),
			dhcpServer + " accept",
			"icmpv6 type { mld-listener-query, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert } accept",
		}},
	}
	maps.Copy(chains, trackingChains(cfg.Bridges, cfg.VXLANPort))
	if len(cfg.Ethertypes) > 0 {
		permit(chains, cfg.Ethertypes)
	}
	for o, c := range chains {
		chains[o] = sealed(c)
	}
	maps.Copy(chains, statelessChains(false))
	return chains
}

// permit lets filtered ports use further Ethernet types, with their own MAC addresses.
func permit(chains map[object]chain, ethertypes []uint16) {
	texts := make([]string, len(ethertypes))
	for i, kind := range ethertypes {
		texts[i] = fmt.Sprintf("%#04x", kind)
	}
	these := "ether type { " + strings.Join(texts, ", ") + " } "
	for name, rule := range map[string]string{"guard": "iifname . ether saddr @macs " + these + "accept", "always_egress": these + "goto deliver",
		"always_ingress": these + "accept"} {
		c := chains[inBridge(name)]
		end := len(c.Rules)
		if name == "guard" { // before it drops the rest
			end--
		}
		c.Rules = slices.Insert(c.Rules, end, rule)
		chains[inBridge(name)] = c
	}
}

func trackingChains(bridges []string, vxlanPort int) map[object]chain {
	outer := fmt.Sprintf("udp dport %d notrack accept", vxlanPort)
	zone := []string{}
	for _, b := range bridges {
		zone = append(zone, fmt.Sprintf("iifname %q jump bridged", b))
	}
	state := []string{}
	for _, b := range bridges {
		state = append(state, fmt.Sprintf("iifname %q jump state_mark", b))
	}
	return map[object]chain{
		{familyInet, "zone"}: {Hook: "type filter hook prerouting priority raw", Rules: append(zone, outer)},
		{familyInet, "bridged"}: {Rules: []string{
			"jump " + chainUntracked.Name,
			"ct zone set iifname map @zones",
			"accept",
		}},
		// What the host itself sends into a bridge must be in the zone of the answers.
		{familyInet, "zone_output"}: {Hook: "type filter hook output priority raw", Rules: []string{
			outer, "ct zone set oifname map @zones"}},
		{familyInet, "state"}: {Hook: "type filter hook prerouting priority mangle", Rules: state},
		{familyInet, "state_mark"}: {Rules: []string{
			fmt.Sprintf("ct state established,related ct mark != %d meta mark set %#x accept", markDead, markEstablished), // most packets
			fmt.Sprintf("meta mark set ct state map { established : %#x, related : %#x, invalid : %#x, new : %#x, untracked : %#x }",
				markEstablished, markEstablished, markInvalid, markNew, markNew),
			fmt.Sprintf("ct mark %d meta mark set %#x", markDead, markInvalid),
		}},
	}
}

// Chains that look for stateless ports only while there are any: that would cost every packet of the host.
var (
	chainUntracked   = object{familyInet, "untracked"}
	chainEstablished = inBridge("established")
)

// statelessChains keep connections of stateless ports from being tracked, unless the other end is a port of this host that
// wants to know its own connection again. What belongs to such a connection obeys the rules of the stateless end all the same.
func statelessChains(any bool) map[object]chain {
	if !any {
		return map[object]chain{chainUntracked: sealed(chain{}), chainEstablished: sealed(chain{Rules: []string{"accept"}})}
	}
	return map[object]chain{
		chainUntracked: sealed(chain{Rules: []string{
			"iifname . ether saddr @stateless iifname . ether daddr != @tracked notrack accept",
			"iifname . ether daddr @stateless iifname . ether saddr != @tracked notrack accept",
		}}),
		chainEstablished: sealed(chain{Rules: []string{
			"iifname @loose return", // to its own rules, and those of the receiver if it is stateless too
			"oifname @loose oifname vmap @ingress",
			"accept",
		}}),
	}
}
