package api

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"sync"

	"neutrino/internal/fault"
	"neutrino/internal/logging"
	"neutrino/internal/resource"
	"neutrino/internal/store"
)

// reply is an answer with a JSON body; no body with status 204.
type reply struct {
	status int
	body   []byte
	pooled bool
}

// buffers are reused for answers. One that a long list has made huge is left to the garbage collector.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 16<<10); return &b }}

const maxPooled = 1 << 20

func newReply(status int) *reply {
	return &reply{status: status, body: (*buffers.Get().(*[]byte))[:0], pooled: true}
}

// release gives the buffer back; the reply must not be used any more.
func (a *reply) release() {
	if a.pooled && cap(a.body) <= maxPooled {
		buffers.Put(&a.body)
	}
}

// jsonReply is an answer for values that come from functions; json.RawMessage passes as it is.
func jsonReply(status int, v any) (*reply, error) {
	body, err := json.Marshal(v)
	return &reply{status: status, body: body}, err
}

func (s *Server) write(w http.ResponseWriter, a *reply) {
	if a.status != http.StatusNoContent {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	}
	w.WriteHeader(a.status)
	if a.status != http.StatusNoContent {
		s.limits.write(w, a.body)
	}
}

const malformed = "The server could not comply with the request since it is either malformed or otherwise incorrect."

// Faults that upstream's web framework raises. The texts are WebOb's (webob/exc.py).
var (
	errNoSuchPage = fault.NotFound("HTTPNotFound", "The resource could not be found.")
	errMethod     = fault.New(http.StatusMethodNotAllowed, "HTTPMethodNotAllowed", malformed)
	errBadRequest = fault.New(http.StatusBadRequest, "HTTPBadRequest", malformed)
	errJSON       = fault.BadRequest("MalformedRequestBody", "Malformed request body: Cannot understand JSON.")
	errAccept     = fault.New(http.StatusNotAcceptable, "HTTPNotAcceptable", malformed)
)

// errAllow is the refusal of a method by upstream's framework. It tells others as allowed, though it refuses most of them, too.
type errAllow string

// errOnlyPut is that of the one method that it takes for the default of a member action.
const errOnlyPut errAllow = "DELETE, HEAD, PATCH, POST, PUT"

// Error implements error.
func (errAllow) Error() string { return errMethod.Message }

// Unwrap is for errors.As.
func (errAllow) Unwrap() error { return errMethod }

// fail answers with an error. What is no fault is logged with its cause, which the client does not see.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	if p, ok := errors.AsType[*webPage](err); ok {
		p.write(w, r)
		return
	}
	f := s.fault(r.Context(), err)
	if f.Status >= http.StatusInternalServerError {
		level := slog.LevelError
		if errors.Is(r.Context().Err(), context.Canceled) { // the client went away
			level = slog.LevelInfo
		}
		s.log.LogAttrs(logging.WithRequest(r.Context(), *infoOf(r)), level, "request failed", slog.String("method", r.Method),
			slog.String("path", r.URL.Path), slog.Any("error", err), slog.Any("cause", f.Unwrap()))
	}
	if f.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	if allow, ok := errors.AsType[errAllow](err); ok {
		w.Header().Set("Allow", string(allow))
	}
	if f.Challenge != "" {
		w.Header().Set("WWW-Authenticate", f.Challenge)
	}
	s.write(w, &reply{status: f.Status, body: faultBody(f)})
}

func (s *Server) fault(ctx context.Context, err error) *fault.Error {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f
	}
	_, raced := errors.AsType[*store.RetryError](err)
	if raced || ctx.Err() != nil || store.IsUnavailable(err) {
		return fault.Unavailable("ServiceUnavailable", "The service is unavailable.").Because(err)
	}
	return fault.As(err)
}

// faultBody is upstream's JSON form of an error (neutron/api/api_common.py, convert_exception_to_http_exc).
func faultBody(f *fault.Error) []byte {
	if f.Challenge != "" { // keystonemiddleware answers before Neutron does, in Keystone's form
		b := resource.AppendString([]byte(`{"error": {"code": 401, "title": "Unauthorized", "message": `), f.Message)
		return append(b, "}}"...)
	}
	key := "NeutronError"
	if f.Type == "NotImplementedError" {
		key = f.Type
	}
	b := resource.AppendString([]byte("{"), key)
	b = resource.AppendString(append(b, `: {"type": `...), f.Type)
	b = resource.AppendString(append(b, `, "message": `...), f.Message)
	b = resource.AppendString(append(b, `, "detail": `...), f.Detail)
	return append(b, "}}"...)
}
