// Package ipam manages the addresses of subnets: which are free, who gets which. Nothing is remembered between
// transactions; that no address is given twice is the database's primary key, and who loses a race tries again.
package ipam

import (
	"database/sql"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"
)

// Device owners that are treated in a special way (neutron_lib/constants.py).
const (
	ownerDHCP        = "network:dhcp"
	ownerDistributed = "network:distributed"
	ownerGateway     = "network:router_gateway"
)

// routerInterfaces are the owners of routers' ports inside; with the SNAT port they get no automatic addresses.
var (
	routerInterfaces     = []string{"network:router_interface", "network:ha_router_replicated_interface", "network:router_interface_distributed"}
	routerInterfacesSNAT = append(slices.Clone(routerInterfaces), "network:router_centralized_snat")
)

// Subnet is what address management knows of a subnet.
type Subnet struct {
	ID           string
	ProjectID    string
	CIDR         netip.Prefix
	DHCP         bool
	Auto         bool // hosts make their addresses themselves: SLAAC or stateless DHCPv6
	ServiceTypes []string
	SegmentID    string // "" if the subnet is on all of the network

	ipamID string
	pools  spans
}

// Network is what address management knows of a network, as read in one transaction.
type Network struct {
	ID      string
	Subnets []*Subnet // in the order of creation

	hosts map[string][]string // that reach a segment
}

// IsAuto tells whether hosts of the subnet make their addresses themselves.
func IsAuto(s *model.Subnet) bool { return autoMode(s.IPv6RAMode) || autoMode(s.IPv6AddressMode) }

func autoMode(m *string) bool { return m != nil && (*m == "slaac" || *m == "dhcpv6-stateless") }

// Load reads what is known of the networks, by id, in one query, or two if some have subnets on segments.
func Load(tx *store.Tx, networkIDs ...string) (map[string]*Network, error) {
	networks, err := loadSubnets(tx, networkIDs)
	if err != nil {
		return nil, err
	}
	return networks, loadHosts(tx, networks)
}

func loadSubnets(tx *store.Tx, networkIDs []string) (map[string]*Network, error) {
	networks := map[string]*Network{}
	for _, id := range networkIDs {
		networks[id] = &Network{ID: id}
	}
	in := resource.In("s.network_id", slices.Collect(keys(networks)))
	rows, err := tx.Query("SELECT s.network_id, s.id, s.cidr, s.enable_dhcp, s.ipv6_ra_mode, s.ipv6_address_mode, y.service_type, COALESCE(s.segment_id, ''), COALESCE(s.project_id, '') "+
		"FROM subnets s LEFT JOIN subnet_service_types y ON y.subnet_id = s.id WHERE "+in.SQL+" ORDER BY s.standard_attr_id", in.Args...)
	if err != nil {
		return nil, fmt.Errorf("read subnets: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var network, cidr string
		var dhcp sql.NullBool
		var raMode, addressMode *string
		var serviceType sql.NullString
		s := &Subnet{}
		if err := rows.Scan(&network, &s.ID, &cidr, &dhcp, &raMode, &addressMode, &serviceType, &s.SegmentID, &s.ProjectID); err != nil {
			return nil, fmt.Errorf("read subnets: %w", err)
		}
		n := networks[network]
		if k := len(n.Subnets); k > 0 && n.Subnets[k-1].ID == s.ID {
			n.Subnets[k-1].ServiceTypes = append(n.Subnets[k-1].ServiceTypes, serviceType.String)
			continue
		}
		if s.CIDR, err = netip.ParsePrefix(cidr); err != nil {
			return nil, fmt.Errorf("read subnet %s: %w", s.ID, err)
		}
		s.DHCP, s.Auto = dhcp.Bool, autoMode(raMode) || autoMode(addressMode)
		if serviceType.Valid {
			s.ServiceTypes = []string{serviceType.String}
		}
		n.Subnets = append(n.Subnets, s)
	}
	return networks, rows.Err()
}

func keys[K comparable, V any](m map[K]V) func(yield func(K) bool) {
	return func(yield func(K) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// candidates are the subnets that serve a device owner; those made for it come first.
func (n *Network) candidates(owner string) []*Subnet {
	var made, general []*Subnet
	for _, s := range n.Subnets {
		switch {
		case len(s.ServiceTypes) == 0:
			general = append(general, s)
		case slices.Contains(s.ServiceTypes, owner), s.DHCP && owner == ownerDHCP:
			made = append(made, s)
		}
	}
	return append(made, general...)
}

// holds tells whether a port of that owner may have the address in this subnet.
func (s *Subnet) holds(a netip.Addr, owner string) bool {
	if !s.CIDR.Contains(a) {
		return false
	}
	if a.Is4() {
		return a != s.CIDR.Masked().Addr() && (a != last(s.CIDR) || s.CIDR.Bits() == 31) // a /31 has no broadcast address
	}
	// The network address is the routers' anycast address.
	return a != s.CIDR.Masked().Addr() || owner == "" || owner == ownerGateway || slices.Contains(routerInterfacesSNAT, owner)
}

func parseMAC(s string) (net.HardwareAddr, error) {
	hw, err := net.ParseMAC(s)
	if err == nil && len(hw) != 6 {
		err = fmt.Errorf("%s has %d bytes", s, len(hw))
	}
	return hw, err
}

// find adds the ids of the rows in ipamsubnets to subnets that lack them. Rows that we make have the subnet's own id, so
// that the primary key finds them; those that upstream made need a search, as their table has no index. What is not
// found stays "".
func find(tx *store.Tx, subnets []*Subnet) error {
	for _, column := range []string{"id", "neutron_subnet_id"} {
		missing := map[string]*Subnet{}
		for _, s := range subnets {
			if s.ipamID == "" {
				missing[s.ID] = s
			}
		}
		if len(missing) == 0 {
			return nil
		}
		in := resource.In(column, slices.Collect(keys(missing)))
		rows, err := tx.Query("SELECT id, neutron_subnet_id FROM ipamsubnets WHERE "+in.SQL, in.Args...)
		type row struct{ id, subnet string }
		found, err := store.All(rows, err, func(r *sql.Rows) (x row, err error) { err = r.Scan(&x.id, &x.subnet); return x, err })
		if err != nil {
			return fmt.Errorf("read ipamsubnets: %w", err)
		}
		for _, x := range found {
			if s := missing[x.subnet]; s != nil {
				s.ipamID = x.id
			}
		}
	}
	return nil
}

// loadPools reads the pools of subnets.
func loadPools(tx *store.Tx, subnets []*Subnet) error {
	byID := map[string]*Subnet{}
	for _, s := range subnets {
		byID[s.ipamID] = s
		s.pools = nil
	}
	in := resource.In("ipam_subnet_id", slices.Collect(keys(byID)))
	rows, err := tx.Query("SELECT ipam_subnet_id, first_ip, last_ip FROM ipamallocationpools WHERE "+in.SQL, in.Args...)
	if err != nil {
		return fmt.Errorf("read allocation pools: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		var p model.Pool
		if err := rows.Scan(&id, &p.Start, &p.End); err != nil {
			return fmt.Errorf("read allocation pools: %w", err)
		}
		s, err := parseSpan(p)
		if err != nil {
			return fmt.Errorf("allocation pool of subnet %s: %w", byID[id].ID, err)
		}
		byID[id].pools = append(byID[id].pools, s)
	}
	for _, s := range subnets {
		s.pools.sort()
	}
	return rows.Err()
}
