package l2

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"neutrino/internal/linux/netns"
	"neutrino/internal/rpc"

	"golang.org/x/sys/unix"
)

var broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

func join(parts ...[]byte) []byte { return slices.Concat(parts...) }

func be16(n int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(n)) }

func ethernet(src, dst net.HardwareAddr, kind int, payload []byte) []byte {
	return join(dst, src, be16(kind), payload)
}

func checksum(b []byte) []byte {
	sum := 0
	for i := 0; i+1 < len(b); i += 2 {
		sum += int(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		sum += int(b[len(b)-1]) << 8
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return be16(^sum)
}

// ip makes a packet of either version and fills the checksum at offset at of the payload.
func ip(src, dst string, proto byte, payload []byte, at int) []byte {
	s, d := netip.MustParseAddr(src).AsSlice(), netip.MustParseAddr(dst).AsSlice()
	pseudo := join(s, d, []byte{0, proto}, be16(len(payload)), payload)
	copy(payload[at:], checksum(pseudo))
	if len(s) == 16 {
		return join([]byte{0x60, 0, 0, 0}, be16(len(payload)), []byte{proto, 255}, s, d, payload)
	}
	header := join([]byte{0x45, 0}, be16(20+len(payload)), []byte{0, 1, 0, 0, 64, proto, 0, 0}, s, d)
	copy(header[10:], checksum(header))
	return join(header, payload)
}

func udp(src, dst string, from, to int) []byte {
	return ip(src, dst, unix.IPPROTO_UDP, join(be16(from), be16(to), be16(12), []byte{0, 0, 'm', 'a', 'r', 'k'}), 6)
}

func icmp6(src, dst string, kind byte, body []byte) []byte {
	return ip(src, dst, unix.IPPROTO_ICMPV6, join([]byte{kind, 0, 0, 0, 0, 0, 0, 0}, body), 2)
}

func arp(mac net.HardwareAddr, spa, tpa string) []byte {
	return join([]byte{0, 1, 8, 0, 6, 4, 0, 1}, mac, netip.MustParseAddr(spa).AsSlice(), make([]byte, 6),
		netip.MustParseAddr(tpa).AsSlice())
}

// packetSocket opens a raw socket on the interface of an instance.
func (i *instance) packetSocket() int {
	i.t.Helper()
	var fd int
	err := netns.Do(i.ns, func() error {
		eth, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		all := int(binary.NativeEndian.Uint16(be16(unix.ETH_P_ALL)))
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: uint16(all), Ifindex: eth.Index})
	})
	if err != nil {
		i.t.Fatal(err)
	}
	i.t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// receivedBy sends frames from one instance and tells which arrive at another. The last one must arrive. All are repeated, as Open
// vSwitch's userspace datapath drops what it has no flow for while its flows are being changed.
func (i *instance) receivedBy(to *instance, frames [][]byte) []bool {
	i.t.Helper()
	out, in := i.packetSocket(), to.packetSocket()
	if err := unix.SetsockoptTimeval(in, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 200000}); err != nil {
		i.t.Fatal(err)
	}
	arrived := make([]bool, len(frames))
	for range 3 {
		for k, f := range frames {
			if !arrived[k] {
				if err := unix.Send(out, f, 0); err != nil {
					i.t.Fatal(err)
				}
				time.Sleep(time.Millisecond)
			}
		}
		arrived[len(frames)-1] = false
		i.collect(in, out, frames, arrived)
	}
	return arrived
}

// collect notes which frames arrive until the last one does, which is sent again and again.
func (i *instance) collect(in, out int, frames [][]byte, arrived []bool) {
	i.t.Helper()
	last := len(frames) - 1
	buf := make([]byte, 2048)
	for end := time.Now().Add(patient(patience)); !arrived[last]; {
		n, err := unix.Read(in, buf)
		if time.Now().After(end) {
			i.t.Fatalf("the last frame did not arrive (%v)", err)
		}
		if err != nil {
			if err := unix.Send(out, frames[last], 0); err != nil {
				i.t.Fatal(err)
			}
			continue
		}
		for k, f := range frames {
			if binary.BigEndian.Uint16(f[12:]) == unix.ETH_P_8021Q { // sockets get the tag beside the frame
				f = join(f[:12], f[16:])
			}
			if slices.Equal(f, buf[:n]) {
				arrived[k] = true
			}
		}
	}
}

