package agents

import (
	"context"
	"fmt"
	"slices"

	"neutrino/internal/fault"
	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/rpc"
	"neutrino/internal/store"
)

// DHCP scheduling (upstream db/agentschedulers_db.py, scheduler/dhcp_agent_scheduler.py): each network with a subnet that
// has DHCP is served by dhcp_agents_per_network agents.

// DHCPHosts returns the hosts whose DHCP agents serve each of the networks, dead ones too.
func (s *Service) DHCPHosts(tx *store.Tx, networks ...string) (map[string][]string, error) {
	return s.dhcpHosts(tx, networks, resource.Cond{SQL: "1 = 1"})
}

// LivingDHCPHosts is DHCPHosts without agents that are dead.
func (s *Service) LivingDHCPHosts(tx *store.Tx, networks ...string) (map[string][]string, error) {
	return s.dhcpHosts(tx, networks, resource.Cond{SQL: "a.heartbeat_timestamp > ?", Args: []any{s.aliveSince()}})
}

func (s *Service) dhcpHosts(tx *store.Tx, networks []string, which resource.Cond) (map[string][]string, error) {
	hosts := map[string][]string{}
	in := resource.In("b.network_id", networks)
	rows, err := tx.Query("SELECT b.network_id, a.host FROM networkdhcpagentbindings b JOIN agents a ON a.id = b.dhcp_agent_id WHERE "+
		in.SQL+" AND (a.admin_state_up = ? OR ? = 1) AND "+which.SQL+" ORDER BY b.binding_index", slices.Concat(in.Args, []any{true, s.serveDisabled()}, which.Args)...)
	_, err = store.All(rows, err, func(rows *store.Rows) (struct{}, error) {
		var network, host string
		err := rows.Scan(&network, &host)
		hosts[network] = append(hosts[network], host)
		return struct{}{}, err
	})
	return hosts, err
}

// serveDisabled is 1 if agents that are switched off keep what they serve.
func (s *Service) serveDisabled() int {
	if s.cfg.ServeDisabled {
		return 1
	}
	return 0
}

// ScheduleNetwork gives a network the agents that it lacks and tells them.
func (s *Service) ScheduleNetwork(tx *store.Tx, network string) error {
	if !s.cfg.NetworkAutoSchedule {
		return nil
	}
	bound, err := s.bindings(tx, network)
	if err != nil {
		return err
	}
	missing := s.cfg.DHCPAgentsPerNetwork - len(bound)
	if missing <= 0 {
		return nil
	}
	return s.give(tx, network, bound, missing, nil)
}

