package l3

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"

	"github.com/google/go-cmp/cmp"
)

// show is what the API answers for attributes of a router, with ids by their names.
func (x *site) show(id string, names map[string]string, attrs ...string) string {
	x.Helper()
	r := x.catalog.Routers
	var out string
	err := x.db.Read(ctx, func(tx *store.Tx) error {
		list, err := r.Select(tx, &resource.Query{Set: r.All, Where: []resource.Cond{r.ByID(id)}})
		if err != nil {
			return err
		}
		if err := x.l3.Routers().Load(tx, member, r.All, list); err != nil {
			return err
		}
		out = string(r.Append(nil, list[0], r.Bits(attrs...)))
		return nil
	})
	if err != nil {
		x.Fatal(err)
	}
	for id, name := range names {
		out = strings.ReplaceAll(out, id, name)
	}
	return out
}

func TestGateway(t *testing.T) {
	x := newSite(setUp(t))
	second := x.network(admin, body{"router:external": true})
	outside := x.subnet(second, "198.51.100.0/24", nil)
	names := map[string]string{x.external.ID: "PUBLIC", x.public.ID: "public-subnet", second.ID: "SECOND", outside.ID: "outside"}
	look := func() string { return x.show(x.gateway.ID, names, "external_gateway_info", "status") }
	change := func(info any) {
		t.Helper()
		r, err := x.updateRouter(x.gateway.ID, body{"external_gateway_info": info})
		if err != nil {
			t.Fatal(err)
		}
		answer := string(x.catalog.Routers.Append(nil, r, x.catalog.Routers.Bits("external_gateway_info")))
		for id, name := range names {
			answer = strings.ReplaceAll(answer, id, name)
		}
		if stored := strings.Replace(look(), `"status":"ACTIVE",`, "", 1); answer != stored {
			t.Errorf("the answer is %s, but stored is %s", answer, stored)
		}
	}
	steps := []struct {
		name string
		info any
		want string
	}{
		{"only enable_snat", body{"network_id": x.external.ID, "enable_snat": false},
			`{"status":"ACTIVE","external_gateway_info":{"network_id":"PUBLIC","external_fixed_ips":[{"subnet_id":"public-subnet","ip_address":"FIRST"}],"enable_snat":false}}`},
		{"default of enable_snat again", body{"network_id": x.external.ID},
			`{"status":"ACTIVE","external_gateway_info":{"network_id":"PUBLIC","external_fixed_ips":[{"subnet_id":"public-subnet","ip_address":"FIRST"}],"enable_snat":true}}`},
		{"another address", body{"network_id": x.external.ID, "external_fixed_ips": []any{body{"ip_address": "203.0.113.77"}}},
			`{"status":"ACTIVE","external_gateway_info":{"network_id":"PUBLIC","external_fixed_ips":[{"subnet_id":"public-subnet","ip_address":"203.0.113.77"}],"enable_snat":true}}`},
		{"another network", body{"network_id": second.ID, "external_fixed_ips": []any{body{"subnet_id": outside.ID, "ip_address": "198.51.100.9"}}},
			`{"status":"ACTIVE","external_gateway_info":{"network_id":"SECOND","external_fixed_ips":[{"subnet_id":"outside","ip_address":"198.51.100.9"}],"enable_snat":true}}`},
		{"none", body{}, `{"status":"ACTIVE","external_gateway_info":null}`},
	}
	first := x.gateway.Gateway.ExternalFixedIPs[0].IPAddress
	for _, s := range steps {
		change(s.info)
		if diff := cmp.Diff(strings.ReplaceAll(s.want, "FIRST", first), look()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", s.name, diff)
		}
	}
	if left := x.column("SELECT device_owner FROM ports WHERE device_owner = ?", ownerGateway); len(left) > 0 {
		t.Errorf("gateway ports are left: %v", left)
	}
}

func TestGatewayPort(t *testing.T) {
	x := newSite(setUp(t))
	got := x.column("SELECT p.project_id || '|' || p.device_id || '|' || p.device_owner || '|' || rp.port_type FROM routers r JOIN ports p ON p.id = r.gw_port_id "+
		"JOIN routerports rp ON rp.port_id = p.id WHERE r.id = ?", x.gateway.ID)
	if diff := cmp.Diff([]string{"|" + x.gateway.ID + "|network:router_gateway|network:router_gateway"}, got); diff != "" {
		t.Errorf("gateway port (-want +got):\n%s", diff)
	}
	extra := x.column("SELECT router_id FROM router_extra_attributes WHERE distributed = ? AND ha = ?", false, false)
	if diff := cmp.Diff([]string{x.gateway.ID}, extra); diff != "" {
		t.Errorf("router_extra_attributes (-want +got):\n%s", diff)
	}
}

