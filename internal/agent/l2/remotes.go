package l2

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"neutrino/internal/linux/bridge"
	"neutrino/internal/reconcile"
	"neutrino/internal/rpc"
)

// remotes knows where the addresses of tunnel networks are, as servers tell, and puts that into a table of forwarding
// entries. Only networks that are wired here are of interest.
//
// Entries carry the round in which they were last told. A resync starts a new round; what was not repeated some time
// later is dropped. What the kernel has when a network is wired belongs to round 0, so that it stays in use meanwhile.
type remotes struct {
	mu        sync.Mutex
	log       *slog.Logger
	local     netip.Addr
	flooding  bool // without l2 population every endpoint gets every broadcast
	round     int
	networks  map[string]*remoteNetwork
	endpoints map[netip.Addr]bool
	table     *reconcile.Table[bridge.Entry, string]
	macs      map[string]map[netip.Addr]string // that addresses have or last had, by network: ports here may still send to these
	moved     []movedAddress
}

// movedAddress is an address that another port has now, on another host. The host where that is answers its requests for neighbours, so
// that those do not hear of it.
type movedAddress struct {
	network, mac string
	ip           netip.Addr
}

type remoteNetwork struct {
	id    string
	vni   int
	hosts map[string]*remoteHost // by MAC
	flood map[netip.Addr]int     // round by endpoint
}

type remoteHost struct {
	endpoint netip.Addr
	ips      map[netip.Addr]bool
	round    int
}

func newRemotes(local netip.Addr, flooding bool, log *slog.Logger) *remotes {
	return &remotes{log: log, local: local, flooding: flooding, round: 1, networks: map[string]*remoteNetwork{},
		endpoints: map[netip.Addr]bool{},
		table:     reconcile.NewTable[bridge.Entry](func(a, b string) bool { return a == b }), macs: map[string]map[netip.Addr]string{}}
}

// wire starts a network. kernel are the entries that there are for its VNI.
func (r *remotes) wire(id string, vni int, kernel map[bridge.Entry]string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := &remoteNetwork{id: id, vni: vni, hosts: map[string]*remoteHost{}, flood: map[netip.Addr]int{}}
	r.networks[id] = n
	there := map[bridge.Entry]string{}
	for e, value := range kernel {
		if e.VNI != vni {
			continue
		}
		there[e] = value
		switch e.Kind {
		case bridge.Flood:
			n.flood[e.IP] = 0
		case bridge.Remote:
			if endpoint, err := netip.ParseAddr(value); err == nil {
				n.hosts[e.MAC] = &remoteHost{endpoint: endpoint, ips: map[netip.Addr]bool{}}
			}
		}
	}
	r.table.Applied(there, nil)
	for e, mac := range there {
		if h := n.hosts[mac]; e.Kind == bridge.Neighbour && h != nil {
			h.ips[e.IP] = true
			r.note(id, e.IP, mac)
		}
		r.table.Unwant(e) // marks it: what is not wanted below goes
	}
	for mac, h := range n.hosts {
		r.want(n, mac, h)
	}
	for endpoint := range n.flood {
		r.wantFlood(n, endpoint)
	}
	if r.flooding {
		for endpoint := range r.endpoints {
			r.addFlood(n, endpoint)
		}
	}
}

// lost says that the kernel has none of the network's entries any more: its tunnel or bridge was made anew.
func (r *remotes) lost(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.networks[id]
	var keys []bridge.Entry
	for mac, h := range n.hosts {
		keys = slices.AppendSeq(keys, maps.Keys(hostEntries(n.vni, mac, h)))
	}
	for endpoint := range n.flood {
		keys = append(keys, bridge.Entry{Kind: bridge.Flood, VNI: n.vni, IP: endpoint})
	}
	r.table.Applied(nil, keys)
	for mac, h := range n.hosts {
		r.want(n, mac, h)
	}
	for endpoint := range n.flood {
		r.wantFlood(n, endpoint)
	}
}

// unwire ends a network.
func (r *remotes) unwire(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.macs, id)
	n := r.networks[id]
	if n == nil {
		return
	}
	delete(r.networks, id)
	for mac, h := range n.hosts {
		r.unwant(n, mac, h)
	}
	for endpoint := range n.flood {
		r.table.Unwant(bridge.Entry{Kind: bridge.Flood, VNI: n.vni, IP: endpoint})
	}
}

