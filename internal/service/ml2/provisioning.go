package ml2

import (
	"fmt"

	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"
)

// Entities that may have to finish their part before a port becomes active. The names are in the database.
const (
	EntityL2   = "L2"
	EntityDHCP = "DHCP"
)

// unblocked are the owners of ports that nobody waits for (neutron/plugins/ml2/common/constants.py).
var unblocked = []string{"", "network:router_interface_distributed", "network:ha_router_replicated_interface", "network:router_interface",
	ownerRouterGateway, "network:router_centralized_snat", "network:dhcp", "network:floatingip_agent_gateway",
	"network:router_ha_interface", "network:floatingip"}

// addBlocks makes new or changed ports wait for the agents that will serve them.
func (p *Plugin) addBlocks(tx *store.Tx, b *binder, ports []*model.Port) error {
	var rows [][]any
	for _, port := range ports {
		if b.awaitsL2(port) {
			rows = append(rows, []any{port.RowID, EntityL2})
		}
	}
	waiting, err := p.awaitingDHCP(tx, ports)
	if err != nil {
		return err
	}
	for _, port := range waiting {
		rows = append(rows, []any{port.RowID, EntityDHCP})
	}
	return tx.InsertRows("provisioningblocks", []string{"standard_attr_id", "entity"}, rows)
}

// awaitsL2 tells whether an agent on the port's host will report that it has connected the port.
func (b *binder) awaitsL2(port *model.Port) bool {
	if port.HostID == "" || port.Status == "ACTIVE" || contains(unblocked, port.DeviceOwner) || port.VNICType != vnicNormal {
		return false
	}
	for _, m := range b.plugin.mechanisms {
		if m.AgentType() != "" && len(b.agentsFor(port, m)) > 0 {
			return true
		}
	}
	return false
}

// awaitingDHCP selects the ports that a living DHCP agent has to learn before their devices may boot.
func (p *Plugin) awaitingDHCP(tx *store.Tx, ports []*model.Port) ([]*model.Port, error) {
	var subnets []string
	for _, port := range ports {
		if contains(unblocked, port.DeviceOwner) {
			continue
		}
		for _, f := range port.FixedIPs {
			if !contains(subnets, f.SubnetID) {
				subnets = append(subnets, f.SubnetID)
			}
		}
	}
	if len(subnets) == 0 {
		return nil, nil
	}
	in := resource.In("s.id", subnets)
	served, err := store.Strings(tx.Query("SELECT s.id FROM subnets s WHERE s.enable_dhcp = ? AND "+in.SQL+" AND EXISTS (SELECT 1 FROM "+
		"networkdhcpagentbindings b JOIN agents a ON a.id = b.dhcp_agent_id WHERE b.network_id = s.network_id AND a.heartbeat_timestamp > ?)",
		append(append([]any{true}, in.Args...), store.Time{Time: p.aliveSince()})...))
	if err != nil {
		return nil, fmt.Errorf("read DHCP agents: %w", err)
	}
	var out []*model.Port
	for _, port := range ports {
		if contains(unblocked, port.DeviceOwner) {
			continue
		}
		for _, f := range port.FixedIPs {
			if contains(served, f.SubnetID) {
				out = append(out, port)
				break
			}
		}
	}
	return out, nil
}

// renewDHCPBlock makes a port whose addresses changed wait for its DHCP agent, or stop waiting if there is none.
func (p *Plugin) renewDHCPBlock(tx *store.Tx, port *model.Port) error {
	if contains(unblocked, port.DeviceOwner) {
		return nil
	}
	waiting, err := p.awaitingDHCP(tx, []*model.Port{port})
	if err != nil {
		return err
	}
	if len(waiting) > 0 {
		return p.AddProvisioningBlock(tx, port, EntityDHCP)
	}
	return removeBlock(tx, port, EntityDHCP)
}

// AddProvisioningBlock keeps a port from becoming active until ProvisioningComplete is called for the entity.
func (p *Plugin) AddProvisioningBlock(tx *store.Tx, port *model.Port, entity string) error {
	_, err := tx.Exec(tx.Dialect().InsertIgnore("provisioningblocks", "standard_attr_id", "entity"), port.RowID, entity)
	if err != nil {
		return fmt.Errorf("block port %s until %s: %w", port.ID, entity, err)
	}
	return nil
}

func removeBlock(tx *store.Tx, port *model.Port, entity string) error {
	_, err := tx.Exec("DELETE FROM provisioningblocks WHERE standard_attr_id = ? AND entity = ?", port.RowID, entity)
	if err != nil {
		return fmt.Errorf("unblock port %s: %w", port.ID, err)
	}
	return nil
}

// ProvisioningComplete notes that the entity has done its part. A port that is up and bound becomes active when
// nothing is left to be done. A port that does not exist any more is no error.
func (p *Plugin) ProvisioningComplete(tx *store.Tx, portID, entity string) error {
	found, err := p.portsWhere(tx, p.catalog.Ports.ByID(portID))
	if err != nil || len(found) == 0 {
		return err
	}
	port := found[0]
	if err := removeBlock(tx, port, entity); err != nil {
		return err
	}
	left, _, err := store.One[int](tx.QueryRow("SELECT COUNT(*) FROM provisioningblocks WHERE standard_attr_id = ?", port.RowID))
	if err != nil {
		return fmt.Errorf("read what blocks port %s: %w", portID, err)
	}
	if left > 0 || !port.AdminStateUp || unplugged(port) {
		return nil
	}
	return p.setStatus(tx, port, "ACTIVE")
}

// unplugged tells whether no driver has bound the port.
func unplugged(port *model.Port) bool {
	return port.VIFType == vifUnbound || port.VIFType == vifBindingFailed
}

// UpdatePortStatus sets the status that an agent reports. host says where; a port that is bound elsewhere is left alone.
// "" means anywhere. A port that does not exist any more is no error.
func (p *Plugin) UpdatePortStatus(tx *store.Tx, portID, status, host string) error {
	found, err := p.portsWhere(tx, p.catalog.Ports.ByID(portID))
	if err != nil || len(found) == 0 {
		return err
	}
	if host != "" && found[0].HostID != host {
		return nil
	}
	return p.setStatus(tx, found[0], status)
}

func (p *Plugin) setStatus(tx *store.Tx, old *model.Port, status string) error {
	if old.Status == status {
		return nil
	}
	now := clonePort(old)
	now.Status = status
	if _, err := p.catalog.Ports.Save(tx, old, now); err != nil {
		return err
	}
	after(tx, p.Hooks.AfterPort, old, now)
	return nil
}
