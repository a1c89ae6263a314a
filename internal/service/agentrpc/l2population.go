package agentrpc

import (
	"context"
	"slices"

	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/rpc"
	"neutrino/internal/store"
)

// L2 population (upstream ml2/drivers/l2pop/mech_driver.py): hosts learn where the addresses of a tunnel network are.
// Messages go to the hosts that have the network, not to all.

// place is a bound port of a tunnel network.
type place struct {
	port, mac, host string
	ips             []string
	wired           bool // its L2 agent is done; others, DHCP for example, may not be
}

// overlay is a tunnel network.
type overlay struct {
	networkType string
	vni         int
	hosts       []string // that have a port of it, also one that is not wired yet: what is told in the meantime must not pass them by
	tellHost    bool     // a host must learn all of it
	places      []place  // then
}

// boundPorts are the ports of networks with their active bindings; isWired is the condition that a port's L2 agent is done.
const (
	boundPorts = "FROM ports p JOIN ml2_port_bindings b ON b.port_id = p.id AND b.status = 'ACTIVE' AND b.host <> '' "
	isWired    = "p.status IN ('ACTIVE', 'BUILD') AND NOT EXISTS (SELECT 1 FROM provisioningblocks w WHERE w.standard_attr_id = p.standard_attr_id AND w.entity = '" + EntityL2 + "') "
)

// overlays reads the tunnel networks among networks, and who has them.
func (s *Server) overlays(tx *store.Tx, networks []string) (map[string]*overlay, error) {
	out := map[string]*overlay{}
	in := resource.In("network_id", networks)
	rows, err := tx.Query("SELECT network_id, network_type, segmentation_id FROM networksegments WHERE network_type IN ('vxlan', 'gre', 'geneve') AND "+
		in.SQL+" ORDER BY segment_index DESC", in.Args...)
	if _, err := store.All(rows, err, func(rows *store.Rows) (struct{}, error) {
		var id string
		o := &overlay{}
		err := rows.Scan(&id, &o.networkType, &o.vni)
		out[id] = o
		return struct{}{}, err
	}); err != nil || len(out) == 0 {
		return out, err
	}
	in = resource.In("p.network_id", slices.Collect(keys(out)))
	rows, err = tx.Query("SELECT DISTINCT p.network_id, b.host "+boundPorts+"WHERE "+in.SQL+" ORDER BY p.network_id, b.host", in.Args...)
	_, err = store.All(rows, err, func(rows *store.Rows) (struct{}, error) {
		var network, host string
		err := rows.Scan(&network, &host)
		if err == nil {
			out[network].hosts = append(out[network].hosts, host)
		}
		return struct{}{}, err
	})
	return out, err
}

// readPlaces reads where the ports of a network are.
func (o *overlay) readPlaces(tx *store.Tx, network string) error {
	return tx.Each("SELECT p.id, p.mac_address, b.host, a.ip_address, "+isWired+boundPorts+"LEFT JOIN ipallocations a ON a.port_id = p.id "+
		"WHERE p.network_id = ? ORDER BY p.id, a.ip_address", []any{network}, func(row *store.Row) error {
		if n := len(o.places); n == 0 || o.places[n-1].port != string(row.Bytes(0)) {
			o.places = append(o.places, place{port: string(row.Bytes(0)), mac: string(row.Bytes(1)), host: row.Text(2), wired: row.Int(4) != 0})
		}
		if !row.Null(3) {
			last := &o.places[len(o.places)-1]
			last.ips = append(last.ips, string(row.Bytes(3)))
		}
		return nil
	})
}

// wiredOn counts the wired ports of a network on a host, as far as most.
func wiredOn(tx *store.Tx, network, host string, most int) (int, error) {
	n, _, err := store.One[int](tx.QueryRow("SELECT COUNT(*) FROM (SELECT p.id "+boundPorts+"WHERE p.network_id = ? AND b.host = ? AND "+isWired+"LIMIT ?) found",
		network, host, most))
	return n, err
}

// endpoints are the tunnel addresses of hosts, as their L2 agents report them.
func (s *Server) endpoints(tx *store.Tx) (map[string]string, error) {
	out := map[string]string{}
	for _, kind := range []string{rpc.AgentTypeLinuxBridge, rpc.AgentTypeOpenVSwitch} {
		list, err := s.agents.OnHost(tx, kind, "")
		if err != nil {
			return nil, err
		}
		for _, a := range list {
			if ip, _ := a.Configurations["tunneling_ip"].(string); ip != "" {
				out[a.Host] = ip
			}
		}
	}
	return out, nil
}

func entries(mac string, ips []string) []rpc.FDBEntry {
	out := make([]rpc.FDBEntry, len(ips))
	for i, ip := range ips {
		out[i] = rpc.FDBEntry{MAC: mac, IP: ip}
	}
	return out
}

// fdbFor is what host must know of the network: all wired places elsewhere.
func (o *overlay) fdbFor(host string, endpoints map[string]string) rpc.NetworkFDB {
	fdb := rpc.NetworkFDB{NetworkType: o.networkType, SegmentID: o.vni, Ports: map[string][]rpc.FDBEntry{}}
	for _, p := range o.places {
		ip := endpoints[p.host]
		if ip == "" || p.host == host || !p.wired {
			continue
		}
		if fdb.Ports[ip] == nil {
			fdb.Ports[ip] = []rpc.FDBEntry{rpc.FloodEntry}
		}
		fdb.Ports[ip] = append(fdb.Ports[ip], entries(p.mac, p.ips)...)
	}
	return fdb
}

