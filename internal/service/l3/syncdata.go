package l3

import (
	"fmt"
	"net/netip"
	"slices"

	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/rpc"
	"neutrino/internal/store"
)

// syncNetwork is what agents must know of a network that routers are on.
type syncNetwork struct {
	mtu     int
	subnets []rpc.RouterSubnet
	bits    map[string]int // prefix lengths by subnet
	scopes  map[string]*string
}

// readNetworks reads the networks of ports that have addresses, in three queries.
func readNetworks(tx *store.Tx, ports []*model.Port) (map[string]*syncNetwork, error) {
	networks := map[string]*syncNetwork{}
	var ids []string
	for _, p := range ports {
		if networks[p.NetworkID] == nil && len(p.FixedIPs) > 0 {
			networks[p.NetworkID] = &syncNetwork{bits: map[string]int{}, scopes: map[string]*string{"4": nil, "6": nil}}
			ids = append(ids, p.NetworkID)
		}
	}
	for some := range slices.Chunk(ids, chunk) {
		if err := readMTUs(tx, networks, some); err != nil {
			return nil, fmt.Errorf("read networks of routers: %w", err)
		}
		if err := readSubnets(tx, networks, some); err != nil {
			return nil, fmt.Errorf("read subnets of routers: %w", err)
		}
	}
	return networks, nil
}

func readMTUs(tx *store.Tx, networks map[string]*syncNetwork, ids []string) error {
	in := resource.In("id", ids)
	rows, err := tx.Query("SELECT id, mtu FROM networks WHERE "+in.SQL, in.Args...)
	_, err = store.All(rows, err, func(rows *store.Rows) (struct{}, error) {
		var id string
		var mtu int
		err := rows.Scan(&id, &mtu)
		networks[id].mtu = mtu
		return struct{}{}, err
	})
	return err
}

func readSubnets(tx *store.Tx, networks map[string]*syncNetwork, ids []string) error {
	in := resource.In("s.network_id", ids)
	rows, err := tx.Query("SELECT s.id, s.network_id, s.cidr, s.gateway_ip, s.ipv6_ra_mode, s.subnetpool_id, p.address_scope_id FROM subnets s "+
		"LEFT JOIN subnetpools p ON p.id = s.subnetpool_id WHERE "+in.SQL+" ORDER BY s.id", in.Args...)
	where := map[string]string{} // network by subnet
	_, err = store.All(rows, err, func(rows *store.Rows) (struct{}, error) {
		var x rpc.RouterSubnet
		var network string
		var scope *string
		if err := rows.Scan(&x.ID, &network, &x.CIDR, &x.GatewayIP, &x.IPv6RAMode, &x.SubnetpoolID, &scope); err != nil {
			return struct{}{}, err
		}
		prefix, err := netip.ParsePrefix(x.CIDR)
		n := networks[network]
		n.subnets = append(n.subnets, x)
		n.bits[x.ID] = prefix.Bits()
		n.scopes[map[bool]string{true: "4", false: "6"}[prefix.Addr().Is4()]] = scope
		where[x.ID] = network
		return struct{}{}, err
	})
	if err != nil {
		return err
	}
	rows, err = tx.Query("SELECT d.subnet_id, d.address FROM dnsnameservers d JOIN subnets s ON s.id = d.subnet_id WHERE "+in.SQL+
		" ORDER BY d.subnet_id, d."+tx.Dialect().Quote("order"), in.Args...)
	_, err = store.All(rows, err, func(rows *store.Rows) (struct{}, error) {
		var id, server string
		if err := rows.Scan(&id, &server); err != nil {
			return struct{}{}, err
		}
		if n := networks[where[id]]; n != nil {
			i := slices.IndexFunc(n.subnets, func(x rpc.RouterSubnet) bool { return x.ID == id })
			n.subnets[i].DNSNameservers = append(n.subnets[i].DNSNameservers, server)
		}
		return struct{}{}, nil
	})
	return err
}

// assemble makes the answer.
func (d *syncData) assemble() []rpc.Router {
	out := make([]rpc.Router, len(d.routers))
	byID := map[string]*rpc.Router{}
	for i, r := range d.routers {
		out[i] = rpc.Router{ID: r.ID, Name: r.Name, ProjectID: r.ProjectID, AdminStateUp: r.AdminStateUp, Status: r.Status,
			Routes: make([]rpc.Route, len(r.Routes)), Revision: r.Revision, EnableSNAT: r.EnableSNAT}
		for j, route := range r.Routes {
			if p, err := route.Prefix(); err == nil { // it may have been given with a mask or without a length
				route.Destination = p.String()
			}
			out[i].Routes[j] = rpc.Route(route)
		}
		byID[r.ID] = &out[i]
	}
	for _, p := range d.ports {
		r := byID[d.router[p.ID]]
		if r == nil { // attached between two queries, where reads are not one snapshot
			continue
		}
		port := d.port(p)
		if p.DeviceOwner != ownerGateway {
			r.Interfaces = append(r.Interfaces, port)
			continue
		}
		r.GatewayPort = &port
		r.GatewayInfo = &rpc.GatewayInfo{NetworkID: p.NetworkID, EnableSNAT: r.EnableSNAT, ExternalFixedIPs: []rpc.FixedIP{}}
		for _, f := range p.FixedIPs {
			r.GatewayInfo.ExternalFixedIPs = append(r.GatewayInfo.ExternalFixedIPs, rpc.FixedIP{SubnetID: f.SubnetID, IPAddress: f.IPAddress})
		}
	}
	for _, f := range d.floating {
		r := byID[*f.RouterID]
		var scope *string
		if found, ok := d.scopes[*f.PortID]; ok {
			scope = &found
		}
		r.FloatingIPs = append(r.FloatingIPs, rpc.FloatingIP{FixedIPScope: scope, ID: f.ID, FloatingNetworkID: f.FloatingNetworkID,
			FloatingIPAddress: *f.FloatingIPAddress, FixedIPAddress: f.FixedIPAddress, PortID: f.PortID, RouterID: f.RouterID, Status: f.Status})
	}
	return out
}

// port is a port with what routers need: prefix lengths, the subnets that it is on, the other subnets of its network,
// their address scopes and the MTU. A port without addresses has none of that.
func (d *syncData) port(p *model.Port) rpc.Port {
	out := rpc.Port{ID: p.ID, Name: p.Name, ProjectID: p.ProjectID, NetworkID: p.NetworkID, MACAddress: p.MACAddress,
		AdminStateUp: p.AdminStateUp, Status: p.Status, DeviceID: p.DeviceID, DeviceOwner: p.DeviceOwner, HostID: p.HostID,
		VIFType: p.VIFType, Revision: p.Revision, UpdatedAt: p.UpdatedAt.UTC().Format("2006-01-02T15:04:05Z"), FixedIPs: []rpc.FixedIP{}}
	n := d.networks[p.NetworkID]
	if len(p.FixedIPs) == 0 || n == nil {
		return out
	}
	for _, f := range p.FixedIPs {
		out.FixedIPs = append(out.FixedIPs, rpc.FixedIP{SubnetID: f.SubnetID, IPAddress: f.IPAddress, Prefixlen: n.bits[f.SubnetID]})
	}
	for _, x := range n.subnets {
		if slices.ContainsFunc(p.FixedIPs, func(f model.FixedIP) bool { return f.SubnetID == x.ID }) {
			out.Subnets = append(out.Subnets, x)
		} else {
			out.ExtraSubnets = append(out.ExtraSubnets, x)
		}
	}
	out.AddressScopes, out.MTU = n.scopes, n.mtu
	return out
}
