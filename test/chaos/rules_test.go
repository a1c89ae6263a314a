package chaos

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// allowance is traffic that a port's rules let through, but for the ports of TCP and UDP.
type allowance struct {
	port     string // id
	ingress  bool
	v6       bool
	protocol string // "": any
	remote   netip.Prefix
	state    string // of connections: new, established, or "" for what is not tracked
}

// allowances are ranges of ports by what they are allowed for.
type allowances map[allowance][][2]int

const mostPort = 65535

// facts are one for each allowance, with its ranges joined.
func (a allowances) facts(f facts) {
	for key, ranges := range a {
		slices.SortFunc(ranges, func(x, y [2]int) int { return x[0] - y[0] })
		joined := ranges[:1]
		for _, r := range ranges[1:] {
			if last := &joined[len(joined)-1]; r[0] <= last[1]+1 {
				last[1] = max(last[1], r[1])
			} else {
				joined = append(joined, r)
			}
		}
		f.add("port %s allows ingress %v IPv6 %v %s with %s %s: %v", key.port, key.ingress, key.v6, key.protocol, key.remote, key.state, joined)
	}
}

// ruleBook gathers flows of rules. Conjunctions are resolved: what one part of them matches holds for each member that the
// other part names.
type ruleBook struct {
	*vswitch
	plain   allowances
	members map[int][]member // by conjunction
	parts   map[int][]part
	accepts map[[2]string]bool // port and conjunction
}

type member struct {
	network string
	prefix  netip.Prefix
}

type part struct {
	allowance
	ports [2]int
}

func newRuleBook(v *vswitch) *ruleBook {
	return &ruleBook{v, allowances{}, map[int][]member{}, map[int][]part{}, map[[2]string]bool{}}
}

var (
	conjunction = regexp.MustCompile(`conjunction\((\d+),([12])/2\)`)
	protocols   = map[string]struct {
		name string
		v6   bool
	}{"ip": {"", false}, "ipv6": {"", true}, "icmp": {"icmp", false}, "icmp6": {"icmp", true}, "tcp": {"tcp", false}, "tcp6": {"tcp", true},
		"udp": {"udp", false}, "udp6": {"udp", true}}
)

// Tables and the least priority of rules in them.
const (
	egressRules  = 72
	ingressRules = 82
	leastRule    = 70
)

// read takes a flow that is part of a rule of a port that is here.
func (b *ruleBook) read(x flow) bool {
	if x.table != egressRules && x.table != ingressRules || x.priority < leastRule {
		return false
	}
	id := b.portNumbered(x.number("reg5"))
	if n := x.number("conj_id"); n != 0 {
		b.accepts[[2]string{id, strconv.Itoa(n)}] = true
		return id != ""
	}
	if x.match["nw_frag"] != "" { // goes with a flow that has ports
		return id != ""
	}
	a, ports := b.allowance(id, x)
	found := conjunction.FindAllStringSubmatch(x.actions, -1)
	for _, m := range found {
		n, _ := strconv.Atoi(m[1])
		if network := b.vlans[x.number("reg6")]; m[2] == "1" && network != "" {
			b.members[n] = append(b.members[n], member{network, a.remote})
		} else if m[2] == "2" && id != "" {
			b.parts[n] = append(b.parts[n], part{a, ports})
		} else {
			return false
		}
	}
	if len(found) > 0 {
		return true
	}
	b.plain[a] = append(b.plain[a], ports)
	return id != ""
}

func (b *ruleBook) allowance(id string, x flow) (a allowance, ports [2]int) {
	a = allowance{port: id, ingress: x.table == ingressRules, state: map[string]string{"+new-est": "new", "+est-rel-rpl": "established"}[x.match["ct_state"]]}
	for word, p := range protocols {
		if _, ok := x.match[word]; ok {
			a.protocol, a.v6 = p.name, p.v6
		}
	}
	if kind, ok := x.match["icmp_type"]; ok {
		a.protocol += " " + kind
		if code, ok := x.match["icmp_code"]; ok {
			a.protocol += "/" + code
		}
	}
	for _, key := range []string{"nw_src", "nw_dst", "ipv6_src", "ipv6_dst"} {
		if text := x.match[key]; text != "" {
			a.remote = prefix(text)
		}
	}
	return a, x.ports()
}

// ports are those that tp_dst and its mask match.
func (x flow) ports() [2]int {
	text := x.match["tp_dst"]
	if text == "" {
		return [2]int{0, mostPort}
	}
	value, mask, masked := strings.Cut(text, "/")
	n, _ := strconv.ParseInt(value, 0, 32)
	m := int64(mostPort)
	if masked {
		m, _ = strconv.ParseInt(mask, 0, 32)
	}
	return [2]int{int(n), int(n | mostPort&^m)}
}

// facts resolves conjunctions. One that no port has a part of, or whose part nobody accepts, is a fact too.
func (b *ruleBook) facts(f facts) {
	for n, parts := range b.parts {
		for _, p := range parts {
			if !b.accepts[[2]string{p.port, strconv.Itoa(n)}] {
				f.add("port %s does not accept conjunction %d", p.port, n)
			}
			for _, m := range b.members[n] {
				if m.network == b.networks[p.port] {
					a := p.allowance
					a.remote = m.prefix
					b.plain[a] = append(b.plain[a], p.ports)
				}
			}
		}
	}
	for n, members := range b.members {
		for _, m := range members {
			if !slices.ContainsFunc(b.parts[n], func(p part) bool { return b.networks[p.port] == m.network }) {
				f.add("conjunction %d in %s is of no port", n, m.network)
			}
		}
	}
	for key := range b.accepts {
		n, _ := strconv.Atoi(key[1])
		if !slices.ContainsFunc(b.parts[n], func(p part) bool { return p.port == key[0] }) {
			f.add("port %s accepts conjunction %d, which it has no part of", key[0], n)
		}
	}
	b.plain.facts(f)
}

// wantRules are the allowances that the groups of a port imply.
func (s *snapshot) wantRules(f facts, p port) {
	want := allowances{}
	states := []string{"new", "established"}
	if s.isStateless(p) {
		states = []string{""}
	}
	for _, g := range p.groups {
		for _, r := range s.groups[g] {
			ports := [2]int{0, mostPort}
			protocol := strings.TrimPrefix(r.protocol, "ipv6-")
			switch {
			case r.typed && protocol == "icmp":
				protocol += fmt.Sprintf(" %d", r.min)
				if r.coded {
					protocol += fmt.Sprintf("/%d", r.max)
				}
			case r.typed:
				ports = [2]int{r.min, r.max}
			}
			for _, remote := range s.remotes(r) {
				for _, state := range states {
					a := allowance{p.id, r.ingress, r.v6, protocol, remote, state}
					want[a] = append(want[a], ports)
				}
			}
		}
	}
	want.facts(f)
}

// remotes are the prefixes that a rule is about.
func (s *snapshot) remotes(r rule) []netip.Prefix {
	var all []netip.Prefix
	switch {
	case r.prefix.IsValid():
		return []netip.Prefix{r.prefix}
	case r.addressGroup != "":
		all = s.addressGroups[r.addressGroup]
	case r.group != "":
		all = s.members(r.group)
	default:
		return []netip.Prefix{anywhere}
	}
	return slices.DeleteFunc(slices.Clone(all), func(p netip.Prefix) bool { return p.Addr().Is6() != r.v6 })
}
