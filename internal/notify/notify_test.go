package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"neutrino/internal/bus"
	"neutrino/internal/identity"

	"github.com/google/go-cmp/cmp"
)

// recorder is a bus that keeps what is cast.
type recorder struct {
	bus.Transport
	topics []string
	bodies []map[string]any
}

func (r *recorder) Cast(_ context.Context, to bus.Target, m *bus.Message) error {
	var body map[string]any
	if err := json.Unmarshal(m.Args, &body); err != nil {
		return err
	}
	r.topics, r.bodies = append(r.topics, to.Topic), append(r.bodies, body)
	return nil
}

func TestEnvelope(t *testing.T) {
	r := &recorder{}
	n := New(Config{Drivers: []string{"messaging"}, Topics: []string{"notifications", "audit"}, Publisher: "network.h"}, r, slog.New(slog.DiscardHandler))
	n.now = func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC) }
	n.Publish(&identity.Caller{UserID: "u", UserName: "un",
		UserDomainID: "ud", ProjectID: "p", ProjectName: "pn", ProjectDomainID: "pd", Roles: []string{"admin"}, IsAdmin: true, RequestID: "req-1"}, "network.delete.start", map[string]any{"network_id": "1"})
	n.Flush(t.Context())
	if diff := cmp.Diff([]string{"notifications.info", "audit.info"}, r.topics); diff != "" {
		t.Error(diff)
	}
	got := r.bodies[0]
	if id, _ := got["message_id"].(string); len(id) != 36 {
		t.Errorf("message_id %q", id)
	}
	delete(got, "message_id")
	want := map[string]any{"publisher_id": "network.h", "event_type": "network.delete.start", "priority": "INFO", "payload": map[string]any{"network_id": "1"},
		"timestamp": "2026-01-02 03:04:05.000006", "_context_timestamp": "2026-01-02 03:04:05.000006",
		"_context_user_id": "u", "_context_user_name": "un", "_context_user": "u", "_context_user_domain": "ud", "_context_project_id": "p",
		"_context_project_name": "pn", "_context_tenant": "p", "_context_project": "p", "_context_project_domain": "pd", "_context_domain": nil,
		"_context_system_scope": nil, "_context_roles": []any{"admin"}, "_context_is_admin": true, "_context_is_admin_project": true,
		"_context_request_id": "req-1", "_context_global_request_id": nil}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestLogDriver(t *testing.T) {
	var out bytes.Buffer
	n := New(Config{Drivers: []string{"log"}}, nil, slog.New(slog.NewTextHandler(&out, nil)))
	n.Publish(&identity.Caller{}, "network.delete.start", map[string]any{"network_id": "1"})
	n.Flush(t.Context())
	if !strings.Contains(out.String(), "oslo.messaging.notification.network.delete.start") {
		t.Error(out.String())
	}
}

func TestQueueIsBounded(t *testing.T) {
	n := New(Config{}, nil, slog.New(slog.DiscardHandler))
	for range queueLength + 5 {
		n.Publish(&identity.Caller{}, "network.delete.start", nil)
	}
	if len(n.queue) != queueLength {
		t.Errorf("%d wait", len(n.queue))
	}
}

func TestWanted(t *testing.T) {
	for drivers, want := range map[string]bool{"": false, "noop": false, "noop messagingv2": true, "log": true} {
		if got := Wanted(strings.Fields(drivers)); got != want {
			t.Errorf("%q: %v", drivers, got)
		}
	}
}
