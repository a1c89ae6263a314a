package agentrpc

import (
	"neutrino/internal/model"
	"neutrino/internal/rpc"
)

// Objects as agents see them.

func convert[A, B any](in []A, f func(A) B) []B {
	out := make([]B, len(in))
	for i, v := range in {
		out[i] = f(v)
	}
	return out
}

func fixedIP(f model.FixedIP) rpc.FixedIP {
	return rpc.FixedIP{SubnetID: f.SubnetID, IPAddress: f.IPAddress}
}
func addressPair(p model.AddressPair) rpc.AddressPair { return rpc.AddressPair(p.Canonical()) }

// route gives agents the destination as a prefix, however it was spelled.
func route(r model.Route) rpc.Route {
	if p, err := r.Prefix(); err == nil {
		r.Destination = p.String()
	}
	return rpc.Route(r)
}

// Port is the port dictionary.
func Port(p *model.Port) rpc.Port {
	return rpc.Port{ID: p.ID, Name: p.Name, ProjectID: p.ProjectID, NetworkID: p.NetworkID, MACAddress: p.MACAddress,
		AdminStateUp: p.AdminStateUp, Status: p.Status, DeviceID: p.DeviceID, DeviceOwner: p.DeviceOwner,
		FixedIPs: convert(p.FixedIPs, fixedIP), AddressPairs: convert(p.AddressPairs, addressPair),
		ExtraDHCPOpts: convert(p.ExtraDHCPOpts, func(o model.DHCPOpt) rpc.DHCPOption { return rpc.DHCPOption(o) }),
		DNSAssignment: convert(p.DNSAssignment, func(d model.DNSAssignment) rpc.DNSAssignment { return rpc.DNSAssignment(d) }),
		PortSecurity:  p.PortSecurity, SecurityGroups: p.SecurityGroups, HostID: p.HostID, VIFType: p.VIFType,
		Revision: p.Revision, UpdatedAt: p.UpdatedAt.UTC().Format("2006-01-02T15:04:05Z")}
}

// Subnet is the subnet dictionary.
func Subnet(s *model.Subnet) rpc.Subnet {
	return rpc.Subnet{ID: s.ID, NetworkID: s.NetworkID, IPVersion: s.IPVersion, CIDR: s.CIDR, GatewayIP: s.GatewayIP,
		EnableDHCP: s.EnableDHCP, IPv6RAMode: s.IPv6RAMode, IPv6AddressMode: s.IPv6AddressMode,
		DNSNameservers: append([]string{}, s.DNSNameservers...), HostRoutes: convert(s.HostRoutes, route),
		AllocationPools: convert(s.AllocationPools, func(p model.Pool) rpc.Pool { return rpc.Pool(p) }), Revision: s.Revision}
}
