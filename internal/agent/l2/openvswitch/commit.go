package openvswitch

import (
	"context"
	"encoding/base32"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"neutrino/internal/agent/l2/firewall"
	"neutrino/internal/agent/l2/wiring"
	"neutrino/internal/linux/bridge"
	"neutrino/internal/ovs"

	"golang.org/x/crypto/blake2b"
)

// flowsOf is what the flows of a port were made of: they are made again when it changes.
type flowsOf struct {
	place
	up      bool
	mode    firewall.Mode
	edition int // of the filter
}

// tag is the VLAN that a port is to have: that of its network once it is open.
func (d *Driver) tag(name string, x *device) int {
	n := d.networks[x.ID]
	if n == nil || !x.up || d.mode(name) == firewall.Closed {
		return deadVLAN
	}
	return n.vlan
}

func (d *Driver) mode(name string) firewall.Mode {
	if d.filter == nil {
		return firewall.Open
	}
	mode, _ := d.filter.Mode(name)
	return mode
}

// Commit sends what changed: one bundle of flows for each bridge, then one transaction. So a port's flows are there before
// it gets its VLAN, and what has no flows is closed.
func (d *Driver) Commit(ctx context.Context, complete, told bool) error {
	d.mend(ctx)
	if err := d.shut(ctx); err != nil {
		return err
	}
	p := d.picture.Load()
	t := d.db.Begin(p.State)
	d.tunnelPorts(t, p, complete && told)
	d.makeFlows(p)
	if err := d.sendFlows(ctx, complete); err != nil {
		return err
	}
	d.forget()
	if complete && !d.swept {
		if err := d.sweepStrangers(ctx); err != nil {
			return err
		}
	}
	d.ports(t, p, complete)
	if t.Empty() {
		clear(d.removed)
		return nil
	}
	d.writes.Add(1)
	if err := t.Commit(ctx); err != nil {
		return err
	}
	clear(d.removed)
	return d.look(ctx)
}

// shut takes ports out of their networks that are to be closed, while their flows are still there: without, nothing would filter
// what is sent to them.
func (d *Driver) shut(ctx context.Context) error {
	p := d.picture.Load()
	t := d.db.Begin(p.State)
	for name, port := range p.ports {
		x, has := d.devices[name], tagOf(p.Ports[port])
		if has > 0 && has != deadVLAN && (x != nil && d.tag(name, x) == deadVLAN || x == nil && d.removed[name]) {
			d.notice(x, port, has, deadVLAN)
			t.SetPort(port, deadVLAN, nil)
		}
	}
	if t.Empty() {
		return nil
	}
	d.writes.Add(1)
	if err := t.Commit(ctx); err != nil {
		return err
	}
	waiting, cancel := context.WithTimeout(ctx, shutTimeout)
	defer cancel()
	if err := d.db.Settle(waiting, p.State); err != nil { // a dead ovs-vswitchd forwards nothing
		d.log.Warn("ovs-vswitchd does not close ports yet", "error", err)
	}
	return d.look(ctx)
}

// shutTimeout is how long ovs-vswitchd may take to close ports.
const shutTimeout = 2 * time.Second

// table is the flows of a bridge.
func (d *Driver) table(name string) *ovs.Flows {
	if d.flows[name] == nil {
		d.flows[name] = ovs.NewFlows(tableLocal, tableTransient)
	}
	return d.flows[name]
}

// makeFlows makes the flows of everything that changed.
func (d *Driver) makeFlows(p *picture) {
	integration := d.table(d.cfg.IntegrationBridge)
	integration.Want("base", integrationFlows(p.number(d.cfg.PatchToTunnels))...)
	if len(d.TunnelTypes()) > 0 && p.number(d.cfg.PatchFromTunnels) > 0 {
		d.table(d.cfg.TunnelBridge).Want("base", tunnelFlows(p.number(d.cfg.PatchFromTunnels), d.cfg.ARPResponder)...)
	}
	for _, name := range d.cfg.BridgeMappings {
		if p.number(patchIn(name)) == 0 || p.number(patchOut(name)) == 0 {
			continue
		}
		d.table(name).Want("base", physicalFlows(p.number(patchOut(name)))...)
		integration.Want("physical "+name, drop(tableLocal, 2, inPort(p.number(patchIn(name)))))
	}
	for id, n := range d.networks {
		d.wantNetwork(id, n)
	}
	d.portFlows(p)
	d.forwarding(p)
}

