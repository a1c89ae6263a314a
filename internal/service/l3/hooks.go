package l3

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

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
	if c.Old == nil || slices.Equal(c.Old.FixedIPs, c.New.FixedIPs) {
		return nil
	}
	return checkRouterAddress(c)
}

// checkRouterAddress keeps the IPv4 addresses of router interfaces as they are.
func checkRouterAddress(c *resource.Change[model.Port]) error {
	if !slices.Contains(fixedOwners, c.Old.DeviceOwner) || slices.Equal(sorted(ipv4(c.Old.FixedIPs)), sorted(ipv4(c.New.FixedIPs))) {
		return nil
	}
	router, err := exists(c.Tx, "FROM routers WHERE id = ?", c.Old.DeviceID)
	if err != nil || !router {
		return err
	}
	return fault.BadRequest("IPAddressChangeNotAllowed", "IP updates for port %s are not allowed", c.Old.ID)
}

func sorted(ips []model.FixedIP) []model.FixedIP {
	return slices.SortedFunc(slices.Values(ips), func(a, b model.FixedIP) int { return strings.Compare(a.IPAddress, b.IPAddress) })
}

// GuardFixedIPs keeps the addresses that floating IPs stand for, which a request has to name (hook of the ML2 plug-in).
func (s *Service) GuardFixedIPs(c *resource.Change[model.Port]) error {
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
	if old == nil || now == nil || !slices.Contains(interfaceOwners, now.DeviceOwner) && now.DeviceOwner != ownerGateway {
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
	s.tell(ctx, places, "")
}

// BeforeNetwork removes unused floating IPs of a network that is being deleted (hook of the ML2 plug-in).
func (s *Service) BeforeNetwork(c *resource.Change[model.Network]) error {
	if c.New != nil {
		return nil
	}
	return s.removeUnused(c.Tx, c.Caller, c.Old.ID)
}

// removeUnused does not find floating IPs of others, as upstream: then the network stays.
func (s *Service) removeUnused(tx *store.Tx, caller *identity.Caller, network string) error {
	list, err := s.catalog.FloatingIPs.Select(tx, &resource.Query{Set: s.catalog.FloatingIPs.All, Where: []resource.Cond{
		{SQL: "t.floating_network_id = ? AND t.router_id IS NULL AND t.fixed_port_id IS NULL", Args: []any{network}}}})
	if err != nil {
		return err
	}
	for _, f := range list {
		if !caller.SeesAll() && f.ProjectID != caller.ProjectID {
			return s.catalog.FloatingIPs.NotFound(f.ID)
		}
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
