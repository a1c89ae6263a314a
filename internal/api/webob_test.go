package api

import (
	"net/http"
	"testing"
)

// The pages are those of WebOb and Pecan, byte for byte.
func TestErrorPages(t *testing.T) {
	g := newRig(t, Config{})
	const (
		head = "<html>\n <head>\n  <title>404 Not Found</title>\n </head>\n <body>\n  <h1>404 Not Found</h1>\n  The resource could not be found.<br /><br />\n"
		tail = "\n </body>\n</html>"
	)
	const notAcceptable = `{"NeutronError": {"type": "HTTPNotAcceptable", "message": "` + malformed + `", "detail": ""}}`
	for _, tc := range []struct {
		method, path, accept string
		status               int
		kind, want           string
	}{
		{"GET", "/nothing", "text/html", 404, "text/html; charset=UTF-8", head + "\n\n" + tail},
		{"GET", "/nothing", "*/*", 404, "text/html; charset=UTF-8", head + "\n\n" + tail},
		{"GET", "/nothing", "application/json", 404, "application/json", `{"code": 404, "title": "Not Found", "description": null}`},
		{"GET", "/nothing", "text/html;q=0, application/json", 404, "application/json", `{"code": 404, "title": "Not Found", "description": null}`},
		{"GET", "/nothing", "x", 404, "text/html; charset=UTF-8", head + "\n\n" + tail}, // no such header: everything is welcome
		{"GET", "/nothing", "application/json;q=x", 404, "text/html; charset=UTF-8", head + "\n\n" + tail},
		{"GET", "/nothing", "application/json;version=2", 404, "text/plain; charset=UTF-8", "404 Not Found\n\nThe resource could not be found.\n\n   "},
		{"GET", "/v2.0/", "text/html", 406, "application/json", notAcceptable},
		{"GET", "/v2.0", "text/html", 406, "application/json", notAcceptable},
		{"GET", "/v2.0/networks", ",", 406, "application/json", notAcceptable},
		{"PATCH", "/v2.0/networks", "text/html", 406, "application/json", notAcceptable},
		{"GET", "/v2.0/networks.json/", "", 200, "application/json", `{"networks":[]}`},
		{"GET", "/v2.0/networks.JSON", "", 200, "application/json", `{"networks":[]}`},
		{"POST", "/", "application/json", 405, "application/json", `{"code": 405, "title": "Method Not Allowed", "description": ""}`},
		{"HEAD", "/", "", 405, "text/html; charset=UTF-8", ""},
		{"GET", "/", "application/xml", 406, "text/plain; charset=UTF-8",
			"406 Not Acceptable\n\nThe resource could not be generated that was acceptable to your browser (content of type application/xml. \n\n "},
		{"GET", "/v2.0/extensions/x%3Cy", "text/html", 404, "text/html; charset=UTF-8", head + "Extension with alias x&lt;y does not exist\n\n" + tail},
		{"GET", "/v2.0/extensions/x", "application/json", 404, "application/json",
			`{"message": "The resource could not be found.<br /><br />\nExtension with alias x does not exist\n\n", "code": "404 Not Found", "title": "Not Found"}`},
	} {
		t.Run(tc.method+" "+tc.path+" "+tc.accept, func(t *testing.T) {
			g.t = t
			h := http.Header{}
			if tc.accept != "" {
				h.Set("Accept", tc.accept)
			}
			w := g.send(h, tc.method, tc.path, "")
			g.want(w, tc.status, tc.want)
			if kind := w.Header().Get("Content-Type"); kind != tc.kind {
				t.Errorf("Content-Type: %s, want %s", kind, tc.kind)
			}
		})
	}
}
