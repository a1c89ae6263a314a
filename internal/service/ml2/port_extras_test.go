package ml2

import (
	"testing"

	"neutrino/internal/resource/resourcetest"
	"neutrino/internal/store"
	"neutrino/internal/store/dbtest"

	"github.com/google/go-cmp/cmp"
)

// shown is a port's attributes as JSON.
func (e *env) shown(id string, names ...string) string {
	e.t.Helper()
	var out string
	err := e.db.Read(ctx, func(tx *store.Tx) error {
		port, err := e.plugin.GetPort(tx, id)
		if err != nil {
			return err
		}
		e.plugin.NamePorts(port)
		out = string(e.catalog.Ports.Append(nil, port, e.catalog.Ports.Bits(names...)))
		return nil
	})
	if err != nil {
		e.t.Fatal(err)
	}
	return out
}

func TestExtraAttributes(t *testing.T) {
	steering := body{"openvswitch": body{"other_config": body{"tx-steering": "hash"}}}
	for _, x := range []struct {
		name string
		post body
		put  body
		attr []string
		want string
	}{
		{"nothing", nil, nil, []string{"data_plane_status", "propagate_uplink_status", "device_profile", "numa_affinity_policy", "hints",
			"trusted", "hardware_offload_type", "binding:profile"}, `{"binding:profile":{},"data_plane_status":null,` +
			`"propagate_uplink_status":true,"device_profile":null,"numa_affinity_policy":null,"hints":null,"trusted":null,"hardware_offload_type":null}`},
		{"trusted", body{"trusted": true, "binding:profile": body{"a": "b"}}, nil, []string{"trusted", "binding:profile"},
			`{"binding:profile":{"a":"b","trusted":true},"trusted":true}`},
		{"trusted no more", body{"trusted": true}, body{"trusted": false}, []string{"trusted", "binding:profile"},
			`{"binding:profile":{"trusted":false},"trusted":false}`},
		{"offload", body{"hardware_offload_type": "switchdev", "binding:profile": body{"capabilities": []any{"x"}}}, nil,
			[]string{"hardware_offload_type", "binding:profile"}, `{"binding:profile":{"capabilities":["x","switchdev"]},"hardware_offload_type":"switchdev"}`},
		{"uplink", body{"propagate_uplink_status": false}, nil, []string{"propagate_uplink_status"}, `{"propagate_uplink_status":false}`},
		{"uplink again", body{"propagate_uplink_status": false}, body{"propagate_uplink_status": true}, []string{"propagate_uplink_status"},
			`{"propagate_uplink_status":true}`},
		{"hints", body{"hints": steering}, nil, []string{"hints"}, `{"hints":{"openvswitch":{"other_config":{"tx-steering":"hash"}}}}`},
		{"no hints", body{"hints": steering}, body{"hints": body{}}, []string{"hints"}, `{"hints":null}`},
		{"placement", body{"numa_affinity_policy": "socket", "device_profile": ""}, body{"data_plane_status": "DOWN"},
			[]string{"numa_affinity_policy", "device_profile", "data_plane_status"},
			`{"data_plane_status":"DOWN","device_profile":null,"numa_affinity_policy":"socket"}`},
	} {
		t.Run(x.name, func(t *testing.T) {
			e := setUp(t)
			n := e.network()
			post := body{"network_id": n.ID}
			for k, v := range x.post {
				post[k] = v
			}
			port := must(e, e.tryPort, post)
			if x.put != nil {
				if _, err := resourcetest.Update(e.db, e.catalog.Ports, e.plugin.Ports(), admin, port.ID, x.put); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(x.want, e.shown(port.ID, x.attr...)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPlacementOfRunningMachinesStays(t *testing.T) {
	e := setUp(t)
	e.agent("h1", "Linux bridge agent", `{"tunnel_types": ["vxlan"]}`)
	port := e.port(e.network(), "binding:host_id", "h1")
	_, err := resourcetest.Update(e.db, e.catalog.Ports, e.plugin.Ports(), admin, port.ID, body{"numa_affinity_policy": "legacy"})
	want := "Unable to complete operation on port " + port.ID + ", port is already bound to host h1, numa_affinity_policy value given legacy."
	if err == nil || err.Error() != "PortBoundNUMAAffinityPolicy: "+want {
		t.Error(err)
	}
}

func TestTagsOfNewPorts(t *testing.T) {
	for _, on := range []bool{false, true} {
		cfg := testConfig()
		cfg.TagNewPorts = on
		e := newEnv(t, dbtest.Open(t), cfg)
		port := e.port(e.network(), "tags", []any{"a"})
		want := `{"tags":[]}`
		if on {
			want = `{"tags":["a"]}`
		}
		if diff := cmp.Diff(want, e.shown(port.ID, "tags")); diff != "" {
			t.Errorf("with the driver %t: %s", on, diff)
		}
	}
}

func TestNamesOfPorts(t *testing.T) {
	for _, x := range []struct {
		domain, name, want string
	}{
		{"example.org", "", `{"dns_name":"","dns_assignment":[{"ip_address":"10.0.0.5","hostname":"host-10-0-0-5","fqdn":"host-10-0-0-5.example.org."}]}`},
		{"example.org.", "Web", `{"dns_name":"web","dns_assignment":[{"ip_address":"10.0.0.5","hostname":"web","fqdn":"web.example.org."}]}`},
		{"example.org.", "web.example.org.", `{"dns_name":"web.example.org.","dns_assignment":[{"ip_address":"10.0.0.5",` +
			`"hostname":"web.example.org.","fqdn":"web.example.org."}]}`},
		{"openstacklocal", "web", `{"dns_name":"","dns_assignment":[{"ip_address":"10.0.0.5","hostname":"host-10-0-0-5","fqdn":"host-10-0-0-5.openstacklocal."}]}`},
		{"", "web", `{"dns_name":"","dns_assignment":[{"ip_address":"10.0.0.5","hostname":"host-10-0-0-5","fqdn":"host-10-0-0-5"}]}`},
	} {
		t.Run(x.domain+" "+x.name, func(t *testing.T) {
			cfg := testConfig()
			cfg.DNSDomain = x.domain
			e := newEnv(t, dbtest.Open(t), cfg)
			n := e.network()
			e.subnet(n, "10.0.0.0/24")
			created := e.port(n, "fixed_ips", fixed("", "10.0.0.5"), "dns_name", x.name)
			if diff := cmp.Diff(x.want, e.shown(created.ID, "dns_name", "dns_assignment")); diff != "" {
				t.Error("created:", diff)
			}
			changed := e.port(n)
			if _, err := resourcetest.Update(e.db, e.catalog.Ports, e.plugin.Ports(), admin, created.ID, body{"fixed_ips": []any{}, "dns_name": ""}); err != nil {
				t.Fatal(err)
			}
			if _, err := resourcetest.Update(e.db, e.catalog.Ports, e.plugin.Ports(), admin, changed.ID,
				body{"fixed_ips": fixed("", "10.0.0.5"), "dns_name": x.name}); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(x.want, e.shown(changed.ID, "dns_name", "dns_assignment")); diff != "" {
				t.Error("changed:", diff)
			}
			if diff := cmp.Diff(`{"dns_name":"","dns_assignment":[]}`, e.shown(created.ID, "dns_name", "dns_assignment")); diff != "" {
				t.Error("without a name:", diff)
			}
		})
	}
}

// TestNamesCount: the first request that names a name counts as a change of the port, even if the name is empty.
func TestNamesCount(t *testing.T) {
	cfg := testConfig()
	cfg.DNSDomain = "example.org"
	e := newEnv(t, dbtest.Open(t), cfg)
	port := e.port(e.network())
	for _, c := range []struct {
		attrs    body
		revision int64
	}{
		{body{"name": "a"}, 1}, {body{"dns_name": ""}, 2}, {body{"dns_name": ""}, 2}, {body{"dns_name": "b"}, 3}, {body{"dns_name": ""}, 4},
	} {
		got, err := resourcetest.Update(e.db, e.catalog.Ports, e.plugin.Ports(), admin, port.ID, c.attrs)
		if err != nil || got.Revision != port.Revision+c.revision {
			t.Errorf("%v: revision %d, want %d more than %d: %v", c.attrs, got.Revision, c.revision, port.Revision, err)
		}
	}
}

func TestNameOutsideOfDomain(t *testing.T) {
	cfg := testConfig()
	cfg.DNSDomain = "example.org"
	e := newEnv(t, dbtest.Open(t), cfg)
	_, err := e.tryPort(body{"network_id": e.network().ID, "dns_name": "web.example.com."})
	want := "HTTPBadRequest: Invalid input for dns_name. Reason: The dns_name passed is a FQDN. Its higher level labels must be equal to the " +
		"dns_domain option in neutron.conf, that has been set to 'example.org'. It must also include one or more valid DNS labels to the left of 'example.org'."
	if err == nil || err.Error() != want {
		t.Error(err)
	}
}
