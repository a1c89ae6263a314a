package agentrpc

import (
	"context"
	"reflect"

	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/rpc"
	"neutrino/internal/store"
)

// What agents are told after a commit. Messages go to the hosts concerned; one that gets lost is made good by the agent's
// next full sync.

// DHCP message priorities (upstream dhcp_rpc_agent_api.py); lower is more urgent.
const (
	priorityNetworkCreate = iota
	priorityNetworkUpdate
	priorityNetworkDelete
	prioritySubnetUpdate
	prioritySubnetDelete
	priorityPortCreate
	priorityPort
)

// BeforeSubnet gives a network its DHCP agents when it gets a subnet, with DHCP or without, and when one gets DHCP (hook of
// the ML2 plug-in).
func (s *Server) BeforeSubnet(c *resource.Change[model.Subnet]) error {
	if c.New == nil || c.Old != nil && c.Old.EnableDHCP == c.New.EnableDHCP {
		return nil
	}
	return s.agents.ScheduleNetwork(c.Tx, c.New.NetworkID)
}

// BeforePort gives a network its DHCP agents when it gets a port and has none (hook of the ML2 plug-in). It need not have
// subnets: upstream makes no difference.
func (s *Server) BeforePort(c *resource.Change[model.Port]) error {
	if c.Old != nil || c.New == nil || c.New.DeviceOwner == "network:dhcp" && c.New.DeviceID == "reserved_dhcp_port" {
		return nil
	}
	var bound int
	if err := c.Tx.QueryRow("SELECT COUNT(*) FROM networkdhcpagentbindings WHERE network_id = ?", c.New.NetworkID).Scan(&bound); err != nil {
		return err
	}
	if bound > 0 {
		return nil
	}
	return s.agents.ScheduleNetwork(c.Tx, c.New.NetworkID)
}

// AfterNetwork follows networks (hook of the ML2 plug-in).
func (s *Server) AfterNetwork(ctx context.Context, old, now *model.Network) {
	switch {
	case old == nil:
	case now == nil:
		s.cast("network_delete_end", rpc.DHCPNetworkDeleteEnd.Fanout(ctx, s.bus, payload(rpc.DHCPPayload{NetworkID: old.ID, Priority: priorityNetworkDelete})))
		s.cast("network_delete", rpc.NetworkDelete.Fanout(ctx, s.bus, rpc.NetworkDeleteArgs{NetworkID: old.ID}))
	case old.SegmentationID != nil && now.SegmentationID != nil && *old.SegmentationID != *now.SegmentationID:
		s.toNetworkHosts(ctx, now)
	case old.MTU != now.MTU || old.AdminStateUp != now.AdminStateUp:
		p := rpc.DHCPPayload{NetworkID: now.ID, Priority: priorityNetworkUpdate}
		p.Network = networkRef(now.ID, &now.AdminStateUp)
		s.toDHCP(ctx, rpc.DHCPNetworkUpdateEnd, now.ID, p)
		s.toNetworkHosts(ctx, now)
	}
}

// toNetworkHosts tells the L2 and L3 agents of the hosts that have ports of a network to look at it again.
func (s *Server) toNetworkHosts(ctx context.Context, now *model.Network) {
	var args rpc.NetworkArgs
	args.Network.ID, args.Network.MTU, args.Network.AdminStateUp = now.ID, now.MTU, now.AdminStateUp
	for _, host := range s.hostsOfNetwork(ctx, now.ID) {
		s.cast("network_update", rpc.NetworkUpdate.Cast(ctx, s.bus, host, args))
		s.cast("network_update", rpc.L3NetworkUpdate.Cast(ctx, s.bus, host, args))
	}
}

func networkRef(id string, up *bool) *struct {
	ID           string `json:"id"`
	AdminStateUp *bool  `json:"admin_state_up,omitempty"`
} {
	return &struct {
		ID           string `json:"id"`
		AdminStateUp *bool  `json:"admin_state_up,omitempty"`
	}{id, up}
}

