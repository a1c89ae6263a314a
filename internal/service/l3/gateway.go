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

// snat is enable_snat of a router for which info is asked: a request that does not say anything means the default.
func (s *Service) snat(info *model.GatewayInfo) bool {
	if info != nil && info.HasSNAT {
		return info.EnableSNAT
	}
	return s.cfg.EnableSNATByDefault
}

// setGateway gives a stored router the gateway that was asked for; nil means none. r.Gateway is what the router has, and
// afterwards what it got.
func (s *Service) setGateway(tx *store.Tx, caller *identity.Caller, r *model.Router, asked *model.GatewayInfo) error {
	r.EnableSNAT = s.snat(asked)
	ports, err := attachments(tx, r.ID)
	if err != nil {
		return err
	}
	ports = slices.DeleteFunc(ports, func(p *attachment) bool { return r.GatewayPortID != nil && p.port == *r.GatewayPortID })
	subnets, err := s.checkGateway(tx, caller, asked)
	if err != nil {
		return err
	}
	// A router that loses the only thing it is connected to keeps its routes, as upstream does.
	if asked != nil || len(ports) > 0 {
		if err := checkRoutesVia(r.Routes, ports, subnets); err != nil {
			return err
		}
	}
	if asked == nil || r.Gateway != nil && r.Gateway.NetworkID != asked.NetworkID {
		if err := s.dropGateway(tx, r); err != nil {
			return err
		}
	}
	switch {
	case asked == nil:
		return nil
	case r.Gateway == nil:
		if err := checkOverlap(tx, ports, subnets); err != nil {
			return err
		}
		return s.addGateway(tx, r, asked)
	}
	return s.moveGateway(tx, r, asked)
}

// checkGateway checks a wanted gateway for itself and returns the subnets of its network.
func (s *Service) checkGateway(tx *store.Tx, caller *identity.Caller, asked *model.GatewayInfo) ([]*subnet, error) {
	if asked == nil {
		return nil, nil
	}
	network, err := s.catalog.Networks.Get(tx, caller, asked.NetworkID, s.catalog.Networks.Bits("id", "router:external"))
	if err != nil {
		return nil, err
	}
	if !network.External {
		return nil, badRequest("router", "Network %s is not an external network", asked.NetworkID)
	}
	subnets, err := subnetsWhere(tx, resource.In("network_id", []string{asked.NetworkID}))
	if err != nil {
		return nil, err
	}
	for _, ip := range asked.ExternalFixedIPs {
		for _, n := range subnets {
			if n.gateway != nil && ip.IPAddress != "" && ip.IPAddress == *n.gateway {
				return nil, badRequest("router", "External IP %s is the same as the gateway IP", ip.IPAddress)
			}
		}
	}
	return subnets, nil
}

// checkOverlap makes sure that the ports of a router are not on the subnets and that no prefix overlaps with theirs. On
// the network of the gateway, subnets count even if the gateway has no address there.
func checkOverlap(tx *store.Tx, ports []*attachment, subnets []*subnet) error {
	type taken struct {
		id   string
		cidr netip.Prefix
	}
	var all []taken
	for _, p := range ports {
		for _, a := range p.addresses {
			if slices.ContainsFunc(subnets, func(n *subnet) bool { return n.id == a.subnet }) {
				return badRequest("router", "Router already has a port on subnet %s", a.subnet)
			}
			if p.owner != ownerGateway {
				all = append(all, taken{a.subnet, a.cidr})
			}
		}
		if p.owner == ownerGateway && len(p.addresses) > 0 {
			outside, err := subnetsWhere(tx, resource.In("network_id", []string{p.network}))
			if err != nil {
				return err
			}
			for _, n := range outside {
				all = append(all, taken{n.id, n.cidr})
			}
		}
	}
	for _, t := range all {
		for _, n := range subnets {
			if t.cidr.Overlaps(n.cidr) {
				return badRequest("router", "Cidr %s of subnet %s overlaps with cidr %s of subnet %s", n.cidr, n.id, t.cidr, t.id)
			}
		}
	}
	return nil
}

