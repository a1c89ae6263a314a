package l3

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"neutrino/internal/fault"
	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"
)

// GuardPortDelete keeps the port API from deleting ports of routers and floating IPs (hook of the ML2 plug-in). Those
// left over by something that is gone may be deleted.
func (s *Service) GuardPortDelete(c *resource.Change[model.Port]) error {
	p := c.Old
	if !slices.Contains(guardedOwners, p.DeviceOwner) {
		return nil
	}
	table := "routers"
	if p.DeviceOwner == ownerFloatingIP {
		table = "floatingips"
	}
	used, err := exists(c.Tx, "FROM "+table+" WHERE id = ?", p.DeviceID)
	if err != nil || !used {
		return err
	}
	return fault.Conflict("ServicePortInUse", "Port %s cannot be deleted directly via the port API: has device owner %s.", p.ID, p.DeviceOwner)
}

// BeforePort keeps ports from getting between routers, floating IPs and their addresses (hook of the ML2 plug-in).
func (s *Service) BeforePort(c *resource.Change[model.Port]) error {
	if c.New == nil {
		return s.disassociate(c.Tx, c.Caller, c.Old.ID)
	}
	if err := checkDevice(c); err != nil {
		return err
	}
	if c.Old == nil || !c.Has("fixed_ips") {
		return nil
	}
	if err := checkRouterAddress(c); err != nil {
		return err
	}
	return checkFloatingAddress(c)
}

// checkDevice keeps users from making their ports look like interfaces of other projects' routers.
func checkDevice(c *resource.Change[model.Port]) error {
	p := c.New
	unchanged := c.Old != nil && c.Old.DeviceID == p.DeviceID && c.Old.DeviceOwner == p.DeviceOwner
	if c.Caller.IsAdmin || p.DeviceID == "" || unchanged || !slices.Contains(interfaceOwners, p.DeviceOwner) {
		return nil
	}
	project, found, err := store.One[string](c.Tx.QueryRow("SELECT COALESCE(project_id, '') FROM routers WHERE id = ?", p.DeviceID))
	if err != nil {
		return fmt.Errorf("read router %s: %w", p.DeviceID, err)
	}
	if found && project != p.ProjectID {
		return fault.Conflict("DeviceIDNotOwnedByTenant", "The following device_id %s is not owned by your project or matches another "+
			"project router.", p.DeviceID)
	}
	return nil
}

// checkRouterAddress keeps the IPv4 addresses of router interfaces as they are.
func checkRouterAddress(c *resource.Change[model.Port]) error {
	if !slices.Contains(fixedOwners, c.Old.DeviceOwner) {
		return nil
	}
	left := slices.Clone(c.Old.FixedIPs)
	drop := func(same func(model.FixedIP) bool) bool {
		i := slices.IndexFunc(left, same)
		if i >= 0 {
			left = slices.Delete(left, i, i+1)
		}
		return i >= 0
	}
	changed := false
	var anyOf []string // subnets of which any address is asked for
	for _, f := range c.New.FixedIPs {
		switch {
		case f.IPAddress == "":
			anyOf = append(anyOf, f.SubnetID)
		case !drop(func(o model.FixedIP) bool { return o.IPAddress == f.IPAddress }):
			changed = changed || len(ipv4([]model.FixedIP{f})) > 0
		}
	}
	for _, id := range anyOf {
		if drop(func(o model.FixedIP) bool { return o.SubnetID == id }) {
			continue
		}
		v4, err := exists(c.Tx, "FROM subnets WHERE id = ? AND ip_version = 4", id)
		if err != nil {
			return err
		}
		changed = changed || v4
	}
	if !changed && len(ipv4(left)) == 0 {
		return nil
	}
	router, err := exists(c.Tx, "FROM routers WHERE id = ?", c.Old.DeviceID)
	if err != nil || !router {
		return err
	}
	return fault.BadRequest("IPAddressChangeNotAllowed", "IP updates for port %s are not allowed", c.Old.ID)
}

// checkFloatingAddress keeps the addresses that floating IPs stand for.
func checkFloatingAddress(c *resource.Change[model.Port]) error {
	used, err := store.Strings(c.Tx.Query("SELECT fixed_ip_address FROM floatingips WHERE fixed_port_id = ? AND fixed_ip_address IS NOT NULL", c.Old.ID))
	if err != nil {
		return fmt.Errorf("read floating IPs of port %s: %w", c.Old.ID, err)
	}
	for _, ip := range used {
		if !slices.ContainsFunc(c.New.FixedIPs, func(f model.FixedIP) bool { return f.IPAddress == ip }) {
			return badRequest("port", "Cannot update the fixed_ips of the port %s, because its original fixed_ip has been associated to a floating ip",
				c.Old.ID)
		}
	}
	return nil
}

// disassociate takes the floating IPs off a port that is being deleted.
func (s *Service) disassociate(tx *store.Tx, caller *identity.Caller, port string) error {
	list, err := s.catalog.FloatingIPs.Select(tx, &resource.Query{Set: s.catalog.FloatingIPs.All,
		Where: []resource.Cond{resource.In("t.fixed_port_id", []string{port})}})
	if err != nil {
		return err
	}
	var routers []string
	for _, old := range list {
		if old.ProjectID != caller.ProjectID && !caller.IsAdmin {
			return fault.Conflict("FipAssociated", "Unable to complete the operation on port %s because the port still has an associated "+
				"floating IP.", port)
		}
		f := *old
		f.PortID, f.FixedIPAddress, f.RouterID = nil, nil, nil
		if old.RouterID != nil {
			f.LastKnownRouterID = old.RouterID
		}
		if _, err := s.catalog.FloatingIPs.Save(tx, old, &f); err != nil {
			return err
		}
		routers = append(routers, present(old.RouterID)...)
	}
	slices.Sort(routers)
	return s.updated(tx, slices.Compact(routers)...)
}

