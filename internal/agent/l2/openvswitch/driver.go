package openvswitch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"neutrino/internal/agent/l2/wiring"
	"neutrino/internal/linux/announce"
	"neutrino/internal/linux/bridge"
	"neutrino/internal/linux/link"
	"neutrino/internal/ovs"
	"neutrino/internal/reconcile"
	"neutrino/internal/rpc"

	"github.com/vishvananda/netlink"
)

// Driver wires networks and ports; see wiring.Driver.
type Driver struct {
	cfg    Config
	writes *atomic.Int64
	log    *slog.Logger

	db      *ovs.DB
	sw      ovs.Switch
	handle  *netlink.Handle
	links   *link.Cache
	changed func(device string)
	kick    chan struct{}           // the database changed
	picture atomic.Pointer[picture] // as it is now
	looking sync.Mutex              // held while a picture is taken
	flushed atomic.Bool             // ovs-vswitchd is another one than before, or may be

	filter    *filter // nil: ports are not filtered
	devices   map[string]*device
	networks  map[string]*network
	vlans     map[int]string // networks by local VLAN, those of earlier runs too
	restored  map[string]int // local VLANs of earlier runs, by network
	flows     map[string]*ovs.Flows
	shared    map[int]map[conjunctionKey]uint32 // conjunctions by local VLAN
	members   map[int]map[netip.Prefix]bool     // addresses that have flows for them
	entries   map[bridge.Entry]string
	loaded    bool                          // entries has what earlier runs left
	tunnels   map[string]map[netip.Addr]int // as the flows for entries know them, by type and endpoint
	entrances map[string]bool               // tunnels that have flows for what comes out of them
	moved     map[int]bool                  // local VLANs whose forwarding entries changed
	removed   map[string]bool
	delivered map[delivery][]receiver // by MAC addresses of pairs
	lacking   []string                // bridges of physical networks that do not exist
	surveys   map[string]*ovs.Survey  // the last ones, until the flows of others are gone
	swept     bool                    // they are

	oblivion   oblivion // to be passed on
	forgetting chan oblivion
}

// device is a port that has been plugged.
type device struct {
	wiring.Network
	portID, mac string
	up          bool
	served      bool    // by an agent of ours, which left its device to be plugged
	made        flowsOf // what its flows were made of
	seen        int     // the VLAN that the port was seen to have when it was the right one
}

// network is a network with ports here.
type network struct {
	wiring.Network
	vlan  int
	note  map[string]string // that its ports get
	stale bool              // its flows have to be made again
}

// New makes a driver. writes counts transactions and bundles.
func New(cfg Config, writes *atomic.Int64, log *slog.Logger) *Driver {
	d := &Driver{cfg: cfg.withDefaults(), writes: writes, log: log, kick: make(chan struct{}, 1), devices: map[string]*device{},
		networks: map[string]*network{}, vlans: map[int]string{}, restored: map[string]int{}, flows: map[string]*ovs.Flows{}, entrances: map[string]bool{},
		entries: map[bridge.Entry]string{}, moved: map[int]bool{}, removed: map[string]bool{}, surveys: map[string]*ovs.Survey{},
		members: map[int]map[netip.Prefix]bool{}, oblivion: oblivion{}, forgetting: make(chan oblivion, 1)}
	d.sw = ovs.Switch{RunDir: d.cfg.RunDir}
	if !cfg.Unfiltered {
		d.filter = newFilter(log)
	}
	return d
}

// picture is what the database says, and which devices it has.
type picture struct {
	*ovs.State
	ports map[string]string // of the integration bridge, by device
}

const ifaceID = "iface-id"

// ours marks ports that this driver plugged for services.
const ours = "neutrino-plugged"

func newPicture(s *ovs.State, integration string) *picture {
	p := &picture{State: s, ports: map[string]string{}}
	for name, i := range s.Interfaces {
		if id := i.ExternalIDs[ifaceID]; len(id) >= 11 && s.BridgeOf[name] == integration {
			p.ports["tap"+id[:11]] = name
		}
	}
	return p
}

// number is a port's number in its bridge; 0: it has none.
func (p *picture) number(port string) int { return p.Interfaces[port].Number() }

// sameDevice tells whether nothing of interest changed of a device.
func (p *picture) sameDevice(q *picture, device string) bool {
	a, b := p.ports[device], q.ports[device]
	return a == b && p.number(a) == q.number(b) && sameTag(p.Ports[a], q.Ports[b])
}

func sameTag(a, b *ovs.Port) bool { return tagOf(a) == tagOf(b) }

// tagOf is the VLAN of a port; -1: it has none.
func tagOf(p *ovs.Port) int {
	if p == nil || p.Tag == nil {
		return -1
	}
	return *p.Tag
}

