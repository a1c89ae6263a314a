// Package announce tells neighbours on a link who has an address now: by gratuitous ARP (RFC 5227, section 3) and unsolicited
// neighbour advertisements (RFC 4861, section 7.2.6).
package announce

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"github.com/mdlayher/ndp"
	"golang.org/x/sys/unix"
)

// Frames are the Ethernet frames that announce one address; router is a flag of advertisements. Some stacks listen to ARP requests
// only, some to replies only.
func Frames(mac net.HardwareAddr, a netip.Addr, router bool) [][]byte {
	if a.Is4() {
		return [][]byte{arp(mac, a, 1), arp(mac, a, 2)}
	}
	return [][]byte{advertisement(mac, a, router)}
}

// Send writes frames to a device of this network namespace.
func Send(device string, frames [][]byte) error {
	ifi, err := net.InterfaceByName(device)
	if err != nil {
		return fmt.Errorf("announce on %s: %w", device, err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0) // receives nothing
	if err != nil {
		return fmt.Errorf("announce on %s: %w", device, err)
	}
	defer unix.Close(fd)
	for _, frame := range frames {
		if err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: ifi.Index}); err != nil {
			return fmt.Errorf("announce on %s: %w", device, err)
		}
	}
	return nil
}

func arp(mac net.HardwareAddr, a netip.Addr, operation uint16) []byte {
	f := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, mac...)
	f = append(f, 0x08, 0x06, 0, 1, 0x08, 0, 6, 4)
	f = binary.BigEndian.AppendUint16(f, operation)
	f = append(append(f, mac...), a.AsSlice()...)
	return append(append(f, mac...), a.AsSlice()...)
}

func advertisement(mac net.HardwareAddr, a netip.Addr, router bool) []byte {
	everybody := netip.MustParseAddr("ff02::1")
	body, err := ndp.MarshalMessageChecksum(&ndp.NeighborAdvertisement{Router: router, Override: true, TargetAddress: a,
		Options: []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: mac}}}, a, everybody)
	if err != nil { // only for addresses that are not IPv6
		return nil
	}
	f := append([]byte{0x33, 0x33, 0, 0, 0, 1}, mac...)
	f = append(f, 0x86, 0xdd, 0x60, 0, 0, 0)
	f = binary.BigEndian.AppendUint16(f, uint16(len(body)))
	f = append(f, unix.IPPROTO_ICMPV6, ndp.HopLimit)
	f = append(append(f, a.AsSlice()...), everybody.AsSlice()...)
	return append(f, body...)
}
