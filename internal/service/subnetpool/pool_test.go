package subnetpool

import (
	"testing"

	"neutrino/internal/resource/resourcetest"
	"neutrino/internal/store"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

func TestCreatePool(t *testing.T) {
	e := setUp(t)
	_, err := e.tryPool(admin, body{"prefixes": list("10.255.0.0/16"), "is_default": true})
	e.ok(err)
	bounds := func(text string) string {
		return "400 IllegalSubnetPoolPrefixBounds: Illegal prefix bounds: " + text + "."
	}
	type result struct {
		Prefixes          []string
		Version           int
		Default, Min, Max int
	}
	for _, c := range []struct {
		name  string
		attrs body
		want  result
		err   string
	}{
		{"IPv4", body{"prefixes": list("10.1.0.0/16", "10.0.0.0/16")}, result{[]string{"10.0.0.0/15"}, 4, 8, 8, 32}, ""},
		{"IPv6", body{"prefixes": list("fd00::/48")}, result{[]string{"fd00::/48"}, 6, 64, 64, 128}, ""},
		{"host bits", body{"prefixes": list("10.0.0.9/24")}, result{[]string{"10.0.0.0/24"}, 4, 8, 8, 32}, ""},
		{"lengths", body{"prefixes": list("10.0.0.0/8"), "min_prefixlen": num(9), "max_prefixlen": num(28), "default_prefixlen": "24"},
			result{[]string{"10.0.0.0/8"}, 4, 24, 9, 28}, ""},
		{"no prefix", body{"prefixes": list()}, result{}, "400 EmptySubnetPoolPrefixList: Empty subnet pool prefix list."},
		{"both versions", body{"prefixes": list("10.0.0.0/8", "fd00::/48")}, result{},
			"400 PrefixVersionMismatch: Cannot mix IPv4 and IPv6 prefixes in a subnet pool."},
		{"twice", body{"prefixes": list("10.0.0.0/8", "10.0.0.0/8")}, result{},
			"400 HTTPBadRequest: Invalid input for prefixes. Reason: Duplicate items in the list: '10.0.0.0/8'."},
		{"no prefix at all", body{"prefixes": list("x")}, result{}, "400 HTTPBadRequest: Invalid input for prefixes. Reason: 'x' is not a valid IP subnet."},
		{"min above max", body{"prefixes": list("10.0.0.0/8"), "min_prefixlen": num(9), "max_prefixlen": num(8)}, result{},
			bounds("min_prefixlen=9, max_prefixlen=8")},
		{"max above all", body{"prefixes": list("10.0.0.0/8"), "max_prefixlen": num(33)}, result{}, bounds("max_prefixlen=33, ip_version_max=32")},
		{"default below min", body{"prefixes": list("10.0.0.0/8"), "default_prefixlen": num(7)}, result{},
			bounds("default_prefixlen=7, min_prefixlen=8")},
		{"default above max", body{"prefixes": list("10.0.0.0/8"), "default_prefixlen": num(30), "max_prefixlen": num(29)}, result{},
			bounds("default_prefixlen=30, max_prefixlen=29")},
		{"second default", body{"prefixes": list("10.0.0.0/8"), "is_default": true}, result{}, "400 InvalidInput: Invalid input for operation: " +
			"A default subnetpool for this IP family has already been set. Only one default may exist per IP family."},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := e.tryPool(admin, c.attrs)
			resourcetest.Wants(t, err, c.err)
			if err != nil {
				return
			}
			got := result{p.Prefixes, p.IPVersion, p.DefaultPrefixlen.Bits, p.MinPrefixlen.Bits, p.MaxPrefixlen.Bits}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestUpdatePool(t *testing.T) {
	e := setUp(t)
	p := e.pool(body{"prefixes": list("10.0.0.0/16"), "default_prefixlen": num(24)})
	for _, c := range []struct {
		name  string
		attrs body
		err   string
	}{
		{"more", body{"prefixes": list("10.0.0.0/16", "10.1.0.0/16")}, ""},
		{"less", body{"prefixes": list("10.0.0.0/16")},
			"400 IllegalSubnetPoolPrefixUpdate: Illegal update to prefixes: Existing prefixes must be a subset of the new prefixes."},
		{"other version", body{"prefixes": list("10.0.0.0/15", "fd00::/64")},
			"400 PrefixVersionMismatch: Cannot mix IPv4 and IPv6 prefixes in a subnet pool."},
		{"min", body{"min_prefixlen": num(25)}, "400 IllegalSubnetPoolPrefixBounds: Illegal prefix bounds: default_prefixlen=24, min_prefixlen=25."},
		{"shared", body{"shared": true}, "400 HTTPBadRequest: Cannot update read-only attribute shared"},
		{"name", body{"name": "new"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := e.changePool(member, p.ID, c.attrs)
			resourcetest.Wants(t, err, c.err)
		})
	}
}

func TestUpdateAnswer(t *testing.T) {
	e := setUp(t)
	p := e.pool(body{"prefixes": list("10.0.0.0/16")})
	show := func() string {
		r := e.catalog.Subnetpools
		return string(r.Append(nil, p, r.Bits("min_prefixlen", "default_quota", "address_scope_id")))
	}
	if got, want := show(), `{"default_quota":null,"min_prefixlen":"8","address_scope_id":null}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	p.ForUpdateAnswer(true)
	if got, want := show(), `{"min_prefixlen":8,"address_scope_id":null}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	p.ForUpdateAnswer(false)
	if got, want := show(), `{"min_prefixlen":8}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestDeletePool(t *testing.T) {
	e := setUp(t)
	p := e.pool(body{"prefixes": list("10.0.0.0/16"), "default_prefixlen": num(24)})
	s := e.subnet(e.network(), body{"subnetpool_id": p.ID})
	resourcetest.Wants(t, remove(e, e.catalog.Subnetpools, e.pools.Pools(), member, p.ID),
		"400 SubnetPoolDeleteError: Unable to delete subnet pool: Subnet pool has existing allocations.")
	e.ok(remove(e, e.catalog.Subnets, e.core.Subnets(), member, s.ID))
	e.ok(remove(e, e.catalog.Subnetpools, e.pools.Pools(), member, p.ID))
}

// Pools and scopes are shared by entries of RBAC tables, with everybody or with one project.
func TestSharing(t *testing.T) {
	e := setUp(t)
	private := e.pool(body{"prefixes": list("10.0.0.0/16")})
	public, err := e.tryPool(admin, body{"prefixes": list("10.1.0.0/16"), "shared": true})
	e.ok(err)
	sees := func(id string) (found, shared bool) {
		err := e.db.Read(ctx, func(tx *store.Tx) error {
			p, err := e.catalog.Subnetpools.Get(tx, other, id, e.catalog.Subnetpools.All)
			found = err == nil
			shared = found && p.Shared
			return nil
		})
		e.ok(err)
		return found, shared
	}
	if found, shared := sees(public.ID); !found || !shared {
		t.Errorf("shared pool: found %v, shared %v", found, shared)
	}
	if found, _ := sees(private.ID); found {
		t.Error("another project's pool is visible")
	}
	e.ok(e.db.Write(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec("INSERT INTO subnetpoolrbacs (id, project_id, object_id, target_project, action) VALUES (?, 'p', ?, 'q', 'access_as_shared')",
			uuid.NewString(), private.ID)
		return err
	}))
	if found, shared := sees(private.ID); !found || !shared {
		t.Errorf("pool shared with one project: found %v, shared %v", found, shared)
	}
}
