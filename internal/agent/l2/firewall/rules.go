package firewall

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"neutrino/internal/rpc"
)

// protocols are the names that rules may use (upstream neutron_lib.constants.IP_PROTOCOL_MAP).
var protocols = map[string]uint8{
	"ah": 51, "dccp": 33, "egp": 8, "esp": 50, "gre": 47, "hopopt": 0, "icmp": 1, "icmpv6": 58, "igmp": 2, "ip": 0,
	"ipip": 4, "ipv6-encap": 41, "ipv6-frag": 44, "ipv6-icmp": 58, "ipv6-nonxt": 59, "ipv6-opts": 60, "ipv6-route": 43,
	"ospf": 89, "pgm": 113, "rsvp": 46, "sctp": 132, "tcp": 6, "udp": 17, "udplite": 136, "vrrp": 112,
}

const (
	protoICMP   = 1
	protoICMPv6 = 58
)

// withPorts are the protocols whose rules may have port ranges.
var withPorts = map[uint8]bool{6: true, 17: true, 33: true, 132: true, 136: true}

const (
	ethertypeV4 = "IPv4"
	ethertypeV6 = "IPv6"
	directionIn = "ingress"
)

// rule is a security group rule with its texts understood.
type rule struct {
	ingress  bool
	v6       bool
	protocol int // -1: any
	min, max int // ports, or ICMP type and code; -1: any
	prefix   netip.Prefix
	remote   string // group or address group
}

func parseRule(r rpc.SecurityGroupRule) (rule, error) {
	x := rule{ingress: r.Direction == directionIn, v6: r.Ethertype == ethertypeV6, protocol: -1, min: -1, max: -1,
		remote: r.RemoteGroupID}
	if x.remote == "" {
		x.remote = r.RemoteAddressGroupID
	}
	if err := x.parseProtocol(r.Protocol); err != nil {
		return x, err
	}
	if r.PortRangeMin != nil {
		x.min = *r.PortRangeMin
	}
	if r.PortRangeMax != nil {
		x.max = *r.PortRangeMax
	}
	text := r.DestIPPrefix
	if x.ingress {
		text = r.SourceIPPrefix
	}
	if text == "" {
		return x, nil
	}
	p, err := parsePrefix(text)
	if err != nil {
		return x, err
	}
	if p.Addr().Is6() != x.v6 {
		return x, fmt.Errorf("prefix %s does not fit %s", text, r.Ethertype)
	}
	if p.Bits() > 0 {
		x.prefix = p
	}
	return x, nil
}

func (x *rule) parseProtocol(name string) error {
	name = strings.ToLower(name)
	if name == "" || name == "any" || name == "0" {
		return nil
	}
	number, known := protocols[name]
	if !known {
		n, err := strconv.ParseUint(name, 10, 8)
		if err != nil {
			return fmt.Errorf("unknown protocol %q", name)
		}
		number = uint8(n)
	}
	if x.v6 && number == protoICMP { // upstream accepts the IPv4 name in IPv6 rules
		number = protoICMPv6
	}
	x.protocol = int(number)
	return nil
}

// parsePrefix reads an address or a prefix and clears the host bits.
func parsePrefix(text string) (netip.Prefix, error) {
	if !strings.Contains(text, "/") {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return netip.Prefix{}, err
		}
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	return p.Masked(), err
}

// texts are the rule in nft's language, with the verdict: one for members by their address and, if there are any, one for those
// that may have every address.
func (x rule) texts(anywhere bool) []string {
	all := []string{x.text("")}
	if anywhere {
		all = append(all, x.text("ether saddr @"+anywhereSet(x.remote, x.v6).Name))
	}
	return all
}

// text is the rule in nft's language; member, if not "", stands for its remote group.
func (x rule) text(member string) string {
	words := []string{"ether type ip"}
	ip := "ip"
	if x.v6 {
		words, ip = []string{"ether type ip6"}, "ip6"
	}
	side := "daddr"
	if x.ingress {
		side = "saddr"
	}
	if x.prefix.IsValid() {
		words = append(words, ip, side, prefixText(x.prefix))
	}
	switch {
	case member != "":
		words = append(words, member)
	case x.remote != "":
		words = append(words, ip, side, "@"+memberSet(x.remote, x.v6).Name)
	}
	words = append(words, x.protocolText()...)
	if x.ingress {
		return strings.Join(append(words, "accept"), " ")
	}
	return strings.Join(append(words, "goto deliver"), " ")
}