func TestAntiSpoofing(t *testing.T) { onBoth(t, testAntiSpoofing) }

func testAntiSpoofing(t *testing.T, r host) {
	a := newInstance(t, r.server, netA, 1, groupDefault)
	b := newInstance(t, r.server, netA, 2) // sees everything that the guards of a let pass
	r.server.change(func() {
		p := r.server.Ports[b.device]
		p.Details.PortSecurity = false
		r.server.Ports[b.device] = p
		p = r.server.Ports[a.device]
		p.Filter.AddressPairs = []rpc.AddressPair{{IPAddress: "10.7.0.0/16"}, {IPAddress: "fd77::/32"},
			{IPAddress: "10.0.0.200", MACAddress: "00:00:5E:00:01:01"}}
		r.server.Ports[a.device] = p
	})
	r.plug(a)
	r.plug(b)
	r.begin()
	r.server.waitFor(t, a.device, b.device)
	other, vrrp := net.HardwareAddr{2, 0, 0, 0, 0, 9}, net.HardwareAddr{0, 0, 0x5e, 0, 1, 1}
	const bcast, linkLocal, allNodes = "255.255.255.255", "fe80::f816:3eff:fe00:1", "ff02::1"
	v4 := func(mac net.HardwareAddr, p []byte) []byte { return ethernet(mac, broadcast, unix.ETH_P_IP, p) }
	v6 := func(mac net.HardwareAddr, p []byte) []byte {
		return ethernet(mac, net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, unix.ETH_P_IPV6, p)
	}
	arpFrame := func(mac net.HardwareAddr, p []byte) []byte { return ethernet(mac, broadcast, unix.ETH_P_ARP, p) }
	target := func(s string) []byte { return netip.MustParseAddr(s).AsSlice() }
	own := udp("10.0.0.1", bcast, 1000, 2000)
	tests := []struct {
		name  string
		frame []byte
		pass  bool
	}{
		{"other MAC", v4(other, own), false},
		{"other IPv4", v4(a.mac, udp("10.0.0.3", bcast, 1000, 2000)), false},
		{"other IPv6", v6(a.mac, udp("fd00::3", allNodes, 1000, 2000)), false},
		{"own IPv6", v6(a.mac, udp("fd00::1", allNodes, 1000, 2000)), true},
		{"link-local IPv6", v6(a.mac, udp(linkLocal, allNodes, 1000, 2000)), true},
		{"pair prefix", v4(a.mac, udp("10.7.8.9", bcast, 1000, 2000)), true},
		{"IPv6 pair prefix", v6(a.mac, udp("fd77:0:1::5", allNodes, 1000, 2000)), true},
		{"pair with its MAC", v4(vrrp, udp("10.0.0.200", bcast, 1000, 2000)), true},
		{"pair with the port's MAC", v4(a.mac, udp("10.0.0.200", bcast, 1000, 2000)), false},
		{"address with the pair's MAC", v4(vrrp, own), false},
		{"own ARP", arpFrame(a.mac, arp(a.mac, "10.0.0.1", "10.0.0.77")), true},
		{"ARP probe", arpFrame(a.mac, arp(a.mac, "0.0.0.0", "10.0.0.77")), !r.vswitch}, // upstream's flows do not let it
		{"ARP of pair prefix", arpFrame(a.mac, arp(a.mac, "10.7.8.9", "10.0.0.77")), true},
		{"ARP for other address", arpFrame(a.mac, arp(a.mac, "10.0.0.3", "10.0.0.77")), false},
		{"ARP with other sender MAC", arpFrame(a.mac, arp(other, "10.0.0.1", "10.0.0.77")), r.vswitch}, // nor look at that
		{"DHCP client", v4(a.mac, udp("0.0.0.0", bcast, 68, 67)), true},
		{"DHCPv6 client", v6(a.mac, udp(linkLocal, "ff02::1:2", 546, 547)), true},
		{"DHCP server", v4(a.mac, udp("10.0.0.1", bcast, 67, 68)), false},
		{"DHCPv6 server", v6(a.mac, udp(linkLocal, allNodes, 547, 546)), false},
		{"router advertisement", v6(a.mac, icmp6(linkLocal, allNodes, 134, make([]byte, 8))), false},
		{"own neighbour advertisement", v6(a.mac, icmp6(linkLocal, allNodes, 136, target("fd00::1"))), true},
		{"advertisement in pair prefix", v6(a.mac, icmp6(linkLocal, allNodes, 136, target("fd77:0:1::5"))), true},
		{"other neighbour advertisement", v6(a.mac, icmp6(linkLocal, allNodes, 136, target("fd00::3"))), false},
		{"own neighbour advertisement with other MAC", v6(other, icmp6(linkLocal, allNodes, 136, target("fd00::1"))), false},
		{"neighbour solicitation", v6(a.mac, icmp6("fd00::1", "ff02::1:ff00:3", 135, target("fd00::3"))), true},
		{"address detection", v6(a.mac, icmp6("::", "ff02::1:ff00:1", 135, target("fd00::1"))), true},
		{"VLAN tag", ethernet(a.mac, broadcast, unix.ETH_P_8021Q, join(be16(7), be16(unix.ETH_P_IP), udp("10.0.0.1", bcast, 1000, 3000))), false},
		{"other ethertype", ethernet(a.mac, broadcast, 0x88b5, []byte("experiment")), false},
		{"own address", v4(a.mac, own), true},
	}
	frames := make([][]byte, len(tests))
	for k, test := range tests {
		frames[k] = test.frame
	}
	for k, arrived := range a.receivedBy(b, frames) {
		if arrived != tests[k].pass {
			t.Errorf("%s: arrived %v", tests[k].name, arrived)
		}
	}
}

