package l3

import (
	"context"
	"fmt"
	"slices"
	"time"

	"neutrino/internal/fault"
	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/rpc"
	"neutrino/internal/service/failover"
	"neutrino/internal/store"
)

// RoutersOnAgent lists the routers that an agent has (GET /agents/ID/l3-routers).
func (s *Service) RoutersOnAgent(tx *store.Tx, id string) ([]*model.Router, error) {
	if _, err := s.catalog.Agents.Get(tx, nil, id, s.catalog.Agents.Bit("id")); err != nil {
		return nil, err
	}
	list, err := s.catalog.Routers.Select(tx, &resource.Query{Set: s.catalog.Routers.All, Where: []resource.Cond{
		{SQL: "t.id IN (SELECT router_id FROM routerl3agentbindings WHERE l3_agent_id = ?)", Args: []any{id}}}})
	if err != nil {
		return nil, err
	}
	return list, loadGateways(tx, list)
}

// AgentsHostingRouter lists the agents that have a router (GET /routers/ID/l3-agents).
func (s *Service) AgentsHostingRouter(tx *store.Tx, caller *identity.Caller, router string) ([]*model.Agent, error) {
	if _, err := s.catalog.Routers.Get(tx, caller, router, s.catalog.Routers.Bit("id")); err != nil {
		return nil, err
	}
	list, err := s.catalog.Agents.Select(tx, &resource.Query{Set: s.catalog.Agents.All, Where: []resource.Cond{
		{SQL: "t.id IN (SELECT l3_agent_id FROM routerl3agentbindings WHERE router_id = ?)", Args: []any{router}}}})
	for _, a := range list {
		a.Alive = s.alive(a)
	}
	return list, err
}

// AddRouterToAgent has an agent serve a router by an administrator's wish. It is no error if the agent does already.
func (s *Service) AddRouterToAgent(tx *store.Tx, agentID, router string) error {
	if err := s.mustExist(tx, router); err != nil {
		return err
	}
	a, err := s.catalog.Agents.Get(tx, nil, agentID, s.catalog.Agents.All)
	if err != nil {
		return err
	}
	if a.AgentType != rpc.AgentTypeL3 {
		return invalidAgent(agentID)
	}
	if onlyDistributed(a) {
		return fault.Conflict("DVRL3CannotAssignToDvrAgent", "Not allowed to manually assign a router to an agent in 'dvr' mode.")
	}
	list, err := s.readUnplaced(tx, resource.In("r.id", []string{router}))
	if err != nil {
		return err
	}
	if len(list) > 0 && list[0].distributed && mode(a) == "legacy" {
		return fault.Conflict("RouterL3AgentMismatch", "Cannot host distributed router %s on legacy L3 agent %s.", router, agentID)
	}
	if !s.serves(a) || len(list) == 0 || !fits(a, list[0]) {
		return invalidAgent(agentID)
	}
	places, err := s.placements(tx, router)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(places, func(p placement) bool { return p.agent == agentID }) {
		return nil
	}
	r := list[0]
	if len(places) > 0 && !r.ha {
		return fault.Conflict("RouterHostedByL3Agent", "The router %s has been already hosted by the L3 Agent %s.", router, places[0].agent)
	}
	place := []placement{{router: router, agent: agentID, index: r.vacant()}}
	if err := bind(tx, place); err != nil {
		return err
	}
	if r.ha {
		if err := s.addHAPorts(tx, r, place); err != nil {
			return err
		}
	}
	s.moved(tx, router, nil, a.Host)
	return nil
}

// RemoveRouterFromAgent ends it. The router then has no agent until it changes or an agent without it asks for routers.
func (s *Service) RemoveRouterFromAgent(tx *store.Tx, agentID, router string) error {
	a, err := s.catalog.Agents.Get(tx, nil, agentID, s.catalog.Agents.All)
	if err != nil {
		return err
	}
	if onlyDistributed(a) {
		return fault.Conflict("DVRL3CannotRemoveFromDvrAgent", "Not allowed to manually remove a router from an agent in 'dvr' mode.")
	}
	if err := s.mustExist(tx, router); err != nil {
		return err
	}
	if _, err := tx.Exec("DELETE FROM routerl3agentbindings WHERE router_id = ? AND l3_agent_id = ?", router, agentID); err != nil {
		return fmt.Errorf("remove router %s from agent %s: %w", router, agentID, err)
	}
	if err := s.removeHAPorts(tx, router, agentID); err != nil {
		return err
	}
	s.moved(tx, router, []string{a.Host}, "")
	return nil
}

