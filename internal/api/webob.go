package api

import (
	"fmt"
	"html"
	"net/http"
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

// accepts tells whether an Accept header names a type, or several at once of which it is one.
func accepts(header, kind string) bool {
	family, _, _ := strings.Cut(kind, "/")
	for entry := range strings.SplitSeq(header, ",") {
		name, params, _ := strings.Cut(entry, ";")
		switch name = strings.ToLower(strings.TrimSpace(name)); name {
		case "*/*", family + "/*", kind:
			return !refused(params)
		}
	}
	return false
}

// refused tells whether the parameters of an entry of an Accept header have q=0.
func refused(params string) bool {
	for param := range strings.SplitSeq(params, ";") {
		key, value, _ := strings.Cut(param, "=")
		if strings.TrimSpace(key) == "q" && strings.Trim(strings.TrimSpace(value), "0.") == "" {
			return true
		}
	}
	return false
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
