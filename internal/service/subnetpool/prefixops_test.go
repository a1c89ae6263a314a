package subnetpool

import (
	"testing"

	"neutrino/internal/identity"
	"neutrino/internal/resource/resourcetest"
	"neutrino/internal/store"

	"github.com/google/go-cmp/cmp"
)

// do runs a member action.
func (e *env) do(f func(*store.Tx, *identity.Caller, string, map[string]any) (any, error), id string, b body) (answer any, err error) {
	err = e.db.Write(ctx, func(tx *store.Tx) error {
		answer, err = f(tx, member, id, b)
		return err
	})
	return answer, err
}

func TestPrefixOperations(t *testing.T) {
	e := setUp(t)
	p := e.pool(body{"prefixes": list("10.0.0.0/16"), "default_prefixlen": num(24)})
	e.subnet(e.network(), body{"subnetpool_id": p.ID})
	const add, remove = true, false
	for _, c := range []struct {
		name     string
		add      bool
		prefixes any
		want     []string
		err      string
	}{
		{"add", add, list("10.1.0.0/16", "10.2.0.0/16"), []string{"10.0.0.0/15", "10.2.0.0/16"}, ""},
		{"add what is there", add, list("10.0.9.0/24"), []string{"10.0.0.0/15", "10.2.0.0/16"}, ""},
		{"add nothing", add, list(), nil, "400 HTTPBadRequest: Request body contains invalid data"},
		{"add text", add, "10.0.0.0/8", nil, "400 HTTPBadRequest: Request body contains invalid data"},
		{"add the other version", add, list("fd00::/64"), nil, "400 PrefixVersionMismatch: Cannot mix IPv4 and IPv6 prefixes in a subnet pool."},
		{"remove", remove, list("10.2.0.0/17"), []string{"10.0.0.0/15", "10.2.128.0/17"}, ""},
		{"remove what is not there", remove, list("10.9.0.0/16"), []string{"10.0.0.0/15", "10.2.128.0/17"}, ""},
		{"remove what a subnet has", remove, list("10.0.0.128/25"), nil, "400 IllegalSubnetPoolPrefixUpdate: Illegal update to prefixes: " +
			"One or more the prefixes to be removed is in use by a subnet.."},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := e.pools.RemovePrefixes
			if c.add {
				f = e.pools.AddPrefixes
			}
			got, err := e.do(f, p.ID, body{"prefixes": c.prefixes})
			resourcetest.Wants(t, err, c.err)
			if d := cmp.Diff(any(map[string]any{"prefixes": c.want}), got); err == nil && d != "" {
				t.Error(d)
			}
		})
	}
}

func TestOnboard(t *testing.T) {
	e := setUp(t)
	scope := e.scope(member, 4, false)
	p := e.pool(body{"prefixes": list("10.0.0.0/16"), "default_prefixlen": num(24), "address_scope_id": scope})
	n := e.network()
	s := e.subnet(n, body{"cidr": "192.168.0.0/24"})

	_, err := e.do(e.pools.Onboard, p.ID, body{})
	resourcetest.Wants(t, err, "400 InvalidInput: Invalid input for operation: network_id must be specified..")
	got, err := e.do(e.pools.Onboard, p.ID, body{"network_id": n})
	e.ok(err)
	if d := cmp.Diff(any([]map[string]string{{"id": s.ID, "cidr": "192.168.0.0/24"}}), got); d != "" {
		t.Error(d)
	}
	_, err = e.do(e.pools.Onboard, p.ID, body{"network_id": n})
	resourcetest.Wants(t, err, "400 IllegalSubnetPoolUpdate: Illegal subnetpool update : Onboarding subnet "+s.ID+
		": 192.168.0.0/24 conflicts with allocated prefixes in subnet pool "+p.ID+".")

	e.ok(e.db.Read(ctx, func(tx *store.Tx) error {
		subnet, err := e.catalog.Subnets.Get(tx, member, s.ID, e.catalog.Subnets.All)
		if err == nil && (subnet.SubnetpoolID == nil || *subnet.SubnetpoolID != p.ID || subnet.Revision <= s.Revision) {
			t.Errorf("onboarded subnet: %+v", subnet)
		}
		pool, errPool := e.catalog.Subnetpools.Get(tx, member, p.ID, e.catalog.Subnetpools.All)
		if d := cmp.Diff([]string{"10.0.0.0/16", "192.168.0.0/24"}, pool.Prefixes); errPool != nil || d != "" {
			t.Error(errPool, d)
		}
		network, errNetwork := e.catalog.Networks.Get(tx, member, n, e.catalog.Networks.All)
		if errNetwork != nil || network.Revision != 3 || network.IPv4AddressScope == nil || *network.IPv4AddressScope != scope {
			t.Errorf("network: %+v, %v", network, errNetwork)
		}
		return err
	}))
	if d := cmp.Diff([]string{p.ID}, e.changed); d != "" {
		t.Errorf("pools whose scope changed: %s", d)
	}
}