func (x rule) protocolText() []string {
	if x.protocol < 0 {
		return nil
	}
	words := []string{fmt.Sprintf("meta l4proto %d", x.protocol)}
	switch {
	case x.min < 0:
	case x.protocol == protoICMP || x.protocol == protoICMPv6:
		name := "icmp"
		if x.v6 {
			name = "icmpv6"
		}
		words = append(words, fmt.Sprintf("%s type %d", name, x.min))
		if x.max >= 0 {
			words = append(words, fmt.Sprintf("%s code %d", name, x.max))
		}
	case withPorts[uint8(x.protocol)] && x.max > x.min:
		words = append(words, fmt.Sprintf("th dport %d-%d", x.min, x.max))
	case withPorts[uint8(x.protocol)]:
		words = append(words, fmt.Sprintf("th dport %d", x.min))
	}
	return words
}

// prefixText writes a prefix as nft lists it.
func prefixText(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// Ethertype is upstream's word for an IP version.
func Ethertype(v6 bool) string {
	if v6 {
		return "IPv6"
	}
	return "IPv4"
}

// memberSet is the set of the addresses of a remote group.
func memberSet(group string, v6 bool) object {
	if v6 {
		return inBridge("members6-" + group)
	}
	return inBridge("members4-" + group)
}

// anywhereSet is the set of the MAC addresses of those members of a remote group that may have every address. Their frames are told by
// the MAC, in either direction: else one of them would make everybody a member
// (neutron/agent/linux/openvswitch_firewall/rules.py, create_flows_for_ip_address_and_mac).
func anywhereSet(group string, v6 bool) object {
	if v6 {
		return inBridge("anywhere6-" + group)
	}
	return inBridge("anywhere4-" + group)
}

// groupChain is the chain of a group's rules.
func groupChain(group string, ingress bool) object { return inBridge(direction(ingress) + "-" + group) }

func direction(ingress bool) string {
	if ingress {
		return "in"
	}
	return "out"
}

// rulesChain renders the rules of one direction, each text once, in a fixed order. anywhere tells of rules about a group whether that has
// members that may have every address.
func rulesChain(rules []rule, ingress bool, anywhere func(rule) bool) chain {
	var c chain
	for _, r := range rules {
		if r.ingress == ingress {
			c.Rules = append(c.Rules, r.texts(r.remote != "" && anywhere(r))...)
		}
	}
	slices.Sort(c.Rules)
	c.Rules = slices.Compact(c.Rules)
	return sealed(c)
}

// profileChain is what a port with these groups runs for one direction.
func profileChain(groups []string, ingress bool) chain {
	always := "jump always_egress"
	if ingress {
		always = "jump always_ingress"
	}
	c := chain{Rules: []string{always}}
	groups = slices.Sorted(slices.Values(groups))
	for _, g := range groups {
		c.Rules = append(c.Rules, "jump "+groupChain(g, ingress).Name)
	}
	c.Rules = append(c.Rules, "drop")
	return sealed(c)
}

// sealed fingerprints a chain. The last rule carries the fingerprint, so there is always one.
func sealed(c chain) chain {
	if len(c.Rules) == 0 {
		c.Rules = []string{"return"}
	}
	sum := sha256.Sum256([]byte(c.Hook + "\n" + strings.Join(c.Rules, "\n")))
	c.Sum = hex.EncodeToString(sum[:8])
	return c
}

// Rule is a security group rule with its texts understood, for filters that are not made of nftables rules.
type Rule struct {
	Ingress  bool
	V6       bool
	Protocol int          // -1: any
	Min, Max int          // ports, or ICMP type and code; -1: any
	Prefix   netip.Prefix // of the other side; invalid: any
	Remote   string       // group or address group of the other side; "": any
}

// Parse understands a rule.
func Parse(r rpc.SecurityGroupRule) (Rule, error) {
	x, err := parseRule(r)
	return Rule{x.ingress, x.v6, x.protocol, x.min, x.max, x.prefix, x.remote}, err
}

// LinkLocal is the address that EUI-64 makes of a MAC.
func LinkLocal(mac string) (netip.Addr, bool) { return linkLocal(mac) }
