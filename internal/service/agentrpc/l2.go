package agentrpc

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/rpc"
	"neutrino/internal/store"

	"github.com/google/uuid"
)

// deviceKey is what a device name and a port id have in common: the first eleven characters of the id.
func deviceKey(device string) string {
	s := strings.TrimPrefix(device, "tap")
	return s[:min(len(s), 11)]
}

// portsOf finds the ports that devices are. With a host only ports that are bound there are looked at.
func (s *Server) portsOf(tx *store.Tx, host string, devices []string, set resource.Set) (map[string]*model.Port, error) {
	found := map[string]*model.Port{}
	where := []resource.Cond{deviceCond(devices)}
	switch {
	case host == "":
	case len(devices) > fewDevices:
		where = append(where, resource.Cond{SQL: "t.id IN (SELECT b.port_id FROM ml2_port_bindings b WHERE b.host = ?)", Args: []any{host}})
	default: // databases would rather begin with the host's ports, however many there are
		where = append(where, resource.Cond{SQL: "EXISTS (SELECT 1 FROM ml2_port_bindings b WHERE b.port_id = t.id AND b.host = ?)", Args: []any{host}})
	}
	ports, err := s.catalog.Ports.Select(tx, &resource.Query{Set: set, Where: where})
	if err != nil {
		return nil, err
	}
	byKey := map[string]*model.Port{}
	for _, p := range ports {
		byKey[deviceKey(p.ID)] = p
	}
	for _, d := range devices {
		if p := byKey[deviceKey(d)]; p != nil {
			found[d] = p
		}
	}
	return found, nil
}

// fewDevices is up to how many devices are found by ranges of the primary key, which takes an index but a condition each.
const fewDevices = 20

// deviceCond is the condition for the ports that devices are.
func deviceCond(devices []string) resource.Cond {
	ids := slices.DeleteFunc(slices.Clone(devices), func(d string) bool { return uuid.Validate(d) != nil })
	if len(ids) == len(devices) {
		return resource.In("t.id", ids)
	}
	keys := make([]string, len(devices))
	for i, d := range devices {
		keys[i] = deviceKey(d)
	}
	if len(keys) > fewDevices {
		return resource.In("SUBSTR(t.id, 1, 11)", keys)
	}
	var c resource.Cond
	for _, k := range keys {
		c.SQL += " OR t.id >= ? AND t.id < ?"
		c.Args = append(c.Args, k, k+"g")
	}
	return resource.Cond{SQL: "(" + strings.TrimPrefix(c.SQL, " OR ") + ")", Args: c.Args}
}

// segment is where a port is bound.
type segment struct {
	networkType     string
	physicalNetwork *string
	segmentationID  *int
}

// boundSegments are the lowest levels of the ports' bindings on host.
func boundSegments(tx *store.Tx, host string, ports []string) (map[string]segment, error) {
	in := resource.In("l.port_id", ports)
	rows, err := tx.Query("SELECT l.port_id, g.network_type, g.physical_network, g.segmentation_id FROM ml2_port_binding_levels l "+
		"JOIN networksegments g ON g.id = l.segment_id WHERE l.host = ? AND "+in.SQL+" ORDER BY l.level", append([]any{host}, in.Args...)...)
	out := map[string]segment{}
	_, err = store.All(rows, err, func(rows *store.Rows) (struct{}, error) {
		var id string
		var g segment
		err := rows.Scan(&id, &g.networkType, &g.physicalNetwork, &g.segmentationID)
		out[id] = g
		return struct{}{}, err
	})
	return out, err
}

// mtus returns the MTU of networks.
func (s *Server) mtus(tx *store.Tx, networks []string) (map[string]int, error) {
	list, err := s.catalog.Networks.Select(tx, &resource.Query{Set: s.catalog.Networks.Bits("id", "mtu"),
		Where: []resource.Cond{s.catalog.Networks.ByID(networks...)}})
	out := map[string]int{}
	for _, n := range list {
		out[n.ID] = n.MTU
	}
	return out, err
}

