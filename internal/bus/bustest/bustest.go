// Package bustest is a bus within one process, for tests: messages arrive at once, in JSON as on a real bus.
package bustest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"neutrino/internal/bus"
)

// Bus is a bus.Transport. The zero value is not usable, see New.
type Bus struct {
	reconnected chan struct{}

	mu      sync.Mutex
	servers []*server
}

type server struct {
	topic, host string
	handle      bus.Handler
}

// New makes a bus.
func New() *Bus { return &Bus{reconnected: make(chan struct{}, 1)} }

// Call implements bus.Transport.
func (b *Bus) Call(ctx context.Context, to bus.Target, m *bus.Message, reply any) error {
	servers := b.find(to)
	if len(servers) == 0 {
		return bus.ErrNoResponder
	}
	result, err := servers[0].handle(ctx, clone(m))
	if err != nil {
		if remote, ok := errors.AsType[*bus.RemoteError](err); ok {
			return remote
		}
		return err
	}
	raw, err := json.Marshal(result)
	if err != nil {
		return fmt.Errorf("result of %s: %w", m.Method, err)
	}
	if reply == nil {
		return nil
	}
	return json.Unmarshal(raw, reply)
}

// Cast implements bus.Transport. The message is handled before Cast returns.
func (b *Bus) Cast(ctx context.Context, to bus.Target, m *bus.Message) error {
	for _, s := range b.find(to) {
		if _, err := s.handle(ctx, clone(m)); err != nil {
			return err
		}
		if !to.Fanout {
			return nil
		}
	}
	return nil
}

func (b *Bus) find(to bus.Target) (out []*server) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.servers {
		if s.topic == to.Topic && (to.Fanout || to.Host == "" || to.Host == s.host) {
			out = append(out, s)
		}
	}
	return out
}

func clone(m *bus.Message) *bus.Message {
	c := *m
	c.Args = slices.Clone(m.Args)
	return &c
}

// Serve implements bus.Transport.
func (b *Bus) Serve(topic, host string, h bus.Handler) (stop func(), err error) {
	s := &server{topic, host, h}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.servers = append(b.servers, s)
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.servers = slices.DeleteFunc(b.servers, func(o *server) bool { return o == s })
	}, nil
}

// Reconnect makes as if the connection had been lost and come back.
func (b *Bus) Reconnect() { b.reconnected <- struct{}{} }

// Reconnected implements bus.Transport.
func (b *Bus) Reconnected() <-chan struct{} { return b.reconnected }

// Healthy implements bus.Transport.
func (b *Bus) Healthy() bool { return true }

// Close implements bus.Transport.
func (b *Bus) Close() error { return nil }
