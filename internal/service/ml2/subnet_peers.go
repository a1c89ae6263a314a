package ml2

import (
	"net/netip"
	"slices"

	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"
)

// Subnets on segments of one network reach each other through their gateways, which hosts learn as host routes
// (extension segments-peer-subnet-host-routes; upstream SegmentHostRoutes in neutron/services/segments/plugin.py).

// routesToPeers are the host routes of a subnet with those to the subnets on other segments. Of a former gateway and to
// a former subnet none stay.
func routesToPeers(s *model.Subnet, peers []*model.Subnet, formerGateway *string, formerCIDR string) []model.Route {
	var routes []model.Route
	for _, r := range s.HostRoutes {
		gone := s.GatewayIP != nil && r == model.Route{Destination: formerCIDR, Nexthop: *s.GatewayIP}
		for _, p := range peers {
			gone = gone || formerGateway != nil && r == model.Route{Destination: p.CIDR, Nexthop: *formerGateway}
		}
		if !gone {
			routes = append(routes, r)
		}
	}
	for _, p := range peers {
		if s.GatewayIP == nil || p.ID == s.ID || p.IPVersion != s.IPVersion || equal(p.SegmentID, s.SegmentID) || covered(p.CIDR, routes) {
			continue
		}
		routes = append(routes, model.Route{Destination: p.CIDR, Nexthop: *s.GatewayIP})
	}
	return routes
}

// covered tells whether one of the routes leads to the whole prefix.
func covered(cidr string, routes []model.Route) bool {
	inner, err := netip.ParsePrefix(cidr)
	return err == nil && slices.ContainsFunc(routes, func(r model.Route) bool {
		outer, err := r.Prefix()
		return err == nil && outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
	})
}

// routePeers gives a new or changed subnet on a segment its routes to the others. formerGateway is the gateway it had.
func (p *Plugin) routePeers(tx *store.Tx, s *model.Subnet, formerGateway *string) error {
	if s.SegmentID == nil || !p.mapsSegments() {
		return nil
	}
	peers, err := p.GetSubnets(tx, s.NetworkID)
	if err != nil {
		return err
	}
	if equal(s.GatewayIP, formerGateway) {
		formerGateway = nil
	}
	s.HostRoutes = routesToPeers(s, peers, formerGateway, "")
	orEmpty(&s.HostRoutes)
	return nil
}

// gatewayGiven tells whether the request that creates a subnet names its gateway.
func gatewayGiven(c *resource.Change[model.Subnet]) bool {
	return c.Has("gateway_ip") && c.New.GatewayIP != nil
}

// answerSubnet shows a new subnet on a segment as upstream's answer does: without the routes to its peers if the gateway was
// left to the server, which gives them only afterwards, as a change.
func (p *Plugin) answerSubnet(c *resource.Change[model.Subnet], answer *model.Subnet) {
	if c.Old == nil && c.New.SegmentID != nil && !gatewayGiven(c) {
		answer.HostRoutes, answer.Revision = c.New.HostRoutes, c.New.Revision
	}
}

// renewPeers changes the routes of the network's subnets when s came or, with gone, went.
func (p *Plugin) renewPeers(c *resource.Change[model.Subnet], s *model.Subnet, gone bool) error {
	if s.SegmentID == nil || !p.mapsSegments() {
		return nil
	}
	peers, err := p.GetSubnets(c.Tx, s.NetworkID)
	if err != nil {
		return err
	}
	former := ""
	if gone {
		former = s.CIDR
	}
	for _, peer := range peers {
		now := *peer
		now.HostRoutes = routesToPeers(peer, peers, nil, former)
		if gone && peer.ID == s.ID || slices.Equal(now.HostRoutes, peer.HostRoutes) {
			continue
		}
		if _, err := p.catalog.Subnets.Save(c.Tx, peer, &now); err != nil {
			return err
		}
		after(c.Tx, p.Hooks.AfterSubnet, peer, &now)
	}
	return nil
}
