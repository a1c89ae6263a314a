package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"neutrino/internal/store"
)

const forbidden = `{"NeutronError": {"type": "PolicyNotAuthorized", "message": "`

func TestPolicy(t *testing.T) {
	g := newRig(t, Config{})
	p1, p2 := who("p1", "member", "reader"), who("p2", "member", "reader")
	own := g.make(p1, "networks", `{"network":{"name":"own"}}`)
	shared := g.make(admin, "networks", `{"network":{"name":"shared","shared":true}}`)
	missing := func(id string) string {
		return `{"NeutronError": {"type": "NetworkNotFound", "message": "Network ` + id + ` could not be found.", "detail": ""}}`
	}
	for _, tc := range []struct {
		name               string
		who                http.Header
		method, path, body string
		status             int
		want               string
	}{
		{"list: own and shared", p1, "GET", "/networks?fields=name&sort_key=name&sort_dir=asc", "", 200, `{"networks":[{"name":"own"},{"name":"shared"}]}`},
		{"list: shared", p2, "GET", "/networks?fields=name", "", 200, `{"networks":[{"name":"shared"}]}`},
		{"list: without role", who("p1", "nothing"), "GET", "/networks?fields=name&shared=false", "", 200, `{"networks":[]}`},
		{"provider attributes are hidden", p1, "GET", "/networks?fields=name&fields=provider:network_type&name=own", "", 200, `{"networks":[{"name":"own"}]}`},
		{"and shown to administrators", admin, "GET", "/networks?fields=name&fields=provider:network_type&name=own", "", 200,
			`{"networks":[{"name":"own","provider:network_type":null}]}`},
		{"show: foreign", p2, "GET", "/networks/" + own, "", 404, missing(own)},
		{"show: visible but not allowed", who("p1", "nothing"), "GET", "/networks/" + own, "", 404,
			`{"detail":"","message":"The resource could not be found.","type":"HTTPNotFound"}`},
		{"default values need no right", p1, "PUT", "/networks/" + own + "?fields=name", `{"network":{"name":"own"}}`, 200, `{"network":{"name":"own"}}`},
		{"but in updates they do", p1, "PUT", "/networks/" + own, `{"network":{"shared":false}}`, 403,
			forbidden + `(rule:update_network and rule:update_network:shared) is disallowed by policy", "detail": ""}}`},
		{"update: visible", p2, "PUT", "/networks/" + shared, `{"network":{"name":"x"}}`, 403, forbidden + `rule:update_network is disallowed by policy", "detail": ""}}`},
		{"update: not visible", p2, "PUT", "/networks/" + own, `{"network":{"name":"x"}}`, 404, missing(own)},
		{"delete: visible", p2, "DELETE", "/networks/" + shared, "", 403, forbidden + `rule:delete_network is disallowed by policy", "detail": ""}}`},
		{"create default", p1, "POST", "/networks?fields=shared", `{"network":{"shared":false}}`, 201, `{"network":{"shared":false}}`},
		{"create for others", p1, "POST", "/networks", `{"network":{"tenant_id":"p2"}}`, 400, badRequest +
			`Specifying 'project_id' other than the authenticated project in request is not allowed for the current user.", "detail": ""}}`},
		{"parent: foreign network", p2, "POST", "/ports", `{"port":{"network_id":"` + own + `","mac_address":"fa:16:3e:00:00:01"}}`, 404, missing(own)},
		{"parent: no network", p2, "POST", "/ports", `{"port":{"network_id":"8c0ebc4b-6d0c-4bcd-8ac4-4a3d7bb4a5a1"}}`, 404,
			missing("8c0ebc4b-6d0c-4bcd-8ac4-4a3d7bb4a5a1")},
		{"keys of lists", p2, "POST", "/ports", `{"port":{"network_id":"` + shared + `","fixed_ips":[{"ip_address":"10.0.0.1"}]}}`, 403,
			forbidden + `(rule:create_port and (rule:create_port:fixed_ips and (rule:create_port:fixed_ips:ip_address))) is disallowed by policy", "detail": ""}}`},
		{"profile is for services", admin, "POST", "/ports", `{"port":{"network_id":"` + own + `","binding:profile":{"a":1}}}`, 403,
			forbidden + `(rule:create_port and rule:create_port:binding:profile) is disallowed by policy", "detail": ""}}`},
		{"agents: list", p1, "GET", "/agents", "", 200, `{"agents":[]}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g.t = t
			g.want(g.send(tc.who, tc.method, "/v2.0"+tc.path, tc.body), tc.status, tc.want)
		})
	}
}

// port writes a port without the plug-in.
func (g *rig) port(network, project string, n int) {
	g.t.Helper()
	err := g.db.Write(context.Background(), func(tx *store.Tx) error {
		std, err := tx.Insert("INSERT INTO standardattributes (resource_type, revision_number) VALUES ('ports', 1)")
		if err != nil {
			return err
		}
		_, err = tx.Exec("INSERT INTO ports (id, project_id, network_id, mac_address, admin_state_up, status, device_id, device_owner, "+
			"standard_attr_id) VALUES (?, ?, ?, ?, true, 'DOWN', '', '', ?)", fmt.Sprintf("00000000-0000-0000-0000-%012d", n), project, network,
			fmt.Sprintf("fa:16:3e:00:%02x:%02x", n>>8, n&255), std)
		return err
	})
	if err != nil {
		g.t.Fatal(err)
	}
}

func TestOwnersOfNetworksSeeForeignPorts(t *testing.T) {
	g := newRig(t, Config{})
	p1 := who("p1", "member", "reader")
	mine, other := g.make(p1, "networks", `{"network":{"name":"n"}}`), g.make(admin, "networks", `{"network":{"shared":true}}`)
	g.port(mine, "p2", 1)
	g.port(other, "p1", 2)
	g.port(other, "p2", 3)
	g.want(g.send(p1, "GET", "/v2.0/ports?fields=id&sort_key=id&sort_dir=asc", ""), 200,
		`{"ports":[{"id":"00000000-0000-0000-0000-000000000001"},{"id":"00000000-0000-0000-0000-000000000002"}]}`)
}

// TestListsTakeFewStatements: the number of statements must not depend on the number of objects, for members neither,
// whose rules look at the networks of ports.
func TestListsTakeFewStatements(t *testing.T) {
	for _, h := range []http.Header{admin, who("p1", "member", "reader")} {
		g := newRig(t, Config{})
		count := func() int64 {
			before := g.db.Statements()
			if w := g.send(h, "GET", "/v2.0/ports", ""); w.Code != 200 {
				t.Fatal(w.Code, w.Body, g.log.String())
			}
			return g.db.Statements() - before
		}
		n := 0
		add := func() {
			network := g.make(who("p1", "member"), "networks", `{"network":{}}`)
			g.port(network, "p2", n)
			g.port(network, "p1", n+1)
			n += 2
		}
		add()
		few := count()
		for range 20 {
			add()
		}
		if many := count(); many != few {
			t.Errorf("%s: %d statements for 2 ports, %d for 42", h.Get("X-Roles"), few, many)
		}
	}
}

func TestNoAuth(t *testing.T) {
	for _, tc := range []struct {
		name    string
		header  http.Header
		project string
		roles   string
	}{
		{"nothing", nil, "fake_project_id", "admin manager member reader"},
		{"roles only", http.Header{"X-Roles": {"reader"}}, "fake_project_id", "reader admin manager member"},
		{"project", http.Header{"X-Project-Id": {"p"}}, "p", "admin manager member reader"},
		{"old name", http.Header{"X-Tenant-Id": {"p"}}, "p", "admin manager member reader"},
		{"project and roles", http.Header{"X-Project-Id": {"p"}, "X-Roles": {"member, service"}}, "p", "member service reader"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := NoAuth{}.Authenticate(&http.Request{Header: tc.header})
			if err != nil || c.ProjectID != tc.project || strings.Join(c.Roles, " ") != tc.roles {
				t.Errorf("%+v, %v", c, err)
			}
		})
	}
}
