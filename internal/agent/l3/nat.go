package l3

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// tableName is our nftables table in router namespaces.
const tableName = "neutrino"

// The maps: fixed address by floating IP, and source by fixed address.
const (
	floatingMap = "floating"
	fixedMap    = "fixed"
)

// markPrefix starts the name of an empty chain that says which rules the table has: a hash of what was wanted, apart from
// the elements of the maps, and one of what the kernel then showed. A restarted agent sees by it whether the rules are as
// wanted, and any agent whether somebody changed them.
const markPrefix = "state-"

// mark names the chain that stands for these rules if the kernel shows them as hash.
func (n NAT) mark(hash string) string {
	if !n.needOwners() {
		n.FloatingIPs = nil
	}
	sum := sha256.Sum256([]byte(n.tables()))
	return markPrefix + hex.EncodeToString(sum[:8]) + "-" + hash
}

// replace is the nft script that puts our tables in place of those of the families in old, in one transaction.
func (n NAT) replace(old []family) string {
	var b strings.Builder
	for _, f := range old {
		fmt.Fprintf(&b, "delete table %s %s\n", f, tableName)
	}
	return b.String() + n.tables()
}

// tables describes our tables; that for IPv6 is only there if scopes keep interfaces apart.
func (n NAT) tables() string {
	text := n.table()
	if len(n.Scopes6) > 1 {
		text += fmt.Sprintf("table ip6 %s {\n%s}\n", tableName, scopeChains(n.Scopes6))
	}
	return text
}

// table describes the table. The order of the rules is upstream's chains read from top to bottom:
//   - a request for metadata goes to the proxy;
//   - what goes to a floating IP goes to the address behind it, wherever it comes from;
//   - what leaves by the gateway has its floating IP as source, or the router's address;
//   - what was sent to a floating IP from inside has such a source too, or the answer would not pass the router;
//   - between internal networks nothing is translated.
//
// iifname in postrouting needs Linux 5.7.
func (n NAT) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table ip %s {\n", tableName)
	writeMap(&b, floatingMap, n.byFloating())
	writeMap(&b, fixedMap, n.byFixed())
	if n.needOwners() {
		writeOwners(&b, n.byFixed())
	}
	b.WriteString("\tchain prerouting {\n\t\ttype nat hook prerouting priority -100; policy accept;\n")
	if n.MetadataPort != 0 {
		fmt.Fprintf(&b, "\t\tiifname \"qr-*\" ip daddr 169.254.169.254 tcp dport 80 redirect to :%d\n", n.MetadataPort)
	}
	b.WriteString("\t\tdnat to ip daddr map @floating\n\t}\n")
	b.WriteString("\tchain output {\n\t\ttype nat hook output priority -100; policy accept;\n\t\tdnat to ip daddr map @floating\n\t}\n")
	if n.Gateway != "" {
		n.writeSourceNAT(&b)
	}
	if n.MetadataPort != 0 { // only what was redirected, or anybody could pose as an instance
		b.WriteString("\tchain input {\n\t\ttype filter hook input priority 0; policy accept;\n")
		fmt.Fprintf(&b, "\t\ttcp dport %d ct status dnat accept\n\t\ttcp dport %[1]d drop\n\t}\n", n.MetadataPort)
	}
	if len(n.Scopes4) > 1 {
		b.WriteString(scopeChains(n.Scopes4, n.acrossScopes()...))
	}
	b.WriteString("}\n")
	return b.String()
}

func (n NAT) writeSourceNAT(b *strings.Builder) {
	b.WriteString("\tchain leaving {\n\t\tsnat to ip saddr map @fixed\n")
	if n.EnableSNAT && n.Source.IsValid() {
		if len(n.SameScope) > 0 {
			fmt.Fprintf(b, "\t\tiifname %s accept\n", nameSet(n.SameScope))
		}
		fmt.Fprintf(b, "\t\tiifname \"qr-*\" snat to %s fully-random\n", n.Source)
	}
	b.WriteString("\t}\n")
	fmt.Fprintf(b, "\tchain hairpin {\n\t\tiifname %q accept\n\t\tsnat to ip saddr map @fixed\n", n.Gateway)
	if n.Source.IsValid() {
		fmt.Fprintf(b, "\t\tsnat to %s fully-random\n", n.Source)
	}
	b.WriteString("\t}\n")
	b.WriteString("\tchain postrouting {\n\t\ttype nat hook postrouting priority 100; policy accept;\n")
	fmt.Fprintf(b, "\t\toifname %q goto leaving\n\t\tct status dnat goto hairpin\n\t}\n", n.Gateway)
}

// element is an element of a map.
type element struct{ key, value netip.Addr }

// translates tells whether the address is a floating IP.
func (n NAT) translates(a netip.Addr) bool {
	_, found := slices.BinarySearchFunc(n.FloatingIPs, a, func(p Pair, a netip.Addr) int { return p.Floating.Compare(a) })
	return found
}

// byFloating has the fixed address of each floating IP, sorted.
func (n NAT) byFloating() []element {
	out := make([]element, 0, len(n.FloatingIPs))
	for _, p := range n.FloatingIPs {
		out = append(out, element{p.Floating, p.Fixed})
	}
	return out
}

// byFixed has the source of each fixed address, sorted: with several floating IPs the lowest.
func (n NAT) byFixed() []element {
	out := make([]element, 0, len(n.FloatingIPs))
	for _, p := range n.FloatingIPs {
		out = append(out, element{p.Fixed, p.Floating})
	}
	slices.SortFunc(out, func(a, b element) int { return cmp.Or(a.key.Compare(b.key), a.value.Compare(b.value)) })
	return slices.CompactFunc(out, func(a, b element) bool { return a.key == b.key })
}

func writeMap(b *strings.Builder, name string, elements []element) {
	fmt.Fprintf(b, "\tmap %s {\n\t\ttype ipv4_addr : ipv4_addr\n", name)
	before := "\t\telements = { "
	for _, e := range elements {
		b.WriteString(before + e.key.String() + " : " + e.value.String())
		before = ", "
	}
	if len(elements) > 0 {
		b.WriteString(" }\n")
	}
	b.WriteString("\t}\n")
}

// mapChange is what a map loses and gets; an element with another value is in both.
type mapChange struct{ gone, added []element }

func (c mapChange) size() int { return len(c.gone) + len(c.added) }

// difference compares two sorted lists.
func difference(old, now []element) (c mapChange) {
	for len(old) > 0 || len(now) > 0 {
		order := 0
		switch {
		case len(now) == 0:
			order = -1
		case len(old) == 0:
			order = 1
		default:
			order = old[0].key.Compare(now[0].key)
		}
		same := order == 0 && old[0] == now[0]
		if order <= 0 {
			if !same {
				c.gone = append(c.gone, old[0])
			}
			old = old[1:]
		}
		if order >= 0 {
			if !same {
				c.added = append(c.added, now[0])
			}
			now = now[1:]
		}
	}
	return c
}
