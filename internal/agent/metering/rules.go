package metering

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"neutrino/internal/rpc"
)

// rules are what a router's labels count: per label lines of nft, those that exclude first.
type rules map[string][]string

// translate makes rules of labels. Rules that cannot match are left out and returned as problems.
func translate(labels []rpc.MeteringLabel) (rules, []error) {
	all := rules{}
	var problems []error
	for _, l := range labels {
		sorted := slices.SortedFunc(slices.Values(l.Rules), func(a, b rpc.MeteringRule) int {
			return cmp.Or(-cmp.Compare(fmt.Sprint(a.Excluded), fmt.Sprint(b.Excluded)), cmp.Compare(a.ID, b.ID))
		})
		lines := []string{}
		for _, r := range sorted {
			line, err := match(r)
			if err != nil {
				problems = append(problems, fmt.Errorf("rule %s: %w", r.ID, err))
				continue
			}
			if !r.Excluded {
				line += " counter name " + counterName(l.ID)
			}
			lines = append(lines, line+" return") // several rules that match count a packet once
		}
		all[l.ID] = lines
	}
	return all, problems
}

// match is the part of a rule that chooses packets. Like upstream's, a remote prefix is the side of the router's own
// networks (iptables_driver.py, prepare_source_and_destination_rule_legacy).
func match(r rpc.MeteringRule) (string, error) {
	source, destination := r.Source, r.Destination
	dev := `iifname "qg-*"`
	if r.Direction == "egress" {
		dev = `oifname "qg-*"`
	}
	if r.Remote != nil && *r.Remote != "" {
		source, destination = nil, r.Remote
		if r.Direction == "egress" {
			source, destination = r.Remote, nil
		}
	}
	out, family := dev, ""
	for _, side := range []struct {
		name   string
		prefix *string
	}{{"saddr", source}, {"daddr", destination}} {
		if side.prefix == nil || *side.prefix == "" {
			continue
		}
		p, err := netip.ParsePrefix(*side.prefix)
		if err != nil {
			return "", err
		}
		f, proto := "ip", "ipv4"
		if p.Addr().Is6() {
			f, proto = "ip6", "ipv6"
		}
		if family != "" && f != family {
			return "", fmt.Errorf("%s and %s are of different IP versions", *source, *destination)
		}
		family = f
		if p.Bits() == 0 {
			out += " meta nfproto " + proto
		} else {
			out += " " + f + " " + side.name + " " + p.Masked().String()
		}
	}
	return out, nil
}

// Names in our table.
const (
	tableName  = "neutrino-metering"
	forward    = "forward"
	markPrefix = "state-" // of the empty chain whose name tells which rules there are
	prefix     = "label-" // of chains and counters
)

func counterName(label string) string { return prefix + label }

// mark names the chain that stands for these rules.
func (r rules) mark() string {
	sum := sha256.Sum256([]byte(r.chains()))
	return markPrefix + hex.EncodeToString(sum[:8])
}

// chains describes all chains. The hook comes after filters at the usual priority, so what they drop is not counted.
func (r rules) chains() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\tchain %s {\n\t\ttype filter hook forward priority 10; policy accept;\n", forward)
	labels := r.labels()
	for _, l := range labels {
		fmt.Fprintf(&b, "\t\tjump %s\n", prefix+l)
	}
	b.WriteString("\t}\n")
	for _, l := range labels {
		fmt.Fprintf(&b, "\tchain %s {\n", prefix+l)
		for _, line := range r[l] {
			b.WriteString("\t\t" + line + "\n")
		}
		b.WriteString("\t}\n")
	}
	return b.String()
}

// size is the number of rules in all chains.
func (r rules) size() int {
	n := len(r) // jumps
	for _, lines := range r {
		n += len(lines)
	}
	return n
}

func (r rules) labels() []string {
	var all []string
	for l := range r {
		all = append(all, l)
	}
	slices.Sort(all)
	return all
}

// script puts the rules in place of those of the table t, in one transaction. Counters stay, and those of new labels come.
func (r rules) script(t table) string {
	var b strings.Builder
	fmt.Fprintf(&b, "add table inet %s\n", tableName)
	for _, c := range t.chains {
		fmt.Fprintf(&b, "flush chain inet %s %s\n", tableName, c)
	}
	for _, c := range t.chains {
		fmt.Fprintf(&b, "delete chain inet %s %s\n", tableName, c)
	}
	fmt.Fprintf(&b, "table inet %s {\n", tableName)
	for _, l := range r.labels() {
		if !slices.Contains(t.counters, l) {
			fmt.Fprintf(&b, "\tcounter %s {}\n", counterName(l))
		}
	}
	fmt.Fprintf(&b, "%s\tchain %s {}\n}\n", r.chains(), r.mark())
	return b.String()
}
