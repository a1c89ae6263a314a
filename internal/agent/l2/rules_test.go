package l2

import (
	"net/netip"
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

func bare(src, dst string, proto byte) []byte { return ip(src, dst, proto, make([]byte, 24), 0) }

// Each kind of rule lets in what it says and nothing else.
func TestRules(t *testing.T) {
	const allowed, others = "ad000000-0000-4000-8000-000000000001", "ad000000-0000-4000-8000-000000000002" // address groups
	r := newRig(t)
	a := newInstance(t, r.server, netA, 1, groupDefault).plug()
	b := newInstance(t, r.server, netA, 2, groupClosed).plug()
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
	r.server.Groups[groupClosed] = append(allOut(),
		in("IPv4", "tcp", 1000, 1010),
		with(in("IPv4", "udp", 53, 53), from("10.0.0.0/30")),
		with(in("IPv4", "udp", 54, 54), from("10.0.0.9/32")),
		with(in("IPv4", "udp", 60, 61), group(allowed)),
		with(in("IPv4", "udp", 62, 62), group(others)),
		with(in("IPv6", "udp", 60, 60), group(allowed)),
		in("IPv4", "icmp", 13, 0), in("IPv4", "icmp", 17),
		in("IPv4", "47"), in("IPv4", "vrrp"),
		in("IPv6", "tcp", 2000, 2000), in("IPv6", "icmpv6", 128), in("IPv6", "89"))
	r.server.Members[allowed] = map[string][][2]*string{"IPv4": {{ptr("10.0.0.0/24"), nil}, {ptr("192.0.2.1"), nil}}, "IPv6": {{ptr("fd00::/64"), nil}}}
	r.server.Members[others] = map[string][][2]*string{"IPv4": {{ptr("10.9.0.0/16"), nil}}}
	r.start()
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
		{"ICMP type", icmp4(v4, to4, 17, 0), true},
		{"other ICMP type", icmp4(v4, to4, 8, 0), false},
		{"protocol by number", bare(v4, to4, 47), true},
		{"protocol by name", bare(v4, to4, 112), true},
		{"other protocol", bare(v4, to4, 50), false},
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