// addGateway makes the gateway port. It belongs to no project, so that users do not see it.
func (s *Service) addGateway(tx *store.Tx, r *model.Router, asked *model.GatewayInfo) error {
	port := &model.Port{NetworkID: asked.NetworkID, AdminStateUp: true, DeviceID: r.ID, DeviceOwner: ownerGateway}
	named := []string{"network_id", "admin_state_up", "device_id", "device_owner"}
	if len(asked.ExternalFixedIPs) > 0 {
		port.FixedIPs, named = asked.ExternalFixedIPs, append(named, "fixed_ips")
	}
	if err := s.core.CreatePort(tx, identity.System(), port, named...); err != nil {
		return err
	}
	if err := attach(tx, r.ID, port.ID, ownerGateway); err != nil {
		return err
	}
	if _, err := tx.Exec("UPDATE routers SET gw_port_id = ? WHERE id = ?", port.ID, r.ID); err != nil {
		return fmt.Errorf("set gateway of router %s: %w", r.ID, err)
	}
	r.GatewayPortID = &port.ID
	r.Gateway = gatewayInfo(port, r.EnableSNAT)
	return nil
}

func gatewayInfo(port *model.Port, snat bool) *model.GatewayInfo {
	return &model.GatewayInfo{NetworkID: port.NetworkID, EnableSNAT: snat,
		ExternalFixedIPs: append([]model.FixedIP{}, port.FixedIPs...)}
}

// attach notes that a port belongs to a router.
func attach(tx *store.Tx, router, port, kind string) error {
	_, err := tx.Exec("INSERT INTO routerports (router_id, port_id, port_type) VALUES (?, ?, ?)", router, port, kind)
	if store.IsDuplicate(err) { // somebody else has just given the port to a router
		return store.Retry(err)
	}
	if err != nil {
		return fmt.Errorf("attach port %s to router %s: %w", port, router, err)
	}
	return nil
}

// moveGateway changes the addresses of the gateway port, if others are asked for.
func (s *Service) moveGateway(tx *store.Tx, r *model.Router, asked *model.GatewayInfo) error {
	now := *r.Gateway
	now.EnableSNAT = r.EnableSNAT
	r.Gateway = &now
	if !otherAddresses(now.ExternalFixedIPs, asked.ExternalFixedIPs) {
		return nil
	}
	port, err := s.core.UpdatePort(tx, identity.System(), *r.GatewayPortID, []string{"fixed_ips"},
		func(p *model.Port) { p.FixedIPs = slices.Clone(asked.ExternalFixedIPs) })
	if err != nil {
		return err
	}
	r.Gateway = gatewayInfo(port, r.EnableSNAT)
	return nil
}

// otherAddresses tells whether a request means other subnets or addresses than the gateway has (upstream
// _check_for_external_ip_change). A request without any means to keep them.
func otherAddresses(have, asked []model.FixedIP) bool {
	if len(asked) == 0 {
		return false
	}
	set := func(ips []model.FixedIP, part func(model.FixedIP) string) []string {
		var out []string
		for _, f := range ips {
			if v := part(f); v != "" {
				out = append(out, v)
			}
		}
		slices.Sort(out)
		return slices.Compact(out)
	}
	subnet := func(f model.FixedIP) string { return f.SubnetID }
	address := func(f model.FixedIP) string { return f.IPAddress }
	return !slices.Equal(set(have, subnet), set(asked, subnet)) || !slices.Equal(set(have, address), set(asked, address))
}

// dropGateway removes the gateway of a router if it has one.
func (s *Service) dropGateway(tx *store.Tx, r *model.Router) error {
	if r.GatewayPortID == nil {
		return nil
	}
	used, err := exists(tx, "FROM floatingips WHERE router_id = ?", r.ID)
	if err != nil {
		return err
	}
	if used {
		network := ""
		if r.Gateway != nil {
			network = r.Gateway.NetworkID
		}
		return fault.Conflict("RouterExternalGatewayInUseByFloatingIp", "Gateway cannot be updated for router %s, since a gateway to "+
			"external network %s is required by one or more floating IPs.", r.ID, network)
	}
	if _, err := tx.Exec("UPDATE routers SET gw_port_id = NULL WHERE id = ?", r.ID); err != nil {
		return fmt.Errorf("clear gateway of router %s: %w", r.ID, err)
	}
	if err := s.core.DeletePort(tx, identity.System(), *r.GatewayPortID); err != nil {
		return err
	}
	r.GatewayPortID, r.Gateway = nil, nil
	return nil
}