// devicesDetails answers how devices are wired. Ports that were down are being built from now on; unlike upstream, a
// port that is ACTIVE stays so when its agent asks again.
func (s *Server) devicesDetails(ctx context.Context, args rpc.DevicesArgs) (rpc.DevicesDetails, error) {
	out := rpc.DevicesDetails{Devices: []rpc.DeviceDetails{}, FailedDevices: []string{}}
	if len(args.Devices) == 0 {
		return out, nil
	}
	changed := map[string][]string{} // ports by their new status
	err := s.db.Read(ctx, func(tx *store.Tx) error {
		out.Devices = out.Devices[:0]
		clear(changed)
		ports, err := s.portsOf(tx, args.Host, args.Devices, s.catalog.Ports.All)
		if err != nil {
			return err
		}
		var ids, networks []string
		for _, p := range ports {
			ids, networks = append(ids, p.ID), append(networks, p.NetworkID)
		}
		segments, err := boundSegments(tx, args.Host, ids)
		if err != nil {
			return err
		}
		mtus, err := s.mtus(tx, networks)
		if err != nil {
			return err
		}
		for _, d := range args.Devices {
			p := ports[d]
			if p == nil {
				out.Devices = append(out.Devices, rpc.DeviceDetails{Device: d})
				continue
			}
			g, bound := segments[p.ID]
			if !bound {
				s.log.Warn("device requested by agent is not bound", "device", d, "port", p.ID, "host", args.Host, "vif_type", p.VIFType)
				out.Devices = append(out.Devices, rpc.DeviceDetails{Device: d})
				continue
			}
			out.Devices = append(out.Devices, details(d, args.Host, p, g, mtus[p.NetworkID]))
			if status := statusFor(p); p.HostID == args.Host && p.Status != status {
				changed[status] = append(changed[status], p.ID)
			}
		}
		return nil
	})
	if err != nil {
		return out, err
	}
	return out, s.setStatuses(ctx, args.Host, changed)
}

func details(device, host string, p *model.Port, g segment, mtu int) rpc.DeviceDetails {
	if strings.HasPrefix(p.DeviceOwner, "compute:") && p.HostID != host {
		return rpc.DeviceDetails{Device: device, NoActiveBinding: true}
	}
	return rpc.DeviceDetails{Device: device, PortID: p.ID, NetworkID: p.NetworkID, MACAddress: p.MACAddress, AdminStateUp: p.AdminStateUp,
		NetworkType: g.networkType, SegmentationID: g.segmentationID, PhysicalNetwork: g.physicalNetwork, MTU: mtu,
		FixedIPs: convert(p.FixedIPs, fixedIP), DeviceOwner: p.DeviceOwner, AddressPairs: convert(p.AddressPairs, addressPair),
		PortSecurity: p.PortSecurity, Profile: p.BindingProfile()}
}

// statusFor is the status of a port whose agent is about to wire it.
func statusFor(p *model.Port) string {
	switch {
	case !p.AdminStateUp:
		return "DOWN"
	case p.Status == "ACTIVE":
		return "ACTIVE"
	}
	return "BUILD"
}

// setStatuses changes the status of ports on host; changed are the ports by their new status.
func (s *Server) setStatuses(ctx context.Context, host string, changed map[string][]string) error {
	for status, ports := range changed {
		for chunk := range slices.Chunk(ports, statusChunk) {
			err := s.db.Write(ctx, func(tx *store.Tx) error { return s.core.UpdatePortStatus(tx, status, host, chunk...) })
			if err != nil {
				return fmt.Errorf("set ports %s: %w", status, err)
			}
		}
	}
	return nil
}

// statusChunk is how many ports change their status in one transaction.
const statusChunk = 100

// updateDeviceList takes reports of wired and vanished devices.
func (s *Server) updateDeviceList(ctx context.Context, args rpc.DeviceListArgs) (rpc.DeviceListResult, error) {
	out := rpc.DeviceListResult{DevicesUp: []string{}, FailedDevicesUp: []string{}, DevicesDown: []rpc.DeviceGone{}, FailedDevicesDown: []string{}}
	for chunk := range slices.Chunk(args.DevicesUp, statusChunk) {
		if err := s.devicesUp(ctx, args, chunk); err != nil {
			s.log.Error("cannot set ports ACTIVE", "host", args.Host, "count", len(chunk), "error", err)
			out.FailedDevicesUp = append(out.FailedDevicesUp, chunk...)
			continue
		}
		out.DevicesUp = append(out.DevicesUp, chunk...)
	}
	for chunk := range slices.Chunk(args.DevicesDown, statusChunk) {
		gone, err := s.devicesDown(ctx, args.Host, chunk)
		if err != nil {
			s.log.Error("cannot set ports DOWN", "host", args.Host, "count", len(chunk), "error", err)
			out.FailedDevicesDown = append(out.FailedDevicesDown, chunk...)
			continue
		}
		out.DevicesDown = append(out.DevicesDown, gone...)
	}
	return out, nil
}

func (s *Server) devicesUp(ctx context.Context, args rpc.DeviceListArgs, devices []string) error {
	var wired []*model.Port
	err := s.db.Write(ctx, func(tx *store.Tx) error {
		wired = nil
		ports, err := s.portsOf(tx, args.Host, devices, s.catalog.Ports.All)
		if err != nil {
			return err
		}
		var waiting []string
		for _, p := range ports {
			if p.HostID != args.Host {
				continue
			}
			wired = append(wired, p)
			if p.Status != "ACTIVE" {
				waiting = append(waiting, p.ID)
			}
		}
		if len(waiting) == 0 {
			return nil
		}
		return s.core.ProvisioningComplete(tx, EntityL2, waiting...)
	})
	if err == nil {
		s.populate(ctx, args.Host, wired, args.RefreshTunnels)
	}
	return err
}