// wired tells whether the network was started with the VNI.
func (r *remotes) wired(id string, vni int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.networks[id]
	return n != nil && n.vni == vni
}

// saw corrects what the table takes the kernel to have, for the wired networks.
func (r *remotes) saw(kernel map[bridge.Entry]string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	vnis := map[int]bool{}
	for _, n := range r.networks {
		vnis[n.vni] = true
	}
	there := map[bridge.Entry]string{}
	for e, value := range kernel {
		if vnis[e.VNI] {
			there[e] = value
		}
	}
	put, del := r.table.Diff()
	r.table.Saw(there)
	if len(put)+len(del) > 0 { // to be written anyway
		return
	}
	if put, del = r.table.Diff(); len(put)+len(del) > 0 {
		r.log.Warn("restored: forwarding entries", "missing", len(put), "foreign", len(del))
	}
}

func (r *remotes) add(args rpc.FDBArgs) {
	r.each(args, func(n *remoteNetwork, endpoint netip.Addr, e rpc.FDBEntry) {
		if e == rpc.FloodEntry {
			r.addFlood(n, endpoint)
			return
		}
		mac, ip, ok := parseEntry(e)
		if !ok {
			return
		}
		h := n.hosts[mac]
		if h == nil || h.endpoint != endpoint || h.round != r.round { // new, moved, or told anew with all its addresses
			if h != nil {
				r.unwant(n, mac, h)
			}
			h = &remoteHost{endpoint: endpoint, ips: map[netip.Addr]bool{}, round: r.round}
			n.hosts[mac] = h
		}
		h.ips[ip] = true
		r.want(n, mac, h)
		if before := r.note(n.id, ip, mac); before != "" && before != mac {
			r.moved = append(r.moved, movedAddress{n.id, mac, ip})
		}
	})
}

// know notes an address of a port of this host.
func (r *remotes) know(network, ip, mac string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a, err := netip.ParseAddr(ip); err == nil {
		r.note(network, a, strings.ToLower(mac))
	}
}

func (r *remotes) note(network string, ip netip.Addr, mac string) (before string) {
	if r.macs[network] == nil {
		r.macs[network] = map[netip.Addr]string{}
	}
	before = r.macs[network][ip]
	r.macs[network][ip] = mac
	return before
}

// takeMoved returns the addresses that got another MAC address since it was last called.
func (r *remotes) takeMoved() []movedAddress {
	r.mu.Lock()
	defer r.mu.Unlock()
	moved := r.moved
	r.moved = nil
	return moved
}

func (r *remotes) remove(args rpc.FDBArgs) {
	r.each(args, func(n *remoteNetwork, endpoint netip.Addr, e rpc.FDBEntry) {
		if e == rpc.FloodEntry {
			delete(n.flood, endpoint)
			r.table.Unwant(bridge.Entry{Kind: bridge.Flood, VNI: n.vni, IP: endpoint})
			return
		}
		mac, ip, ok := parseEntry(e)
		h := n.hosts[mac]
		if !ok || h == nil || h.endpoint != endpoint { // it moved before the removal at its old place was told
			return
		}
		r.unwant(n, mac, h)
		if delete(h.ips, ip); len(h.ips) == 0 {
			delete(n.hosts, mac)
			return
		}
		r.want(n, mac, h)
	})
}

func (r *remotes) change(args rpc.FDBChangeArgs) {
	before, after := rpc.FDBArgs{Entries: map[string]rpc.NetworkFDB{}}, rpc.FDBArgs{Entries: map[string]rpc.NetworkFDB{}}
	for id, changes := range args.Entries.ChangedIPs {
		old, now := map[string][]rpc.FDBEntry{}, map[string][]rpc.FDBEntry{}
		for endpoint, c := range changes {
			old[endpoint], now[endpoint] = c.Before, c.After
		}
		before.Entries[id], after.Entries[id] = rpc.NetworkFDB{Ports: old}, rpc.NetworkFDB{Ports: now}
	}
	r.add(after) // first, so that the MAC is never without an entry
	r.remove(before)
}

