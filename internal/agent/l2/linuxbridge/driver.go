// Package linuxbridge wires networks with Linux bridges: brq<network> with the taps of its ports and one uplink, which
// is a vxlan device, a VLAN device or a physical interface. Names are upstream's, so that what the Python agent left is
// taken over as it is. Devices of other names are never changed or deleted, except physical interfaces that the
// configuration names.
//
// A Driver is used by one goroutine at a time. It compares with a picture of the devices before it writes.
package linuxbridge

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"

	"neutrino/internal/agent/l2/firewall"
	"neutrino/internal/agent/l2/wiring"
	"neutrino/internal/linux/bridge"
	"neutrino/internal/linux/link"
	"neutrino/internal/linux/vlan"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Prefixes of our devices.
const (
	bridgePrefix = "brq"
	vxlanPrefix  = "vxlan-"
)

// Config is what the driver must know of the host.
type Config struct {
	Interfaces map[string]string // physical network → interface
	Bridges    map[string]string // physical network → existing bridge, used instead of brq… for flat networks
	LocalIP    netip.Addr        // tunnel endpoint; invalid: no tunnels
	UDPPort    int               // of VXLAN
	Learning   bool              // tunnels learn where addresses are: without l2 population
	Unfiltered bool              // no firewall
	Tunnels
	PermittedEthertypes []uint16 // that filtered ports may use beside IP and ARP
}

// Tunnels says how tunnel packets look.
type Tunnels struct {
	TTL, TOS    int    // 0: the kernel's
	SourcePorts [2]int // first and last UDP port; 0: the kernel's
	// Group has the multicast addresses to which tunnels flood that learn, one for each VNI as far as the prefix goes;
	// MulticastRanges has others for some VNIs. Without, they flood to all endpoints.
	Group           netip.Prefix
	MulticastRanges []MulticastRange
}

// MulticastRange is the multicast address of the VNIs from First to Last.
type MulticastRange struct {
	Group       netip.Addr
	First, Last int
}

// Network is a network as the host needs it.
type Network = wiring.Network

// ErrGone says that a port's device is not there any more.
var ErrGone = wiring.ErrGone

// Driver wires networks and ports.
type Driver struct {
	cfg    Config
	caps   Capabilities
	handle *netlink.Handle
	links  *link.Cache
	writes *atomic.Int64
	log    *slog.Logger

	suppressing map[int]bool // ports known to answer ARP and ND
	attached    map[vlan.Attachment]bool
	relayed     map[bridge.Relay]bool
	firewall    *firewall.Firewall
	cleared     bool // there are no filters of earlier runs and of upstream's agent

	settled   map[string]settled // by device
	restoring string             // the device that was in order before: changes are logged
}

// settled is how a device or bridge was left.
type settled struct {
	Network
	up bool
}

// settle runs f, which brings a device in order, and has changes logged if it was so before: then somebody else is at work. If
// f fails, as it may when what it finds has just been deleted, the next try is for the same reason.
func (d *Driver) settle(device string, want settled, f func() error) error {
	before := d.settled[device] == want
	if before {
		d.restoring = device
	}
	delete(d.settled, device)
	err := f()
	d.restoring = ""
	if err == nil || before {
		d.settled[device] = want
	}
	return err
}

// note counts a change and logs it.
func (d *Driver) note(device, what string) {
	d.writes.Add(1)
	level := slog.LevelDebug
	if d.restoring != "" {
		level = slog.LevelWarn
		what = "restored: " + what
	}
	d.log.Log(context.Background(), level, what, "device", device)
}

// New makes a driver. writes counts changes in the kernel.
func New(cfg Config, writes *atomic.Int64, log *slog.Logger) *Driver {
	d := &Driver{cfg: cfg, writes: writes, log: log, settled: map[string]settled{}, attached: map[vlan.Attachment]bool{},
		relayed: map[bridge.Relay]bool{}}
	if !cfg.Unfiltered {
		d.firewall = firewall.New(firewall.Config{Bridges: d.bridges(), VXLANPort: cfg.UDPPort, Ethertypes: cfg.PermittedEthertypes}, writes, log)
	}
	return d
}

// BridgeName is the bridge of a network.
func (d *Driver) BridgeName(n Network) string {
	if n.Type == "flat" && d.cfg.Bridges[n.Physical] != "" {
		return d.cfg.Bridges[n.Physical]
	}
	return bridgePrefix + n.ID[:min(len(n.ID), 11)]
}

// mapped tells whether the bridge belongs to the operator.
func (d *Driver) mapped(n Network) bool { return !strings.HasPrefix(d.BridgeName(n), bridgePrefix) }

// Uplink is the name of the device that joins the bridge with the outside; "" for local networks and for bridges of the
// operator, which have theirs already.
func (d *Driver) Uplink(n Network) string {
	switch n.Type {
	case "vxlan":
		return vxlanPrefix + strconv.Itoa(n.Segment)
	case "vlan":
		return vlanName(d.parent(n), n.Segment)
	case "flat":
		if !d.mapped(n) {
			return d.cfg.Interfaces[n.Physical]
		}
	}
	return ""
}

