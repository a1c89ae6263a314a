package l3

import (
	"fmt"
	"net/netip"
	"slices"

	"neutrino/internal/fault"
	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"
)

// associate makes f stand for an address of a port: the given one, or the only IPv4 address that the port has. Without
// a wanted router it finds one that connects the two networks. Nothing is written.
func (s *Service) associate(tx *store.Tx, caller *identity.Caller, f *model.FloatingIP, portID string, fixed, wanted *string) error {
	ports := s.catalog.Ports
	port, err := ports.Get(tx, caller, portID, ports.Bits("id", "project_id", "network_id", "device_owner", "fixed_ips"))
	if err != nil {
		return err
	}
	if port.ProjectID != f.ProjectID && !caller.IsAdmin {
		return badRequest("floatingip", "Cannot process floating IP association with Port %s, since that port is owned by a different project", port.ID)
	}
	if port.DeviceOwner == ownerDHCP {
		return badRequest("floatingip", "Port %s is unable to be assigned a floating IP", port.ID)
	}
	internal, err := internalAddress(port, fixed)
	if err != nil {
		return err
	}
	var router string
	if wanted != nil {
		router, err = s.wantedRouter(tx, caller, *wanted, f.FloatingNetworkID)
	} else {
		router, err = routerBetween(tx, port, internal.SubnetID, f.FloatingNetworkID)
	}
	if err != nil {
		return err
	}
	taken, err := exists(tx, "FROM floatingips WHERE fixed_port_id = ? AND floating_network_id = ? AND fixed_ip_address = ? AND id <> ?",
		port.ID, f.FloatingNetworkID, internal.IPAddress, f.ID)
	if err != nil {
		return err
	}
	if taken {
		return fault.Conflict("FloatingIPPortAlreadyAssociated", "Cannot associate floating IP %s (%s) with port %s using fixed IP %s, as "+
			"that fixed IP already has a floating IP on external network %s.", *f.FloatingIPAddress, f.ID, port.ID, internal.IPAddress, f.FloatingNetworkID)
	}
	if f.PortID == nil && f.RouterID != nil {
		router = *f.RouterID // port forwardings, which upstream may have made, tie it to that router
	}
	f.PortID, f.FixedIPAddress, f.RouterID = &port.ID, &internal.IPAddress, &router
	return nil
}

// wantedRouter checks that the router that a request names has its gateway on the external network (extension
// floating-ip-router-writable). Whether it reaches the port is the caller's business.
func (s *Service) wantedRouter(tx *store.Tx, caller *identity.Caller, id, external string) (string, error) {
	router, err := s.catalog.Routers.Get(tx, caller, id, s.catalog.Routers.Bits("id"))
	if err != nil {
		return "", err
	}
	gateway, err := exists(tx, "FROM routers r JOIN ports g ON g.id = r.gw_port_id WHERE r.id = ? AND g.network_id = ?", router.ID, external)
	if err != nil {
		return "", fmt.Errorf("read gateway of router %s: %w", id, err)
	}
	if !gateway {
		return "", fault.Conflict("Conflict", "An unknown exception occurred.")
	}
	return router.ID, nil
}

// internalAddress is the address of the port that a floating IP shall stand for.
func internalAddress(port *model.Port, fixed *string) (model.FixedIP, error) {
	var none model.FixedIP
	if fixed != nil && *fixed != "" {
		if a, err := netip.ParseAddr(*fixed); err != nil || !a.Is4() {
			return none, badRequest("floatingip", "Cannot process floating IP association with %s, since that is not an IPv4 address", *fixed)
		}
		for _, f := range port.FixedIPs {
			if f.IPAddress == *fixed {
				return f, nil
			}
		}
		return none, badRequest("floatingip", "Port %s does not have fixed ip %s", port.ID, *fixed)
	}
	switch v4 := ipv4(port.FixedIPs); len(v4) {
	case 0:
		return none, badRequest("floatingip", "Cannot add floating IP to port %s that has no fixed IPv4 addresses", port.ID)
	case 1:
		return v4[0], nil
	}
	return none, badRequest("floatingip", "Port %s has multiple fixed IPv4 addresses.  Must provide a specific IPv4 address when assigning a "+
		"floating IP", port.ID)
}

// routerBetween finds the router that connects a subnet of the port with the external network, preferably the one that is
// the subnet's gateway. It keeps the connection from being taken away until the transaction ends.
func routerBetween(tx *store.Tx, port *model.Port, subnet, external string) (string, error) {
	type candidate struct {
		router   string
		gateways int // how many of its addresses are the subnet's gateway
	}
	// From the few interfaces on the network to their addresses: the subnet may have thousands.
	owners := resource.In("device_owner", interfaceOwners)
	rows, err := tx.Query("SELECT r.id, (SELECT COUNT(*) FROM ipallocations a JOIN subnets s ON s.id = a.subnet_id AND s.gateway_ip = a.ip_address "+
		"WHERE a.port_id = rp.port_id AND a.subnet_id = ?) FROM routerports rp JOIN routers r ON r.id = rp.router_id JOIN ports g ON g.id = r.gw_port_id "+
		"WHERE rp.port_id IN (SELECT id FROM ports WHERE network_id = ? AND "+owners.SQL+") AND g.network_id = ? "+
		"AND EXISTS (SELECT 1 FROM ipallocations a WHERE a.port_id = rp.port_id AND a.subnet_id = ?) ORDER BY r.id"+tx.Dialect().ForShare(),
		slices.Concat([]any{subnet, port.NetworkID}, owners.Args, []any{external, subnet})...)
	list, err := store.All(rows, err, func(rows *store.Rows) (c candidate, err error) { return c, rows.Scan(&c.router, &c.gateways) })
	if err != nil {
		return "", fmt.Errorf("find router for port %s: %w", port.ID, err)
	}
	if len(list) == 0 {
		return "", fault.NotFound("ExternalGatewayForFloatingIPNotFound", "External network %s is not reachable from subnet %s.  Therefore, "+
			"cannot associate Port %s with a Floating IP.", external, subnet, port.ID)
	}
	for _, c := range list {
		if c.gateways > 0 {
			return c.router, nil
		}
	}
	return list[0].router, nil
}
