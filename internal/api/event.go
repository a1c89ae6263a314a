package api

import (
	"context"
	"encoding/json"

	"neutrino/internal/identity"
)

// Listener hears what callers do to resources, where upstream's hook for notifications does (neutron/pecan_wsgi/hooks/
// notifier.py). Its methods must not wait, and must not change the event.
type Listener interface {
	// Requested is called for a well-formed request, before policy and anything else is asked.
	Requested(ctx context.Context, e *Event)
	// Done is called when the request has succeeded and before it is answered.
	Done(ctx context.Context, e *Event)
}

// Event is the creation, the update or the deletion of an object, or of several at once.
type Event struct {
	Caller   *identity.Caller
	Resource string // "port"
	Action   string // "create", "update", "delete"
	ID       string // of the object; empty when it is created
	Body     map[string]any
	Original json.RawMessage // the object before, with all its visible attributes; nil on create
	Result   json.RawMessage // the answer: nil on delete
}

// event starts what listeners hear of a request; nil if there are none. odd is the error for a body that cannot be kept, of
// which they do not hear; upstream asks policy before it sees that.
func (c *Collection[R]) event(call *Call, action string, body map[string]any) (e *Event, odd error) {
	if odd = call.storable(body); len(c.s.listeners) == 0 || odd != nil {
		return nil, odd
	}
	e = &Event{Caller: call.Caller, Resource: c.res.Name, Action: action, ID: call.Path("id"), Body: body}
	for _, l := range c.s.listeners {
		l.Requested(call.Request.Context(), e)
	}
	return e, nil
}

// original notes the object as it was.
func (c *Collection[R]) original(e *Event, obj *R) {
	if e != nil {
		e.Original = c.res.Append(nil, obj, c.res.Shown)
	}
}

// done tells listeners that a request succeeded. The answer belongs to the request, so they get a copy.
func (s *Server) done(call *Call, e *Event, a *reply, err error) (*reply, error) {
	if e == nil || err != nil {
		return a, err
	}
	if a != nil && len(a.body) > 0 {
		e.Result = append(json.RawMessage(nil), a.body...)
	}
	for _, l := range s.listeners {
		l.Done(call.Request.Context(), e)
	}
	return a, nil
}
