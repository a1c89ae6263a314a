// Package veth plugs services into networks: a pair whose outer end, tap…, lies in the host for the L2 agent to wire,
// and whose inner end lies in the namespace of the service.
package veth

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"neutrino/internal/linux/netns"

	"github.com/vishvananda/netlink"
	vns "github.com/vishvananda/netns"
)

// Pair is a plugged interface.
type Pair struct {
	Outer     string // in the namespace of the process, for example tap0123456789a
	Inner     string // in Namespace, for example qr-0123456789a
	Namespace string
	MAC       net.HardwareAddr // of the inner end
	MTU       int              // of both ends
}

// DeviceName is upstream's name of a device: prefix and port id, cut to 14 characters.
func DeviceName(prefix, portID string) string {
	return prefix + portID[:min(len(portID), 14-len(prefix))]
}

// Ensure makes the pair as described, or corrects what is there. Both ends are up afterwards. IPv6 is off on the
// outer end: it would talk MLD and DAD into the network.
func Ensure(p Pair) (created bool, err error) {
	inside, err := netns.Handle(p.Namespace)
	if err != nil {
		return false, err
	}
	defer inside.Close()
	if _, err := inside.LinkByName(p.Inner); err != nil {
		if err := create(p); err != nil {
			return false, fmt.Errorf("plug %s: %w", p.Outer, err)
		}
		created = true
	}
	inner, err := inside.LinkByName(p.Inner)
	if err != nil {
		return created, err
	}
	outer, err := netlink.LinkByName(p.Outer)
	if err != nil {
		return created, fmt.Errorf("outer end %s: %w", p.Outer, err)
	}
	if err := settle(nil, outer, p.MTU, nil); err != nil {
		return created, err
	}
	return created, settle(inside, inner, p.MTU, p.MAC)
}

func create(p Pair) error {
	if old, err := netlink.LinkByName(p.Outer); err == nil { // an inner end that died with its namespace
		if err := netlink.LinkDel(old); err != nil {
			return err
		}
	}
	there, err := vns.GetFromName(p.Namespace)
	if err != nil {
		return err
	}
	defer there.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = p.Outer, p.MTU
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: p.Inner, PeerHardwareAddr: p.MAC,
		PeerNamespace: netlink.NsFd(int(there)), PeerMTU: uint32(p.MTU)}); err != nil {
		return err
	}
	// The kernel does not sleep until it gets its lock for this write but tries again and again: with links being made
	// everywhere that is most of what a new port costs. So not where net.ipv6.conf.default.disable_ipv6 has done it.
	silent := "/proc/sys/net/ipv6/conf/" + p.Outer + "/disable_ipv6"
	if now, err := os.ReadFile(silent); err == nil && strings.TrimSpace(string(now)) == "1" {
		return nil
	}
	err = os.WriteFile(silent, []byte("1"), 0)
	if errors.Is(err, os.ErrNotExist) { // a kernel without IPv6
		return nil
	}
	return err
}

func settle(h *netlink.Handle, l netlink.Link, mtu int, mac net.HardwareAddr) error {
	if h == nil {
		h = &netlink.Handle{}
	}
	a := l.Attrs()
	if mtu > 0 && a.MTU != mtu {
		if err := h.LinkSetMTU(l, mtu); err != nil {
			return fmt.Errorf("mtu of %s: %w", a.Name, err)
		}
	}
	if mac != nil && a.HardwareAddr.String() != mac.String() {
		if err := h.LinkSetHardwareAddr(l, mac); err != nil {
			return fmt.Errorf("address of %s: %w", a.Name, err)
		}
	}
	if a.Flags&net.FlagUp == 0 {
		if err := h.LinkSetUp(l); err != nil {
			return fmt.Errorf("%s up: %w", a.Name, err)
		}
	}
	return nil
}

// Remove deletes the pair by its outer end; a missing one is no error.
func Remove(outer string) error {
	l, err := netlink.LinkByName(outer)
	if _, gone := errors.AsType[netlink.LinkNotFoundError](err); gone {
		return nil
	}
	if err != nil {
		return err
	}
	return netlink.LinkDel(l)
}
