package l3

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func pair(floating, fixed string) Pair {
	return Pair{netip.MustParseAddr(floating), netip.MustParseAddr(fixed)}
}

func fullNAT() NAT {
	return NAT{Gateway: "qg-eeeeeeee-ee", Source: netip.MustParseAddr("203.0.113.2"), EnableSNAT: true, MetadataPort: 9697,
		FloatingIPs: []Pair{pair("203.0.113.10", "10.0.0.5"), pair("203.0.113.11", "10.0.0.6"), pair("203.0.113.12", "10.0.0.5")}}
}

func TestTable(t *testing.T) {
	for _, c := range []struct {
		name string
		nat  NAT
		want string
	}{
		{"everything", fullNAT(), `table ip neutrino {
	map floating {
		type ipv4_addr : ipv4_addr
		elements = { 203.0.113.10 : 10.0.0.5, 203.0.113.11 : 10.0.0.6, 203.0.113.12 : 10.0.0.5 }
	}
	map fixed {
		type ipv4_addr : ipv4_addr
		elements = { 10.0.0.5 : 203.0.113.10, 10.0.0.6 : 203.0.113.11 }
	}
	chain prerouting {
		type nat hook prerouting priority -100; policy accept;
		iifname "qr-*" ip daddr 169.254.169.254 tcp dport 80 redirect to :9697
		dnat to ip daddr map @floating
	}
	chain output {
		type nat hook output priority -100; policy accept;
		dnat to ip daddr map @floating
	}
	chain leaving {
		snat to ip saddr map @fixed
		iifname "qr-*" snat to 203.0.113.2 fully-random
	}
	chain hairpin {
		iifname "qg-eeeeeeee-ee" accept
		snat to ip saddr map @fixed
		snat to 203.0.113.2 fully-random
	}
	chain postrouting {
		type nat hook postrouting priority 100; policy accept;
		oifname "qg-eeeeeeee-ee" goto leaving
		ct status dnat goto hairpin
	}
	chain input {
		type filter hook input priority 0; policy accept;
		tcp dport 9697 ct status dnat accept
		tcp dport 9697 drop
	}
}
`},
		{"no SNAT, no metadata", NAT{Gateway: "qg-eeeeeeee-ee", Source: netip.MustParseAddr("203.0.113.2")}, `table ip neutrino {
	map floating {
		type ipv4_addr : ipv4_addr
	}
	map fixed {
		type ipv4_addr : ipv4_addr
	}
	chain prerouting {
		type nat hook prerouting priority -100; policy accept;
		dnat to ip daddr map @floating
	}
	chain output {
		type nat hook output priority -100; policy accept;
		dnat to ip daddr map @floating
	}
	chain leaving {
		snat to ip saddr map @fixed
	}
	chain hairpin {
		iifname "qg-eeeeeeee-ee" accept
		snat to ip saddr map @fixed
		snat to 203.0.113.2 fully-random
	}
	chain postrouting {
		type nat hook postrouting priority 100; policy accept;
		oifname "qg-eeeeeeee-ee" goto leaving
		ct status dnat goto hairpin
	}
}
`},
		{"no gateway", NAT{}, `table ip neutrino {
	map floating {
		type ipv4_addr : ipv4_addr
	}
	map fixed {
		type ipv4_addr : ipv4_addr
	}
	chain prerouting {
		type nat hook prerouting priority -100; policy accept;
		dnat to ip daddr map @floating
	}
	chain output {
		type nat hook output priority -100; policy accept;
		dnat to ip daddr map @floating
	}
}
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, c.nat.table("")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestMarkStandsForTheRules(t *testing.T) {
	for name, change := range map[string]func(*NAT){
		"SNAT":         func(n *NAT) { n.EnableSNAT = false },
		"source":       func(n *NAT) { n.Source = netip.MustParseAddr("203.0.113.3") },
		"metadata":     func(n *NAT) { n.MetadataPort = 0 },
		"gateway":      func(n *NAT) { n.Gateway = "qg-ffffffff-ff" },
		"floating IPs": func(n *NAT) { n.FloatingIPs = n.FloatingIPs[1:] },
	} {
		n := fullNAT()
		change(&n)
		if n.mark() == fullNAT().mark() || n.equal(fullNAT()) {
			t.Error("not seen: another", name)
		}
	}
	if one, other := fullNAT(), fullNAT(); one.mark() != other.mark() {
		t.Error("the same rules have two marks")
	}
}

func TestDifference(t *testing.T) {
	list := func(pairs ...Pair) []element { return NAT{FloatingIPs: pairs}.byFloating() }
	a, b, c, moved := pair("203.0.113.10", "10.0.0.5"), pair("203.0.113.11", "10.0.0.6"), pair("203.0.113.12", "10.0.0.7"), pair("203.0.113.11", "10.0.0.9")
	for _, x := range []struct {
		name     string
		old, now []element
		want     mapChange
	}{
		{"none", list(a, b), list(a, b), mapChange{}},
		{"first", nil, list(a), mapChange{added: list(a)}},
		{"last", list(a), nil, mapChange{gone: list(a)}},
		{"between", list(a, c), list(a, b, c), mapChange{added: list(b)}},
		{"from between", list(a, b, c), list(a, c), mapChange{gone: list(b)}},
		{"another value", list(a, b, c), list(a, moved, c), mapChange{gone: list(b), added: list(moved)}},
		{"all", list(a, b), list(c), mapChange{gone: list(a, b), added: list(c)}},
	} {
		t.Run(x.name, func(t *testing.T) {
			got := difference(x.old, x.now)
			if !slices.Equal(got.gone, x.want.gone) || !slices.Equal(got.added, x.want.added) {
				t.Errorf("%+v, want %+v", got, x.want)
			}
		})
	}
}
