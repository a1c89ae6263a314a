// Package bus carries calls between servers and agents. It knows topics, hosts and JSON, and nothing of networking.
//
// The model is oslo.messaging's: a topic is served by any number of processes; a message goes to one of them, to the
// one on a named host, or to all. Messages may be lost; whoever needs certainty asks again.
package bus

import (
	"context"
	"encoding/json"
	"errors"
)

// Errors of Call.
var (
	// ErrTimeout: nobody answered before the context's deadline.
	ErrTimeout = errors.New("bus: no answer in time")
	// ErrNoResponder: nobody serves the topic (or host) at the moment.
	ErrNoResponder = errors.New("bus: nobody serves this topic")
	// ErrClosed: the transport was closed.
	ErrClosed = errors.New("bus: closed")
)

// RemoteError is a failure that the other side reported. Class is upstream's exception class if it was a fault.
type RemoteError struct {
	Class   string `json:"class"`
	Message string `json:"message"`
}

func (e *RemoteError) Error() string {
	if e.Class == "" {
		return "remote error: " + e.Message
	}
	return "remote error: " + e.Class + ": " + e.Message
}

// Target says where a message goes.
type Target struct {
	Topic  string
	Host   string // only the server on this host; "" = any one
	Fanout bool   // every server of the topic; Host is ignored
}

// Message is one request: upstream's inner request without the envelope.
type Message struct {
	Method  string            `json:"method"`
	Args    json.RawMessage   `json:"args"`
	Version string            `json:"version,omitempty"`
	Context map[string]string `json:"context,omitempty"` // request_id, user_id, project_id …
}

// Handler answers one request. A nil result is JSON null. It must be safe for concurrent use.
type Handler func(ctx context.Context, m *Message) (result any, err error)

// Transport is implemented by bus/nats (embedded or external NATS; in process for all-in-one).
type Transport interface {
	// Call sends m and decodes the answer into reply (which may be nil). The context's deadline bounds the wait;
	// without one the transport's own default (60 s) does.
	Call(ctx context.Context, to Target, m *Message, reply any) error
	// Cast sends m without waiting for an answer.
	Cast(ctx context.Context, to Target, m *Message) error
	// Serve handles the topic's messages (for anybody, for host, and fanouts) until stop is called, which waits for
	// running handlers. Casts to the host are handled one after the other in the order in which they came, and so are
	// fanouts; all other messages of a topic concurrently.
	Serve(topic, host string, h Handler) (stop func(), err error)
	// Reconnected is signalled each time a lost connection came back; agents then resync. It is never closed.
	Reconnected() <-chan struct{}
	// Healthy tells whether the connection is up.
	Healthy() bool
	Close() error
}
