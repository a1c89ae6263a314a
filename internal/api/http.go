package api

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"neutrino/internal/fault"
	"neutrino/internal/identity"
	"neutrino/internal/logging"

	"github.com/google/uuid"
)

// methods are the handlers of one path by HTTP method.
type methods map[string]handler

// handler answers one authenticated request.
type handler func(c *Call) (*reply, error)

// add registers the handler of a method and a path below /v2.0.
func (s *Server) add(method, path string, h handler) {
	m := s.routes["/v2.0"+path]
	if m == nil {
		m = methods{}
		s.routes["/v2.0"+path] = m
	}
	if m[method] != nil {
		panic(fmt.Sprintf("api: %s %s is added twice", method, path))
	}
	m[method] = h
}

// outer is what happens to every request: id, log line, metrics, and an answer even if the program panics.
func (s *Server) outer(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		info := logging.RequestInfo{ID: "req-" + uuid.NewString()}
		if given := r.Header.Get(requestIDHeader); requestIDForm.MatchString(given) {
			info.GlobalID = given
		}
		ctx, cancel := context.WithTimeout(context.WithValue(r.Context(), infoKey{}, &info), s.cfg.Timeout)
		defer cancel()
		rec := &recorder{ResponseWriter: w, cors: func() {}}
		if r.URL.Path != healthPath { // upstream's has no such middleware
			rec.options, rec.cors = r.Method == http.MethodOptions, func() { s.cfg.CORS.apply(w.Header(), r) }
		}
		r = normalize(r.WithContext(ctx))
		if r.URL.Path == "/v2.0" || strings.HasPrefix(r.URL.Path, "/v2.0/") { // upstream's root has no such middleware either
			w.Header().Set(requestIDHeader, info.ID)
		}
		defer func() {
			if p := recover(); p != nil {
				s.log.ErrorContext(logging.WithRequest(ctx, info), "panic", "cause", p, "stack", string(debug.Stack()))
				if rec.status == 0 {
					s.write(rec, &reply{status: http.StatusInternalServerError, body: faultBody(fault.As(nil))})
				}
			}
			took := time.Since(start)
			s.metrics.observe(r.Method, r.Pattern, rec.status, took)
			s.log.LogAttrs(logging.WithRequest(ctx, info), slog.LevelInfo, "request", slog.String("method", r.Method),
				slog.String("uri", r.URL.RequestURI()), slog.Int("status", rec.status), slog.Int("bytes", rec.bytes),
				slog.Duration("took", took), slog.String("from", r.RemoteAddr))
		}()
		next.ServeHTTP(rec, r)
		if r.Header.Get("Expect") == "" { // such clients wait for the answer before they send more
			drain(r.Body)
		}
	})
}

const (
	healthPath      = "/healthcheck"
	requestIDHeader = "X-Openstack-Request-Id"
)

// requestIDForm is what oslo.middleware (request_id.py) accepts from a client.
var requestIDForm = regexp.MustCompile(`^req-[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12}$`)

type infoKey struct{}

// infoOf is what the log tells about a request. The caller is added when they are known, so it is shared.
func infoOf(r *http.Request) *logging.RequestInfo {
	if info, ok := r.Context().Value(infoKey{}).(*logging.RequestInfo); ok {
		return info
	}
	return &logging.RequestInfo{}
}

// recorder notes what was answered.
type recorder struct {
	http.ResponseWriter
	status, bytes int
	options       bool   // the method; upstream's answer to a question of browsers (oslo.middleware, cors.py) is never an error
	silent        bool   // what is written is not sent
	cors          func() // adds the headers for browsers
}

// Unwrap is for http.ResponseController.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w *recorder) WriteHeader(status int) {
	if w.options && (status < 200 || status >= 300) {
		clear(w.Header())
		status, w.silent = http.StatusOK, true
	}
	w.cors()
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.silent {
		return len(b), nil
	}
	n, err := w.ResponseWriter.Write(b)
	w.bytes += n
	return n, err
}

// normalize drops what upstream ignores in a path: empty and dot segments, ".json" and a slash at the end.
func normalize(r *http.Request) *http.Request {
	// Decoded, as WSGI hands paths on: an escaped slash separates, too.
	text := r.URL.Path
	escaped := r.URL.EscapedPath() // where escaped dots are no dots
	if strings.Contains(text, "//") || strings.Contains(escaped, "/./") || strings.Contains(escaped, "/../") ||
		strings.HasSuffix(escaped, "/.") || strings.HasSuffix(escaped, "/..") {
		if text = path.Clean(text); text == "/v2.0" {
			text += "/"
		}
	}
	if text != "/v2.0/" && text != "/" {
		text = strings.TrimSuffix(text, "/")
	}
	if end := len(text) - len(".json"); strings.HasPrefix(text, "/v2.0/") && strings.EqualFold(text[end:], ".json") && text[end-1] != '/' &&
		(text[end:] == ".json" || ignoresCase(text[len("/v2.0/"):end])) {
		text = text[:end]
	}
	raw := ""
	if strings.HasPrefix(text, "/v2.0/") && path.Clean(text) != strings.TrimSuffix(text, "/") { // the multiplexer would redirect
		raw = escapeDots(text)
	}
	if text == "" || text == r.URL.Path && r.URL.RawPath == raw {
		return r
	}
	u := *r.URL
	u.Path, u.RawPath = text, raw
	r.URL = &u
	return r
}