func (s *Server) devicesDown(ctx context.Context, host string, devices []string) ([]rpc.DeviceGone, error) {
	var out []rpc.DeviceGone
	var lost []*model.Port
	err := s.db.Write(ctx, func(tx *store.Tx) error {
		out, lost = nil, nil
		ports, err := s.portsOf(tx, "", devices, s.catalog.Ports.All)
		if err != nil {
			return err
		}
		var ids []string
		for _, d := range devices {
			p := ports[d]
			out = append(out, rpc.DeviceGone{Device: d, Exists: p != nil})
			if p != nil && p.HostID == host { // a port that moved is the other host's by now
				lost, ids = append(lost, p), append(ids, p.ID)
			}
		}
		if len(ids) == 0 {
			return nil
		}
		return s.core.UpdatePortStatus(tx, "DOWN", host, ids...)
	})
	if err == nil {
		s.depopulate(ctx, host, lost)
	}
	return out, err
}

// endpointTables have the tunnel endpoints of hosts, by network type.
var endpointTables = map[string]string{"vxlan": "ml2_vxlan_endpoints", "gre": "ml2_gre_endpoints", "geneve": "ml2_geneve_endpoints"}

// vxlanPort is what the table says of VXLAN endpoints; no agent reads it.
const vxlanPort = 4789

// tunnelSync stores a host's tunnel endpoint and returns all (upstream drivers/type_tunnel.py).
func (s *Server) tunnelSync(ctx context.Context, args rpc.TunnelSyncArgs) (rpc.Tunnels, error) {
	if err := s.core.CheckEndpoint(args.TunnelType, args.Host, args.TunnelIP); err != nil {
		return rpc.Tunnels{}, err
	}
	var all []rpc.TunnelEndpoint
	var left []string
	err := s.db.Write(ctx, func(tx *store.Tx) (err error) {
		all, left, err = placeEndpoint(tx, args.TunnelType, rpc.TunnelEndpoint{IPAddress: args.TunnelIP, Host: args.Host})
		return err
	})
	if err != nil {
		return rpc.Tunnels{}, err
	}
	for _, ip := range left {
		s.cast("tunnel_delete", rpc.TunnelDelete.Fanout(ctx, s.bus, rpc.TunnelArgs{TunnelIP: ip, TunnelType: args.TunnelType}))
	}
	s.cast("tunnel_update", rpc.TunnelUpdate.Fanout(ctx, s.bus, rpc.TunnelArgs{TunnelIP: args.TunnelIP, TunnelType: args.TunnelType}))
	return rpc.Tunnels{Tunnels: all}, nil
}

// placeEndpoint stores a host's endpoint in place of those that it had; an address that was another host's is this one's from now on.
// It returns all endpoints and the addresses that nobody has any more.
func placeEndpoint(tx *store.Tx, kind string, mine rpc.TunnelEndpoint) (all []rpc.TunnelEndpoint, left []string, err error) {
	table := endpointTables[kind]
	rows, err := tx.Query("SELECT ip_address, host FROM " + table)
	before, err := store.All(rows, err, func(rows *store.Rows) (e rpc.TunnelEndpoint, err error) {
		var host *string
		err = rows.Scan(&e.IPAddress, &host)
		if host != nil {
			e.Host = *host
		}
		return e, err
	})
	if err != nil {
		return nil, nil, err
	}
	taken := slices.ContainsFunc(before, func(e rpc.TunnelEndpoint) bool { return e.IPAddress == mine.IPAddress })
	for _, e := range before {
		switch {
		case e == mine:
		case e.Host == mine.Host || e.IPAddress == mine.IPAddress:
			if _, err := tx.Exec("DELETE FROM "+table+" WHERE ip_address = ?", e.IPAddress); err != nil {
				return nil, nil, err
			}
			if e.Host == mine.Host && !taken { // otherwise the old address may be somebody's already
				left = append(left, e.IPAddress)
			}
		default:
			all = append(all, e)
		}
	}
	columns, values := []string{"ip_address", "host"}, []any{mine.IPAddress, mine.Host}
	all = append(all, mine)
	if kind == "vxlan" {
		columns, values = append(columns, "udp_port"), append(values, vxlanPort)
		for i := range all {
			all[i].UDPPort = vxlanPort
		}
	}
	if slices.Contains(before, mine) {
		return all, left, nil
	}
	if err = tx.InsertRows(table, columns, [][]any{values}); store.IsDuplicate(err) {
		return nil, nil, store.Retry(err)
	}
	return all, left, err
}

// cast logs a message that could not be sent. It is not repeated: agents fetch everything when the bus is back.
func (s *Server) cast(method string, err error) {
	if err != nil {
		s.log.Warn("message to agents was lost", "method", method, "error", err)
	}
}