func TestServicesReachInstances(t *testing.T) {
	r := newRig(t)
	service := newInstance(t, r.server, netA, 1).plug()
	b := newInstance(t, r.server, netA, 2, groupClosed).plug()
	r.server.change(func() {
		p := r.server.Ports[service.device]
		p.Details.DeviceOwner = "network:dhcp"
		r.server.Ports[service.device] = p
	})
	r.start()
	r.server.waitFor(t, service.device, b.device)
	v4 := func(p []byte) []byte { return ethernet(service.mac, broadcast, unix.ETH_P_IP, p) }
	v6 := func(p []byte) []byte {
		return ethernet(service.mac, net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, unix.ETH_P_IPV6, p)
	}
	got := service.receivedBy(b, [][]byte{
		v4(udp("10.0.0.1", "255.255.255.255", 1000, 2000)),
		v6(icmp6("fe80::1", "ff02::1", 134, make([]byte, 8))),
		v6(udp("fe80::1", "ff02::1", 547, 546)),
		v4(udp("10.0.0.1", "255.255.255.255", 67, 68)),
	})
	if want := []bool{false, true, true, true}; !slices.Equal(got, want) {
		t.Errorf("arrived %v, want %v", got, want)
	}
}

// A device that is plugged before the agent knows its port, and one whose port is unknown, can talk to nobody.
func TestUnknownDeviceIsClosed(t *testing.T) {
	r := newRig(t)
	a := newInstance(t, r.server, netA, 1).plug()
	b := newInstance(t, r.server, netA, 2).plug()
	stranger := newInstance(t, r.server, netA, 3)
	r.server.change(func() {
		delete(r.server.Ports, stranger.device)
		for _, i := range []*instance{a, b} {
			p := r.server.Ports[i.device]
			p.Details.PortSecurity = false
			r.server.Ports[i.device] = p
		}
	})
	r.start()
	r.server.waitFor(t, a.device, b.device)
	a.reaches(b.v4, true)
	enslave := func(i *instance) {
		t.Helper()
		if err := putInBridge(i.device, "brqaaaa0000-00"); err != nil {
			t.Fatal(err)
		}
	}
	check := func(step string) {
		t.Helper()
		for _, to := range []netip.Addr{a.v4, a.v6} {
			if stranger.pings(to) {
				t.Errorf("%s: the stranger reaches %s", step, to)
			}
			if a.pings(stranger.v4) {
				t.Errorf("%s: the stranger is reached", step)
			}
		}
	}
	r.stop() // nobody watches
	stranger.plug()
	enslave(stranger)
	check("agent is down")
	r.start()
	eventually(t, "agent is back", func() bool { return r.agent.Healthy() == nil })
	check("agent is up")
}