func payload(p rpc.DHCPPayload) rpc.DHCPNotification { return rpc.DHCPNotification{Payload: p} }

// AfterSubnet follows subnets (hook of the ML2 plug-in).
func (s *Server) AfterSubnet(ctx context.Context, old, now *model.Subnet) {
	switch {
	case old == nil:
		x := Subnet(now)
		s.toDHCP(ctx, rpc.DHCPSubnetCreateEnd, now.NetworkID, rpc.DHCPPayload{NetworkID: now.NetworkID, Subnet: &x, Priority: prioritySubnetUpdate})
	case now == nil:
		s.toDHCP(ctx, rpc.DHCPSubnetDeleteEnd, old.NetworkID, rpc.DHCPPayload{NetworkID: old.NetworkID, SubnetID: old.ID, Priority: prioritySubnetDelete})
	default:
		x := Subnet(now)
		s.toDHCP(ctx, rpc.DHCPSubnetUpdateEnd, now.NetworkID, rpc.DHCPPayload{NetworkID: now.NetworkID, Subnet: &x, Priority: prioritySubnetUpdate})
	}
}

// AfterPort follows ports (hook of the ML2 plug-in): it tells DHCP agents, the port's L2 agent, and the hosts that must
// know where its addresses are.
func (s *Server) AfterPort(ctx context.Context, old, now *model.Port) {
	switch {
	case old == nil:
		x := s.dhcpPort(now)
		s.toDHCP(ctx, rpc.DHCPPortCreateEnd, now.NetworkID, rpc.DHCPPayload{NetworkID: now.NetworkID, Port: &x, Priority: priorityPortCreate})
		s.toL2(ctx, now)
	case now == nil:
		s.toDHCP(ctx, rpc.DHCPPortDeleteEnd, old.NetworkID, rpc.DHCPPayload{NetworkID: old.NetworkID, PortID: old.ID,
			FixedIPs: convert(old.FixedIPs, fixedIP), Priority: priorityPort})
		if old.HostID != "" {
			s.cast("port_delete", rpc.PortDelete.Cast(ctx, s.bus, old.HostID, rpc.PortDeleteArgs{PortID: old.ID}))
			s.depopulate(ctx, old.HostID, []*model.Port{old})
		}
	default:
		s.portChanged(ctx, old, now)
	}
}

func (s *Server) portChanged(ctx context.Context, old, now *model.Port) {
	addressed := !model.SameSet(old.FixedIPs, now.FixedIPs) || old.MACAddress != now.MACAddress
	owned := old.DeviceOwner != now.DeviceOwner || now.DeviceOwner == "network:dhcp" && old.DeviceID != now.DeviceID // who routes, and who serves
	if addressed || owned || !reflect.DeepEqual(old.ExtraDHCPOpts, now.ExtraDHCPOpts) || old.DNSName != now.DNSName {
		x := s.dhcpPort(now)
		s.toDHCP(ctx, rpc.DHCPPortUpdateEnd, now.NetworkID, rpc.DHCPPayload{NetworkID: now.NetworkID, Port: &x, Priority: priorityPort})
	}
	moved := old.HostID != now.HostID
	if moved && old.HostID != "" {
		s.cast("port_delete", rpc.PortDelete.Cast(ctx, s.bus, old.HostID, rpc.PortDeleteArgs{PortID: old.ID}))
		s.depopulate(ctx, old.HostID, []*model.Port{old})
	}
	if moved || addressed || old.VIFType != now.VIFType || old.AdminStateUp != now.AdminStateUp || old.PortSecurity != now.PortSecurity ||
		old.DeviceOwner != now.DeviceOwner || !model.SameSet(old.SecurityGroups, now.SecurityGroups) || !model.SameSet(old.AddressPairs, now.AddressPairs) {
		s.toL2(ctx, now)
	}
	if addressed && !moved && now.HostID != "" && now.Status != "DOWN" {
		s.repopulate(ctx, old, now)
	}
}

