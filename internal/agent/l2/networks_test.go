package l2

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"neutrino/internal/linux/bridge"
	"neutrino/internal/linux/nft"
	"neutrino/internal/rpc"

	"github.com/vishvananda/netlink"
)

// details changes what the server says of a port.
func (r *rig) details(i *instance, f func(*rpc.DeviceDetails)) {
	r.server.change(func() {
		p := r.server.Ports[i.device]
		f(&p.Details)
		r.server.Ports[i.device] = p
	})
}

func addressesOf(t *testing.T, device string) (all []string) {
	t.Helper()
	l, err := netlink.LinkByName(device)
	if err != nil {
		t.Fatal(err)
	}
	addrs, err := netlink.AddrList(l, netlink.FAMILY_V4)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		all = append(all, a.IPNet.String())
	}
	return all
}

func addAddress(t *testing.T, l netlink.Link, cidr string) {
	t.Helper()
	a, err := netlink.ParseAddr(cidr)
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.AddrAdd(l, a); err != nil {
		t.Fatal(err)
	}
}

func TestFlatNetworkTakesInterface(t *testing.T) {
	r := newRig(t)
	r.cfg.PhysicalInterfaceMappings = map[string]string{"physnet": "phys0"}
	phys := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "phys0"}, PeerName: "phys1"}
	if err := netlink.LinkAdd(phys); err != nil {
		t.Fatal(err)
	}
	defer deleteLink(t, "phys0")
	addAddress(t, phys, "192.168.99.2/24")
	if err := netlink.LinkSetUp(phys); err != nil {
		t.Fatal(err)
	}
	gateway := net.IPv4(192, 168, 99, 1)
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: phys.Index, Gw: gateway}); err != nil {
		t.Fatal(err)
	}
	a := newInstance(t, r.server, netA, 1, groupClosed).plug()
	r.details(a, func(d *rpc.DeviceDetails) {
		d.NetworkType, d.SegmentationID, d.PhysicalNetwork = "flat", nil, ptr("physnet")
	})
	r.start()
	r.server.waitFor(t, a.device)
	const br = "brqaaaa0000-00"
	holds := func(with, without string) {
		t.Helper()
		if got := addressesOf(t, with); len(got) != 1 || got[0] != "192.168.99.2/24" {
			t.Errorf("%s has %v", with, got)
		}
		if without != "" && len(addressesOf(t, without)) != 0 {
			t.Errorf("%s kept its address", without)
		}
		routes, err := netlink.RouteGet(net.IPv4(198, 51, 100, 1))
		if err != nil || !routes[0].Gw.Equal(gateway) {
			t.Errorf("route: %v, %v", routes, err)
		}
	}
	holds(br, "phys0")
	r.stop()
	r.server.change(func() { clear(r.server.up) })
	r.start()
	r.server.waitFor(t, a.device)
	if n := r.agent.Writes(); n != 0 {
		t.Errorf("%d writes for an unchanged state", n)
	}
	a.unplug()
	r.server.waitFor(t)
	eventually(t, "bridge gone", func() bool { return !exists(br) })
	holds("phys0", "")
}

// What the configuration names and the host has not is told at the start, and the agent works without.
func TestMissingInterface(t *testing.T) {
	r := newRig(t)
	r.cfg.PhysicalInterfaceMappings = map[string]string{"physnet": "nowhere0"}
	r.cfg.LocalIP = netip.MustParseAddr("192.0.2.77")
	a := newInstance(t, r.server, netA, 1, groupDefault).plug()
	r.start()
	r.server.waitFor(t, a.device)
	for _, text := range []string{"interface of a physical network does not exist", "no device of this host has the address local_ip"} {
		if n := r.logged.count(text); n != 1 {
			t.Errorf("%q is in the log %d times", text, n)
		}
	}
}

func TestFailedDeviceHoldsUpNobody(t *testing.T) {
	r := newRig(t)
	bad := newInstance(t, r.server, netB, 1, groupClosed).plug()
	r.details(bad, func(d *rpc.DeviceDetails) {
		d.NetworkType, d.SegmentationID, d.PhysicalNetwork = "vlan", ptr(7), ptr("nowhere")
	})
	good := newInstance(t, r.server, netA, 1, groupClosed).plug()
	r.start()
	r.server.waitFor(t, good.device)
	r.details(bad, func(d *rpc.DeviceDetails) { d.NetworkType, d.SegmentationID = "local", nil })
	if err := rpc.PortUpdate.Fanout(t.Context(), r.bus, rpc.PortUpdateArgs{Port: rpc.Port{ID: bad.portID}}); err != nil {
		t.Fatal(err)
	}
	r.server.waitFor(t, good.device, bad.device)
}

