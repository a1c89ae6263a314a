package api

import (
	"fmt"
	"html"
	"net/http"
	"regexp"
	"strings"

	"neutrino/internal/resource"
)

// webPage is an error that upstream's web framework answers before Neutron's own form of errors applies (webob/exc.py).
type webPage struct {
	status int
	// explanation and detail are text with the line breaks of WebOb's templates: "<br />" and newlines.
	explanation, detail string
	bare                bool // outside /v2.0, where Pecan makes the JSON
}

// Error implements error.
func (p *webPage) Error() string { return http.StatusText(p.status) }

// The pages that handlers answer with. The explanations are WebOb's.
var (
	errPageMissing = &webPage{status: http.StatusNotFound, explanation: errNoSuchPage.Message, detail: "Resource not found."}
	errPageGarbled = &webPage{status: http.StatusBadRequest, explanation: malformed}
	errRootGarbled = &webPage{status: http.StatusBadRequest, explanation: malformed, bare: true}
	errRootMissing = &webPage{status: http.StatusNotFound, explanation: errNoSuchPage.Message, bare: true}
)

// methodPage says that the root does not serve this method.
func methodPage(method string) *webPage {
	return &webPage{status: http.StatusMethodNotAllowed, bare: true, explanation: "The method " + method + " is not allowed for this resource. "}
}

// acceptPage says that the root speaks only JSON.
func acceptPage(accept string) *webPage {
	return &webPage{status: http.StatusNotAcceptable, bare: true,
		explanation: "The resource could not be generated that was acceptable to your browser\n(content of type " + accept + ". "}
}

// text is the inner part of the page, with tags.
func (p *webPage) text(escape func(string) string) string {
	s := escape(p.explanation) + "<br /><br />\n" + escape(p.detail)
	switch p.status {
	case http.StatusMethodNotAllowed, http.StatusNotAcceptable: // whose templates have no place for a comment
		return s
	}
	return s + "\n\n"
}

// write answers with the page in the form that the client prefers: HTML, JSON or text.
func (p *webPage) write(w http.ResponseWriter, r *http.Request) {
	status := fmt.Sprintf("%d %s", p.status, http.StatusText(p.status))
	plain := func(s string) string { return s }
	kind, body := "text/plain; charset=UTF-8", ""
	switch accept := r.Header.Get("Accept"); {
	case r.Method == http.MethodHead && p.bare:
		kind = "text/html; charset=UTF-8"
	case accepts(accept, "text/html"):
		kind = "text/html; charset=UTF-8"
		body = "<html>\n <head>\n  <title>" + status + "</title>\n </head>\n <body>\n  <h1>" + status + "</h1>\n  " + p.text(html.EscapeString) + "\n </body>\n</html>"
	case accepts(accept, "application/json"):
		kind = "application/json"
		body = p.json(status)
	default:
		text := strings.ReplaceAll(p.text(plain), "\n", " ")
		body = status + "\n\n" + strings.ReplaceAll(text, "<br />", "\n")
	}
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(p.status)
	if r.Method != http.MethodHead {
		fmt.Fprint(w, body)
	}
}

// json is WebOb's JSON, or that which Pecan puts in its place.
func (p *webPage) json(status string) string {
	title := resource.AppendString(nil, http.StatusText(p.status))
	if !p.bare {
		message := resource.AppendString(nil, p.text(func(s string) string { return s }))
		return fmt.Sprintf(`{"message": %s, "code": "%s", "title": %s}`, message, status, title)
	}
	description := `""`
	if p.status == http.StatusNotFound {
		description = "null"
	}
	return fmt.Sprintf(`{"code": %d, "title": %s, "description": %s}`, p.status, title, description)
}

// mediaRange is an entry of an Accept header as WebOb reads it; one of another form makes the whole header count as none.
var mediaRange = regexp.MustCompile(`^[^\s/;,]+/[^\s/;,]+\s*(;\s*[^\s=;]+=("[^"]*"|[^\s;"]*)\s*)*$`)

// quality is the value of q of such an entry.
var quality = regexp.MustCompile(`^(0(\.\d{0,3})?|1(\.0{0,3})?)$`)

// accepts tells whether an Accept header names a type, or several at once of which it is one. Entries with parameters are
// about other types.
func accepts(header, kind string) bool {
	family, _, _ := strings.Cut(kind, "/")
	found := false
	for entry := range strings.SplitSeq(header, ",") {
		if entry = strings.TrimSpace(entry); entry == "" {
			continue
		}
		if !mediaRange.MatchString(entry) {
			return true
		}
		name, params, with := strings.Cut(entry, ";")
		q := ""
		if key, value, _ := strings.Cut(params, "="); with && strings.TrimSpace(key) == "q" {
			if q = strings.TrimSpace(value); !quality.MatchString(q) {
				return true
			}
			with = false
		}
		switch name = strings.ToLower(strings.TrimSpace(name)); name {
		case "*/*", family + "/*", kind:
			found = found || !with && (q == "" || strings.Trim(q, "0.") != "")
		}
	}
	return found
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
		case kind == "": // an entry of nothing
		case kind == "*/*", kind == "application/*", kind == "application/json", !strings.Contains(kind, "/"):
			return true
		}
	}
	return false
}
