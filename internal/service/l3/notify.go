package l3

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"neutrino/internal/resource"
	"neutrino/internal/store"
)

// placement is a router on an agent.
type placement struct {
	router, agent, host string
	index               int  // binding_index
	up                  bool // the agent is switched on and reported lately
	ha                  bool // the router is highly available
}

// aliveSince is the oldest heartbeat of a living agent.
func (s *Service) aliveSince() store.Time {
	return store.Time{Time: time.Now().UTC().Add(-s.cfg.AgentDownTime)}
}

// placements tells where routers are.
func (s *Service) placements(tx *store.Tx, routers ...string) ([]placement, error) {
	var list []placement
	since := s.aliveSince()
	for some := range slices.Chunk(routers, chunk) {
		in := resource.In("b.router_id", some)
		rows, err := tx.Query("SELECT b.router_id, b.l3_agent_id, a.host, b.binding_index, a.admin_state_up, a.heartbeat_timestamp, "+
			"COALESCE(x.ha, ?) FROM routerl3agentbindings b JOIN agents a ON a.id = b.l3_agent_id "+
			"LEFT JOIN router_extra_attributes x ON x.router_id = b.router_id WHERE "+in.SQL+" ORDER BY b.router_id, b.binding_index", append([]any{false}, in.Args...)...)
		more, err := store.All(rows, err, func(rows *store.Rows) (placement, error) {
			var p placement
			var heartbeat store.Time
			err := rows.Scan(&p.router, &p.agent, &p.host, &p.index, &p.up, &heartbeat, &p.ha)
			p.up = (p.up || s.cfg.ServeDisabled) && heartbeat.After(since.Time)
			return p, err
		})
		if err != nil {
			return nil, fmt.Errorf("read agents of routers: %w", err)
		}
		list = append(list, more...)
	}
	return list, nil
}

// updated has agents chosen for routers that have too few, and tells the agents of all that something changed.
func (s *Service) updated(tx *store.Tx, routers ...string) error {
	return s.floatingUpdated(tx, "", routers...)
}

// floatingUpdated does that when of the routers only one floating IP changed; "": anything may have.
func (s *Service) floatingUpdated(tx *store.Tx, floating string, routers ...string) error {
	if len(routers) == 0 {
		return nil
	}
	places, err := s.placements(tx, routers...)
	if err != nil {
		return err
	}
	without := slices.DeleteFunc(slices.Clone(routers), func(id string) bool {
		return slices.ContainsFunc(places, func(p placement) bool { return p.router == id && !p.ha })
	})
	if len(without) > 0 {
		chosen, err := s.schedule(tx, without)
		if err != nil {
			return err
		}
		places = append(places, chosen...)
	}
	tx.OnCommit(func(ctx context.Context) { s.tell(ctx, places, floating) })
	return nil
}

// tell sends routers_updated to the hosts of living agents, one message each; floating as in floatingUpdated.
func (s *Service) tell(ctx context.Context, places []placement, floating string) {
	if s.Notifier == nil {
		return
	}
	byHost := map[string][]string{}
	for _, p := range places {
		if p.up {
			byHost[p.host] = append(byHost[p.host], p.router)
		}
	}
	for _, host := range slices.Sorted(maps.Keys(byHost)) {
		if floating == "" {
			s.Notifier.RoutersUpdated(ctx, host, byHost[host])
		} else {
			s.Notifier.FloatingIPUpdated(ctx, host, byHost[host], floating)
		}
	}
}

// deleted tells the agents that had a router that it is gone, also those that seem dead: they may be back in a moment.
func (s *Service) deleted(tx *store.Tx, places []placement) {
	if s.Notifier == nil {
		return
	}
	tx.OnCommit(func(ctx context.Context) {
		for _, p := range places {
			s.Notifier.RouterDeleted(ctx, p.host, p.router)
		}
	})
}
