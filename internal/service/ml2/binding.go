package ml2

import (
	"database/sql"
	"fmt"
	"slices"
	"time"

	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"
)

// binder binds the ports of one transaction: it knows their networks' segments and their hosts' agents.
type binder struct {
	plugin   *Plugin
	tx       *store.Tx
	segments map[string][]model.Segment
	subnets  map[string]string         // segments of subnets that have one, of networks with several
	agents   map[string][]*model.Agent // by host
	bound    map[string]level          // by port id
}

// level is a row of ml2_port_binding_levels.
type level struct{ driver, segmentID string }

// newBinder reads what is needed to bind those of the ports that have a host.
func (p *Plugin) newBinder(tx *store.Tx, ports []*model.Port) (*binder, error) {
	b := &binder{plugin: p, tx: tx, bound: map[string]level{}}
	var networks, hosts []string
	for _, port := range ports {
		if port.HostID == "" {
			continue
		}
		if !contains(networks, port.NetworkID) {
			networks = append(networks, port.NetworkID)
		}
		if !contains(hosts, port.HostID) {
			hosts = append(hosts, port.HostID)
		}
	}
	if len(hosts) == 0 {
		return b, nil
	}
	var err error
	if b.segments, err = segments(tx, networks...); err != nil {
		return nil, err
	}
	if b.agents, err = p.agentsOn(tx, hosts); err != nil {
		return nil, err
	}
	return b, b.readSubnets(networks)
}

// readSubnets finds the segments that subnets are restricted to, where that makes a difference.
func (b *binder) readSubnets(networks []string) error {
	networks = slices.DeleteFunc(networks, func(id string) bool { return len(b.segments[id]) < 2 })
	if len(networks) == 0 {
		return nil
	}
	in := resource.In("network_id", networks)
	rows, err := b.tx.Query("SELECT id, segment_id FROM subnets WHERE segment_id IS NOT NULL AND "+in.SQL, in.Args...)
	b.subnets = map[string]string{}
	_, err = store.All(rows, err, func(r *sql.Rows) (struct{}, error) {
		var subnet, segment string
		err := r.Scan(&subnet, &segment)
		b.subnets[subnet] = segment
		return struct{}{}, err
	})
	if err != nil {
		return fmt.Errorf("read segments of subnets: %w", err)
	}
	return nil
}

// segmentsFor are the segments that a port may be bound to: those of its subnets, if it has addresses.
func (b *binder) segmentsFor(port *model.Port) []model.Segment {
	all := b.segments[port.NetworkID]
	if len(port.FixedIPs) == 0 || len(b.subnets) == 0 {
		return all
	}
	return slices.DeleteFunc(slices.Clone(all), func(s model.Segment) bool {
		return !slices.ContainsFunc(port.FixedIPs, func(f model.FixedIP) bool {
			segment, restricted := b.subnets[f.SubnetID]
			return !restricted || segment == s.ID
		})
	})
}

// mechanismsFor are the drivers that may bind a port. If Placement allocated something for it, that is the one whose
// agents report the resource providers (_infer_driver_from_allocation in neutron/plugins/ml2/managers.py).
func (b *binder) mechanismsFor(port *model.Port) []Mechanism {
	all := b.plugin.mechanisms
	switch v := port.Profile["allocation"].(type) {
	case nil:
		return all
	case map[string]any:
		if len(v) == 0 {
			return all
		}
	}
	allocation, _ := port.Profile["allocation"].(map[string]any)
	all = slices.DeleteFunc(slices.Clone(all), func(m Mechanism) bool {
		return !m.Responsible(allocation, b.agentsFor(port, m))
	})
	if len(all) != 1 {
		return nil
	}
	return all
}

// agentsOn reads the agents of hosts that are not switched off.
func (p *Plugin) agentsOn(tx *store.Tx, hosts []string) (map[string][]*model.Agent, error) {
	in := resource.In("host", hosts)
	rows, err := tx.Query("SELECT id, agent_type, host, heartbeat_timestamp, configurations FROM agents WHERE "+in.SQL, in.Args...)
	alive := p.aliveSince()
	all, err := store.All(rows, err, func(r *sql.Rows) (*model.Agent, error) {
		a := &model.Agent{}
		err := r.Scan(&a.ID, &a.AgentType, &a.Host, &a.HeartbeatAt, &a.Configurations)
		a.Alive = a.HeartbeatAt.After(alive)
		return a, err
	})
	if err != nil {
		return nil, fmt.Errorf("read agents: %w", err)
	}
	byHost := map[string][]*model.Agent{}
	for _, a := range all {
		byHost[a.Host] = append(byHost[a.Host], a)
	}
	return byHost, nil
}

// aliveSince is the time of the last report before which an agent counts as dead.
func (p *Plugin) aliveSince() time.Time { return time.Now().UTC().Add(-p.cfg.AgentDownTime) }

func (b *binder) agentsFor(port *model.Port, m Mechanism) []*model.Agent {
	var out []*model.Agent
	for _, a := range b.agents[port.HostID] {
		if a.AgentType == m.AgentType() {
			out = append(out, a)
		}
	}
	return out
}

