package l3

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"neutrino/internal/fault"
	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/store"
)

// RemoveRouterInterface ends the connection of a router with the subnet or the port that body names, or with both if they
// belong together. It returns what the API answers.
func (s *Service) RemoveRouterInterface(tx *store.Tx, caller *identity.Caller, router string, body map[string]any) (map[string]any, error) {
	r, err := s.router(tx, caller, router)
	if err != nil {
		return nil, err
	}
	portID, subnetID, err := interfaceNames(body)
	if err != nil {
		return nil, err
	}
	if err := lock(tx, r.ID); err != nil {
		return nil, err
	}
	ports, err := attachments(tx, r.ID)
	if err != nil {
		return nil, err
	}
	all := slices.Clone(ports)
	ports = slices.DeleteFunc(ports, func(p *attachment) bool { return p.owner != interfaceOwner(r) })
	var port *attachment
	var subnets []string
	if portID != "" {
		port, subnets, err = s.removeByPort(tx, r.ID, ports, portID, subnetID)
	} else {
		port, err = s.removeBySubnet(tx, caller, r.ID, ports, subnetID)
		subnets = []string{subnetID}
	}
	if err != nil {
		return nil, err
	}
	if len(subnets) > 0 {
		if err := s.snatOffSubnet(tx, r, all, port.network, cmp.Or(subnetID, subnets[0])); err != nil {
			return nil, err
		}
	}
	if err := s.catalog.Routers.Touch(tx, r); err != nil {
		return nil, err
	}
	if err := s.updated(tx, r.ID); err != nil {
		return nil, err
	}
	first := ""
	if len(subnets) > 0 {
		first = subnets[0]
	}
	return interfaceInfo(r.ID, port.project, port.port, port.network, first, subnets), nil
}

func (s *Service) removeByPort(tx *store.Tx, router string, ports []*attachment, portID, subnetID string) (*attachment, []string, error) {
	i := slices.IndexFunc(ports, func(p *attachment) bool { return p.port == portID })
	if i < 0 {
		return nil, nil, fault.NotFound("RouterInterfaceNotFound", "Router %s does not have an interface with id %s", router, portID)
	}
	port := ports[i]
	if subnetID != "" && !port.onSubnet(subnetID) {
		return nil, nil, fault.BadRequest("SubnetMismatchForPort", "Subnet on port %s does not match the requested subnet %s.", portID, subnetID)
	}
	subnets := []string{}
	for _, a := range port.addresses {
		if slices.Contains(subnets, a.subnet) {
			continue
		}
		if err := checkNotNeeded(tx, router, a.subnet, a.cidr); err != nil {
			return nil, nil, err
		}
		subnets = append(subnets, a.subnet)
	}
	return port, subnets, s.core.DeletePort(tx, identity.System(), port.port)
}

func (s *Service) removeBySubnet(tx *store.Tx, caller *identity.Caller, router string, ports []*attachment, id string) (*attachment, error) {
	n, err := s.visibleSubnet(tx, caller, id)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(ports, func(p *attachment) bool { return p.network == n.network }) {
		if err := checkNotNeeded(tx, router, id, n.cidr); err != nil {
			return nil, err
		}
	}
	i := slices.IndexFunc(ports, func(p *attachment) bool { return p.onSubnet(id) })
	if i < 0 {
		return nil, fault.NotFound("RouterInterfaceNotFoundForSubnet", "Router %s has no interface on subnet %s", router, id)
	}
	port := ports[i]
	if !slices.ContainsFunc(port.addresses, func(a address) bool { return a.subnet != id }) {
		return port, s.core.DeletePort(tx, identity.System(), port.port)
	}
	_, err = s.core.UpdatePort(tx, identity.System(), port.port, []string{"fixed_ips"}, func(p *model.Port) {
		p.FixedIPs = slices.DeleteFunc(slices.Clone(p.FixedIPs), func(f model.FixedIP) bool { return f.SubnetID == id })
	})
	return port, err
}

// checkNotNeeded refuses to disconnect a subnet that floating IPs or routes of the router use.
func checkNotNeeded(tx *store.Tx, router, subnet string, cidr netip.Prefix) error {
	used, err := exists(tx, "FROM floatingips f WHERE f.router_id = ? AND EXISTS (SELECT 1 FROM ipallocations a WHERE a.port_id = f.fixed_port_id "+
		"AND a.ip_address = f.fixed_ip_address AND a.subnet_id = ?)", router, subnet)
	if err != nil {
		return fmt.Errorf("read floating IPs of router %s: %w", router, err)
	}
	if used {
		return fault.Conflict("RouterInterfaceInUseByFloatingIP", "Router interface for subnet %s on router %s cannot be deleted, as it is "+
			"required by one or more floating IPs.", subnet, router)
	}
	hops, err := store.Strings(tx.Query("SELECT nexthop FROM routerroutes WHERE router_id = ?", router))
	if err != nil {
		return fmt.Errorf("read routes of router %s: %w", router, err)
	}
	for _, h := range hops {
		if a, err := netip.ParseAddr(h); err == nil && cidr.Contains(a) {
			return fault.Conflict("RouterInterfaceInUseByRoute", "Router interface for subnet %s on router %s cannot be deleted, as it is "+
				"required by one or more routes.", subnet, router)
		}
	}
	return nil
}
