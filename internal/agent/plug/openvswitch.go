package plug

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"neutrino/internal/linux/veth"
	"neutrino/internal/ovs"

	"github.com/vishvananda/netlink"
	vns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const (
	internalType = "internal"
	deadVLAN     = 4095             // until the L2 agent gives the port that of its network
	deviceWait   = 10 * time.Second // until ovs-vswitchd has made the device
	patience     = time.Second      // until a device of a port that was there is taken for lost
	settleTime   = 100 * time.Millisecond
)

// OpenVSwitch plugs services by internal ports of the integration bridge, as upstream's OVSInterfaceDriver: ovs-vswitchd
// makes the device in the host, and it is moved into the namespace of the service. With the userspace datapath the devices
// are dead once ovs-vswitchd ended, and its successor makes new ones in the host; Run tells of those, and Ensure puts them
// in the place of the dead ones.
type OpenVSwitch struct {
	endpoint, bridge string
	log              *slog.Logger

	db      *ovs.DB // set by connect
	opening sync.Mutex
	state   atomic.Pointer[ovs.State] // nil: not connected yet
	changed chan struct{}

	mu    sync.Mutex
	ports map[string]Port // those that Ensure made or found right, by name
}

// NewOpenVSwitch plugs into a bridge of the Open vSwitch whose database is at endpoint.
func NewOpenVSwitch(endpoint, bridge string, log *slog.Logger) *OpenVSwitch {
	return &OpenVSwitch{endpoint: endpoint, bridge: bridge, log: log, changed: make(chan struct{}, 1), ports: map[string]Port{}}
}

// Name is tap… where it would lie in the namespace of DHCP, as upstream's.
func (o *OpenVSwitch) Name(prefix, portID string) string {
	if prefix == "ns-" {
		prefix = outerPrefix
	}
	return veth.DeviceName(prefix, portID)
}

// connect opens the database, once.
func (o *OpenVSwitch) connect(ctx context.Context) error {
	o.opening.Lock()
	defer o.opening.Unlock()
	if o.db != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, deviceWait)
	defer cancel()
	db, err := ovs.Open(ctx, o.endpoint, func() {
		select {
		case o.changed <- struct{}{}:
		default:
		}
	}, o.log)
	if err != nil {
		return fmt.Errorf("%w (interface_driver is openvswitch; on hosts with Linux bridges it must be linuxbridge)", err)
	}
	o.db = db
	_, err = o.look(ctx)
	return err
}

func (o *OpenVSwitch) look(ctx context.Context) (*ovs.State, error) {
	s, err := o.db.State(ctx)
	if err == nil {
		o.state.Store(s)
	}
	return s, err
}

// Right looks at the device and at the last picture of the database.
func (o *OpenVSwitch) Right(h *netlink.Handle, p Port) bool {
	l, err := h.LinkByName(p.Name)
	if err != nil || l.Type() == "veth" || l.Attrs().HardwareAddr.String() != p.MAC.String() || !settled(l, p.MTU) {
		return false
	}
	if inHost(p.Name) {
		return false
	}
	if s := o.state.Load(); s != nil && !o.plugged(s, p) {
		return false
	}
	o.remember(p) // what cannot be said yet of the port, Run finds out
	return true
}

// inHost tells whether a device lies in the host that belongs into a namespace.
func inHost(name string) bool {
	_, err := netlink.LinkByName(name)
	return err == nil
}

// plugged tells whether the bridge has the port.
func (o *OpenVSwitch) plugged(s *ovs.State, p Port) bool {
	i := s.Interfaces[p.Name]
	return i != nil && s.BridgeOf[p.Name] == o.bridge && i.Type == internalType && i.ExternalIDs["iface-id"] == p.ID &&
		strings.EqualFold(i.ExternalIDs["attached-mac"], p.MAC.String())
}

func (o *OpenVSwitch) remember(p Port) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ports[p.Name] = p
}

// Ensure adds the port and moves its device.
func (o *OpenVSwitch) Ensure(ctx context.Context, p Port) (created bool, err error) {
	if err := o.connect(ctx); err != nil {
		return false, err
	}
	created, err = o.ensure(ctx, p)
	if err != nil {
		return created, fmt.Errorf("plug %s into %s: %w", p.Name, o.bridge, err)
	}
	o.remember(p)
	return created, nil
}

