package l3

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/resource/resourcetest"
	"neutrino/internal/store"
	"neutrino/internal/store/dbtest"

	"github.com/google/go-cmp/cmp"
)

// state is what the database says of a floating IP: port, address, router, last router, status, in terms of the site.
func (x *site) state(f *model.FloatingIP, server *model.Port) string {
	x.Helper()
	name := map[string]string{"": "-", x.gateway.ID: "router", server.ID: "server"}
	var out string
	err := x.db.Read(ctx, func(tx *store.Tx) error {
		now, err := x.catalog.FloatingIPs.Get(tx, nil, f.ID, x.catalog.FloatingIPs.All)
		if err != nil {
			return err
		}
		text := func(p *string) string {
			if p == nil {
				return "-"
			}
			if n := name[*p]; n != "" {
				return n
			}
			return *p
		}
		out = fmt.Sprintf("port %s address %s router %s last %s %s", text(now.PortID), text(now.FixedIPAddress), text(now.RouterID),
			text(now.LastKnownRouterID), now.Status)
		return nil
	})
	if err != nil {
		x.Fatal(err)
	}
	return out
}

func TestFloatingIPLife(t *testing.T) {
	x := newSite(setUp(t))
	x.agent("h1", 0, "z", "{}")
	x.schedule()
	x.told.take()
	server := x.server("10.0.0.30")
	f := x.floatingIP(body{"floating_network_id": x.external.ID, "floating_ip_address": "203.0.113.50"})
	port := x.column("SELECT COALESCE(p.project_id, '') || '|' || p.device_id || '|' || p.device_owner || '|' || p.status || '|' || a.revision_number "+
		"FROM ports p JOIN standardattributes a ON a.id = p.standard_attr_id WHERE p.id = ?", f.FloatingPortID)
	if diff := cmp.Diff([]string{"|" + f.ID + "|network:floatingip|N/A|2"}, port); diff != "" {
		t.Errorf("hidden port (-want +got):\n%s", diff)
	}
	updated := []string{"h1 updated " + x.gateway.ID}
	for _, s := range []struct {
		name  string
		attrs body
		want  string
		told  []string
	}{
		{"associate", body{"port_id": server.ID}, "port server address 10.0.0.30 router router last - DOWN", updated},
		{"describe", body{"description": "d"}, "port server address 10.0.0.30 router router last - DOWN", nil},
		{"associate again", body{"port_id": server.ID}, "port server address 10.0.0.30 router router last - DOWN", nil},
		{"disassociate", body{"port_id": nil}, "port - address - router - last router DOWN", updated},
		{"disassociate again", body{"port_id": nil}, "port - address - router - last router DOWN", nil},
		{"associate with address", body{"port_id": server.ID, "fixed_ip_address": "10.0.0.30"}, "port server address 10.0.0.30 router router last - DOWN", updated},
	} {
		if _, err := x.updateFloatingIP(f.ID, s.attrs); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		if diff := cmp.Diff(s.want, x.state(f, server)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", s.name, diff)
		}
		if diff := cmp.Diff(s.told, x.told.take()); diff != "" {
			t.Errorf("%s: told (-want +got):\n%s", s.name, diff)
		}
	}
	if err := resourcetest.Delete(x.db, x.catalog.FloatingIPs, x.l3.FloatingIPs(), member, f.ID); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(updated, x.told.take()); diff != "" {
		t.Errorf("delete: told (-want +got):\n%s", diff)
	}
	if left := x.column("SELECT id FROM ports WHERE device_owner = ?", ownerFloatingIP); len(left) > 0 {
		t.Errorf("ports left: %v", left)
	}
}

