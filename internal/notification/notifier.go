// Package notification publishes what callers do to resources, for those who meter or watch the cloud: upstream's
// port.create.start, port.create.end and so on.
package notification

import (
	"context"
	"maps"

	"neutrino/internal/api"
	"neutrino/internal/notify"
)

// Notifier implements api.Listener.
type Notifier struct{ publisher *notify.Publisher }

// New makes a Notifier that has p publish.
func New(p *notify.Publisher) *Notifier { return &Notifier{p} }

// Requested implements api.Listener.
func (n *Notifier) Requested(_ context.Context, e *api.Event) {
	payload := maps.Clone(e.Body)
	switch e.Action {
	case "update":
		if payload == nil {
			return
		}
		payload["id"] = e.ID
	case "delete":
		payload = map[string]any{e.Resource + "_id": e.ID}
	}
	n.add(e, "start", payload)
}

// Done implements api.Listener.
func (n *Notifier) Done(_ context.Context, e *api.Event) {
	if e.Action == "delete" {
		n.add(e, "end", map[string]any{e.Resource: e.Original, e.Resource + "_id": e.ID})
		return
	}
	n.add(e, "end", e.Result)
}

func (n *Notifier) add(e *api.Event, phase string, payload any) {
	n.publisher.Publish(e.Caller, e.Resource+"."+e.Action+"."+phase, payload)
}
