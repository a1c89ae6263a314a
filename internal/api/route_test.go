package api

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"neutrino/internal/fault"
	"neutrino/internal/identity"
	"neutrino/internal/store"

	"go.uber.org/goleak"
)

func TestTags(t *testing.T) {
	g := newRig(t, Config{})
	p1 := who("p1", "member", "reader")
	id := g.make(p1, "networks", `{"network":{"name":"n"}}`)
	path := "/v2.0/networks/" + id
	many := func(n int) string {
		var tags []string
		for i := range n {
			tags = append(tags, `"t`+strings.Repeat("x", i)+`"`)
		}
		return `{"tags":[` + strings.Join(tags, ",") + `]}`
	}
	const invalid = `{"NeutronError": {"type": "InvalidInput", "message": "Invalid input for operation: `
	const noTags = `{"NeutronError": {"type": "InvalidInput", "message": "Invalid input for operation: Invalid tags body.", "detail": ""}}`
	for _, tc := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/tags", "", 200, `{"tags":[]}`},
		{"PUT", "/tags", `{"tags":["b","a"]}`, 200, `{"tags":["b","a"]}`},
		{"POST", "/tags", `{"tags":["c","a"]}`, 200, `{"tags":["c","a"]}`},
		{"GET", "/tags", "", 200, `{"tags":["a","b","c"]}`},
		{"GET", "?fields=tags&fields=revision_number", "", 200, `{"network":{"revision_number":3,"tags":["a","b","c"]}}`},
		{"PUT", "/tags/d%20e", "", 201, `null`},
		{"PUT", "/tags/d%20e", "", 201, `null`},
		{"GET", "/tags/d%20e", "", 204, ``},
		{"POST", "/tags/d%20e", "", 204, ``},
		{"PATCH", "/tags/d%20e", "", 204, ``},
		{"PATCH", "/tags", "", 200, `{"tags":["a","b","c","d e"]}`},
		// Upstream's first framework does not read bodies of tags.
		{"POST", "/tags/d%20e", "{", 204, ``},
		{"PUT", "/tags/d%20e/", "{", 201, `null`},
		{"POST", "/tags/", "{", 400, noTags},
		{"PUT", "/tags/", `{"tags":["x"]}`, 400, noTags},
		{"DELETE", "/tags/x/", "{", 404, `{"NeutronError": {"type": "TagNotFound", "message": "Tag x could not be found.", "detail": ""}}`},
		{"GET", "/tags/zz", "", 404, `{"NeutronError": {"type": "TagNotFound", "message": "Tag zz could not be found.", "detail": ""}}`},
		{"DELETE", "/tags/zz", "", 404, `{"NeutronError": {"type": "TagNotFound", "message": "Tag zz could not be found.", "detail": ""}}`},
		{"DELETE", "/tags/a", "", 204, ``},
		{"GET", "/tags", "", 200, `{"tags":["b","c","d e"]}`},
		{"DELETE", "/tags", "", 204, ``},
		{"GET", "/tags", "", 200, `{"tags":[]}`},
		{"PUT", "/tags", `{}`, 400, invalid + `Invalid tags body.", "detail": ""}}`},
		{"PUT", "/tags", ``, 400, invalid + `Invalid tags body.", "detail": ""}}`},
		{"PUT", "/tags", `{"tags":"x"}`, 400, invalid + `'x' is not a list.", "detail": ""}}`},
		{"PUT", "/tags", `{"tags":["x","y","x"]}`, 400, invalid + `Duplicate items in the list: 'x'.", "detail": ""}}`},
		{"PUT", "/tags", `{"tags":[5]}`, 400, invalid + `'5' is not a valid string.", "detail": ""}}`},
		{"PUT", "/tags/" + strings.Repeat("x", 256), ``, 400, invalid + `'` + strings.Repeat("x", 256) + `' exceeds maximum length of 255.", "detail": ""}}`},
		{"PUT", "/tags", many(51), 400, `{"NeutronError": {"type": "BadRequest", "message": "Bad networks request: The number of tags exceed the per-resource limit of 50.", "detail": ""}}`},
		{"POST", "/tags", many(50), 200, strings.ReplaceAll(many(50), ", ", ",")},
	} {
		t.Run(tc.method+" "+tc.path[:min(20, len(tc.path))], func(t *testing.T) {
			g.t = t
			g.want(g.send(p1, tc.method, path+tc.path, tc.body), tc.status, tc.want)
		})
	}
	g.want(g.send(who("p2", "member"), "PUT", path+"/tags", `{"tags":[]}`), 403, forbidden+`rule:update_network:tags is disallowed by policy", "detail": ""}}`)
	g.want(g.send(p1, "GET", "/v2.0/networks/nope/tags", ``), 404, `{"NeutronError": {"type": "NetworkNotFound", "message": "Network nope could not be found.", "detail": ""}}`)
	g.want(g.send(p1, "GET", "/v2.0/networks?fields=name&tags=t,tx", ``), 200, `{"networks":[{"name":"n"}]}`)
}

