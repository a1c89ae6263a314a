package l3

import (
	"context"
	"encoding/binary"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"neutrino/internal/linux/netns"

	"github.com/mdlayher/ndp"
	"golang.org/x/sys/unix"
)

// Neighbours are told three times (upstream's send_arp_for_ha): the first frame is often lost, because the L2 agent
// has not wired the port yet.
const (
	announcements        = 3
	announcementInterval = 2 * time.Second
	announcementBacklog  = 1024
)

// announcement tells the neighbours on a link who has some addresses now.
type announcement struct {
	namespace string
	iface     string
	mac       net.HardwareAddr
	addrs     []netip.Addr
	left      int
	due       time.Time
}

// announcer sends gratuitous ARP (RFC 5227 section 3) and unsolicited neighbour advertisements (RFC 4861 section
// 7.2.6) for all routers from one goroutine.
type announcer struct {
	fresh chan announcement
	log   *slog.Logger
}

func newAnnouncer(log *slog.Logger) *announcer {
	return &announcer{fresh: make(chan announcement, announcementBacklog), log: log}
}

// announce queues the addresses. It does not block: under a flood some neighbours have to find out by themselves.
func (a *announcer) announce(namespace string, i Interface, addrs []netip.Addr) {
	if len(addrs) == 0 {
		return
	}
	select {
	case a.fresh <- announcement{namespace: namespace, iface: i.Name, mac: i.MAC, addrs: addrs, left: announcements}:
	default:
		a.log.Warn("addresses are not announced: too many at once", "interface", i.Name, "count", len(addrs))
	}
}

func (a *announcer) run(ctx context.Context) {
	var again []announcement // in the order in which they are due
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if len(again) > 0 {
			timer.Reset(time.Until(again[0].due))
		}
		var next announcement
		select {
		case <-ctx.Done():
			return
		case next = <-a.fresh:
		case <-timer.C:
			if len(again) == 0 {
				continue
			}
			next, again = again[0], again[1:]
		}
		if err := next.send(); err != nil {
			a.log.Debug("addresses are not announced", "interface", next.iface, "error", err)
			continue // most likely the interface is gone
		}
		if next.left--; next.left > 0 {
			next.due = time.Now().Add(announcementInterval)
			again = append(again, next)
		}
	}
}

// send opens a packet socket that receives nothing (protocol 0) and writes the frames.
func (n announcement) send() error {
	return netns.Do(n.namespace, func() error {
		ifi, err := net.InterfaceByName(n.iface)
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for _, addr := range n.addrs {
			for _, frame := range frames(n.mac, addr) {
				if err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: ifi.Index}); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// frames are the Ethernet frames that announce one address. Some stacks listen to requests only, some to replies only.
func frames(mac net.HardwareAddr, a netip.Addr) [][]byte {
	if a.Is4() {
		return [][]byte{arpFrame(mac, a, 1), arpFrame(mac, a, 2)}
	}
	return [][]byte{advertisementFrame(mac, a)}
}

func arpFrame(mac net.HardwareAddr, a netip.Addr, operation uint16) []byte {
	f := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, mac...)
	f = append(f, 0x08, 0x06, 0, 1, 0x08, 0, 6, 4)
	f = binary.BigEndian.AppendUint16(f, operation)
	f = append(append(f, mac...), a.AsSlice()...)
	return append(append(f, mac...), a.AsSlice()...)
}

func advertisementFrame(mac net.HardwareAddr, a netip.Addr) []byte {
	everybody := netip.MustParseAddr("ff02::1")
	body, err := ndp.MarshalMessageChecksum(&ndp.NeighborAdvertisement{Router: true, Override: true, TargetAddress: a,
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
