package api

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"neutrino/internal/fault"
)

const badRequest = `{"NeutronError": {"type": "HTTPBadRequest", "message": "`

func TestRequestsThatMakeNoSense(t *testing.T) {
	g := newRig(t, Config{MaxBody: 1000})
	id := g.make(admin, "networks", `{"network":{}}`)
	group := g.make(admin, "security-groups", `{"security_group":{"name":"g"}}`)
	const (
		method        = `{"NeutronError": {"type": "HTTPMethodNotAllowed", "message": "` + malformed + `", "detail": ""}}`
		malformedBody = `{"NeutronError": {"type": "HTTPBadRequest", "message": "` + malformed + `", "detail": ""}}`
		none          = `{"NeutronError": {"type": "NetworkNotFound", "message": "Network None could not be found.", "detail": ""}}`
		notFound      = `{"NeutronError": {"type": "HTTPNotFound", "message": "The resource could not be found.", "detail": ""}}`
	)
	for _, tc := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/v2.0/nothing", "", 404, notFound},
		{"GET", "/nothing", "", 404, "404 Not Found\n\nThe resource could not be found.\n\n   "},
		{"PUT", "/", "", 405, "405 Method Not Allowed\n\nThe method PUT is not allowed for this resource. \n\n "},
		{"OPTIONS", "/v2.0/networks?fields=id&name=nope", "", 200, `{"networks":[]}`},
		{"GET", "/v2.0/security_groups?fields=id&name=nope", "", 200, `{"security_groups":[]}`},
		{"GET", "/v2.0//networks/./?fields=id&name=nope", "", 200, `{"networks":[]}`},
		{"GET", "/v2.0/networks/%ff", "", 400, malformedBody},
		{"GET", "/v2.0/networks?name=%ff", "", 400, "400 Bad Request\n\nThe server could not comply with the request since it is either malformed or otherwise incorrect.\n\n   "},
		{"GET", "/v2.0/networks?name=%zz;fields=id", "", 200, `{"networks":[]}`},
		{"GET", "/v2.0/networks/a%2fb", "", 404, notFound},
		{"GET", "/v2.0/networks/.json", "", 404, `{"NeutronError": {"type": "NetworkNotFound", "message": "Network .json could not be found.", "detail": ""}}`},
		{"GET", "/v2.0/networks/%2e%2e/ports", "", 404, notFound},
		{"GET", "/v2.0.json", "", 404, "404 Not Found\n\nThe resource could not be found.\n\n   "},
		{"POST", "/v2.0/routers", `{"routers":[{}]}`, 400, badRequest + `Bulk operation not supported", "detail": ""}}`},
		{"POST", "/v2.0/routers", `[]`, 400, badRequest + `Resource body required", "detail": ""}}`},
		{"PUT", "/v2.0/routers/x", ``, 400, `{"NeutronError": {"type": "BadRequest", "message": "Bad body request: Invalid format: b''.", "detail": ""}}`},
		{"PUT", "/v2.0/routers/x", `"ü'"`, 400, `{"NeutronError": {"type": "BadRequest", "message": "Bad body request: Invalid format: b'\"\\xc3\\xbc\\'\"'.", "detail": ""}}`},
		{"PUT", "/v2.0/routers/x", `[1]`, 400, badRequest + `Body contains invalid data", "detail": ""}}`},
		{"DELETE", "/v2.0/routers/x", `x`, 400, `{"NeutronError": {"type": "MalformedRequestBody", "message": "Malformed request body: Cannot understand JSON.", "detail": ""}}`},
		{"POST", "/v2.0/networks", `{"networks":["x"]}`, 400, badRequest + `Object 'network' contains invalid data", "detail": ""}}`},
		{"POST", "/v2.0/networks", `{"networks":[1]}`, 400, badRequest + `Body contains invalid data", "detail": ""}}`},
		{"POST", "/v2.0/networks", `{"networks":"x"}`, 400, badRequest + `Object 'network' contains invalid data", "detail": ""}}`},
		{"POST", "/v2.0/security_groups", "{", 400, badRequest + `Body contains invalid data", "detail": ""}}`},
		{"GET", "/v2.0/networks/" + id + "?zzz=1", "", 400, badRequest + `['zzz'] is invalid attribute for filtering", "detail": ""}}`},
		{"GET", "/v2.0", "", 404, notFound},
		{"GET", "/v2.0/networks/" + id + "/nothing", "", 404, notFound},
		{"PATCH", "/v2.0/networks", "{}", 405, method},
		{"HEAD", "/v2.0/networks", "", 405, method},
		{"PUT", "/v2.0/networks", "{}", 404, none},
		{"DELETE", "/v2.0/networks", "", 404, none},
		{"POST", "/v2.0/networks/" + id, "{}", 405, method},
		{"POST", "/v2.0/agents", "{}", 405, method},
		{"POST", "/v2.0/extensions", "{}", 404, "404 Not Found\n\nThe resource could not be found.\n\n Resource not found.  "},
		{"PATCH", "/v2.0/extensions", "{}", 404, notFound},
		{"GET", "/v2.0/extensions/xyz", "", 404, "404 Not Found\n\nThe resource could not be found.\n\n Extension with alias xyz does not exist  "},
		{"POST", "/v2.0/networks", "", 400, badRequest + `Unable to find 'network' in request body", "detail": ""}}`},
		{"POST", "/v2.0/networks", "{}", 400, badRequest + `Unable to find 'network' in request body", "detail": ""}}`},
		{"POST", "/v2.0/security-groups", "", 400, badRequest + `Resource body required", "detail": ""}}`},
		{"POST", "/v2.0/networks", "{", 400, badRequest + `Body contains invalid data", "detail": ""}}`},
		{"POST", "/v2.0/networks", "[]", 400, badRequest + `Body contains invalid data", "detail": ""}}`},
		{"POST", "/v2.0/networks", `{"network":{}} x`, 400, badRequest + `Body contains invalid data", "detail": ""}}`},
		{"POST", "/v2.0/networks", "{\"network\":{\"name\":\"\xff\"}}", 400, malformedBody},
		{"POST", "/v2.0/networks", `{"network":{"name":"\ud83d"}}`, 400, badRequest + `Invalid input for name. Reason: '\ud83d' is not a valid string.", "detail": ""}}`},
		{"POST", "/v2.0/networks", `{"network":{"name":"\ud83d\u0020"}}`, 400, badRequest + `Invalid input for name. Reason: '\ud83d ' is not a valid string.", "detail": ""}}`},
		{"POST", "/v2.0/networks", `{"network":{"description":"\udc00"}}`, 400, badRequest + `Body contains invalid data", "detail": ""}}`},
		{"POST", "/v2.0/networks", `{"network":{"\ud83d\ude00\ud83d":1}}`, 400, badRequest + `Unrecognized attribute(s) '😀\ud83d'", "detail": ""}}`},
		{"POST", "/v2.0/networks", `{"network":{"name":[NaN,-Infinity,{"a":Infinity}]}}`, 400, badRequest + `Invalid input for name. Reason: '[nan, -inf, {'a': inf}]' is not a valid string.", "detail": ""}}`},
		{"POST", "/v2.0/networks", `{"network":{"name":1e2}}`, 400, badRequest + `Invalid input for name. Reason: '100.0' is not a valid string.", "detail": ""}}`},
		{"POST", "/v2.0/security-groups", "{", 400, `{"NeutronError": {"type": "MalformedRequestBody", "message": "Malformed request body: Cannot understand JSON.", "detail": ""}}`},
		{"POST", "/v2.0/networks", `{"network":"x"}`, 400, badRequest + `Object 'network' contains invalid data", "detail": ""}}`},
		{"POST", "/v2.0/networks", `{"networks":[]}`, 400, badRequest + `Resources required", "detail": ""}}`},
		{"PUT", "/v2.0/networks/" + id, `{"networks":[{}]}`, 400, badRequest + `Bulk operation not supported", "detail": ""}}`},
		{"PUT", "/v2.0/networks/" + id, `{"network":{"id":"x"}}`, 400, badRequest + `Cannot update read-only attribute id", "detail": ""}}`},
		{"PUT", "/v2.0/networks/nope", `{"network":{"id":"x"}}`, 400, badRequest + `Cannot update read-only attribute id", "detail": ""}}`},
		{"PUT", "/v2.0/networks/nope", `{"network":{"name":"x"}}`, 404, `{"NeutronError": {"type": "NetworkNotFound", "message": "Network nope could not be found.", "detail": ""}}`},
		{"POST", "/v2.0/networks", `{"network":{"vlan_qinq":null}}`, 400, badRequest + `Unrecognized attribute(s) 'vlan_qinq'", "detail": ""}}`},
		{"POST", "/v2.0/networks", `{"network":{"name":"` + strings.Repeat("x", 1000) + `"}}`, 413, `{"NeutronError": {"type": "HTTPRequestEntityTooLarge", "message": "Request is too large. Larger than 1000.", "detail": ""}}`},
		{"DELETE", "/v2.0/networks/nope", `{}`, 404, `{"NeutronError": {"type": "NetworkNotFound", "message": "Network nope could not be found.", "detail": ""}}`},
		{"OPTIONS", "/v2.0/networks/nope", "", 200, ""},
		{"DELETE", "/v2.0/networks/" + id, `{}`, 400, badRequest + `Request body is not supported in DELETE.", "detail": ""}}`},
		{"GET", "/v2.0/networks?revision_number=x", "", 200, `{"networks":[]}`},
		{"GET", "/v2.0/networks?limit=x&sort_key=x&sort_dir=x", "", 400,
			`{"NeutronError": {"type": "BadRequest", "message": "Bad limit request: Limit must be an integer 0 or greater and not 'x'.", "detail": ""}}`},
		{"GET", "/v2.0/networks?zzz=1&aaa=", "", 400, badRequest + `['zzz', 'aaa'] is invalid attribute for filtering", "detail": ""}}`},
		{"GET", "/v2.0/networks?sort_key=name", "", 400, badRequest + `The number of sort_keys and sort_dirs must be same", "detail": ""}}`},
		{"GET", "/v2.0/networks?limit=-1", "", 400, `{"NeutronError": {"type": "BadRequest", "message": "Bad limit request: Limit must be an integer 0 or greater and not '-1'.", "detail": ""}}`},
		{"GET", "/v2.0/networks?limit=1&marker=nope", "", 404, `{"NeutronError": {"type": "NetworkNotFound", "message": "Network nope could not be found.", "detail": ""}}`},
		{"PUT", "/v2.0/security-groups/" + group + "/tags", "[]", 400, `{"NeutronError": {"type": "InvalidInput", "message": "Invalid input for operation: Invalid tags body.", "detail": ""}}`},
	} {
		t.Run(tc.method+" "+tc.path+" "+tc.body[:min(20, len(tc.body))], func(t *testing.T) {
			g.t = t
			w := g.send(admin, tc.method, tc.path, tc.body)
			g.want(w, tc.status, tc.want)
		})
	}
}