func (o *OpenVSwitch) ensure(ctx context.Context, p Port) (created bool, err error) {
	there, err := vns.GetFromName(p.Namespace)
	if err != nil {
		return false, err
	}
	defer there.Close()
	h, err := netlink.NewHandleAt(there)
	if err != nil {
		return false, err
	}
	defer h.Close()
	if l, err := h.LinkByName(p.Name); err == nil && l.Type() == "veth" { // of the other driver
		if err := h.LinkDel(l); err != nil {
			return false, err
		}
	}
	if inHost(p.Name) {
		if err := removeDead(h, p.Name); err != nil {
			return false, err
		}
	}
	added, err := o.addPort(ctx, p, false)
	if err != nil {
		return false, err
	}
	inner, err := h.LinkByName(p.Name)
	if err != nil {
		if _, err := wait(ctx, patience, func() (netlink.Link, bool) { return nil, inHost(p.Name) }); err != nil && !added {
			if _, err := o.addPort(ctx, p, true); err != nil { // its device went with a namespace, and is not made again
				return false, err
			}
		}
		if err := o.move(ctx, p, there); err != nil {
			return false, err
		}
		created = true
		if inner, err = h.LinkByName(p.Name); err != nil {
			return true, err
		}
	}
	return created, settle(h, inner, p)
}

// addPort adds the port to the bridge, in place of one of that name that is not as it should be, or of any with replace.
func (o *OpenVSwitch) addPort(ctx context.Context, p Port, replace bool) (added bool, err error) {
	s, err := o.look(ctx)
	if err != nil {
		return false, err
	}
	if o.plugged(s, p) && !replace {
		return false, nil
	}
	if s.Bridges[o.bridge] == nil {
		return false, fmt.Errorf("bridge %s does not exist", o.bridge)
	}
	if s.BridgeOf[p.Name] != "" {
		if err := o.removePort(ctx, s, p.Name); err != nil {
			return false, err
		}
		if s, err = o.look(ctx); err != nil {
			return false, err
		}
	}
	t, tag := o.db.Begin(s), deadVLAN
	t.AddPort(o.bridge, ovs.Port{Name: p.Name, Tag: &tag}, ovs.Interface{Name: p.Name, Type: internalType,
		ExternalIDs: map[string]string{"iface-id": p.ID, "iface-status": "active", "attached-mac": p.MAC.String()}})
	if err := t.Commit(ctx); err != nil {
		return false, err
	}
	_, err = o.look(ctx)
	return true, err
}

// removePort removes a port and waits until ovs-vswitchd has done so.
func (o *OpenVSwitch) removePort(ctx context.Context, s *ovs.State, name string) error {
	t := o.db.Begin(s)
	t.RemovePort(name)
	if err := t.Commit(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, deviceWait)
	defer cancel()
	return o.db.Settle(ctx, s)
}

// removeDead removes a device of the userspace datapath that ovs-vswitchd has left.
func removeDead(h *netlink.Handle, name string) error {
	l, err := h.LinkByName(name)
	if err != nil {
		return nil
	}
	if err := h.LinkDel(l); err != nil {
		return fmt.Errorf("remove dead %s: %w", name, err)
	}
	return nil
}

// move waits for the device to appear in the host and moves it, with the address that it is to have. After a port was
// replaced ovs-vswitchd may make its device twice.
func (o *OpenVSwitch) move(ctx context.Context, p Port, to vns.NsHandle) error {
	failed := errors.New("there is none")
	if _, err := wait(ctx, deviceWait, func() (netlink.Link, bool) {
		l, err := netlink.LinkByName(p.Name)
		if err != nil {
			return nil, false
		}
		failed = errors.Join(netlink.LinkSetHardwareAddr(l, p.MAC), netlink.LinkSetNsFd(l, int(to)))
		return l, !errors.Is(failed, unix.ENODEV)
	}); err != nil {
		return fmt.Errorf("ovs-vswitchd does not make the device: %w: %w", err, failed)
	}
	return failed
}

func wait(ctx context.Context, atMost time.Duration, done func() (netlink.Link, bool)) (netlink.Link, error) {
	ctx, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	for {
		if l, ok := done(); ok {
			return l, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(3 * time.Millisecond):
		}
	}
}

