package l3

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"neutrino/internal/rpc"
)

// Address scopes (upstream's router_info.py does it with marks). Interfaces of one scope may talk to each other, those
// of different scopes only by floating IP, or out by the gateway with the router's source address. Networks without
// scope are one more scope.

// scoped are the interfaces that have addresses of a family, by scope.
type scoped map[string][]string

// scopes sorts the router's interfaces into the scopes of both families. A family with one scope needs no rules.
func (b *builder) scopes(gateway *rpc.Port, internal []rpc.Port) {
	four, six := scoped{}, scoped{}
	add := func(i Interface, p rpc.Port) {
		for _, a := range i.Addresses {
			in, version := four, "4"
			switch {
			case a.Addr().IsLinkLocalUnicast():
				continue
			case a.Addr().Is6():
				in, version = six, "6"
			}
			if scope := scopeOf(p, version); !slices.Contains(in[scope], i.Name) {
				in[scope] = append(in[scope], i.Name)
			}
		}
	}
	ports := internal
	if gateway != nil {
		ports = append(slices.Clone(internal), *gateway)
	}
	for _, p := range ports {
		for _, i := range b.state.Interfaces {
			if i.PortID == p.ID {
				add(i, p)
			}
		}
	}
	nat := &b.state.NAT
	nat.Scopes4, nat.Scopes6 = four.groups(), six.groups()
	if gateway == nil || nat.Gateway == "" {
		return
	}
	if scope := scopeOf(*gateway, "4"); scope != "" { // between networks without scope there is translation
		nat.SameScope = slices.DeleteFunc(slices.Clone(four[scope]), func(name string) bool { return name == nat.Gateway })
		slices.Sort(nat.SameScope)
	}
}

// scopeOf is the address scope of a port; "" = none.
func scopeOf(p rpc.Port, version string) string {
	if s := p.AddressScopes[version]; s != nil {
		return *s
	}
	return ""
}

// groups are the interfaces of each scope, sorted; nil if there are less than two scopes.
func (s scoped) groups() (groups [][]string) {
	if len(s) < 2 {
		return nil
	}
	for _, names := range s {
		slices.Sort(names)
		groups = append(groups, names)
	}
	slices.SortFunc(groups, func(a, b []string) int { return cmp.Compare(a[0], b[0]) })
	return groups
}

// acrossScopes are the rules for IPv4 traffic that may cross scopes.
func (n NAT) acrossScopes() []string {
	rules := []string{"ct status dnat accept"}
	switch {
	case n.Gateway == "":
	case n.EnableSNAT:
		rules = append(rules, fmt.Sprintf("oifname %q accept", n.Gateway))
	default:
		rules = append(rules, fmt.Sprintf("oifname %q ip saddr @%s accept", n.Gateway, ownersSet))
	}
	return rules
}

// ownersSet has the addresses with floating IP where those alone may leave their scope.
const ownersSet = "owners"

func (n NAT) needOwners() bool { return len(n.Scopes4) > 1 && n.Gateway != "" && !n.EnableSNAT }

func writeOwners(b *strings.Builder, fixed []element) {
	fmt.Fprintf(b, "\tset %s {\n\t\ttype ipv4_addr\n", ownersSet)
	if len(fixed) > 0 {
		list := make([]string, len(fixed))
		for i, e := range fixed {
			list[i] = e.key.String()
		}
		fmt.Fprintf(b, "\t\telements = { %s }\n", strings.Join(list, ", "))
	}
	b.WriteString("\t}\n")
}

// scopeChains lets traffic pass between the interfaces of each group only. Answers pass, and so does what the rules let.
func scopeChains(groups [][]string, rules ...string) string {
	var b strings.Builder
	var jumps []string
	for n, group := range groups {
		chain := "scope" + strconv.Itoa(n+1)
		fmt.Fprintf(&b, "\tchain %s {\n\t\toifname %s accept\n\t\tdrop\n\t}\n", chain, nameSet(group))
		for _, name := range group {
			jumps = append(jumps, fmt.Sprintf("%q : jump %s", name, chain))
		}
	}
	b.WriteString("\tchain forward {\n\t\ttype filter hook forward priority 0; policy accept;\n\t\tct direction reply accept\n")
	for _, r := range rules {
		b.WriteString("\t\t" + r + "\n")
	}
	fmt.Fprintf(&b, "\t\tiifname vmap { %s }\n\t}\n", strings.Join(jumps, ", "))
	return b.String()
}

func nameSet(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = strconv.Quote(n)
	}
	return "{ " + strings.Join(quoted, ", ") + " }"
}