func (s *Service) mustExist(tx *store.Tx, router string) error {
	_, err := s.catalog.Routers.Get(tx, nil, router, s.catalog.Routers.Bit("id"))
	return err
}

func invalidAgent(id string) error {
	return fault.NotFound("InvalidL3Agent", "Agent %s is not a L3 Agent or has been disabled", id)
}

// moved tells agents that they lost or got a router; "" means that nobody got it.
func (s *Service) moved(tx *store.Tx, router string, from []string, to string) {
	if s.Notifier == nil {
		return
	}
	tx.OnCommit(func(ctx context.Context) {
		for _, host := range from {
			if host != to {
				s.Notifier.RouterRemovedFromAgent(ctx, host, router)
			}
		}
		if to != "" {
			s.Notifier.RouterAddedToAgent(ctx, to, []string{router})
		}
	})
}

// Run moves routers off dead agents until ctx ends, if that is allowed (upstream reschedule_routers_from_down_agents).
func (s *Service) Run(ctx context.Context) {
	if s.cfg.AutomaticFailover {
		failover.Watch(ctx, s.db, s.log, "router failover", s.cfg.AgentDownTime, s.RescheduleDown)
	}
}

// rescheduleChunk is how many routers one transaction moves.
const rescheduleChunk = 100

// RescheduleDown moves routers off agents that are switched on and have not reported for twice the time after which they
// count as dead. Several servers may do it at the same time.
func (s *Service) RescheduleDown(ctx context.Context) error {
	var routers []string
	err := s.db.Read(ctx, func(tx *store.Tx) (err error) {
		routers, err = s.onDeadAgents(tx)
		return err
	})
	if err != nil {
		return err
	}
	for some := range slices.Chunk(routers, rescheduleChunk) {
		if err := s.db.Write(ctx, func(tx *store.Tx) error { return s.reschedule(tx, some) }); err != nil {
			return fmt.Errorf("move routers off dead agents: %w", err)
		}
	}
	return nil
}

func (s *Service) onDeadAgents(tx *store.Tx) ([]string, error) {
	cutoff := store.Time{Time: time.Now().UTC().Add(-2 * s.cfg.AgentDownTime)}
	list, err := store.Strings(tx.Query("SELECT b.router_id FROM routerl3agentbindings b JOIN agents a ON a.id = b.l3_agent_id "+
		"LEFT JOIN router_extra_attributes x ON x.router_id = b.router_id "+
		"WHERE a.heartbeat_timestamp < ? AND a.admin_state_up = ? AND COALESCE(x.ha, ?) = ? ORDER BY b.router_id", cutoff, true, false, false))
	if err != nil {
		return nil, fmt.Errorf("read routers on dead agents: %w", err)
	}
	return list, nil
}

// reschedule moves those of the routers that still are on agents that are not up.
func (s *Service) reschedule(tx *store.Tx, routers []string) error {
	places, err := s.placements(tx, routers...)
	if err != nil {
		return err
	}
	from := map[string][]string{}
	var stranded []string
	for _, p := range places {
		if !p.up {
			from[p.router] = append(from[p.router], p.host)
			stranded = append(stranded, p.router)
		}
	}
	list, err := s.readUnplaced(tx, resource.In("r.id", stranded))
	if err != nil || len(list) == 0 {
		return err
	}
	agents, err := s.candidates(tx)
	if err != nil {
		return err
	}
	chosen := choose(agents, list)
	if len(chosen) < len(list) {
		s.log.Warn("no eligible L3 agent for routers of dead agents", "routers", len(list)-len(chosen))
	}
	if len(chosen) == 0 {
		return nil
	}
	ids := make([]string, len(chosen))
	for i, p := range chosen {
		ids[i] = p.router
	}
	in := resource.In("router_id", ids)
	if _, err := tx.Exec("DELETE FROM routerl3agentbindings WHERE "+in.SQL, in.Args...); err != nil {
		return err
	}
	for _, p := range chosen {
		s.moved(tx, p.router, from[p.router], p.host)
	}
	return bind(tx, chosen)
}
