package l3

import (
	"testing"

	"neutrino/internal/store"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

// The agent is told when the address scope of a router's networks changes, and gets the scopes of ports and floating IPs.
func TestAddressScopes(t *testing.T) {
	x := newSite(setUp(t))
	x.agent("h1", 0, "z", "{}")
	x.bridgeAgent("h1")
	x.schedule()
	server := x.server("10.0.0.30")
	x.floatingIP(body{"floating_network_id": x.external.ID, "port_id": server.ID})
	pool, scope := uuid.NewString(), uuid.NewString()
	x.write(func(tx *store.Tx) error {
		row, err := tx.Insert("INSERT INTO standardattributes (resource_type) VALUES ('subnetpools')")
		if err != nil {
			return err
		}
		return tx.InsertRows("subnetpools", []string{"id", "ip_version", "default_prefixlen", "min_prefixlen", "max_prefixlen", "shared", "hash",
			"address_scope_id", "is_default", "standard_attr_id"}, [][]any{{pool, 4, 24, 8, 32, false, "", scope, false, row}})
	})
	x.exec("UPDATE subnets SET subnetpool_id = ? WHERE network_id = ?", pool, x.internal.ID)
	x.told.take()
	x.write(func(tx *store.Tx) error { return x.l3.ScopeChanged(tx, pool) })
	if d := cmp.Diff([]string{"h1 updated " + x.gateway.ID}, x.told.take()); d != "" {
		t.Errorf("agents were told: %s", d)
	}
	router := x.sync("h1")[0]
	inside, outside := router.Interfaces[0].AddressScopes, router.GatewayPort.AddressScopes
	if inside["4"] == nil || *inside["4"] != scope || inside["6"] != nil || outside["4"] != nil {
		t.Errorf("scopes inside %v, outside %v", inside, outside)
	}
	if f := router.FloatingIPs[0]; f.FixedIPScope == nil || *f.FixedIPScope != scope {
		t.Errorf("floating IP %+v", f)
	}
	x.write(func(tx *store.Tx) error { return x.l3.ScopeChanged(tx, uuid.NewString()) })
	if told := x.told.take(); len(told) > 0 {
		t.Errorf("agents were told of a pool that no router has: %v", told)
	}
}
