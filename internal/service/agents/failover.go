package agents

import (
	"context"
	"fmt"
	"slices"
	"time"

	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/rpc"
	"neutrino/internal/service/failover"
	"neutrino/internal/store"
)

// Run moves networks off dead DHCP agents until ctx ends, if that is wanted.
func (s *Service) Run(ctx context.Context) {
	if s.cfg.AutomaticFailover {
		failover.Watch(ctx, s.db, s.log, "DHCP failover", s.cfg.AgentDownTime, s.RescheduleDown)
	}
}

// networkTime is how long an agent may need to serve a network after its start; while it is busy with that it may fail
// to report (upstream agent_starting_up).
const networkTime = 2 * time.Second

// failoverChunk is how many networks one transaction moves.
const failoverChunk = 20

// RescheduleDown moves networks off DHCP agents that are switched on and have not reported for twice the time after which
// they count as dead, if there are others. The dead ones are not told, so that they do not find the message when they
// come back. Several servers may do it at the same time.
func (s *Service) RescheduleDown(ctx context.Context) error {
	var dead []*model.Agent
	networks := map[string][]string{}
	err := s.db.Read(ctx, func(tx *store.Tx) error {
		agents, err := s.list(tx, resource.In("t.agent_type", []string{rpc.AgentTypeDHCP}), resource.In("t.admin_state_up", []bool{true}))
		if err != nil || !slices.ContainsFunc(agents, s.Alive) {
			return err
		}
		limit := time.Now().Add(-2 * s.cfg.AgentDownTime)
		for _, a := range agents {
			if a.HeartbeatAt.After(limit) {
				continue
			}
			list, err := store.Strings(tx.Query("SELECT network_id FROM networkdhcpagentbindings WHERE dhcp_agent_id = ?", a.ID))
			if err != nil {
				return err
			}
			if a.StartedAt.Before(limit.Add(-time.Duration(len(list)) * networkTime)) {
				dead, networks[a.ID] = append(dead, a), list
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("find dead DHCP agents: %w", err)
	}
	for _, a := range dead {
		for some := range slices.Chunk(networks[a.ID], failoverChunk) {
			s.log.WarnContext(ctx, "moving networks off a dead DHCP agent", "agent", a.ID, "host", a.Host, "networks", len(some))
			if err := s.db.Write(ctx, func(tx *store.Tx) error { return s.move(tx, a, some) }); err != nil {
				return fmt.Errorf("move networks off %s: %w", a.Host, err)
			}
		}
	}
	return nil
}

func (s *Service) move(tx *store.Tx, from *model.Agent, networks []string) error {
	for _, n := range networks {
		removed, err := s.unbind(tx, from, n)
		if err != nil {
			return err
		}
		if !removed {
			continue
		}
		if err := s.ScheduleNetwork(tx, n); err != nil {
			return err
		}
	}
	return nil
}
