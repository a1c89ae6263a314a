package lab

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"github.com/mdlayher/ndp"
	"golang.org/x/sys/unix"
)

// What a well-behaved guest does not send.

// SendFrame sends an Ethernet frame as it is.
func (n *Node) SendFrame(device string, frame []byte) error {
	err := n.Do(func() error {
		link, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: link.Index})
	})
	if err != nil {
		return fmt.Errorf("send a frame from %s: %w", n.Name, err)
	}
	return nil
}

// ARPAnnouncement is a frame that tells everybody that the IPv4 address is at mac (RFC 5227).
func ARPAnnouncement(mac net.HardwareAddr, address netip.Addr) []byte {
	return ARPRequest(mac, address, address)
}

// ARPRequest is a frame that asks everybody where the IPv4 address is.
func ARPRequest(mac net.HardwareAddr, from, address netip.Addr) []byte {
	frame := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	frame = append(frame, mac...)
	frame = append(frame, 0x08, 0x06, 0, 1, 0x08, 0x00, 6, 4, 0, 1) // a request for IPv4 on Ethernet
	frame = append(append(frame, mac...), from.AsSlice()...)
	frame = append(append(frame, 0, 0, 0, 0, 0, 0), address.AsSlice()...)
	return append(frame, make([]byte, 60-len(frame))...)
}

// NeighbourAnnouncement is a frame that tells everybody that the IPv6 address is at mac (RFC 4861, section 7.2.6).
// It may say more.
func NeighbourAnnouncement(mac net.HardwareAddr, address netip.Addr, more ...ndp.Option) []byte {
	everybody := netip.MustParseAddr("ff02::1")
	body, err := ndp.MarshalMessageChecksum(&ndp.NeighborAdvertisement{Override: true, TargetAddress: address,
		Options: append([]ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: mac}}, more...)}, address, everybody)
	if err != nil {
		return nil
	}
	frame := append([]byte{0x33, 0x33, 0, 0, 0, 1}, mac...)
	frame = append(frame, 0x86, 0xdd, 0x60, 0, 0, 0, 0, byte(len(body)), unix.IPPROTO_ICMPV6, ndp.HopLimit)
	frame = append(append(frame, address.AsSlice()...), everybody.AsSlice()...)
	return append(frame, body...)
}

// SendRouterAdvertisement plays IPv6 router on the device.
func (n *Node) SendRouterAdvertisement(device string) error {
	return n.Do(func() error {
		link, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		// By its name Go would take the number that a device of this name in another namespace had within the last minute.
		link.Name = strconv.Itoa(link.Index)
		c, _, err := ndp.Listen(link, ndp.LinkLocal)
		if err != nil {
			return fmt.Errorf("advertise from %s: %w", n.Name, err)
		}
		defer c.Close()
		return c.WriteTo(&ndp.RouterAdvertisement{CurrentHopLimit: 64}, nil, netip.MustParseAddr("ff02::1"))
	})
}

// MAC is the hardware address that Neutron gave the port.
func (i *Instance) MAC() net.HardwareAddr {
	i.lab.T.Helper()
	mac, err := net.ParseMAC(i.Port.Str("mac_address"))
	if err != nil {
		i.lab.T.Fatalf("port of %s: %v", i.Name, err)
	}
	return mac
}