// bind lets the mechanism drivers, in their order, connect the port to its host. Without a host it is not bound.
func (b *binder) bind(port *model.Port) {
	port.VIFType, port.VIFDetails = vifUnbound, nil
	delete(b.bound, port.ID)
	if port.HostID == "" || len(b.segments[port.NetworkID]) == 0 {
		return
	}
	for _, m := range b.mechanismsFor(port) {
		if r, ok := m.Bind(port, b.segmentsFor(port), b.agentsFor(port, m)); ok {
			port.VIFType, port.VIFDetails = r.VIFType, r.VIFDetails
			if port.VIFDetails == nil {
				port.VIFDetails = model.Dict{}
			}
			port.VIFDetails["bound_drivers"] = map[string]any{"0": m.Name()}
			b.bound[port.ID] = level{m.Name(), r.SegmentID}
			b.plugin.adoptMAC(port)
			return
		}
	}
	port.VIFType = vifBindingFailed
	b.plugin.log.ErrorContext(b.tx.Context(), "no mechanism driver can bind the port", "port", port.ID, "host", port.HostID,
		"network", port.NetworkID)
}

// countUp counts the revisions of ports up as upstream does, which stores what it asked for first and the outcome of binding
// in a transaction of its own: one for that, and one if it differs from what was there (_commit_port_binding in
// neutron/plugins/ml2/plugin.py).
func (b *binder) countUp(differs bool, ports ...*model.Port) error {
	n := 1
	if differs {
		n = 2
	}
	ports = slices.DeleteFunc(slices.Clone(ports), func(p *model.Port) bool { return p.HostID == "" || len(b.segments[p.NetworkID]) == 0 })
	return b.plugin.catalog.Ports.CountUp(b.tx, n, ports...)
}

// insert stores new bindings of ports.
func (b *binder) insert(tx *store.Tx, ports []*model.Port, status string) error {
	var bindings, levels [][]any
	for _, p := range ports {
		bindings = append(bindings, []any{p.ID, p.HostID, p.VNICType, p.Profile, p.VIFType, p.VIFDetails, status})
		if l, ok := b.bound[p.ID]; ok {
			levels = append(levels, []any{p.ID, p.HostID, 0, l.driver, l.segmentID})
		}
	}
	err := tx.InsertRows("ml2_port_bindings",
		[]string{"port_id", "host", "vnic_type", "profile", "vif_type", "vif_details", "status"}, bindings)
	if err != nil {
		return err
	}
	return tx.InsertRows("ml2_port_binding_levels", []string{"port_id", "host", "level", "driver", "segment_id"}, levels)
}

// replace stores the binding of a port instead of the one that it has.
func (b *binder) replace(tx *store.Tx, old, now *model.Port) error {
	for _, table := range []string{"ml2_port_binding_levels", "ml2_port_bindings"} {
		// A binding to the new host may be there already, prepared for a migration.
		if _, err := tx.Exec("DELETE FROM "+table+" WHERE port_id = ? AND host IN (?, ?)", now.ID, old.HostID, now.HostID); err != nil {
			return fmt.Errorf("replace binding of port %s: %w", now.ID, err)
		}
	}
	return b.insert(tx, []*model.Port{now}, bindingActive)
}

// loadPorts fills dns_assignment and completes binding:vif_details, as upstream does from all binding levels of a port: of ports
// that other software bound, which keeps the names of the drivers apart, and of those that are not bound but prepared for a host.
func (p *Plugin) loadPorts(tx *store.Tx, _ *identity.Caller, set resource.Set, objs []*model.Port) error {
	if set&p.catalog.Ports.Bit("dns_assignment") != 0 {
		p.NamePorts(objs...)
	}
	if set&p.catalog.Ports.Bit("binding:vif_details") == 0 {
		return nil
	}
	lacking := map[string]*model.Port{}
	var ids []string
	for _, o := range objs {
		if o.VIFDetails["bound_drivers"] == nil && (len(o.VIFDetails) > 0 || hasAnyPrefix(o.DeviceOwner, movableOwners()...)) {
			lacking[o.ID] = o
			ids = append(ids, o.ID)
		}
	}
	for chunk := range slices.Chunk(ids, 5000) {
		if err := loadDrivers(tx, lacking, chunk); err != nil {
			return fmt.Errorf("read binding levels: %w", err)
		}
	}
	return nil
}

// loadDrivers names the drivers of the ports with the given ids.
func loadDrivers(tx *store.Tx, ports map[string]*model.Port, ids []string) error {
	in := resource.In("port_id", ids)
	rows, err := tx.Query("SELECT port_id, level, driver FROM ml2_port_binding_levels WHERE driver IS NOT NULL AND "+in.SQL+
		" ORDER BY port_id, level", in.Args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id, driver string
		var n int
		if err := rows.Scan(&id, &n, &driver); err != nil {
			return err
		}
		o := ports[id]
		drivers, _ := o.VIFDetails["bound_drivers"].(map[string]any)
		if drivers == nil {
			drivers = map[string]any{}
			if o.VIFDetails == nil {
				o.VIFDetails = model.Dict{}
			}
			o.VIFDetails["bound_drivers"] = drivers
		}
		drivers[fmt.Sprint(n)] = driver
	}
	return rows.Err()
}
