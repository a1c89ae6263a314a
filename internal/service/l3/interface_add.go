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

// AddRouterInterface connects a router with the subnet or the port that body names: {"subnet_id": …} or {"port_id": …}.
// It returns what the API answers.
func (s *Service) AddRouterInterface(tx *store.Tx, caller *identity.Caller, router string, body map[string]any) (map[string]any, error) {
	r, err := s.router(tx, caller, router)
	if err != nil {
		return nil, err
	}
	portID, subnetID, err := interfaceNames(body)
	if err != nil {
		return nil, err
	}
	if portID != "" && subnetID != "" {
		return nil, badRequest("router", "Cannot specify both subnet-id and port-id")
	}
	if err := lock(tx, r.ID); err != nil {
		return nil, err
	}
	ports, err := attachments(tx, r.ID)
	if err != nil {
		return nil, err
	}
	var port *model.Port
	var subnets []string
	if portID != "" {
		port, subnets, err = s.addByPort(tx, caller, r, ports, portID)
	} else {
		port, err = s.addBySubnet(tx, caller, r, ports, subnetID)
		subnets = []string{subnetID}
	}
	if err != nil {
		return nil, err
	}
	if err := s.snatOnSubnet(tx, r, ports, port, subnets[len(subnets)-1]); err != nil {
		return nil, err
	}
	// Two requests that would add overlapping subnets at the same time both count the router's revision up: one of them
	// starts again.
	if err := s.catalog.Routers.Touch(tx, r); err != nil {
		return nil, err
	}
	if err := s.updated(tx, r.ID); err != nil {
		return nil, err
	}
	return interfaceInfo(r.ID, port.ProjectID, port.ID, port.NetworkID, subnets[len(subnets)-1], subnets), nil
}

// router reads what interface operations need of a router.
func (s *Service) router(tx *store.Tx, caller *identity.Caller, id string) (*model.Router, error) {
	return s.catalog.Routers.Get(tx, caller, id, s.catalog.Routers.Bits("id", "project_id", "gw_port_id", "description", "distributed", "ha"))
}

// interfaceNames finds port_id and subnet_id in the body of an interface operation.
func interfaceNames(body map[string]any) (port, subnet string, err error) {
	names := map[string]string{}
	for _, key := range []string{"port_id", "subnet_id"} {
		v, given := body[key]
		if !given {
			continue
		}
		id, err := resource.UUID.Parse(v)
		if err != nil {
			return "", "", badRequest("router", "%s", err)
		}
		names[key] = id
	}
	if len(names) == 0 {
		return "", "", badRequest("router", "Either subnet_id or port_id must be specified")
	}
	return names["port_id"], names["subnet_id"], nil
}

func interfaceInfo(router, project, port, network, subnet string, subnets []string) map[string]any {
	return map[string]any{"id": router, "project_id": project, "port_id": port, "network_id": network,
		"subnet_id": subnet, "subnet_ids": subnets}
}

func (s *Service) addByPort(tx *store.Tx, caller *identity.Caller, r *model.Router, ports []*attachment, id string) (*model.Port, []string, error) {
	port, err := s.catalog.Ports.Get(tx, caller, id, s.catalog.Ports.Bits("id", "project_id", "network_id", "device_id", "fixed_ips"))
	if err != nil {
		return nil, nil, err
	}
	if port.DeviceID != "" {
		return nil, nil, fault.Conflict("PortInUse", "Unable to complete operation on port %s for network %s. Port already has an "+
			"attached device %s.", port.ID, port.NetworkID, port.DeviceID)
	}
	if len(port.FixedIPs) == 0 {
		return nil, nil, badRequest("router", "Router port must have at least one fixed IP")
	}
	subnets, err := subnetsOf(tx, port.FixedIPs)
	if err != nil {
		return nil, nil, err
	}
	for _, n := range subnets {
		if err := checkAddressMode(n); err != nil {
			return nil, nil, err
		}
	}
	// As the caller: a port of a project that is not the router's is refused by the hook for all ports.
	port, err = s.core.UpdatePort(tx, caller, port.ID, []string{"device_id", "device_owner"}, func(p *model.Port) {
		p.DeviceID, p.DeviceOwner = r.ID, interfaceOwner(r)
	})
	if err != nil {
		return nil, nil, err
	}
	if err := checkNewPort(tx, caller, ports, port, subnets); err != nil {
		return nil, nil, err
	}
	ids := make([]string, len(subnets))
	for i, n := range subnets {
		ids[i] = n.id
	}
	return port, ids, attach(tx, r.ID, port.ID, interfaceOwner(r))
}

// subnetsOf reads the subnets of addresses, in their order and each once per address.
func subnetsOf(tx *store.Tx, ips []model.FixedIP) ([]*subnet, error) {
	ids := make([]string, len(ips))
	for i, f := range ips {
		ids[i] = f.SubnetID
	}
	list, err := subnetsWhere(tx, resource.In("id", ids))
	if err != nil {
		return nil, err
	}
	var out []*subnet
	for _, id := range ids {
		if i := slices.IndexFunc(list, func(n *subnet) bool { return n.id == id }); i >= 0 {
			out = append(out, list[i])
		}
	}
	return out, nil
}

// checkAddressMode refuses subnets that get their router advertisements from somebody else.
func checkAddressMode(n *subnet) error {
	if n.cidr.Addr().Is6() && n.raMode == nil && n.addressMode != nil {
		return badRequest("router", "IPv6 subnet %s configured to receive RAs from an external router cannot be added to Neutron Router.", n.id)
	}
	return nil
}