// wantNetwork makes the flows of a network, or removes them.
func (d *Driver) wantNetwork(id string, n *network) {
	owner := "network " + id
	integration := d.table(d.cfg.IntegrationBridge)
	if n == nil || n.stale {
		for _, t := range d.flows {
			t.Want(owner)
		}
	}
	if n == nil {
		return
	}
	n.stale = false
	switch n.Type {
	case "vlan", "flat":
		name := d.cfg.BridgeMappings[n.Physical]
		p := d.picture.Load()
		segment := n.Segment
		if n.Type == "flat" {
			segment = 0
		}
		integration.Want(owner, physicalInFlows(p.number(patchIn(name)), n.vlan, segment)...)
		d.table(name).Want(owner, physicalOutFlows(p.number(patchOut(name)), n.vlan, segment)...)
	case "local":
	default:
		d.table(d.cfg.TunnelBridge).Want(owner, tunnelNetworkFlows(n.Type, n.Segment, n.vlan)...)
	}
}

// portFlows makes the flows of ports that changed, and of members if any did.
func (d *Driver) portFlows(p *picture) {
	table := d.table(d.cfg.IntegrationBridge)
	for name := range d.removed {
		if d.devices[name] == nil {
			table.Want("port " + name)
		}
	}
	changed := len(d.removed) > 0
	for name, x := range d.devices {
		now := d.basis(p, name, x)
		if now == x.made && !(now.number > 0 && now.up && now.mode != firewall.Closed && !table.Owned("port "+name)) {
			continue
		}
		x.made, changed = now, true
		switch {
		case now.number == 0 || now.vlan == 0 || !now.up || now.mode == firewall.Closed:
			table.Want("port " + name)
		case now.mode == firewall.Open:
			table.Want("port "+name, openFlows(now.place)...)
		default:
			f := d.filter.ports[name].Port
			table.Want("port "+name, append(filteredFlows(now.place, f, d.cfg.PermittedEthertypes...), groupFlows(now.place, f, d.filter.groups, d.filter.id)...)...)
		}
	}
	if d.filter != nil {
		d.memberFlows(changed)
	}
	if d.filter != nil && changed {
		d.deliver()
	}
}

// delivery is a MAC address on a network.
type delivery struct {
	vlan int
	mac  string
}

func (k delivery) owner() string { return fmt.Sprintf("mac %d %s", k.vlan, k.mac) }

// deliver makes the flows for other MAC addresses than their own that address pairs of ports have. One that is a port's own stays that port's.
func (d *Driver) deliver() {
	own, others := map[delivery]bool{}, map[delivery][]receiver{}
	for name, x := range d.devices {
		f := d.filter.ports[name]
		if f == nil || x.made.mode != firewall.Filtered || x.made.number == 0 || x.made.vlan == 0 || !x.made.up {
			continue
		}
		own[delivery{x.made.vlan, f.MAC}] = true
		for _, mac := range macsOf(f.Port)[1:] {
			k := delivery{x.made.vlan, mac}
			others[k] = append(others[k], receiver{x.made.place, f.Stateless})
		}
	}
	table := d.table(d.cfg.IntegrationBridge)
	maps.DeleteFunc(others, func(k delivery, _ []receiver) bool { return own[k] })
	for k := range d.delivered {
		if others[k] == nil {
			table.Want(k.owner())
		}
	}
	for k, to := range others {
		slices.SortFunc(to, func(a, b receiver) int { return a.number - b.number })
		table.Want(k.owner(), deliveryFlows(k.vlan, k.mac, to...)...)
	}
	d.delivered = others
}

// basis is what the flows of a port are to be made of.
func (d *Driver) basis(p *picture, name string, x *device) flowsOf {
	b := flowsOf{place: place{number: p.number(p.ports[name])}, up: x.up, mode: d.mode(name)}
	if n := d.networks[x.ID]; n != nil {
		b.vlan = n.vlan
	}
	if b.mode != firewall.Filtered {
		return b
	}
	f := d.filter.ports[name]
	b.edition = f.edition
	for _, g := range f.Groups {
		b.edition = max(b.edition, d.filter.touched[g])
	}
	return b
}