// give has up to n more agents serve a network, on these hosts, or on any if nil.
func (s *Service) give(tx *store.Tx, network string, bound []binding, n int, hosts []string) error {
	list, zones, err := s.candidates(tx, network, bound, hosts)
	if err != nil || len(list) == 0 {
		return err
	}
	load, err := s.loads(tx)
	if err != nil {
		return err
	}
	for _, a := range s.cfg.Scheduler.choose(list, load, zones, n) {
		if bound, err = s.bind(tx, network, a, bound); err != nil {
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

// candidates are living agents without the network, in hinted zones and where the network can be reached; zones counts by
// zone the agents that have it.
func (s *Service) candidates(tx *store.Tx, network string, bound []binding, hosts []string) (list []*model.Agent, zones map[string]int, err error) {
	all, err := s.list(tx, resource.In("t.agent_type", []string{rpc.AgentTypeDHCP}))
	if err != nil || len(all) == 0 {
		return nil, nil, err
	}
	hints, _, err := store.One[model.ZoneHints](tx.QueryRow("SELECT availability_zone_hints FROM networks WHERE id = ?", network))
	if err != nil {
		return nil, nil, err
	}
	zones = map[string]int{}
	var names []string
	for _, a := range all {
		switch {
		case slices.ContainsFunc(bound, func(b binding) bool { return b.agent == a.ID }):
			zones[zoneOf(a)]++
		case a.AdminStateUp && a.Alive && s.inZone(a, hints) && (hosts == nil || slices.Contains(hosts, a.Host)):
			list, names = append(list, a), append(names, a.Host)
		}
	}
	if len(list) == 0 || hosts != nil {
		return list, zones, nil
	}
	reached, err := s.Core.HostsWithAccess(tx, network, names)
	list = slices.DeleteFunc(list, func(a *model.Agent) bool { return !slices.Contains(reached, a.Host) })
	return list, zones, err
}

// loads tells how much each agent serves, counted as dhcp_load_type says. Upstream takes what agents last reported.
func (s *Service) loads(tx *store.Tx) (map[string]int, error) {
	from := map[string]string{"networks": "networkdhcpagentbindings b", "subnets": "networkdhcpagentbindings b JOIN subnets x ON x.network_id = b.network_id",
		"ports": "networkdhcpagentbindings b JOIN ports x ON x.network_id = b.network_id"}[s.cfg.DHCPLoadType]
	load := map[string]int{}
	rows, err := tx.Query("SELECT b.dhcp_agent_id, COUNT(*) FROM " + from + " GROUP BY b.dhcp_agent_id")
	_, err = store.All(rows, err, func(rows *store.Rows) (struct{}, error) {
		var id string
		var n int
		err := rows.Scan(&id, &n)
		load[id] = n
		return struct{}{}, err
	})
	return load, err
}

// inZone tells whether an agent may serve a network with these hints.
func (s *Service) inZone(a *model.Agent, hints model.ZoneHints) bool {
	if len(hints) == 0 {
		hints = s.cfg.DefaultZones
	}
	return len(hints) == 0 || a.AvailabilityZone != nil && slices.Contains(hints, *a.AvailabilityZone)
}

// bind makes an agent serve a network that has the bindings bound, and returns them with the new one.
func (s *Service) bind(tx *store.Tx, network string, a *model.Agent, bound []binding) ([]binding, error) {
	b := binding{a.ID, vacant(bound)}
	_, err := tx.Exec("INSERT INTO networkdhcpagentbindings (network_id, dhcp_agent_id, binding_index) VALUES (?, ?, ?)", network, b.agent, b.index)
	if store.IsDuplicate(err) || store.IsForeignKey(err) {
		return nil, store.Retry(err)
	}
	return append(bound, b), err
}

// vacant is the lowest free index: two servers that choose at the same time race for the row.
func vacant(bound []binding) int {
	index := 1
	for slices.ContainsFunc(bound, func(b binding) bool { return b.index == index }) {
		index++
	}
	return index
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
	lacking, err := s.lackingAgents(tx)
	if err != nil {
		return err
	}
	routed, err := s.routed(tx, host)
	if err != nil {
		return err
	}
	var rows [][]any
	for _, n := range lacking {
		if reached, ok := routed[n.id]; ok && !reached {
			continue
		}
		if s.inZone(list[0], n.hints) && !slices.ContainsFunc(n.bound, func(b binding) bool { return b.agent == list[0].ID }) {
			rows = append(rows, []any{n.id, list[0].ID, vacant(n.bound)})
		}
	}
	err = tx.InsertRows("networkdhcpagentbindings", []string{"network_id", "dhcp_agent_id", "binding_index"}, rows)
	if store.IsDuplicate(err) || store.IsForeignKey(err) {
		return store.Retry(err)
	}
	return err
}

// lackingNetwork is a network with DHCP that has fewer agents than it should.
type lackingNetwork struct {
	id    string
	hints model.ZoneHints
	bound []binding
}

func (s *Service) lackingAgents(tx *store.Tx) ([]*lackingNetwork, error) {
	const few = "n.id IN (SELECT s.network_id FROM subnets s WHERE s.enable_dhcp = ?) AND " +
		"(SELECT COUNT(*) FROM networkdhcpagentbindings c WHERE c.network_id = n.id) < ?"
	args := []any{true, s.cfg.DHCPAgentsPerNetwork}
	byID := map[string]*lackingNetwork{}
	rows, err := tx.Query("SELECT n.id, n.availability_zone_hints FROM networks n WHERE "+few+" ORDER BY n.id", args...)
	list, err := store.All(rows, err, func(rows *store.Rows) (*lackingNetwork, error) {
		n := &lackingNetwork{}
		err := rows.Scan(&n.id, &n.hints)
		byID[n.id] = n
		return n, err
	})
	if err != nil || len(list) == 0 {
		return nil, err
	}
	rows, err = tx.Query("SELECT b.network_id, b.dhcp_agent_id, b.binding_index FROM networkdhcpagentbindings b JOIN networks n "+
		"ON n.id = b.network_id WHERE "+few, args...)
	_, err = store.All(rows, err, func(rows *store.Rows) (b binding, err error) {
		var network string
		err = rows.Scan(&network, &b.agent, &b.index)
		byID[network].bound = append(byID[network].bound, b)
		return b, err
	})
	return list, err
}

// NetworksOn returns the networks that the agent on host serves.
func (s *Service) NetworksOn(tx *store.Tx, host string) ([]string, error) {
	rows, err := tx.Query("SELECT b.network_id FROM networkdhcpagentbindings b JOIN agents a ON a.id = b.dhcp_agent_id "+
		"WHERE a.agent_type = ? AND a.host = ? AND (a.admin_state_up = ? OR ? = 1)", rpc.AgentTypeDHCP, host, true, s.serveDisabled())
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
	if _, err := s.bind(tx, network, a, bound); err != nil {
		return err
	}
	s.announce(tx, a.Host, network)
	return nil
}

// RemoveNetwork ends it. The agent's port stays, with its address, for the next agent.
func (s *Service) RemoveNetwork(tx *store.Tx, agentID, network string) error {
	a, err := s.catalog.Agents.Get(tx, nil, agentID, s.catalog.Agents.All)
	if err != nil {
		return err
	}
	removed, err := s.unbind(tx, a, network)
	if err != nil {
		return err
	}
	if !removed {
		return fault.Conflict("NetworkNotHostedByDhcpAgent", "The network %s is not hosted by the DHCP Agent %s.", network, agentID)
	}
	if s.Notifier != nil {
		tx.OnCommit(func(ctx context.Context) { s.Notifier.NetworkRemoved(ctx, a.Host, network) })
	}
	return nil
}

// unbind takes a network from an agent and reserves the agent's port.
func (s *Service) unbind(tx *store.Tx, a *model.Agent, network string) (removed bool, err error) {
	n, err := tx.Exec("DELETE FROM networkdhcpagentbindings WHERE network_id = ? AND dhcp_agent_id = ?", network, a.ID)
	if err != nil || n == 0 {
		return false, err
	}
	ports, err := store.Strings(tx.Query("SELECT id FROM ports WHERE network_id = ? AND device_id = ?", network, rpc.DHCPDeviceID(a.Host, network)))
	if err != nil {
		return false, err
	}
	for _, id := range ports {
		if _, err := s.Core.UpdatePort(tx, identity.System(), id, []string{"device_id"}, func(p *model.Port) { p.DeviceID = rpc.ReservedDHCPPort }); err != nil {
			return false, fmt.Errorf("reserve DHCP port %s: %w", id, err)
		}
	}
	return true, nil
}

func (s *Service) dhcpAgent(tx *store.Tx, id string) (*model.Agent, error) {
	a, err := s.catalog.Agents.Get(tx, nil, id, s.catalog.Agents.All)
	if err != nil {
		return nil, err
	}
	if a.AgentType != rpc.AgentTypeDHCP || !a.AdminStateUp && !s.cfg.ServeDisabled {
		return nil, fault.NotFound("InvalidDHCPAgent", "Agent %s is not a valid DHCP Agent or has been disabled.", id)
	}
	return a, nil
}
