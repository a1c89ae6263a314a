package api

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"neutrino/internal/resource"
)

// coreResources are those that exist without any extension; GET /v2.0/ lists them in this order.
var coreResources = []string{"network", "subnet", "subnetpool", "port"}

type coreResource struct{ name, path string }

type link struct {
	Rel  string `json:"rel"`
	Href string `json:"href"`
}

// versions answers GET /, which needs no authentication.
func (s *Server) versions(w http.ResponseWriter, r *http.Request) {
	if garbled(r) {
		errRootGarbled.write(w, r)
		return
	}
	if method := methodOf(r); method != http.MethodGet {
		methodPage(method).write(w, r)
		return
	}
	if !wantsJSON(r) {
		acceptPage(r.Header.Get("Accept")).write(w, r)
		return
	}
	root := s.linkURL(r)
	root.Path = strings.TrimSuffix(root.Path, "/")
	type version struct {
		ID     string `json:"id"`
		Status string `json:"status"`
		Links  []link `json:"links"`
	}
	answer, err := jsonReply(http.StatusOK, map[string][]version{"versions": {
		{"v2.0", "CURRENT", []link{{"self", s.public(root) + "/v2.0/"}}}}})
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.write(w, answer)
}

// addVersions adds the routes that describe the API.
func (s *Server) addVersions() {
	s.add(http.MethodGet, "/{$}", s.listResources)
	s.add(http.MethodGet, "", func(c *Call) (*reply, error) {
		if !wantsJSON(c.Request) {
			return nil, errAccept
		}
		return nil, errNoSuchPage // upstream wants the slash
	})
	list := newReply(http.StatusOK)
	advertised := s.exts.Advertised()
	list.body = advertised.appendTo(list.body)
	s.add(http.MethodGet, "/extensions", func(*Call) (*reply, error) { return &reply{status: http.StatusOK, body: list.body}, nil })
	s.add(http.MethodGet, "/extensions/{alias}", func(c *Call) (*reply, error) {
		alias, _, _ := strings.Cut(c.Path("alias"), ".") // what follows is a format, of which upstream takes any here
		e, ok := advertised.find(cmp.Or(alias, c.Path("alias")))
		if !ok {
			return nil, &webPage{status: http.StatusNotFound, explanation: errNoSuchPage.Message, detail: "Extension with alias " + c.Path("alias") + " does not exist"}
		}
		return &reply{status: http.StatusOK, body: append(e.append([]byte(`{"extension":`)), '}')}, nil
	})
	// Upstream says 404 here, where 405 would be right, and in another form where its router of extensions knows the method.
	for path, known := range map[string][]string{"/extensions": {http.MethodPost}, "/extensions/{alias}": {http.MethodPut, http.MethodDelete}} {
		for _, method := range []string{http.MethodHead, http.MethodPatch, http.MethodPost, http.MethodPut, http.MethodDelete} {
			missing := error(errNoSuchPage)
			if slices.Contains(known, method) {
				missing = errPageMissing
			}
			s.add(method, path, func(*Call) (*reply, error) { return nil, missing })
		}
	}
}

func (s *Server) listResources(c *Call) (*reply, error) {
	if !wantsJSON(c.Request) {
		return nil, errAccept
	}
	base := s.requestURL(c.Request).String()
	type entry struct {
		Name       string `json:"name"`
		Collection string `json:"collection"`
		Links      []link `json:"links"`
	}
	entries := []entry{}
	for _, name := range coreResources {
		if i := slices.IndexFunc(s.core, func(r coreResource) bool { return r.name == name }); i >= 0 {
			r := s.core[i]
			entries = append(entries, entry{r.name, r.path, []link{{"self", base + r.path}}})
		}
	}
	return jsonReply(http.StatusOK, map[string]any{"resources": entries})
}

// appendTo writes the answer of GET /v2.0/extensions.
func (x Extensions) appendTo(b []byte) []byte {
	b = append(b, `{"extensions":[`...)
	for i, e := range x {
		if i > 0 {
			b = append(b, ',')
		}
		b = e.append(b)
	}
	return append(b, "]}"...)
}

func (e Extension) append(b []byte) []byte {
	for _, field := range [][2]string{{`{"name":`, e.Name}, {`,"alias":`, e.Alias}, {`,"description":`, e.Description}, {`,"updated":`, e.Updated}} {
		b = resource.AppendString(append(b, field[0]...), field[1])
	}
	return append(b, `,"links":[]}`...)
}