// memberFlows makes the sides of conjunctions that all ports of a network share: those of addresses that joined or left
// groups, and, if ports changed, all those of networks whose conjunctions did.
func (d *Driver) memberFlows(portsChanged bool) {
	f := d.filter
	if portsChanged {
		now := d.conjunctions()
		for vlan := range d.shared {
			if now[vlan] == nil {
				d.allMembers(vlan, nil)
				d.roamers(vlan, nil)
			}
		}
		for vlan, used := range now {
			if !maps.Equal(used, d.shared[vlan]) {
				d.allMembers(vlan, used)
				d.roamers(vlan, used)
			}
		}
		d.shared = now
	}
	if f.strayed {
		for vlan, used := range d.shared {
			d.roamers(vlan, used)
		}
	}
	f.strayed = false
	for p := range f.stirred {
		for vlan, used := range d.shared {
			d.member(vlan, used, p)
		}
	}
	clear(f.stirred)
}

// conjunctions are those that ports need, by local VLAN. Groups that no port has are forgotten.
func (d *Driver) conjunctions() map[int]map[conjunctionKey]uint32 {
	f := d.filter
	used, groups, byVLAN := map[conjunctionKey]bool{}, map[string]bool{}, map[int]map[conjunctionKey]uint32{}
	for name, x := range d.devices {
		port := f.ports[name]
		if port == nil || port.Mode != firewall.Filtered || !x.made.up {
			continue
		}
		for _, g := range port.Groups {
			groups[g] = true
			for _, r := range f.groups[g] {
				if r.Remote == "" || x.made.vlan == 0 {
					continue
				}
				k := conjunctionKey{x.made.vlan, g, r.Remote, r.Ingress, r.V6, specificity(r), port.Stateless}
				used[k] = true
				if byVLAN[k.vlan] == nil {
					byVLAN[k.vlan] = map[conjunctionKey]uint32{}
				}
				byVLAN[k.vlan][k] = f.id(k)
			}
		}
	}
	for _, port := range f.ports { // those that are not plugged yet keep their groups
		for _, g := range port.Groups {
			groups[g] = true
		}
	}
	f.forget(used, groups)
	return byVLAN
}

// allMembers makes the flows of all members on a network.
func (d *Driver) allMembers(vlan int, used map[conjunctionKey]uint32) {
	all := maps.Clone(d.members[vlan])
	if all == nil {
		all = map[netip.Prefix]bool{}
	}
	for k := range used {
		maps.Copy(all, d.filter.members[memberKey{k.remote, k.v6}])
	}
	for p := range all {
		d.member(vlan, used, p)
	}
}

// member makes the flows of one address on a network, or removes them.
func (d *Driver) member(vlan int, used map[conjunctionKey]uint32, p netip.Prefix) {
	flows := memberFlows(used, func(group string, v6 bool) []netip.Prefix {
		if d.filter.members[memberKey{group, v6}][p] {
			return []netip.Prefix{p}
		}
		return nil
	})
	if d.members[vlan] == nil {
		d.members[vlan] = map[netip.Prefix]bool{}
	}
	if len(flows) > 0 {
		d.members[vlan][p] = true
	} else if !d.members[vlan][p] {
		return
	} else if delete(d.members[vlan], p); len(d.members[vlan]) == 0 {
		delete(d.members, vlan)
	}
	d.table(d.cfg.IntegrationBridge).Want(fmt.Sprintf("member %d %s", vlan, p), flows...)
}

// roamers makes the flows of the members with every address on a network.
func (d *Driver) roamers(vlan int, used map[conjunctionKey]uint32) {
	d.table(d.cfg.IntegrationBridge).Want(fmt.Sprintf("roaming %d", vlan), roamingFlows(used, d.filter.roaming)...)
}

// tunnelName is upstream's name of the port to an endpoint: the address, or as much as a device's name may have of a hash
// (neutron/plugins/ml2/drivers/openvswitch/agent/ovs_neutron_agent.py, get_tunnel_name).
func tunnelName(kind string, endpoint netip.Addr) string {
	if endpoint.Is4() {
		return fmt.Sprintf("%s-%08x", kind, endpoint.AsSlice())
	}
	h, _ := blake2b.New(20, nil) // an error means a size that there is not
	h.Write([]byte(endpoint.String()))
	return cut(kind + "-" + strings.ToLower(base32.StdEncoding.EncodeToString(h.Sum(nil))))
}

