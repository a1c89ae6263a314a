// Package fault is the one error type of Neutrino: it knows its HTTP status and the exception class that Neutron's
// clients see in the NeutronError body. Whatever is not a fault is an internal error: status 500, no details shown.
package fault

import (
	"errors"
	"fmt"
	"net/http"
)

// Error is what a caller of the API or of an RPC method may be told.
type Error struct {
	Status  int    // HTTP status
	Type    string // upstream's exception class, for example "NetworkNotFound"
	Message string
	Detail  string
	// Challenge tells a client without valid credentials how to authenticate: the WWW-Authenticate header of a 401.
	Challenge string
	cause     error
}

func (e *Error) Error() string { return e.Type + ": " + e.Message }

// Unwrap gives the underlying error, for the log only.
func (e *Error) Unwrap() error { return e.cause }

// Because attaches the underlying error, which is logged and never shown to the caller.
func (e *Error) Because(cause error) *Error {
	c := *e
	c.cause = cause
	return &c
}

func build(status int, class, format string, args []any) *Error {
	return &Error{Status: status, Type: class, Message: fmt.Sprintf(format, args...)}
}

// BadRequest is a 400 of the given class.
func BadRequest(class, format string, args ...any) *Error {
	return build(http.StatusBadRequest, class, format, args)
}

// Unauthorized is a 401: the caller did not say who they are. The message is keystonemiddleware's.
func Unauthorized(challenge string) *Error {
	return &Error{Status: http.StatusUnauthorized, Type: "HTTPUnauthorized", Challenge: challenge,
		Message: "The request you have made requires authentication."}
}

// Forbidden is a 403 of the given class.
func Forbidden(class, format string, args ...any) *Error {
	return build(http.StatusForbidden, class, format, args)
}

// NotFound is a 404 of the given class.
func NotFound(class, format string, args ...any) *Error {
	return build(http.StatusNotFound, class, format, args)
}

// Conflict is a 409 of the given class.
func Conflict(class, format string, args ...any) *Error {
	return build(http.StatusConflict, class, format, args)
}

// Unavailable is a 503 of the given class.
func Unavailable(class, format string, args ...any) *Error {
	return build(http.StatusServiceUnavailable, class, format, args)
}

// New is an error with any other status.
func New(status int, class, format string, args ...any) *Error {
	return build(status, class, format, args)
}

// InvalidInput is Neutron's most common 400.
func InvalidInput(format string, args ...any) *Error {
	return BadRequest("InvalidInput", "Invalid input for operation: %s.", fmt.Sprintf(format, args...))
}

// As finds the fault in err, or makes an internal one that keeps err for the log.
func As(err error) *Error {
	if f, ok := errors.AsType[*Error](err); ok {
		return f
	}
	return &Error{Status: http.StatusInternalServerError, Type: "HTTPInternalServerError",
		Message: "Request Failed: internal server error while processing your request.", cause: err}
}

// Is tells whether err is a fault of the given class.
func Is(err error, class string) bool {
	f, ok := errors.AsType[*Error](err)
	return ok && f.Type == class
}
