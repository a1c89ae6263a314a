package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"neutrino/internal/bus"
)

const (
	maxHandlers    = 64               // of one Serve at a time
	maxQueued      = 16384            // messages of one subscription that wait for a handler; more are dropped and logged
	maxQueuedBytes = 2 * maxPayload   // the same limit in bytes
	stopTimeout    = 10 * time.Second // after it handlers see their context end and waiting messages are dropped
	syncTimeout    = 5 * time.Second
)

// service is one Serve: up to three subscriptions and one handler.
type service struct {
	t       *transport
	topic   string
	handler bus.Handler
	slots   chan struct{}
	ctx     context.Context // of handlers
	cancel  context.CancelFunc
	subs    []*natsgo.Subscription
	open    sync.WaitGroup // subscriptions
	running sync.WaitGroup // handlers
	stop    func()
}

// Serve must not be stopped, nor the transport closed, from within a handler: both wait for it.
func (t *transport) Serve(topic, host string, h bus.Handler) (func(), error) {
	if t.closed.Load() {
		return nil, bus.ErrClosed
	}
	s := &service{t: t, topic: topic, handler: h, slots: make(chan struct{}, maxHandlers)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.stop = sync.OnceFunc(s.shutdown)
	if err := s.subscribe(host); err != nil {
		s.stop()
		return nil, err
	}
	t.mu.Lock()
	t.services[s] = struct{}{}
	t.mu.Unlock()
	return s.stop, nil
}

func (s *service) subscribe(host string) error {
	targets := []bus.Target{{Topic: s.topic}, {Topic: s.topic, Fanout: true}}
	if host != "" {
		targets = append(targets, bus.Target{Topic: s.topic, Host: host})
	}
	for _, to := range targets {
		name, err := subject(to)
		if err != nil {
			return err
		}
		queue := "" // everybody who subscribed
		if !to.Fanout && to.Host == "" {
			queue = "servers"
		}
		receive := s.receive
		if queue == "" {
			receive = s.receiveInOrder
		}
		sub, err := s.t.conn.QueueSubscribe(name, queue, receive)
		if err != nil {
			return fmt.Errorf("bus: subscribe to %s: %w", name, err)
		}
		s.watch(sub)
		s.subs = append(s.subs, sub)
		if err := sub.SetPendingLimits(maxQueued, maxQueuedBytes); err != nil {
			return fmt.Errorf("bus: limit the queue of %s: %w", name, err)
		}
	}
	// The server must know the subscriptions before a caller on another connection may rely on them. Without a
	// connection they are sent when it comes back.
	if s.t.conn.IsConnected() {
		if err := s.t.conn.FlushTimeout(syncTimeout); err != nil {
			s.t.log.Warn("bus: the server did not confirm subscriptions in time", "topic", s.topic, "error", err)
		}
	}
	return nil
}

// watch counts the subscription as open until NATS has handed over its last message.
func (s *service) watch(sub *natsgo.Subscription) {
	s.open.Add(1)
	done := sync.OnceFunc(s.open.Done)
	sub.SetClosedHandler(func(string) { done() })
	if !sub.IsValid() { // closed before the handler was set, which then is not called
		done()
	}
}

// receive is called by NATS, one message of a subscription after the other: while it blocks, the rest is queued.
func (s *service) receive(msg *natsgo.Msg) {
	select {
	case s.slots <- struct{}{}:
	case <-s.ctx.Done():
		return
	}
	s.running.Go(func() {
		defer func() { <-s.slots }()
		s.answer(msg)
	})
}

// receiveInOrder handles casts at once, so that what is taken back later is not taken back before it was said.
func (s *service) receiveInOrder(msg *natsgo.Msg) {
	if msg.Reply != "" {
		s.receive(msg)
		return
	}
	s.running.Add(1)
	defer s.running.Done()
	if s.ctx.Err() == nil {
		s.answer(msg)
	}
}

func (s *service) answer(msg *natsgo.Msg) {
	var m bus.Message
	var result any
	err := json.Unmarshal(msg.Data, &m)
	if err == nil {
		result, err = s.handle(&m)
	}
	if msg.Reply == "" { // a cast
		if err != nil {
			s.t.log.Warn("bus: cast failed", "topic", s.topic, "method", m.Method, "error", err)
		}
		return
	}
	if err := msg.Respond(s.encode(m.Method, result, err)); err != nil {
		s.t.log.Warn("bus: answer is lost", "topic", s.topic, "method", m.Method, "error", err)
	}
}

func (s *service) encode(method string, result any, err error) []byte {
	if err == nil {
		var data []byte
		if data, err = json.Marshal(response{Result: result}); err == nil {
			if err = s.t.checkSize(data); err == nil {
				return data
			}
		}
		err = fmt.Errorf("bus: answer of %s.%s: %w", s.topic, method, err)
		s.t.log.Error("bus: answer cannot be sent", "topic", s.topic, "method", method, "error", err)
	}
	remote, ok := errors.AsType[*bus.RemoteError](err)
	if !ok {
		remote = &bus.RemoteError{Message: err.Error()}
	}
	data, _ := json.Marshal(response{Failure: remote}) // two strings always encode
	return data
}

func (s *service) handle(m *bus.Message) (result any, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.t.log.Error("bus: handler panicked", "topic", s.topic, "method", m.Method, "panic", p, "stack", string(debug.Stack()))
			err = &bus.RemoteError{Class: "InternalError", Message: fmt.Sprintf("%s.%s panicked: %v", s.topic, m.Method, p)}
		}
	}()
	return s.handler(s.ctx, m)
}

// shutdown takes no new messages and waits for those that have arrived.
func (s *service) shutdown() {
	abandon := func() { s.each((*natsgo.Subscription).Unsubscribe) } // what waits for a handler is dropped
	impatient := time.AfterFunc(stopTimeout, func() {
		s.t.log.Warn("bus: handlers do not end, cancelling them", "topic", s.topic)
		s.cancel()
		abandon()
	})
	// To drain takes a round trip, which a connection that is gone or ends meanwhile does not give.
	detach := context.AfterFunc(s.t.currentLink(), abandon)
	if s.t.conn.IsConnected() {
		s.each((*natsgo.Subscription).Drain)
	} else {
		abandon()
	}
	s.open.Wait()
	s.running.Wait()
	detach()
	impatient.Stop()
	s.cancel()
	s.t.mu.Lock()
	delete(s.t.services, s)
	s.t.mu.Unlock()
}

func (s *service) each(f func(*natsgo.Subscription) error) {
	for _, sub := range s.subs {
		if err := f(sub); err != nil && !errors.Is(err, natsgo.ErrBadSubscription) && !errors.Is(err, natsgo.ErrConnectionClosed) {
			s.t.log.Debug("bus: end subscription", "subject", sub.Subject, "error", err)
		}
	}
}
