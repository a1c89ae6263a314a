package l3

import (
	"fmt"
	"net"
	"net/netip"

	"neutrino/internal/linux/netns"

	"github.com/vishvananda/netlink"
)

// staleFlow finds tracked connections whose translation is not wanted any more. They would live on for days: the rules
// are asked for the first packet only.
type staleFlow struct {
	gone  addressSet                // addresses that the router has lost
	moved bool                      // floating IPs may have got another fixed address
	fixed map[netip.Addr]netip.Addr // the fixed address of each floating IP, filled in for a run
}

// lost adds the addresses of before that no external interface has any more.
func (s *staleFlow) lost(before addressSet, now []Interface) {
	for _, i := range now {
		for _, p := range i.Addresses {
			if i.External {
				delete(before, p.Addr())
				delete(s.gone, p.Addr())
			}
		}
	}
	for a := range before {
		if s.gone == nil {
			s.gone = addressSet{}
		}
		s.gone[a] = true
	}
}

// MatchConntrackFlow tells whether the connection is to be cut. A connection to a floating IP is answered by its fixed
// address; one from a fixed address is answered to its floating IP.
func (s *staleFlow) MatchConntrackFlow(f *netlink.ConntrackFlow) bool {
	from, to := addr(f.Forward.SrcIP), addr(f.Forward.DstIP)
	answeredBy, answeredTo := addr(f.Reverse.SrcIP), addr(f.Reverse.DstIP)
	if s.gone[to] || s.gone[answeredTo] {
		return true
	}
	if fixed, ok := s.fixed[to]; ok && answeredBy != fixed {
		return true
	}
	fixed, ok := s.fixed[answeredTo]
	return ok && from != fixed && from != answeredTo
}

func addr(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

// cut ends the stale connections. If that fails it is tried again with the next configuration.
func (r *router) cut(want NAT) error {
	if len(r.stale.gone) == 0 && !r.stale.moved {
		return nil
	}
	r.stale.fixed = map[netip.Addr]netip.Addr{}
	for _, p := range want.FloatingIPs {
		r.stale.fixed[p.Floating] = p.Fixed
	}
	h, err := netns.Conntrack(r.namespace)
	if err != nil {
		return err
	}
	defer h.Close()
	_, err = dump(func() (uint, error) {
		n, err := h.ConntrackDeleteFilters(netlink.ConntrackTable, netlink.FAMILY_V4, &r.stale)
		r.writes.Add(int64(n))
		return n, err
	})
	if err != nil {
		return fmt.Errorf("cut stale connections: %w", err)
	}
	r.stale = staleFlow{}
	return nil
}
