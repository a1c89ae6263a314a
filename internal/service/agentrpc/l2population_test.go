package agentrpc

import (
	"testing"

	"neutrino/internal/rpc"
)

func TestL2Population(t *testing.T) {
	e := setUp(t)
	for i, h := range []string{"h1", "h2", "h3"} {
		e.host(h, i+1)
	}
	n := e.network("net", "10.0.0.0/24", false)
	other := e.network("other", "10.0.1.0/24", false)
	e.port(other, "h3", "10.0.1.10") // a host without the network
	fdb := func() *env { return e.only("add_fdb_entries", "remove_fdb_entries", "update_fdb_entries") }

	a := e.port(n, "h1", "10.0.0.10")
	e.forget()
	e.up("h1", a)
	fdb().expect() // nobody else has the network

	b := e.port(n, "h2", "10.0.0.20")
	fdb().expect()
	e.up("h2", b)
	fdb().expect("h1 add_fdb_entries net 192.0.2.2 flood 10.0.0.20", "h2 add_fdb_entries net 192.0.2.1 flood 10.0.0.10")

	c, d := e.port(n, "h2", "10.0.0.21"), e.port(n, "h2", "10.0.0.22")
	e.forget()
	e.up("h2", c)
	fdb().expect("h1 add_fdb_entries net 192.0.2.2 flood 10.0.0.21") // h2 knows the rest already
	e.up("h2", d)
	e.forget()

	call(e, rpc.UpdateDeviceList, rpc.DeviceListArgs{Host: "h2", DevicesUp: []string{tap(b), tap(c), tap(d)}, RefreshTunnels: true})
	e.mu.Lock()
	if len(e.told) != 2 {
		t.Errorf("refresh: %v", e.told)
	}
	e.mu.Unlock()
	e.forget()

	e.change(a, body{"fixed_ips": []any{body{"ip_address": "10.0.0.11"}}})
	fdb().expect("h2 update_fdb_entries net 192.0.2.1 before 10.0.0.10 after 10.0.0.11")

	e.down("h2", d)
	fdb().expect("h1 remove_fdb_entries net 192.0.2.2 10.0.0.22")
	e.remove(c)
	fdb().expect("h1 remove_fdb_entries net 192.0.2.2 10.0.0.21")
	e.remove(d)
	e.forget()
	e.change(b, body{"binding:host_id": "h3"}) // the last one moves away
	fdb().expect("h1 remove_fdb_entries net 192.0.2.2 flood 10.0.0.20", "h3 remove_fdb_entries net 192.0.2.2 flood 10.0.0.20")
	e.up("h3", b)
	fdb().expect("h1 add_fdb_entries net 192.0.2.3 flood 10.0.0.20", "h3 add_fdb_entries net 192.0.2.1 flood 10.0.0.11")
	e.remove(b)
	fdb().expect("h1 remove_fdb_entries net 192.0.2.3 flood 10.0.0.20")
}

// TestJoinWhileAnotherWaitsForDHCP: a host that joins between a port's wiring and the end of its provisioning learns of
// the port.
func TestJoinWhileAnotherWaitsForDHCP(t *testing.T) {
	e := setUp(t)
	e.host("h1", 1)
	e.host("h2", 2)
	e.dhcp("d1")
	n := e.network("net", "10.0.0.0/24", true)
	a := e.port(n, "h1", "10.0.0.10")
	e.up("h1", a)
	if s := e.status(a); s != "BUILD" {
		t.Fatalf("the port is %s", s)
	}
	b := e.port(n, "h2", "10.0.0.20")
	e.forget()
	e.up("h2", b)
	e.only("add_fdb_entries").expect("h1 add_fdb_entries net 192.0.2.2 flood 10.0.0.20", "h2 add_fdb_entries net 192.0.2.1 flood 10.0.0.10")
}

func TestNoTunnels(t *testing.T) {
	e := setUp(t)
	e.host("h1", 1)
	e.host("h2", 2)
	n := create(e, e.catalog.Networks, e.core.Networks(), body{"provider:network_type": "local"})
	create(e, e.catalog.Subnets, e.core.Subnets(), body{"network_id": n.ID, "cidr": "10.0.0.0/24", "ip_version": "4", "enable_dhcp": false})
	e.up("h1", e.port(n, "h1", "10.0.0.10"))
	e.up("h2", e.port(n, "h2", "10.0.0.20"))
	e.only("add_fdb_entries").expect()
}
