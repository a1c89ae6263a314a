// Package notify publishes notifications in oslo.messaging's format, for those who meter or watch the cloud.
package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"neutrino/internal/bus"
	"neutrino/internal/identity"

	"github.com/google/uuid"
)

// Config says where notifications go: the options of [oslo_messaging_notifications].
type Config struct {
	Drivers   []string // "messaging", "messagingv2", "log", "noop"
	Topics    []string // of the bus; the priority is added: "notifications.info"
	Publisher string   // "network.HOST"
}

const (
	queueLength = 10000
	priority    = "INFO" // Neutron knows no other
)

// Publisher publishes what it is given, in order.
type Publisher struct {
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

// New makes a Publisher; Run publishes.
func New(cfg Config, transport bus.Transport, log *slog.Logger) *Publisher {
	return &Publisher{cfg: cfg, bus: transport, log: log, queue: make(chan message, queueLength), now: time.Now}
}

// CheckDrivers refuses drivers that there are not.
func CheckDrivers(drivers []string) error {
	for _, driver := range drivers {
		if !slices.Contains([]string{"messaging", "messagingv2", "log", "noop"}, driver) {
			return fmt.Errorf("[oslo_messaging_notifications] driver: %q is not messaging, messagingv2, log or noop", driver)
		}
	}
	return nil
}

// Wanted tells whether any of the drivers publishes anything.
func Wanted(drivers []string) bool {
	return slices.ContainsFunc(drivers, func(d string) bool { return d != "noop" })
}

// Publish queues a notification on behalf of caller. Publishing must not hold up requests, and lost notifications are no
// harm to the network: if too many wait it is dropped, and that is logged.
func (p *Publisher) Publish(caller *identity.Caller, eventType string, payload any) {
	m, err := p.encode(caller, eventType, payload)
	if err != nil {
		p.log.Error("encode a notification", "event_type", eventType, "error", err)
		return
	}
	select {
	case p.queue <- m:
	default:
		p.log.Warn("notification dropped, too many wait to be published", "event_type", eventType)
	}
}

// Send publishes a notification at once, for those who must know whether it got away.
func (p *Publisher) Send(ctx context.Context, caller *identity.Caller, eventType string, payload any) error {
	m, err := p.encode(caller, eventType, payload)
	if err != nil {
		return fmt.Errorf("encode notification %s: %w", eventType, err)
	}
	return p.publish(ctx, m)
}

func (p *Publisher) encode(caller *identity.Caller, eventType string, payload any) (message, error) {
	now := p.now().UTC().Format("2006-01-02 15:04:05.000000")
	all := map[string]any{"message_id": uuid.NewString(), "publisher_id": p.cfg.Publisher, "event_type": eventType,
		"priority": priority, "payload": payload, "timestamp": now}
	for name, value := range contextOf(caller) {
		all["_context_"+name] = value
	}
	all["_context_timestamp"] = now
	body, err := json.Marshal(all)
	return message{eventType, body}, err
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

// Run publishes what is queued until ctx ends.
func (p *Publisher) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-p.queue:
			p.try(ctx, m)
		}
	}
}

// Flush publishes what waits.
func (p *Publisher) Flush(ctx context.Context) {
	for {
		select {
		case m := <-p.queue:
			p.try(ctx, m)
		default:
			return
		}
	}
}

func (p *Publisher) try(ctx context.Context, m message) {
	if err := p.publish(ctx, m); err != nil {
		p.log.Error("publish a notification", "error", err)
	}
}

func (p *Publisher) publish(ctx context.Context, m message) error {
	var failed []error
	for _, driver := range p.cfg.Drivers {
		switch driver {
		case "log":
			p.log.Info("oslo.messaging.notification." + m.eventType + " " + string(m.body))
		case "messaging", "messagingv2":
			for _, topic := range p.cfg.Topics {
				to := bus.Target{Topic: topic + "." + strings.ToLower(priority)}
				if err := p.bus.Cast(ctx, to, &bus.Message{Method: strings.ToLower(priority), Args: m.body}); err != nil {
					failed = append(failed, fmt.Errorf("%s on %s: %w", m.eventType, to.Topic, err))
				}
			}
		}
	}
	return errors.Join(failed...)
}
