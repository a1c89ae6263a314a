package ipam

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/store"
	"neutrino/internal/store/dbtest"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

var ctx = context.Background()

type fataler interface {
	Fatal(args ...any)
	Helper()
}

func write(t fataler, db *store.DB, f func(tx *store.Tx) error) {
	t.Helper()
	if err := db.Write(ctx, f); err != nil {
		t.Fatal(err)
	}
}

// insert stores bare rows: a network, a subnet or a port is nothing but its row and its standard attributes.
func insert(tx *store.Tx, table string, columns []string, values ...any) error {
	id, err := tx.Insert("INSERT INTO standardattributes (resource_type) VALUES (?)", table)
	if err != nil {
		return err
	}
	return tx.InsertRows(table, append(columns, "standard_attr_id"), [][]any{append(values, id)})
}

// newSubnet makes a network with one subnet.
func newSubnet(t fataler, db *store.DB, cidr string, pools ...model.Pool) *model.Subnet {
	t.Helper()
	s := &model.Subnet{CIDR: cidr, NetworkID: uuid.NewString(), AllocationPools: pools}
	s.ID = uuid.NewString()
	prefix := netip.MustParsePrefix(cidr)
	if pools == nil {
		s.AllocationPools = DefaultPools(prefix, DefaultGateway(prefix))
	}
	s.IPVersion = 4
	if prefix.Addr().Is6() {
		s.IPVersion = 6
	}
	write(t, db, func(tx *store.Tx) error {
		if err := insert(tx, "networks", []string{"id"}, s.NetworkID); err != nil {
			return err
		}
		err := insert(tx, "subnets", []string{"id", "network_id", "ip_version", "cidr", "enable_dhcp"}, s.ID, s.NetworkID, s.IPVersion, cidr, true)
		if err != nil {
			return err
		}
		return CreateSubnet(tx, s)
	})
	return s
}

// give makes n ports with any address, in one transaction.
func give(tx *store.Tx, s *model.Subnet, n int, owner string) ([]*model.Port, error) {
	var wants []*Want
	var ports []*model.Port
	for range n {
		p := &model.Port{NetworkID: s.NetworkID, MACAddress: randomMAC(), DeviceOwner: owner}
		p.ID = uuid.NewString()
		ports = append(ports, p)
		wants = append(wants, &Want{Port: p, Unspecified: true})
	}
	networks, err := Load(tx, s.NetworkID)
	if err != nil {
		return nil, err
	}
	if err := networks[s.NetworkID].Allocate(tx, wants...); err != nil {
		return nil, err
	}
	for _, p := range ports {
		err := insert(tx, "ports", []string{"id", "network_id", "mac_address", "admin_state_up", "status", "device_id", "device_owner"},
			p.ID, p.NetworkID, p.MACAddress, true, "DOWN", "", owner)
		if err != nil {
			return nil, err
		}
	}
	return ports, Record(tx, ports...)
}

func randomMAC() string {
	return fmt.Sprintf("fa:16:3e:%02x:%02x:%02x", rand.IntN(256), rand.IntN(256), rand.IntN(256))
}

func drop(tx *store.Tx, p *model.Port) error {
	if _, err := tx.Exec("DELETE FROM ports WHERE id = ?", p.ID); err != nil {
		return err
	}
	return Release(tx, p.FixedIPs)
}

// Whatever is allocated and released in whatever order: an address has one owner, is in a pool, and is found as long as
// there is one; the lowest is the lowest.
func TestAllocationKeepsItsPromises(t *testing.T) {
	db := dbtest.Open(t)
	rapid.Check(t, func(t *rapid.T) {
		pools := []model.Pool{{Start: "10.0.0.3", End: "10.0.0.9"}, {Start: "10.0.0.20", End: "10.0.0.24"}}
		cidr := "10.0.0.0/24"
		if rapid.Bool().Draw(t, "IPv6") {
			pools = []model.Pool{{Start: "2001:db8::fffe", End: "2001:db8::1:4"}, {Start: "2001:db8::2:0", End: "2001:db8::2:3"}}
			cidr = "2001:db8::/64"
		}
		s := newSubnet(t, db, cidr, pools...)
		var all spans
		for _, p := range pools {
			x, err := parseSpan(p)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, x)
		}
		owners := map[string]*model.Port{}
		capacity := int(all.size())
		lowestFree := func() string {
			for i := range all.size() {
				if a := all.at(i).String(); owners[a] == nil {
					return a
				}
			}
			return ""
		}
		t.Repeat(map[string]func(*rapid.T){
			"allocate": func(t *rapid.T) {
				n := rapid.IntRange(1, 4).Draw(t, "count")
				owner := rapid.SampledFrom([]string{"", ownerDHCP, "compute:nova"}).Draw(t, "owner")
				lowest := lowestFree()
				var ports []*model.Port
				err := db.Write(ctx, func(tx *store.Tx) (err error) { ports, err = give(tx, s, n, owner); return err })
				if full := len(owners)+n > capacity; full != fault.Is(err, "IpAddressGenerationFailure") || !full && err != nil {
					t.Fatalf("%d of %d given, %d more wanted: %v", len(owners), capacity, n, err)
				}
				if err != nil {
					return
				}
				var got []string
				for _, p := range ports {
					a := p.FixedIPs[0].IPAddress
					if _, inside := all.offset(netip.MustParseAddr(a)); !inside || owners[a] != nil || len(p.FixedIPs) != 1 {
						t.Fatalf("%v: inside the pools %t, already given %t", p.FixedIPs, inside, owners[a] != nil)
					}
					owners[a] = p
					got = append(got, a)
				}
				if owner == ownerDHCP && got[0] != lowest {
					t.Fatalf("%s instead of the lowest, %s", got[0], lowest)
				}
			},
			"release": func(t *rapid.T) {
				if len(owners) == 0 {
					return
				}
				var addrs []string
				for i := range all.size() {
					if a := all.at(i).String(); owners[a] != nil {
						addrs = append(addrs, a)
					}
				}
				a := rapid.SampledFrom(addrs).Draw(t, "address")
				write(t, db, func(tx *store.Tx) error { return drop(tx, owners[a]) })
				delete(owners, a)
			},
			"": func(t *rapid.T) {
				var rows int
				write(t, db, func(tx *store.Tx) (err error) {
					rows, _, err = store.One[int](tx.QueryRow("SELECT COUNT(*) FROM ipamallocations a JOIN ipallocations b ON b.ip_address = a.ip_address "+
						"AND b.subnet_id = a.ipam_subnet_id WHERE b.subnet_id = ?", s.ID))
					return err
				})
				if rows != len(owners) {
					t.Fatalf("%d rows for %d addresses", rows, len(owners))
				}
			},
		})
	})
}

