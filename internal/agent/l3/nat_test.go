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
		{"address scopes", NAT{Gateway: "qg-x", Source: netip.MustParseAddr("203.0.113.2"), EnableSNAT: true, SameScope: []string{"qr-a"},
			Scopes4: [][]string{{"qg-x", "qr-a"}, {"qr-b", "qr-c"}}, Scopes6: [][]string{{"qr-a"}, {"qr-b"}}}, `table ip neutrino {
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
		iifname { "qr-a" } accept
		iifname "qr-*" snat to 203.0.113.2 fully-random
	}
	chain hairpin {
		iifname "qg-x" accept
		snat to ip saddr map @fixed
		snat to 203.0.113.2 fully-random
	}
	chain postrouting {
		type nat hook postrouting priority 100; policy accept;
		oifname "qg-x" goto leaving
		ct status dnat goto hairpin
	}
	chain scope1 {
		oifname { "qg-x", "qr-a" } accept
		drop
	}
	chain scope2 {
		oifname { "qr-b", "qr-c" } accept
		drop
	}
	chain forward {
		type filter hook forward priority 0; policy accept;
		ct direction reply accept
		ct status dnat accept
		oifname "qg-x" accept
		iifname vmap { "qg-x" : jump scope1, "qr-a" : jump scope1, "qr-b" : jump scope2, "qr-c" : jump scope2 }
	}
}
table ip6 neutrino {
	chain scope1 {
		oifname { "qr-a" } accept
		drop
	}
	chain scope2 {
		oifname { "qr-b" } accept
		drop
	}
	chain forward {
		type filter hook forward priority 0; policy accept;
		ct direction reply accept
		iifname vmap { "qr-a" : jump scope1, "qr-b" : jump scope2 }
	}
}
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, c.nat.tables()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestMarkStandsForTheRules(t *testing.T) {
	for name, change := range map[string]func(*NAT){
		"SNAT":     func(n *NAT) { n.EnableSNAT = false },
		"source":   func(n *NAT) { n.Source = netip.MustParseAddr("203.0.113.3") },
		"metadata": func(n *NAT) { n.MetadataPort = 0 },
		"gateway":  func(n *NAT) { n.Gateway = "qg-ffffffff-ff" },
		"scopes":   func(n *NAT) { n.Scopes6 = [][]string{{"qr-1"}, {"qr-2"}} },
	} {
		n := fullNAT()
		change(&n)
		if n.mark("h") == fullNAT().mark("h") {
			t.Error("not seen: another", name)
		}
	}
	same := fullNAT()
	same.FloatingIPs = same.FloatingIPs[1:] // only elements
	if same.mark("h") != fullNAT().mark("h") {
		t.Error("the same rules have two marks")
	}
	if same.mark("h") == same.mark("other") {
		t.Error("not seen: the kernel shows something else")
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
