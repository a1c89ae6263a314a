package l2

import (
	"encoding/binary"
	"hash/crc32"
	"net/netip"
	"strings"
	"testing"

	"neutrino/internal/rpc"

	"golang.org/x/sys/unix"
)

func tcpSYN(src, dst string, port int) []byte {
	return ip(src, dst, unix.IPPROTO_TCP, join(be16(4000), be16(port), make([]byte, 8), []byte{0x50, 2}, be16(1000), be16(0), be16(0)), 16)
}

// icmp4 has a checksum without pseudo header.
func icmp4(src, dst string, kind, code byte) []byte {
	body := []byte{kind, code, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	copy(body[2:], checksum(body))
	packet := ip(src, dst, unix.IPPROTO_ICMP, make([]byte, len(body)), 2)
	copy(packet[20:], body)
	return packet
}

// sctpInit has an INIT chunk and the checksum of RFC 9260, appendix A.
func sctpInit(src, dst string, port int) []byte {
	body := join(be16(4000), be16(port), make([]byte, 8), []byte{1, 0}, be16(20), []byte{0, 0, 0, 1}, be16(0), be16(1500), be16(1), be16(1), []byte{0, 0, 0, 1})
	binary.LittleEndian.PutUint32(body[8:], crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
	packet := ip(src, dst, unix.IPPROTO_SCTP, make([]byte, len(body)), 0)
	copy(packet[20:], body)
	return packet
}

func bare(src, dst string, proto byte) []byte { return ip(src, dst, proto, make([]byte, 24), 0) }

// host is a rig with an agent of either kind. It works from begin on; with Open vSwitch, where a plug is a change of the bridge, from the
// first plug on: what the server knows of a port has to be there before.
type host struct {
	*rig
	plug    func(*instance) *instance
	begin   func()
	unplug  func(*instance) // before the device goes; nil: nothing
	vswitch bool
}

// permitted are the Ethernet types that the ports of onBoth may use.
var permitted = []uint16{0x4008, 0x8847}

// onBoth runs a test with a host of either kind.
func onBoth(t *testing.T, f func(*testing.T, host)) {
	t.Run("linuxbridge", func(t *testing.T) {
		r := newRig(t)
		r.cfg.PermittedEthertypes = permitted
		f(t, host{r, (*instance).plug, r.start, nil, false})
	})
	t.Run("openvswitch", func(t *testing.T) {
		needRoot(t)
		r := newOVSRigOn(t, startSwitch(t, t.TempDir()), func(c *Config) { c.PermittedEthertypes = permitted })
		f(t, host{r.rig, r.sw.plugNova, func() {}, func(i *instance) { r.sw.vsctl("del-port", "br-int", i.device) }, true})
	})
}

// Each kind of rule lets in what it says and nothing else.
func TestRules(t *testing.T) { onBoth(t, testRules) }

func testRules(t *testing.T, r host) {
	const allowed, others = "ad000000-0000-4000-8000-000000000001", "ad000000-0000-4000-8000-000000000002" // address groups
	a := newInstance(t, r.server, netA, 1, groupDefault)
	b := newInstance(t, r.server, netA, 2, groupClosed)
	in := func(ethertype, protocol string, ports ...int) rpc.SecurityGroupRule {
		rule := rpc.SecurityGroupRule{Direction: "ingress", Ethertype: ethertype, Protocol: protocol, Stateful: true}
		for i, p := range ports {
			*[]**int{&rule.PortRangeMin, &rule.PortRangeMax}[i] = ptr(p)
		}
		return rule
	}
	with := func(rule rpc.SecurityGroupRule, f func(*rpc.SecurityGroupRule)) rpc.SecurityGroupRule {
		f(&rule)
		return rule
	}
	from := func(prefix string) func(*rpc.SecurityGroupRule) {
		return func(x *rpc.SecurityGroupRule) { x.SourceIPPrefix = prefix }
	}
	group := func(id string) func(*rpc.SecurityGroupRule) {
		return func(x *rpc.SecurityGroupRule) { x.RemoteAddressGroupID = id }
	}
	remote := func(id string) func(*rpc.SecurityGroupRule) {
		return func(x *rpc.SecurityGroupRule) { x.RemoteGroupID = id }
	}
	rules := append(allOut(),
		in("IPv4", "tcp", 1000, 1010),
		with(in("IPv4", "udp", 53, 53), from("10.0.0.0/30")),
		with(in("IPv4", "udp", 54, 54), from("10.0.0.9/32")),
		with(in("IPv4", "udp", 60, 61), group(allowed)),
		with(in("IPv4", "udp", 62, 62), group(others)),
		with(in("IPv6", "udp", 60, 60), group(allowed)),
		in("IPv4", "icmp", 13, 0), in("IPv4", "icmp", 15),
		in("IPv4", "47"), in("IPv4", "vrrp"), in("IPv4", "sctp", 3001, 3006),
		with(in("IPv4", "udp", 70, 77), remote(groupDefault)), with(in("IPv4", "udp", 80, 87), remote(groupOther)),
		in("IPv6", "tcp", 2000, 2000), in("IPv6", "icmpv6", 128), in("IPv6", "89"))
	r.server.change(func() {
		r.server.Groups[groupClosed] = rules
		r.server.Members[allowed] = map[string][][2]*string{"IPv4": {{ptr("10.0.0.0/24"), nil}, {ptr("192.0.2.1"), nil}}, "IPv6": {{ptr("fd00::/64"), nil}}}
		r.server.Members[others] = map[string][][2]*string{"IPv4": {{ptr("10.9.0.0/16"), nil}}}
	})
	r.members(groupDefault, a)
	r.members(groupOther, b)
	r.plug(a)
	r.plug(b)
	r.begin()
	r.server.waitFor(t, a.device, b.device)
	v4, v6, to4, to6 := a.v4.String(), a.v6.String(), b.v4.String(), b.v6.String()
	tests := []struct {
		name   string
		packet []byte
		pass   bool
	}{
		{"TCP, first port", tcpSYN(v4, to4, 1000), true},
		{"TCP, last port", tcpSYN(v4, to4, 1010), true},
		{"TCP, before the range", tcpSYN(v4, to4, 999), false},
		{"TCP, after the range", tcpSYN(v4, to4, 1011), false},
		{"UDP in TCP's range", udp(v4, to4, 4000, 1005), false},
		{"TCP by IPv6 in IPv4's range", tcpSYN(v6, to6, 1005), false},
		{"prefix of the sender", udp(v4, to4, 4000, 53), true},
		{"prefix of another", udp(v4, to4, 4000, 54), false},
		{"address group of the sender", udp(v4, to4, 4000, 61), true},
		{"address group of another", udp(v4, to4, 4000, 62), false},
		{"IPv6 address group", udp(v6, to6, 4000, 60), true},
		{"ICMP type and code", icmp4(v4, to4, 13, 0), true},
		{"ICMP type", icmp4(v4, to4, 15, 0), true},
		{"other ICMP type", icmp4(v4, to4, 8, 0), false},
		{"protocol by number", bare(v4, to4, 47), true},
		{"protocol by name", bare(v4, to4, 112), true},
		{"other protocol", bare(v4, to4, 50), false},
		{"SCTP, first port", sctpInit(v4, to4, 3001), true},
		{"SCTP, last port", sctpInit(v4, to4, 3006), true},
		{"SCTP, before the range", sctpInit(v4, to4, 3000), false},
		{"SCTP, after the range", sctpInit(v4, to4, 3007), false},
		{"member, first port", udp(v4, to4, 4000, 70), true},
		{"member, last port", udp(v4, to4, 4000, 77), true},
		{"member, before the range", udp(v4, to4, 4000, 69), false},
		{"member, after the range", udp(v4, to4, 4000, 78), false},
		{"no member", udp(v4, to4, 4000, 81), false},
		{"TCP by IPv6", tcpSYN(v6, to6, 2000), true},
		{"TCP by IPv6, other port", tcpSYN(v6, to6, 2001), false},
		{"ICMPv6 type", icmp6(v6, to6, 128, make([]byte, 8)), true},
		{"other ICMPv6 type", icmp6(v6, to6, 139, make([]byte, 8)), false},
		{"IPv6 protocol by number", bare(v6, to6, 89), true},
		{"other IPv6 protocol", bare(v6, to6, 50), false},
		{"the last", tcpSYN(v4, to4, 1001), true},
	}
	frames := make([][]byte, len(tests))
	for k, test := range tests {
		kind := unix.ETH_P_IP
		if test.packet[0]>>4 == 6 {
			kind = unix.ETH_P_IPV6
		}
		frames[k] = ethernet(a.mac, b.mac, kind, test.packet)
	}
	for k, arrived := range a.receivedBy(b, frames) {
		if arrived != tests[k].pass {
			t.Errorf("%s: arrived %v", tests[k].name, arrived)
		}
	}

	other := func(kind int) []byte { return ethernet(a.mac, b.mac, kind, make([]byte, 50)) }
	if got := a.receivedBy(b, [][]byte{other(0x88b5), other(0x4008)}); got[0] {
		t.Error("an Ethernet type that is not permitted arrives")
	}

	// A member that leaves its address group loses its connection; a rule about another group does not give it back.
	session := udpSession(t, a, b, 60)
	session(true)
	r.server.change(func() { r.server.Members[allowed]["IPv4"] = [][2]*string{{ptr("192.0.2.1"), nil}} })
	r.tell(rpc.SecurityGroupsMemberUpdated, allowed)
	session(false)
	r.server.change(func() { r.server.Members[allowed]["IPv4"] = [][2]*string{{ptr(a.v4.String()), nil}} })
	r.tell(rpc.SecurityGroupsMemberUpdated, allowed)
	session(true)
}

// udpSession sends datagrams of one connection and waits until they arrive or no longer do.
func udpSession(t *testing.T, a, b *instance, port int) func(want bool) {
	t.Helper()
	frame := ethernet(a.mac, b.mac, unix.ETH_P_IP, udp(a.v4.String(), b.v4.String(), 4321, port))
	out, in := a.packetSocket(), b.packetSocket()
	if err := unix.SetsockoptTimeval(in, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 200000}); err != nil {
		t.Fatal(err)
	}
	arrives := func() bool {
		if err := unix.Send(out, frame, 0); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 2048)
		for {
			n, err := unix.Read(in, buf)
			if err != nil {
				return false
			}
			if string(buf[:n]) == string(frame) {
				return true
			}
		}
	}
	return func(want bool) {
		t.Helper()
		eventually(t, "datagram arrives as it should", func() bool { return arrives() == want })
	}
}

