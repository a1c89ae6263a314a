// Package notification publishes what callers do to resources, for those who meter or watch the cloud: upstream's
// port.create.start, port.create.end and so on, in oslo.messaging's format.
package notification

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"neutrino/internal/api"
	"neutrino/internal/bus"
	"neutrino/internal/identity"

	"github.com/google/uuid"
)

// Config says where notifications go: the options of [oslo_messaging_notifications].
type Config struct {
	Drivers []string // "messaging", "messagingv2", "log", "noop"
	Topics  []string // of the bus; the priority is added: "notifications.info"
	Host    string   // of this server
}

const (
	queueLength = 10000
	priority    = "INFO" // Neutron knows no other
)

// Notifier implements api.Listener.
type Notifier struct {
	cfg   Config
	bus   bus.Transport
	log   *slog.Logger
	queue chan message
	now   func() time.Time
}

// message is a notification that waits to be published.
type message struct {
	eventType string
	body      json.RawMessage
}

// New makes a Notifier; Run publishes.
func New(cfg Config, transport bus.Transport, log *slog.Logger) *Notifier {
	return &Notifier{cfg: cfg, bus: transport, log: log, queue: make(chan message, queueLength), now: time.Now}
}

// Wanted tells whether any of the drivers publishes anything.
func Wanted(drivers []string) bool {
	return slices.ContainsFunc(drivers, func(d string) bool { return d != "noop" })
}

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

// add queues a notification. Publishing must not hold up requests, and lost notifications are no harm to the network.
func (n *Notifier) add(e *api.Event, phase string, payload any) {
	m := message{eventType: e.Resource + "." + e.Action + "." + phase}
	now := n.now().UTC().Format("2006-01-02 15:04:05.000000")
	all := map[string]any{"message_id": uuid.NewString(), "publisher_id": "network." + n.cfg.Host, "event_type": m.eventType,
		"priority": priority, "payload": payload, "timestamp": now}
	for name, value := range contextOf(e.Caller) {
		all["_context_"+name] = value
	}
	all["_context_timestamp"] = now
	var err error
	if m.body, err = json.Marshal(all); err != nil {
		n.log.Error("encode a notification", "event_type", m.eventType, "error", err)
		return
	}
	select {
	case n.queue <- m:
	default:
		n.log.Warn("notification dropped, too many wait to be published", "event_type", m.eventType)
	}
}

// contextOf is what neutron_lib's context tells about a caller, without secrets.
func contextOf(c *identity.Caller) map[string]any {
	orNull := func(s string) any {
		if s == "" {
			return nil
		}
		return s
	}
	return map[string]any{"user_id": orNull(c.UserID), "user_name": orNull(c.UserName), "user": orNull(c.UserID), "user_domain": orNull(c.UserDomainID),
		"project_id": orNull(c.ProjectID), "project_name": orNull(c.ProjectName), "tenant": orNull(c.ProjectID), "project": orNull(c.ProjectID),
		"project_domain": orNull(c.ProjectDomainID), "domain": orNull(c.DomainID), "system_scope": orNull(c.SystemScope), "roles": c.Roles,
		"is_admin": c.IsAdmin, "is_admin_project": !c.NotAdminProject, "request_id": c.RequestID, "global_request_id": orNull(c.GlobalRequestID)}
}

// Run publishes until ctx ends.
func (n *Notifier) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-n.queue:
			n.publish(ctx, m)
		}
	}
}

func (n *Notifier) publish(ctx context.Context, m message) {
	for _, driver := range n.cfg.Drivers {
		switch driver {
		case "log":
			n.log.Info("oslo.messaging.notification." + m.eventType + " " + string(m.body))
		case "messaging", "messagingv2":
			for _, topic := range n.cfg.Topics {
				to := bus.Target{Topic: topic + "." + strings.ToLower(priority)}
				if err := n.bus.Cast(ctx, to, &bus.Message{Method: strings.ToLower(priority), Args: m.body}); err != nil {
					n.log.Error("publish a notification", "topic", to.Topic, "event_type", m.eventType, "error", err)
				}
			}
		}
	}
}
