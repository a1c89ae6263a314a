package dhcp

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"neutrino/internal/dhcp"
	"neutrino/internal/rpc"

	"github.com/google/go-cmp/cmp"
)

// dualStack has two IPv4 subnets, and IPv6 subnets of all modes; the first subnet has a router.
func dualStack() *network {
	v6 := func(id, cidr string, ra, address *string) rpc.Subnet {
		return rpc.Subnet{ID: id, IPVersion: 6, CIDR: cidr, EnableDHCP: true, IPv6RAMode: ra, IPv6AddressMode: address}
	}
	info := rpc.DHCPNetwork{ID: "net", AdminStateUp: true, MTU: 1450, Subnets: []rpc.Subnet{
		{ID: "a", IPVersion: 4, CIDR: "10.0.0.0/24", GatewayIP: ptr("10.0.0.1"), EnableDHCP: true, DNSNameservers: []string{"192.0.2.53"},
			HostRoutes: []rpc.Route{{Destination: "10.7.0.0/16", Nexthop: "10.0.0.7"}, {Destination: "0.0.0.0/0", Nexthop: "10.0.0.8"}}},
		{ID: "b", IPVersion: 4, CIDR: "10.1.0.0/24", EnableDHCP: true, DNSNameservers: []string{"0.0.0.0"},
			HostRoutes: []rpc.Route{{Destination: "0.0.0.0/0", Nexthop: "10.1.0.8"}}},
		{ID: "c", IPVersion: 4, CIDR: "10.2.0.0/24", GatewayIP: ptr("10.2.0.1"), EnableDHCP: false},
		v6("slaac", "2001:db8:1::/64", ptr("slaac"), ptr("slaac")),
		v6("stateless", "2001:db8:2::/64", ptr("dhcpv6-stateless"), ptr("dhcpv6-stateless")),
		v6("stateful", "2001:db8:3::/64", ptr("dhcpv6-stateful"), ptr("dhcpv6-stateful")),
		v6("plain", "2001:db8:4::/64", nil, nil),
		v6("ra-only", "2001:db8:5::/64", ptr("slaac"), nil),
	}, NonLocalSubnets: []rpc.Subnet{{ID: "far", IPVersion: 4, CIDR: "10.9.0.0/24", GatewayIP: ptr("10.9.0.1"), EnableDHCP: true,
		SegmentID: ptr("other")}}, Ports: []rpc.Port{
		{ID: "r", DeviceOwner: "network:router_interface", DeviceID: "router", FixedIPs: []rpc.FixedIP{{SubnetID: "a", IPAddress: "10.0.0.1"}}},
		{ID: "d", DeviceOwner: ownerDHCP, DeviceID: rpc.DHCPDeviceID("h1", "net"), MACAddress: "fa:16:3e:00:00:02", FixedIPs: []rpc.FixedIP{
			{SubnetID: "a", IPAddress: "10.0.0.2"}, {SubnetID: "b", IPAddress: "10.1.0.2"}, {SubnetID: "slaac", IPAddress: "2001:db8:1::2"},
			{SubnetID: "stateless", IPAddress: "2001:db8:2::2"}, {SubnetID: "stateful", IPAddress: "2001:db8:3::2"},
			{SubnetID: "plain", IPAddress: "2001:db8:4::2"}, {SubnetID: "ra-only", IPAddress: "2001:db8:5::2"}}},
	}}
	return newNetwork(info, nil)
}

func describe(s dhcp.Settings) string {
	var b strings.Builder
	for _, n := range s.Subnets {
		fmt.Fprintf(&b, "%s %s server %s gateway %s dns %v", n.ID, n.Prefix, n.Server, n.Gateway, n.DNS)
		if n.Stateless {
			b.WriteString(" stateless")
		}
		b.WriteString("\n")
		for _, r := range n.Routes {
			fmt.Fprintf(&b, "  %s via %s\n", r.Destination, r.Router)
		}
	}
	return b.String()
}