// populate tells about ports that host just wired: the others where they are, and host, for networks that are new to it
// (or if refresh), where everything else is.
func (s *Server) populate(ctx context.Context, host string, wired []*model.Port, refresh bool) {
	networks := map[string][]*model.Port{}
	for _, p := range wired {
		networks[p.NetworkID] = append(networks[p.NetworkID], p)
	}
	if len(networks) == 0 {
		return
	}
	overlays, endpoints := s.topology(ctx, slices.Collect(keys(networks)), func(tx *store.Tx, network string, o *overlay) error {
		if !refresh {
			fresh := len(networks[network]) // are all that host has
			if n, err := wiredOn(tx, network, host, fresh+1); err != nil || n > fresh {
				return err
			}
		}
		o.tellHost = true
		return o.readPlaces(tx, network)
	})
	if endpoints[host] == "" {
		return
	}
	whole := map[string]rpc.NetworkFDB{}
	for network, ports := range networks {
		o := overlays[network]
		if o == nil {
			continue
		}
		mine := []rpc.FDBEntry{rpc.FloodEntry}
		for _, p := range ports {
			mine = append(mine, entries(p.MACAddress, addresses(p))...)
		}
		add := rpc.FDBArgs{Entries: map[string]rpc.NetworkFDB{network: {NetworkType: o.networkType, SegmentID: o.vni,
			Ports: map[string][]rpc.FDBEntry{endpoints[host]: mine}}}}
		for _, other := range o.hosts {
			if other != host {
				s.cast("add_fdb_entries", rpc.AddFDBEntries.Cast(ctx, s.bus, other, add))
			}
		}
		if o.tellHost {
			if fdb := o.fdbFor(host, endpoints); len(fdb.Ports) > 0 || refresh {
				whole[network] = fdb
			}
		}
	}
	if len(whole) > 0 {
		s.cast("add_fdb_entries", rpc.AddFDBEntries.Cast(ctx, s.bus, host, rpc.FDBArgs{Entries: whole}))
	}
}

// depopulate tells that ports are no longer at host. They are not ACTIVE any more, or deleted.
func (s *Server) depopulate(ctx context.Context, host string, lost []*model.Port) {
	networks := map[string][]*model.Port{}
	for _, p := range lost {
		networks[p.NetworkID] = append(networks[p.NetworkID], p)
	}
	if len(networks) == 0 {
		return
	}
	empty := map[string]bool{} // networks of which host has nothing left
	overlays, endpoints := s.topology(ctx, slices.Collect(keys(networks)), func(tx *store.Tx, network string, _ *overlay) error {
		n, err := wiredOn(tx, network, host, 1)
		empty[network] = n == 0
		return err
	})
	for network, ports := range networks {
		o := overlays[network]
		if o == nil || endpoints[host] == "" {
			continue
		}
		var gone []rpc.FDBEntry
		if empty[network] {
			gone = append(gone, rpc.FloodEntry)
		}
		for _, p := range ports {
			gone = append(gone, entries(p.MACAddress, addresses(p))...)
		}
		args := rpc.FDBArgs{Entries: map[string]rpc.NetworkFDB{network: {NetworkType: o.networkType, SegmentID: o.vni,
			Ports: map[string][]rpc.FDBEntry{endpoints[host]: gone}}}}
		for _, other := range o.hosts {
			if other != host {
				s.cast("remove_fdb_entries", rpc.RemoveFDBEntries.Cast(ctx, s.bus, other, args))
			}
		}
	}
}

// repopulate tells about changed addresses of a port that stays where it is.
func (s *Server) repopulate(ctx context.Context, old, now *model.Port) {
	overlays, endpoints := s.topology(ctx, []string{now.NetworkID}, nil)
	o := overlays[now.NetworkID]
	if o == nil || endpoints[now.HostID] == "" {
		return
	}
	change := rpc.FDBChange{Before: entries(old.MACAddress, addresses(old)), After: entries(now.MACAddress, addresses(now))}
	change.Before, change.After = without(change.Before, change.After), without(change.After, change.Before)
	var args rpc.FDBChangeArgs
	args.Entries.ChangedIPs = map[string]map[string]rpc.FDBChange{now.NetworkID: {endpoints[now.HostID]: change}}
	for _, other := range o.hosts {
		if other != now.HostID {
			s.cast("update_fdb_entries", rpc.UpdateFDBEntries.Cast(ctx, s.bus, other, args))
		}
	}
}

func without(in, other []rpc.FDBEntry) []rpc.FDBEntry {
	return slices.DeleteFunc(slices.Clone(in), func(e rpc.FDBEntry) bool { return slices.Contains(other, e) })
}

func addresses(p *model.Port) []string {
	return convert(p.FixedIPs, func(f model.FixedIP) string { return f.IPAddress })
}

// topology reads the tunnel networks among networks and the endpoints of hosts; more, if it is given, is asked about each network.
func (s *Server) topology(ctx context.Context, networks []string, more func(*store.Tx, string, *overlay) error) (overlays map[string]*overlay, endpoints map[string]string) {
	err := s.db.Read(ctx, func(tx *store.Tx) (err error) {
		if overlays, err = s.overlays(tx, networks); err != nil || len(overlays) == 0 {
			return err
		}
		for network, o := range overlays {
			if more == nil {
				break
			}
			if err := more(tx, network, o); err != nil {
				return err
			}
		}
		endpoints, err = s.endpoints(tx)
		return err
	})
	if err != nil {
		s.log.Error("cannot read where ports are; hosts will learn it when their agents resync", "error", err)
	}
	return overlays, endpoints
}

func keys[K comparable, V any](m map[K]V) func(yield func(K) bool) {
	return func(yield func(K) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}
