package agentrpc

import (
	"context"
	"slices"
	"strings"

	"neutrino/internal/fault"
	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/rpc"
	"neutrino/internal/store"
)

// activeNetworks answers which networks the DHCP agent on a host serves, after giving it those that nobody serves.
func (s *Server) activeNetworks(ctx context.Context, args rpc.HostArgs) ([]rpc.DHCPNetwork, error) {
	return write(ctx, s.db, func(tx *store.Tx) ([]rpc.DHCPNetwork, error) {
		if err := s.agents.AutoSchedule(tx, args.Host); err != nil {
			return nil, err
		}
		ids, err := s.agents.NetworksOn(tx, args.Host)
		if err != nil || len(ids) == 0 {
			return []rpc.DHCPNetwork{}, err
		}
		onlyDHCP := args.EnableDHCPFilter == nil || *args.EnableDHCPFilter
		return s.dhcpNetworks(tx, onlyDHCP, resource.In("t.id", ids), resource.In("t.admin_state_up", []bool{true}))
	})
}

// networkInfo answers one network, or null if it is gone.
func (s *Server) networkInfo(ctx context.Context, args rpc.NetworkInfoArgs) (*rpc.DHCPNetwork, error) {
	return read(ctx, s.db, func(tx *store.Tx) (*rpc.DHCPNetwork, error) {
		list, err := s.dhcpNetworks(tx, true, resource.In("t.id", []string{args.NetworkID}))
		if err != nil || len(list) == 0 {
			return nil, err
		}
		return &list[0], nil
	})
}

// dhcpNetworks reads networks with their subnets, those without DHCP only if asked, and all their ports.
func (s *Server) dhcpNetworks(tx *store.Tx, onlyDHCP bool, where ...resource.Cond) ([]rpc.DHCPNetwork, error) {
	networks, err := s.catalog.Networks.Select(tx, &resource.Query{Set: s.catalog.Networks.Bits("id", "project_id", "admin_state_up", "mtu"), Where: where})
	if err != nil || len(networks) == 0 {
		return []rpc.DHCPNetwork{}, err
	}
	out := make([]rpc.DHCPNetwork, len(networks))
	byID := map[string]*rpc.DHCPNetwork{}
	ids := make([]string, len(networks))
	for i, n := range networks {
		out[i] = rpc.DHCPNetwork{ID: n.ID, ProjectID: n.ProjectID, AdminStateUp: n.AdminStateUp, MTU: n.MTU,
			Subnets: []rpc.Subnet{}, NonLocalSubnets: []rpc.Subnet{}, Ports: []rpc.Port{}}
		byID[n.ID], ids[i] = &out[i], n.ID
	}
	of := []resource.Cond{resource.In("t.network_id", ids)}
	if onlyDHCP {
		of = append(of, resource.In("t.enable_dhcp", []bool{true}))
	}
	subnets, err := s.catalog.Subnets.Select(tx, &resource.Query{Set: s.catalog.Subnets.All, Where: of})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(subnets, func(a, b *model.Subnet) int { return strings.Compare(a.ID, b.ID) })
	for _, x := range subnets {
		byID[x.NetworkID].Subnets = append(byID[x.NetworkID].Subnets, Subnet(x))
	}
	ports, err := s.catalog.Ports.Select(tx, &resource.Query{Set: s.catalog.Ports.All, Where: []resource.Cond{resource.In("t.network_id", ids)}})
	for _, p := range ports {
		byID[p.NetworkID].Ports = append(byID[p.NetworkID].Ports, s.dhcpPort(p))
	}
	return out, err
}

// dhcpPort is the port dictionary with the names of its addresses.
func (s *Server) dhcpPort(p *model.Port) rpc.Port {
	s.core.NamePorts(p)
	return Port(p)
}

// gone are the errors that only say that somebody deleted the network or subnet meanwhile.
func gone(err error) bool {
	return slices.ContainsFunc([]string{"NetworkNotFound", "SubnetNotFound", "PortNotFound", "InvalidInput"},
		func(class string) bool { return fault.Is(err, class) })
}

// createDHCPPort makes the port of a DHCP agent. The same agent asking twice gets the port it has.
func (s *Server) createDHCPPort(ctx context.Context, args rpc.CreateDHCPPortArgs) (*rpc.Port, error) {
	want := args.Port.Port
	out, err := write(ctx, s.db, func(tx *store.Tx) (*rpc.Port, error) {
		if want.DeviceID != nil {
			have, err := s.catalog.Ports.Select(tx, &resource.Query{Set: s.catalog.Ports.All, Where: []resource.Cond{
				resource.In("t.network_id", []string{want.NetworkID}), resource.In("t.device_id", []string{*want.DeviceID})}})
			if err != nil {
				return nil, err
			}
			if len(have) > 0 {
				p := s.dhcpPort(have[0])
				return &p, nil
			}
		}
		p := &model.Port{NetworkID: want.NetworkID, AdminStateUp: true, DeviceOwner: "network:dhcp", HostID: args.Host, VNICType: "normal", Profile: model.Dict{}}
		named := apply(p, want)
		if err := s.core.CreatePort(tx, identity.System(), p, append(named, "binding:host_id", "device_owner")...); err != nil {
			return nil, err
		}
		return s.portByID(tx, p.ID)
	})
	if gone(err) {
		s.log.Info("network or subnet is gone; no DHCP port", "network", want.NetworkID, "error", err)
		return nil, nil
	}
	return out, err
}