// checkNewPort checks a port that somebody made for a router with these other ports.
func checkNewPort(tx *store.Tx, caller *identity.Caller, ports []*attachment, port *model.Port, subnets []*subnet) error {
	v4, v6 := 0, false
	for _, n := range subnets {
		if n.cidr.Addr().Is4() {
			v4++
		} else {
			v6 = true
		}
	}
	if v6 {
		for _, p := range ports {
			if p.port != port.ID && p.network == port.NetworkID && p.hasIPv6() {
				return badRequest("router", "Router already contains IPv6 port %s belonging to network id %s. Only one IPv6 port from the "+
					"same network subnet can be connected to a router.", p.port, p.network)
			}
		}
	}
	if err := checkOverlap(tx, ports, subnets); err != nil {
		return err
	}
	if v4 > 1 {
		return badRequest("router", "Cannot have multiple IPv4 subnets on router port")
	}
	if caller.IsAdmin {
		return nil
	}
	return checkInPools(tx, caller, port, subnets)
}

// checkInPools keeps users from addresses outside the pools of subnets that are not theirs.
func checkInPools(tx *store.Tx, caller *identity.Caller, port *model.Port, subnets []*subnet) error {
	foreign := map[string]bool{}
	var ids []string
	for _, n := range subnets {
		if n.project != caller.ProjectID {
			foreign[n.id] = true
			ids = append(ids, n.id)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	type pool struct{ subnet, first, last string }
	in := resource.In("subnet_id", ids)
	rows, err := tx.Query("SELECT subnet_id, first_ip, last_ip FROM ipallocationpools WHERE "+in.SQL, in.Args...)
	pools, err := store.All(rows, err, func(rows *store.Rows) (p pool, err error) { return p, rows.Scan(&p.subnet, &p.first, &p.last) })
	if err != nil {
		return fmt.Errorf("read allocation pools: %w", err)
	}
	for _, f := range port.FixedIPs {
		inside := slices.ContainsFunc(pools, func(p pool) bool { return p.subnet == f.SubnetID && between(f.IPAddress, p.first, p.last) })
		if foreign[f.SubnetID] && !inside {
			return badRequest("router", "Cannot add interface to router because specified port %s has an IP address out of the allocation "+
				"pool of subnet %s, which is not owned by the project making the request", port.ID, f.SubnetID)
		}
	}
	return nil
}

func between(ip, first, last string) bool {
	a, errA := netip.ParseAddr(ip)
	f, errF := netip.ParseAddr(first)
	l, errL := netip.ParseAddr(last)
	return errA == nil && errF == nil && errL == nil && f.Compare(a) <= 0 && a.Compare(l) <= 0
}

func (s *Service) addBySubnet(tx *store.Tx, caller *identity.Caller, r *model.Router, ports []*attachment, id string) (*model.Port, error) {
	n, err := s.visibleSubnet(tx, caller, id)
	if err != nil {
		return nil, err
	}
	if n.gateway == nil || *n.gateway == "" {
		return nil, badRequest("router", "Subnet for router interface must have a gateway IP")
	}
	if err := checkMayUse(tx, caller, n); err != nil {
		return nil, err
	}
	if err := checkAddressMode(n); err != nil {
		return nil, err
	}
	if err := checkOverlap(tx, ports, []*subnet{n}); err != nil {
		return nil, err
	}
	fixed := model.FixedIP{SubnetID: n.id, IPAddress: *n.gateway}
	if n.cidr.Addr().Is6() {
		for _, p := range ports {
			if p.owner == interfaceOwner(r) && p.network == n.network && p.hasIPv6() {
				return s.core.UpdatePort(tx, identity.System(), p.port, []string{"fixed_ips"},
					func(p *model.Port) { p.FixedIPs = append(slices.Clone(p.FixedIPs), fixed) })
			}
		}
	}
	port := &model.Port{NetworkID: n.network, AdminStateUp: true, DeviceID: r.ID, DeviceOwner: interfaceOwner(r), FixedIPs: []model.FixedIP{fixed}}
	port.ProjectID = r.ProjectID
	err = s.core.CreatePort(tx, identity.System(), port, "network_id", "project_id", "admin_state_up", "device_id", "device_owner", "fixed_ips")
	if err != nil {
		return nil, err
	}
	return port, attach(tx, r.ID, port.ID, interfaceOwner(r))
}

// visibleSubnet reads a subnet if the caller may see it.
func (s *Service) visibleSubnet(tx *store.Tx, caller *identity.Caller, id string) (*subnet, error) {
	if _, err := s.catalog.Subnets.Get(tx, caller, id, s.catalog.Subnets.Bit("id")); err != nil {
		return nil, err
	}
	list, err := subnetsWhere(tx, resource.In("id", []string{id}))
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, s.catalog.Subnets.NotFound(id)
	}
	return list[0], nil
}

// checkMayUse: others' subnets may be used if their network is shared with the caller's project by name; shared with
// everybody is not enough (https://launchpad.net/bugs/1757482).
func checkMayUse(tx *store.Tx, caller *identity.Caller, n *subnet) error {
	if caller.IsAdmin || n.project == caller.ProjectID {
		return nil
	}
	shared, err := exists(tx, "FROM networkrbacs WHERE object_id = ? AND action = ? AND target_project = ?", n.network, "access_as_shared", caller.ProjectID)
	if err != nil || shared {
		return err
	}
	return badRequest("router", "Cannot add interface to router because subnet %s is not owned by project making the request", n.id)
}
