package l3

import (
	"fmt"
	"net/netip"
	"slices"

	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"
)

// extendGateways gives the gateways on the network of a new subnet an address there, unless they have one of that IP
// version already (upstream update_router_gw_ports).
func (s *Service) extendGateways(tx *store.Tx, n *model.Subnet) error {
	if n.IPVersion == 4 && len(n.ServiceTypes) > 0 && !slices.Contains(n.ServiceTypes, ownerGateway) {
		return nil
	}
	gateways, err := gatewaysOn(tx, n.NetworkID)
	if err != nil {
		return err
	}
	var routers []string
	for _, g := range gateways {
		if !g.lacks(n) {
			continue
		}
		_, err := s.core.UpdatePort(tx, identity.System(), g.port, []string{"fixed_ips"}, func(p *model.Port) {
			p.FixedIPs = append(slices.Clone(p.FixedIPs), model.FixedIP{SubnetID: n.ID})
		})
		if err != nil {
			return err
		}
		routers = append(routers, g.router)
	}
	return s.updated(tx, routers...)
}

// gateway is a router's port on an external network.
type gateway struct {
	router, port string
	subnets      []string
	versions     []int // of its addresses that the server chose
}

// lacks tells whether the gateway should get an address on the subnet.
func (g *gateway) lacks(n *model.Subnet) bool {
	return len(g.versions) < 2 && !slices.Contains(g.versions, n.IPVersion) && !slices.Contains(g.subnets, n.ID)
}

func gatewaysOn(tx *store.Tx, network string) ([]*gateway, error) {
	in := resource.In("s.ipv6_address_mode", []string{"slaac", "dhcpv6-stateless"})
	rows, err := tx.Query("SELECT r.id, r.gw_port_id, COALESCE(a.subnet_id, ''), COALESCE(a.ip_address, ''), CASE WHEN "+in.SQL+" THEN 1 ELSE 0 END "+
		"FROM ports p JOIN routers r ON r.gw_port_id = p.id LEFT JOIN ipallocations a ON a.port_id = p.id LEFT JOIN subnets s ON s.id = a.subnet_id "+
		"WHERE p.network_id = ? ORDER BY r.id", append(in.Args, network)...)
	var list []*gateway
	_, err = store.All(rows, err, func(rows *store.Rows) (struct{}, error) {
		var g gateway
		var subnet, ip string
		var automatic int
		if err := rows.Scan(&g.router, &g.port, &subnet, &ip, &automatic); err != nil {
			return struct{}{}, err
		}
		if len(list) == 0 || list[len(list)-1].router != g.router {
			list = append(list, &g)
		}
		last := list[len(list)-1]
		last.subnets = append(last.subnets, subnet)
		if a, err := netip.ParseAddr(ip); err == nil && automatic == 0 {
			last.versions = append(last.versions, map[bool]int{true: 4, false: 6}[a.Is4()])
		}
		return struct{}{}, nil
	})
	if err != nil {
		return nil, fmt.Errorf("read gateways on network %s: %w", network, err)
	}
	return list, nil
}