// apply sets what the agent chose and returns the names of the attributes.
func apply(p *model.Port, want rpc.DHCPPort) []string {
	var named []string
	set := func(name string, to, from *string) {
		if from != nil {
			*to, named = *from, append(named, name)
		}
	}
	set("name", &p.Name, want.Name)
	set("device_id", &p.DeviceID, want.DeviceID)
	set("project_id", &p.ProjectID, want.ProjectID)
	if want.AdminStateUp != nil {
		p.AdminStateUp, named = *want.AdminStateUp, append(named, "admin_state_up")
	}
	if want.FixedIPs != nil {
		p.FixedIPs = convert(*want.FixedIPs, func(f rpc.FixedIPRequest) model.FixedIP { return model.FixedIP(f) })
		named = append(named, "fixed_ips")
	}
	return named
}

func (s *Server) portByID(tx *store.Tx, id string) (*rpc.Port, error) {
	p, err := s.catalog.Ports.Get(tx, nil, id, s.catalog.Ports.All)
	if err != nil {
		return nil, err
	}
	out := s.dhcpPort(p)
	return &out, nil
}

// updateDHCPPort changes the port of a DHCP agent, or lets it take one that another agent left.
func (s *Server) updateDHCPPort(ctx context.Context, args rpc.UpdateDHCPPortArgs) (*rpc.Port, error) {
	want := args.Port.Port
	out, err := write(ctx, s.db, func(tx *store.Tx) (*rpc.Port, error) {
		old, err := s.catalog.Ports.Get(tx, nil, args.PortID, s.catalog.Ports.All)
		if err != nil {
			return nil, err
		}
		if old.DeviceID != rpc.ReservedDHCPPort && old.DeviceID != rpc.DHCPDeviceID(args.Host, old.NetworkID) {
			return nil, nil // taken by another agent
		}
		hosts, err := s.agents.DHCPHosts(tx, old.NetworkID)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(hosts[old.NetworkID], args.Host) {
			return nil, fault.NotFound("NetworkNotFound", "Network %s could not be found.", old.NetworkID)
		}
		named := apply(&model.Port{}, want)
		if _, err := s.core.UpdatePort(tx, identity.System(), args.PortID, append(named, "binding:host_id"), func(p *model.Port) {
			project := p.ProjectID
			apply(p, want)
			p.HostID, p.ProjectID = args.Host, project
		}); err != nil {
			return nil, err
		}
		return s.portByID(tx, args.PortID)
	})
	if gone(err) && !fault.Is(err, "NetworkNotFound") {
		return nil, nil
	}
	return out, err
}

func (s *Server) releaseDHCPPort(ctx context.Context, args rpc.ReleaseDHCPPortArgs) (rpc.None, error) {
	return rpc.None{}, s.db.Write(ctx, func(tx *store.Tx) error {
		rows, err := tx.Query("SELECT id FROM ports WHERE network_id = ? AND device_id = ?", args.NetworkID, args.DeviceID)
		ids, err := store.Strings(rows, err)
		if err != nil {
			return err
		}
		for _, id := range ids {
			if err := s.core.DeletePort(tx, identity.System(), id); err != nil && !fault.Is(err, "PortNotFound") {
				return err
			}
		}
		return nil
	})
}

// dhcpReady ends the waiting of ports for DHCP. Most do not wait: agents name all ports, and only those bound to a host do.
func (s *Server) dhcpReady(ctx context.Context, args rpc.PortIDsArgs) (rpc.None, error) {
	in := resource.In("p.id", args.PortIDs)
	waiting, err := read(ctx, s.db, func(tx *store.Tx) ([]string, error) {
		rows, err := tx.Query("SELECT p.id FROM ports p JOIN provisioningblocks b ON b.standard_attr_id = p.standard_attr_id "+
			"WHERE b.entity = ? AND "+in.SQL, append([]any{EntityDHCP}, in.Args...)...)
		return store.Strings(rows, err)
	})
	if err != nil || len(waiting) == 0 {
		return rpc.None{}, err
	}
	return rpc.None{}, s.db.Write(ctx, func(tx *store.Tx) error {
		return s.core.ProvisioningComplete(tx, EntityDHCP, waiting...)
	})
}

// getPorts answers the metadata agent.
func (s *Server) getPorts(ctx context.Context, args rpc.PortFilters) ([]rpc.Port, error) {
	return read(ctx, s.db, func(tx *store.Tx) ([]rpc.Port, error) {
		var where []resource.Cond
		for _, f := range []struct {
			column string
			values []string
		}{{"t.network_id", args.Filters.NetworkID}, {"t.device_id", args.Filters.DeviceID},
			{"t.device_owner", args.Filters.DeviceOwner}, {"t.mac_address", args.Filters.MACAddress}} {
			if len(f.values) > 0 {
				where = append(where, resource.In(f.column, f.values))
			}
		}
		for _, column := range []string{"ip_address", "subnet_id"} {
			if values := args.Filters.FixedIPs[column]; len(values) > 0 {
				in := resource.In(column, values)
				where = append(where, resource.Cond{SQL: "t.id IN (SELECT port_id FROM ipallocations WHERE " + in.SQL + ")", Args: in.Args})
			}
		}
		ports, err := s.catalog.Ports.Select(tx, &resource.Query{Set: s.catalog.Ports.All, Where: where})
		return convert(ports, Port), err
	})
}
