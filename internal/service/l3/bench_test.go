package l3

import (
	"fmt"
	"testing"

	"neutrino/internal/resource/resourcetest"
	"neutrino/internal/store"
	"neutrino/internal/store/dbtest"
)

// BenchmarkInterface adds and removes an interface of a router that has a gateway and an agent.
func BenchmarkInterface(b *testing.B) {
	x := newSite(newEnv(b, dbtest.OpenURL(b, dbtest.SharedURL(b))))
	x.agent("h1", 0, "z", "{}")
	x.schedule()
	s := x.subnet(x.network(member, nil), "10.9.0.0/24", nil)
	for b.Loop() {
		x.connect(x.gateway, s)
		if _, err := x.removeInterface(x.gateway.ID, body{"subnet_id": s.ID}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFloatingIP creates floating IPs for a port of a subnet with 1000 addresses in use, and deletes them.
func BenchmarkFloatingIP(b *testing.B) {
	x := newSite(newEnv(b, dbtest.OpenURL(b, dbtest.SharedURL(b))))
	n := x.network(member, nil)
	s := x.subnet(n, "10.9.0.0/20", nil)
	x.connect(x.gateway, s)
	for range 1000 {
		x.port(n, nil)
	}
	server := x.port(n, nil)
	for b.Loop() {
		f := x.floatingIP(body{"floating_network_id": x.external.ID, "port_id": server.ID})
		if err := resourcetest.Delete(x.db, x.catalog.FloatingIPs, x.l3.FloatingIPs(), member, f.ID); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSync reads 256 routers, the largest number that an agent asks for at once.
func BenchmarkSync(b *testing.B) {
	x := newSite(newEnv(b, dbtest.OpenURL(b, dbtest.SharedURL(b))))
	x.agent("h1", 0, "z", "{}")
	x.bridgeAgent("h1")
	for i := range 255 {
		r := x.router(nil)
		x.connect(r, x.subnet(x.network(member, nil), fmt.Sprintf("10.9.%d.0/24", i), nil))
	}
	x.write(func(tx *store.Tx) error { _, err := x.l3.RouterIDsOnHost(tx, "h1"); return err })
	x.sync("h1")
	for b.Loop() {
		if got := x.sync("h1"); len(got) != 256 {
			b.Fatalf("%d routers", len(got))
		}
	}
}