// toL2 tells the L2 agent of the port's host to look at it again.
func (s *Server) toL2(ctx context.Context, p *model.Port) {
	if p.HostID != "" {
		s.cast("port_update", rpc.PortUpdate.Cast(ctx, s.bus, p.HostID, rpc.PortUpdateArgs{Port: Port(p)}))
	}
}

// toDHCP tells the DHCP agents of a network.
func (s *Server) toDHCP(ctx context.Context, m rpc.Method[rpc.DHCPNotification, rpc.None], network string, p rpc.DHCPPayload) {
	hosts, err := read(ctx, s.db, func(tx *store.Tx) (map[string][]string, error) { return s.agents.DHCPHosts(tx, network) })
	if err != nil {
		s.log.Error("cannot find the DHCP agents of a network; they will learn of the change when they resync", "network", network, "error", err)
		return
	}
	for _, host := range hosts[network] {
		s.cast(m.Name, m.Cast(ctx, s.bus, host, payload(p)))
	}
}

// hostsOfNetwork are the hosts to which ports of the network are bound.
func (s *Server) hostsOfNetwork(ctx context.Context, network string) []string {
	return s.hosts(ctx, "SELECT DISTINCT b.host FROM ml2_port_bindings b JOIN ports p ON p.id = b.port_id WHERE b.host <> '' AND p.network_id = ?", network)
}

func (s *Server) hosts(ctx context.Context, query string, args ...any) []string {
	hosts, err := read(ctx, s.db, func(tx *store.Tx) ([]string, error) {
		rows, err := tx.Query(query, args...)
		return store.Strings(rows, err)
	})
	if err != nil {
		s.log.Error("cannot find the hosts to tell; their agents will learn of the change when they resync", "error", err)
	}
	return hosts
}

// RulesChanged tells the hosts that have ports in the groups (hook of the security group service).
func (s *Server) RulesChanged(ctx context.Context, groups []string) {
	in := resource.In("g.security_group_id", groups)
	for _, host := range s.hosts(ctx, "SELECT DISTINCT b.host FROM securitygroupportbindings g JOIN ml2_port_bindings b ON b.port_id = g.port_id "+
		"WHERE b.host <> '' AND "+in.SQL, in.Args...) {
		s.cast("security_groups_rule_updated", rpc.SecurityGroupsRuleUpdated.Cast(ctx, s.bus, host, rpc.SecurityGroupsArgs{SecurityGroups: groups}))
	}
}

// NetworkAdded tells a DHCP agent to serve a network (agents.Notifier).
func (s *Server) NetworkAdded(ctx context.Context, host, network string) {
	p := rpc.DHCPPayload{NetworkID: network, Network: networkRef(network, nil), Priority: priorityNetworkCreate}
	s.cast("network_create_end", rpc.DHCPNetworkCreateEnd.Cast(ctx, s.bus, host, payload(p)))
}

// NetworkRemoved tells a DHCP agent to stop serving a network (agents.Notifier).
func (s *Server) NetworkRemoved(ctx context.Context, host, network string) {
	s.cast("network_delete_end", rpc.DHCPNetworkDeleteEnd.Cast(ctx, s.bus, host, payload(rpc.DHCPPayload{NetworkID: network, Priority: priorityNetworkDelete})))
}

// AdminStateChanged tells an agent that an administrator switched it on or off (agents.Notifier).
func (s *Server) AdminStateChanged(ctx context.Context, agentType, host string, up bool) {
	var args rpc.AgentUpdatedArgs
	args.Payload.AdminStateUp = up
	switch agentType {
	case rpc.AgentTypeDHCP:
		s.cast("agent_updated", rpc.DHCPAgentUpdated.Cast(ctx, s.bus, host, args))
	case rpc.AgentTypeL3:
		s.cast("agent_updated", rpc.L3AgentUpdated.Cast(ctx, s.bus, host, args))
	}
}
