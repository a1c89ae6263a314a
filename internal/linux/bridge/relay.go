package bridge

import (
	"fmt"

	"neutrino/internal/linux/bpf"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Relay sends what a port of a bridge announces through a tunnel of it. A bridge that answers ARP and ND for neighbours behind a port does
// not flood announcements there (net/bridge/br_arp_nd_proxy.c): gratuitous ARP, unsolicited neighbour advertisements, and what detects
// addresses that are in use twice. But others must hear of an address that moves to another MAC.
//
// A program on what the bridge itself receives does it in place of that. It takes only frames with the mark, which it removes: those of
// the bridge's own ports, not those that came out of the tunnel.
type Relay struct {
	Bridge, Tunnel int // indexes
	Mark           int // a bit
}

// relayPriority is that of our filter among those of the bridge.
const relayPriority = 5001

func (r Relay) filter() bpf.Filter {
	return bpf.Filter{Device: r.Bridge, Priority: relayPriority, Handle: 1, Name: fmt.Sprintf("neutrino announcements to %d by mark %#x", r.Tunnel, r.Mark)}
}

// Attached tells whether the program is there.
func (r Relay) Attached(h *netlink.Handle) (bool, error) {
	filters, err := bpf.List(h, r.Bridge, relayPriority)
	return len(filters) == 1 && filters[0].Name == r.filter().Name, err
}

// Attach puts the program there.
func (r Relay) Attach(h *netlink.Handle) error { return r.filter().Attach(h, r.program()) }

// Offsets in frames (RFC 826, RFC 8200, RFC 4861) and what is looked for there.
const (
	arpSender, arpTarget = 28, 38
	ipv6Next, ipv6Source = 20, 22
	icmpType, icmpFlags  = 54, 58

	solicitation, advertisement = 135, 136
	flagSolicited               = 0x40
)

func (r Relay) program() []bpf.Instruction {
	const sender = 7
	clone := []bpf.Instruction{
		bpf.Move(1, bpf.Packet), bpf.Set(2, r.Tunnel), bpf.Set(3, 0), bpf.Call(bpf.HelperCloneRedirect),
		bpf.Set(0, bpf.VerdictNext), bpf.Exit,
	}
	const pass = 4            // instructions of clone before it goes on without
	arp := []bpf.Instruction{ // asks for its own address, or has none yet
		bpf.Word(arpSender), bpf.SkipIf(0, 0, 3), bpf.Move(sender, 0),
		bpf.Word(arpTarget), bpf.SkipUnlessSame(sender, 0, pass),
	}
	six := []bpf.Instruction{
		bpf.Byte(ipv6Next), bpf.SkipUnless(0, unix.IPPROTO_ICMPV6, 10+len(arp)+pass),
		bpf.Byte(icmpType), bpf.SkipIf(0, solicitation, 5), bpf.SkipUnless(0, advertisement, 7+len(arp)+pass),
		bpf.Byte(icmpFlags), bpf.And(0, flagSolicited), bpf.SkipIf(0, 0, 4+len(arp)), bpf.Skip(3 + len(arp) + pass),
		bpf.Word(ipv6Source), bpf.SkipIf(0, 0, 1+len(arp)), bpf.Skip(len(arp) + pass), // no other source begins with zeros
	}
	all := []bpf.Instruction{
		bpf.Move(bpf.Packet, 1),
		bpf.Load(2, bpf.OffsetMark), bpf.And(2, r.Mark), bpf.SkipIf(2, 0, 6+len(six)+len(arp)+pass),
		bpf.Load(2, bpf.OffsetMark), bpf.And(2, ^r.Mark), bpf.Store(bpf.OffsetMark, 2), // a tunnel's outer packet would inherit it
		bpf.Load(2, bpf.OffsetProtocol), bpf.SkipIf(2, bpf.Ethertype(unix.ETH_P_ARP), 1+len(six)),
		bpf.SkipUnless(2, bpf.Ethertype(unix.ETH_P_IPV6), len(six)+len(arp)+pass),
	}
	return append(append(append(all, six...), arp...), clone...)
}
