package l3

import (
	"fmt"
	"maps"
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

// firstBinding is the binding_index of a router's only agent, and the first of a highly available one. That it is unique
// for a router makes two servers that choose at the same time race for the row.
const firstBinding = 1

// agent is an L3 agent as the scheduler sees it.
type agent struct {
	*model.Agent
	routers int
}

// unplaced is a router that needs agents.
type unplaced struct {
	id, project     string
	hints           model.ZoneHints
	gateway         string // external network, "" = none
	distributed, ha bool
	has             []placement // of one that is highly available
}

// vacant is the lowest binding_index that is free.
func (r *unplaced) vacant() int {
	for i := firstBinding; ; i++ {
		if !slices.ContainsFunc(r.has, func(p placement) bool { return p.index == i }) {
			return i
		}
	}
}

func (r *unplaced) on(agent string) bool {
	return slices.ContainsFunc(r.has, func(p placement) bool { return p.agent == agent })
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
	if onlyDistributed(a) || r.distributed && mode(a) == "legacy" {
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

// schedule gives routers that have too few agents more, as far as there are agents for them.
func (s *Service) schedule(tx *store.Tx, routers []string) ([]placement, error) {
	list, err := s.incomplete(tx, resource.In("r.id", routers))
	if err != nil || len(list) == 0 {
		return nil, err
	}
	agents, err := s.candidates(tx)
	if err != nil {
		return nil, err
	}
	return s.place(tx, agents, list, s.haAgents(agents))
}

// place gives routers agents, a highly available one until it has wanted.
func (s *Service) place(tx *store.Tx, agents []*agent, routers []unplaced, wanted int) ([]placement, error) {
	places := choose(agents, slices.DeleteFunc(slices.Clone(routers), func(r unplaced) bool { return r.ha }))
	if err := bind(tx, places); err != nil {
		return nil, err
	}
	for _, r := range routers {
		if !r.ha {
			continue
		}
		chosen := chooseHA(agents, &r, wanted)
		if err := bind(tx, chosen); err != nil {
			return nil, err
		}
		if err := s.addHAPorts(tx, r, chosen); err != nil {
			return nil, err
		}
		places = append(places, chosen...)
	}
	return places, nil
}

// haAgents is how many agents a highly available router should have (get_number_of_agents_for_scheduling).
func (s *Service) haAgents(agents []*agent) int {
	n := 0
	for _, a := range agents {
		if !onlyDistributed(a.Agent) {
			n++
		}
	}
	if s.cfg.HAAgents == 0 {
		return n
	}
	return min(n, s.cfg.HAAgents)
}

// incomplete reads routers that match and have no agent, and all that are highly available.
func (s *Service) incomplete(tx *store.Tx, where resource.Cond) ([]unplaced, error) {
	return s.readUnplaced(tx, resource.Cond{Args: append(slices.Clone(where.Args), true),
		SQL: where.SQL + " AND (x.ha = ? OR NOT EXISTS (SELECT 1 FROM routerl3agentbindings b WHERE b.router_id = r.id))"})
}

func (s *Service) readUnplaced(tx *store.Tx, where resource.Cond) ([]unplaced, error) {
	rows, err := tx.Query("SELECT r.id, COALESCE(r.project_id, ''), x.availability_zone_hints, COALESCE(p.network_id, ''), COALESCE(x.distributed, ?), "+
		"COALESCE(x.ha, ?) FROM routers r LEFT JOIN router_extra_attributes x ON x.router_id = r.id LEFT JOIN ports p ON p.id = r.gw_port_id "+
		"WHERE "+where.SQL+" ORDER BY r.id", append([]any{false, false}, where.Args...)...)
	at := map[string]int{} // where highly available ones are in the list
	n := 0
	list, err := store.All(rows, err, func(rows *store.Rows) (r unplaced, err error) {
		err = rows.Scan(&r.id, &r.project, &r.hints, &r.gateway, &r.distributed, &r.ha)
		if len(r.hints) == 0 {
			r.hints = s.cfg.DefaultZones
		}
		if r.ha {
			at[r.id] = n
		}
		n++
		return r, err
	})
	if err != nil {
		return nil, fmt.Errorf("read routers without agent: %w", err)
	}
	places, err := s.placements(tx, slices.Sorted(maps.Keys(at))...)
	for _, p := range places {
		i := at[p.router]
		list[i].has = append(list[i].has, p)
	}
	return list, err
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
	agents := make([]*agent, len(list))
	for i, a := range list {
		agents[i] = &agent{a, 0}
	}
	rand.Shuffle(len(agents), func(i, j int) { agents[i], agents[j] = agents[j], agents[i] })
	if s.cfg.ByChance {
		return agents, nil
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
	for _, a := range agents {
		a.routers = load[a.ID]
	}
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
			places = append(places, placement{router: r.id, agent: best.ID, host: best.Host, index: firstBinding, up: true})
		}
	}
	return places
}

// chooseHA gives a highly available router more agents: from each zone in turn, the least loaded first.
func chooseHA(agents []*agent, r *unplaced, wanted int) []placement {
	fitting := slices.DeleteFunc(slices.Clone(agents), func(a *agent) bool {
		return !fits(a.Agent, *r) || !inZone(a.Agent, r.hints) || r.on(a.ID)
	})
	slices.SortStableFunc(fitting, func(a, b *agent) int { return a.routers - b.routers })
	var places []placement
	for len(fitting) > 0 && len(r.has) < wanted {
		var later []*agent
		visited := map[string]bool{}
		for _, a := range fitting {
			zone := ""
			if a.AvailabilityZone != nil {
				zone = *a.AvailabilityZone
			}
			if visited[zone] || len(r.has) >= wanted {
				later = append(later, a)
				continue
			}
			visited[zone] = true
			a.routers++
			p := placement{router: r.id, agent: a.ID, host: a.Host, index: r.vacant(), up: true, ha: true}
			r.has = append(r.has, p)
			places = append(places, p)
		}
		fitting = later
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
			args = append(args, p.router, p.agent, p.index)
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

// autoSchedule gives an agent that asks for its routers those that have too few agents.
func (s *Service) autoSchedule(tx *store.Tx, a *model.Agent) error {
	if !s.cfg.RouterAutoSchedule || !a.AdminStateUp || !s.alive(a) {
		return nil
	}
	list, err := s.incomplete(tx, resource.Cond{SQL: "1 = 1"})
	if err != nil || len(list) == 0 {
		return err
	}
	wanted := 0
	if slices.ContainsFunc(list, func(r unplaced) bool { return r.ha }) {
		agents, err := s.candidates(tx)
		if err != nil {
			return err
		}
		wanted = s.haAgents(agents)
	}
	_, err = s.place(tx, []*agent{{a, 0}}, list, wanted)
	return err
}

func (s *Service) alive(a *model.Agent) bool { return a.HeartbeatAt.After(s.aliveSince().Time) }
