// Package wiring is what the L2 agent asks of the software that connects the devices of a host.
package wiring

import (
	"context"
	"errors"
	"net"
	"net/netip"

	"neutrino/internal/agent/l2/firewall"
	"neutrino/internal/linux/bridge"
	"neutrino/internal/reconcile"
	"neutrino/internal/rpc"
)

// Network is a network as the host needs it.
type Network struct {
	ID       string
	Type     string // vxlan, gre, geneve, vlan, flat, local
	Segment  int    // VNI, key or VLAN id
	Physical string // physical network of vlan and flat
	MTU      int    // 0: leave as it is
}

// ErrGone says that a port's device is not there any more.
var ErrGone = errors.New("device is gone")

// Driver wires networks and ports. Devices are named "tap" and the first eleven characters of their port's id, whatever
// the host calls them. All but Run is called by one goroutine, after Open.
type Driver interface {
	// Open reads what is there. changed is called for each device that came, went or changed, also later from Run; it must
	// not block. An error means that this host cannot do what the configuration asks for.
	Open(ctx context.Context, changed func(device string)) error
	// Run follows the host until ctx ends.
	Run(ctx context.Context)
	Close()
	// Describe completes what the agent reports of itself.
	Describe(state *rpc.AgentState)
	// TunnelTypes are the network types of which the host has a tunnel endpoint.
	TunnelTypes() []string

	// Device is a number that differs from that of other devices of the same name, before or after; 0: there is none.
	Device(name string) int
	// Touches tells whether a device that is no port's belongs to the wiring of a network.
	Touches(name string, n Network) bool
	// Wired tells whether the device is as Plug would leave it, as far as that is known without asking the host.
	Wired(name string, n Network, up bool) bool
	// Reaches tells whether the device is in a switch of ours.
	Reaches(name string) bool

	// BridgeName is where the network is; Uplink the device between that and the outside, "" for none.
	BridgeName(n Network) string
	Uplink(n Network) string
	// Ensure prepares a network. fresh tells that its forwarding entries are lost.
	Ensure(n Network) (fresh bool, err error)
	// Plug puts a port's device into the network, up or down.
	Plug(device string, d *rpc.DeviceDetails, n Network) error
	// Remove takes down a network that has no ports here any more. It may have to be asked again.
	Remove(n Network) (removed bool, err error)
	// Sweep takes down what earlier runs made for networks other than those of keep, by BridgeName.
	Sweep(keep map[string]bool) error
	// Verify makes the next Ensure, Plug and Commit compare with the host, whatever they did before.
	Verify()
	// Unplug forgets a device that is gone or not to be wired any more.
	Unplug(device string)
	// Commit does what has only been noted so far. Unless complete, there may be wiring of which the agent does not know yet;
	// unless told, there may be forwarding entries that it has still to be told.
	Commit(ctx context.Context, complete, told bool) error

	// Forwards tells whether the network has forwarding entries, and by which number they name it.
	Forwards(n Network) (number int, ok bool)
	// Entries are the forwarding entries.
	Entries() reconcile.Driver[bridge.Entry, string]
	// Announce tells the ports that a network has here that an address is at another MAC address now.
	Announce(ctx context.Context, n Network, mac net.HardwareAddr, a netip.Addr) error
	// Filter is what filters ports; nil if they are not filtered.
	Filter() Filter
}

// Filter keeps ports from sending and receiving what they may not. Setters only note; Apply writes, or else the driver's
// Commit does.
type Filter interface {
	SetPort(p firewall.Port)
	RemovePort(device string)
	// Mode returns how the port is filtered; not ok if it is unknown.
	Mode(device string) (firewall.Mode, bool)
	SetGroup(id string, rules []rpc.SecurityGroupRule)
	SetMembers(group string, v6 bool, addresses []netip.Prefix)
	// SetRoaming gives the MAC addresses, sorted, of the members that may have every address.
	SetRoaming(group string, v6 bool, macs []string)
	// ChangeMembers says which addresses are members of a remote group now, and which are not; what it does not name stays. It
	// tells whether that was enough: if not, SetMembers is to be called.
	ChangeMembers(group string, members map[netip.Addr]bool) bool
	// KnownMembers are the ethertypes by remote group of those whose members are known and, of both together, many.
	KnownMembers() map[string][]string
	// GroupsWith returns the known groups that have a rule about the remote group.
	GroupsWith(remote string) []string
	// Verify makes the next Apply compare with the host first.
	Verify()
	// Apply tells whether Recheck must run.
	Apply(ctx context.Context) (recheck bool, err error)
	// Recheck cuts connections that are no longer allowed. It may run beside the others.
	Recheck(ctx context.Context) error
}
