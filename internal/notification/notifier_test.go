package notification

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"neutrino/internal/api"
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

// flush publishes what waits.
func flush(t *testing.T, n *Notifier) {
	for len(n.queue) > 0 {
		n.publish(t.Context(), <-n.queue)
	}
}

func TestPayloads(t *testing.T) {
	caller := &identity.Caller{UserID: "u", ProjectID: "p"}
	body := map[string]any{"port": map[string]any{"name": "x"}}
	for _, c := range []struct {
		name       string
		e          api.Event
		start, end string // payloads
	}{
		{"create", api.Event{Caller: caller, Resource: "port", Action: "create", Body: body, Result: []byte(`{"port":{"id":"1"}}`)},
			`{"port":{"name":"x"}}`, `{"port":{"id":"1"}}`},
		{"update", api.Event{Caller: caller, Resource: "port", Action: "update", ID: "1", Body: body, Original: []byte(`{"id":"1"}`), Result: []byte(`{"port":{"id":"1"}}`)},
			`{"id":"1","port":{"name":"x"}}`, `{"port":{"id":"1"}}`},
		{"delete", api.Event{Caller: caller, Resource: "port", Action: "delete", ID: "1", Original: []byte(`{"id":"1","name":"x"}`)},
			`{"port_id":"1"}`, `{"port":{"id":"1","name":"x"},"port_id":"1"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &recorder{}
			n := New(Config{Drivers: []string{"noop", "messagingv2"}, Topics: []string{"notifications"}, Host: "h"}, r, slog.New(slog.DiscardHandler))
			n.Requested(t.Context(), &c.e)
			n.Done(t.Context(), &c.e)
			flush(t, n)
			var types, payloads []string
			for _, b := range r.bodies {
				text, err := json.Marshal(b["payload"])
				if err != nil {
					t.Fatal(err)
				}
				types, payloads = append(types, b["event_type"].(string)), append(payloads, string(text))
			}
			if diff := cmp.Diff([]string{"port." + c.name + ".start", "port." + c.name + ".end"}, types); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff([]string{c.start, c.end}, payloads); diff != "" {
				t.Error(diff)
			}
		})
	}
	if diff := cmp.Diff(map[string]any{"port": map[string]any{"name": "x"}}, body); diff != "" {
		t.Errorf("the request was changed: %s", diff)
	}
}

func TestEnvelope(t *testing.T) {
	r := &recorder{}
	n := New(Config{Drivers: []string{"messaging"}, Topics: []string{"notifications", "audit"}, Host: "h"}, r, slog.New(slog.DiscardHandler))
	n.now = func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC) }
	n.Requested(t.Context(), &api.Event{Resource: "network", Action: "delete", ID: "1", Caller: &identity.Caller{UserID: "u", UserName: "un",
		UserDomainID: "ud", ProjectID: "p", ProjectName: "pn", ProjectDomainID: "pd", Roles: []string{"admin"}, IsAdmin: true, RequestID: "req-1"}})
	flush(t, n)
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
	n.Requested(t.Context(), &api.Event{Resource: "network", Action: "delete", ID: "1", Caller: &identity.Caller{}})
	flush(t, n)
	if !strings.Contains(out.String(), "oslo.messaging.notification.network.delete.start") {
		t.Error(out.String())
	}
}

func TestQueueIsBounded(t *testing.T) {
	n := New(Config{}, nil, slog.New(slog.DiscardHandler))
	for range queueLength + 5 {
		n.Requested(t.Context(), &api.Event{Resource: "network", Action: "delete", Caller: &identity.Caller{}})
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
