package dhcp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"neutrino/internal/agent/plug"
	"neutrino/internal/dhcp"
	"neutrino/internal/linux/netns"
	"neutrino/internal/rpc"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	namespacePrefix = "qdhcp-"
	pairPrefix      = "ns-" // of interfaces by veth pairs
	switchPrefix    = "tap" // of those that are ports of Open vSwitch
)

// device is our interface on a network as it should be.
type device struct {
	namespace string
	portID    string
	inner     string // the interface
	mac       dhcp.MAC
	mtu       int
	addrs     []netip.Prefix // with their prefix lengths, sorted
	routes    []route        // sorted
}

// route is a route of the main table through the device. Without gateway it is on the link.
type route struct {
	dst     netip.Prefix
	gateway netip.Addr
}

func (d device) equal(o device) bool {
	return d.namespace == o.namespace && d.inner == o.inner && d.mac == o.mac && d.mtu == o.mtu &&
		slices.Equal(d.addrs, o.addrs) && slices.Equal(d.routes, o.routes)
}

// newDevice says what our port on the network needs.
func newDevice(n *network, own *rpc.Port, metadata bool, driver plug.Driver) (device, error) {
	mac, err := dhcp.ParseMAC(own.MACAddress)
	if err != nil {
		return device{}, fmt.Errorf("DHCP port %s: %w", own.ID, err)
	}
	d := device{
		namespace: namespacePrefix + n.ID,
		portID:    own.ID,
		inner:     driver.Name(pairPrefix, own.ID),
		mac:       mac,
		mtu:       n.MTU,
	}
	has6 := false
	done := map[bool]bool{}
	for i := range n.Subnets {
		s := &n.Subnets[i]
		prefix, err := netip.ParsePrefix(s.CIDR)
		if err != nil || !s.EnableDHCP {
			continue
		}
		has6 = has6 || prefix.Addr().Is6()
		a := addressIn(own, s.ID)
		if !a.IsValid() {
			continue
		}
		d.addrs = append(d.addrs, netip.PrefixFrom(a, prefix.Bits()))
		// The first subnet of each family that has a gateway gives the default route.
		gateway, err := netip.ParseAddr(text(s.GatewayIP))
		if is4 := prefix.Addr().Is4(); err == nil && !done[is4] && text(s.SubnetpoolID) != pdPool {
			done[is4] = true
			d.routes = append(d.routes, defaultRoute(prefix, gateway)...)
		}
	}
	if metadata {
		d.addrs = append(d.addrs, metadata4)
		if has6 {
			d.addrs = append(d.addrs, metadata6)
		}
	}
	slices.SortFunc(d.addrs, func(a, b netip.Prefix) int { return cmp.Compare(a.String(), b.String()) })
	slices.SortFunc(d.routes, func(a, b route) int { return cmp.Compare(b.dst.Bits(), a.dst.Bits()) })
	return d, nil
}

// defaultRoute goes through the gateway; one outside its subnet is reached on the link.
func defaultRoute(subnet netip.Prefix, gateway netip.Addr) []route {
	any4or6 := netip.IPv4Unspecified()
	if gateway.Is6() {
		any4or6 = netip.IPv6Unspecified()
	}
	out := []route{{netip.PrefixFrom(any4or6, 0), gateway}}
	if !subnet.Contains(gateway) && !gateway.IsLinkLocalUnicast() {
		out = append(out, route{netip.PrefixFrom(gateway, gateway.BitLen()), netip.Addr{}})
	}
	return out
}

// change is what was done to bring the kernel in line with a device.
type change struct {
	fresh  bool         // the interface was made, so that sockets on a former one are dead
	writes int          // changes, of which
	added  []netip.Addr // these addresses are new
}