// Whoever has an address that another port's group allows is let in by it, also by IPv6 and by a pair's address.
func TestRemoteGroupHasAllAddresses(t *testing.T) {
	r := newRig(t)
	r.server.Groups[groupDefault] = append(allOut(), allIn(groupDefault)...)
	r.server.Groups[groupDefault] = append(r.server.Groups[groupDefault],
		rpc.SecurityGroupRule{Direction: "ingress", Ethertype: "IPv6", RemoteGroupID: groupDefault, Stateful: true})
	a := newInstance(t, r.server, netA, 1, groupDefault).plug()
	b := newInstance(t, r.server, netA, 2, groupDefault).plug()
	r.server.change(func() {
		p := r.server.Ports[a.device]
		p.Filter.AddressPairs = []rpc.AddressPair{{IPAddress: "10.0.7.0/24"}}
		r.server.Ports[a.device] = p
	})
	r.members(groupDefault, a, b)
	r.server.change(func() {
		r.server.Members[groupDefault]["IPv4"] = append(r.server.Members[groupDefault]["IPv4"], [2]*string{ptr("10.0.7.0/24"), nil})
	})
	r.start()
	r.server.waitFor(t, a.device, b.device)
	for _, to := range []netip.Addr{b.v4, b.v6} {
		a.reaches(to, true)
	}
	frame := func(from string) []byte {
		return ethernet(a.mac, b.mac, unix.ETH_P_IP, udp(from, b.v4.String(), 1, 2))
	}
	got := a.receivedBy(b, [][]byte{frame("10.0.8.1"), frame("10.0.7.1"), frame("10.0.0.1")})
	if got[0] || !got[1] {
		t.Errorf("arrived %v", got)
	}
}

