package api

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestCORS: what oslo.middleware tells browsers.
func TestCORS(t *testing.T) {
	named := CORS{Origins: []string{"https://a.org"}, Credentials: true, Expose: []string{"X-A", "X-B"}, MaxAge: 60, Methods: []string{"GET", "PUT"}, Headers: []string{"X-Auth-Token"}}
	all := CORS{Origins: []string{"*"}, Methods: []string{"GET"}}
	got := func(origin string) http.Header {
		h := admin.Clone()
		if origin != "" {
			h.Set("Origin", origin)
		}
		return h
	}
	asks := func(origin, method, headers string) http.Header {
		h := got(origin)
		for name, v := range map[string]string{"Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers} {
			if v != "" {
				h.Set(name, v)
			}
		}
		return h
	}
	for _, tc := range []struct {
		name   string
		cors   CORS
		method string
		header http.Header
		want   http.Header
	}{
		{"no origins", CORS{}, "GET", got("https://a.org"), http.Header{}},
		{"no browser", named, "GET", got(""), http.Header{}},
		{"another site", named, "GET", got("https://b.org"), http.Header{}},
		{"request", named, "GET", got("https://a.org"), http.Header{"Vary": {"Origin"}, "Access-Control-Allow-Origin": {"https://a.org"},
			"Access-Control-Allow-Credentials": {"true"}, "Access-Control-Expose-Headers": {"X-A,X-B"}}},
		{"any site", all, "GET", got("https://b.org"), http.Header{"Vary": {"Origin"}, "Access-Control-Allow-Origin": {"*"}}},
		{"any site without a name", all, "GET", http.Header{"Origin": {""}}, http.Header{"Vary": {"Origin"}, "Access-Control-Allow-Origin": {"*"}}},
		{"preflight", named, "OPTIONS", asks("https://a.org", "PUT", "x-auth-token, Accept"), http.Header{"Vary": {"Origin"}, "Access-Control-Allow-Origin": {"https://a.org"},
			"Access-Control-Allow-Credentials": {"true"}, "Access-Control-Max-Age": {"60"}, "Access-Control-Allow-Methods": {"PUT"}, "Access-Control-Allow-Headers": {"x-auth-token,Accept"}}},
		{"preflight without headers", all, "OPTIONS", asks("https://b.org", "GET", ""), http.Header{"Vary": {"Origin"}, "Access-Control-Allow-Origin": {"*"}, "Access-Control-Allow-Methods": {"GET"}}},
		{"preflight of no method", named, "OPTIONS", asks("https://a.org", "", ""), http.Header{}},
		{"preflight of a method that is not allowed", named, "OPTIONS", asks("https://a.org", "DELETE", ""), http.Header{}},
		{"preflight of a header that is not allowed", named, "OPTIONS", asks("https://a.org", "GET", "X-Other"), http.Header{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := newRig(t, Config{CORS: tc.cors})
			w := g.send(tc.header, tc.method, "/v2.0/networks", "")
			have := http.Header{}
			for name, v := range w.Header() {
				if name == "Vary" || len(name) > 15 && name[:15] == "Access-Control-" {
					have[name] = v
				}
			}
			if diff := cmp.Diff(tc.want, have); diff != "" {
				t.Errorf("headers (-want +got):\n%s", diff)
			}
		})
	}
}

// TestHealthIsNotForBrowsers: the health check answers every method alike, and nothing of CORS.
func TestHealthIsNotForBrowsers(t *testing.T) {
	g := newRig(t, Config{CORS: CORS{Origins: []string{"*"}, Methods: []string{"GET"}}})
	for _, method := range []string{"GET", "OPTIONS", "POST"} {
		w := g.send(http.Header{"Origin": {"https://a.org"}, "Access-Control-Request-Method": {"GET"}}, method, "/healthcheck", "")
		g.want(w, 200, "OK")
		if w.Header().Get("Vary") != "" {
			t.Errorf("%s: headers %v", method, w.Header())
		}
	}
}
