package notification

import (
	"context"
	"encoding/json"
	"log/slog"
	"testing"

	"neutrino/internal/api"
	"neutrino/internal/bus"
	"neutrino/internal/identity"
	"neutrino/internal/notify"

	"github.com/google/go-cmp/cmp"
)

// recorder is a bus that keeps what is cast.
type recorder struct {
	bus.Transport
	bodies []map[string]any
}

func (r *recorder) Cast(_ context.Context, _ bus.Target, m *bus.Message) error {
	var body map[string]any
	if err := json.Unmarshal(m.Args, &body); err != nil {
		return err
	}
	r.bodies = append(r.bodies, body)
	return nil
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
			p := notify.New(notify.Config{Drivers: []string{"noop", "messagingv2"}, Topics: []string{"notifications"}}, r, slog.New(slog.DiscardHandler))
			n := New(p)
			n.Requested(t.Context(), &c.e)
			n.Done(t.Context(), &c.e)
			p.Flush(t.Context())
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
