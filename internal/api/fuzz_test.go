package api

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

var allCollections = []string{"networks", "subnets", "ports", "security-groups", "security-group-rules", "routers", "floatingips", "agents"}

// FuzzBody: whatever a body holds, the answer is JSON and the fault is the client's. Violated constraints of the database do
// not count: here is no plug-in that would have checked before.
func FuzzBody(f *testing.F) {
	for _, s := range []string{`{"network":{"name":"x","mtu":1e3,"provider:segmentation_id":"7"}}`,
		`{"networks":[{"shared":"TRUE"},{"network":{"tenant_id":null}}]}`,
		`{"port":{"network_id":"8c0ebc4b-6d0c-4bcd-8ac4-4a3d7bb4a5a1","fixed_ips":[{"ip_address":"::1"}],"allowed_address_pairs":[{"ip_address":"1.2.3.4/0"}],"extra_dhcp_opts":[{"opt_name":"a","opt_value":null}],"binding:profile":{"a":[]}}}`,
		`{"security_group_rule":{"security_group_id":"x","direction":"ingress","protocol":6,"port_range_min":"1","remote_ip_prefix":"1.2.3.4"}}`,
		`{"subnet":{"network_id":"8c0ebc4b-6d0c-4bcd-8ac4-4a3d7bb4a5a1","ip_version":4,"cidr":"10.0.0.0/8","allocation_pools":[{"start":"10.0.0.1","end":"10.0.0.2"}],"host_routes":[{"destination":"0.0.0.0/0","nexthop":"1.1.1.1"}]}}`,
		`{"router":{"external_gateway_info":{"network_id":"8c0ebc4b-6d0c-4bcd-8ac4-4a3d7bb4a5a1","enable_snat":0}}}`, `{"tags":["a",7]}`, "[", "\xff{}", `{"a":1}{`} {
		f.Add(s)
	}
	g := newRig(f, Config{})
	p1 := who("p1", "member", "reader")
	network := g.make(p1, "networks", `{"network":{}}`)
	f.Fuzz(func(t *testing.T, body string) {
		g.t = t
		g.log.Reset()
		for _, c := range allCollections {
			check := func(method, path string) {
				w := g.send(p1, method, "/v2.0/"+path, body)
				if w.Code >= 500 && !strings.Contains(g.log.String(), "constraint failed") || w.Body.Len() > 0 && !json.Valid(w.Body.Bytes()) {
					t.Errorf("%s %s %q: %d %s\n%s", method, path, body, w.Code, w.Body, g.log.String())
				}
			}
			check(http.MethodPost, c)
			check(http.MethodPut, c+"/"+network)
		}
		g.send(p1, http.MethodPut, "/v2.0/networks/"+network+"/tags", body)
	})
}

// FuzzList: the same for what follows the question mark.
func FuzzList(f *testing.F) {
	for _, s := range []string{"name=a&name=&mtu=x&shared=1", "fixed_ips=ip_address=1.2.3.4&fixed_ips=ip_address_substr=%25&fixed_ips=%3D",
		"tags=a,,b&not-tags-any=,", "changed_since=2020-01-01T00:00:00Z", "sort_key=name&sort_dir=desc&limit=2&page_reverse=TRUE",
		"limit=%20-1", "fields=&fields=id&fields=zz", "limit=1&marker=x&a;b=c&%zz", "mac_address=FA-16-3E-00-00-00&security_groups=x"} {
		f.Add(s)
	}
	g := newRig(f, Config{})
	p1 := who("p1", "member", "reader")
	network := g.make(p1, "networks", `{"network":{"name":"a"}}`)
	g.port(network, "p2", 1)
	f.Fuzz(func(t *testing.T, query string) {
		g.t = t
		g.log.Reset()
		for _, c := range allCollections {
			u := url.URL{Path: "/v2.0/" + c, RawQuery: query}
			r, err := url.ParseRequestURI(u.RequestURI())
			if err != nil || r.RawQuery != query || strings.ContainsAny(query, " \x7f#") {
				return // net/http does not let it in
			}
			if w := g.send(p1, http.MethodGet, u.RequestURI(), ""); w.Code >= 500 || !json.Valid(w.Body.Bytes()) {
				t.Errorf("%s?%s: %d %s\n%s", c, query, w.Code, w.Body, g.log.String())
			}
		}
	})
}