// ensure brings the kernel in line with the device and leaves alone what is right. With takeOver what upstream's agent
// left goes first.
func (d device) ensure(ctx context.Context, driver plug.Driver, takeOver bool) (c change, err error) {
	created, err := netns.Ensure(d.namespace)
	if err != nil {
		return c, err
	}
	if created {
		c.writes++
	}
	h, err := netns.Handle(d.namespace)
	if err != nil {
		return c, err
	}
	defer h.Close()
	links, err := h.LinkList()
	if err != nil {
		return c, fmt.Errorf("devices in %s: %w", d.namespace, err)
	}
	if takeOver && !strings.HasPrefix(d.inner, switchPrefix) { // or they go like former ones of ours, together with their ports
		retired, err := d.retireOthers(h, links)
		c.writes += retired
		if err != nil {
			return c, err
		}
		if retired > 0 {
			if links, err = h.LinkList(); err != nil {
				return c, fmt.Errorf("devices in %s: %w", d.namespace, err)
			}
		}
	}
	changed, err := netns.Loopback(h, links)
	if changed {
		c.writes++
	}
	if err != nil {
		return c, err
	}
	removed, err := d.removeOthers(ctx, h, links, driver)
	c.writes += removed
	if err != nil {
		return c, err
	}
	link := named(links, d.inner)
	if link == nil || !driver.Right(h, d.port()) {
		if c.fresh, err = d.plug(ctx, driver); err != nil {
			return c, err
		}
		c.writes++
		if link, err = h.LinkByName(d.inner); err != nil {
			return c, fmt.Errorf("inner end %s: %w", d.inner, err)
		}
	}
	for _, step := range []func(*netlink.Handle, netlink.Link, *change) error{d.ensureAddrs, d.ensureRoutes} {
		if err := step(h, link, &c); err != nil {
			return c, err
		}
	}
	return c, nil
}

// quietIPv6 makes interfaces of the namespace have exactly the addresses that we give them, at once.
func quietIPv6(namespace string) error {
	return netns.Do(namespace, func() error {
		for _, key := range []string{"default/accept_ra", "all/accept_ra", "default/accept_dad", "all/accept_dad"} {
			err := os.WriteFile("/proc/sys/net/ipv6/conf/"+key, []byte("0"), 0)
			if err != nil && !errors.Is(err, os.ErrNotExist) { // a kernel without IPv6
				return fmt.Errorf("sysctl in %s: %w", namespace, err)
			}
		}
		return nil
	})
}

// named is the link with the name; nil if there is none.
func named(links []netlink.Link, name string) netlink.Link {
	for _, l := range links {
		if l.Attrs().Name == name {
			return l
		}
	}
	return nil
}

// removeOthers unplugs ports that were ours on this network before, out of the namespace's links.
func (d device) removeOthers(ctx context.Context, h *netlink.Handle, links []netlink.Link, driver plug.Driver) (writes int, err error) {
	for _, name := range ours(links) {
		if name == d.inner {
			continue
		}
		if err := driver.Remove(ctx, h, name); err != nil {
			return writes, fmt.Errorf("remove former device: %w", err)
		}
		writes++
	}
	return writes, nil
}

// ourDevices lists the interfaces of a namespace that carry our name.
func ourDevices(h *netlink.Handle) []string {
	links, err := h.LinkList()
	if err != nil {
		return nil
	}
	return ours(links)
}

func ours(links []netlink.Link) []string {
	var out []string
	for _, l := range links {
		if name := l.Attrs().Name; strings.HasPrefix(name, pairPrefix) || strings.HasPrefix(name, switchPrefix) {
			out = append(out, l.Attrs().Name)
		}
	}
	return out
}

func (d device) port() plug.Port {
	return plug.Port{ID: d.portID, Name: d.inner, Namespace: d.namespace, MAC: d.mac[:], MTU: d.mtu}
}

func (d device) plug(ctx context.Context, driver plug.Driver) (created bool, err error) {
	if err := quietIPv6(d.namespace); err != nil {
		return false, err
	}
	return driver.Ensure(ctx, d.port())
}

