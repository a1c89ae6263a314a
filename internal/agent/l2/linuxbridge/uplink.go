package linuxbridge

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"neutrino/internal/agent/l2/firewall"
	"neutrino/internal/linux/bridge"
	"neutrino/internal/linux/vlan"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
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
	want, err := d.vxlanDevice(n)
	if err != nil {
		return fmt.Errorf("network %s: %w", n.ID, err)
	}
	l := d.links.Get(want.Name)
	if l != nil && !d.sameTunnel(l, want) {
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
		if l, err = d.links.Refresh(want.Name); err != nil {
			return err
		}
	}
	if wrong := differences(l.(*netlink.Vxlan), want); len(wrong) > 0 {
		if err := d.change(l, "tunnel changed", bridge.ChangeTunnel(l.Attrs().Index, wrong)); err != nil {
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
	if err := d.relay(br, l); err != nil {
		return err
	}
	if err := d.setMTU(l, n.MTU); err != nil {
		return err
	}
	err = d.setUp(l)
	if errors.Is(err, unix.EADDRINUSE) {
		return fmt.Errorf("%w: another device has UDP port %d, perhaps what Open vSwitch left: see \"ip link show vxlan_sys_%[2]d\"", err, d.cfg.UDPPort)
	}
	return err
}

func (d *Driver) vxlanDevice(n Network) (*netlink.Vxlan, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = vxlanPrefix+strconv.Itoa(n.Segment), n.MTU
	x := &netlink.Vxlan{LinkAttrs: attrs, VxlanId: n.Segment, SrcAddr: net.IP(d.cfg.LocalIP.AsSlice()), Port: d.cfg.UDPPort,
		PortLow: d.cfg.SourcePorts[0], PortHigh: d.cfg.SourcePorts[1], TTL: d.cfg.TTL, TOS: d.cfg.TOS, Learning: d.cfg.Learning}
	if group := d.group(n.Segment); group.IsValid() {
		local, err := d.localInterface()
		if err != nil {
			return nil, err
		}
		x.Group, x.VtepDevIndex = net.IP(group.AsSlice()), local
	}
	return x, nil
}

// group is the multicast address to which a tunnel floods; invalid: it has a list of endpoints.
func (d *Driver) group(vni int) netip.Addr {
	if !d.cfg.Learning {
		return netip.Addr{}
	}
	for _, r := range d.cfg.MulticastRanges {
		if r.First <= vni && vni <= r.Last {
			return r.Group
		}
	}
	if !d.cfg.Group.IsValid() {
		return netip.Addr{}
	}
	base, mask := d.cfg.Group.Masked().Addr().AsSlice(), net.CIDRMask(d.cfg.Group.Bits(), d.cfg.Group.Addr().BitLen())
	number := binary.BigEndian.AppendUint32(nil, uint32(vni))
	for i := range number { // the number, as far as the prefix leaves room
		at := len(base) - len(number) + i
		base[at] |= number[i] &^ mask[at]
	}
	a, _ := netip.AddrFromSlice(base)
	return a
}

// localInterface is the index of the device that has the tunnel endpoint's address.
func (d *Driver) localInterface() (int, error) {
	addrs, err := d.handle.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return 0, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		if x, ok := netip.AddrFromSlice(a.IP); ok && x.Unmap() == d.cfg.LocalIP {
			return a.LinkIndex, nil
		}
	}
	return 0, fmt.Errorf("no device has local_ip %s", d.cfg.LocalIP)
}

// sameTunnel tells whether the device is one that can become the wanted one: the rest can be changed while it is in use.
// A device of upstream's agent with a proxy stays as it is, because only a new one would be without.
func (d *Driver) sameTunnel(l netlink.Link, want *netlink.Vxlan) bool {
	have, ok := l.(*netlink.Vxlan)
	return ok && have.VxlanId == want.VxlanId && have.Port == want.Port && (have.Group == nil || have.Group.Equal(want.Group)) &&
		(want.PortLow == 0 || have.PortLow == want.PortLow && have.PortHigh == want.PortHigh)
}

