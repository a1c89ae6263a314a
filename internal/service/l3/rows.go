package l3

import (
	"fmt"
	"net/netip"

	"neutrino/internal/resource"
	"neutrino/internal/store"
)

// attachment is a port of a router.
type attachment struct {
	port, network string
	owner         string
	project       string
	addresses     []address
}

// address is an address of a router's port and the subnet that it is from.
type address struct {
	subnet, ip string
	cidr       netip.Prefix
}

// attachments reads the ports of a router: those in routerports and, as upstream does, those that only say so themselves.
func attachments(tx *store.Tx, router string) ([]*attachment, error) {
	in := resource.In("p.device_owner", append([]string{ownerGateway}, interfaceOwners...))
	rows, err := tx.Query("SELECT p.id, p.network_id, p.device_owner, COALESCE(p.project_id, ''), a.subnet_id, a.ip_address, s.cidr FROM ports p "+
		"LEFT JOIN ipallocations a ON a.port_id = p.id LEFT JOIN subnets s ON s.id = a.subnet_id "+
		"WHERE p.id IN (SELECT port_id FROM routerports WHERE router_id = ?) OR p.device_id = ? AND "+in.SQL+
		" ORDER BY p.id, a.ip_address", append([]any{router, router}, in.Args...)...)
	var list []*attachment
	_, err = store.All(rows, err, func(rows *store.Rows) (struct{}, error) {
		var a attachment
		var subnet, ip, cidr *string
		if err := rows.Scan(&a.port, &a.network, &a.owner, &a.project, &subnet, &ip, &cidr); err != nil {
			return struct{}{}, err
		}
		if len(list) == 0 || list[len(list)-1].port != a.port {
			list = append(list, &a)
		}
		if subnet == nil || ip == nil || cidr == nil {
			return struct{}{}, nil
		}
		prefix, err := netip.ParsePrefix(*cidr)
		last := list[len(list)-1]
		last.addresses = append(last.addresses, address{*subnet, *ip, prefix})
		return struct{}{}, err
	})
	if err != nil {
		return nil, fmt.Errorf("read ports of router %s: %w", router, err)
	}
	return list, nil
}

func (a *attachment) hasIPv6() bool {
	for _, x := range a.addresses {
		if x.cidr.Addr().Is6() {
			return true
		}
	}
	return false
}

func (a *attachment) onSubnet(id string) bool {
	for _, x := range a.addresses {
		if x.subnet == id {
			return true
		}
	}
	return false
}

// subnet is what routers must know of a subnet.
type subnet struct {
	id, network, project string
	cidr                 netip.Prefix
	gateway              *string
	raMode, addressMode  *string
}

// subnetsWhere reads subnets, in the order of their ids.
func subnetsWhere(tx *store.Tx, where resource.Cond) ([]*subnet, error) {
	rows, err := tx.Query("SELECT id, network_id, COALESCE(project_id, ''), cidr, gateway_ip, ipv6_ra_mode, ipv6_address_mode FROM subnets WHERE "+where.SQL+
		" ORDER BY id", where.Args...)
	list, err := store.All(rows, err, func(rows *store.Rows) (*subnet, error) {
		var s subnet
		var cidr string
		err := rows.Scan(&s.id, &s.network, &s.project, &cidr, &s.gateway, &s.raMode, &s.addressMode)
		if err != nil {
			return nil, err
		}
		s.cidr, err = netip.ParsePrefix(cidr)
		return &s, err
	})
	if err != nil {
		return nil, fmt.Errorf("read subnets: %w", err)
	}
	return list, nil
}

// exists tells whether a query finds a row.
func exists(tx *store.Tx, query string, args ...any) (bool, error) {
	_, found, err := store.One[int](tx.QueryRow("SELECT 1 "+query+" LIMIT 1", args...))
	return found, err
}

// lock keeps others from changing what a router is connected to until the transaction ends.
func lock(tx *store.Tx, router string) error {
	clause := tx.Dialect().ForUpdate()
	if clause == "" {
		return nil // the database has one writer at a time
	}
	if _, _, err := store.One[string](tx.QueryRow("SELECT id FROM routers WHERE id = ?"+clause, router)); err != nil {
		return fmt.Errorf("lock router %s: %w", router, err)
	}
	return nil
}