func TestLife(t *testing.T) {
	g := newRig(t, Config{})
	w := g.send(admin, "POST", "/v2.0/networks.json", `{"network":{"name":"n","tenant_id":"p1"}}`)
	g.want(w, 201, `{"network":{"id":"*","tenant_id":"p1","project_id":"p1","name":"n","description":"","created_at":"*","updated_at":"*",`+
		`"revision_number":1,"tags":[],"admin_state_up":true,"status":"ACTIVE","shared":false,"subnets":[],"mtu":1450,"router:external":false,`+
		`"port_security_enabled":true,"provider:network_type":null,"provider:physical_network":null,"provider:segmentation_id":null,`+
		`"l2_adjacency":true,"ipv4_address_scope":null,"ipv6_address_scope":null,"availability_zone_hints":[],"availability_zones":[],"qos_policy_id":null,"dns_domain":""}}`)
	id := g.make(admin, "networks", `{"network":{"name":"m"}}`)
	path := "/v2.0/networks/" + id
	g.want(g.send(admin, "GET", path+"?fields=name&fields=mtu&fields=nonsense", ""), 200, `{"network":{"name":"m","mtu":1450}}`)
	g.want(g.send(admin, "PUT", path+"?fields=name&fields=revision_number", `{"network":{"name":"o","port_security_enabled":false}}`), 200,
		`{"network":{"name":"o","revision_number":2}}`)
	g.want(g.send(admin, "GET", "/v2.0/networks/?fields=name&sort_key=name&sort_dir=desc", ""), 200, `{"networks":[{"name":"o"},{"name":"n"}]}`)
	g.want(g.send(admin, "GET", "/v2.0/networks?fields=id&name=nobody", ""), 200, `{"networks":[]}`)
	g.want(g.send(admin, "DELETE", path, ""), 204, ``)
	g.want(g.send(admin, "GET", path, ""), 404, `{"NeutronError": {"type": "NetworkNotFound", "message": "Network `+id+` could not be found.", "detail": ""}}`)
	g.want(g.send(admin, "DELETE", path, ""), 404, `{"NeutronError": {"type": "NetworkNotFound", "message": "Network `+id+` could not be found.", "detail": ""}}`)
}