// Open connects to Open vSwitch, makes the bridges that are missing and reads which VLANs networks had.
func (d *Driver) Open(ctx context.Context, changed func(device string)) error {
	d.changed = changed
	var err error
	if d.handle, err = netlink.NewHandle(); err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	d.links = link.NewCache(d.handle, func(name string) {
		if tapPattern.MatchString(name) {
			changed(name)
		}
	}, d.log)
	if err := d.links.Reload(); err != nil {
		return err
	}
	opening, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if d.db, err = ovs.Open(opening, d.cfg.Endpoint, func() {
		select {
		case d.kick <- struct{}{}:
		default:
		}
	}, d.log); err != nil {
		return err
	}
	if err := d.setUp(opening); err != nil {
		return err
	}
	p := d.picture.Load()
	d.restoreAll(p.Ports, p.BridgeOf)
	for device := range p.ports {
		changed(device)
	}
	d.flushed.Store(true)
	return nil
}

var tapPattern = regexp.MustCompile(`^tap[0-9a-f]{8}-[0-9a-f]{2}$`)

// restoreAll takes over the VLANs of networks, those of living ports first: what is noted of a dead one may be of old, and the VLAN another
// network's by now.
func (d *Driver) restoreAll(ports map[string]*ovs.Port, bridgeOf map[string]string) {
	for _, dead := range []bool{false, true} {
		for name, port := range ports {
			if bridgeOf[name] == d.cfg.IntegrationBridge && (tagOf(port) == deadVLAN) == dead {
				d.restore(port)
			}
		}
	}
}

// restore takes over the VLAN that a port's network had.
func (d *Driver) restore(p *ovs.Port) {
	id := p.OtherConfig["net_uuid"]
	vlan, err := strconv.Atoi(p.OtherConfig["tag"])
	if id == "" || err != nil || vlan < 1 || vlan >= deadVLAN || d.vlans[vlan] != "" && d.vlans[vlan] != id {
		return
	}
	if d.restored[id] == 0 {
		d.restored[id], d.vlans[vlan] = vlan, id
	}
}

// Run follows the database and the devices of the host, and notices when ovs-vswitchd is restarted.
func (d *Driver) Run(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.watch(ctx)
	}()
	go d.forgetAll(ctx)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-d.kick:
				began := time.Now()
				if err := d.look(ctx); err != nil {
					d.log.Warn("cannot read what Open vSwitch has", "error", err)
				}
				// A picture costs as much as there are ports: while changes pour in, most of the time is for other work.
				select {
				case <-ctx.Done():
				case <-time.After(min(3*time.Since(began), 100*time.Millisecond)):
				}
			}
		}
	}()
	d.links.Run(ctx)
	<-done
}

