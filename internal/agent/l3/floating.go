package l3

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"

	"neutrino/internal/linux/netns"
)

// floatingChange is what a router differs in from what it was if only floating IPs came, went or moved.
type floatingChange struct {
	external    Interface
	gone, added []netip.Prefix // addresses of the external interface
}

// changeOfFloating compares two States of a router; not ok if they differ in more than floating IPs.
func changeOfFloating(old, now State) (c floatingChange, ok bool) {
	at := func(s State) int { return slices.IndexFunc(s.Interfaces, func(i Interface) bool { return i.External }) }
	before, after := at(old), at(now)
	if before < 0 || after != before || len(old.Interfaces) != len(now.Interfaces) {
		return c, false
	}
	c.external = now.Interfaces[after]
	c.gone = lacking(old.Interfaces[before].Addresses, c.external.Addresses)
	c.added = lacking(c.external.Addresses, old.Interfaces[before].Addresses)
	otherThan := func(n NAT) func(netip.Prefix) bool {
		return func(p netip.Prefix) bool { return !p.IsSingleIP() || !n.translates(p.Addr()) }
	}
	if slices.ContainsFunc(c.gone, otherThan(old.NAT)) || slices.ContainsFunc(c.added, otherThan(now.NAT)) {
		return c, false
	}
	rest := func(s State) State {
		s.NAT.FloatingIPs = nil
		s.Interfaces = slices.Clone(s.Interfaces)
		s.Interfaces[before].Addresses = nil
		return s
	}
	return c, reflect.DeepEqual(rest(old), rest(now))
}

// lacking returns those of the sorted prefixes that are not in the other sorted ones.
func lacking(all, in []netip.Prefix) (out []netip.Prefix) {
	for _, p := range all {
		for len(in) > 0 && comparePrefix(in[0], p) < 0 {
			in = in[1:]
		}
		if len(in) == 0 || in[0] != p {
			out = append(out, p)
		}
	}
	return out
}

// changeFloating does the change without looking at the rest of the router, which takes a look at each of its addresses. What
// somebody else has changed is found by the check that follows when the kernel tells of what is done here.
func (r *router) changeFloating(ctx context.Context, c floatingChange, want State) error {
	r.changes, r.fresh = nil, false
	h, err := netns.Handle(r.namespace)
	if err != nil {
		return err
	}
	defer h.Close()
	link, err := h.LinkByName(c.external.Name)
	if err != nil {
		return fmt.Errorf("interface %s: %w", c.external.Name, err)
	}
	failed := []error{r.translate(ctx, want.NAT)} // before the addresses that attract the traffic
	var fresh []netip.Addr
	before := addressSet{}
	for _, p := range c.added {
		r.changed("address %s on %s", p, c.external.Name)
		if err := h.AddrReplace(link, netlinkAddr(p)); err != nil {
			failed = append(failed, fmt.Errorf("add %s: %w", p, err))
			continue
		}
		fresh = append(fresh, p.Addr())
	}
	for _, p := range c.gone {
		before[p.Addr()] = true
		r.changed("no address %s on %s", p, c.external.Name)
		if err := h.AddrDel(link, netlinkAddr(p)); err != nil {
			failed = append(failed, fmt.Errorf("remove %s: %w", p, err))
		}
	}
	r.announce(c.external, fresh)
	r.stale.lost(before, want.Interfaces)
	failed = append(failed, r.cut(want.NAT))
	return errors.Join(failed...)
}
