package linuxbridge

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"neutrino/internal/linux/bridge"

	"github.com/vishvananda/netlink"
)

// uplink makes what joins the bridge with the outside.
func (d *Driver) uplink(n Network, br netlink.Link) error {
	switch n.Type {
	case "vxlan":
		return d.vxlan(n, br)
	case "vlan":
		return d.vlan(n, br)
	case "flat":
		return d.flat(n, br)
	case "local":
		return nil
	}
	return fmt.Errorf("network %s: type %s cannot be wired by Linux bridges", n.ID, n.Type)
}

func (d *Driver) vxlan(n Network, br netlink.Link) error {
	if !d.cfg.LocalIP.IsValid() {
		return fmt.Errorf("network %s: no local_ip for tunnels is configured", n.ID)
	}
	if !d.caps.VXLAN {
		return fmt.Errorf("network %s: this kernel has no vxlan", n.ID)
	}
	want := d.vxlanDevice(n)
	l := d.links.Get(want.Name)
	if l != nil && !sameTunnel(l, want) {
		if err := d.delete(l); err != nil {
			return err
		}
		l = nil
	}
	if l == nil {
		if err := d.handle.LinkAdd(want); err != nil {
			return fmt.Errorf("add %s: %w", want.Name, err)
		}
		d.note(want.Name, "tunnel made")
		var err error
		if l, err = d.links.Refresh(want.Name); err != nil {
			return err
		}
	}
	if err := d.mute(want.Name); err != nil {
		return err
	}
	if err := d.pin(br); err != nil {
		return err
	}
	if err := d.enslave(l, br); err != nil {
		return err
	}
	if err := d.suppress(l); err != nil {
		return err
	}
	if err := d.setMTU(l, n.MTU); err != nil {
		return err
	}
	return d.setUp(l)
}

func (d *Driver) vxlanDevice(n Network) *netlink.Vxlan {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = vxlanPrefix+strconv.Itoa(n.Segment), n.MTU
	return &netlink.Vxlan{LinkAttrs: attrs, VxlanId: n.Segment, SrcAddr: net.IP(d.cfg.LocalIP.AsSlice()), Port: d.cfg.UDPPort,
		Learning: d.cfg.Learning}
}

func sameTunnel(l netlink.Link, want *netlink.Vxlan) bool {
	have, ok := l.(*netlink.Vxlan)
	return ok && have.VxlanId == want.VxlanId && have.SrcAddr.Equal(want.SrcAddr) && have.Port == want.Port &&
		have.Learning == want.Learning
}

// suppress answers ARP and ND of local instances here. The kernel is asked once which ports do so.
func (d *Driver) suppress(l netlink.Link) error {
	if d.suppressing == nil {
		on, err := bridge.Suppressing()
		if err != nil {
			return err
		}
		d.suppressing = on
	}
	if d.suppressing[l.Attrs().Index] {
		return nil
	}
	if err := bridge.Suppress(l); err != nil {
		return err
	}
	d.note(l.Attrs().Name, "answer ARP and ND")
	d.suppressing[l.Attrs().Index] = true
	return nil
}

// parent is the device that carries the VLANs of a physical network.
func (d *Driver) parent(n Network) string {
	if i := d.cfg.Interfaces[n.Physical]; i != "" {
		return i
	}
	return d.cfg.Bridges[n.Physical]
}

// vlanName is upstream's name: the interface's, cut so that the VLAN fits.
func vlanName(parent string, vlan int) string {
	const longest = 15
	suffix := "." + strconv.Itoa(vlan)
	return parent[:min(len(parent), longest-len(suffix))] + suffix
}

func (d *Driver) vlan(n Network, br netlink.Link) error {
	if !d.caps.VLAN {
		return fmt.Errorf("network %s: this kernel has no 8021q", n.ID)
	}
	parent := d.links.Get(d.parent(n))
	if parent == nil {
		return fmt.Errorf("network %s: no interface for physical network %q", n.ID, n.Physical)
	}
	name := vlanName(d.parent(n), n.Segment)
	l := d.links.Get(name)
	if l == nil {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.ParentIndex = name, parent.Attrs().Index
		if err := d.handle.LinkAdd(&netlink.Vlan{LinkAttrs: attrs, VlanId: n.Segment}); err != nil {
			return fmt.Errorf("add %s: %w", name, err)
		}
		d.note(name, "VLAN made")
		var err error
		if l, err = d.links.Refresh(name); err != nil {
			return err
		}
	}
	if err := d.mute(name); err != nil {
		return err
	}
	if err := d.setUp(parent); err != nil {
		return err
	}
	if err := d.enslave(l, br); err != nil {
		return err
	}
	return d.setUp(l)
}