// watch holds a connection to the integration bridge. When it breaks, the flows are lost.
func (d *Driver) watch(ctx context.Context) {
	first := true
	for ctx.Err() == nil {
		err := d.sw.Watch(ctx, d.cfg.IntegrationBridge, func() {
			if !first {
				d.log.Warn("ovs-vswitchd was restarted, its flows are made again")
			}
			first = false
			d.flushed.Store(true)
			d.changed(d.cfg.IntegrationBridge)
		})
		if ctx.Err() == nil && err != nil && !errors.Is(err, context.Canceled) {
			d.log.Debug("no connection to ovs-vswitchd", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// look takes a new picture and tells of the devices that are not as in the last one.
func (d *Driver) look(ctx context.Context) error {
	d.looking.Lock() // or an older picture might take the place of a newer one
	defer d.looking.Unlock()
	s, err := d.db.State(ctx)
	if err != nil {
		return err
	}
	before, now := d.picture.Load(), newPicture(s, d.cfg.IntegrationBridge)
	d.picture.Store(now)
	if before == nil {
		return nil
	}
	for device := range now.ports {
		if !now.sameDevice(before, device) {
			d.changed(device)
		}
	}
	for device := range before.ports {
		if now.ports[device] == "" {
			d.changed(device)
		}
	}
	d.changed(d.cfg.IntegrationBridge) // tunnels may have got their numbers
	return nil
}

// Close ends the connections.
func (d *Driver) Close() {
	if d.db != nil {
		d.db.Close()
	}
	if d.handle != nil {
		d.handle.Close()
	}
}

// Describe says what upstream's agent says of itself.
func (d *Driver) Describe(s *rpc.AgentState) {
	s.Binary, s.AgentType = "neutron-openvswitch-agent", rpc.AgentTypeOpenVSwitch
	ip := ""
	if d.cfg.LocalIP.IsValid() {
		ip = d.cfg.LocalIP.String()
	}
	datapaths, interfaces := []string{}, []string{}
	if p := d.picture.Load(); p != nil {
		datapaths, interfaces = append(datapaths, p.System.DatapathTypes...), append(interfaces, p.System.IfaceTypes...)
	}
	mappings := map[string]string{}
	maps.Copy(mappings, d.cfg.BridgeMappings)
	maps.Copy(s.Configurations, map[string]any{
		"bridge_mappings": mappings, "integration_bridge": d.cfg.IntegrationBridge, "tunnel_types": d.TunnelTypes(), "tunneling_ip": ip,
		"l2_population": d.cfg.L2Population, "arp_responder_enabled": d.cfg.ARPResponder, "enable_distributed_routing": false,
		"log_agent_heartbeats": false, "datapath_type": d.cfg.DatapathType, "ovs_hybrid_plug": false, "in_distributed_mode": false,
		"ovs_capabilities": map[string]any{"datapath_types": datapaths, "iface_types": interfaces}, "baremetal_smartnic": false,
		"vhostuser_socket_dir": d.cfg.VHostSocketDir, "resource_provider_bandwidths": map[string]any{},
		"resource_provider_inventory_defaults": map[string]any{}, "resource_provider_hypervisors": map[string]any{},
		"resource_provider_packet_processing_without_direction": map[string]any{}, "resource_provider_packet_processing_with_direction": map[string]any{},
		"resource_provider_packet_processing_inventory_defaults": map[string]any{},
	})
}

// TunnelTypes are those of the configuration, if the host has an endpoint.
func (d *Driver) TunnelTypes() []string {
	if !d.cfg.LocalIP.IsValid() {
		return []string{}
	}
	return slices.Clone(d.cfg.TunnelTypes)
}

// Device is the index of the kernel's device, or the port's number where it is not in our namespace. A device in the
// integration bridge is there once it has a number.
func (d *Driver) Device(name string) int {
	p := d.picture.Load()
	port := p.ports[name]
	if port == "" {
		if x := d.devices[name]; x != nil && !x.served { // taken out of the bridge
			return 0
		}
		if l := d.service(name); l != nil {
			return l.Attrs().Index
		}
		return 0
	}
	n, plugged := p.number(port), p.Interfaces[port].ExternalIDs[ours] != ""
	if p.Interfaces[port].Type == "internal" { // its device moves to a namespace
		return n
	}
	switch l := d.links.Get(port); {
	case l != nil && (n > 0 || plugged):
		return l.Attrs().Index
	case plugged: // what is left of a service that is gone
		return 0
	}
	return n
}

// service is a device that an agent of ours left to be plugged.
func (d *Driver) service(name string) netlink.Link {
	if l := d.links.Get(name); l != nil && l.Type() == "veth" {
		return l
	}
	return nil
}

// Touches is false: networks are looked at in every Commit.
func (d *Driver) Touches(string, wiring.Network) bool { return false }

// Wired tells whether the port's VLAN and flows are those of the network.
func (d *Driver) Wired(name string, n wiring.Network, up bool) bool {
	x, p := d.devices[name], d.picture.Load()
	if x == nil || x.Network != n || x.up != up {
		return false
	}
	port := p.Ports[p.ports[name]]
	return port != nil && port.Tag != nil && *port.Tag == d.tag(name, x) && x.made.number == p.number(port.Name) && !d.narrow(port.Name, n)
}

// narrow tells whether the host's end of a port does not take packets that others on its network may send.
func (d *Driver) narrow(port string, n wiring.Network) bool {
	l := d.links.Get(port)
	return l != nil && l.Attrs().MTU < n.MTU
}

// Reaches tells whether the device is in the integration bridge.
func (d *Driver) Reaches(name string) bool { return d.picture.Load().ports[name] != "" }

// BridgeName is the network's id: all are in the integration bridge.
func (d *Driver) BridgeName(n wiring.Network) string { return n.ID }

// Uplink is "": what joins bridges is not filtered.
func (d *Driver) Uplink(wiring.Network) string { return "" }

// Ensure gives the network a local VLAN.
func (d *Driver) Ensure(n wiring.Network) (fresh bool, err error) {
	switch n.Type {
	case "local":
	case "flat", "vlan":
		name := d.cfg.BridgeMappings[n.Physical]
		if name == "" {
			return false, fmt.Errorf("no bridge for physical network %s", n.Physical)
		}
		if d.picture.Load().Bridges[name] == nil {
			return false, fmt.Errorf("bridge %s of physical network %s does not exist", name, n.Physical)
		}
	default:
		if !slices.Contains(d.TunnelTypes(), n.Type) {
			return false, fmt.Errorf("no %s networks on this host", n.Type)
		}
	}
	x := d.networks[n.ID]
	if x == nil {
		vlan := d.restored[n.ID]
		for vlan == 0 {
			if vlan = d.freeVLAN(); vlan == 0 {
				return false, errors.New("all VLANs of the integration bridge are in use")
			}
		}
		if d.restored[n.ID] == 0 { // what was told of the VLAN is another network's, or of a run whose ports were all plugged anew
			fresh = true
			maps.DeleteFunc(d.entries, func(e bridge.Entry, _ string) bool { return e.VNI == vlan })
		}
		x = &network{vlan: vlan}
		if fresh && d.filter != nil { // or connections of a network of before would be this one's
			d.oblivion.add(vlan, everything)
		}
		d.networks[n.ID], d.vlans[vlan] = x, n.ID
		delete(d.restored, n.ID)
	}
	if x.Network != n {
		x.Network, x.note, x.stale = n, noteOf(n, x.vlan), true
		d.moved[x.vlan] = true
	}
	return fresh, nil
}

func (d *Driver) freeVLAN() int {
	for vlan := 1; vlan < deadVLAN; vlan++ {
		if d.vlans[vlan] == "" {
			return vlan
		}
	}
	return 0
}

// Plug notes what is to become of a port. A device of a service is put into the integration bridge first. A tap gets the network's
// MTU when that has grown, where upstream's agent waits for Nova to plug it anew; a smaller one is its guest's business.
func (d *Driver) Plug(name string, details *rpc.DeviceDetails, n wiring.Network) error {
	if d.Device(name) == 0 {
		return fmt.Errorf("device %s: %w", name, wiring.ErrGone)
	}
	served := strings.HasPrefix(details.DeviceOwner, "network:")
	if !d.Reaches(name) && !served {
		return fmt.Errorf("device %s is not in the integration bridge yet: %w", name, wiring.ErrGone)
	}
	x := d.devices[name]
	if x == nil {
		x = &device{}
		d.devices[name] = x
	}
	x.Network, x.portID, x.mac, x.up, x.served = n, details.PortID, details.MACAddress, details.AdminStateUp, served
	p := d.picture.Load()
	port := p.ports[name]
	if p.number(port) == 0 {
		return fmt.Errorf("device %s has no number yet: %w", name, wiring.ErrGone)
	}
	if !d.narrow(port, n) {
		return nil
	}
	d.writes.Add(1)
	if err := d.handle.LinkSetMTU(d.links.Get(port), n.MTU); err != nil {
		return fmt.Errorf("set MTU of %s: %w", port, err)
	}
	_, err := d.links.Refresh(port)
	return err
}

// Unplug forgets a device.
func (d *Driver) Unplug(name string) {
	if d.devices[name] != nil || d.Reaches(name) {
		d.removed[name] = true
	}
	delete(d.devices, name)
}

// Remove frees the network's VLAN.
func (d *Driver) Remove(n wiring.Network) (bool, error) {
	if x := d.networks[n.ID]; x != nil {
		delete(d.networks, n.ID)
		delete(d.vlans, x.vlan)
		if d.filter != nil {
			d.filter.former.Leave(n.ID)
		}
		d.wantNetwork(n.ID, nil)
		d.moved[x.vlan] = true
	}
	return true, nil
}

// Announce gives the integration bridge frames as if they came from the tunnel bridge, to which it does not return them.
func (d *Driver) Announce(ctx context.Context, n wiring.Network, mac net.HardwareAddr, a netip.Addr) error {
	x, from := d.networks[n.ID], d.picture.Load().number(d.cfg.PatchToTunnels)
	if x == nil || from == 0 {
		return nil
	}
	return d.sw.Receive(ctx, d.cfg.IntegrationBridge, from, x.vlan, announce.Frames(mac, a, false))
}

// Sweep forgets the VLANs of networks that have no ports here any more.
func (d *Driver) Sweep(keep map[string]bool) error {
	for id, vlan := range d.restored {
		if !keep[id] {
			delete(d.restored, id)
			delete(d.vlans, vlan)
		}
	}
	return nil
}

// Verify has the flows of all bridges read again.
func (d *Driver) Verify() { d.flushed.Store(true) }

// Forwards tells whether the network is a tunnel's; its number is the local VLAN.
func (d *Driver) Forwards(n wiring.Network) (int, bool) {
	x := d.networks[n.ID]
	if x == nil || tunnelTables[n.Type] == 0 {
		return 0, false
	}
	return x.vlan, true
}

// Entries are the forwarding entries of the tunnel bridge.
func (d *Driver) Entries() reconcile.Driver[bridge.Entry, string] { return &entryDriver{d} }

// Filter is the firewall, if there is one.
func (d *Driver) Filter() wiring.Filter {
	if d.filter == nil {
		return nil
	}
	return d.filter
}

// endpoint is where an entry sends packets to.
func endpoint(e bridge.Entry, value string) (netip.Addr, bool) {
	switch e.Kind {
	case bridge.Flood:
		return e.IP, true
	case bridge.Remote:
		a, err := netip.ParseAddr(value)
		return a, err == nil
	}
	return netip.Addr{}, false
}