func TestPortDetails(t *testing.T) {
	x := newSite(setUp(t))
	server := x.server()
	f := x.floatingIP(body{"floating_network_id": x.external.ID, "port_id": server.ID})
	free := x.floatingIP(body{"floating_network_id": x.external.ID})
	r := x.catalog.FloatingIPs
	got := map[string]string{}
	err := x.db.Read(ctx, func(tx *store.Tx) error {
		set := r.Bits("id", "port_details") // alone, it needs the port all the same
		list, err := r.Select(tx, &resource.Query{Set: set | r.ForLoad(set)})
		if err != nil {
			return err
		}
		if err := x.l3.FloatingIPs().Load(tx, member, r.All, list); err != nil {
			return err
		}
		for _, v := range list {
			got[v.ID] = string(r.Append(nil, v, r.Bit("port_details")))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{free.ID: `{"port_details":null}`, f.ID: `{"port_details":{"name":"server","network_id":"` + x.internal.ID + `","mac_address":"` +
		server.MACAddress + `","admin_state_up":true,"status":"DOWN","device_id":"","device_owner":""}}`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestRouterOfSubnet: of two routers between the networks, the one that is the subnet's gateway serves the floating IP.
func TestRouterOfSubnet(t *testing.T) {
	x := newSite(setUp(t))
	for range 4 { // ids are random: one of these very likely comes before the right one
		side := x.router(body{"external_gateway_info": body{"network_id": x.external.ID}})
		if _, err := x.addInterface(member, side.ID, body{"port_id": x.port(x.internal, nil).ID}); err != nil {
			t.Fatal(err)
		}
	}
	f := x.floatingIP(body{"floating_network_id": x.external.ID, "port_id": x.server().ID})
	if *f.RouterID != x.gateway.ID {
		t.Error("the floating IP is at a router that is not the gateway of the subnet")
	}
}

func TestPortDeletionDisassociates(t *testing.T) {
	x := newSite(setUp(t))
	x.agent("h1", 0, "z", "{}")
	x.schedule()
	server := x.server()
	f := x.floatingIP(body{"floating_network_id": x.external.ID, "port_id": server.ID})
	x.told.take()
	if err := x.deletePort(member, server.ID); err != nil {
		t.Fatal(err)
	}
	if got, want := x.state(f, server), "port - address - router - last router DOWN"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if diff := cmp.Diff([]string{"h1 updated " + x.gateway.ID}, x.told.take()); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

func TestNetworkDeletionRemovesUnusedFloatingIPs(t *testing.T) {
	x := newSite(setUp(t))
	n := x.network(admin, body{"router:external": true})
	x.subnet(n, "198.51.100.0/24", nil)
	x.floatingIP(body{"floating_network_id": n.ID})
	if err := resourcetest.Delete(x.db, x.catalog.Networks, x.core.Networks(), admin, n.ID); err != nil {
		t.Fatal(err)
	}
	if left := x.column("SELECT id FROM floatingips"); len(left) > 0 {
		t.Errorf("floating IPs left: %v", left)
	}
}

// TestNetworkWithOthersFloatingIPsStays: its owner does not find floating IPs of other projects, which would have to go first.
func TestNetworkWithOthersFloatingIPsStays(t *testing.T) {
	x := newSite(setUp(t))
	n := x.network(admin, body{"router:external": true, "project_id": member.ProjectID})
	x.subnet(n, "198.51.100.0/24", nil)
	own := x.floatingIP(body{"floating_network_id": n.ID})
	if err := resourcetest.Delete(x.db, x.catalog.Networks, x.core.Networks(), member, n.ID); err != nil {
		t.Fatalf("with floating IP %s of its own project: %v", own.ID, err)
	}
	n = x.network(admin, body{"router:external": true, "project_id": member.ProjectID})
	x.subnet(n, "198.51.100.0/24", nil)
	f, err := x.tryFloatingIP(admin, body{"floating_network_id": n.ID, "project_id": "other"})
	if err != nil {
		t.Fatal(err)
	}
	resourcetest.Wants(t, resourcetest.Delete(x.db, x.catalog.Networks, x.core.Networks(), member, n.ID), "404 FloatingIPNotFound: Floating IP "+f.ID+" could not be found")
	resourcetest.Wants(t, resourcetest.Delete(x.db, x.catalog.Networks, x.core.Networks(), admin, n.ID), "")
}

// TestServersRaceForAddress: two servers give one address of a port a floating IP each; one must win.
func TestServersRaceForAddress(t *testing.T) {
	file := dbtest.SharedURL(t)
	x := newSite(newEnv(t, dbtest.OpenURL(t, file)))
	servers := []*env{x.env, newEnv(t, dbtest.OpenURL(t, file))}
	for round := range 5 {
		server := x.port(x.internal, nil)
		errs := make([]error, len(servers))
		var all sync.WaitGroup
		for i, e := range servers {
			all.Go(func() {
				_, errs[i] = e.tryFloatingIP(member, body{"floating_network_id": x.external.ID, "port_id": server.ID})
			})
		}
		all.Wait()
		won := slices.IndexFunc(errs, func(err error) bool { return err == nil })
		if won < 0 || !fault.Is(errs[1-won], "FloatingIPPortAlreadyAssociated") {
			t.Fatalf("round %d: %v", round, errs)
		}
	}
}

func TestFloatingIPStatuses(t *testing.T) {
	x := newSite(setUp(t))
	a, b := x.server("10.0.0.30"), x.port(x.internal, nil)
	up, gone := x.floatingIP(body{"floating_network_id": x.external.ID, "port_id": a.ID}), x.floatingIP(body{"floating_network_id": x.external.ID, "port_id": b.ID})
	report := func(statuses map[string]string) error {
		return x.db.Write(ctx, func(tx *store.Tx) error { return x.l3.UpdateFloatingIPStatuses(tx, x.gateway.ID, statuses) })
	}
	status := func() map[string]string {
		out := map[string]string{}
		for _, f := range []*model.FloatingIP{up, gone} {
			out[f.ID] = x.column("SELECT status FROM floatingips WHERE id = ?", f.ID)[0]
		}
		return out
	}
	revision := func() string {
		return x.column("SELECT CAST(sa.revision_number AS CHAR(10)) FROM floatingips f JOIN standardattributes sa ON sa.id = f.standard_attr_id WHERE f.id = ?", up.ID)[0]
	}
	all := map[string]string{up.ID: "ACTIVE", gone.ID: "ACTIVE", missing: "ERROR"}
	if err := report(all); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{up.ID: "ACTIVE", gone.ID: "ACTIVE"}, status()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	before := revision()
	if err := report(all); err != nil {
		t.Fatal(err)
	}
	if after := revision(); after != before {
		t.Errorf("a report of the same status counted the revision from %s to %s", before, after)
	}
	if _, err := x.updateFloatingIP(gone.ID, body{"port_id": nil}); err != nil {
		t.Fatal(err)
	}
	if err := report(map[string]string{up.ID: "ERROR"}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{up.ID: "ERROR", gone.ID: "DOWN"}, status()); diff != "" {
		t.Errorf("after disassociation (-want +got):\n%s", diff)
	}
	expect(t, report(map[string]string{up.ID: "FINE"}), 400, "InvalidInput", "Invalid input for operation: 'FINE' is not a status of a floating IP.")
}

// A floating IP that is reported down although it is in use makes its agent look again.
func TestFloatingIPReportedDownByTheWrongAgent(t *testing.T) {
	x := newSite(setUp(t))
	x.agent("h1", 0, "z", "{}")
	x.schedule()
	f := x.floatingIP(body{"floating_network_id": x.external.ID, "port_id": x.server("10.0.0.30").ID})
	for _, c := range []struct {
		status string
		want   []string
	}{{"ACTIVE", nil}, {"DOWN", []string{"h1 updated " + x.gateway.ID}}} {
		x.told.take()
		if err := x.db.Write(ctx, func(tx *store.Tx) error {
			return x.l3.UpdateFloatingIPStatuses(tx, missing, map[string]string{f.ID: c.status})
		}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, x.told.take()); diff != "" {
			t.Errorf("reported %s, told (-want +got):\n%s", c.status, diff)
		}
	}
}