// falls tells whether upstream's router leaves a path to the first framework that its second would serve without the slash at its end.
func falls(uri string) bool {
	text, _, _ := strings.Cut(uri, "?")
	return strings.HasSuffix(text, "/")
}

// ignoresCase tells whether upstream's first framework serves a path below the version; the second knows only ".json".
func ignoresCase(under string) bool {
	collection, _, isObject := strings.Cut(strings.TrimPrefix(under, "metering/"), "/")
	return !isObject || slices.ContainsFunc(coreResources, func(name string) bool { return name+"s" == collection })
}

// escapeDots writes a path whose segments "." and ".." are names like others.
func escapeDots(text string) string {
	parts := strings.Split(text, "/")
	for i, part := range parts {
		if parts[i] = url.PathEscape(part); part == "." || part == ".." {
			parts[i] = strings.ReplaceAll(part, ".", "%2E")
		}
	}
	return strings.Join(parts, "/")
}

// methodOf is the method that a request counts as: upstream's frameworks serve all that they do not know as GET.
func methodOf(r *http.Request) string {
	switch r.Method {
	case http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
		return r.Method
	}
	return http.MethodGet
}

// garbled tells whether a request for the root has text that is not UTF-8.
func garbled(r *http.Request) bool {
	query, err := url.QueryUnescape(r.URL.RawQuery)
	return !utf8.ValidString(r.URL.Path) || err == nil && !utf8.ValidString(query)
}

// check refuses requests that no handler should see.
func (c *Call) check() error {
	for name, values := range c.Query {
		for _, v := range append(values, name) {
			if !utf8.ValidString(v) {
				return errPageGarbled
			}
		}
	}
	return nil
}

// endpoint authenticates and finds the handler of the method. first says that upstream's first framework serves this path
// (see Call.body).
func (s *Server) endpoint(m methods, first bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		call, err := s.call(r)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		call.first = first || falls(r.RequestURI)
		h, garbled := m[methodOf(r)], call.check()
		switch {
		case !utf8.ValidString(r.URL.Path):
			s.fail(w, r, errBadRequest)
			return
		case m == nil:
			s.fail(w, r, cmp.Or(garbled, error(errNoSuchPage)))
			return
		case h == nil && !wantsJSON(r):
			s.fail(w, r, errAccept)
			return
		case h == nil:
			s.fail(w, r, call.notServed())
			return
		}
		if garbled != nil {
			s.fail(w, r, garbled)
			return
		}
		answer, err := h(call)
		if call.release != nil {
			call.release()
		}
		if err != nil {
			s.fail(w, r, call.wholeDigits(err))
			return
		}
		s.write(w, answer)
		answer.release()
	})
}

// notServed says that a path is not there for the method: without the Allow of RFC 9110, section 15.5.6, and after a look at
// the body, as upstream.
func (c *Call) notServed() error {
	var err error
	depth := strings.Count(c.Request.URL.Path, "/")
	switch method := c.Request.Method; {
	case c.Request.URL.Path == "/v2.0/":
	case method == http.MethodPost, method == http.MethodPut:
		_, err = c.body(method == http.MethodPut || depth != subcollectionDepth)
	case method == http.MethodGet && depth == subcollectionDepth-1:
		err = c.readable()
	case method == http.MethodDelete && depth == subcollectionDepth-1:
		err = c.noBody(false)
	}
	return cmp.Or(err, error(errMethod))
}

// subcollectionDepth is how many slashes the path of a list below an object has: /v2.0/networks/ID/dhcp-agents.
const subcollectionDepth = 4

// call authenticates a request.
func (s *Server) call(r *http.Request) (*Call, error) {
	caller, err := s.auth.Authenticate(r)
	if err != nil {
		return nil, err
	}
	info := infoOf(r)
	judge := s.judges.get(s.rules(), caller)
	caller.RequestID, caller.GlobalRequestID = info.ID, info.GlobalID
	caller.IsAdmin, caller.IsService = judge.admin, judge.service
	info.User, info.Project, info.Domain, info.SystemScope = caller.UserID, caller.ProjectID, caller.DomainID, caller.SystemScope
	r = r.WithContext(identity.With(logging.WithRequest(r.Context(), *info), caller))
	return &Call{Caller: caller, Query: parseQuery(r.URL.RawQuery), Request: r, server: s, judge: judge}, nil
}
