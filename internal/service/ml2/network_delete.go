package ml2

import (
	"fmt"
	"strings"

	"neutrino/internal/fault"
	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"
)

// deleteNetwork removes a network with its subnets and the ports that services made there. The hooks run first, because
// they may remove what would otherwise be in the way, such as unused floating IPs.
func (p *Plugin) deleteNetwork(c *resource.Change[model.Network]) error {
	n := c.Old
	if err := before(p.Hooks.BeforeNetwork, c); err != nil {
		return err
	}
	if err := notInUse(c.Tx, n.ID); err != nil {
		return err
	}
	if err := p.deleteServicePorts(c.Tx, n.ID); err != nil {
		return err
	}
	if err := p.deleteSubnetsOf(c.Tx, n.ID); err != nil {
		return err
	}
	if err := p.releaseSegments(c.Tx, n.ID); err != nil {
		return err
	}
	err := p.catalog.Networks.Delete(c.Tx, n)
	if store.IsForeignKey(err) {
		return store.Retry(err) // somebody has put a port or a subnet there
	}
	if err != nil {
		return err
	}
	after(c.Tx, p.Hooks.AfterNetwork, n, nil)
	return nil
}

// notInUse refuses if there are ports that nobody deletes for the user.
func notInUse(tx *store.Tx, networkID string) error {
	in := resource.In("device_owner", autoDeleted)
	ports, err := store.Strings(tx.Query("SELECT id FROM ports WHERE network_id = ? AND NOT ("+in.SQL+") ORDER BY id", append([]any{networkID}, in.Args...)...))
	if err != nil {
		return fmt.Errorf("read ports of network %s: %w", networkID, err)
	}
	if len(ports) > 0 {
		return fault.Conflict("NetworkInUse", "Unable to complete operation on network %s. There are one or more ports still in use "+
			"on the network, id for these ports is: %s.", networkID, strings.Join(ports, ","))
	}
	return nil
}

func (p *Plugin) deleteServicePorts(tx *store.Tx, networkID string) error {
	ports, err := p.portsWhere(tx, resource.Cond{SQL: "t.network_id = ?", Args: []any{networkID}})
	if err != nil {
		return err
	}
	return p.deletePorts(tx, ports)
}

// deletePorts deletes ports that services made.
func (p *Plugin) deletePorts(tx *store.Tx, ports []*model.Port) error {
	for _, port := range ports {
		err := p.deletePort(&resource.Change[model.Port]{Resource: p.catalog.Ports, Tx: tx, Caller: identity.System(), Old: port})
		if fault.Is(err, "PortNotFound") {
			err = store.Retry(err) // its agent has just released it
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *Plugin) deleteSubnetsOf(tx *store.Tx, networkID string) error {
	subnets, err := p.GetSubnets(tx, networkID)
	if err != nil {
		return err
	}
	for _, s := range subnets {
		c := &resource.Change[model.Subnet]{Resource: p.catalog.Subnets, Tx: tx, Caller: identity.System(), Old: s}
		if err := p.removeSubnet(c); err != nil {
			return err
		}
	}
	return nil
}
