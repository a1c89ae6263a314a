package agents

import (
	"context"
	"math/rand/v2"
	"slices"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/rpc"
	"neutrino/internal/store"
)

// DHCP scheduling (upstream db/agentschedulers_db.py, scheduler/dhcp_agent_scheduler.py): each network with a subnet that
// has DHCP is served by dhcp_agents_per_network agents.

// DHCPHosts returns the hosts whose DHCP agents serve each of the networks.
func (s *Service) DHCPHosts(tx *store.Tx, networks ...string) (map[string][]string, error) {
	hosts := map[string][]string{}
	in := resource.In("b.network_id", networks)
	rows, err := tx.Query("SELECT b.network_id, a.host FROM networkdhcpagentbindings b JOIN agents a ON a.id = b.dhcp_agent_id WHERE "+
		in.SQL+" AND a.admin_state_up = ? ORDER BY b.binding_index", append(in.Args, true)...)
	_, err = store.All(rows, err, func(rows *store.Rows) (struct{}, error) {
		var network, host string
		err := rows.Scan(&network, &host)
		hosts[network] = append(hosts[network], host)
		return struct{}{}, err
	})
	return hosts, err
}

// ScheduleNetwork gives a network the agents that it lacks and tells them.
func (s *Service) ScheduleNetwork(tx *store.Tx, network string) error {
	bound, err := s.bindings(tx, network)
	if err != nil {
		return err
	}
	missing := s.cfg.DHCPAgentsPerNetwork - len(bound)
	if missing <= 0 {
		return nil
	}
	candidates, err := s.candidates(tx, network, bound)
	if err != nil {
		return err
	}
	for _, a := range candidates[:min(missing, len(candidates))] {
		if err := s.bind(tx, network, a); err != nil {
			return err
		}
		s.announce(tx, a.Host, network)
	}
	return nil
}

// announce tells an agent of a network that it now serves.
func (s *Service) announce(tx *store.Tx, host, network string) {
	if s.Notifier != nil {
		tx.OnCommit(func(ctx context.Context) { s.Notifier.NetworkAdded(ctx, host, network) })
	}
}

// binding is a network served by an agent.
type binding struct {
	agent string
	index int
}

func (s *Service) bindings(tx *store.Tx, network string) ([]binding, error) {
	rows, err := tx.Query("SELECT dhcp_agent_id, binding_index FROM networkdhcpagentbindings WHERE network_id = ?", network)
	return store.All(rows, err, func(rows *store.Rows) (b binding, err error) { return b, rows.Scan(&b.agent, &b.index) })
}

// candidates are living agents without the network, those in hinted zones first, the least loaded first.
func (s *Service) candidates(tx *store.Tx, network string, bound []binding) ([]*model.Agent, error) {
	list, err := s.list(tx, resource.In("t.agent_type", []string{rpc.AgentTypeDHCP}), resource.In("t.admin_state_up", []bool{true}),
		resource.Cond{SQL: "t.heartbeat_timestamp > ?", Args: []any{s.aliveSince()}})
	if err != nil || len(list) == 0 {
		return nil, err
	}
	load := map[string]int{}
	rows, err := tx.Query("SELECT dhcp_agent_id, COUNT(*) FROM networkdhcpagentbindings GROUP BY dhcp_agent_id")
	if _, err := store.All(rows, err, func(rows *store.Rows) (struct{}, error) {
		var id string
		var n int
		err := rows.Scan(&id, &n)
		load[id] = n
		return struct{}{}, err
	}); err != nil {
		return nil, err
	}
	hints, _, err := store.One[model.ZoneHints](tx.QueryRow("SELECT availability_zone_hints FROM networks WHERE id = ?", network))
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(a *model.Agent) bool {
		return slices.ContainsFunc(bound, func(b binding) bool { return b.agent == a.ID }) ||
			len(hints) > 0 && (a.AvailabilityZone == nil || !slices.Contains(hints, *a.AvailabilityZone))
	})
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	slices.SortStableFunc(list, func(a, b *model.Agent) int { return load[a.ID] - load[b.ID] })
	return list, nil
}

