// Package plug gives services interfaces on networks: the DHCP agent for its ports, the L3 agent for those of routers.
// It is what upstream calls an interface driver (neutron/agent/linux/interface.py).
package plug

import (
	"context"
	"fmt"
	"net"

	"neutrino/internal/linux/netns"
	"neutrino/internal/linux/veth"

	"github.com/vishvananda/netlink"
)

// Port is an interface as a service wants it.
type Port struct {
	ID        string // Neutron's
	Name      string // of the interface, by Driver.Name
	Namespace string // which is there
	MAC       net.HardwareAddr
	MTU       int // 0: leave it as it is
}

// Driver makes interfaces. It may be used by several goroutines, but not for one port at the same time.
type Driver interface {
	// Name of the interface of a port; prefix is what it begins with where it lies in the namespace of a service only.
	Name(prefix, portID string) string
	// Right tells whether the interface is as Ensure would leave it. h works inside the port's namespace.
	Right(h *netlink.Handle, p Port) bool
	// Ensure makes the interface, or corrects it; it is up afterwards. created says that what was bound to a former one
	// is lost.
	Ensure(ctx context.Context, p Port) (created bool, err error)
	// Remove takes an interface of a service away, by the name that it has in the namespace in which h works. One that is
	// not there is no error.
	Remove(ctx context.Context, h *netlink.Handle, name string) error
	// Run follows what happens to interfaces until ctx ends. lost is called for those that went without Remove, or came
	// back at the wrong place; it must not block.
	Run(ctx context.Context, lost func(p Port))
}

// outerPrefix is that of the ends of pairs in the host, which the L2 agent plugs.
const outerPrefix = "tap"

// innerPrefixLength is that of "ns-", "qr-" and "qg-".
const innerPrefixLength = 3

// Pairs makes veth pairs whose outer end, tap…, the L2 agent of either kind puts into the network.
type Pairs struct{}

// Name begins with prefix.
func (Pairs) Name(prefix, portID string) string { return veth.DeviceName(prefix, portID) }

func outerOf(name string) string { return veth.DeviceName(outerPrefix, name[innerPrefixLength:]) }

// Right looks at both ends.
func (Pairs) Right(h *netlink.Handle, p Port) bool {
	inner, err := h.LinkByName(p.Name)
	if err != nil || inner.Attrs().HardwareAddr.String() != p.MAC.String() {
		return false
	}
	outer, err := netlink.LinkByName(outerOf(p.Name))
	return err == nil && settled(inner, p.MTU) && settled(outer, p.MTU)
}

func settled(l netlink.Link, mtu int) bool {
	a := l.Attrs()
	return (mtu == 0 || a.MTU == mtu) && a.Flags&net.FlagUp != 0
}

// Ensure makes a pair. What the service sends has its checksums, in case that a userspace datapath is at the other end.
func (Pairs) Ensure(_ context.Context, p Port) (created bool, err error) {
	if h, err := netns.Handle(p.Namespace); err == nil {
		l, err := h.LinkByName(p.Name)
		h.Close()
		if err == nil && l.Type() != "veth" {
			return false, fmt.Errorf("%s in %s is no veth but %s, perhaps a port of Open vSwitch: see interface_driver", p.Name, p.Namespace, l.Type())
		}
	}
	created, err = veth.Ensure(veth.Pair{Outer: outerOf(p.Name), Inner: p.Name, Namespace: p.Namespace, MAC: p.MAC, MTU: p.MTU})
	if err != nil || !created {
		return created, err
	}
	return true, veth.DisableChecksumOffload(p.Namespace, p.Name)
}

// Remove deletes the outer end: that is seen at once, while a namespace that is deleted keeps its links for a while.
func (Pairs) Remove(_ context.Context, h *netlink.Handle, name string) error {
	if err := veth.Remove(outerOf(name)); err != nil {
		return fmt.Errorf("unplug %s: %w", name, err)
	}
	return deleteLink(h, name)
}

// deleteLink removes what is left of another driver.
func deleteLink(h *netlink.Handle, name string) error {
	l, err := h.LinkByName(name)
	if err != nil {
		return nil
	}
	if err := h.LinkDel(l); err != nil {
		return fmt.Errorf("unplug %s: %w", name, err)
	}
	return nil
}

// Run has nothing to follow: what goes wrong with a pair is found when its service is looked at.
func (Pairs) Run(ctx context.Context, _ func(Port)) { <-ctx.Done() }