// Ensure makes the bridge and the uplink of a network, or corrects them. fresh tells that the bridge or the tunnel is a
// new device, without forwarding entries.
func (d *Driver) Ensure(n Network) (fresh bool, err error) {
	before := d.tunnel(n)
	if err := d.settle(d.BridgeName(n), settled{n, true}, func() error { return d.ensure(n) }); err != nil {
		return false, err
	}
	return d.tunnel(n) != before, nil
}

// tunnel returns the indexes of the bridge and of the uplink; 0 for what is not there.
func (d *Driver) tunnel(n Network) (indexes [2]int) {
	for i, name := range []string{d.BridgeName(n), d.Uplink(n)} {
		if l := d.links.Get(name); l != nil {
			indexes[i] = l.Attrs().Index
		}
	}
	return indexes
}

func (d *Driver) ensure(n Network) error {
	name := d.BridgeName(n)
	br := d.links.Get(name)
	if br == nil {
		if d.mapped(n) {
			return fmt.Errorf("bridge %s of physical network %s does not exist", name, n.Physical)
		}
		if err := bridge.Add(name, n.MTU); err != nil {
			return err
		}
		d.note(name, "bridge made")
		var err error
		if br, err = d.links.Refresh(name); err != nil {
			return err
		}
	}
	if d.mapped(n) {
		return nil
	}
	if err := d.quiet(name); err != nil {
		return err
	}
	if b, ok := br.(*netlink.Bridge); ok && b.MulticastSnooping != nil && *b.MulticastSnooping {
		if err := d.change(br, "multicast snooping off", bridge.StopSnooping(br.Attrs().Index)); err != nil {
			return err
		}
	}
	if err := d.uplink(n, br); err != nil {
		return err
	}
	if err := d.setMTU(br, n.MTU); err != nil {
		return err
	}
	return d.setUp(br)
}

// plug puts a port's device into the network's bridge, up or down.
func (d *Driver) plug(device string, n Network, up bool) error {
	l := d.links.Get(device)
	if l == nil {
		return fmt.Errorf("device %s: %w", device, ErrGone)
	}
	br := d.links.Get(d.BridgeName(n))
	if br == nil {
		return fmt.Errorf("no bridge for %s", device)
	}
	if err := d.mute(device); err != nil {
		return err
	}
	if err := d.setMTU(l, n.MTU); err != nil {
		return err
	}
	if err := d.enslave(l, br); err != nil {
		return err
	}
	if up {
		return d.setUp(l)
	}
	return d.setDown(l)
}

// entries is the driver of the forwarding entries of our tunnels.
func (d *Driver) entries() *bridge.Entries {
	return &bridge.Entries{Handle: d.handle, Writes: d.writes,
		Tunnel: func(vni int) (int, int, bool) {
			l := d.links.Get(vxlanPrefix + strconv.Itoa(vni))
			if l == nil || l.Attrs().MasterIndex == 0 {
				return 0, 0, false
			}
			return l.Attrs().Index, l.Attrs().MasterIndex, true
		},
		Devices: func() map[int]int {
			vnis := map[int]int{}
			for _, l := range d.links.Select(func(l netlink.Link) bool { return strings.HasPrefix(l.Attrs().Name, vxlanPrefix) }) {
				if v, ok := l.(*netlink.Vxlan); ok && l.Attrs().MasterIndex != 0 {
					vnis[l.Attrs().Index], vnis[l.Attrs().MasterIndex] = v.VxlanId, v.VxlanId
				}
			}
			return vnis
		}}
}

// Bridge returns the bridge that the device is in, or "".
func (d *Driver) Bridge(device string) string {
	l := d.links.Get(device)
	if l == nil || l.Attrs().MasterIndex == 0 {
		return ""
	}
	return d.links.Name(l.Attrs().MasterIndex)
}

// ours tells whether the bridge is one that we would make.
func ours(bridge string) bool { return strings.HasPrefix(bridge, bridgePrefix) }

// Remove takes down a network that has no ports here any more. A bridge with other devices in it stays, and removed is
// false.
func (d *Driver) Remove(n Network) (removed bool, err error) {
	if d.mapped(n) {
		return true, nil
	}
	br := d.links.Get(d.BridgeName(n))
	if br == nil {
		return true, nil
	}
	uplink := d.links.Get(d.Uplink(n))
	for _, p := range d.ports(br) {
		if uplink == nil || p.Attrs().Index != uplink.Attrs().Index {
			d.log.Debug("bridge stays, it has other devices", "bridge", br.Attrs().Name, "device", p.Attrs().Name)
			return false, nil
		}
	}
	if err := d.dismantle(br, uplink); err != nil {
		return false, err
	}
	return true, nil
}

