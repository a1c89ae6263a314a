package api

import (
	"fmt"
	"net/http"
	"strings"
)

// plainError answers outside /v2.0, where upstream has no JSON: WebOb's page for browsers, else its text (webob/exc.py).
func plainError(w http.ResponseWriter, r *http.Request, status int, explanation string) {
	title := fmt.Sprintf("%d %s", status, http.StatusText(status))
	kind, text := "text/plain", title+"\n\n"+explanation+"\n\n"
	if status == http.StatusNotFound {
		text += "  "
	}
	text += " "
	if strings.Contains(r.Header.Get("Accept"), "text/html") {
		kind = "text/html"
		text = "<html>\n <head>\n  <title>" + title + "</title>\n </head>\n <body>\n  <h1>" + title + "</h1>\n  " + strings.TrimSpace(explanation) + "<br /><br />\n\n\n </body>\n</html>"
	}
	w.Header().Set("Content-Type", kind+"; charset=UTF-8")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		fmt.Fprint(w, text)
	}
}

// wantsJSON tells whether the Accept header of a request admits JSON. One that cannot be parsed admits everything.
func wantsJSON(r *http.Request) bool {
	header := r.Header.Get("Accept")
	if header == "" {
		return true
	}
	for entry := range strings.SplitSeq(header, ",") {
		kind, _, _ := strings.Cut(entry, ";")
		switch kind = strings.ToLower(strings.TrimSpace(kind)); {
		case kind == "*/*", kind == "application/*", kind == "application/json", !strings.Contains(kind, "/"):
			return true
		}
	}
	return false
}
