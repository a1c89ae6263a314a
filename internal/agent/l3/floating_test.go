package l3

import (
	"net/netip"
	"slices"
	"testing"
)

func TestChangeOfFloating(t *testing.T) {
	state := func(change func(*State)) State {
		r := aRouter()
		r.FloatingIPs = manyFloatingIPs(3)
		s, problems := desired(r, options{ipv6: true})
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		s.Interfaces = slices.Clone(s.Interfaces)
		change(&s)
		return s
	}
	external := func(s *State) *Interface {
		return &s.Interfaces[slices.IndexFunc(s.Interfaces, func(i Interface) bool { return i.External })]
	}
	last := func(s *State) { // without the last one
		s.NAT.FloatingIPs = s.NAT.FloatingIPs[:2]
		i := external(s)
		i.Addresses = slices.DeleteFunc(slices.Clone(i.Addresses), func(p netip.Prefix) bool { return p.Addr() == netip.MustParseAddr("198.18.0.3") })
	}
	nothing := func(*State) {}
	for _, tt := range []struct {
		name     string
		old, now func(*State)
		gone     string
		added    string
		ok       bool
	}{
		{"nothing", nothing, nothing, "", "", true},
		{"one more", last, nothing, "", "198.18.0.3/32", true},
		{"one less", nothing, last, "198.18.0.3/32", "", true},
		{"moved", nothing, func(s *State) {
			s.NAT.FloatingIPs = slices.Clone(s.NAT.FloatingIPs)
			s.NAT.FloatingIPs[0].Fixed = netip.MustParseAddr("10.0.0.99")
		}, "", "", true},
		{"the router's own address", nothing, func(s *State) {
			i := external(s)
			i.Addresses = append(slices.Clone(i.Addresses), netip.MustParsePrefix("fd99::1/64"))
		}, "", "", false},
		{"an interface", nothing, func(s *State) { s.Interfaces[len(s.Interfaces)-1].MTU = 1 }, "", "", false},
		{"no interface", nothing, func(s *State) { s.Interfaces = s.Interfaces[:1] }, "", "", false},
		{"routes", nothing, func(s *State) { s.Routes = nil }, "", "", false},
		{"source", nothing, func(s *State) { s.NAT.EnableSNAT = !s.NAT.EnableSNAT }, "", "", false},
		{"no gateway", nothing, func(s *State) { external(s).External = false }, "", "", false},
	} {
		c, ok := changeOfFloating(state(tt.old), state(tt.now))
		text := func(all []netip.Prefix) string {
			if len(all) == 0 {
				return ""
			}
			return all[0].String()
		}
		if ok != tt.ok || ok && (text(c.gone) != tt.gone || text(c.added) != tt.added || len(c.gone)+len(c.added) > 1) {
			t.Errorf("%s: %+v, %v", tt.name, c, ok)
		}
	}
}
