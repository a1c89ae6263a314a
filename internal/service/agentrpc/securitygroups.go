package agentrpc

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/rpc"
	"neutrino/internal/store"
)

// securityGroupInfo answers what a host must know to filter some devices (upstream security_group_info_for_ports).
func (s *Server) securityGroupInfo(ctx context.Context, args rpc.SecurityGroupArgs) (rpc.SecurityGroupInfo, error) {
	return read(ctx, s.db, func(tx *store.Tx) (rpc.SecurityGroupInfo, error) {
		info := rpc.SecurityGroupInfo{SecurityGroups: map[string][]rpc.SecurityGroupRule{},
			MemberIPs: map[string]map[string][][2]*string{}, Devices: map[string]rpc.FilteredDevice{}}
		ports, err := s.portsOf(tx, "", args.Devices, s.catalog.Ports.All)
		if err != nil {
			return info, err
		}
		for _, p := range ports {
			if strings.HasPrefix(p.DeviceOwner, "network:") || !p.PortSecurity {
				continue
			}
			info.Devices[p.ID] = filtered(p)
			for _, g := range p.SecurityGroups {
				info.SecurityGroups[g] = []rpc.SecurityGroupRule{}
			}
		}
		if err := s.addRules(tx, &info); err != nil {
			return info, err
		}
		for group, ethertypes := range args.KnownMembers {
			for _, e := range ethertypes {
				if delete(info.MemberIPs[group], e); len(info.MemberIPs[group]) == 0 {
					delete(info.MemberIPs, group)
				}
			}
		}
		return info, s.addMembers(tx, &info)
	})
}

func filtered(p *model.Port) rpc.FilteredDevice {
	return rpc.FilteredDevice{Device: p.ID, NetworkID: p.NetworkID, MACAddress: p.MACAddress, FixedIPs: addresses(p),
		AddressPairs: convert(p.AddressPairs, addressPair), SecurityGroups: append([]string{}, p.SecurityGroups...), PortSecurity: p.PortSecurity}
}

// addRules reads the rules of all groups in info.
func (s *Server) addRules(tx *store.Tx, info *rpc.SecurityGroupInfo) error {
	groups := slices.Collect(keys(info.SecurityGroups))
	if len(groups) == 0 {
		return nil
	}
	stateful := map[string]bool{}
	list, err := s.catalog.SecurityGroups.Select(tx, &resource.Query{Set: s.catalog.SecurityGroups.Bits("id", "stateful"),
		Where: []resource.Cond{s.catalog.SecurityGroups.ByID(groups...)}})
	if err != nil {
		return err
	}
	for _, g := range list {
		stateful[g.ID] = g.Stateful
	}
	rules, err := s.catalog.SecurityGroupRules.Select(tx, &resource.Query{Set: s.catalog.SecurityGroupRules.All,
		Where: []resource.Cond{resource.In("t.security_group_id", groups)}})
	if err != nil {
		return err
	}
	for _, r := range rules {
		info.SecurityGroups[r.SecurityGroupID] = append(info.SecurityGroups[r.SecurityGroupID], rule(r, stateful[r.SecurityGroupID]))
		for _, remote := range []*string{r.RemoteGroupID, r.RemoteAddresses} {
			if remote == nil {
				continue
			}
			if info.MemberIPs[*remote] == nil {
				info.MemberIPs[*remote] = map[string][][2]*string{}
			}
			if info.MemberIPs[*remote][r.Ethertype] == nil {
				info.MemberIPs[*remote][r.Ethertype] = [][2]*string{}
			}
		}
	}
	return nil
}

func rule(r *model.SecurityGroupRule, stateful bool) rpc.SecurityGroupRule {
	out := rpc.SecurityGroupRule{Direction: r.Direction, Ethertype: r.Ethertype, PortRangeMin: r.PortRangeMin, PortRangeMax: r.PortRangeMax, Stateful: stateful}
	if r.Protocol != nil {
		out.Protocol = *r.Protocol
	}
	if r.RemoteGroupID != nil {
		out.RemoteGroupID = *r.RemoteGroupID
	}
	if r.RemoteAddresses != nil {
		out.RemoteAddressGroupID = *r.RemoteAddresses
	}
	if r.RemoteIPPrefix != nil {
		prefix := *r.RemoteIPPrefix
		if p, err := netip.ParsePrefix(prefix); err == nil {
			prefix = p.Masked().String()
		}
		if r.Direction == "ingress" {
			out.SourceIPPrefix = prefix
		} else {
			out.DestIPPrefix = prefix
		}
	}
	return out
}

// addMembers reads the addresses (with allowed pairs) of the ports in the remote groups that rules name, and those of
// address groups, which have no MAC.
func (s *Server) addMembers(tx *store.Tx, info *rpc.SecurityGroupInfo) error {
	groups := slices.Collect(keys(info.MemberIPs))
	if len(groups) == 0 {
		return nil
	}
	in, byAddress := resource.In("b.security_group_id", groups), resource.In("address_group_id", groups)
	for _, q := range []string{
		"SELECT b.security_group_id, a.ip_address, p.mac_address FROM securitygroupportbindings b JOIN ipallocations a ON a.port_id = b.port_id " +
			"JOIN ports p ON p.id = b.port_id WHERE " + in.SQL,
		"SELECT b.security_group_id, a.ip_address, a.mac_address FROM securitygroupportbindings b JOIN allowedaddresspairs a ON a.port_id = b.port_id WHERE " + in.SQL,
		"SELECT address_group_id, address, NULL FROM address_associations WHERE " + byAddress.SQL,
	} {
		if err := tx.Each(q, in.Args, func(row *store.Row) error {
			group, ip, mac := row.Text(0), string(row.Bytes(1)), (*string)(nil)
			if !row.Null(2) { // an address pair, kept as its user spelled it
				pair := model.AddressPair{MACAddress: string(row.Bytes(2)), IPAddress: ip}.Canonical()
				ip, mac = pair.IPAddress, &pair.MACAddress
			}
			family := "IPv4"
			if strings.Contains(ip, ":") {
				family = "IPv6"
			}
			if list, asked := info.MemberIPs[group][family]; asked {
				info.MemberIPs[group][family] = append(list, [2]*string{&ip, mac})
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}
