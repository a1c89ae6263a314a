package l3

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// setRoutes brings the routes in line. Ours have the protocol "static", as upstream's have: the namespace is ours, so
// nobody else's have it.
func (r *router) setRoutes(h *netlink.Handle, wanted []Route) error {
	names, indexes, err := linkTable(h)
	if err != nil {
		return err
	}
	have, err := listRoutes(h, names)
	if err != nil {
		return err
	}
	var failed []error
	for _, want := range inOrder(wanted) {
		if err := r.setRoute(h, want, have[want.Dst], indexes); err != nil {
			failed = append(failed, fmt.Errorf("route to %s: %w", want.Dst, err))
		}
		delete(have, want.Dst)
	}
	for dst, found := range have {
		for _, f := range found {
			if err := r.deleteRoute(h, f.raw); err != nil {
				failed = append(failed, fmt.Errorf("remove route to %s: %w", dst, err))
			}
		}
	}
	return errors.Join(failed...)
}

// inOrder puts routes without gateway first: the others may need them.
func inOrder(routes []Route) []Route {
	out := slices.Clone(routes)
	slices.SortStableFunc(out, func(a, b Route) int { return gateways(a) - gateways(b) })
	return out
}

func gateways(r Route) int {
	if r.Hops[0].Via.IsValid() {
		return 1
	}
	return 0
}

// foundRoute is a route that is there.
type foundRoute struct {
	hops []Hop
	raw  netlink.Route
}

func (r *router) setRoute(h *netlink.Handle, want Route, have []foundRoute, indexes map[string]int) error {
	if len(have) == 1 && slices.Equal(have[0].hops, want.Hops) {
		return nil
	}
	for _, f := range have[min(len(have), 1):] { // the first one is replaced without a gap
		if err := r.deleteRoute(h, f.raw); err != nil {
			return err
		}
	}
	r.changed("route to %s", want.Dst)
	return h.RouteReplace(netlinkRoute(want, indexes))
}

func (r *router) deleteRoute(h *netlink.Handle, route netlink.Route) error {
	r.changed("no route to %s", route.Dst)
	if err := h.RouteDel(&route); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}

func netlinkRoute(r Route, indexes map[string]int) *netlink.Route {
	out := &netlink.Route{Dst: ipNet(r.Dst), Protocol: unix.RTPROT_STATIC, Table: unix.RT_TABLE_MAIN}
	if len(r.Hops) == 1 {
		out.LinkIndex, out.Gw = indexes[r.Hops[0].Dev], gatewayIP(r.Hops[0])
		if out.Gw == nil && r.Dst.Addr().Is4() {
			out.Scope = netlink.SCOPE_LINK
		}
		return out
	}
	for _, hop := range r.Hops {
		out.MultiPath = append(out.MultiPath, &netlink.NexthopInfo{LinkIndex: indexes[hop.Dev], Gw: gatewayIP(hop)})
	}
	return out
}

func gatewayIP(h Hop) net.IP {
	if !h.Via.IsValid() {
		return nil
	}
	return h.Via.AsSlice()
}

// listRoutes returns our routes by destination.
func listRoutes(h *netlink.Handle, names map[int]string) (map[netip.Prefix][]foundRoute, error) {
	// The kernel leaves out what is not asked for, among it a local route for each floating IP; before Linux 4.20 it sends all.
	if h.SetStrictCheck(true) == nil {
		defer h.SetStrictCheck(false)
	}
	out := map[netip.Prefix][]foundRoute{}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := dump(func() ([]netlink.Route, error) {
			return h.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_MAIN, Protocol: unix.RTPROT_STATIC},
				netlink.RT_FILTER_TABLE|netlink.RT_FILTER_PROTOCOL)
		})
		if err != nil {
			return nil, fmt.Errorf("list routes: %w", err)
		}
		for _, raw := range routes {
			dst := destination(raw, family)
			out[dst] = append(out[dst], foundRoute{hopsOf(raw, names), raw})
		}
	}
	return out, nil
}

func destination(r netlink.Route, family int) netip.Prefix {
	switch {
	case r.Dst != nil:
		return prefixOf(r.Dst)
	case family == netlink.FAMILY_V6:
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
}

func hopsOf(r netlink.Route, names map[int]string) []Hop {
	if len(r.MultiPath) == 0 {
		return []Hop{hopOf(r.Gw, names[r.LinkIndex])}
	}
	var hops []Hop
	for _, n := range r.MultiPath {
		hops = append(hops, hopOf(n.Gw, names[n.LinkIndex]))
	}
	slices.SortFunc(hops, compareHop)
	return hops
}

func hopOf(gw net.IP, dev string) Hop {
	via, _ := netip.AddrFromSlice(gw)
	return Hop{via.Unmap(), dev}
}

func linkTable(h *netlink.Handle) (names map[int]string, indexes map[string]int, err error) {
	links, err := dump(h.LinkList)
	if err != nil {
		return nil, nil, fmt.Errorf("list links: %w", err)
	}
	names, indexes = map[int]string{}, map[string]int{}
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
		indexes[l.Attrs().Name] = l.Attrs().Index
	}
	return names, indexes, nil
}
