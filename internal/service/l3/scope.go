package l3

import (
	"fmt"

	"neutrino/internal/resource"
	"neutrino/internal/store"
)

// ScopeChanged tells the agents of the routers that have a port on a subnet of the pool, because the pool's address
// scope or the set of its subnets changed (hook of the subnet pools).
func (s *Service) ScopeChanged(tx *store.Tx, pool string) error {
	routers, err := store.Strings(tx.Query("SELECT DISTINCT r.router_id FROM routerports r JOIN ipallocations a ON a.port_id = r.port_id "+
		"JOIN subnets n ON n.id = a.subnet_id WHERE n.subnetpool_id = ? ORDER BY r.router_id", pool))
	if err != nil {
		return fmt.Errorf("read routers of subnet pool %s: %w", pool, err)
	}
	return s.updated(tx, routers...)
}

// scopesOf reads the IPv4 address scopes of the networks of ports, by port. Ports whose network is in none are left out.
func scopesOf(tx *store.Tx, ports []string) (map[string]string, error) {
	scopes := map[string]string{}
	in := resource.In("p.id", ports)
	rows, err := tx.Query("SELECT DISTINCT p.id, k.address_scope_id FROM ports p JOIN subnets n ON n.network_id = p.network_id "+
		"JOIN subnetpools k ON k.id = n.subnetpool_id WHERE n.ip_version = 4 AND k.address_scope_id IS NOT NULL AND "+in.SQL, in.Args...)
	_, err = store.All(rows, err, func(rows *store.Rows) (struct{}, error) {
		var port, scope string
		err := rows.Scan(&port, &scope)
		scopes[port] = scope
		return struct{}{}, err
	})
	if err != nil {
		return nil, fmt.Errorf("read address scopes of ports: %w", err)
	}
	return scopes, nil
}