// AfterPort tells agents of changes of routers' ports that were not made through the router (hook of the ML2 plug-in).
func (s *Service) AfterPort(ctx context.Context, old, now *model.Port) {
	if old == nil || now == nil || now.DeviceOwner != ownerInterface && now.DeviceOwner != ownerGateway {
		return
	}
	if slices.Equal(old.FixedIPs, now.FixedIPs) && old.MACAddress == now.MACAddress && old.AdminStateUp == now.AdminStateUp {
		return
	}
	s.announce(ctx, func(*store.Tx) ([]string, error) { return []string{now.DeviceID}, nil })
}

// announce tells the agents of the routers that find returns.
func (s *Service) announce(ctx context.Context, find func(tx *store.Tx) ([]string, error)) {
	var places []placement
	err := s.db.Read(ctx, func(tx *store.Tx) error {
		routers, err := find(tx)
		if err != nil {
			return err
		}
		places, err = s.placements(tx, routers...)
		return err
	})
	if err != nil {
		s.log.ErrorContext(ctx, "L3 agents are not told of a change", "error", err)
	}
	s.tell(ctx, places)
}

// BeforeNetwork keeps networks external while routers need that, and removes unused floating IPs of a network that is
// being deleted (hook of the ML2 plug-in).
func (s *Service) BeforeNetwork(c *resource.Change[model.Network]) error {
	switch {
	case c.Old == nil:
	case c.New == nil:
		return s.removeUnused(c.Tx, c.Old.ID)
	case c.Old.External && !c.New.External:
		used, err := exists(c.Tx, "FROM ports WHERE network_id = ? AND device_owner = ?", c.Old.ID, ownerGateway)
		if err != nil {
			return err
		}
		if used {
			return fault.Conflict("ExternalNetworkInUse", "External network %s cannot be updated to be made non-external, since it has "+
				"existing gateway ports.", c.Old.ID)
		}
	}
	return nil
}

func (s *Service) removeUnused(tx *store.Tx, network string) error {
	list, err := s.catalog.FloatingIPs.Select(tx, &resource.Query{Set: s.catalog.FloatingIPs.All, Where: []resource.Cond{
		{SQL: "t.floating_network_id = ? AND t.router_id IS NULL AND t.fixed_port_id IS NULL", Args: []any{network}}}})
	if err != nil {
		return err
	}
	for _, f := range list {
		if err := s.removeFloatingIP(tx, f); err != nil {
			return err
		}
	}
	return nil
}

// AfterNetwork tells agents of a new MTU (hook of the ML2 plug-in).
func (s *Service) AfterNetwork(ctx context.Context, old, now *model.Network) {
	if old == nil || now == nil || old.MTU == now.MTU {
		return
	}
	s.announce(ctx, func(tx *store.Tx) ([]string, error) {
		return store.Strings(tx.Query("SELECT DISTINCT rp.router_id FROM routerports rp JOIN ports p ON p.id = rp.port_id WHERE p.network_id = ?", now.ID))
	})
}

// BeforeSubnet keeps the gateway address of a subnet while a router has it (hook of the ML2 plug-in).
func (s *Service) BeforeSubnet(c *resource.Change[model.Subnet]) error {
	if c.Old == nil || c.New == nil || c.Old.GatewayIP == nil || sameAddress(c.Old.GatewayIP, c.New.GatewayIP) {
		return nil
	}
	port, used, err := store.One[string](c.Tx.QueryRow("SELECT a.port_id FROM ipallocations a JOIN routerports rp ON rp.port_id = a.port_id "+
		"WHERE a.subnet_id = ? AND a.ip_address = ? LIMIT 1", c.Old.ID, *c.Old.GatewayIP))
	if err != nil {
		return fmt.Errorf("read routers of subnet %s: %w", c.Old.ID, err)
	}
	if used {
		return fault.Conflict("GatewayIpInUse", "Current gateway ip %s already in use by port %s. Unable to update.", *c.Old.GatewayIP, port)
	}
	return nil
}

func sameAddress(a, b *string) bool {
	if a == nil || b == nil {
		return a == b
	}
	x, errX := netip.ParseAddr(*a)
	y, errY := netip.ParseAddr(*b)
	return *a == *b || errX == nil && errY == nil && x == y
}

// AfterSubnet gives gateways an address on a new subnet of their network, and tells agents of changes that routers must
// know (hook of the ML2 plug-in).
func (s *Service) AfterSubnet(ctx context.Context, old, now *model.Subnet) {
	switch {
	case now == nil:
	case old == nil:
		if err := s.db.Write(ctx, func(tx *store.Tx) error { return s.extendGateways(tx, now) }); err != nil {
			s.log.ErrorContext(ctx, "gateways get no address on a new subnet", "subnet", now.ID, "error", err)
		}
	case !sameAddress(old.GatewayIP, now.GatewayIP) || !slices.Equal(old.DNSNameservers, now.DNSNameservers):
		s.announce(ctx, func(tx *store.Tx) ([]string, error) {
			return store.Strings(tx.Query("SELECT DISTINCT rp.router_id FROM routerports rp JOIN ipallocations a ON a.port_id = rp.port_id "+
				"WHERE a.subnet_id = ?", now.ID))
		})
	}
}
