package agentrpc

import (
	"fmt"
	"testing"

	"neutrino/internal/model"
	"neutrino/internal/rpc"

	"github.com/google/go-cmp/cmp"
)

func TestPortBecomesActive(t *testing.T) {
	e := setUp(t)
	e.host("h1", 1)
	e.dhcp("d1")
	n := e.network("net", "10.0.0.0/24", true)
	p := e.port(n, "h1", "10.0.0.10")
	step := func(what, want string) {
		t.Helper()
		if got := e.status(p); got != want {
			t.Errorf("%s: the port is %s, want %s", what, got, want)
		}
	}
	step("created", "DOWN")
	d := e.details("h1", p)[0]
	want := rpc.DeviceDetails{Device: tap(p), PortID: p.ID, NetworkID: n.ID, MACAddress: p.MACAddress, AdminStateUp: true, NetworkType: "vxlan",
		SegmentationID: d.SegmentationID, MTU: 1450, FixedIPs: convert(p.FixedIPs, fixedIP), DeviceOwner: "compute:nova", PortSecurity: true}
	if diff := cmp.Diff(want, d); diff != "" || d.SegmentationID == nil {
		t.Errorf("details (-want +got):\n%s", diff)
	}
	step("its agent asked", "BUILD")
	e.up("h1", p)
	step("wired, but unknown to DHCP", "BUILD")
	call(e, rpc.DHCPReadyOnPorts, rpc.PortIDsArgs{PortIDs: []string{p.ID, "no such port"}})
	step("all done", "ACTIVE")
	e.details("h1", p)
	step("its agent asked again", "ACTIVE")
	if gone := e.down("h1", p); !gone[0].Exists {
		t.Error("the port exists")
	}
	step("unplugged", "DOWN")
	e.up("h1", p)
	step("plugged again", "ACTIVE")
	e.change(p, body{"admin_state_up": false})
	e.details("h1", p)
	step("switched off", "DOWN")
	e.up("h1", p)
	step("switched off and wired", "DOWN")
}

func TestDetailsOfStrangers(t *testing.T) {
	e := setUp(t)
	e.host("h1", 1)
	e.host("h2", 2)
	n := e.network("net", "10.0.0.0/24", false)
	elsewhere, unbound := e.port(n, "h2", "10.0.0.10"), e.port(n, "", "10.0.0.11")
	for name, p := range map[string]*model.Port{"of another host": elsewhere, "not bound": unbound} {
		if d := e.details("h1", p)[0]; d.NetworkID != "" || d.Device != tap(p) {
			t.Errorf("port %s: %+v", name, d)
		}
		e.up("h1", p)
		if s := e.status(p); s != "DOWN" {
			t.Errorf("port %s is %s", name, s)
		}
	}
	gone := e.down("h1", elsewhere, &model.Port{Standard: model.Standard{ID: "00000000-0000-0000-0000-000000000000"}})
	if !gone[0].Exists || gone[1].Exists {
		t.Errorf("a port that moved exists, one that never was does not: %+v", gone)
	}
}

// TestCostOfReports: statements do not grow with the number of devices of a report, and reports that say nothing new write
// nothing.
func TestCostOfReports(t *testing.T) {
	e := setUp(t)
	e.host("h1", 1)
	e.dhcp("d1")
	n := e.network("net", "10.0.0.0/16", true)
	make := func(count int) []*model.Port {
		ports := []*model.Port{}
		for range count {
			ports = append(ports, e.port(n, "h1", fmt.Sprintf("10.0.%d.%d", 1+len(e.names), len(ports)+10)))
		}
		e.names[fmt.Sprint(len(e.names))] = "" // another block of addresses next time
		return ports
	}
	cost := func(f func()) int64 {
		before := e.db.Statements()
		f()
		return e.db.Statements() - before
	}
	work := func(ports []*model.Port) map[string]int64 {
		ids := convert(ports, func(p *model.Port) string { return p.ID })
		return map[string]int64{
			"details": cost(func() { e.details("h1", ports...) }),
			"up":      cost(func() { call(e, rpc.UpdateDeviceList, rpc.DeviceListArgs{Host: "h1", DevicesUp: convert(ports, tap)}) }),
			"ready":   cost(func() { call(e, rpc.DHCPReadyOnPorts, rpc.PortIDsArgs{PortIDs: ids}) }),
			"again":   cost(func() { call(e, rpc.UpdateDeviceList, rpc.DeviceListArgs{Host: "h1", DevicesUp: convert(ports, tap)}) }),
			"down":    cost(func() { e.down("h1", ports...) }),
		}
	}
	few, many := make(2), make(40)
	if diff := cmp.Diff(work(few), work(many)); diff != "" {
		t.Errorf("statements for 2 and for 40 devices (-2 +40):\n%s", diff)
	}
}

func TestTunnelSync(t *testing.T) {
	e := setUp(t)
	sync := func(host, ip string) []rpc.TunnelEndpoint {
		t.Helper()
		return call(e, rpc.TunnelSync, rpc.TunnelSyncArgs{Host: host, TunnelIP: ip, TunnelType: "vxlan"}).Tunnels
	}
	h1 := rpc.TunnelEndpoint{IPAddress: "192.0.2.1", Host: "h1", UDPPort: 4789}
	h2 := rpc.TunnelEndpoint{IPAddress: "192.0.2.2", Host: "h2", UDPPort: 4789}
	moved := rpc.TunnelEndpoint{IPAddress: "192.0.2.9", Host: "h1", UDPPort: 4789}
	for _, step := range []struct {
		host, ip string
		want     []rpc.TunnelEndpoint
	}{
		{"h1", "192.0.2.1", []rpc.TunnelEndpoint{h1}}, {"h2", "192.0.2.2", []rpc.TunnelEndpoint{h1, h2}},
		{"h2", "192.0.2.2", []rpc.TunnelEndpoint{h1, h2}}, {"h1", "192.0.2.9", []rpc.TunnelEndpoint{h2, moved}},
	} {
		if diff := cmp.Diff(step.want, sync(step.host, step.ip)); diff != "" {
			t.Errorf("%s at %s (-want +got):\n%s", step.host, step.ip, diff)
		}
	}
	h3 := rpc.TunnelEndpoint{IPAddress: "192.0.2.2", Host: "h3", UDPPort: 4789}
	if diff := cmp.Diff([]rpc.TunnelEndpoint{moved, h3}, sync("h3", "192.0.2.2")); diff != "" {
		t.Errorf("the address of h2 becomes that of h3 (-want +got):\n%s", diff)
	}
	for _, kind := range []string{"gre", "geneve"} {
		got := call(e, rpc.TunnelSync, rpc.TunnelSyncArgs{Host: "h1", TunnelIP: "192.0.2.1", TunnelType: kind}).Tunnels
		if diff := cmp.Diff([]rpc.TunnelEndpoint{{IPAddress: "192.0.2.1", Host: "h1"}}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", kind, diff)
		}
	}
	for _, args := range []rpc.TunnelSyncArgs{{Host: "h3", TunnelType: "vxlan"}, {Host: "h3", TunnelIP: "192.0.2.3"}, {Host: "h3", TunnelIP: "192.0.2.3", TunnelType: "stt"},
		{Host: "h3", TunnelIP: "2001:db8::3", TunnelType: "vxlan"}, {Host: "h3", TunnelIP: "192.0.2.3", TunnelType: "vlan"}} {
		if _, err := rpc.TunnelSync.Call(e.ctx, e.bus, "", args); err == nil {
			t.Errorf("%+v was taken", args)
		}
	}
}