func TestBulkIsAllOrNothing(t *testing.T) {
	g := newRig(t, Config{})
	g.want(g.send(admin, "POST", "/v2.0/networks?fields=name", `{"networks":[{"name":"c"},{"name":"a"},{"network":{"name":"b"}}]}`), 201,
		`{"networks":[{"name":"c"},{"name":"a"},{"name":"b"}]}`)
	g.want(g.send(admin, "POST", "/v2.0/networks", `{"networks":[{"name":"d"},{"name":7}]}`), 400,
		badRequest+`Invalid input for name. Reason: '7' is not a valid string.", "detail": ""}}`)
	g.want(g.send(who("p1", "member"), "POST", "/v2.0/networks", `{"networks":[{"name":"d"},{"name":"e","shared":true}]}`), 403, `{"NeutronError": {"type": `+
		`"PolicyNotAuthorized", "message": "(rule:create_network and rule:create_network:shared) is disallowed by policy", "detail": ""}}`)
	g.want(g.send(admin, "GET", "/v2.0/networks?fields=name&sort_key=name&sort_dir=asc", ""), 200, `{"networks":[{"name":"a"},{"name":"b"},{"name":"c"}]}`)
}

func TestIfMatch(t *testing.T) {
	g := newRig(t, Config{})
	path := "/v2.0/networks/" + g.make(admin, "networks", `{"network":{}}`)
	const bad = `{"NeutronError": {"type": "BadRequest", "message": "Bad if-match request: `
	for i, tc := range []struct {
		header string
		status int
		want   string
	}{
		{`revision_number=2`, 412, `{"NeutronError": {"type": "RevisionNumberConstraintFailed", "message": "Constrained to 2, but current revision is 1", "detail": ""}}`},
		{`"revision_number=x"`, 400, bad + `Revision number etag must be in the format of revision_number=<int>.", "detail": ""}}`},
		{`"revision_number=9","revision_number=2"`, 412, `{"NeutronError": {"type": "RevisionNumberConstraintFailed", "message": "Constrained to 9, but current revision is 1", "detail": ""}}`},
		{`revision_number=1_0`, 412, `{"NeutronError": {"type": "RevisionNumberConstraintFailed", "message": "Constrained to 10, but current revision is 1", "detail": ""}}`},
		{`"revision_number=1", "revision_number=2"`, 400, bad + `Multiple revision_number etags are not supported..", "detail": ""}}`},
		{`"abc", "revision_number=1"`, 200, `{"network":{"revision_number":2}}`},
		{`revision_number=2`, 200, `{"network":{"revision_number":3}}`},
		{`*`, 200, `{"network":{"revision_number":4}}`},
	} {
		h := admin.Clone()
		h.Set("If-Match", tc.header)
		g.want(g.send(h, "PUT", path+"?fields=revision_number", fmt.Sprintf(`{"network":{"name":"%d"}}`, i)), tc.status, tc.want)
	}
	h := admin.Clone()
	h.Set("If-Match", "revision_number=3")
	g.want(g.send(h, "PUT", path+"?fields=revision_number", `{"network":{}}`), 200, `{"network":{"revision_number":4}}`) // nothing to write
	const stale = `{"NeutronError": {"type": "RevisionNumberConstraintFailed", "message": "Constrained to 3, but current revision is %d", "detail": ""}}`
	g.want(g.send(h, "PUT", path, `{"network":{"description":""}}`), 412, fmt.Sprintf(stale, 4)) // written, though as it was
	router := "/v2.0/routers/" + g.make(admin, "routers", `{"router":{}}`)
	g.want(g.send(h, "PUT", router, `{"router":{}}`), 412, fmt.Sprintf(stale, 1))
	g.want(g.send(h, "PUT", path, `{"network":{"name":"7"}}`), 412, `{"NeutronError": {"type": "RevisionNumberConstraintFailed", "message": "Constrained to 3, but current revision is 4", "detail": ""}}`) // writes what is there
	g.want(g.send(h, "DELETE", path, ""), 412, `{"NeutronError": {"type": "RevisionNumberConstraintFailed", "message": "Constrained to 3, but current revision is 4", "detail": ""}}`)
	h.Set("If-Match", "revision_number=4")
	g.want(g.send(h, "DELETE", path, ""), 204, ``)
	// The framework of networks reads bodies first, that of routers the header.
	h.Set("If-Match", "revision_number=x")
	g.want(g.send(h, "PUT", path, `{"network":{"name":5}}`), 400, `{"NeutronError": {"type": "HTTPBadRequest", "message": "Invalid input for name. Reason: '5' is not a valid string.", "detail": ""}}`)
	g.want(g.send(h, "PUT", "/v2.0/routers/x", `{"router":{"name":5}}`), 400, bad+`Revision number etag must be in the format of revision_number=<int>.", "detail": ""}}`)
}