// A subnet of any size costs a few statements and little memory, empty or full.
func TestCostOfFindingAFreeAddress(t *testing.T) {
	db := dbtest.Open(t)
	for _, test := range []struct {
		cidr  string
		taken int
	}{{"10.0.0.0/24", 0}, {"10.0.0.0/24", 253}, {"10.0.0.0/8", 3000}, {"2001:db8::/64", 3000}} {
		s := newSubnet(t, db, test.cidr)
		write(t, db, func(tx *store.Tx) error {
			var rows [][]any
			pool, err := parseSpan(s.AllocationPools[0])
			if err != nil {
				return err
			}
			for i := range test.taken - 1 {
				rows = append(rows, []any{pool.at(int64(i)).String(), "ALLOCATED", s.ID})
			}
			return allocate(tx, rows)
		})
		before := db.Statements()
		write(t, db, func(tx *store.Tx) error {
			networks, err := Load(tx, s.NetworkID)
			if err != nil {
				return err
			}
			p := &model.Port{NetworkID: s.NetworkID, MACAddress: randomMAC()}
			if err := networks[s.NetworkID].Allocate(tx, &Want{Port: p, Unspecified: true}); err != nil {
				return err
			}
			pool, err := parseSpan(s.AllocationPools[0])
			if o := pool.offset(netip.MustParseAddr(p.FixedIPs[0].IPAddress)); o > int64(test.taken)+window {
				t.Errorf("%s: address number %d", test.cidr, o)
			}
			return err
		})
		if n := db.Statements() - before; n > 10 {
			t.Errorf("%s with %d addresses taken: %d statements", test.cidr, test.taken, n)
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	db := dbtest.Open(t)
	s := newSubnet(t, db, "10.0.0.0/23")
	seen := map[string]bool{}
	for range 2 {
		before := db.Statements()
		var ports []*model.Port
		write(t, db, func(tx *store.Tx) (err error) {
			networks, err := Load(tx, s.NetworkID)
			if err != nil {
				return err
			}
			var wants []*Want
			for range 254 {
				p := &model.Port{NetworkID: s.NetworkID, MACAddress: randomMAC()}
				ports = append(ports, p)
				wants = append(wants, &Want{Port: p, Unspecified: true})
			}
			return networks[s.NetworkID].Allocate(tx, wants...)
		})
		for _, p := range ports {
			seen[p.FixedIPs[0].IPAddress] = true
		}
		if n := db.Statements() - before; n > 10 {
			t.Errorf("%d statements for 254 ports", n)
		}
	}
	if len(seen) != 508 {
		t.Errorf("%d different addresses for 508 ports", len(seen))
	}
}

// Upstream gives its rows other ids than those of the subnets.
func TestUpstreamsRows(t *testing.T) {
	db := dbtest.Open(t)
	s := newSubnet(t, db, "10.0.0.0/24")
	write(t, db, func(tx *store.Tx) error {
		if _, err := tx.Exec("DELETE FROM ipamsubnets"); err != nil {
			return err
		}
		if _, err := tx.Exec("INSERT INTO ipamsubnets (id, neutron_subnet_id) VALUES ('theirs', ?)", s.ID); err != nil {
			return err
		}
		if err := insertPools(tx, "theirs", s.AllocationPools); err != nil {
			return err
		}
		ports, err := give(tx, s, 2, "")
		if err != nil {
			return err
		}
		if err := drop(tx, ports[0]); err != nil {
			return err
		}
		n, _, err := store.One[int](tx.QueryRow("SELECT COUNT(*) FROM ipamallocations WHERE ipam_subnet_id = 'theirs'"))
		if n != 1 {
			t.Errorf("%d rows", n)
		}
		return err
	})
}

func TestSpans(t *testing.T) {
	span := func(a, b string) span { return span{netip.MustParseAddr(a), netip.MustParseAddr(b)} }
	ss := spans{span("10.0.0.250", "10.0.1.5"), span("10.2.0.0", "10.2.0.0")}
	if n := ss.size(); n != 13 {
		t.Errorf("size %d", n)
	}
	for i := range ss.size() {
		if o, ok := ss.offset(ss.at(i)); !ok || o != i {
			t.Errorf("offset of address %d, %s, is %d", i, ss.at(i), o)
		}
	}
	v6 := spans{span("2001:db8::ffff:ffff:ffff:fff0", "2001:db8:0:1::f")}
	if a := v6.at(17).String(); a != "2001:db8:0:1::1" {
		t.Errorf("carry: %s", a)
	}
	whole := spans{span("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), span("10.0.0.0", "10.0.0.1")}
	if n := whole.size(); n <= 0 {
		t.Errorf("size overflows to %d", n)
	}
}
