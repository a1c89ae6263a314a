package l3

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"neutrino/internal/ra"
	"neutrino/internal/rpc"

	"github.com/google/go-cmp/cmp"
)

func ptr[T any](v T) *T { return &v }

// port is a router port with addresses "subnet=address/bits".
func port(id, mac string, addresses ...string) rpc.Port {
	p := rpc.Port{ID: id, NetworkID: "net-" + id, MACAddress: mac, AdminStateUp: true, MTU: 1450}
	for _, a := range addresses {
		subnet, cidr, _ := strings.Cut(a, "=")
		prefix := netip.MustParsePrefix(cidr)
		p.FixedIPs = append(p.FixedIPs, rpc.FixedIP{SubnetID: subnet, IPAddress: prefix.Addr().String(), Prefixlen: prefix.Bits()})
		p.Subnets = append(p.Subnets, rpc.RouterSubnet{ID: subnet, CIDR: prefix.Masked().String()})
	}
	return p
}

func withGateway(p rpc.Port, gateways ...string) *rpc.Port {
	for i, g := range gateways {
		if g != "" {
			p.Subnets[i].GatewayIP = ptr(g)
		}
	}
	return &p
}

func internalPort() rpc.Port {
	return port("11111111-1111-1111", "fa:16:3e:00:00:01", "a=10.0.0.1/24")
}

func externalPort() rpc.Port {
	return port("eeeeeeee-eeee-eeee", "fa:16:3e:00:00:0e", "x=203.0.113.2/24")
}

func fip(id, floating, fixed string) rpc.FloatingIP {
	return rpc.FloatingIP{ID: id, FloatingIPAddress: floating, FixedIPAddress: &fixed, Status: "DOWN"}
}

// text describes a State for comparison.
func (s State) text() string {
	var b strings.Builder
	for _, i := range s.Interfaces {
		fmt.Fprintf(&b, "link %s outer tap%.11s mac %s mtu %d", i.Name, i.PortID, i.MAC, i.MTU)
		if i.AcceptRA {
			b.WriteString(" accept-ra")
		}
		if i.Metadata {
			b.WriteString(" metadata")
		}
		for _, a := range i.Addresses {
			fmt.Fprintf(&b, "\n  addr %s", a)
		}
		if !i.Advertise.Empty() {
			b.WriteString("\n  advertise the router")
		}
		for _, p := range i.Advertise.Prefixes {
			fmt.Fprintf(&b, "\n  advertise %s autonomous %v dns %v", p.Prefix, p.Autonomous, i.Advertise.NameServers)
		}
		b.WriteString("\n")
	}
	for _, r := range s.Routes {
		fmt.Fprintf(&b, "route %s", r.Dst)
		for _, h := range r.Hops {
			if h.Via.IsValid() {
				fmt.Fprintf(&b, " via %s", h.Via)
			}
			fmt.Fprintf(&b, " dev %s", h.Dev)
		}
		b.WriteString("\n")
	}
	n := s.NAT
	if n.Gateway != "" {
		fmt.Fprintf(&b, "nat out %s source %s snat %v\n", n.Gateway, n.Source, n.EnableSNAT)
	}
	for _, p := range n.FloatingIPs {
		fmt.Fprintf(&b, "nat %s is %s\n", p.Floating, p.Fixed)
	}
	return b.String()
}