// A member that may have every address, as a pair says, does not make everybody a member of its group.
func TestMemberWithEveryAddress(t *testing.T) { onBoth(t, testMemberWithEveryAddress) }

func testMemberWithEveryAddress(t *testing.T, r host) {
	a, b := newInstance(t, r.server, netA, 1, groupDefault), newInstance(t, r.server, netA, 2, groupDefault)
	c := newInstance(t, r.server, netA, 3, groupClosed)
	r.server.change(func() {
		p := r.server.Ports[a.device]
		p.Filter.AddressPairs = []rpc.AddressPair{{IPAddress: "0.0.0.0/0"}}
		r.server.Ports[a.device] = p
	})
	r.members(groupDefault, a, b)
	everywhere := [2]*string{ptr("0.0.0.0/0"), ptr(strings.ToUpper(a.mac.String()))}
	r.server.change(func() {
		r.server.Members[groupDefault]["IPv4"] = append(r.server.Members[groupDefault]["IPv4"], everywhere)
	})
	for _, i := range []*instance{a, b, c} {
		r.plug(i)
	}
	r.begin()
	r.server.waitFor(t, a.device, b.device, c.device)
	frame := func(from *instance, source string) []byte {
		return ethernet(from.mac, b.mac, unix.ETH_P_IP, udp(source, b.v4.String(), 1, 2))
	}
	if got := a.receivedBy(b, [][]byte{frame(a, "198.51.100.7"), frame(a, a.v4.String())}); !got[0] {
		t.Error("a packet from any address of the member does not arrive")
	}
	c.reaches(b.v4, false)
	a.reaches(b.v4, true)
	r.server.change(func() {
		members := r.server.Members[groupDefault]["IPv4"]
		r.server.Members[groupDefault]["IPv4"] = members[:len(members)-1]
	})
	r.tell(rpc.SecurityGroupsMemberUpdated, groupDefault)
	eventually(t, "the member has no other addresses any more", func() bool {
		got := a.receivedBy(b, [][]byte{frame(a, "198.51.100.8"), frame(a, a.v4.String())})
		return !got[0]
	})
}

