package bridge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"

	"neutrino/internal/reconcile"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Kind is one of the four tables that tell where a remote address is, in the order in which they are written: what is known is not
// flooded, not even for a moment.
type Kind uint8

const (
	// Neighbour: the MAC of an address, for suppression (neighbour table of the bridge). Value: the MAC.
	Neighbour Kind = iota
	// Static: the MAC is behind the tunnel port (bridge fdb). Suppression answers only for addresses it finds here.
	Static
	// Remote: the endpoint behind which a MAC is (vxlan fdb). Value: the endpoint.
	Remote
	// Flood: an endpoint that gets broadcasts and unknown addresses (vxlan fdb, all-zero MAC).
	Flood
)

// Entry names one entry. IP is the endpoint of a Flood entry and the address of a Neighbour.
type Entry struct {
	Kind Kind
	VNI  int
	MAC  string
	IP   netip.Addr
}

// Entries is the reconcile.Driver of the tables of our tunnels.
type Entries struct {
	Handle *netlink.Handle
	// Tunnel returns the device indexes of the tunnel with the VNI and of its bridge; not ok while they are not there.
	Tunnel func(vni int) (vxlan, bridge int, ok bool)
	// Devices is the reverse: the VNI by the indexes of our tunnel devices and of their bridges.
	Devices func() map[int]int
	Writes  *atomic.Int64
}

var zeroMAC = net.HardwareAddr{0, 0, 0, 0, 0, 0}

// List reads the permanent entries of all tunnels and bridges. What the bridge learned by itself is not ours.
func (d *Entries) List(context.Context) (map[Entry]string, error) {
	all := map[Entry]string{}
	devices := d.Devices()
	for _, family := range []uint8{unix.AF_BRIDGE, unix.AF_INET, unix.AF_INET6} {
		neighs, err := d.Handle.NeighListExecute(netlink.Ndmsg{Family: family})
		if err != nil {
			return nil, fmt.Errorf("list forwarding entries: %w", err)
		}
		for _, n := range neighs {
			vni, ours := devices[n.LinkIndex]
			if !ours || n.State&(unix.NUD_PERMANENT|unix.NUD_NOARP) == 0 {
				continue
			}
			e, value, ok := entry(vni, family, n)
			if _, bridge, _ := d.Tunnel(vni); e.Kind == Neighbour && n.LinkIndex != bridge { // upstream's agent has them on tunnels
				continue
			}
			if ok {
				all[e] = value
			}
		}
	}
	return all, nil
}

func entry(vni int, family uint8, n netlink.Neigh) (e Entry, value string, ok bool) {
	ip, hasIP := netip.AddrFromSlice(n.IP)
	ip = ip.Unmap()
	mac := n.HardwareAddr.String()
	if len(n.HardwareAddr) > 0 && n.HardwareAddr[0]&1 != 0 { // multicast groups the kernel itself joined
		return e, "", false
	}
	switch {
	case family != unix.AF_BRIDGE:
		return Entry{Neighbour, vni, "", ip}, mac, hasIP && n.State&unix.NUD_PERMANENT != 0
	case ip.IsMulticast(): // the group that the tunnel was made with
	case n.Flags&unix.NTF_SELF != 0 && hasIP:
		if mac == zeroMAC.String() {
			return Entry{Flood, vni, "", ip}, "", true
		}
		return Entry{Remote, vni, mac, netip.Addr{}}, ip.String(), true
	case n.MasterIndex != 0 && n.State&unix.NUD_NOARP != 0: // permanent ones are the devices' own addresses
		return Entry{Static, vni, mac, netip.Addr{}}, "", true
	}
	return e, "", false
}

// Apply writes entries. The entries of a tunnel that is gone are gone with it.
func (d *Entries) Apply(_ context.Context, put map[Entry]string, del []Entry) error {
	failed := map[Entry]error{}
	for _, e := range del {
		vxlan, bridge, ok := d.Tunnel(e.VNI)
		if !ok {
			continue
		}
		n, err := neighbour(e, "", vxlan, bridge)
		if err == nil {
			err = d.Handle.NeighDel(n)
			d.Writes.Add(1)
		}
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENODEV) {
			failed[e] = err
		}
	}
	for _, e := range slices.SortedFunc(maps.Keys(put), func(a, b Entry) int { return cmp.Compare(a.Kind, b.Kind) }) {
		if err := d.put(e, put[e]); err != nil {
			failed[e] = err
		}
	}
	if len(failed) > 0 {
		return &reconcile.PartialError[Entry]{Failed: failed}
	}
	return nil
}

func (d *Entries) put(e Entry, value string) error {
	vxlan, bridge, ok := d.Tunnel(e.VNI)
	if !ok {
		return fmt.Errorf("no tunnel device for VNI %d", e.VNI)
	}
	n, err := neighbour(e, value, vxlan, bridge)
	if err != nil {
		return err
	}
	d.Writes.Add(1)
	if e.Kind != Flood { // replaces at once what may be there, so that a moved MAC is never without an entry
		return d.Handle.NeighSet(n)
	}
	if err := d.Handle.NeighAppend(n); !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}

func neighbour(e Entry, value string, vxlan, bridge int) (*netlink.Neigh, error) {
	n := &netlink.Neigh{LinkIndex: vxlan, Family: unix.AF_BRIDGE, State: unix.NUD_PERMANENT, Flags: unix.NTF_SELF,
		HardwareAddr: zeroMAC, IP: e.IP.AsSlice()}
	var err error
	if e.MAC != "" {
		if n.HardwareAddr, err = net.ParseMAC(e.MAC); err != nil {
			return nil, err
		}
	}
	switch e.Kind {
	case Remote:
		if n.IP = net.ParseIP(value); value == "" {
			n.IP = net.IPv4zero // any: the entry is removed wherever it points
		}
	case Static:
		n.Flags, n.State = unix.NTF_MASTER, unix.NUD_NOARP
	case Neighbour:
		n.LinkIndex, n.Family, n.Flags = bridge, unix.AF_INET, 0
		if e.IP.Is6() {
			n.Family = unix.AF_INET6
		}
		n.HardwareAddr = nil
		if value != "" {
			if n.HardwareAddr, err = net.ParseMAC(value); err != nil {
				return nil, err
			}
		}
	}
	return n, nil
}