func (d *Driver) flat(n Network, br netlink.Link) error {
	l := d.links.Get(d.cfg.Interfaces[n.Physical])
	if l == nil {
		return fmt.Errorf("network %s: no interface for physical network %q", n.ID, n.Physical)
	}
	if master := l.Attrs().MasterIndex; master != 0 && master != br.Attrs().Index {
		return fmt.Errorf("network %s: %s is in %s", n.ID, l.Attrs().Name, d.links.Name(master))
	}
	if err := d.setUp(br); err != nil { // before routes move to it
		return err
	}
	if l.Attrs().MasterIndex == 0 {
		if err := d.enslave(l, br); err != nil {
			return err
		}
	}
	if err := d.pinMAC(br, l.Attrs().HardwareAddr); err != nil {
		return err
	}
	if err := d.moveAddresses(l, br); err != nil {
		return err
	}
	return d.setUp(l)
}

// pinMAC gives the bridge the interface's address for good. By itself a bridge takes the lowest of its ports, and the
// host's own address would change whenever an instance comes.
func (d *Driver) pinMAC(br netlink.Link, mac net.HardwareAddr) error {
	if br = d.links.Get(br.Attrs().Name); br == nil || bytes.Equal(br.Attrs().HardwareAddr, mac) {
		return nil
	}
	return d.change(br, "set address", d.handle.LinkSetHardwareAddr(br, mac))
}

// release lets go a physical interface and gives it back what the bridge took over.
func (d *Driver) release(br, l netlink.Link) error {
	if err := d.change(l, "take out of bridge", d.handle.LinkSetNoMaster(l)); err != nil {
		return err
	}
	return d.moveAddresses(br, l)
}

// moveAddresses moves the host's addresses and routes from a device that became a bridge port to its bridge, or back.
func (d *Driver) moveAddresses(from, to netlink.Link) error {
	addrs, err := d.handle.AddrList(from, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("addresses of %s: %w", from.Attrs().Name, err)
	}
	routes, err := d.handle.RouteList(from, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("routes of %s: %w", from.Attrs().Name, err)
	}
	addrs = slices.DeleteFunc(addrs, func(a netlink.Addr) bool { return a.IP.IsLinkLocalUnicast() })
	for _, a := range addrs {
		if err := d.handle.AddrReplace(to, &netlink.Addr{IPNet: a.IPNet, Scope: a.Scope}); err != nil {
			return fmt.Errorf("move %s to %s: %w", a.IPNet, to.Attrs().Name, err)
		}
		d.writes.Add(1)
	}
	for _, r := range routes { // before the old addresses go, because the kernel would delete these routes with them
		if r.Gw == nil { // the kernel made those with the addresses
			continue
		}
		r.LinkIndex = to.Attrs().Index
		r.Flags &= int(netlink.FLAG_ONLINK) // the others are states, which the kernel refuses to be told
		if err := d.handle.RouteReplace(&r); err != nil {
			return fmt.Errorf("move route %s to %s: %w", r, to.Attrs().Name, err)
		}
		d.writes.Add(1)
	}
	for _, a := range addrs {
		if err := d.handle.AddrDel(from, &netlink.Addr{IPNet: a.IPNet}); err != nil {
			return fmt.Errorf("move %s from %s: %w", a.IPNet, from.Attrs().Name, err)
		}
		d.writes.Add(1)
		d.log.Info("address moved", "address", a.IPNet.String(), "from", from.Attrs().Name, "to", to.Attrs().Name)
	}
	return nil
}

// physical tells whether the configuration names the interface.
func (d *Driver) physical(l netlink.Link) bool {
	for _, i := range d.cfg.Interfaces {
		if i == l.Attrs().Name {
			return true
		}
	}
	return false
}

// ownUplink tells whether the device is one that we put into bridges.
func (d *Driver) ownUplink(l netlink.Link) bool {
	return l.Type() == "vxlan" && strings.HasPrefix(l.Attrs().Name, vxlanPrefix) || l.Type() == "vlan" || d.physical(l)
}