// Connections of a port that is gone are not those of the next one with its address.
func TestAddressGetsNewOwner(t *testing.T) { onBoth(t, testAddressGetsNewOwner) }

func testAddressGetsNewOwner(t *testing.T, r host) {
	r.server.change(func() {
		r.server.Groups[groupOther] = append(allOut(), rpc.SecurityGroupRule{Direction: "ingress", Ethertype: "IPv4", Stateful: true},
			rpc.SecurityGroupRule{Direction: "ingress", Ethertype: "IPv6", Stateful: true})
	})
	a, b := r.plug(newInstance(t, r.server, netA, 1, groupOther)), r.plug(newInstance(t, r.server, netA, 2, groupOther))
	r.begin()
	r.server.waitFor(t, a.device, b.device)
	a.reaches(b.v6, true) // an ovs-vswitchd 3.1 does not survive it if it is to forget this
	from := func(x, y *instance, source, target int) []byte {
		return ethernet(x.mac, y.mac, unix.ETH_P_IP, udp(x.v4.String(), y.v4.String(), source, target))
	}
	a.receivedBy(b, [][]byte{from(a, b, 4000, 60)})
	b.receivedBy(a, [][]byte{from(b, a, 4000, 70)})
	a.receivedBy(b, [][]byte{from(a, b, 70, 4000)})

	r.server.change(func() { delete(r.server.Ports, b.device) })
	if r.unplug != nil {
		r.unplug(b)
	}
	b.unplug()
	r.server.waitFor(t, a.device)
	c := newInstance(t, r.server, netA, 3, groupClosed)
	c.v4, c.v6 = b.v4, b.v6
	r.server.change(func() {
		p := r.server.Ports[c.device]
		p.Filter.FixedIPs = []string{c.v4.String(), c.v6.String()}
		r.server.Ports[c.device] = p
	})
	r.plug(c)
	r.server.waitFor(t, a.device, c.device)
	reached := ethernet(a.mac, c.mac, unix.ETH_P_ARP, arp(a.mac, a.v4.String(), c.v4.String()))
	eventually(t, "packets of the old connections do not arrive", func() bool {
		got := a.receivedBy(c, [][]byte{from(a, c, 4000, 60), from(a, c, 70, 4000), reached})
		return !got[0] && !got[1]
	})
}

// Who knows the MAC address of a port elsewhere hears of the next one with its address: that one's requests are answered on its own
// host. So does who knew a port of this host.
func TestAddressMoves(t *testing.T) { onBoth(t, testAddressMoves) }

func testAddressMoves(t *testing.T, r host) {
	r.server.change(func() { r.server.FDB[netA] = remoteFDB() })
	a, b := newInstance(t, r.server, netA, 1, groupDefault), newInstance(t, r.server, netA, 2, groupDefault)
	r.members(groupDefault, a, b)
	r.server.change(func() {
		p := r.server.Ports[b.device]
		p.Details.FixedIPs = []rpc.FixedIP{{IPAddress: b.v4.String()}}
		r.server.Ports[b.device] = p
	})
	r.plug(a)
	r.plug(b)
	r.begin()
	r.server.waitFor(t, a.device, b.device)
	at := func(ip, mac string) func() bool {
		return func() bool {
			a.pings(netip.MustParseAddr(ip))
			return strings.Contains(a.neighbours(), ip+" lladdr "+mac)
		}
	}
	cast := func(m rpc.Method[rpc.FDBArgs, rpc.None], entries ...rpc.FDBEntry) {
		if err := m.Fanout(t.Context(), r.bus, rpc.FDBArgs{Entries: map[string]rpc.NetworkFDB{netA: {NetworkType: "vxlan", SegmentID: 5,
			Ports: map[string][]rpc.FDBEntry{"192.168.50.2": entries}}}}); err != nil {
			t.Fatal(err)
		}
	}
	const before, after = "fa:16:3e:00:00:63", "fa:16:3e:00:00:64"
	for _, ip := range []string{"10.0.0.99", b.v4.String()} {
		old := before
		if ip == b.v4.String() {
			old = b.mac.String()
		}
		eventually(t, ip+" is known", at(ip, old))
		if ip == b.v4.String() {
			if r.unplug != nil {
				r.unplug(b)
			}
			b.unplug()
		} else {
			cast(rpc.RemoveFDBEntries, rpc.FDBEntry{MAC: before, IP: ip})
		}
		cast(rpc.AddFDBEntries, rpc.FDBEntry{MAC: after, IP: ip})
		eventually(t, ip+" is known to have moved", func() bool { return strings.Contains(a.neighbours(), ip+" lladdr "+after) })
	}
}
