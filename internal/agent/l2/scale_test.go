package l2

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"neutrino/internal/rpc"

	"github.com/vishvananda/netlink"
)

// TestScale measures a host with NEUTRINO_L2_PORTS ports: start, restart, one more port, one more member. With
// NEUTRINO_L2_SWITCH it wires by Open vSwitch, whose restart is measured too.
func TestScale(t *testing.T) {
	ports, _ := strconv.Atoi(os.Getenv("NEUTRINO_L2_PORTS"))
	if ports == 0 {
		t.Skip("set NEUTRINO_L2_PORTS to the number of ports")
	}
	needRoot(t)
	var sw *vswitch
	if os.Getenv("NEUTRINO_L2_SWITCH") != "" {
		sw = startSwitch(t, t.TempDir())
		sw.vsctl("add-br", "br-int", "--", "set", "Bridge", "br-int", "datapath_type="+datapath(), "fail_mode=secure")
	}
	r := newRig(t)
	if sw != nil {
		sw.configure(&r.cfg)
	}
	var all []*instance
	var devices []string
	var plugs []string
	add := func(n int) *instance {
		i := newInstance(t, r.server, netA, n, groupDefault)
		l := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: i.device}, PeerName: fmt.Sprintf("peer%d", n)}
		if err := netlink.LinkAdd(l); err != nil {
			t.Fatal(err)
		}
		plugs = append(plugs, "--", "add-port", "br-int", i.device, "--", "set", "Interface", i.device, "external_ids:iface-id="+i.portID)
		return i
	}
	plug := func() {
		if sw != nil {
			sw.vsctl(append([]string{"--no-wait"}, plugs...)...)
		}
		plugs = nil
	}
	for n := range ports {
		i := add(n + 1)
		all, devices = append(all, i), append(devices, i.device)
	}
	plug()
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
			plug()
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
	if sw == nil {
		return
	}
	flows := strings.Count(sw.dump("br-int"), "table=")
	measure("restart of ovs-vswitchd until its flows are back", func() {
		sw.kill("vswitchd.pid")
		sw.startDaemon()
		for strings.Count(sw.dump("br-int"), "table=") < flows {
			time.Sleep(20 * time.Millisecond)
		}
	})
	t.Logf("%d flows", flows)
}