// differences are the attributes of a tunnel that must be changed.
func differences(have, want *netlink.Vxlan) map[int][]byte {
	wrong := map[int][]byte{}
	set := func(same bool, attribute int, value []byte) {
		if !same {
			wrong[attribute] = value
		}
	}
	addr := func(have, want net.IP, v4, v6 int) {
		if v := want.To4(); v != nil {
			set(have.Equal(want), v4, v)
		} else if want != nil {
			set(have.Equal(want), v6, want)
		}
	}
	addr(have.SrcAddr, want.SrcAddr, nl.IFLA_VXLAN_LOCAL, nl.IFLA_VXLAN_LOCAL6)
	addr(have.Group, want.Group, nl.IFLA_VXLAN_GROUP, nl.IFLA_VXLAN_GROUP6)
	set(want.Group == nil || have.VtepDevIndex == want.VtepDevIndex, nl.IFLA_VXLAN_LINK, nl.Uint32Attr(uint32(want.VtepDevIndex)))
	set(have.TTL == want.TTL, nl.IFLA_VXLAN_TTL, []byte{byte(want.TTL)})
	set(have.TOS == want.TOS, nl.IFLA_VXLAN_TOS, []byte{byte(want.TOS)})
	learning := byte(0)
	if want.Learning {
		learning = 1
	}
	set(have.Learning == want.Learning, nl.IFLA_VXLAN_LEARNING, []byte{learning})
	return wrong
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

// relay sends announcements of our ports through the tunnel, which suppression keeps from it. Without filters nothing tells them from
// those of others.
func (d *Driver) relay(br, tunnel netlink.Link) error {
	r := bridge.Relay{Bridge: br.Attrs().Index, Tunnel: tunnel.Attrs().Index, Mark: firewall.MarkOwn}
	if !d.caps.BPF || d.firewall == nil || d.relayed[r] {
		return nil
	}
	there, err := r.Attached(d.handle)
	if err != nil {
		return err
	}
	if !there {
		if err := r.Attach(d.handle); err != nil {
			return err
		}
		d.note(br.Attrs().Name, "announcements relayed")
	}
	d.relayed[r] = true
	return nil
}

// parent is the device that carries the VLANs of a physical network.
func (d *Driver) parent(n Network) string {
	if i := d.cfg.Interfaces[n.Physical]; i != "" {
		return i
	}
	return d.cfg.Bridges[n.Physical]
}

// lacking says why a network has no device to the outside.
func (d *Driver) lacking(n Network, device string) error {
	if device == "" {
		return fmt.Errorf("network %s: no interface is configured for physical network %q", n.ID, n.Physical)
	}
	return fmt.Errorf("network %s: %s of physical network %q does not exist", n.ID, device, n.Physical)
}

// vlanName is upstream's name: the interface's, shortened and with a hash if the VLAN would not fit (neutron_lib.plugins.utils).
func vlanName(parent string, vlan int) string {
	const longest, longestParent, hashed = 15, 10, 6
	suffix := "." + strconv.Itoa(vlan)
	if len(parent)+len(suffix) > longest && len(parent) > longestParent {
		sum := sha1.Sum([]byte(parent))
		parent = parent[:longestParent-hashed] + hex.EncodeToString(sum[:])[:hashed]
	}
	return parent + suffix
}

func (d *Driver) vlan(n Network, br netlink.Link) error {
	parent := d.links.Get(d.parent(n))
	if parent == nil {
		return d.lacking(n, d.parent(n))
	}
	name := vlanName(d.parent(n), n.Segment)
	l := d.links.Get(name)
	if l == nil {
		if err := d.addVLAN(name, parent, n); err != nil {
			return fmt.Errorf("network %s: %w", n.ID, err)
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
	if l.Type() == "veth" {
		if err := d.attachVLAN(l, parent, n); err != nil {
			return fmt.Errorf("network %s: %w", n.ID, err)
		}
	}
	if err := d.enslave(l, br); err != nil {
		return err
	}
	return d.setUp(l)
}

// addVLAN makes a VLAN device, or what replaces it where the kernel has none.
func (d *Driver) addVLAN(name string, parent netlink.Link, n Network) error {
	switch {
	case d.caps.VLAN:
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.ParentIndex = name, parent.Attrs().Index
		if err := d.handle.LinkAdd(&netlink.Vlan{LinkAttrs: attrs, VlanId: n.Segment}); err != nil {
			return fmt.Errorf("add %s: %w", name, err)
		}
		return nil
	case d.caps.BPF:
		if err := vlan.Add(d.handle, name, parent.Attrs().MTU); err != nil {
			return err
		}
		_, err := d.links.Refresh(vlan.Peer(name))
		return err
	}
	return errors.New("this kernel has neither 8021q nor BPF for VLANs")
}

// attachVLAN joins a replacement of a VLAN device with its parent.
func (d *Driver) attachVLAN(l, parent netlink.Link, n Network) error {
	peer := d.links.Get(vlan.Peer(l.Attrs().Name))
	if peer == nil {
		return fmt.Errorf("%s is not a VLAN of %s", l.Attrs().Name, parent.Attrs().Name)
	}
	a := vlan.Attachment{VLAN: n.Segment, Parent: parent.Attrs().Index, Device: l.Attrs().Index, Peer: peer.Attrs().Index}
	if !d.attached[a] {
		there, err := a.Attached(d.handle)
		if err != nil {
			return err
		}
		if !there {
			if err := a.Attach(d.handle); err != nil {
				return err
			}
			d.note(l.Attrs().Name, "VLAN programs attached")
		}
		d.attached[a] = true
	}
	if parent.Attrs().RawFlags&unix.IFF_PROMISC == 0 { // a VLAN device in a bridge would do that by itself
		if err := d.change(parent, "set promiscuous", d.handle.SetPromiscOn(parent)); err != nil {
			return err
		}
	}
	if err := d.mute(peer.Attrs().Name); err != nil {
		return err
	}
	return d.setUp(peer)
}

// detachVLAN takes a replacement of a VLAN device from its parent before it is deleted.
func (d *Driver) detachVLAN(l netlink.Link) error {
	parents := slices.Concat(slices.Collect(maps.Values(d.cfg.Interfaces)), slices.Collect(maps.Values(d.cfg.Bridges)))
	for _, name := range parents {
		parent := d.links.Get(name)
		if parent == nil {
			continue
		}
		if err := vlan.Detach(d.handle, parent, l.Attrs().Index); err != nil {
			return err
		}
	}
	maps.DeleteFunc(d.attached, func(a vlan.Attachment, _ bool) bool { return a.Device == l.Attrs().Index })
	return nil
}

// vlanPair tells whether the device is a replacement of a VLAN device.
func (d *Driver) vlanPair(l netlink.Link) bool {
	return l.Type() == "veth" && d.links.Get(vlan.Peer(l.Attrs().Name)) != nil
}

func (d *Driver) flat(n Network, br netlink.Link) error {
	l := d.links.Get(d.cfg.Interfaces[n.Physical])
	if l == nil {
		return d.lacking(n, d.cfg.Interfaces[n.Physical])
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
	return l.Type() == "vxlan" && strings.HasPrefix(l.Attrs().Name, vxlanPrefix) || l.Type() == "vlan" || d.vlanPair(l) || d.physical(l)
}
