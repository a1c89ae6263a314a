package l3

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// tableName is our nftables table in router namespaces.
const tableName = "neutrino"

// markPrefix starts the name of an empty chain that tells which rules the table has: the rest is their hash. It is
// replaced together with the rules, so a restarted agent sees without reading them whether they are as wanted.
const markPrefix = "state-"

// equal tells whether both translate alike.
func (n NAT) equal(o NAT) bool { return n.sameRules(o) && slices.Equal(n.FloatingIPs, o.FloatingIPs) }

// sameRules tells whether both differ in elements of the maps at most.
func (n NAT) sameRules(o NAT) bool {
	return n.Gateway == o.Gateway && n.Source == o.Source && n.EnableSNAT == o.EnableSNAT && n.MetadataPort == o.MetadataPort
}

// mark names the chain that stands for these rules.
func (n NAT) mark() string {
	sum := sha256.Sum256([]byte(n.table("")))
	return markPrefix + hex.EncodeToString(sum[:8])
}

// replace is the nft script that puts the table in place of whatever is there, in one transaction.
func (n NAT) replace() string {
	return fmt.Sprintf("add table ip %s\ndelete table ip %[1]s\n%s", tableName, n.table("\tchain "+n.mark()+" {}\n"))
}

// table describes the table. The order of the rules is upstream's chains read from top to bottom:
//   - a request for metadata goes to the proxy;
//   - what goes to a floating IP goes to the address behind it, wherever it comes from;
//   - what leaves by the gateway has its floating IP as source, or the router's address;
//   - what was sent to a floating IP from inside has such a source too, or the answer would not pass the router;
//   - between internal networks nothing is translated.
//
// iifname in postrouting needs Linux 5.7.
func (n NAT) table(extra string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "table ip %s {\n%s", tableName, extra)
	writeMap(&b, "floating", n.byFloating())
	writeMap(&b, "fixed", n.byFixed())
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
	b.WriteString("}\n")
	return b.String()
}

func (n NAT) writeSourceNAT(b *strings.Builder) {
	b.WriteString("\tchain leaving {\n\t\tsnat to ip saddr map @fixed\n")
	if n.EnableSNAT && n.Source.IsValid() {
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

func (n NAT) byFloating() []element {
	var out []element
	for _, p := range n.FloatingIPs {
		out = append(out, element{p.Floating, p.Fixed})
	}
	return out
}

// byFixed has one source per fixed address: with several floating IPs the lowest.
func (n NAT) byFixed() []element {
	var out []element
	seen := map[netip.Addr]bool{}
	for _, p := range n.FloatingIPs {
		if !seen[p.Fixed] {
			out = append(out, element{p.Fixed, p.Floating})
		}
		seen[p.Fixed] = true
	}
	return out
}

func writeMap(b *strings.Builder, name string, elements []element) {
	fmt.Fprintf(b, "\tmap %s {\n\t\ttype ipv4_addr : ipv4_addr\n", name)
	if len(elements) > 0 {
		fmt.Fprintf(b, "\t\telements = { %s }\n", joinElements(elements, true))
	}
	b.WriteString("\t}\n")
}

func joinElements(elements []element, values bool) string {
	var out []string
	for _, e := range elements {
		s := e.key.String()
		if values {
			s += " : " + e.value.String()
		}
		out = append(out, s)
	}
	return strings.Join(out, ", ")
}

// change is the nft script that turns old into n: elements only if the rules are the same.
func (n NAT) change(old NAT) string {
	if !n.sameRules(old) {
		return n.replace()
	}
	var b strings.Builder
	changeMap(&b, "floating", old.byFloating(), n.byFloating())
	changeMap(&b, "fixed", old.byFixed(), n.byFixed())
	fmt.Fprintf(&b, "delete chain ip %s %s\nadd chain ip %[1]s %[3]s\n", tableName, old.mark(), n.mark())
	return b.String()
}

func changeMap(b *strings.Builder, name string, old, wanted []element) {
	if gone := without(old, wanted); len(gone) > 0 {
		fmt.Fprintf(b, "delete element ip %s %s { %s }\n", tableName, name, joinElements(gone, false))
	}
	if added := without(wanted, old); len(added) > 0 {
		fmt.Fprintf(b, "add element ip %s %s { %s }\n", tableName, name, joinElements(added, true))
	}
}

func without(all, drop []element) []element {
	skip := map[element]bool{}
	for _, e := range drop {
		skip[e] = true
	}
	return slices.DeleteFunc(slices.Clone(all), func(e element) bool { return skip[e] })
}
