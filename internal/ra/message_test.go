package ra

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/ndp"
)

var (
	mac      = net.HardwareAddr{0xfa, 0x16, 0x3e, 0, 0, 1}
	prefixA  = netip.MustParsePrefix("fd00:a::/64")
	prefixB  = netip.MustParsePrefix("fd00:b::/64")
	compare  = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	comparep = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
)

func addrs(texts ...string) []netip.Addr {
	var out []netip.Addr
	for _, t := range texts {
		out = append(out, netip.MustParseAddr(t))
	}
	return out
}

func TestForSubnets(t *testing.T) {
	servers := addrs("192.0.2.1", "fd00::1", "fd00::2", "fd00::3", "fd00::4")
	for _, c := range []struct {
		name    string
		subnets []Subnet
		want    Config
	}{
		{"no subnet, no advertisement", nil, Config{}},
		{"no mode: only a router", []Subnet{{prefixA, "", servers}}, Config{Interval: DefaultInterval, MTU: 1450}},
		{"slaac", []Subnet{{prefixA, SLAAC, servers}},
			Config{Interval: DefaultInterval, MTU: 1450, Prefixes: []Prefix{{prefixA, true}}, NameServers: addrs("fd00::1", "fd00::2", "fd00::3")}},
		{"stateless", []Subnet{{prefixA, Stateless, servers}}, Config{Interval: DefaultInterval, MTU: 1450, Other: true, Prefixes: []Prefix{{prefixA, true}}}},
		{"stateful", []Subnet{{prefixA, Stateful, servers}}, Config{Interval: DefaultInterval, MTU: 1450, Managed: true, Prefixes: []Prefix{{prefixA, false}}}},
		{"two subnets in any order", []Subnet{{prefixB, Stateful, nil}, {prefixA, SLAAC, nil}},
			Config{Interval: DefaultInterval, MTU: 1450, Managed: true, Prefixes: []Prefix{{prefixA, true}, {prefixB, false}}}},
		{"only one of two", []Subnet{{prefixB, "", servers}, {prefixA, SLAAC, nil}},
			Config{Interval: DefaultInterval, MTU: 1450, Prefixes: []Prefix{{prefixA, true}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ForSubnets(1450, DefaultInterval, c.subnets)
			if len(got.NameServers) == 0 {
				got.NameServers = nil
			}
			if diff := cmp.Diff(c.want, got, compare, comparep); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestMessage(t *testing.T) {
	c := Config{Interval: DefaultInterval, MTU: 1450, Managed: true, Other: true, Prefixes: []Prefix{{prefixA, true}, {prefixB, false}}, NameServers: addrs("fd00::1")}
	want := &ndp.RouterAdvertisement{
		CurrentHopLimit: 64, ManagedConfiguration: true, OtherConfiguration: true, RouterLifetime: 300 * time.Second,
		Options: []ndp.Option{
			&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: mac},
			&ndp.MTU{MTU: 1450},
			&ndp.PrefixInformation{Prefix: prefixA.Addr(), PrefixLength: 64, OnLink: true, AutonomousAddressConfiguration: true,
				ValidLifetime: 86400 * time.Second, PreferredLifetime: 14400 * time.Second},
			&ndp.PrefixInformation{Prefix: prefixB.Addr(), PrefixLength: 64, OnLink: true,
				ValidLifetime: 86400 * time.Second, PreferredLifetime: 14400 * time.Second},
			&ndp.RecursiveDNSServer{Lifetime: 200 * time.Second, Servers: addrs("fd00::1")},
			&ndp.RouteInformation{Prefix: netip.MustParseAddr("fe80::a9fe:a9fe"), PrefixLength: 128, RouteLifetime: 300 * time.Second},
		},
	}
	raw, err := ndp.MarshalMessage(c.Message(mac))
	if err != nil {
		t.Fatal(err)
	}
	got, err := ndp.ParseMessage(raw)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(ndp.Message(want), got, compare); diff != "" {
		t.Error(diff)
	}
}

func TestSmallMTUIsNotAdvertised(t *testing.T) {
	for _, o := range (Config{MTU: 1279, Prefixes: []Prefix{{prefixA, true}}}).Message(mac).Options {
		if _, ok := o.(*ndp.MTU); ok {
			t.Error("an MTU that IPv6 does not allow is advertised")
		}
	}
}

func TestFarewellKeepsAddresses(t *testing.T) {
	m := Config{Interval: DefaultInterval, Prefixes: []Prefix{{prefixA, true}}, NameServers: addrs("fd00::1")}.farewell(mac)
	if m.RouterLifetime != 0 {
		t.Error("router lifetime", m.RouterLifetime)
	}
	for _, o := range m.Options {
		switch o := o.(type) {
		case *ndp.PrefixInformation:
			if o.ValidLifetime != validLifetime || o.PreferredLifetime != preferredLifetime {
				t.Error("the prefix is taken back")
			}
		case *ndp.RecursiveDNSServer:
			if o.Lifetime != 0 {
				t.Error("name servers are kept")
			}
		case *ndp.RouteInformation:
			if o.RouteLifetime != 0 {
				t.Error("the route is kept")
			}
		}
	}
}
