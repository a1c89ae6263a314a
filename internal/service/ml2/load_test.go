package ml2

import (
	"fmt"
	"sync"
	"testing"

	"neutrino/internal/fault"
	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/resource/resourcetest"
	"neutrino/internal/store"
	"neutrino/internal/store/dbtest"
)

// Two servers with four workers each fill a subnet: every address is given once, and then there is none.
func TestServersNeverGiveAnAddressTwice(t *testing.T) {
	url := dbtest.SharedURL(t)
	first := newEnv(t, dbtest.OpenURL(t, url), testConfig())
	second := newEnv(t, dbtest.OpenURL(t, url), testConfig())
	n := first.network()
	s := first.subnet(n, "10.0.0.0/24")
	var mu sync.Mutex
	given := map[string]int{}
	refused := 0
	var wg sync.WaitGroup
	for i := range 8 {
		e := []*env{first, second}[i%2]
		wg.Go(func() {
			for {
				p, err := e.tryPort(body{"network_id": n.ID})
				mu.Lock()
				if err == nil {
					given[p.FixedIPs[0].IPAddress]++
				} else {
					refused++
					resourcetest.Wants(t, err, "409 IpAddressGenerationFailure: No more IP addresses available on network "+n.ID+".")
				}
				mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	for a, times := range given {
		if times > 1 {
			t.Errorf("%s was given %d times", a, times)
		}
	}
	if len(given) != 253 || refused != 8 {
		t.Errorf("%d addresses given, %d workers refused", len(given), refused)
	}
	if rows := first.count("SELECT COUNT(*) FROM ipallocations WHERE subnet_id = ?", s.ID); rows != 253 {
		t.Errorf("%d rows", rows)
	}
}

// Only one of those who want the same VLAN, MAC address or IP address gets it.
func TestOneWinner(t *testing.T) {
	url := dbtest.SharedURL(t)
	servers := []*env{newEnv(t, dbtest.OpenURL(t, url), testConfig()), newEnv(t, dbtest.OpenURL(t, url), testConfig())}
	n := servers[0].network()
	servers[0].subnet(n, "10.0.0.0/24")
	for class, try := range map[string]func(e *env) error{
		"VlanIdInUse": func(e *env) error {
			_, err := e.tryNetwork(body{"provider:network_type": "vlan", "provider:physical_network": "physnet1", "provider:segmentation_id": num(9)})
			return err
		},
		"FlatNetworkInUse": func(e *env) error {
			_, err := e.tryNetwork(body{"provider:network_type": "flat", "provider:physical_network": "physnet1"})
			return err
		},
		"MacAddressInUse": func(e *env) error {
			_, err := e.tryPort(body{"network_id": n.ID, "mac_address": "fa:16:3e:00:00:09"})
			return err
		},
		"IpAddressAlreadyAllocated": func(e *env) error {
			_, err := e.tryPort(body{"network_id": n.ID, "fixed_ips": fixed("", "10.0.0.9")})
			return err
		},
		"InvalidInput": func(e *env) error { // overlap
			_, err := e.trySubnet(body{"network_id": n.ID, "cidr": "10.1.0.0/24", "ip_version": num(4)})
			return err
		},
	} {
		var mu sync.Mutex
		var wg sync.WaitGroup
		winners := 0
		for i := range 6 {
			wg.Go(func() {
				err := try(servers[i%2])
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					winners++
				case !fault.Is(err, class):
					t.Errorf("%s: %v", class, err)
				}
			})
		}
		wg.Wait()
		if winners != 1 {
			t.Errorf("%s: %d winners", class, winners)
		}
	}
}

// statements counts what f executes.
func (e *env) statements(f func()) int64 {
	before := e.db.Statements()
	f()
	return e.db.Statements() - before
}

func TestStatementsOfOnePort(t *testing.T) {
	e := setUp(t)
	n := e.network()
	e.subnet(n, "10.0.0.0/24")
	e.agent("h1", "Linux bridge agent", `{"tunnel_types": ["vxlan"]}`)
	for name, test := range map[string]struct {
		limit int64
		kv    []any
	}{
		"plain": {14, nil},
		"bound": {18, []any{"binding:host_id", "h1", "device_owner", "compute:nova"}},
		"all": {20, []any{"binding:host_id", "h1", "device_owner", "compute:nova", "mac_address", "fa:16:3e:00:00:01",
			"allowed_address_pairs", []any{body{"ip_address": "10.0.0.9"}}}},
	} {
		if got := e.statements(func() { e.port(n, test.kv...) }); got > test.limit {
			t.Errorf("%s: %d statements to create a port", name, got)
		}
	}
	p := e.port(n)
	// Reading the port as the API does takes 7 statements, twice here.
	if got := e.statements(func() { resourcetest.Wants(t, e.setPort(p, "name", "x"), "") }); got > 14+4 {
		t.Errorf("%d statements to rename a port", got)
	}
}

func manyPorts(e *env, n *model.Network, count int) ([]*model.Port, error) {
	ports := make([]*model.Port, count)
	err := e.db.Write(ctx, func(tx *store.Tx) error {
		for i := range ports {
			ports[i] = &model.Port{NetworkID: n.ID, AdminStateUp: true, HostID: "h1", DeviceOwner: "compute:nova",
				Standard: model.Standard{ProjectID: "p", Name: fmt.Sprint("port ", i)}}
		}
		return e.plugin.CreatePorts(tx, identity.System(), ports)
	})
	return ports, err
}

func TestBulk(t *testing.T) {
	e := setUp(t)
	n := e.network()
	e.subnet(n, "10.0.0.0/24")
	e.subnet(n, "2001:db8::/64", "ipv6_ra_mode", "slaac", "ipv6_address_mode", "slaac")
	e.agent("h1", "Linux bridge agent", `{"tunnel_types": ["vxlan"]}`)
	var few, many int64
	few = e.statements(func() {
		if _, err := manyPorts(e, n, 1); err != nil {
			t.Fatal(err)
		}
	})
	var ports []*model.Port
	many = e.statements(func() {
		var err error
		if ports, err = manyPorts(e, n, 250); err != nil {
			t.Fatal(err)
		}
	})
	if perPort := float64(many-few) / 249; perPort > 3.1 {
		t.Errorf("%.1f statements for each more port", perPort)
	}
	seen := map[string]bool{}
	for _, p := range ports {
		if len(p.FixedIPs) != 2 || p.VIFType != "bridge" {
			t.Fatalf("%+v", p)
		}
		seen[p.FixedIPs[0].IPAddress] = true
	}
	if len(seen) != 250 {
		t.Errorf("%d addresses for 250 ports", len(seen))
	}
	// All or nothing.
	if _, err := manyPorts(e, n, 3); !fault.Is(err, "IpAddressGenerationFailure") {
		t.Errorf("3 ports for 2 addresses: %v", err)
	}
	if left := e.count("SELECT COUNT(*) FROM ports"); left != 251 {
		t.Errorf("%d ports", left)
	}
	list := e.statements(func() {
		err := e.db.Read(ctx, func(tx *store.Tx) error {
			r := e.catalog.Ports
			objs, err := r.Select(tx, &resource.Query{Set: r.All, Caller: admin})
			if err != nil {
				return err
			}
			return e.plugin.Ports().Load(tx, admin, r.All, objs)
		})
		resourcetest.Wants(t, err, "")
	})
	if list > 7 {
		t.Errorf("%d statements to list ports", list)
	}
}

func BenchmarkCreatePort(b *testing.B) {
	e := newEnv(b, dbtest.OpenURL(b, dbtest.SharedURL(b)), testConfig())
	n := e.network()
	e.subnet(n, "10.0.0.0/8")
	for b.Loop() {
		e.port(n)
	}
}

func BenchmarkBulkOf50(b *testing.B) {
	e := newEnv(b, dbtest.OpenURL(b, dbtest.SharedURL(b)), testConfig())
	n := e.network()
	e.subnet(n, "10.0.0.0/8")
	for b.Loop() {
		if _, err := manyPorts(e, n, 50); err != nil {
			b.Fatal(err)
		}
	}
}
