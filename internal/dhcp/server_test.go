package dhcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"neutrino/internal/linux/epoll"
	"neutrino/internal/linux/netns"
	"neutrino/internal/linux/sandbox"
	"neutrino/internal/linux/veth"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/dhcpv6/nclient6"
	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { sandbox.Main(m) }

// link makes a server's namespace with a device "serve", whose other end is a client's device in the test's own
// namespace.
// The device is named anew each time, because package net remembers indexes by name.
func link(t *testing.T, clientMAC, client6 string) (namespace, client string) {
	t.Helper()
	sandbox.Need(t)
	namespace, client = "server", fmt.Sprintf("client%d", time.Now().UnixNano()%1e8)
	_, err := netns.Ensure(namespace)
	must(t, err)
	t.Cleanup(func() { _ = veth.Remove(client); _ = netns.Delete(namespace) })
	for _, key := range []string{"net/ipv6/conf/default/accept_dad", "net/ipv6/conf/all/accept_dad"} {
		must(t, netns.Sysctl(namespace, key, "0"))
	}
	serverMAC := mustMAC(t, "fa:16:3e:00:00:02")
	_, err = veth.Ensure(veth.Pair{Outer: client, Inner: "serve", Namespace: namespace, MAC: serverMAC[:], MTU: 1450})
	must(t, err)
	h, err := netns.Handle(namespace)
	must(t, err)
	defer h.Close()
	dev, err := h.LinkByName("serve")
	must(t, err)
	for _, a := range []string{"10.0.0.2/24", "2001:db8:1::2/64"} {
		parsed, err := netlink.ParseAddr(a)
		must(t, err)
		must(t, h.AddrAdd(dev, parsed))
	}
	outer, err := netlink.LinkByName(client)
	must(t, err)
	mac := mustMAC(t, clientMAC)
	must(t, netlink.LinkSetHardwareAddr(outer, mac[:]))
	must(t, sysctl6(client))
	parsed, err := netlink.ParseAddr(client6 + "/64")
	must(t, err)
	parsed.Flags = unix.IFA_F_NODAD
	must(t, netlink.AddrAdd(outer, parsed))
	return namespace, client
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func poller(t *testing.T) *epoll.Poller {
	t.Helper()
	p, err := epoll.New()
	must(t, err)
	t.Cleanup(func() { must(t, p.Close()) })
	return p
}

func listen(t *testing.T, namespace string) *Server {
	t.Helper()
	s, err := Listen(poller(t), namespace, "serve", testNetwork(t), slog.New(slog.DiscardHandler))
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

func TestServerIPv4(t *testing.T) {
	defer goleak.VerifyNone(t)
	t.Run("lease", func(t *testing.T) {
		ns, client := link(t, hostMAC, "fe80::1")
		s := listen(t, ns)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		c, err := nclient4.New(client)
		must(t, err)
		defer c.Close()
		for _, broadcast := range []bool{false, true} {
			lease, err := c.Request(ctx, dhcpv4.WithBroadcast(broadcast))
			must(t, err)
			if got := lease.ACK.YourIPAddr.String(); got != "10.0.0.5" {
				t.Errorf("got address %s", got)
			}
		}
		offer := request(t, dhcpv4.MessageTypeOffer, hostMAC, dhcpv4.WithYourIP(net.IPv4(10, 0, 0, 77)),
			dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(10, 0, 0, 2))))
		offer.OpCode = dhcpv4.OpcodeBootReply
		_, err = c.RequestFromOffer(ctx, offer)
		if _, refused := err.(*nclient4.ErrNak); !refused {
			t.Errorf("a wrong address was not refused: %v", err)
		}
		empty := NewNetwork(testNetwork(t).Settings, NewHosts()) // the port is gone: nobody answers
		must(t, s.Update(empty))
		short, cancelShort := context.WithTimeout(ctx, 300*time.Millisecond)
		defer cancelShort()
		if offer, err := c.DiscoverOffer(short); err == nil {
			t.Errorf("a deleted port was offered %s", offer.YourIPAddr)
		}
	})
}