// tunnelPorts adds the tunnels that networks need and, once everything is known, removes the others of ours.
// That is later than at the start: the flows that told an earlier run's entries may be lost with an ovs-vswitchd of before.
func (d *Driver) tunnelPorts(t *ovs.Transaction, p *picture, known bool) {
	if len(d.TunnelTypes()) == 0 {
		return
	}
	needed := map[string]bool{}
	for e, value := range d.entries {
		n, to := d.networks[d.vlans[e.VNI]], netip.Addr{}
		var ok bool
		if to, ok = endpoint(e, value); !ok || n == nil || tunnelTables[n.Type] == 0 {
			continue
		}
		name := tunnelName(n.Type, to)
		if needed[name] {
			continue
		}
		needed[name] = true
		wanted := d.tunnel(name, n.Type, to)
		if p.BridgeOf[name] == "" {
			if d.tunnels[n.Type][to] > 0 {
				d.log.Warn("tunnels are missing, they are made again", "tunnel", name)
			}
			t.AddPort(d.cfg.TunnelBridge, ovs.Port{Name: name}, wanted)
			continue
		}
		if options, changed := corrected(p.Interfaces[name].Options, wanted.Options); changed {
			d.log.Warn("a tunnel has other options than it should, they are set again", "tunnel", name, "options", p.Interfaces[name].Options)
			t.SetOptions(name, options)
		}
	}
	table := d.table(d.cfg.TunnelBridge)
	for name := range d.entrances {
		if p.BridgeOf[name] == d.cfg.TunnelBridge {
			continue
		}
		if !needed[name] { // if it is needed, that was said above
			d.log.Warn("a tunnel that was about to be removed is gone", "tunnel", name)
		}
		table.Want("tunnel " + name)
		delete(d.entrances, name)
	}
	for name, i := range p.Interfaces {
		if p.BridgeOf[name] != d.cfg.TunnelBridge || tunnelTables[i.Type] == 0 || !strings.HasPrefix(name, i.Type+"-") {
			continue
		}
		if !needed[name] && known && d.cfg.L2Population && len(d.restored) == 0 {
			t.RemovePort(name)
			delete(d.tunnels, i.Type) // it may come back, and was not lost
			table.Want("tunnel " + name)
			delete(d.entrances, name)
		} else if n := i.Number(); n > 0 {
			table.Want("tunnel "+name, tunnelPortFlows(i.Type, n)...)
			d.entrances[name] = true
		}
	}
}

func (d *Driver) tunnel(name, kind string, endpoint netip.Addr) ovs.Interface {
	options := map[string]string{"remote_ip": endpoint.String(), "local_ip": d.cfg.LocalIP.String(), "in_key": "flow", "out_key": "flow",
		"df_default": strconv.FormatBool(!d.cfg.SkipFragment)}
	if kind == "vxlan" && d.cfg.VXLANPort != 4789 {
		options["dst_port"] = strconv.Itoa(d.cfg.VXLANPort)
	}
	if d.cfg.TunnelChecksum {
		options["csum"] = "true"
	}
	return ovs.Interface{Name: name, Type: kind, Options: options}
}

// tunnelOptions are those that the configuration decides.
var tunnelOptions = []string{"remote_ip", "local_ip", "in_key", "out_key", "df_default", "dst_port", "csum"}

// corrected are a tunnel's options as they should be; others stay, such as those that upstream's agent gives.
func corrected(have, wanted map[string]string) (options map[string]string, changed bool) {
	options = map[string]string{}
	maps.Copy(options, have)
	for _, key := range tunnelOptions {
		if have[key] == wanted[key] {
			continue
		}
		changed = true
		if options[key] = wanted[key]; wanted[key] == "" {
			delete(options, key)
		}
	}
	return options, changed
}

// tunnelNumbers are the ports of tunnels of a kind, by endpoint.
func (d *Driver) tunnelNumbers(p *picture, kind string) map[netip.Addr]int {
	out := map[netip.Addr]int{}
	for name, i := range p.Interfaces {
		if i.Type != kind || p.BridgeOf[name] != d.cfg.TunnelBridge {
			continue
		}
		if a, err := netip.ParseAddr(i.Options["remote_ip"]); err == nil && i.Number() > 0 {
			out[a] = i.Number()
		}
	}
	return out
}