// Sweep removes the bridges that earlier runs made for networks which have no ports here now. Bridges without our
// uplink stay: Nova may have made them a moment ago.
func (d *Driver) Sweep(keep map[string]bool) error {
	bridges := d.links.Select(func(l netlink.Link) bool {
		return l.Type() == "bridge" && ours(l.Attrs().Name) && !keep[l.Attrs().Name]
	})
	for _, br := range bridges {
		ports := d.ports(br)
		if len(ports) != 1 || !d.ownUplink(ports[0]) {
			continue
		}
		if err := d.dismantle(br, ports[0]); err != nil {
			return err
		}
	}
	return nil
}

func (d *Driver) ports(br netlink.Link) []netlink.Link {
	return d.links.Select(func(l netlink.Link) bool { return l.Attrs().MasterIndex == br.Attrs().Index })
}

// dismantle deletes a bridge and its uplink; a physical interface is let go.
func (d *Driver) dismantle(br, uplink netlink.Link) error {
	if uplink != nil {
		var err error
		if d.physical(uplink) {
			err = d.release(br, uplink)
		} else {
			err = d.delete(uplink)
		}
		if err != nil {
			return err
		}
	}
	return d.delete(br)
}

func (d *Driver) delete(l netlink.Link) error {
	if d.vlanPair(l) {
		if err := d.detachVLAN(l); err != nil {
			return err
		}
	}
	if err := d.handle.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) { // it went by itself
		return fmt.Errorf("delete %s: %w", l.Attrs().Name, err)
	}
	d.writes.Add(1)
	delete(d.suppressing, l.Attrs().Index)
	delete(d.settled, l.Attrs().Name)
	d.links.Forget(l)
	d.log.Info("device deleted", "device", l.Attrs().Name)
	return nil
}

func (d *Driver) enslave(l, br netlink.Link) error {
	if l.Attrs().MasterIndex == br.Attrs().Index {
		return nil
	}
	return d.change(l, "put into "+br.Attrs().Name, d.handle.LinkSetMasterByIndex(l, br.Attrs().Index))
}

func (d *Driver) setMTU(l netlink.Link, mtu int) error {
	if mtu == 0 || l.Attrs().MTU == mtu {
		return nil
	}
	return d.change(l, "set mtu "+strconv.Itoa(mtu), d.handle.LinkSetMTU(l, mtu))
}

func (d *Driver) setUp(l netlink.Link) error {
	if l.Attrs().Flags&net.FlagUp != 0 {
		return nil
	}
	return d.change(l, "set up", d.handle.LinkSetUp(l))
}

func (d *Driver) setDown(l netlink.Link) error {
	if l.Attrs().Flags&net.FlagUp == 0 {
		return nil
	}
	return d.change(l, "set down", d.handle.LinkSetDown(l))
}

// change counts a write and reads the device again.
func (d *Driver) change(l netlink.Link, what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %s: %w", l.Attrs().Name, what, err)
	}
	d.note(l.Attrs().Name, what)
	_, err = d.links.Refresh(l.Attrs().Name)
	return err
}

// mute keeps the host from speaking IPv6 through a port: its group joins and address detection would go out to the
// instances, and with many ports they are most of the traffic.
func (d *Driver) mute(device string) error {
	return d.sysctl("net/ipv6/conf/"+device+"/disable_ipv6", "1")
}

// quiet does the same for a bridge. There IPv6 must stay enabled, because the kernel keeps the neighbours for ND
// suppression only then; but the host gets no address from anybody, and answers ARP for none of its own.
func (d *Driver) quiet(name string) error {
	for _, s := range [][2]string{
		{"net/ipv6/conf/" + name + "/addr_gen_mode", "1"}, // before it is enabled, which gives a link-local address
		{"net/ipv6/conf/" + name + "/accept_ra", "0"},
		{"net/ipv6/conf/" + name + "/autoconf", "0"},
		{"net/ipv6/conf/" + name + "/disable_ipv6", "0"},
		{"net/ipv4/conf/" + name + "/arp_ignore", "1"},
	} {
		if err := d.sysctl(s[0], s[1]); err != nil {
			return err
		}
	}
	return nil
}

// pin gives the bridge an address of its own. Otherwise it has the lowest of its ports', and whenever a new port changes
// that the kernel forgets all neighbours of the bridge, permanent ones included.
func (d *Driver) pin(br netlink.Link) error {
	sum := sha256.Sum256([]byte(br.Attrs().Name + " " + d.cfg.LocalIP.String()))
	address := net.HardwareAddr(sum[:6])
	address[0] = address[0]&^1 | 2 // locally administered, one station
	if bytes.Equal(br.Attrs().HardwareAddr, address) {
		return nil
	}
	return d.change(br, "set address", d.handle.LinkSetHardwareAddr(br, address))
}

func (d *Driver) sysctl(key, value string) error {
	changed, err := link.Sysctl(key, value)
	if changed {
		d.note(strings.Split(key, "/")[3], key+"="+value)
	}
	return err
}