// TestServerIPv4Odd: a client on another segment renews by way of a router, and one knows only BOOTP.
func TestServerIPv4Odd(t *testing.T) {
	ns, client := link(t, hostMAC, "fe80::1")
	listen(t, ns)
	for _, line := range []string{"ip addr add 10.0.0.1/24 dev " + client, "ip addr add 10.9.0.7/32 dev " + client, "ip link set " + client + " up",
		"ip -n " + ns + " route add default via 10.0.0.1"} {
		if out, err := exec.Command("ip", strings.Fields(line)[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %s", line, out)
		}
	}
	for _, c := range []struct {
		name, from string
		req        *dhcpv4.DHCPv4
		kind       dhcpv4.MessageType
		address    string
	}{
		{"renewal", "10.9.0.7", request(t, dhcpv4.MessageTypeRequest, relayMAC, dhcpv4.WithClientIP(net.IPv4(10, 9, 0, 7))), dhcpv4.MessageTypeAck, "10.9.0.7"},
		{"BOOTP", "0.0.0.0", request(t, dhcpv4.MessageTypeNone, hostMAC, dhcpv4.WithBroadcast(true),
			func(d *dhcpv4.DHCPv4) { delete(d.Options, uint8(dhcpv4.OptionDHCPMessageType)) }), dhcpv4.MessageTypeNone, "10.0.0.5"},
	} {
		conn, err := net.ListenPacket("udp4", c.from+":68")
		must(t, err)
		buf, got := make([]byte, 2048), (*dhcpv4.DHCPv4)(nil)
		for range 20 {
			_, err = conn.WriteTo(c.req.ToBytes(), &net.UDPAddr{IP: net.IPv4(10, 0, 0, 2), Port: 67})
			must(t, err)
			must(t, conn.SetReadDeadline(time.Now().Add(500*time.Millisecond)))
			if n, _, err := conn.ReadFrom(buf); err == nil {
				got, err = dhcpv4.FromBytes(buf[:n])
				must(t, err)
				break
			}
		}
		must(t, conn.Close())
		if got == nil || got.MessageType() != c.kind || got.YourIPAddr.String() != c.address {
			t.Errorf("%s is answered by %v", c.name, got)
		}
	}
}

func TestServerIPv6(t *testing.T) {
	defer goleak.VerifyNone(t)
	for name, linkLocal := range map[string]string{
		"address made of the MAC":      "fe80::f816:3eff:fe00:5",
		"address made up by the guest": "fe80::1234:5678:9abc:def0",
	} {
		t.Run(name, func(t *testing.T) {
			ns, client := link(t, hostMAC, linkLocal)
			listen(t, ns)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			c, err := nclient6.New(client)
			must(t, err)
			defer c.Close()
			strange := dhcpv6.WithClientID(&dhcpv6.DUIDEN{EnterpriseNumber: 1, EnterpriseIdentifier: []byte("guest")})
			advertised, err := c.Solicit(ctx, strange)
			must(t, err)
			reply, err := c.Request(ctx, advertised)
			must(t, err)
			var got []string
			for _, a := range reply.Options.OneIANA().Options.Addresses() {
				got = append(got, a.IPv6Addr.String())
			}
			if diff := cmp.Diff([]string{"2001:db8:1::5", "2001:db8:1::55"}, got); diff != "" {
				t.Errorf("addresses (-want +got):\n%s", diff)
			}
		})
	}
}

func TestServerFamilies(t *testing.T) {
	defer goleak.VerifyNone(t)
	t.Run("sockets follow subnets", func(t *testing.T) {
		ns, _ := link(t, hostMAC, "fe80::1")
		s := listen(t, ns)
		settings := testNetwork(t).Settings
		for _, c := range []struct {
			subnets []Subnet
			v4, v6  bool
		}{{settings.Subnets[:1], true, false}, {settings.Subnets[1:3], false, true}, {nil, false, false}, {settings.Subnets, true, true}} {
			settings.Subnets = c.subnets
			must(t, s.Update(NewNetwork(settings, NewHosts())))
			if (s.v4 != nil) != c.v4 || (s.v6 != nil) != c.v6 {
				t.Errorf("%d subnets: IPv4 socket %v, IPv6 socket %v", len(c.subnets), s.v4 != nil, s.v6 != nil)
			}
		}
	})
	t.Run("second server is refused", func(t *testing.T) {
		ns, _ := link(t, hostMAC, "fe80::1")
		listen(t, ns)
		if s, err := Listen(poller(t), ns, "serve", testNetwork(t), slog.New(slog.DiscardHandler)); err == nil {
			s.Close()
			t.Error("two servers on one device")
		}
	})
}

// sysctl6 keeps the kernel from making a link-local address of its own for the device.
func sysctl6(device string) error {
	for key, value := range map[string]string{"disable_ipv6": "0", "addr_gen_mode": "1"} {
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+device+"/"+key, []byte(value), 0); err != nil {
			return err
		}
	}
	link, err := netlink.LinkByName(device)
	if err != nil {
		return err
	}
	old, err := netlink.AddrList(link, netlink.FAMILY_V6)
	for _, a := range old {
		err = errors.Join(err, netlink.AddrDel(link, &a))
	}
	return err
}