// bind makes an agent serve a network, at the lowest vacant index: two servers that pick the same one race for the row.
func (s *Service) bind(tx *store.Tx, network string, a *model.Agent) error {
	taken, err := s.bindings(tx, network)
	if err != nil {
		return err
	}
	index := 1
	for slices.ContainsFunc(taken, func(b binding) bool { return b.index == index }) {
		index++
	}
	_, err = tx.Exec("INSERT INTO networkdhcpagentbindings (network_id, dhcp_agent_id, binding_index) VALUES (?, ?, ?)", network, a.ID, index)
	if store.IsDuplicate(err) {
		return store.Retry(err)
	}
	return err
}

// AutoSchedule gives the agent on host networks with DHCP that lack agents, before it fetches what it serves.
func (s *Service) AutoSchedule(tx *store.Tx, host string) error {
	if !s.cfg.NetworkAutoSchedule {
		return nil
	}
	list, err := s.OnHost(tx, rpc.AgentTypeDHCP, host)
	if err != nil || len(list) == 0 || !list[0].AdminStateUp || !list[0].Alive {
		return err
	}
	rows, err := tx.Query("SELECT DISTINCT s.network_id FROM subnets s WHERE s.enable_dhcp = ? AND "+
		"(SELECT COUNT(*) FROM networkdhcpagentbindings b WHERE b.network_id = s.network_id) < ? AND "+
		"NOT EXISTS (SELECT 1 FROM networkdhcpagentbindings b WHERE b.network_id = s.network_id AND b.dhcp_agent_id = ?)",
		true, s.cfg.DHCPAgentsPerNetwork, list[0].ID)
	networks, err := store.Strings(rows, err)
	if err != nil {
		return err
	}
	for _, n := range networks {
		if err := s.bind(tx, n, list[0]); err != nil {
			return err
		}
	}
	return nil
}

// NetworksOn returns the networks that the agent on host serves.
func (s *Service) NetworksOn(tx *store.Tx, host string) ([]string, error) {
	rows, err := tx.Query("SELECT b.network_id FROM networkdhcpagentbindings b JOIN agents a ON a.id = b.dhcp_agent_id "+
		"WHERE a.agent_type = ? AND a.host = ? AND a.admin_state_up = ?", rpc.AgentTypeDHCP, host, true)
	return store.Strings(rows, err)
}

// AddNetwork makes an agent serve a network by an administrator's wish.
func (s *Service) AddNetwork(tx *store.Tx, agentID, network string) error {
	a, err := s.dhcpAgent(tx, agentID)
	if err != nil {
		return err
	}
	bound, err := s.bindings(tx, network)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(bound, func(b binding) bool { return b.agent == agentID }) {
		return fault.Conflict("NetworkHostedByDHCPAgent", "The network %s has been already hosted by the DHCP Agent %s.", network, agentID)
	}
	if err := s.bind(tx, network, a); err != nil {
		return err
	}
	s.announce(tx, a.Host, network)
	return nil
}

// RemoveNetwork ends it.
func (s *Service) RemoveNetwork(tx *store.Tx, agentID, network string) error {
	a, err := s.dhcpAgent(tx, agentID)
	if err != nil {
		return err
	}
	n, err := tx.Exec("DELETE FROM networkdhcpagentbindings WHERE network_id = ? AND dhcp_agent_id = ?", network, agentID)
	if err != nil {
		return err
	}
	if n == 0 {
		return fault.Conflict("NetworkNotHostedByDhcpAgent", "The network %s is not hosted by the DHCP agent %s.", network, agentID)
	}
	if s.Notifier != nil {
		tx.OnCommit(func(ctx context.Context) { s.Notifier.NetworkRemoved(ctx, a.Host, network) })
	}
	return nil
}

func (s *Service) dhcpAgent(tx *store.Tx, id string) (*model.Agent, error) {
	a, err := s.catalog.Agents.Get(tx, nil, id, s.catalog.Agents.All)
	if err != nil {
		return nil, err
	}
	if a.AgentType != rpc.AgentTypeDHCP || !a.AdminStateUp {
		return nil, fault.NotFound("InvalidDHCPAgent", "Agent %s is not a valid DHCP Agent or has been disabled.", id)
	}
	return a, nil
}
