package l3

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/rpc"
	"neutrino/internal/store"
)

// Scheduling (upstream scheduler/l3_agent_scheduler.py, AZLeastRoutersScheduler): a router goes to the living agent of a
// hinted zone that has the fewest routers.

// bindingIndex is the place of a router's only agent; others are for highly available routers. That it is unique for a
// router makes two servers that choose at the same time race for the row.
const bindingIndex = 1

// agent is an L3 agent as the scheduler sees it.
type agent struct {
	*model.Agent
	routers int
}

// unplaced is a router that needs an agent.
type unplaced struct {
	id      string
	hints   model.ZoneHints
	gateway string // external network, "" = none
}

// mode is what kind of routers an agent serves.
func mode(a *model.Agent) string {
	if m, _ := a.Configurations["agent_mode"].(string); m != "" {
		return m
	}
	return "legacy"
}

// onlyDistributed tells whether an agent serves no routers that have one place.
func onlyDistributed(a *model.Agent) bool { return mode(a) == "dvr" || mode(a) == "dvr_no_external" }

// fits tells whether an agent can serve a router, zones aside (upstream get_l3_agent_candidates).
func fits(a *model.Agent, r unplaced) bool {
	if onlyDistributed(a) {
		return false
	}
	if only, _ := a.Configurations["router_id"].(string); only != "" && only != r.id {
		return false
	}
	if only, _ := a.Configurations["gateway_external_network_id"].(string); only != "" && r.gateway != "" && only != r.gateway {
		return false
	}
	internalOnly, given := a.Configurations["handle_internal_only_routers"].(bool)
	return r.gateway != "" || internalOnly || !given
}

func inZone(a *model.Agent, hints model.ZoneHints) bool {
	return len(hints) == 0 || a.AvailabilityZone != nil && slices.Contains(hints, *a.AvailabilityZone)
}

// ScheduleRouter gives a router an agent if it has none, and tells the agent.
func (s *Service) ScheduleRouter(tx *store.Tx, router string) error { return s.updated(tx, router) }

// schedule gives routers that have no agent one, as far as there are agents for them.
func (s *Service) schedule(tx *store.Tx, routers []string) ([]placement, error) {
	list, err := homeless(tx, resource.In("r.id", routers))
	if err != nil || len(list) == 0 {
		return nil, err
	}
	agents, err := s.candidates(tx)
	if err != nil {
		return nil, err
	}
	places := choose(agents, list)
	return places, bind(tx, places)
}

// homeless reads routers that match and have no agent. Highly available and distributed ones, which upstream may have
// made, are not ours to place.
func homeless(tx *store.Tx, where resource.Cond) ([]unplaced, error) {
	return readUnplaced(tx, resource.Cond{SQL: where.SQL + " AND NOT EXISTS (SELECT 1 FROM routerl3agentbindings b WHERE b.router_id = r.id)",
		Args: where.Args})
}

func readUnplaced(tx *store.Tx, where resource.Cond) ([]unplaced, error) {
	rows, err := tx.Query("SELECT r.id, x.availability_zone_hints, COALESCE(p.network_id, '') FROM routers r "+
		"LEFT JOIN router_extra_attributes x ON x.router_id = r.id LEFT JOIN ports p ON p.id = r.gw_port_id "+
		"WHERE COALESCE(x.ha, ?) = ? AND COALESCE(x.distributed, ?) = ? AND "+where.SQL+" ORDER BY r.id",
		append([]any{false, false, false, false}, where.Args...)...)
	list, err := store.All(rows, err, func(rows *store.Rows) (r unplaced, err error) { return r, rows.Scan(&r.id, &r.hints, &r.gateway) })
	if err != nil {
		return nil, fmt.Errorf("read routers without agent: %w", err)
	}
	return list, nil
}

// candidates are the living L3 agents that are switched on, the least loaded first.
func (s *Service) candidates(tx *store.Tx) ([]*agent, error) {
	catalog := s.catalog.Agents
	list, err := catalog.Select(tx, &resource.Query{Set: catalog.All, Where: []resource.Cond{
		resource.In("t.agent_type", []string{rpc.AgentTypeL3}), resource.In("t.admin_state_up", []bool{true}),
		{SQL: "t.heartbeat_timestamp > ?", Args: []any{s.aliveSince()}}}})
	if err != nil || len(list) == 0 {
		return nil, err
	}
	load := map[string]int{}
	rows, err := tx.Query("SELECT l3_agent_id, COUNT(*) FROM routerl3agentbindings GROUP BY l3_agent_id")
	_, err = store.All(rows, err, func(rows *store.Rows) (struct{}, error) {
		var id string
		var n int
		err := rows.Scan(&id, &n)
		load[id] = n
		return struct{}{}, err
	})
	if err != nil {
		return nil, fmt.Errorf("count routers of agents: %w", err)
	}
	agents := make([]*agent, len(list))
	for i, a := range list {
		agents[i] = &agent{a, load[a.ID]}
	}
	rand.Shuffle(len(agents), func(i, j int) { agents[i], agents[j] = agents[j], agents[i] })
	return agents, nil
}

// choose gives each router the least loaded agent that fits, if any.
func choose(agents []*agent, routers []unplaced) []placement {
	var places []placement
	for _, r := range routers {
		var best *agent
		for _, a := range agents {
			if fits(a.Agent, r) && inZone(a.Agent, r.hints) && (best == nil || a.routers < best.routers) {
				best = a
			}
		}
		if best != nil {
			best.routers++
			places = append(places, placement{r.id, best.ID, best.Host, true})
		}
	}
	return places
}

// bindRows is how many bindings go into one statement.
const bindRows = 200

// bind writes placements.
func bind(tx *store.Tx, places []placement) error {
	for some := range slices.Chunk(places, bindRows) {
		args := make([]any, 0, 3*len(some))
		for _, p := range some {
			args = append(args, p.router, p.agent, bindingIndex)
		}
		values := strings.TrimSuffix(strings.Repeat("(?, ?, ?), ", len(some)), ", ")
		_, err := tx.Exec("INSERT INTO routerl3agentbindings (router_id, l3_agent_id, binding_index) VALUES "+values, args...)
		if store.IsDuplicate(err) || store.IsForeignKey(err) { // another server was quicker, or the router is gone
			return store.Retry(err)
		}
		if err != nil {
			return fmt.Errorf("bind routers to agents: %w", err)
		}
	}
	return nil
}

// autoSchedule gives an agent that asks for its routers those that nobody has.
func (s *Service) autoSchedule(tx *store.Tx, a *model.Agent) error {
	if !s.cfg.RouterAutoSchedule || !a.AdminStateUp || !s.alive(a) {
		return nil
	}
	list, err := homeless(tx, resource.Cond{SQL: "1 = 1"})
	if err != nil {
		return err
	}
	return bind(tx, choose([]*agent{{a, 0}}, list))
}

func (s *Service) alive(a *model.Agent) bool { return a.HeartbeatAt.After(s.aliveSince().Time) }