// each calls f for the entries of wired networks that are behind other endpoints.
func (r *remotes) each(args rpc.FDBArgs, f func(n *remoteNetwork, endpoint netip.Addr, e rpc.FDBEntry)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, fdb := range args.Entries {
		n := r.networks[id]
		if n == nil {
			continue
		}
		for text, entries := range fdb.Ports {
			endpoint, err := netip.ParseAddr(text)
			if err != nil {
				r.log.Warn("forwarding entries ignored", "network", id, "endpoint", text, "error", err)
				continue
			}
			if endpoint == r.local {
				continue
			}
			for _, e := range entries {
				f(n, endpoint, e)
			}
		}
	}
}

func parseEntry(e rpc.FDBEntry) (mac string, ip netip.Addr, ok bool) {
	hw, err := net.ParseMAC(e.MAC)
	if err != nil {
		return "", ip, false
	}
	ip, err = netip.ParseAddr(e.IP)
	return hw.String(), ip, err == nil
}

// endpoint notes a tunnel endpoint that came or went.
func (r *remotes) endpoint(text string, there bool) {
	endpoint, err := netip.ParseAddr(text)
	if err != nil || endpoint == r.local {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !there {
		r.dropEndpoint(endpoint)
		return
	}
	r.endpoints[endpoint] = true
	if !r.flooding {
		return
	}
	for _, n := range r.networks {
		r.addFlood(n, endpoint)
	}
}

func (r *remotes) dropEndpoint(endpoint netip.Addr) {
	delete(r.endpoints, endpoint)
	for _, n := range r.networks {
		if _, ok := n.flood[endpoint]; ok {
			delete(n.flood, endpoint)
			r.table.Unwant(bridge.Entry{Kind: bridge.Flood, VNI: n.vni, IP: endpoint})
		}
		for mac, h := range n.hosts {
			if h.endpoint == endpoint {
				r.unwant(n, mac, h)
				delete(n.hosts, mac)
			}
		}
	}
}

// nextRound is called when the server is asked for everything.
func (r *remotes) nextRound() (round int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.round++
	return r.round
}

// expire drops what was not told since the round began.
func (r *remotes) expire(round int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.networks {
		for mac, h := range n.hosts {
			if h.round < round {
				r.unwant(n, mac, h)
				delete(n.hosts, mac)
			}
		}
		for endpoint, told := range n.flood {
			if told < round && !(r.flooding && r.endpoints[endpoint]) {
				delete(n.flood, endpoint)
				r.table.Unwant(bridge.Entry{Kind: bridge.Flood, VNI: n.vni, IP: endpoint})
			}
		}
	}
}

// apply writes what changed. Servers wait meanwhile: an entry that is told anew is away for a moment.
func (r *remotes) apply(ctx context.Context, d reconcile.Driver[bridge.Entry, string]) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, err := reconcile.Apply(ctx, r.table, d)
	return err
}

func (r *remotes) addFlood(n *remoteNetwork, endpoint netip.Addr) {
	n.flood[endpoint] = r.round
	r.wantFlood(n, endpoint)
}

func (r *remotes) wantFlood(n *remoteNetwork, endpoint netip.Addr) {
	r.table.Want(bridge.Entry{Kind: bridge.Flood, VNI: n.vni, IP: endpoint}, "")
}

func (r *remotes) want(n *remoteNetwork, mac string, h *remoteHost) {
	for e, value := range hostEntries(n.vni, mac, h) {
		r.table.Want(e, value)
	}
}

func (r *remotes) unwant(n *remoteNetwork, mac string, h *remoteHost) {
	for e, value := range hostEntries(n.vni, mac, h) {
		if now, _ := r.table.Wanted(e); now == value { // an address may belong to another port by now
			r.table.Unwant(e)
		}
	}
}

func hostEntries(vni int, mac string, h *remoteHost) map[bridge.Entry]string {
	all := map[bridge.Entry]string{
		{Kind: bridge.Remote, VNI: vni, MAC: mac}: h.endpoint.String(),
		{Kind: bridge.Static, VNI: vni, MAC: mac}: "",
	}
	for ip := range h.ips {
		all[bridge.Entry{Kind: bridge.Neighbour, VNI: vni, IP: ip}] = mac
	}
	return all
}