func TestActionsAndEndpoints(t *testing.T) {
	g := newRig(t, Config{})
	g.routers.Action("add_extraroutes", func(_ context.Context, tx *store.Tx, _ *identity.Caller, id string, body map[string]any) (any, error) {
		_, err := tx.Exec("UPDATE routers SET name = ? WHERE id = ?", body["name"], id)
		return nil, err
	})
	g.routers.Action("add_router_interface", func(_ context.Context, _ *store.Tx, _ *identity.Caller, id string, body map[string]any) (any, error) {
		return map[string]any{"id": id, "subnet_id": body["subnet_id"]}, nil
	})
	g.server.Handle("GET", "/agents/{id}/dhcp-networks", Endpoint{Rule: "get_dhcp-networks",
		Do: func(_ context.Context, tx *store.Tx, c *Call) (any, error) {
			ids, err := store.Strings(tx.Query("SELECT id FROM networks ORDER BY name DESC"))
			if err != nil {
				return nil, err
			}
			return g.networks.Objects(tx, c, ids)
		}})
	g.server.Handle("POST", "/agents/{id}/dhcp-networks", Endpoint{Rule: "create_dhcp-network", Write: true, Status: 201,
		Do: func(_ context.Context, tx *store.Tx, c *Call) (any, error) {
			_, err := tx.Exec("UPDATE networks SET name = ?", c.Body["network_id"])
			return nil, err
		}})
	g.server.Handle("DELETE", "/agents/{id}/dhcp-networks/{network}", Endpoint{Write: true,
		Do: func(_ context.Context, _ *store.Tx, c *Call) (any, error) {
			if err := c.Enforce("get_quota", map[string]string{"project_id": c.Path("network")}); err != nil {
				return nil, err
			}
			return nil, nil
		}})
	g.make(admin, "networks", `{"network":{"name":"a"}}`)
	g.make(admin, "networks", `{"network":{"name":"b"}}`)
	p1, p2 := who("p1", "member", "reader"), who("p2", "member", "reader")
	router := "/v2.0/routers/" + g.make(p1, "routers", `{"router":{"name":"r"}}`)
	for _, tc := range []struct {
		name               string
		who                http.Header
		method, path, body string
		status             int
		want               string
	}{
		{"object as it is now", p1, "PUT", router + "/add_extraroutes?fields=name", `{"name":"new"}`, 200, `*`}, // whole: upstream does not look at fields here
		{"which was changed", p1, "GET", router + "?fields=name", ``, 200, `{"router":{"name":"new"}}`},
		{"result", p1, "PUT", router + "/add_router_interface", `{"subnet_id":"s"}`, 200, `{"id":"*","subnet_id":"s"}`},
		{"foreign", p2, "PUT", router + "/add_router_interface", `{}`, 404, `{"NeutronError": {"type": "RouterNotFound", "message": "Router * could not be found", "detail": ""}}`},
		{"not allowed", who("p1", "reader"), "PUT", router + "/add_router_interface", `{}`, 403, forbidden + `(((rule:add_router_interface and rule:add_router_interface:ha) and rule:add_router_interface:flavor_id) and rule:add_router_interface:distributed) is disallowed by policy", "detail": ""}}`},
		{"only PUT", p1, "GET", router + "/add_router_interface", ``, 405, `*`},
		{"objects", admin, "GET", "/v2.0/agents/x/dhcp-networks?fields=name", "", 200, `{"networks":[{"name":"b"},{"name":"a"}]}`},
		{"objects not allowed", p1, "GET", "/v2.0/agents/x/dhcp-networks", "", 403, forbidden + `rule:get_dhcp-networks is disallowed by policy", "detail": ""}}`},
		{"write", admin, "POST", "/v2.0/agents/x/dhcp-networks", `{"network_id":"n"}`, 201, `null`},
		{"own rule", admin, "DELETE", "/v2.0/agents/x/dhcp-networks/y", "", 204, ``},
		{"own rule refuses", p1, "DELETE", "/v2.0/agents/x/dhcp-networks/y", "", 403, forbidden + `rule:get_quota is disallowed by policy", "detail": ""}}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g.t = t
			w := g.send(tc.who, tc.method, tc.path, tc.body)
			if tc.want == "*" {
				tc.want = w.Body.String()
			}
			g.want(w, tc.status, tc.want)
		})
	}
}

func TestJSONInCapitals(t *testing.T) {
	for under, want := range map[string]bool{"networks": true, "networks/x": true, "agents": true, "agents/x": false,
		"metering/metering-labels": true, "metering/metering-labels/x": false} {
		if got := ignoresCase(under); got != want {
			t.Errorf("%s: %v", under, got)
		}
	}
}

type quotaOf func(resource, project string, n int) error

func (q quotaOf) Check(_ *store.Tx, _ *identity.Caller, resource, project string, n int) error {
	return q(resource, project, n)
}

func (quotaOf) Known(resource string) bool { return resource == "network" }

func TestQuotaCountsPerProject(t *testing.T) {
	var asked []string
	g := newRig(t, Config{}, func(_ *rig, d *Deps) {
		d.Quota = quotaOf(func(resource, project string, n int) error {
			asked = append(asked, resource+" "+project+strings.Repeat("+", n))
			if project == "full" {
				return fault.Conflict("OverQuota", "Quota exceeded for resources: ['%s'].", resource)
			}
			return nil
		})
	})
	w := g.send(admin, "POST", "/v2.0/networks?fields=name", `{"networks":[{"tenant_id":"b","name":"1"},{"tenant_id":"a","name":"2"},{"tenant_id":"b","name":"3"}]}`)
	g.want(w, 201, `{"networks":[{"name":"1"},{"name":"2"},{"name":"3"}]}`)
	if got := strings.Join(asked, ", "); got != "network a+, network b++" {
		t.Errorf("asked for %s", got)
	}
	g.want(g.send(admin, "POST", "/v2.0/networks", `{"networks":[{"tenant_id":"a"},{"tenant_id":"full"}]}`), 409,
		`{"NeutronError": {"type": "OverQuota", "message": "Quota exceeded for resources: ['network'].", "detail": ""}}`)
}

func TestFailures(t *testing.T) {
	g := newRig(t, Config{})
	for name, do := range map[string]func() error{
		"panic":       func() error { panic("secret") },
		"internal":    func() error { return errors.New("secret") },
		"raced":       func() error { return store.Retry(errors.New("secret")) },
		"missing":     func() error { return fault.New(501, "NotImplementedError", "no") },
		"unsupported": func() error { return fault.New(501, "HTTPNotImplemented", "no") },
		"unavailable": func() error { return &net.OpError{Op: "dial", Err: errors.New("secret")} },
	} {
		g.server.Handle("GET", "/fail/"+name, Endpoint{Do: func(context.Context, *store.Tx, *Call) (any, error) { return nil, do() }})
	}
	const internal = `{"NeutronError": {"type": "HTTPInternalServerError", "message": "Request Failed: internal server error while processing your request.", "detail": ""}}`
	const unavailable = `{"NeutronError": {"type": "ServiceUnavailable", "message": "The service is unavailable.", "detail": ""}}`
	for _, tc := range []struct {
		name   string
		status int
		want   string
	}{
		{"panic", 500, internal}, {"internal", 500, internal}, {"raced", 503, unavailable}, {"unavailable", 503, unavailable},
		{"missing", 501, `{"NotImplementedError": {"type": "NotImplementedError", "message": "no", "detail": ""}}`},
		{"unsupported", 501, `{"NeutronError": {"type": "HTTPNotImplemented", "message": "no", "detail": ""}}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g.t = t
			g.log.Reset()
			w := g.send(admin, "GET", "/v2.0/fail/"+tc.name, "")
			g.want(w, tc.status, tc.want)
			id := w.Header().Get("X-Openstack-Request-Id")
			log := g.log.String()
			if tc.status != 501 && (!strings.Contains(log, "secret") || strings.Count(log, id) < 2) {
				t.Errorf("request %s: cause is not logged: %s", id, log)
			}
		})
	}
	if w := g.send(admin, "GET", "/v2.0/networks", ""); w.Code != 200 {
		t.Errorf("after a panic: %d %s", w.Code, w.Body)
	}
}

