package l3

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"neutrino/internal/linux/announce"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// addressSet is a set of addresses.
type addressSet = map[netip.Addr]bool

// addressesByLink are the addresses of a namespace by interface index.
type addressesByLink map[int]map[netip.Prefix]netlink.Addr

// dump lists again when the kernel says that the list changed while it was read.
func dump[T any](list func() (T, error)) (all T, err error) {
	for range 5 {
		if all, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return all, err
}

// setAddresses brings the addresses of the interfaces in line, and announces those that are new, or all of
// an interface that was corrected. Addresses that the
// kernel made from router advertisements are left alone. have is what is there; nil: to be listed.
func (r *router) setAddresses(h *netlink.Handle, have addressesByLink, wanted []Interface) (err error) {
	if have == nil {
		if have, err = listAddresses(h); err != nil {
			return err
		}
	}
	var failed []error
	for _, i := range wanted {
		link, err := h.LinkByName(i.Name)
		if err != nil {
			failed = append(failed, fmt.Errorf("addresses of %s: %w", i.Name, err))
			continue
		}
		fresh, err := r.interfaceAddresses(h, link, have[link.Attrs().Index], i)
		if err != nil {
			failed = append(failed, fmt.Errorf("addresses of %s: %w", i.Name, err))
		}
		if slices.Contains(r.replugged, i.Name) {
			fresh = nil
			for _, p := range i.Addresses {
				fresh = append(fresh, p.Addr())
			}
		}
		r.announce(i, fresh)
	}
	return errors.Join(failed...)
}

// announce tells the neighbours on an interface which addresses it has now.
func (r *router) announce(i Interface, fresh []netip.Addr) {
	r.announcer.Add(announce.Announcement{Namespace: r.namespace, Interface: i.Name, MAC: i.MAC, Addrs: fresh, Router: true})
}

// interfaceAddresses does it for one interface and returns the addresses that are new.
func (r *router) interfaceAddresses(h *netlink.Handle, link netlink.Link, have map[netip.Prefix]netlink.Addr,
	i Interface) (fresh []netip.Addr, err error) {

	var failed []error
	wanted := map[netip.Prefix]bool{}
	for _, p := range i.Addresses {
		wanted[p] = true
		if old, ok := have[p]; ok && permanent(old) {
			continue
		}
		r.changed("address %s on %s", p, i.Name)
		if err := h.AddrReplace(link, netlinkAddr(p)); err != nil {
			failed = append(failed, fmt.Errorf("add %s: %w", p, err))
			continue
		}
		fresh = append(fresh, p.Addr())
	}
	for p, old := range have {
		if wanted[p] || !permanent(old) {
			continue
		}
		r.changed("no address %s on %s", p, i.Name)
		if err := h.AddrDel(link, &old); err != nil {
			failed = append(failed, fmt.Errorf("remove %s: %w", p, err))
		}
	}
	return fresh, errors.Join(failed...)
}

// netlinkAddr describes an address. Duplicate address detection is off: the server sees to it that addresses are
// unique, and the address must work at once.
func netlinkAddr(p netip.Prefix) *netlink.Addr {
	a := &netlink.Addr{IPNet: ipNet(p)}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	return a
}

func permanent(a netlink.Addr) bool { return a.Flags&unix.IFA_F_PERMANENT != 0 }

func listAddresses(h *netlink.Handle) (addressesByLink, error) {
	all, err := dump(func() ([]netlink.Addr, error) { return h.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	out := addressesByLink{}
	for _, a := range all {
		if out[a.LinkIndex] == nil {
			out[a.LinkIndex] = map[netip.Prefix]netlink.Addr{}
		}
		out[a.LinkIndex][prefixOf(a.IPNet)] = a
	}
	return out, nil
}

// externalAddresses returns the IPv4 addresses on external interfaces.
func externalAddresses(h *netlink.Handle, all addressesByLink) (addressSet, error) {
	links, err := dump(h.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	out := addressSet{}
	for _, l := range links {
		if !strings.HasPrefix(l.Attrs().Name, externalPrefix) {
			continue
		}
		for p := range all[l.Attrs().Index] {
			if p.Addr().Is4() {
				out[p.Addr()] = true
			}
		}
	}
	return out, nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// prefixOf is the reverse of ipNet; the zero Prefix for nil.
func prefixOf(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	addr, _ := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), bits)
}
