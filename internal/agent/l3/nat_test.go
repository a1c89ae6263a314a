package l3

import (
	"net/netip"
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

func TestChangeTouchesElementsOnly(t *testing.T) {
	old, now := fullNAT(), fullNAT()
	now.FloatingIPs = []Pair{pair("203.0.113.10", "10.0.0.5"), pair("203.0.113.11", "10.0.0.7"), pair("203.0.113.13", "10.0.0.8")}
	want := `delete element ip neutrino floating { 203.0.113.11, 203.0.113.12 }
add element ip neutrino floating { 203.0.113.11 : 10.0.0.7, 203.0.113.13 : 10.0.0.8 }
delete element ip neutrino fixed { 10.0.0.6 }
add element ip neutrino fixed { 10.0.0.7 : 203.0.113.11, 10.0.0.8 : 203.0.113.13 }
delete chain ip neutrino ` + old.mark() + `
add chain ip neutrino ` + now.mark() + "\n"
	if diff := cmp.Diff(want, now.change(old)); diff != "" {
		t.Error(diff)
	}
}

func TestChangeOfRulesReplacesTheTable(t *testing.T) {
	now := fullNAT()
	now.EnableSNAT = false
	if diff := cmp.Diff(now.replace(), now.change(fullNAT())); diff != "" {
		t.Error(diff)
	}
	if now.mark() == fullNAT().mark() {
		t.Error("different rules have the same mark")
	}
}