// Upstream reads If-Match even where nothing can be changed, and notices there that it is stale once it has counted quota.
func TestIfMatchOfStrays(t *testing.T) {
	g := newRig(t, Config{}, func(_ *rig, d *Deps) {
		d.Quota = quotaOf(func(resource, project string, n int) error {
			if project == "full" {
				return fault.Conflict("OverQuota", "Quota exceeded for resources: ['%s'].", resource)
			}
			return nil
		})
	})
	network := "/v2.0/networks/" + g.make(admin, "networks", `{"network":{}}`)
	router := "/v2.0/routers/" + g.make(admin, "routers", `{"router":{}}`)
	const (
		garbled = `{"NeutronError": {"type": "BadRequest", "message": "Bad if-match request: Revision number etag must be in the format of revision_number=<int>.", "detail": ""}}`
		method  = `{"NeutronError": {"type": "HTTPMethodNotAllowed", "message": "` + malformed + `", "detail": ""}}`
		stale   = "412 Precondition Failed\n\nRequest precondition failed.\n\n Constrained to 9, but current revision is 1  "
		unknown = `{"NeutronError": {"type": "HTTPBadRequest", "message": "Unrecognized attribute(s) 'x'", "detail": ""}}`
	)
	for _, tc := range []struct {
		tag, method, path, body string
		status                  int
		want                    string
	}{
		{"x", "POST", network, `{"network":{}}`, 400, garbled},
		{"x", "POST", network, `{"network":{"x":1}}`, 400, unknown},
		{"x", "POST", network, `{"network":{"tenant_id":"full"}}`, 409, `{"NeutronError": {"type": "OverQuota", "message": "Quota exceeded for resources: ['network'].", "detail": ""}}`},
		{"x", "POST", network, ``, 400, garbled},
		{"x", "POST", "/v2.0/networks/x", `{"network":{}}`, 400, garbled},
		{"9", "POST", network, `{"network":{}}`, 412, stale},
		{"9", "POST", network, `{}`, 405, method},
		{"9", "POST", "/v2.0/networks/x", `{"network":{}}`, 405, method},
		{"1", "POST", network, `{"network":{}}`, 405, method},
		{"9", "POST", router, `{"router":{}}`, 405, method}, // not counted here
		{"x", "PUT", "/v2.0/networks/x", ``, 400, garbled},
		{"x", "PUT", "/v2.0/networks", `{"network":{}}`, 400, garbled},
		{"x", "DELETE", "/v2.0/networks", ``, 400, garbled},
	} {
		h := admin.Clone()
		h.Set("If-Match", "revision_number="+tc.tag)
		t.Run(tc.tag+" "+tc.method+" "+tc.path+" "+tc.body, func(t *testing.T) {
			g.t = t
			g.want(g.send(h, tc.method, tc.path, tc.body), tc.status, tc.want)
		})
	}
}