func TestUpdateKeepsGatewayAndCountsRevision(t *testing.T) {
	x := newSite(setUp(t))
	before, err := x.updateRouter(x.gateway.ID, body{"name": "renamed"})
	if err != nil {
		t.Fatal(err)
	}
	if before.Gateway == nil || before.Gateway.NetworkID != x.external.ID {
		t.Errorf("gateway in the answer: %+v", before.Gateway)
	}
	same, err := x.updateRouter(x.gateway.ID, body{"name": "renamed"})
	if err != nil {
		t.Fatal(err)
	}
	if same.Revision != before.Revision {
		t.Errorf("an update that changes nothing counted the revision from %d to %d", before.Revision, same.Revision)
	}
	moved, err := x.updateRouter(x.gateway.ID, body{"external_gateway_info": body{"network_id": x.external.ID, "external_fixed_ips": []any{body{"ip_address": "203.0.113.9"}}}})
	if err != nil {
		t.Fatal(err)
	}
	if moved.Revision != same.Revision { // only the port's counts
		t.Errorf("a new gateway address: revision %d after %d", moved.Revision, same.Revision)
	}
	for _, step := range []struct {
		what string
		body body
		want int64 // upstream counts each of its transactions
	}{
		{"no SNAT", body{"external_gateway_info": body{"network_id": x.external.ID, "enable_snat": false}}, 1},
		{"another name, SNAT", body{"name": "n", "external_gateway_info": body{"network_id": x.external.ID}}, 2},
		{"no routes", body{"routes": []any{}}, 0},
	} {
		now, err := x.updateRouter(x.gateway.ID, step.body)
		if err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		if got := now.Revision - moved.Revision; got != step.want {
			t.Errorf("%s: revision counted by %d, want %d", step.what, got, step.want)
		}
		moved = now
	}
}