// forwarding makes the flows for forwarding entries. They are made again for all networks when a tunnel gets a number.
func (d *Driver) forwarding(p *picture) {
	if len(d.TunnelTypes()) == 0 {
		return
	}
	ports := map[string]map[netip.Addr]int{}
	for _, kind := range d.TunnelTypes() {
		ports[kind] = d.tunnelNumbers(p, kind)
	}
	same := maps.EqualFunc(ports, d.tunnels, func(a, b map[netip.Addr]int) bool { return maps.Equal(a, b) })
	if same && len(d.moved) == 0 {
		return
	}
	d.tunnels = ports
	byVLAN := map[int]map[bridge.Entry]string{}
	for e, value := range d.entries {
		if byVLAN[e.VNI] == nil {
			byVLAN[e.VNI] = map[bridge.Entry]string{}
		}
		byVLAN[e.VNI][e] = value
	}
	table := d.table(d.cfg.TunnelBridge)
	for vlan := range d.moved {
		if d.networks[d.vlans[vlan]] == nil {
			table.Want("forward " + strconv.Itoa(vlan))
		}
	}
	answers := responder{arp: d.cfg.ARPResponder, nd: p.Bridges[d.cfg.TunnelBridge] != nil && p.Bridges[d.cfg.TunnelBridge].DatapathType == "netdev"}
	for _, n := range d.networks {
		if tunnelTables[n.Type] > 0 && (!same || d.moved[n.vlan]) {
			table.Want("forward "+strconv.Itoa(n.vlan), forwardFlows(n.vlan, n.Segment, byVLAN[n.vlan], ports[n.Type], answers)...)
		}
	}
	clear(d.moved)
}

// sendFlows sends bundles to each bridge that needs any.
func (d *Driver) sendFlows(ctx context.Context, complete bool) error {
	verify := d.flushed.Swap(false)
	for _, name := range keysSorted(d.flows) {
		t := d.flows[name]
		if slices.Contains(d.lacking, name) { // its flows are read when it is back
			continue
		}
		if err := d.sendBundles(ctx, name, t, verify, complete); err != nil {
			d.flushed.Store(true) // nobody knows what is there
			return err
		}
	}
	return nil
}

func (d *Driver) sendBundles(ctx context.Context, name string, t *ovs.Flows, verify, complete bool) error {
	if verify || !t.Loaded() {
		there, err := d.sw.Survey(ctx, name)
		if err != nil {
			return err
		}
		if !d.swept {
			d.surveys[name] = there
		}
		if lost := t.Saw(there.Own); lost > 0 {
			d.log.Warn("flows are missing, they are made again", "bridge", name, "count", lost)
		}
	}
	if stages := t.Bundles(complete); len(stages) > 0 {
		d.writes.Add(1)
		if err := d.sw.ApplyAll(ctx, name, stages); err != nil {
			return err
		}
		count := 0
		for _, bundle := range slices.Concat(stages...) {
			count += strings.Count(bundle, "\n")
		}
		d.log.Debug("flows changed", "bridge", name, "count", count)
	}
	t.Done(complete)
	return nil
}

// sweepStrangers removes, once ours are complete, what another agent left before this one.
func (d *Driver) sweepStrangers(ctx context.Context) error {
	for _, name := range keysSorted(d.flows) {
		if d.surveys[name] == nil { // its bridge does not exist
			continue
		}
		tables := physicalTables
		switch name {
		case d.cfg.IntegrationBridge:
			tables = integrationTables
		case d.cfg.TunnelBridge:
			tables = tunnelAllTables
		}
		bundle := d.surveys[name].Removals(tables)
		if bundle == "" {
			continue
		}
		d.log.Warn("flows of others are removed", "bridge", name, "flows", strings.Fields(strings.ReplaceAll(bundle, "delete ", "")))
		d.writes.Add(1)
		if err := d.sw.Apply(ctx, name, bundle); err != nil {
			return err
		}
	}
	d.swept = true
	clear(d.surveys)
	return nil
}

// ports gives ports their VLANs, plugs those of services and removes those of services that are gone.
func (d *Driver) ports(t *ovs.Transaction, p *picture, complete bool) {
	for _, name := range keysSorted(d.devices) {
		x := d.devices[name]
		tag, note := d.tag(name, x), map[string]string{}
		if n := d.networks[x.ID]; n != nil {
			note = n.note
		}
		if port := p.ports[name]; port != "" {
			has := tagOf(p.Ports[port])
			d.notice(x, port, has, tag)
			if has == tag {
				x.seen = tag
			}
			t.SetPort(port, tag, note)
			continue
		}
		if !x.served || d.service(name) == nil || p.BridgeOf[name] != "" { // Nova's are about to go
			continue
		}
		t.AddPort(d.cfg.IntegrationBridge, ovs.Port{Name: name, Tag: &tag, OtherConfig: note}, ovs.Interface{Name: name,
			ExternalIDs: map[string]string{ifaceID: x.portID, "iface-status": "active", "attached-mac": x.mac, ours: "true"}})
	}
	for name, port := range p.ports {
		if d.devices[name] != nil {
			continue
		}
		gone := d.removed[name] || complete
		if gone && p.Interfaces[port].ExternalIDs[ours] != "" && d.links.Get(port) == nil {
			t.RemovePort(port)
		} else if d.removed[name] {
			t.SetPort(port, deadVLAN, nil)
		}
	}
}

