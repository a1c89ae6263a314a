package linuxbridge

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"

	"neutrino/internal/agent/l2/firewall"
	"neutrino/internal/agent/l2/wiring"
	"neutrino/internal/linux/announce"
	"neutrino/internal/linux/bridge"
	"neutrino/internal/linux/link"
	"neutrino/internal/reconcile"
	"neutrino/internal/rpc"

	"github.com/vishvananda/netlink"
)

// What wiring.Driver asks for beyond bridges.

// Open asks the kernel what it can do and reads its devices.
func (d *Driver) Open(ctx context.Context, changed func(device string)) error {
	var err error
	if d.handle, err = netlink.NewHandle(); err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	d.caps = Probe(ctx)
	d.caps.Log(d.log)
	if d.firewall != nil && !d.caps.BridgeNetfilter {
		return errors.New("this kernel has no br_netfilter, which security groups need; load it or disable them")
	}
	if d.firewall != nil {
		zones, err := upstreamZones(ctx)
		if err != nil {
			return err
		}
		d.firewall.KeepZones(zones)
	}
	d.links = link.NewCache(d.handle, changed, d.log)
	if err := d.links.Reload(); err != nil {
		return err
	}
	for kind, mappings := range map[string]map[string]string{"interface": d.cfg.Interfaces, "bridge": d.cfg.Bridges} {
		for physical, name := range mappings {
			if d.links.Get(name) == nil { // it may come yet
				d.log.Error(kind+" of a physical network does not exist", kind, name, "physical_network", physical)
			}
		}
	}
	return nil
}

// Run follows the devices of the host.
func (d *Driver) Run(ctx context.Context) { d.links.Run(ctx) }

// Close ends the connection to the kernel.
func (d *Driver) Close() {
	if d.handle != nil {
		d.handle.Close()
	}
}

// Describe says that this is the Linux bridge agent, and what it connects to.
func (d *Driver) Describe(s *rpc.AgentState) {
	s.Binary, s.AgentType = "neutron-linuxbridge-agent", rpc.AgentTypeLinuxBridge
	ip := ""
	if d.cfg.LocalIP.IsValid() {
		ip = d.cfg.LocalIP.String()
	}
	maps.Copy(s.Configurations, map[string]any{"bridge_mappings": nonNil(d.cfg.Bridges), "interface_mappings": nonNil(d.cfg.Interfaces),
		"tunnel_types": d.TunnelTypes(), "tunneling_ip": ip, "l2_population": !d.cfg.Learning})
}

func nonNil(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return maps.Clone(m)
}

// TunnelTypes is VXLAN, if the host has an endpoint.
func (d *Driver) TunnelTypes() []string {
	if d.cfg.LocalIP.IsValid() {
		return []string{"vxlan"}
	}
	return []string{}
}

// Device is the device's index.
func (d *Driver) Device(name string) int {
	if l := d.links.Get(name); l != nil {
		return l.Attrs().Index
	}
	return 0
}

// Touches tells whether the device is the network's bridge or uplink.
func (d *Driver) Touches(name string, n Network) bool {
	return name == d.BridgeName(n) || name == d.Uplink(n)
}

// Wired looks at the device's own attributes.
func (d *Driver) Wired(name string, n Network, wantUp bool) bool {
	l := d.links.Get(name)
	if l == nil {
		return false
	}
	up := l.Attrs().Flags&net.FlagUp != 0
	return d.Bridge(name) == d.BridgeName(n) && up == wantUp && (n.MTU == 0 || l.Attrs().MTU == n.MTU)
}

// Reaches tells whether the device is in a bridge that we would make.
func (d *Driver) Reaches(name string) bool { return ours(d.Bridge(name)) }

// Plug puts a port's device into the network's bridge, up or down.
func (d *Driver) Plug(device string, details *rpc.DeviceDetails, n Network) error {
	up := details.AdminStateUp
	return d.settle(device, settled{n, up}, func() error { return d.plug(device, n, up) })
}

// Unplug forgets a device. The kernel takes one that goes out of its bridge.
func (d *Driver) Unplug(device string) { delete(d.settled, device) }

// Verify has the flags of bridge ports and the programs at devices read anew; all else is looked at each time.
func (d *Driver) Verify() {
	d.suppressing = nil
	clear(d.attached)
	clear(d.relayed)
}

// Commit has nothing to do but to remove the filters of others once ours are complete: those of upstream's agent, or ours
// if they were switched off.
func (d *Driver) Commit(ctx context.Context, complete, _ bool) error {
	if !complete || d.cleared {
		return nil
	}
	if d.firewall == nil {
		if err := firewall.Remove(ctx, d.writes); err != nil {
			return err
		}
	}
	if err := d.dropUpstream(ctx); err != nil {
		return err
	}
	d.cleared = true
	return nil
}

// Forwards tells whether the network is a tunnel's; its number is the VNI.
func (d *Driver) Forwards(n Network) (int, bool) { return n.Segment, n.Type == "vxlan" }

// Entries are the forwarding entries of our tunnels.
func (d *Driver) Entries() reconcile.Driver[bridge.Entry, string] { return d.entries() }

// Filter is the firewall, if there is one.
func (d *Driver) Filter() wiring.Filter {
	if d.firewall == nil {
		return nil
	}
	return &filter{d.firewall, d, false}
}

// filter sees to it that the kernel tracks bridged packets before rules count on it, and that the host lets them through.
type filter struct {
	*firewall.Firewall
	driver   *Driver
	admitted bool
}

func (f *filter) Verify() {
	f.admitted = false
	f.Firewall.Verify()
}

func (f *filter) Apply(ctx context.Context) (bool, error) {
	if err := f.Prepare(); err != nil {
		return false, err
	}
	recheck, err := f.Firewall.Apply(ctx)
	if err != nil || f.admitted {
		return recheck, err
	}
	if err := f.driver.admitBridged(ctx); err != nil {
		f.driver.log.Error("bridged packets may be dropped", "error", err)
	}
	f.admitted = true
	return recheck, nil
}

// Announce sends from the bridge, which passes announcements on to ports but not into its tunnel.
func (d *Driver) Announce(_ context.Context, n Network, mac net.HardwareAddr, a netip.Addr) error {
	return announce.Send(d.BridgeName(n), announce.Frames(mac, a, false))
}
