package l3

import (
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
)

func TestStaleFlow(t *testing.T) {
	const inside, other, floating, outside, router = "10.0.0.5", "10.0.0.6", "203.0.113.10", "198.51.100.1", "203.0.113.2"
	fixed := map[netip.Addr]netip.Addr{netip.MustParseAddr(floating): netip.MustParseAddr(inside)}
	gone := addressSet{netip.MustParseAddr(floating): true}
	for _, c := range []struct {
		name                             string
		stale                            staleFlow
		from, to, answeredBy, answeredTo string
		want                             bool
	}{
		{"to a floating IP", staleFlow{fixed: fixed}, outside, floating, inside, outside, false},
		{"from a floating IP", staleFlow{fixed: fixed}, inside, outside, outside, floating, false},
		{"to a floating IP that moved here from another", staleFlow{fixed: fixed}, outside, floating, other, outside, true},
		{"from one that has lost it", staleFlow{fixed: fixed}, other, outside, outside, floating, true},
		{"by the router's address", staleFlow{fixed: fixed}, other, outside, outside, router, false},
		{"between internal networks", staleFlow{fixed: fixed, gone: gone}, inside, other, other, inside, false},
		{"to a floating IP that is gone", staleFlow{gone: gone}, outside, floating, inside, outside, true},
		{"from a floating IP that is gone", staleFlow{gone: gone}, inside, outside, outside, floating, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &netlink.ConntrackFlow{}
			f.Forward.SrcIP, f.Forward.DstIP = net.ParseIP(c.from), net.ParseIP(c.to)
			f.Reverse.SrcIP, f.Reverse.DstIP = net.ParseIP(c.answeredBy), net.ParseIP(c.answeredTo)
			if got := c.stale.MatchConntrackFlow(f); got != c.want {
				t.Errorf("cut %v, want %v", got, c.want)
			}
		})
	}
}
