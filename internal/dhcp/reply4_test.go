package dhcp

import (
	"flag"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

var update = flag.Bool("update", false, "write golden files")

func golden(t *testing.T, got string) {
	t.Helper()
	path := filepath.Join("testdata", strings.ReplaceAll(t.Name(), "/", "_")+".txt")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("reply differs (-want +got):\n%s", diff)
	}
}

func mustMAC(t testing.TB, s string) MAC {
	t.Helper()
	m, err := ParseMAC(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

const (
	hostMAC   = "fa:16:3e:00:00:05"
	pxeMAC    = "fa:16:3e:00:00:06"
	relayMAC  = "fa:16:3e:00:00:07"
	v6onlyMAC = "fa:16:3e:00:00:08"
	idMAC     = "fa:16:3e:00:00:09"
)

// testNetwork has an IPv4, a stateful and a stateless IPv6 subnet, and an IPv4 subnet behind a relay.
func testNetwork(t testing.TB) *Network {
	t.Helper()
	p := NewParser()
	option := func(is4 bool, name, value string) Option {
		o, err := p.Parse(is4, name, value)
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	addr, prefix := netip.MustParseAddr, netip.MustParsePrefix
	host := func(mac string, addrs ...Assignment) *Host {
		return &Host{MAC: mustMAC(t, mac), Addrs: addrs}
	}
	plain := host(hostMAC, Assignment{addr("10.0.0.5"), "v4", "host-10-0-0-5"},
		Assignment{addr("2001:db8:1::5"), "stateful", "host-2001-db8-1--5"},
		Assignment{addr("2001:db8:1::55"), "stateful", "host-2001-db8-1--55"},
		Assignment{addr("2001:db8:2:0:f816:3eff:fe00:5"), "stateless", "host-x"})
	pxe := host(pxeMAC, Assignment{addr("10.0.0.6"), "v4", "web"},
		Assignment{addr("2001:db8:2:0:f816:3eff:fe00:6"), "stateless", "web"})
	pxe.Options4 = []Option{
		option(true, "tftp-server", "10.0.0.100"), option(true, "bootfile-name", "undionly.kpxe"),
		option(true, "tag:ipxe,bootfile-name", "http://10.0.0.100/boot.ipxe"), option(true, "server-ip-address", "10.0.0.100"),
		option(true, "router", ""), option(true, "42", "10.0.0.42,10.0.0.43"), option(true, "T1", "600"),
	}
	pxe.Options6 = []Option{option(false, "bootfile-url", "tftp://[2001:db8::1]/x"), option(false, "dns-server", "[2001:db8::99]")}
	byID := host(idMAC, Assignment{addr("10.0.0.9"), "v4", "host-10-0-0-9"})
	byID.ClientID = ParseClientID("ff:00:01")
	hosts := []*Host{plain, pxe, byID,
		host(relayMAC, Assignment{addr("10.9.0.7"), "remote", "host-10-9-0-7"}),
		host(v6onlyMAC, Assignment{addr("2001:db8:1::8"), "stateful", "host-8"})}
	return NewNetwork(Settings{
		MAC: mustMAC(t, "fa:16:3e:00:00:02"), MTU: 1450, Domain: "openstacklocal", Lease: 24 * time.Hour,
		Subnets: []Subnet{
			{ID: "v4", Prefix: prefix("10.0.0.0/24"), Server: addr("10.0.0.2"), Gateway: addr("10.0.0.1"),
				DNS: []netip.Addr{addr("192.0.2.53"), addr("192.0.2.54")},
				Routes: []Route{{prefix("10.1.0.0/20"), addr("0.0.0.0")}, {prefix("169.254.169.254/32"), addr("10.0.0.2")},
					{prefix("0.0.0.0/0"), addr("10.0.0.1")}}},
			{ID: "stateful", Prefix: prefix("2001:db8:1::/64"), Server: addr("2001:db8:1::2"), DNS: []netip.Addr{addr("2001:db8::53")}},
			{ID: "stateless", Prefix: prefix("2001:db8:2::/64"), Server: addr("2001:db8:2::2"), Stateless: true},
			{ID: "remote", Prefix: prefix("10.9.0.0/24"), Gateway: addr("10.9.0.1")},
		},
	}, NewHosts(hosts...))
}

// request makes a packet as a client sends it, by way of the wire format.
func request(t testing.TB, kind dhcpv4.MessageType, mac string, change ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	t.Helper()
	hw, err := net.ParseMAC(mac)
	if err != nil {
		t.Fatal(err)
	}
	mods := append([]dhcpv4.Modifier{dhcpv4.WithHwAddr(hw), dhcpv4.WithMessageType(kind),
		dhcpv4.WithTransactionID(dhcpv4.TransactionID{1, 2, 3, 4})}, change...)
	p, err := dhcpv4.New(mods...)
	if err != nil {
		t.Fatal(err)
	}
	back, err := dhcpv4.FromBytes(p.ToBytes())
	if err != nil {
		t.Fatal(err)
	}
	return back
}

func opt(code uint8, value ...byte) dhcpv4.Modifier {
	return dhcpv4.WithGeneric(dhcpv4.GenericOptionCode(code), value)
}

func TestReply4(t *testing.T) {
	const discover, req = dhcpv4.MessageTypeDiscover, dhcpv4.MessageTypeRequest
	usual := opt(55, 1, 3, 6, 12, 15, 26, 28, 121)
	ip := func(s string) net.IP { return net.ParseIP(s) }
	asked := func(s string) dhcpv4.Modifier { return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(ip(s))) }
	server := func(s string) dhcpv4.Modifier { return dhcpv4.WithOption(dhcpv4.OptServerIdentifier(ip(s))) }
	for name, packet := range map[string]*dhcpv4.DHCPv4{
		"discover":            request(t, discover, hostMAC, usual),
		"discover_all":        request(t, discover, hostMAC, opt(12, 'm', 'e')),
		"discover_client_id":  request(t, discover, "02:00:00:00:00:01", usual, opt(61, 0xff, 0, 1)),
		"discover_zero_id":    request(t, discover, "02:00:00:00:00:01", usual, opt(61, 0, 0xff, 0, 1)),
		"discover_pxe":        request(t, discover, pxeMAC, opt(55, 1, 3, 42, 58)),
		"discover_pxe_asks":   request(t, discover, pxeMAC, opt(55, 1, 66, 67)),
		"discover_ipxe":       request(t, discover, pxeMAC, opt(55, 1, 67), opt(175, 1)),
		"discover_fqdn":       request(t, discover, pxeMAC, opt(55, 1), opt(81, 0, 0, 0, 'x')),
		"discover_relay":      request(t, discover, relayMAC, usual, dhcpv4.WithRelay(ip("10.9.0.1")), opt(82, 1, 2, 'e', '0')),
		"request_selecting":   request(t, req, hostMAC, usual, server("10.0.0.2"), asked("10.0.0.5")),
		"request_reboot":      request(t, req, hostMAC, usual, asked("10.0.0.5")),
		"request_renew":       request(t, req, hostMAC, usual, dhcpv4.WithClientIP(ip("10.0.0.5"))),
		"request_wrong":       request(t, req, hostMAC, usual, asked("10.0.0.77")),
		"request_other_net":   request(t, req, hostMAC, usual, asked("192.168.1.5")),
		"request_wrong_relay": request(t, req, relayMAC, usual, dhcpv4.WithRelay(ip("10.9.0.1")), asked("10.9.0.8")),
		"inform":              request(t, dhcpv4.MessageTypeInform, hostMAC, usual, dhcpv4.WithClientIP(ip("10.0.0.5"))),
	} {
		t.Run(name, func(t *testing.T) {
			reply := testNetwork(t).Reply4(packet)
			if reply == nil {
				t.Fatal("no reply")
			}
			golden(t, reply.Summary()+"\n")
		})
	}
	for name, packet := range map[string]*dhcpv4.DHCPv4{
		"unknown":                   request(t, discover, "02:00:00:00:00:01", usual),
		"unknown_asks":              request(t, req, "02:00:00:00:00:01", usual, asked("10.0.0.5")),
		"only_v6":                   request(t, req, v6onlyMAC, usual, asked("10.0.0.5")),
		"other_server":              request(t, req, hostMAC, server("10.0.0.3"), asked("10.0.0.5")),
		"remote_address_on_link":    request(t, discover, relayMAC, usual),
		"relay_of_unknown_subnet":   request(t, discover, hostMAC, usual, dhcpv4.WithRelay(ip("10.77.0.1"))),
		"release":                   request(t, dhcpv4.MessageTypeRelease, hostMAC),
		"decline":                   request(t, dhcpv4.MessageTypeDecline, hostMAC, asked("10.0.0.5")),
		"inform_with_wrong_address": request(t, dhcpv4.MessageTypeInform, hostMAC, dhcpv4.WithClientIP(ip("10.0.0.9"))),
		"request_for_nothing":       request(t, req, hostMAC),
		"a_reply":                   request(t, discover, hostMAC, func(d *dhcpv4.DHCPv4) { d.OpCode = dhcpv4.OpcodeBootReply }),
	} {
		t.Run("silent_"+name, func(t *testing.T) {
			if reply := testNetwork(t).Reply4(packet); reply != nil {
				t.Errorf("answered:\n%s", reply.Summary())
			}
		})
	}
}

func TestInfiniteLease(t *testing.T) {
	n := testNetwork(t)
	n.Lease = -1
	reply := n.Reply4(request(t, dhcpv4.MessageTypeDiscover, hostMAC))
	if got := reply.GetOneOption(dhcpv4.OptionIPAddressLeaseTime); !cmp.Equal(got, []byte{255, 255, 255, 255}) {
		t.Errorf("lease time %x", got)
	}
	if reply.Options.Has(dhcpv4.OptionRenewTimeValue) {
		t.Error("an infinite lease is not renewed")
	}
}

func TestDestination4(t *testing.T) {
	base := func(kind dhcpv4.MessageType, change ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
		return request(t, kind, hostMAC, append([]dhcpv4.Modifier{dhcpv4.WithYourIP(net.IPv4(10, 0, 0, 5))}, change...)...)
	}
	type result struct {
		To               string
		Relay, Broadcast bool
	}
	for name, c := range map[string]struct {
		reply *dhcpv4.DHCPv4
		force bool
		want  result
	}{
		"direct":    {base(dhcpv4.MessageTypeOffer), false, result{"10.0.0.5:68", false, false}},
		"broadcast": {base(dhcpv4.MessageTypeOffer, dhcpv4.WithBroadcast(true)), false, result{"255.255.255.255:68", false, true}},
		"forced":    {base(dhcpv4.MessageTypeOffer), true, result{"255.255.255.255:68", false, true}},
		"renewal": {base(dhcpv4.MessageTypeAck, dhcpv4.WithClientIP(net.IPv4(10, 0, 0, 6)), dhcpv4.WithBroadcast(true)), true,
			result{"10.0.0.6:68", false, false}},
		"nak":   {base(dhcpv4.MessageTypeNak), false, result{"255.255.255.255:68", false, true}},
		"relay": {base(dhcpv4.MessageTypeOffer, dhcpv4.WithRelay(net.IPv4(10, 9, 0, 1))), false, result{"10.9.0.1:67", true, false}},
	} {
		t.Run(name, func(t *testing.T) {
			n := NewNetwork(Settings{Broadcast: c.force}, NewHosts())
			to, relay, broadcast := n.destination4(c.reply)
			if got := (result{to.String(), relay, broadcast}); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func FuzzReply4(f *testing.F) {
	n := testNetwork(f)
	f.Add(request(f, dhcpv4.MessageTypeDiscover, hostMAC, opt(55, 1, 3)).ToBytes())
	f.Add(request(f, dhcpv4.MessageTypeRequest, pxeMAC, opt(50, 10, 0, 0, 6), opt(81, 4, 0, 0), opt(82, 1)).ToBytes())
	f.Add(request(f, dhcpv4.MessageTypeInform, idMAC, opt(61, 0)).ToBytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		req, err := dhcpv4.FromBytes(b)
		if err != nil {
			return
		}
		reply := n.Reply4(req)
		if reply == nil {
			return
		}
		n.destination4(reply)
		if _, err := dhcpv4.FromBytes(reply.ToBytes()); err != nil {
			t.Errorf("our own reply cannot be read: %v", err)
		}
	})
}

func TestDatagram4(t *testing.T) {
	from, to := netip.MustParseAddrPort("10.0.0.2:67"), netip.MustParseAddrPort("10.0.0.5:68")
	for _, payload := range []string{"", "x", "odd", "even"} {
		p := datagram4(from, to, []byte(payload))
		if sum16(0, p[:20]) != 0xffff {
			t.Errorf("%q: header checksum wrong: %x", payload, p)
		}
		pseudo := append(append([]byte{}, p[12:20]...), 0, 17, 0, byte(len(p)-20))
		if sum16(0, append(pseudo, p[20:]...)) != 0xffff {
			t.Errorf("%q: UDP checksum wrong: %x", payload, p)
		}
	}
}