func TestDesired(t *testing.T) {
	v6 := func(mode string) rpc.Port {
		p := port("66666666-6666-6666", "fa:16:3e:00:00:06", "s=fd00:6::1/64")
		p.Subnets[0].DNSNameservers = []string{"fd00::53"}
		if mode != "" {
			p.Subnets[0].IPv6RAMode = &mode
		}
		return p
	}
	const gatewayText = `link qg-eeeeeeee-ee outer tapeeeeeeee-ee mac fa:16:3e:00:00:0e mtu 1450 accept-ra
  addr 203.0.113.2/24
  addr fe80::f816:3eff:fe00:e/64
`
	const internalText = `link qr-11111111-11 outer tap11111111-11 mac fa:16:3e:00:00:01 mtu 1450
  addr 10.0.0.1/24
`
	const defaultText = "route 0.0.0.0/0 via 203.0.113.1 dev qg-eeeeeeee-ee\n"
	const natText = "nat out qg-eeeeeeee-ee source 203.0.113.2 snat true\n"
	for _, c := range []struct {
		name     string
		router   rpc.Router
		options  options
		want     string
		problems int
	}{
		{name: "nothing"},
		{name: "internal only", router: rpc.Router{Interfaces: []rpc.Port{internalPort()}}, want: internalText},
		{name: "a port that is switched off", router: rpc.Router{Interfaces: []rpc.Port{func() rpc.Port {
			p := internalPort()
			p.AdminStateUp = false
			return p
		}()}}},
		{name: "gateway", router: rpc.Router{EnableSNAT: true, GatewayPort: withGateway(externalPort(), "203.0.113.1"), Interfaces: []rpc.Port{internalPort()}},
			options: options{ipv6: true}, want: gatewayText + internalText + defaultText + natText},
		{name: "no SNAT, no subnet gateway", router: rpc.Router{GatewayPort: withGateway(externalPort())},
			options: options{ipv6: true}, want: gatewayText + "nat out qg-eeeeeeee-ee source 203.0.113.2 snat false\n"},
		{name: "gateway outside the subnet", router: rpc.Router{EnableSNAT: true, GatewayPort: withGateway(externalPort(), "198.51.100.1")},
			options: options{ipv6: true}, want: gatewayText +
				"route 0.0.0.0/0 via 198.51.100.1 dev qg-eeeeeeee-ee\nroute 198.51.100.1/32 dev qg-eeeeeeee-ee\n" + natText},
		{name: "several external addresses: the first counts", router: rpc.Router{EnableSNAT: true, GatewayPort: withGateway(
			port("eeeeeeee-eeee-eeee", "fa:16:3e:00:00:0e", "y=203.0.113.130/25", "x=203.0.113.2/25", "z=2001:db8::2/64"),
			"203.0.113.129", "203.0.113.1", "2001:db8::1")}, options: options{ipv6: true},
			want: `link qg-eeeeeeee-ee outer tapeeeeeeee-ee mac fa:16:3e:00:00:0e mtu 1450
  addr 203.0.113.2/25
  addr 203.0.113.130/25
  addr 2001:db8::2/64
  addr fe80::f816:3eff:fe00:e/64
route 0.0.0.0/0 via 203.0.113.129 dev qg-eeeeeeee-ee
route ::/0 via 2001:db8::1 dev qg-eeeeeeee-ee
nat out qg-eeeeeeee-ee source 203.0.113.130 snat true
`},
		{name: "configured IPv6 gateway", router: rpc.Router{EnableSNAT: true, GatewayPort: withGateway(externalPort())},
			options: options{ipv6: true, ipv6Gateway: netip.MustParseAddr("fe80::1")},
			want:    strings.Replace(gatewayText, " accept-ra", "", 1) + "route ::/0 via fe80::1 dev qg-eeeeeeee-ee\n" + natText},
		{name: "extra subnets of the external network", router: rpc.Router{EnableSNAT: true, GatewayPort: func() *rpc.Port {
			p := externalPort()
			p.ExtraSubnets = []rpc.RouterSubnet{{CIDR: "198.51.100.0/24"}}
			return &p
		}()}, options: options{ipv6: true}, want: gatewayText + "route 198.51.100.0/24 dev qg-eeeeeeee-ee\n" + natText},
		{name: "floating IPs", router: rpc.Router{EnableSNAT: true, GatewayPort: withGateway(externalPort()), FloatingIPs: []rpc.FloatingIP{
			fip("2", "203.0.113.11", "10.0.0.6"), fip("1", "203.0.113.10", "10.0.0.5"), {ID: "3", FloatingIPAddress: "203.0.113.12"},
			fip("bad", "2001:db8::9", "10.0.0.7")}}, options: options{ipv6: true}, problems: 1,
			want: `link qg-eeeeeeee-ee outer tapeeeeeeee-ee mac fa:16:3e:00:00:0e mtu 1450 accept-ra
  addr 203.0.113.2/24
  addr 203.0.113.10/32
  addr 203.0.113.11/32
  addr fe80::f816:3eff:fe00:e/64
` + natText + "nat 203.0.113.10 is 10.0.0.5\nnat 203.0.113.11 is 10.0.0.6\n"},
		{name: "floating IPs without gateway wait", router: rpc.Router{Interfaces: []rpc.Port{internalPort()},
			FloatingIPs: []rpc.FloatingIP{fip("1", "203.0.113.10", "10.0.0.5")}}, want: internalText},
		{name: "extra routes", router: rpc.Router{Interfaces: []rpc.Port{internalPort()}, Routes: []rpc.Route{
			{Destination: "192.168.2.0/24", Nexthop: "10.0.0.9"}, {Destination: "192.168.1.0/24", Nexthop: "10.0.0.8"},
			{Destination: "192.168.1.0/24", Nexthop: "10.0.0.7"}, {Destination: "192.168.3.0/24", Nexthop: "172.16.0.1"},
			{Destination: "nonsense", Nexthop: "10.0.0.9"}, {Destination: "fd00::/64", Nexthop: "10.0.0.9"}}}, problems: 3,
			want: internalText + `route 192.168.1.0/24 via 10.0.0.7 dev qr-11111111-11 via 10.0.0.8 dev qr-11111111-11
route 192.168.2.0/24 via 10.0.0.9 dev qr-11111111-11
`},
		{name: "an extra route replaces the default route", router: rpc.Router{EnableSNAT: true, GatewayPort: withGateway(externalPort(), "203.0.113.1"),
			Interfaces: []rpc.Port{internalPort()}, Routes: []rpc.Route{{Destination: "0.0.0.0/0", Nexthop: "10.0.0.9"}}},
			options: options{ipv6: true}, want: gatewayText + internalText + "route 0.0.0.0/0 via 10.0.0.9 dev qr-11111111-11\n" + natText},
		{name: "IPv6 with advertisements and metadata", router: rpc.Router{Interfaces: []rpc.Port{v6("slaac")}},
			options: options{ipv6: true, metadataPort: 9697},
			want: `link qr-66666666-66 outer tap66666666-66 mac fa:16:3e:00:00:06 mtu 1450 metadata
  addr fd00:6::1/64
  addr fe80::a9fe:a9fe/64
  addr fe80::f816:3eff:fe00:6/64
  advertise the router
  advertise fd00:6::/64 autonomous true dns [fd00::53]
`},
		{name: "IPv6 without mode: no prefix", router: rpc.Router{Interfaces: []rpc.Port{v6("")}}, options: options{ipv6: true},
			want: `link qr-66666666-66 outer tap66666666-66 mac fa:16:3e:00:00:06 mtu 1450
  addr fd00:6::1/64
  addr fe80::f816:3eff:fe00:6/64
  advertise the router
`},
		{name: "a kernel without IPv6", router: rpc.Router{Interfaces: []rpc.Port{v6("slaac")}},
			want: "link qr-66666666-66 outer tap66666666-66 mac fa:16:3e:00:00:06 mtu 1450\n"},
		{name: "two subnets on one port, one length missing", router: rpc.Router{Interfaces: []rpc.Port{func() rpc.Port {
			p := port("11111111-1111-1111", "fa:16:3e:00:00:01", "a=10.0.0.1/24", "b=10.0.1.1/25")
			p.FixedIPs[1].Prefixlen = 0
			return p
		}()}}, want: internalText + "  addr 10.0.1.1/25\n"},
		{name: "broken ports do not hurt the others", problems: 2, router: rpc.Router{Interfaces: []rpc.Port{
			{ID: "x", MACAddress: "nonsense", AdminStateUp: true}, func() rpc.Port {
				p := internalPort()
				p.FixedIPs = append(p.FixedIPs, rpc.FixedIP{IPAddress: "nonsense"})
				return p
			}()}}, want: internalText},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.options.advertisements = ra.DefaultInterval
			got, problems := desired(c.router, c.options)
			if diff := cmp.Diff(c.want, got.text()); diff != "" {
				t.Error(diff)
			}
			if len(problems) != c.problems {
				t.Errorf("problems %v, want %d", problems, c.problems)
			}
		})
	}
}
