package l2

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"neutrino/internal/rpc"

	"github.com/vishvananda/netlink"
)

// TestScale measures a host with NEUTRINO_L2_PORTS ports: start, restart, one more port, one more member.
func TestScale(t *testing.T) {
	ports, _ := strconv.Atoi(os.Getenv("NEUTRINO_L2_PORTS"))
	if ports == 0 {
		t.Skip("set NEUTRINO_L2_PORTS to the number of ports")
	}
	r := newRig(t)
	var all []*instance
	var devices []string
	add := func(n int) *instance {
		i := newInstance(t, r.server, netA, n, groupDefault)
		l := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: i.device}, PeerName: fmt.Sprintf("peer%d", n)}
		if err := netlink.LinkAdd(l); err != nil {
			t.Fatal(err)
		}
		return i
	}
	for n := range ports {
		i := add(n + 1)
		all, devices = append(all, i), append(devices, i.device)
	}
	r.members(groupDefault, all...)
	measure := func(what string, f func()) {
		before, start := int64(0), time.Now()
		if r.agent != nil {
			before = r.agent.Writes()
		}
		f()
		t.Logf("%s: %v, %d writes", what, time.Since(start).Round(100*time.Microsecond), r.agent.Writes()-before)
	}
	measure("first start", func() { r.start(); r.server.waitFor(t, devices...) })
	r.stop()
	r.server.change(func() { clear(r.server.up) })
	r.agent = nil
	measure("restart", func() { r.start(); r.server.waitFor(t, devices...) })
	var one *instance
	for n := range 5 {
		measure("one more port", func() {
			one = add(ports + 1 + n)
			devices = append(devices, one.device)
			r.server.waitFor(t, devices...)
		})
	}
	all = append(all, one)
	for range 5 {
		measure("one more member", func() {
			r.members(groupDefault, all...)
			all = all[:len(all)-1]
			before := r.agent.Writes()
			r.tell(rpc.SecurityGroupsMemberUpdated, groupDefault)
			eventually(t, "written", func() bool { return r.agent.Writes() > before })
		})
	}
}