func settle(h *netlink.Handle, l netlink.Link, p Port) error {
	a := l.Attrs()
	if a.HardwareAddr.String() != p.MAC.String() {
		if err := h.LinkSetHardwareAddr(l, p.MAC); err != nil {
			return fmt.Errorf("address: %w", err)
		}
	}
	if p.MTU > 0 && a.MTU != p.MTU { // within the namespace: in the host Open vSwitch would set it back
		if err := h.LinkSetMTU(l, p.MTU); err != nil {
			return fmt.Errorf("mtu: %w", err)
		}
	}
	if a.Flags&net.FlagUp == 0 {
		return h.LinkSetUp(l)
	}
	return nil
}

// Remove deletes the port, and with it the device.
func (o *OpenVSwitch) Remove(ctx context.Context, h *netlink.Handle, name string) error {
	o.mu.Lock()
	delete(o.ports, name)
	o.mu.Unlock()
	if err := o.connect(ctx); err != nil {
		return err
	}
	s, err := o.look(ctx)
	if err != nil {
		return err
	}
	if s.BridgeOf[name] != "" {
		t := o.db.Begin(s)
		t.RemovePort(name)
		if err := t.Commit(ctx); err != nil {
			return fmt.Errorf("unplug %s: %w", name, err)
		}
	}
	if l, err := h.LinkByName(name); err == nil && (l.Type() == "veth" || l.Type() == "tuntap") { // of the other driver, or dead
		if err := h.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("unplug %s: %w", name, err)
		}
	}
	_, err = wait(ctx, deviceWait, func() (netlink.Link, bool) {
		_, err := h.LinkByName(name)
		return nil, err != nil
	})
	return err
}

// Run looks for lost interfaces whenever the database changes, a device appears in the host, or a minute has passed.
func (o *OpenVSwitch) Run(ctx context.Context, lost func(p Port)) {
	for ctx.Err() == nil {
		err := o.connect(ctx)
		if err == nil {
			err = o.follow(ctx, lost)
		}
		if ctx.Err() == nil {
			o.log.Warn("cannot follow the ports of services", "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}
	o.opening.Lock()
	defer o.opening.Unlock()
	if o.db != nil {
		o.db.Close()
	}
}

const verifyInterval = 30 * time.Second

func (o *OpenVSwitch) follow(ctx context.Context, lost func(p Port)) error {
	links, done := make(chan netlink.LinkUpdate, 256), make(chan struct{})
	failed := make(chan error, 1)
	if err := netlink.LinkSubscribeWithOptions(links, done, netlink.LinkSubscribeOptions{ErrorCallback: func(err error) {
		select {
		case failed <- err:
		default:
		}
	}}); err != nil {
		close(done)
		return fmt.Errorf("subscribe to link events: %w", err)
	}
	defer func() {
		close(done)
		for range links {
		}
	}()
	verify := time.NewTicker(verifyInterval)
	defer verify.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return err
		case e, ok := <-links:
			if !ok {
				return errors.New("link events ended")
			}
			if !o.ours(e.Attrs().Name) {
				continue
			}
		case <-o.changed:
		case <-verify.C:
		}
		select { // what comes in bursts is looked at once
		case <-ctx.Done():
			return nil
		case <-time.After(settleTime):
		}
		if err := o.check(ctx, lost); err != nil {
			return err
		}
	}
}

func (o *OpenVSwitch) ours(name string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, ok := o.ports[name]
	return ok
}

// check tells of ports that the bridge has no more, and of those whose device lies in the host.
func (o *OpenVSwitch) check(ctx context.Context, lost func(p Port)) error {
	s, err := o.look(ctx)
	if err != nil {
		return err
	}
	o.mu.Lock()
	ports := maps.Clone(o.ports)
	o.mu.Unlock()
	for name, p := range ports {
		why := "the bridge has it no more"
		if o.plugged(s, p) {
			if !inHost(name) {
				continue
			}
			why = "its device was made anew"
		}
		o.mu.Lock()
		_, still := o.ports[name]
		delete(o.ports, name) // until Ensure has put it back
		o.mu.Unlock()
		if still {
			o.log.Warn("interface is lost, it is plugged again", "interface", name, "namespace", p.Namespace, "reason", why)
			lost(p)
		}
	}
	return nil
}