func TestSettings(t *testing.T) {
	const v6 = `stateless 2001:db8:2::/64 server 2001:db8:2::2 gateway invalid IP dns [2001:db8:2::2] stateless
stateful 2001:db8:3::/64 server 2001:db8:3::2 gateway invalid IP dns [2001:db8:3::2]
plain 2001:db8:4::/64 server 2001:db8:4::2 gateway invalid IP dns [2001:db8:4::2]
`
	for name, c := range map[string]struct {
		cfg  Config
		want string
	}{
		"no metadata": {Config{}, `a 10.0.0.0/24 server 10.0.0.2 gateway 10.0.0.1 dns [192.0.2.53]
  10.2.0.0/24 via 0.0.0.0
  10.1.0.0/24 via 0.0.0.0
  10.7.0.0/16 via 10.0.0.7
  169.254.169.254/32 via 10.0.0.1
  0.0.0.0/0 via 10.0.0.1
b 10.1.0.0/24 server 10.1.0.2 gateway 10.1.0.8 dns []
  10.2.0.0/24 via 0.0.0.0
  10.0.0.0/24 via 0.0.0.0
  0.0.0.0/0 via 10.1.0.8
` + v6 + `far 10.9.0.0/24 server invalid IP gateway 10.9.0.1 dns []
`},
		"isolated": {Config{IsolatedMetadata: true}, `a 10.0.0.0/24 server 10.0.0.2 gateway 10.0.0.1 dns [192.0.2.53]
  10.2.0.0/24 via 0.0.0.0
  10.1.0.0/24 via 0.0.0.0
  10.7.0.0/16 via 10.0.0.7
  169.254.169.254/32 via 10.0.0.1
  0.0.0.0/0 via 10.0.0.1
b 10.1.0.0/24 server 10.1.0.2 gateway 10.1.0.8 dns []
  10.2.0.0/24 via 0.0.0.0
  10.0.0.0/24 via 0.0.0.0
  169.254.169.254/32 via 10.1.0.2
  0.0.0.0/0 via 10.1.0.8
` + v6 + `far 10.9.0.0/24 server invalid IP gateway 10.9.0.1 dns []
`},
		"forced": {Config{ForceMetadata: true}, `a 10.0.0.0/24 server 10.0.0.2 gateway 10.0.0.1 dns [192.0.2.53]
  10.2.0.0/24 via 0.0.0.0
  10.1.0.0/24 via 0.0.0.0
  10.7.0.0/16 via 10.0.0.7
  169.254.169.254/32 via 10.0.0.2
  0.0.0.0/0 via 10.0.0.1
b 10.1.0.0/24 server 10.1.0.2 gateway 10.1.0.8 dns []
  10.2.0.0/24 via 0.0.0.0
  10.0.0.0/24 via 0.0.0.0
  169.254.169.254/32 via 10.1.0.2
  0.0.0.0/0 via 10.1.0.8
` + v6 + `far 10.9.0.0/24 server invalid IP gateway 10.9.0.1 dns []
`},
	} {
		t.Run(name, func(t *testing.T) {
			n := dualStack()
			tr := &translator{&c.cfg, dhcp.NewParser(), quiet}
			if diff := cmp.Diff(c.want, describe(tr.settings(n, n.ports.byID["d"]))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestHost(t *testing.T) {
	tr := &translator{&Config{}, dhcp.NewParser(), quiet}
	opt := func(name, value string, version int) rpc.DHCPOption {
		return rpc.DHCPOption{Name: name, Value: &value, IPVersion: version}
	}
	got := tr.host(&rpc.Port{ID: "p", MACAddress: "FA:16:3E:00:00:05", DeviceOwner: "compute:nova",
		FixedIPs:      []rpc.FixedIP{{SubnetID: "a", IPAddress: "10.0.0.5"}, {SubnetID: "b", IPAddress: "10.1.0.5"}},
		DNSAssignment: []rpc.DNSAssignment{{IPAddress: "10.1.0.5", Hostname: "web", FQDN: "web.example.org."}},
		ExtraDHCPOpts: []rpc.DHCPOption{opt("mtu", "1400", 4), opt("client-id", "01:02", 4), opt("dns-server", "2001:db8::1", 6),
			opt("nonsense", "1", 4), {Name: "router", IPVersion: 4}}})
	want := &dhcp.Host{MAC: dhcp.MAC{0xfa, 0x16, 0x3e, 0, 0, 5}, ClientID: []byte{1, 2},
		Addrs: []dhcp.Assignment{{Addr: netip.MustParseAddr("10.0.0.5"), SubnetID: "a", Name: "host-10-0-0-5"},
			{Addr: netip.MustParseAddr("10.1.0.5"), SubnetID: "b", Name: "web"}},
		Options4: []dhcp.Option{{Code: 26, Data: []byte{5, 120}}}}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, owner := range []string{"network:dhcp", "network:distributed", "network:floatingip", "network:router_ha_interface"} {
		if tr.host(&rpc.Port{MACAddress: "fa:16:3e:00:00:05", DeviceOwner: owner, FixedIPs: []rpc.FixedIP{{IPAddress: "10.0.0.5"}}}) != nil {
			t.Errorf("%s ports never ask", owner)
		}
	}
}

func TestServesMetadata(t *testing.T) {
	isolated := dualStack()
	routed := newNetwork(rpc.DHCPNetwork{Subnets: isolated.Subnets[:1], Ports: []rpc.Port{*isolated.ports.byID["r"]}}, nil)
	link := rpc.Subnet{ID: "m", IPVersion: 4, CIDR: "169.254.0.0/16", EnableDHCP: true, GatewayIP: ptr("169.254.0.1")}
	meta := newNetwork(rpc.DHCPNetwork{Subnets: []rpc.Subnet{link}, Ports: []rpc.Port{{ID: "r", DeviceID: "router9",
		DeviceOwner: "network:router_interface", FixedIPs: []rpc.FixedIP{{SubnetID: "m", IPAddress: "169.254.0.1"}}}}}, nil)
	for name, c := range map[string]struct {
		n    *network
		cfg  Config
		want bool
	}{
		"off":              {isolated, Config{}, false},
		"isolated":         {isolated, Config{IsolatedMetadata: true}, true},
		"routed":           {routed, Config{IsolatedMetadata: true}, false},
		"forced":           {routed, Config{ForceMetadata: true}, true},
		"metadata network": {meta, Config{IsolatedMetadata: true, MetadataNetwork: true}, true},
		"its option off":   {meta, Config{IsolatedMetadata: true}, false},
	} {
		if got := c.n.servesMetadata(&c.cfg); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if got := meta.metadataRouter(); got != "router9" {
		t.Errorf("router %q", got)
	}
}

func TestDeviceID(t *testing.T) {
	// python3 -c 'import uuid; print(uuid.uuid5(uuid.NAMESPACE_DNS, "h1"))'
	const want = "dhcp8839d356-f787-5a0b-8010-d454645c55f8-net"
	if got := rpc.DHCPDeviceID("h1.example.org", "net"); got != want {
		t.Errorf("got %s", got)
	}
}

func TestNetworkKeepsPointers(t *testing.T) {
	info := func() rpc.DHCPNetwork { return *testNetwork(1) }
	old := newNetwork(info(), nil)
	if newNetwork(info(), old) != old {
		t.Error("an unchanged network is another one")
	}
	old.ports.take()
	changed := info()
	changed.Ports[1].Revision++
	if n := newNetwork(changed, old); n == old {
		t.Error("a changed network is the same")
	}
	if news := old.ports.take(); len(news) != 1 || news["port1-6"] == nil || news["port1-6"].Revision != 1 {
		t.Errorf("news %v", news)
	}
	changed.Ports = changed.Ports[:1]
	newNetwork(changed, old)
	if news := old.ports.take(); len(news) != 1 || news["port1-6"] != nil {
		t.Errorf("news %v", news)
	}
}

// The ports that concern all are those of the network, whatever happened to them.
func TestInfraPorts(t *testing.T) {
	n := newNetwork(*testNetwork(1), nil)
	port := func(owner string, ip string) *rpc.Port {
		return &rpc.Port{ID: "p", DeviceOwner: owner, DeviceID: "x", FixedIPs: []rpc.FixedIP{{SubnetID: "sub1", IPAddress: ip}}}
	}
	for _, c := range []struct {
		p      *rpc.Port
		routed bool
		dns    int
	}{
		{port("network:router_interface", "10.0.0.1"), true, 0}, {port("compute:nova", "10.0.0.1"), false, 0},
		{port(ownerDHCP, "10.0.0.2"), false, 1}, {port("", "10.0.0.2"), false, 0}, {port(ownerDHCP, "10.0.0.2"), false, 1}, {nil, false, 0},
	} {
		before := len(n.agentAddrs("sub1"))
		next := n
		if c.p == nil {
			next = n.without("p")
		} else {
			next = n.with(c.p)
		}
		if len(n.agentAddrs("sub1")) != before {
			t.Error("a change shows in the network before")
		}
		n = next
		if n.routed()["sub1"] != c.routed || len(n.agentAddrs("sub1")) != c.dns {
			t.Errorf("%v: routed %v, agents %v", c.p, n.routed(), n.agentAddrs("sub1"))
		}
	}
}

// Two ports with one address are noticed, and no longer when one of them moved.
func TestClash(t *testing.T) {
	n := newNetwork(*testNetwork(1), nil) // 10.0.0.5 and 10.0.0.6
	port := func(id, ip string) *rpc.Port {
		return &rpc.Port{ID: id, FixedIPs: []rpc.FixedIP{{SubnetID: "sub1", IPAddress: ip}}}
	}
	for _, c := range []struct {
		p    *rpc.Port
		want bool
	}{
		{port("a", "10.0.0.9"), false}, {port("a", "10.0.0.5"), true}, {port("port1-5", "10.0.0.7"), false}, {port("a", "10.0.0.9"), false},
		{port("b", "10.0.0.5"), false}, {port("b", "10.0.0.6"), true},
	} {
		if got := n.ports.clash(c.p); got != c.want {
			t.Errorf("%s with %v: %v", c.p.ID, c.p.FixedIPs, got)
		}
		n = n.with(c.p)
	}
}

func TestWantedIPs(t *testing.T) {
	n := dualStack()
	for name, c := range map[string]struct {
		has            []rpc.FixedIP
		wants          int
		missing, extra bool
	}{
		"all":     {n.ports.byID["d"].FixedIPs, 7, false, false},
		"none":    {nil, 7, true, false},
		"foreign": {append([]rpc.FixedIP{{SubnetID: "c", IPAddress: "10.2.0.2"}}, n.ports.byID["d"].FixedIPs...), 7, false, true},
		"some":    {n.ports.byID["d"].FixedIPs[:2], 7, true, false},
	} {
		want, missing, extra := wantedIPs(n, &rpc.Port{FixedIPs: c.has})
		if len(want) != c.wants || missing != c.missing || extra != c.extra {
			t.Errorf("%s: %v %v %v", name, want, missing, extra)
		}
	}
}