func TestPages(t *testing.T) {
	g := newRig(t, Config{})
	ids := map[string]string{}
	for _, name := range []string{"a", "b", "c"} {
		ids[name] = g.make(admin, "networks", `{"network":{"name":"`+name+`"}}`)
	}
	const base = `"href":"http://neutron.example:9696/v2.0/networks?`
	const params = `fields=name&sort_key=name&sort_dir=asc&limit=2`
	next := func(name string) string { return `{"rel":"next",` + base + params + `&marker=` + ids[name] + `"}` }
	previous := func(name string) string {
		return `{"rel":"previous",` + base + params + `&marker=` + ids[name] + `&page_reverse=True"}`
	}
	for _, tc := range []struct{ name, query, want string }{
		{"first", "", `{"networks":[{"name":"a"},{"name":"b"}],"networks_links":[` + next("b") + `,` + previous("a") + `]}`},
		{"last", "&marker=" + ids["b"], `{"networks":[{"name":"c"}],"networks_links":[` + previous("c") + `]}`},
		{"beyond", "&marker=" + ids["c"], `{"networks":[],"networks_links":[{"rel":"previous",` + base + params + `&page_reverse=True"}]}`},
		{"back", "&page_reverse=true&marker=" + ids["c"], `{"networks":[{"name":"a"},{"name":"b"}],"networks_links":[` + next("b") + `,` + previous("a") + `]}`},
		{"back to the start", "&page_reverse=True&marker=" + ids["b"], `{"networks":[{"name":"a"}],"networks_links":[` + next("a") + `]}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g.t = t
			g.want(g.send(admin, "GET", "/v2.0/networks?"+params+tc.query, ""), 200, tc.want)
		})
	}
	g.want(g.send(admin, "GET", "/v2.0/networks?fields=name&limit=0", ""), 200, `{"networks":[{"name":"*"},{"name":"*"},{"name":"*"}]}`)
}

func TestLinksBehindProxies(t *testing.T) {
	forwarded := http.Header{"X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"cloud.example"}, "X-Forwarded-Prefix": {"/networking"}}
	for _, tc := range []struct {
		name       string
		cfg        Config
		header     http.Header
		page, root string
	}{
		{"none", Config{}, nil, "http://neutron.example:9696/v2.0/networks?limit=1", "http://neutron.example:9696/v2.0/"},
		{"not trusted", Config{}, forwarded, "https://neutron.example:9696/v2.0/networks?limit=1", "https://neutron.example:9696/v2.0/"},
		{"trusted", Config{TrustProxy: true}, forwarded, "https://cloud.example/networking/v2.0/networks?limit=1", "https://cloud.example/networking/v2.0/"},
		{"RFC 7239", Config{TrustProxy: true}, http.Header{"Forwarded": {`for=1.2.3.4;proto=https;host="cloud.example", for=5.6.7.8;proto=http`}},
			"https://cloud.example/v2.0/networks?limit=1", "https://cloud.example/v2.0/"},
		{"prefix", Config{LinkPrefix: "https://cloud.example/net"}, nil, "https://cloud.example/net/v2.0/networks?limit=1", "https://cloud.example/net/v2.0/"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := newRig(t, tc.cfg)
			g.want(g.send(tc.header, "GET", "/v2.0/networks?limit=1", ""), 200,
				`{"networks":[],"networks_links":[{"rel":"previous","href":"`+tc.page+`&page_reverse=True"}]}`)
			g.want(g.send(tc.header, "GET", "/", ""), 200, `{"versions":[{"id":"v2.0","status":"CURRENT","links":[{"rel":"self","href":"`+tc.root+`"}]}]}`)
		})
	}
}

func TestMaxPage(t *testing.T) {
	g := newRig(t, Config{MaxPage: 1})
	g.make(admin, "networks", `{"network":{"name":"a"}}`)
	g.make(admin, "networks", `{"network":{"name":"b"}}`)
	for _, query := range []string{"fields=mtu", "fields=mtu&limit=5"} {
		w := g.send(admin, "GET", "/v2.0/networks?"+query, "")
		if !strings.HasPrefix(w.Body.String(), `{"networks":[{"mtu":1450}],"networks_links":[{"rel":"next"`) {
			t.Errorf("%s: %s", query, w.Body)
		}
	}
}
