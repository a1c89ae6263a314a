package l3

import (
	"log/slog"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"neutrino/internal/ra"
	"neutrino/internal/rpc"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ping runs ping(8) once with these arguments and returns what it says.
func (m machine) ping(args ...string) string {
	m.t.Helper()
	words := append([]string{"netns", "exec", m.name, "ping", "-n", "-c", "1", "-W", "2"}, args...)
	out, _ := exec.Command("ip", words...).CombinedOutput() // no answer is an error too
	return string(out)
}

func (m machine) mtu(mtu int) {
	m.with(func(h *netlink.Handle, eth0 netlink.Link) { must(m.t, h.LinkSetMTU(eth0, mtu)) })
}

func scope(p *rpc.Port, v4, v6 string) { p.AddressScopes = map[string]*string{"4": &v4, "6": &v6} }

// dual gives the internal ports of aRouter IPv6 addresses too: fd00:a::1 and fd00:b::1.
func dual(r rpc.Router) rpc.Router {
	for i, address := range []string{"fd00:a::1", "fd00:b::1"} {
		r.Interfaces[i].FixedIPs = append(r.Interfaces[i].FixedIPs, rpc.FixedIP{SubnetID: address, IPAddress: address, Prefixlen: 64})
		r.Interfaces[i].Subnets = append(r.Interfaces[i].Subnets, rpc.RouterSubnet{ID: address, CIDR: netip.PrefixFrom(netip.MustParseAddr(address), 64).Masked().String()})
	}
	return r
}

// withIPv6 gives the instances addresses in the networks of dual.
func (s *site) withIPv6() {
	s.a1.address("fd00:a::5/64")
	s.a1.route("::/0", "fd00:a::1")
	s.b1.address("fd00:b::5/64")
	s.b1.route("::/0", "fd00:b::1")
}

func TestAddressScopes(t *testing.T) {
	r := dual(aRouter())
	scope(&r.Interfaces[0], "one", "x")
	scope(&r.Interfaces[1], "two", "y")
	scope(r.GatewayPort, "one", "x")
	s := newSite(t, r)
	s.withIPv6()
	s.internet.route("10.0.0.0/16", "203.0.113.2")
	a := run(t, s.server, nil)
	a.settled()
	s.internet.reaches("10.0.0.5:7")
	s.a1.sees("203.0.113.1:7", "10.0.0.5")    // the scope of the outside: as it is
	s.b1.sees("203.0.113.1:7", "203.0.113.2") // another one: translated
	s.a1.sees("10.0.1.5:7", "")
	s.internet.sees("10.0.1.5:7", "")
	s.a1.sees("[fd00:b::5]:7", "")

	r.FloatingIPs = []rpc.FloatingIP{fip("fip-b1", "203.0.113.11", "10.0.1.5")}
	s.server.set(t, r)
	a.settled()
	s.internet.sees("203.0.113.11:7", "203.0.113.1")
	s.a1.sees("203.0.113.11:7", "203.0.113.2")

	r.EnableSNAT = false // then only floating IPs lead out of a scope
	s.server.set(t, r)
	a.settled()
	s.a1.sees("203.0.113.1:7", "10.0.0.5")
	s.b1.sees("203.0.113.1:7", "203.0.113.11")
	r.FloatingIPs = nil
	s.server.set(t, r)
	a.settled()
	s.b1.sees("203.0.113.1:7", "")

	scope(&r.Interfaces[1], "one", "x")
	s.server.set(t, r)
	a.settled()
	s.a1.sees("10.0.1.5:7", "10.0.0.5")
	s.a1.sees("[fd00:b::5]:7", "fd00:a::5")
}

func TestFragmentsAndPathMTU(t *testing.T) {
	r := dual(aRouter())
	r.Interfaces[0].MTU, r.Interfaces[1].MTU, r.GatewayPort.MTU = 1400, 1500, 1450
	r.FloatingIPs = []rpc.FloatingIP{fip("fip-a1", "203.0.113.10", "10.0.0.5")}
	s := newSite(t, r)
	s.withIPv6()
	s.a1.mtu(1400)
	s.internet.mtu(1450)
	run(t, s.server, nil).settled()
	s.a2.reaches("203.0.113.1:7")
	s.internet.reaches("203.0.113.10:7")
	s.b1.reaches("[fd00:a::5]:7")
	const answered = "1 received"
	for _, c := range []struct {
		name  string
		from  machine
		flags string
		want  string
	}{
		{"fragments by SNAT", s.b1, "-s 4000 203.0.113.1", answered},
		{"fragments by floating IP, out", s.a1, "-s 4000 203.0.113.1", answered},
		{"fragments by floating IP, in", s.internet, "-s 4000 203.0.113.10", answered},
		{"fragments between networks", s.b1, "-s 4000 10.0.0.5", answered},
		{"as long as the path allows, in", s.internet, "-M do -s 1372 203.0.113.10", answered},
		{"too long for the internal network", s.internet, "-M do -s 1400 203.0.113.10", "From 203.0.113.10 icmp_seq=1 Frag needed and DF set (mtu = 1400)"},
		{"too long for the external network", s.b1, "-M do -s 1460 203.0.113.1", "From 10.0.1.1 icmp_seq=1 Frag needed and DF set (mtu = 1450)"},
		{"too long for another internal network", s.b1, "-M do -s 1450 10.0.0.5", "From 10.0.1.1 icmp_seq=1 Frag needed and DF set (mtu = 1400)"},
		{"IPv6 too long", s.b1, "-M do -s 1440 fd00:a::5", "From fd00:b::1 icmp_seq=1 Packet too big: mtu=1400"},
		{"IPv6 fragments, now that the sender knows the path", s.b1, "-s 4000 fd00:a::5", answered},
	} {
		if got := c.from.ping(strings.Fields(c.flags)...); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s", c.name, got)
		}
	}
}