func TestDeleteRouter(t *testing.T) {
	x := newSite(setUp(t))
	port := x.column("SELECT id FROM ports WHERE device_owner = ?", ownerInterface)[0]
	expect(t, x.deleteRouter(x.gateway.ID), 409, "RouterInUse", "Router "+x.gateway.ID+" has ports still attached: "+port)
	if _, err := x.removeInterface(x.gateway.ID, body{"subnet_id": x.private.ID}); err != nil {
		t.Fatal(err)
	}
	if err := x.deleteRouter(x.gateway.ID); err != nil {
		t.Fatal(err)
	}
	left := x.column("SELECT id FROM ports UNION ALL SELECT id FROM routers UNION ALL SELECT port_id FROM routerports UNION ALL " +
		"SELECT router_id FROM router_extra_attributes UNION ALL SELECT resource_type FROM standardattributes WHERE resource_type IN ('routers', 'ports')")
	if len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

func TestInterfaceResults(t *testing.T) {
	x := newSite(setUp(t))
	net := x.network(member, nil)
	v4 := x.subnet(net, "10.1.0.0/24", nil)
	six, seven := x.subnet(net, "2001:db8:6::/64", nil), x.subnet(net, "2001:db8:7::/64", nil)
	own := x.port(net, body{"fixed_ips": []any{body{"ip_address": "10.1.0.50"}}})
	r := x.router(nil)
	info := func(port string, subnet string, subnets ...string) body {
		return body{"id": r.ID, "project_id": "p", "port_id": port, "network_id": net.ID, "subnet_id": subnet, "subnet_ids": subnets}
	}
	check := func(what string, got body, err error, want func(port string) body) string {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		port, _ := got["port_id"].(string)
		if diff := cmp.Diff(want(port), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
		return port
	}
	got, err := x.addInterface(member, r.ID, body{"port_id": own.ID})
	check("add by port", got, err, func(string) body { return info(own.ID, v4.ID, v4.ID) })
	got, err = x.addInterface(member, r.ID, body{"subnet_id": six.ID})
	shared := check("add IPv6 subnet", got, err, func(port string) body { return info(port, six.ID, six.ID) })
	got, err = x.addInterface(member, r.ID, body{"subnet_id": seven.ID})
	check("add another IPv6 subnet of the network", got, err, func(string) body { return info(shared, seven.ID, seven.ID) })
	if ips := x.column("SELECT ip_address FROM ipallocations WHERE port_id = ? ORDER BY ip_address", shared); !slices.Equal(ips, []string{"2001:db8:6::", "2001:db8:7::"}) {
		t.Errorf("addresses of the IPv6 port: %v", ips)
	}
	got, err = x.removeInterface(r.ID, body{"subnet_id": six.ID})
	check("remove one IPv6 subnet", got, err, func(string) body { return info(shared, six.ID, six.ID) })
	got, err = x.removeInterface(r.ID, body{"port_id": shared, "subnet_id": seven.ID})
	check("remove the IPv6 port", got, err, func(string) body { return info(shared, seven.ID, seven.ID) })
	got, err = x.removeInterface(r.ID, body{"port_id": own.ID})
	check("remove by port", got, err, func(string) body { return info(own.ID, v4.ID, v4.ID) })
	if left := x.column("SELECT id FROM ports WHERE network_id = ?", net.ID); len(left) > 0 {
		t.Errorf("ports left: %v", left)
	}
}

func TestExtraRoutes(t *testing.T) {
	x := newSite(setUp(t))
	edit := func(f func(*store.Tx, *identity.Caller, string, map[string]any) (json.RawMessage, error), routes ...any) (out []model.Route) {
		t.Helper()
		x.write(func(tx *store.Tx) error {
			text, err := f(tx, member, x.gateway.ID, body{"router": body{"routes": routes}})
			if err != nil {
				return err
			}
			var answer struct {
				Router struct {
					Routes   []model.Route
					GWPortID string `json:"gw_port_id"` // hidden elsewhere
				}
			}
			err = json.Unmarshal(text, &answer)
			if out = answer.Router.Routes; answer.Router.GWPortID == "" {
				t.Errorf("no gw_port_id in %s", text)
			}
			return err
		})
		return out
	}
	a, b := route("172.16.0.0/24", "10.0.0.7"), route("172.16.1.0/24", "203.0.113.5")
	want := []model.Route{{Destination: "172.16.0.0/24", Nexthop: "10.0.0.7"}}
	if diff := cmp.Diff(want, edit(x.l3.AddExtraRoutes, a)); diff != "" {
		t.Errorf("add (-want +got):\n%s", diff)
	}
	want = append(want, model.Route{Destination: "172.16.1.0/24", Nexthop: "203.0.113.5"})
	if diff := cmp.Diff(want, edit(x.l3.AddExtraRoutes, a, b)); diff != "" {
		t.Errorf("add again (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want[1:], edit(x.l3.RemoveExtraRoutes, a, route("172.31.0.0/16", "10.0.0.7"))); diff != "" {
		t.Errorf("remove (-want +got):\n%s", diff)
	}
	if got := x.show(x.gateway.ID, nil, "routes"); got != `{"routes":[{"destination":"172.16.1.0/24","nexthop":"203.0.113.5"}]}` {
		t.Errorf("stored: %s", got)
	}
}

func route(destination, hop string) body { return body{"destination": destination, "nexthop": hop} }

func TestZoneHints(t *testing.T) {
	e := setUp(t)
	e.agent("h1", 0, "z1", "{}")
	_, err := e.tryRouter(member, body{"availability_zone_hints": []any{"z1", "z2"}})
	expect(t, err, 404, "AvailabilityZoneNotFound", "AvailabilityZone z2 could not be found.")
	r := e.router(body{"availability_zone_hints": []any{"z1"}})
	if got := e.column("SELECT availability_zone_hints FROM router_extra_attributes WHERE router_id = ?", r.ID); !slices.Equal(got, []string{`["z1"]`}) {
		t.Errorf("stored hints %v", got)
	}
}

func TestStatements(t *testing.T) {
	x := newSite(setUp(t))
	x.agent("h1", 0, "z", "{}")
	x.schedule()
	subnet := x.subnet(x.network(member, nil), "10.9.0.0/24", nil)
	server := x.port(x.internal, nil)
	var f *model.FloatingIP
	for _, c := range []struct {
		name string
		most int64
		do   func()
	}{
		{"add interface", 22, func() { x.connect(x.gateway, subnet) }},
		{"create floating IP", 24, func() { f = x.floatingIP(body{"floating_network_id": x.external.ID, "port_id": server.ID}) }},
		{"describe floating IP", 10, func() { must(x.env, f, second(x.updateFloatingIP(f.ID, body{"description": "d"}))) }},
		{"rename router", 15, func() { must(x.env, x.gateway, second(x.updateRouter(x.gateway.ID, body{"name": "n"}))) }},
	} {
		if n := x.statements(c.do); n > c.most {
			t.Errorf("%s: %d statements, want at most %d", c.name, n, c.most)
		}
	}
}

func second[R any](_ R, err error) error { return err }

// schedule gives all routers an agent.
func (e *env) schedule() {
	e.Helper()
	ids := e.column("SELECT id FROM routers ORDER BY id")
	e.write(func(tx *store.Tx) error { return e.l3.updated(tx, ids...) })
}

func TestListIsBounded(t *testing.T) {
	x := newSite(setUp(t))
	list := func() int64 {
		return x.statements(func() {
			err := x.db.Read(ctx, func(tx *store.Tx) error {
				r := x.catalog.Routers
				routers, err := r.Select(tx, &resource.Query{Set: r.All})
				if err != nil {
					return err
				}
				return x.l3.Routers().Load(tx, admin, r.All, routers)
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
	one := list()
	for range 5 {
		x.router(body{"external_gateway_info": body{"network_id": x.external.ID}})
	}
	if many := list(); many != one {
		t.Errorf("a list of 1 router takes %d statements, one of 6 takes %d", one, many)
	}
}