func TestTimeout(t *testing.T) {
	g := newRig(t, Config{Timeout: time.Nanosecond})
	g.want(g.send(admin, "GET", "/v2.0/networks", ""), 503, `{"NeutronError": {"type": "ServiceUnavailable", "message": "The service is unavailable.", "detail": ""}}`)
}

func TestRequestIDs(t *testing.T) {
	g := newRig(t, Config{})
	var seen identity.Caller
	g.server.Handle("GET", "/me", Endpoint{Do: func(ctx context.Context, _ *store.Tx, c *Call) (any, error) {
		seen = *identity.From(ctx)
		return nil, nil
	}})
	form := regexp.MustCompile(`^req-[0-9a-f-]{36}$`)
	const global = "req-01234567-89ab-cdef-0123-456789abcdef"
	for given, want := range map[string]string{"": "", global: global, "req-1": "", global + "\nx": "", "x" + global: ""} {
		w := g.send(http.Header{"X-Openstack-Request-Id": {given}}, "GET", "/v2.0/me", "")
		id := w.Header().Get("X-Openstack-Request-Id")
		if !form.MatchString(id) || id == given || seen.RequestID != id || seen.GlobalRequestID != want {
			t.Errorf("given %q: answered %q, caller has %q and %q", given, id, seen.RequestID, seen.GlobalRequestID)
		}
	}
}