func TestAdminStateDown(t *testing.T) {
	r := newRig(t)
	a := newInstance(t, r.server, netA, 1, groupClosed).plug()
	r.start()
	r.server.waitFor(t, a.device)
	for _, up := range []bool{false, true} {
		r.details(a, func(d *rpc.DeviceDetails) { d.AdminStateUp = up })
		if err := rpc.PortUpdate.Fanout(t.Context(), r.bus, rpc.PortUpdateArgs{Port: rpc.Port{ID: a.portID}}); err != nil {
			t.Fatal(err)
		}
		if up {
			r.server.waitFor(t, a.device)
		} else {
			r.server.waitFor(t)
		}
		l, err := netlink.LinkByName(a.device)
		if err != nil || (l.Attrs().Flags&net.FlagUp != 0) != up {
			t.Errorf("device is not %v: %v", up, err)
		}
	}
}

// What an earlier run wired for networks that left meanwhile is taken down, as soon as devices are gone that it was wired for; what Nova
// just made is not.
func TestLeftoversAreSwept(t *testing.T) {
	r := newRig(t)
	r.cfg.VerifyInterval = time.Hour
	const tap = "tapdddddddd-dd"
	for _, err := range []error{
		bridge.Add("brqcccccccc-cc", 0), bridge.Add("brqdddddddd-dd", 0), bridge.Add("brqffffffff-ff", 0),
		netlink.LinkAdd(&netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "vxlan-77"}, VxlanId: 77, Port: 4789}),
		netlink.LinkAdd(&netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "vxlan-78"}, VxlanId: 78, Port: 4789}),
		netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: tap}, PeerName: "inside"}),
		putInBridge("vxlan-77", "brqcccccccc-cc"), putInBridge("vxlan-78", "brqdddddddd-dd"), putInBridge(tap, "brqdddddddd-dd"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	r.start()
	eventually(t, "swept", func() bool { return !exists("brqcccccccc-cc") && !exists("vxlan-77") })
	if !exists("brqdddddddd-dd") || !exists("vxlan-78") {
		t.Error("a bridge that a device is in was deleted")
	}
	deleteLink(t, tap)
	eventually(t, "swept, too", func() bool { return !exists("brqdddddddd-dd") && !exists("vxlan-78") })
	if !exists("brqffffffff-ff") {
		t.Error("a bridge without uplink was deleted")
	}
}

// A tunnel that somebody deletes comes back with its forwarding entries.
func TestLostTunnelIsRepaired(t *testing.T) {
	r := newRig(t)
	a := newInstance(t, r.server, netA, 1, groupClosed).plug()
	r.server.FDB[netA] = remoteFDB()
	r.start()
	r.server.waitFor(t, a.device)
	eventually(t, "entries", func() bool { return len(kernelFDB(t)) == 5 })
	deleteLink(t, "vxlan-5")
	eventually(t, "entries again", func() bool { return len(kernelFDB(t)) == 5 })
}

// Nothing is written before the server said what the host should have; afterwards the agent does without it.
func TestServerIsAway(t *testing.T) {
	r := newRig(t)
	a := newInstance(t, r.server, netA, 1, groupDefault).plug()
	b := newInstance(t, r.server, netA, 2, groupDefault).plug()
	r.members(groupDefault, a, b)
	r.bus.down.Store(true)
	r.start()
	eventually(t, "complaint", func() bool { return r.agent.failure.Load() != nil })
	if n := r.agent.Writes(); n != 0 || r.agent.Healthy() == nil || exists("brqaaaa0000-00") {
		t.Errorf("%d writes without server", n)
	}
	r.bus.down.Store(false)
	r.server.waitFor(t, a.device, b.device)
	r.bus.down.Store(true)
	r.tell(rpc.SecurityGroupsRuleUpdated, groupDefault)
	deleteLink(t, "vxlan-5")
	eventually(t, "repair without server", func() bool { return exists("vxlan-5") })
	a.reaches(b.v4, true)
}

// A firewall that was switched off leaves no rules behind.
func TestFirewallSwitchedOff(t *testing.T) {
	r := newRig(t)
	a := newInstance(t, r.server, netA, 1, groupClosed).plug()
	b := newInstance(t, r.server, netA, 2, groupClosed).plug()
	r.start()
	r.server.waitFor(t, a.device, b.device)
	r.stop()
	r.server.change(func() { clear(r.server.up) })
	r.cfg.DisableFirewall = true
	r.start()
	r.server.waitFor(t, a.device, b.device)
	a.reaches(b.v4, true)
	if _, err := nft.List(t.Context(), "bridge", "neutrino"); !errors.Is(err, nft.ErrNotFound) {
		t.Errorf("rules are left: %v", err)
	}
}