// notice says that somebody changed the VLAN of a port.
func (d *Driver) notice(x *device, port string, has, tag int) {
	if x != nil && x.seen == tag && has != tag {
		d.log.Warn("VLAN of a port is not as it should be, it is set again", "port", port, "vlan", has, "should_be", tag)
	}
}

// noteOf is what upstream's agent notes of a port's network.
func noteOf(n wiring.Network, vlan int) map[string]string {
	note := map[string]string{"net_uuid": n.ID, "network_type": n.Type, "tag": strconv.Itoa(vlan)}
	if n.Physical != "" {
		note["physical_network"] = n.Physical
	}
	if n.Type != "flat" && n.Type != "local" {
		note["segmentation_id"] = strconv.Itoa(n.Segment)
	}
	return note
}

// entryDriver keeps forwarding entries for the next Commit.
type entryDriver struct{ *Driver }

var (
	vlanWord   = regexp.MustCompile(`dl_vlan=(\d+)`)
	macWord    = regexp.MustCompile(`dl_dst=([0-9a-f:]{17})`)
	targetWord = regexp.MustCompile(`(?:arp_tpa|nd_target)=([0-9a-f:.]+)`)
	sourceWord = regexp.MustCompile(`set_field:([0-9a-f:]{17})->eth_src`)
	outputWord = regexp.MustCompile(`output:(\d+)`)
)

// List is what Apply was told. At first it is read from the flows that an earlier run left: they stay in use until the
// server has told everything again.
func (d *entryDriver) List(ctx context.Context) (map[bridge.Entry]string, error) {
	if d.loaded || len(d.TunnelTypes()) == 0 {
		return maps.Clone(d.entries), nil
	}
	all, err := d.read(ctx)
	if err != nil {
		return nil, err
	}
	d.loaded = true
	for e, value := range all {
		d.entries[e], d.moved[e.VNI] = value, true
	}
	return maps.Clone(d.entries), nil
}

func (d *entryDriver) read(ctx context.Context) (map[bridge.Entry]string, error) {
	p := d.picture.Load()
	endpoints := map[int]netip.Addr{}
	for _, kind := range d.TunnelTypes() {
		for a, n := range d.tunnelNumbers(p, kind) {
			endpoints[n] = a
		}
	}
	all := map[bridge.Entry]string{}
	for _, table := range []int{tableUnicast, tableARP, tableFlood} {
		dump, err := d.sw.Dump(ctx, d.cfg.TunnelBridge, "table="+strconv.Itoa(table))
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(dump) {
			if ovs.Ours(line) {
				readEntry(all, table, line, endpoints)
			}
		}
	}
	return all, nil
}

func readEntry(all map[bridge.Entry]string, table int, line string, endpoints map[int]netip.Addr) {
	word := func(x *regexp.Regexp) string {
		if m := x.FindStringSubmatch(line); m != nil {
			return m[1]
		}
		return ""
	}
	vlan, err := strconv.Atoi(word(vlanWord))
	if err != nil {
		return
	}
	if table == tableARP {
		if ip, err := netip.ParseAddr(word(targetWord)); err == nil && word(sourceWord) != "" {
			all[bridge.Entry{Kind: bridge.Neighbour, VNI: vlan, IP: ip}] = word(sourceWord)
		}
		return
	}
	for _, m := range outputWord.FindAllStringSubmatch(line, -1) {
		n, _ := strconv.Atoi(m[1])
		endpoint, known := endpoints[n]
		switch {
		case !known:
		case table == tableFlood:
			all[bridge.Entry{Kind: bridge.Flood, VNI: vlan, IP: endpoint}] = ""
		default:
			all[bridge.Entry{Kind: bridge.Remote, VNI: vlan, MAC: word(macWord)}] = endpoint.String()
			all[bridge.Entry{Kind: bridge.Static, VNI: vlan, MAC: word(macWord)}] = ""
		}
	}
}

// Apply notes entries.
func (d *entryDriver) Apply(_ context.Context, put map[bridge.Entry]string, del []bridge.Entry) error {
	for e, value := range put {
		d.entries[e] = value
		d.moved[e.VNI] = true
	}
	for _, e := range del {
		delete(d.entries, e)
		d.moved[e.VNI] = true
	}
	return nil
}
