package ml2

import (
	"fmt"
	"slices"

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
	if port.HostID == "" || port.Status == "ACTIVE" || contains(unblocked, port.DeviceOwner) {
		return false
	}
	for _, m := range b.plugin.mechanisms {
		if m.Takes(port.VNICType) && len(b.agentsFor(port, m)) > 0 {
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

// dropDHCPBlocks ends the waiting of ports for an agent that has nothing to do for them any more: DHCP was switched off in the subnet, and
// they have no address in one with DHCP. Where no agent serves the network, nobody else would ever end it, as with upstream.
func (p *Plugin) dropDHCPBlocks(tx *store.Tx, subnetID string) error {
	const without = "ports p WHERE p.id IN (SELECT port_id FROM ipallocations WHERE subnet_id = ?) AND NOT EXISTS (SELECT 1 FROM ipallocations a " +
		"JOIN subnets s ON s.id = a.subnet_id WHERE a.port_id = p.id AND s.enable_dhcp = ?)"
	wired, err := store.Strings(tx.Query("SELECT p.id FROM "+without+" AND p.status = 'BUILD'", subnetID, true))
	if err != nil {
		return fmt.Errorf("read ports that wait for DHCP: %w", err)
	}
	if len(wired) > 0 {
		if err := p.ProvisioningComplete(tx, EntityDHCP, wired...); err != nil {
			return err
		}
	}
	_, err = tx.Exec("DELETE FROM provisioningblocks WHERE entity = ? AND standard_attr_id IN (SELECT p.standard_attr_id FROM "+without+")",
		EntityDHCP, subnetID, true)
	if err != nil {
		return fmt.Errorf("unblock ports: %w", err)
	}
	return nil
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

// ProvisioningComplete notes that the entity has done its part for ports. Those that are up and bound become active when
// nothing is left to be done. DHCP has no say in ports that did not wait for it: an agent that starts names all ports of
// its networks, and one whose device is gone must not become active by that, as it does in upstream. Ports that do not
// exist any more are no error. The number of statements does not depend on the number of ports.
func (p *Plugin) ProvisioningComplete(tx *store.Tx, entity string, portIDs ...string) error {
	ports, err := p.portsWhere(tx, p.catalog.Ports.ByID(portIDs...))
	if err != nil || len(ports) == 0 {
		return err
	}
	rows := make([]int64, len(ports))
	for i, port := range ports {
		rows[i] = port.RowID
	}
	in := resource.In("standard_attr_id", rows)
	waiting, err := attributesIn(tx, "entity = ? AND "+in.SQL, append([]any{entity}, in.Args...)...)
	if err != nil {
		return err
	}
	if _, err := tx.Exec("DELETE FROM provisioningblocks WHERE entity = ? AND "+in.SQL, append([]any{entity}, in.Args...)...); err != nil {
		return fmt.Errorf("unblock ports: %w", err)
	}
	blocked, err := attributesIn(tx, in.SQL, in.Args...)
	if err != nil {
		return err
	}
	ports = slices.DeleteFunc(ports, func(port *model.Port) bool {
		return entity == EntityDHCP && !slices.Contains(waiting, port.RowID) || slices.Contains(blocked, port.RowID) || !port.AdminStateUp || unplugged(port)
	})
	return p.setStatus(tx, ports, "ACTIVE")
}

// attributesIn are the ports, by standard attribute, of provisioning blocks.
func attributesIn(tx *store.Tx, where string, args ...any) ([]int64, error) {
	rows, err := tx.Query("SELECT DISTINCT standard_attr_id FROM provisioningblocks WHERE "+where, args...)
	ids, err := store.All(rows, err, func(r *store.Rows) (id int64, err error) { return id, r.Scan(&id) })
	if err != nil {
		return nil, fmt.Errorf("read what blocks ports: %w", err)
	}
	return ids, nil
}

// unplugged tells whether no driver has bound the port.
func unplugged(port *model.Port) bool {
	return port.VIFType == vifUnbound || port.VIFType == vifBindingFailed
}

// UpdatePortStatus sets the status that an agent reports. host says where; ports that are bound elsewhere are left alone.
// "" means anywhere. Ports that do not exist any more are no error.
func (p *Plugin) UpdatePortStatus(tx *store.Tx, status, host string, portIDs ...string) error {
	ports, err := p.portsWhere(tx, p.catalog.Ports.ByID(portIDs...))
	if err != nil {
		return err
	}
	return p.setStatus(tx, slices.DeleteFunc(ports, func(port *model.Port) bool { return host != "" && port.HostID != host }), status)
}

// setStatus writes the status of the ports that have another one. It does not ask for the revisions that were read: a
// status depends on nothing that a user can change at the same time.
func (p *Plugin) setStatus(tx *store.Tx, ports []*model.Port, status string) error {
	var ids []string
	var rows []int64
	now := resource.Now()
	for _, old := range ports {
		if old.Status == status {
			continue
		}
		port := clonePort(old)
		port.Status, port.UpdatedAt, port.Revision = status, now, old.Revision+1
		ids, rows = append(ids, port.ID), append(rows, port.RowID)
		after(tx, p.Hooks.AfterPort, old, port)
	}
	if len(ids) == 0 {
		return nil
	}
	in := resource.In("id", ids)
	if _, err := tx.Exec("UPDATE ports SET status = ? WHERE "+in.SQL, append([]any{status}, in.Args...)...); err != nil {
		return fmt.Errorf("set status of ports: %w", err)
	}
	in = resource.In("id", rows)
	if _, err := tx.Exec("UPDATE standardattributes SET revision_number = revision_number + 1, updated_at = ? WHERE "+in.SQL,
		append([]any{now}, in.Args...)...); err != nil {
		return fmt.Errorf("set status of ports: %w", err)
	}
	return nil
}