func (d device) ensureAddrs(h *netlink.Handle, link netlink.Link, c *change) error {
	have, err := h.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("addresses of %s: %w", d.inner, err)
	}
	missing := slices.Clone(d.addrs)
	for _, a := range have {
		p := prefixOf(a.IPNet)
		if i := slices.Index(missing, p); i >= 0 {
			missing = slices.Delete(missing, i, i+1)
			continue
		}
		if p.Addr().IsLinkLocalUnicast() && p.Addr().Is6() && p.Bits() == 64 { // the kernel's own
			continue
		}
		if err := h.AddrDel(link, &a); err != nil {
			return fmt.Errorf("remove %s from %s: %w", p, d.inner, err)
		}
		c.writes++
	}
	for _, p := range missing {
		a := &netlink.Addr{IPNet: ipNet(p)}
		if p.Addr().Is6() {
			a.Flags = unix.IFA_F_NODAD
		}
		if err := h.AddrReplace(link, a); err != nil {
			return fmt.Errorf("add %s to %s: %w", p, d.inner, err)
		}
		c.writes++
		c.added = append(c.added, p.Addr())
	}
	return nil
}

func (d device) ensureRoutes(h *netlink.Handle, link netlink.Link, c *change) error {
	missing := slices.Clone(d.routes)
	var stale []netlink.Route
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		have, err := h.RouteList(link, family)
		if err != nil {
			return fmt.Errorf("routes of %s: %w", d.inner, err)
		}
		for _, r := range have {
			if r.Protocol == unix.RTPROT_KERNEL {
				continue
			}
			if i := slices.Index(missing, routeOf(r, family)); i >= 0 {
				missing = slices.Delete(missing, i, i+1)
			} else {
				stale = append(stale, r)
			}
		}
	}
	for i := range stale {
		if err := h.RouteDel(&stale[i]); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("remove route %s: %w", stale[i], err)
		}
		c.writes++
	}
	for _, r := range missing {
		nl := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(r.dst), Protocol: unix.RTPROT_STATIC}
		if r.gateway.IsValid() {
			nl.Gw = r.gateway.AsSlice()
		} else {
			nl.Scope = netlink.SCOPE_LINK
		}
		if err := h.RouteReplace(nl); err != nil {
			return fmt.Errorf("route %s via %s: %w", r.dst, r.gateway, err)
		}
		c.writes++
	}
	return nil
}

func routeOf(r netlink.Route, family int) route {
	dst := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if family == netlink.FAMILY_V6 {
		dst = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	if r.Dst != nil {
		dst = prefixOf(r.Dst)
	}
	gateway, _ := netip.AddrFromSlice(r.Gw)
	return route{dst, gateway.Unmap()}
}

func prefixOf(n *net.IPNet) netip.Prefix {
	a, _ := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), ones)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// removeNamespace removes a DHCP namespace with the devices that carry our name.
func removeNamespace(ctx context.Context, name string, driver plug.Driver) (writes int, err error) {
	h, err := netns.Handle(name)
	if err != nil {
		return 0, netns.Delete(name) // no namespace behind the name
	}
	defer h.Close()
	for _, inner := range ourDevices(h) {
		if err := driver.Remove(ctx, h, inner); err != nil {
			return writes, err
		}
		writes++
	}
	return writes + 1, netns.Delete(name)
}

// strays lists networks that have a namespace of ours and that serves says we do not serve.
func strays(serves func(networkID string) bool) ([]string, error) {
	names, err := netns.Names(namespacePrefix)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, name := range names {
		id := strings.TrimPrefix(name, namespacePrefix)
		if serves(id) {
			continue
		}
		h, err := netns.Handle(name)
		if err != nil {
			continue
		}
		if len(ourDevices(h)) > 0 {
			out = append(out, id)
		}
		h.Close()
	}
	return out, nil
}