func TestExtensions(t *testing.T) {
	g := newRig(t, Config{}, func(_ *rig, d *Deps) { d.Extensions = d.Extensions.Without("port-security") })
	w := g.send(admin, "GET", "/v2.0/extensions", "")
	const provider = `{"name":"Provider Network","alias":"provider","description":"Expose mapping of virtual networks to physical networks","updated":"2012-09-07T10:00:00-00:00","links":[]}`
	if w.Code != 200 || !strings.Contains(w.Body.String(), provider) || strings.Contains(w.Body.String(), `"port-security"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	g.want(g.send(admin, "GET", "/v2.0/extensions/provider", ""), 200, `{"extension":`+provider+`}`)
	g.want(g.send(admin, "POST", "/v2.0/networks", `{"network":{"port_security_enabled":true}}`), 400, badRequest+`Unrecognized attribute(s) 'port_security_enabled'", "detail": ""}}`)
	seen := map[string]bool{}
	for _, e := range AllExtensions() {
		if seen[e.Alias] || e.Name == "" || e.Updated == "" {
			t.Errorf("%+v", e)
		}
		seen[e.Alias] = true
	}
}

func TestHealthAndMetrics(t *testing.T) {
	g := newRig(t, Config{Metrics: true})
	g.want(g.send(nil, "GET", "/healthcheck", ""), 200, "OK")
	g.send(admin, "GET", "/v2.0/networks/abc", "")
	w := g.send(nil, "GET", "/metrics", "")
	for _, want := range []string{`neutrino_api_requests_total{method="GET",route="/v2.0/networks/{id}",status="404"} 1`, "neutrino_db_statements_total", "go_goroutines"} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %s in %s", want, w.Body)
		}
	}
	g.db.Close()
	g.want(g.send(nil, "GET", "/healthcheck", ""), 503, "database out of reach")
}

func TestCheckListen(t *testing.T) {
	for _, tc := range []struct {
		addr, strategy string
		force, ok      bool
	}{
		{DefaultListen, "noauth", false, true}, {"[::1]:9696", "noauth", false, true}, {"localhost:9696", "noauth", false, true},
		{"0.0.0.0:9696", "noauth", false, false}, {":9696", "noauth", false, false}, {"10.0.0.1:9696", "noauth", false, false},
		{"0.0.0.0:9696", "noauth", true, true}, {"0.0.0.0:9696", "keystone", false, true}, {"9696", "keystone", false, false},
	} {
		if err := CheckListen(tc.addr, tc.strategy, tc.force); (err == nil) != tc.ok {
			t.Errorf("%+v: %v", tc, err)
		}
	}
}

func TestServe(t *testing.T) {
	g := newRig(t, Config{})
	leaks := goleak.IgnoreCurrent()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- g.server.Serve(ctx, l) }()
	client := &http.Client{Transport: &http.Transport{}}
	u := url.URL{Scheme: "http", Host: l.Addr().String(), Path: "/v2.0/networks"}
	resp, err := client.Get(u.String())
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if string(body) != `{"networks":[]}` || err != nil {
		t.Errorf("%s, %v", body, err)
	}
	client.CloseIdleConnections()
	stop()
	if err := <-done; err != nil {
		t.Errorf("Serve: %v", err)
	}
	goleak.VerifyNone(t, leaks)
}
