package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"neutrino/internal/logging"
	"neutrino/internal/model"
	"neutrino/internal/policy"
	"neutrino/internal/resource"
	"neutrino/internal/store"
	"neutrino/internal/store/dbtest"
)

// rig is an API over a real schema whose resources do nothing but store.
type rig struct {
	t        testing.TB
	db       *store.DB
	log      bytes.Buffer
	server   *Server
	handler  http.Handler
	networks *Collection[model.Network]
	routers  *Collection[model.Router]
}

func newRig(t testing.TB, cfg Config, change ...func(*rig, *Deps)) *rig {
	t.Helper()
	g := &rig{t: t}
	log := logging.New(&g.log, logging.Config{})
	db := dbtest.Open(t)
	rules, err := policy.Load(policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	deps := Deps{DB: db, Log: log, Auth: NoAuth{}, Rules: func() *policy.Rules { return rules }, Extensions: AllExtensions()}
	for _, f := range change {
		f(g, &deps)
	}
	cat := model.NewCatalog(deps.Extensions.Enabled)
	g.db, g.server = db, New(cfg, deps)
	g.networks = Mount(g.server, cat.Networks, resource.Logic[model.Network]{Create: func(c *resource.Change[model.Network]) error {
		c.New.Status, c.New.MTU = "ACTIVE", 1450
		if err := c.Resource.Insert(c.Tx, c.New); err != nil || !c.New.Shared {
			return err
		}
		_, err := c.Tx.Exec("INSERT INTO networkrbacs (id, project_id, object_id, target_project, action) VALUES (?, ?, ?, '*', 'access_as_shared')",
			c.New.ID[:30], c.New.ProjectID, c.New.ID)
		return err
	}})
	Mount(g.server, cat.Subnets, resource.Logic[model.Subnet]{})
	Mount(g.server, cat.Ports, resource.Logic[model.Port]{})
	Mount(g.server, cat.SecurityGroups, resource.Logic[model.SecurityGroup]{})
	Mount(g.server, cat.SecurityGroupRules, resource.Logic[model.SecurityGroupRule]{})
	g.routers = Mount(g.server, cat.Routers, resource.Logic[model.Router]{Create: func(c *resource.Change[model.Router]) error {
		c.New.Status = "ACTIVE"
		return c.Resource.Insert(c.Tx, c.New)
	}})
	Mount(g.server, cat.FloatingIPs, resource.Logic[model.FloatingIP]{})
	Mount(g.server, cat.Agents, resource.Logic[model.Agent]{}, http.MethodGet, http.MethodPut, http.MethodDelete)
	return g
}

// who gives the headers of a caller.
func who(project string, roles ...string) http.Header {
	return http.Header{"X-User-Id": {"u-" + project}, "X-Project-Id": {project}, "X-Roles": {strings.Join(roles, ",")}}
}

var admin = who("admin", "admin")

// send sends a request.
func (g *rig) send(h http.Header, method, path, body string) *httptest.ResponseRecorder {
	if g.handler == nil {
		g.handler = g.server.Handler()
	}
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Host = "neutron.example:9696"
	for k, v := range h {
		r.Header[k] = v
	}
	w := httptest.NewRecorder()
	g.handler.ServeHTTP(w, r)
	return w
}

// want checks status and body of an answer; "*" in the wanted body stands for anything without quotes.
func (g *rig) want(w *httptest.ResponseRecorder, status int, body string) {
	g.t.Helper()
	if w.Code != status || !matches(body, w.Body.String()) {
		g.t.Errorf("answer %d %s\n  want %d %s", w.Code, w.Body, status, body)
	}
}

func matches(pattern, s string) bool {
	for i, part := range strings.Split(pattern, "*") {
		at := strings.Index(s, part)
		if at < 0 || i == 0 && at > 0 || strings.Contains(s[:at], `"`) {
			return false
		}
		s = s[at+len(part):]
	}
	return s == ""
}

// make creates an object and gives its id.
func (g *rig) make(h http.Header, collection, body string) string {
	g.t.Helper()
	w := g.send(h, "POST", "/v2.0/"+collection, body)
	if w.Code != http.StatusCreated {
		g.t.Fatalf("create %s: %d %s", body, w.Code, w.Body)
	}
	var answer map[string]struct{ ID string }
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		g.t.Fatal(err)
	}
	for _, o := range answer {
		return o.ID
	}
	return ""
}