func TestFloatingIPsOfTwoRouters(t *testing.T) {
	one, two := aRouter(), aRouter()
	one.Interfaces, two.Interfaces = one.Interfaces[:1], two.Interfaces[1:]
	two.ID = "0a0a0a0a-0000-4000-8000-000000000002"
	two.GatewayPort = withGateway(port("ffffffff-ffff-ffff", "fa:16:3e:00:00:0f", "x=203.0.113.3/24"), "203.0.113.1")
	one.FloatingIPs = []rpc.FloatingIP{fip("fip-a1", "203.0.113.10", "10.0.0.5")}
	two.FloatingIPs = []rpc.FloatingIP{fip("fip-b1", "203.0.113.11", "10.0.1.5")}
	s := newSite(t, one)
	s.server.routers[two.ID] = two
	a := run(t, s.server, nil)
	a.settled()
	s.internet.reaches("203.0.113.10:7")
	s.internet.reaches("203.0.113.11:7")
	s.a1.sees("203.0.113.11:7", "203.0.113.10")
	s.b1.sees("203.0.113.10:7", "203.0.113.11")
	s.a2.sees("203.0.113.11:7", "203.0.113.2")

	// A floating IP goes to the other router: the same address, another MAC address.
	two.FloatingIPs = append(two.FloatingIPs, fip("fip-a1", "203.0.113.10", "10.0.1.5"))
	one.FloatingIPs = nil
	s.server.set(t, one)
	s.server.set(t, two)
	a.settled()
	s.internet.sees("203.0.113.10:7", "203.0.113.1")
	s.a1.sees("203.0.113.10:7", "203.0.113.2")
}

func TestGatewayOutsideTheSubnetAndSeveralAddresses(t *testing.T) {
	r := aRouter()
	p := port("eeeeeeee-eeee-eeee", "fa:16:3e:00:00:0e", "y=192.0.2.2/24", "x=203.0.113.2/24")
	r.GatewayPort = withGateway(p, "198.51.100.1")
	s := newSite(t, r)
	s.internet.address("198.51.100.1/32")
	s.internet.address("192.0.2.1/24")
	s.internet.address("198.51.100.200/32") // somewhere behind the gateway
	run(t, s.server, nil).settled()
	s.a1.reaches("198.51.100.200:7")
	s.a1.sees("198.51.100.200:7", "192.0.2.2")
	s.a1.sees("203.0.113.1:7", "192.0.2.2") // the first address, whatever the way
	for _, address := range []string{"192.0.2.2", "203.0.113.2"} {
		if got := s.internet.ping(address); !strings.Contains(got, "1 received") {
			t.Errorf("%s: %s", address, got)
		}
	}
}

func TestIPv6Gateways(t *testing.T) {
	withGateway6 := func(gateway string) rpc.Router {
		r := dual(aRouter())
		p := port("eeeeeeee-eeee-eeee", "fa:16:3e:00:00:0e", "x=203.0.113.2/24", "z=2001:db8::2/64")
		r.GatewayPort = withGateway(p, "203.0.113.1", gateway)
		return r
	}
	s := newSite(t, withGateway6("fe80::1"))
	s.withIPv6()
	s.internet.address("2001:db8:1::1/128") // behind the gateway
	s.internet.address("fe80::1/64")
	s.internet.address("2001:db8::1/64")
	s.internet.route("fd00:a::/64", "2001:db8::2")
	a := runWith(t, s.server, Config{}, slog.New(slog.NewTextHandler(t.Output(), nil)))
	a.settled()
	s.a1.reaches("[2001:db8:1::1]:7")
	s.a1.sees("[2001:db8:1::1]:7", "fd00:a::5") // nothing is translated

	s.server.set(t, withGateway6(""))
	a.settled()
	s.a1.sees("[2001:db8:1::1]:7", "")
	sender, err := ra.Start("internet", "eth0", netip.MustParseAddr("fe80::1"),
		ra.ForSubnets(1500, ra.DefaultInterval, []ra.Subnet{{Prefix: netip.MustParsePrefix("2001:db8::/64"), Mode: ra.Stateful}}), slog.New(slog.NewTextHandler(t.Output(), nil)))
	must(t, err)
	defer sender.Close()
	s.a1.reaches("[2001:db8:1::1]:7")
	before := a.Writes()
	a.queue.add(work{id: routerID, check: true}, byCheck)
	a.settled()
	if n := a.Writes() - before; n != 0 {
		t.Errorf("%d writes after a route was learned", n)
	}
}

func TestNewIPv6AddressIsAnnounced(t *testing.T) {
	s := newSite(t, aRouter())
	s.a1.address("fd00:a::5/64")
	a := run(t, s.server, nil)
	a.settled()
	s.a1.reaches("203.0.113.1:7")
	neighbour := &netlink.Neigh{IP: net.ParseIP("fd00:a::1"), HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 9}, State: unix.NUD_STALE}
	s.a1.with(func(h *netlink.Handle, eth0 netlink.Link) {
		neighbour.LinkIndex = eth0.Attrs().Index
		must(t, h.NeighSet(neighbour))
	})
	r := dual(aRouter())
	s.server.set(t, r)
	eventually(t, "the neighbour knows the MAC address", func() (known bool) {
		s.a1.with(func(h *netlink.Handle, eth0 netlink.Link) {
			all, err := h.NeighList(eth0.Attrs().Index, netlink.FAMILY_V6)
			must(t, err)
			for _, n := range all {
				known = known || n.IP.Equal(neighbour.IP) && n.HardwareAddr.String() == r.Interfaces[0].MACAddress
			}
		})
		return known
	})
}
