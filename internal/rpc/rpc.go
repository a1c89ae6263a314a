// Package rpc is the typed agent API: upstream's topics, methods, arguments and results (spec section 4), used by both
// sides. A Method value is one remote method; servers add handlers to a Mux, clients call Method.Call or Method.Cast.
package rpc

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"neutrino/internal/bus"
	"neutrino/internal/fault"
)

// Topics of servers and agents (upstream neutron_lib/agent/topics.py).
const (
	TopicPlugin   = "q-plugin"
	TopicReports  = "q-reports-plugin"
	TopicL3Plugin = "q-l3-plugin"

	TopicMeteringPlugin = "q-metering-plugin"

	TopicDHCPAgent     = "dhcp_agent"
	TopicL3Agent       = "l3_agent"
	TopicMeteringAgent = "metering_agent"

	TopicPortUpdate          = "q-agent-notifier-port-update"
	TopicPortDelete          = "q-agent-notifier-port-delete"
	TopicNetworkUpdate       = "q-agent-notifier-network-update"
	TopicNetworkDelete       = "q-agent-notifier-network-delete"
	TopicSecurityGroupUpdate = "q-agent-notifier-security_group-update"
	TopicTunnelUpdate        = "q-agent-notifier-tunnel-update"
	TopicTunnelDelete        = "q-agent-notifier-tunnel-delete"
	TopicL2PopulationUpdate  = "q-agent-notifier-l2population-update"
)

// CallTimeout is upstream's rpc_response_timeout.
const CallTimeout = 60 * time.Second

// Method is one remote method with arguments A and result R. The zero Topic is not valid for Call.
type Method[A, R any] struct {
	Topic   string
	Name    string
	Version string // of the interface that has the method
}

// None is the result of methods that return nothing.
type None = struct{}

// Call runs the method on any server of its topic, or on the one of host if that is not empty.
func (m Method[A, R]) Call(ctx context.Context, t bus.Transport, host string, args A) (R, error) {
	var r R
	msg, err := m.message(args)
	if err != nil {
		return r, err
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, CallTimeout)
		defer cancel()
	}
	if err := t.Call(ctx, bus.Target{Topic: m.Topic, Host: host}, msg, &r); err != nil {
		return r, fmt.Errorf("%s.%s: %w", m.Topic, m.Name, err)
	}
	return r, nil
}

// Cast sends the call to host (or any one server) and does not wait.
func (m Method[A, R]) Cast(ctx context.Context, t bus.Transport, host string, args A) error {
	return m.cast(ctx, t, bus.Target{Topic: m.Topic, Host: host}, args)
}

// Fanout sends the call to every server of the topic and does not wait.
func (m Method[A, R]) Fanout(ctx context.Context, t bus.Transport, args A) error {
	return m.cast(ctx, t, bus.Target{Topic: m.Topic, Fanout: true}, args)
}

func (m Method[A, R]) cast(ctx context.Context, t bus.Transport, to bus.Target, args A) error {
	msg, err := m.message(args)
	if err != nil {
		return err
	}
	if err := t.Cast(ctx, to, msg); err != nil {
		return fmt.Errorf("%s.%s: %w", m.Topic, m.Name, err)
	}
	return nil
}

func (m Method[A, R]) message(args A) (*bus.Message, error) {
	raw, err := json.Marshal(args)
	if err != nil {
		return nil, fmt.Errorf("%s arguments: %w", m.Name, err)
	}
	return &bus.Message{Method: m.Name, Version: m.Version, Args: raw}, nil
}

// Mux collects the handlers of one process, by topic and method.
type Mux struct {
	log      *slog.Logger
	handlers map[string]map[string]bus.Handler
}

// NewMux makes an empty Mux.
func NewMux(log *slog.Logger) *Mux {
	return &Mux{log: log, handlers: map[string]map[string]bus.Handler{}}
}

// Handle adds f as the handler of m. It must not be called after Serve.
func Handle[A, R any](x *Mux, m Method[A, R], f func(ctx context.Context, args A) (R, error)) {
	if x.handlers[m.Topic] == nil {
		x.handlers[m.Topic] = map[string]bus.Handler{}
	}
	x.handlers[m.Topic][m.Name] = func(ctx context.Context, msg *bus.Message) (any, error) {
		var args A
		if len(msg.Args) > 0 {
			if err := json.Unmarshal(msg.Args, &args); err != nil {
				return nil, fmt.Errorf("%s arguments: %w", m.Name, err)
			}
		}
		return f(ctx, args)
	}
}

// Serve starts to answer all topics of the Mux as host. stop ends it and waits for running handlers.
func (x *Mux) Serve(t bus.Transport, host string) (stop func(), err error) {
	var stops []func()
	stop = func() {
		for _, s := range stops {
			s()
		}
	}
	for topic, methods := range x.handlers {
		s, err := t.Serve(topic, host, x.dispatch(topic, methods))
		if err != nil {
			stop()
			return nil, fmt.Errorf("serve %s: %w", topic, err)
		}
		stops = append(stops, s)
	}
	return stop, nil
}

func (x *Mux) dispatch(topic string, methods map[string]bus.Handler) bus.Handler {
	return func(ctx context.Context, m *bus.Message) (any, error) {
		h := methods[m.Method]
		if h == nil {
			return nil, &bus.RemoteError{Class: "UnsupportedVersion",
				Message: fmt.Sprintf("Endpoint does not support RPC version %s. Attempted method: %s", m.Version, m.Method)}
		}
		r, err := h(ctx, m)
		if err == nil {
			return r, nil
		}
		f := fault.As(err)
		if f.Status >= 500 {
			x.log.Error("RPC method failed", "topic", topic, "method", m.Method, "error", err)
		}
		return nil, &bus.RemoteError{Class: f.Type, Message: f.Message}
	}
}
