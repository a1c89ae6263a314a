package subnetpool

import (
	"neutrino/internal/resource/resourcetest"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPoolsInScopes(t *testing.T) {
	e := setUp(t)
	own4, own6, public := e.scope(member, 4, false), e.scope(member, 6, false), e.scope(admin, 4, true)
	pool := e.pool(body{"prefixes": list("10.0.0.0/16"), "default_prefixlen": num(24), "address_scope_id": own4})

	_, err := e.tryPool(member, body{"prefixes": list("10.0.8.0/24"), "address_scope_id": own4})
	resourcetest.Wants(t, err, "409 AddressScopePrefixConflict: Failed to associate address scope: subnetpools within an address scope must have unique prefixes.")
	_, err = e.tryPool(other, body{"prefixes": list("10.8.0.0/16"), "address_scope_id": own4})
	resourcetest.Wants(t, err, "404 AddressScopeNotFound: Address scope "+own4+" could not be found.")
	_, err = e.changePool(member, pool.ID, body{"address_scope_id": own6})
	resourcetest.Wants(t, err, "400 IllegalSubnetPoolIpVersionAssociationToAddressScope: Illegal subnetpool association: subnetpool "+pool.ID+
		" cannot associate with address scope "+own6+" because subnetpool ip_version is not 6.")

	foreign, err := e.tryPool(other, body{"prefixes": list("10.9.0.0/16"), "address_scope_id": public})
	e.ok(err)
	_, err = e.changePool(other, foreign.ID, body{"name": "x"})
	resourcetest.Wants(t, err, "400 IllegalSubnetPoolUpdate: Illegal subnetpool update : subnetpool "+foreign.ID+
		" cannot be updated when associated with shared address scope "+public+".")

	resourcetest.Wants(t, remove(e, e.catalog.AddressScopes, e.pools.Scopes(), member, own4), "409 AddressScopeInUse: Unable to complete operation on "+
		"address scope "+own4+". There are one or more subnet pools in use on the address scope.")
	_, err = update(e, e.catalog.AddressScopes, e.pools.Scopes(), admin, public, body{"shared": false})
	resourcetest.Wants(t, err, "400 AddressScopeUpdateError: Unable to update address scope "+public+" : Shared address scope can't be unshared.")
	e.ok(remove(e, e.catalog.AddressScopes, e.pools.Scopes(), member, own6))
}

// All subnets of a network are in one scope, and whoever routes them is told when it changes.
func TestNetworksInScopes(t *testing.T) {
	e := setUp(t)
	one, two := e.scope(member, 4, false), e.scope(member, 4, false)
	pool := func(prefix, scope string) string {
		return e.pool(body{"prefixes": list(prefix), "default_prefixlen": num(24), "address_scope_id": scope}).ID
	}
	a, b, c := pool("10.1.0.0/16", one), pool("10.2.0.0/16", one), pool("10.3.0.0/16", two)
	n := e.network()
	e.subnet(n, body{"subnetpool_id": a})
	const affinity = "400 NetworkAddressScopeAffinityError: Subnets of the same address family hosted on the same network must all " +
		"participate in the same address scope."
	_, err := e.trySubnet(member, n, body{"subnetpool_id": c})
	resourcetest.Wants(t, err, affinity)
	_, err = e.trySubnet(member, n, body{"cidr": "10.4.0.0/24"})
	resourcetest.Wants(t, err, "400 NetworkSubnetPoolAffinityError: Subnets hosted on the same network must be allocated from the same subnet pool.")
	_, err = e.changePool(member, a, body{"address_scope_id": two})
	e.ok(err)
	_, err = e.changePool(member, a, body{"address_scope_id": one})
	e.ok(err)
	if d := cmp.Diff([]string{a, a}, e.changed); d != "" {
		t.Errorf("pools whose scope changed: %s", d)
	}
	e.subnet(n, body{"subnetpool_id": b})
	_, err = e.changePool(member, a, body{"address_scope_id": two})
	resourcetest.Wants(t, err, affinity)
}
