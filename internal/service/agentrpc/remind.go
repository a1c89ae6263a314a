package agentrpc

import (
	"context"
	"fmt"
	"time"

	"neutrino/internal/model"
	"neutrino/internal/rpc"
	"neutrino/internal/store"
)

// A port becomes ACTIVE when its L2 agent and a DHCP agent have reported it, and instances wait for that. Messages to
// agents may be lost, so the server repeats them for ports that wait for long.

const (
	remindEvery = 10 * time.Second
	remindAfter = 15 * time.Second // since the port changed last
	remindUntil = 10 * time.Minute // Nova gives up after five (vif_plugging_timeout)
)

// waiting are ports that wait, by what they wait for.
type waiting struct {
	ports     map[string]*model.Port
	entities  map[string][]string // port ids
	dhcpHosts map[string][]string // hosts of the living DHCP agents, by network
}

// Run reminds agents until ctx ends.
func (s *Server) Run(ctx context.Context) {
	lease := s.db.Lease("port reminders", 2*remindEvery)
	tick := time.NewTicker(remindEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := lease.Do(ctx, func(ctx context.Context) error { return s.Remind(ctx, time.Now()) }); err != nil && ctx.Err() == nil {
			s.log.ErrorContext(ctx, "cannot look after ports that wait", "error", err)
		}
	}
}

// Remind repeats the messages for ports that wait since long before now. A port whose network has no living DHCP agent
// does not wait for DHCP any longer: its agent died after the port was made.
func (s *Server) Remind(ctx context.Context, now time.Time) error {
	w, err := read(ctx, s.db, func(tx *store.Tx) (*waiting, error) { return s.waiting(tx, now) })
	if err != nil {
		return fmt.Errorf("read ports that wait: %w", err)
	}
	for _, id := range w.entities[EntityL2] {
		s.toL2(ctx, w.ports[id])
	}
	var hopeless []string
	for _, id := range w.entities[EntityDHCP] {
		p := w.ports[id]
		hosts := w.dhcpHosts[p.NetworkID]
		if len(hosts) == 0 {
			hopeless = append(hopeless, id)
			continue
		}
		x := Port(p)
		for _, host := range hosts {
			s.cast("port_update_end", rpc.DHCPPortUpdateEnd.Cast(ctx, s.bus, host,
				payload(rpc.DHCPPayload{NetworkID: p.NetworkID, Port: &x, Priority: priorityPort})))
		}
	}
	if len(hopeless) == 0 {
		return nil
	}
	s.log.WarnContext(ctx, "ports no longer wait for DHCP: the agents of their networks are dead", "ports", hopeless)
	return s.db.Write(ctx, func(tx *store.Tx) error { return s.core.ProvisioningComplete(tx, EntityDHCP, hopeless...) })
}

func (s *Server) waiting(tx *store.Tx, now time.Time) (*waiting, error) {
	w := &waiting{ports: map[string]*model.Port{}, entities: map[string][]string{}}
	rows, err := tx.Query("SELECT p.id, w.entity FROM provisioningblocks w JOIN ports p ON p.standard_attr_id = w.standard_attr_id "+
		"JOIN standardattributes a ON a.id = p.standard_attr_id JOIN ml2_port_bindings b ON b.port_id = p.id AND b.status = 'ACTIVE' "+
		"WHERE p.status <> 'ACTIVE' AND p.admin_state_up = ? AND b.host <> '' AND b.vif_type NOT IN ('unbound', 'binding_failed') "+
		"AND a.updated_at > ? AND a.updated_at <= ? ORDER BY p.id",
		true, store.Time{Time: now.UTC().Add(-remindUntil)}, store.Time{Time: now.UTC().Add(-remindAfter)})
	var ids []string
	_, err = store.All(rows, err, func(rows *store.Rows) (struct{}, error) {
		var id, entity string
		err := rows.Scan(&id, &entity)
		ids, w.entities[entity] = append(ids, id), append(w.entities[entity], id)
		return struct{}{}, err
	})
	if err != nil || len(ids) == 0 {
		return w, err
	}
	ports, err := s.portsOf(tx, "", ids, s.catalog.Ports.All)
	if err != nil {
		return w, err
	}
	var networks []string
	for _, p := range ports {
		w.ports[p.ID] = p
		networks = append(networks, p.NetworkID)
	}
	w.dhcpHosts, err = s.agents.LivingDHCPHosts(tx, networks...)
	return w, err
}
