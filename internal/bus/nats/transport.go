package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"neutrino/internal/bus"
)

const (
	callTimeout    = 60 * time.Second // of calls without a deadline; upstream's rpc_response_timeout
	dialTimeout    = 2 * time.Second
	firstReconnect = 50 * time.Millisecond
	maxReconnect   = 2 * time.Second
)

// errLost is why a call in flight ends when the connection does. The other side may have acted on it.
var errLost = errors.New("the connection to the bus was lost before the answer came")

// Config describes a connection to a NATS server.
type Config struct {
	URL      string // nats://host:port or tls://host:port; several, separated by commas, are tried in turn
	User     string
	Password string
	Token    string // instead of User and Password
	TLS      TLS
	Name     string // for NATS' own diagnostics; by custom daemon@host

	inProcess natsgo.InProcessConnProvider
}

// Dial makes a connection that is kept up forever. It succeeds even if no server is there yet: until one is, calls
// fail with bus.ErrNoResponder. Errors are those of the configuration.
func Dial(c Config, log *slog.Logger) (bus.Transport, error) { return connect(c, log) }

// transport is bus.Transport on one NATS connection.
type transport struct {
	log         *slog.Logger
	conn        *natsgo.Conn
	reconnected chan struct{}
	closing     sync.Once
	closed      atomic.Bool
	limits      limits
	gone        chan struct{} // closed when the connection is closed for good

	mu       sync.Mutex
	link     context.Context // calls in flight end with it; replaced when the connection is lost
	cut      context.CancelCauseFunc
	services map[*service]struct{}
	trouble  string // last logged reason of a failed reconnect
}

func connect(c Config, log *slog.Logger) (*transport, error) {
	t := &transport{
		log:         log,
		reconnected: make(chan struct{}, 1),
		gone:        make(chan struct{}),
		services:    map[*service]struct{}{},
	}
	t.link, t.cut = context.WithCancelCause(context.Background())
	opts, err := t.options(c)
	if err != nil {
		return nil, err
	}
	if t.conn, err = natsgo.Connect(c.URL, opts...); err != nil {
		return nil, fmt.Errorf("bus: connect: %w", err) // the URL may carry a password
	}
	return t, nil
}

func (t *transport) options(c Config) ([]natsgo.Option, error) {
	opts := []natsgo.Option{
		natsgo.Name(c.Name),
		natsgo.Timeout(dialTimeout),
		natsgo.PingInterval(pingInterval),
		natsgo.MaxPingsOutstanding(2),
		natsgo.RetryOnFailedConnect(true),
		natsgo.MaxReconnects(-1),
		natsgo.IgnoreAuthErrorAbort(), // the server's secret may be put right later
		natsgo.CustomReconnectDelay(reconnectDelay),
		natsgo.ReconnectBufSize(-1), // what is sent while disconnected fails at once
		natsgo.ConnectHandler(t.onFirstConnect),
		natsgo.ReconnectHandler(t.onConnect),
		natsgo.DisconnectErrHandler(t.onDisconnect),
		natsgo.ReconnectErrHandler(t.onTrouble),
		natsgo.ErrorHandler(t.onError),
		natsgo.ClosedHandler(func(*natsgo.Conn) { close(t.gone) }),
	}
	if c.inProcess != nil {
		opts = append(opts, natsgo.InProcessServer(c.inProcess))
	}
	if c.Token != "" {
		opts = append(opts, natsgo.Token(c.Token))
	} else if c.User != "" {
		opts = append(opts, natsgo.UserInfo(c.User, c.Password))
	}
	if c.TLS.enabled() {
		config, err := c.TLS.config()
		if err != nil {
			return nil, err
		}
		opts = append(opts, natsgo.Secure(config))
	}
	return opts, nil
}

// reconnectDelay is a random back-off, so that the agents of a cloud do not come back in one moment.
func reconnectDelay(attempts int) time.Duration {
	d := maxReconnect
	if attempts < 6 {
		d = min(d, firstReconnect<<attempts)
	}
	return d/2 + rand.N(d/2)
}

// onFirstConnect is silent unless the connection came late: callers saw failures meanwhile.
func (t *transport) onFirstConnect(c *natsgo.Conn) {
	t.mu.Lock()
	late := t.trouble != ""
	t.mu.Unlock()
	if late {
		t.onConnect(c)
	}
}

func (t *transport) onConnect(c *natsgo.Conn) {
	t.mu.Lock()
	t.trouble = ""
	t.mu.Unlock()
	t.log.Info("bus is connected", "server", c.ConnectedUrlRedacted())
	select {
	case t.reconnected <- struct{}{}:
	default: // one signal is waiting already
	}
}

func (t *transport) onDisconnect(_ *natsgo.Conn, err error) {
	if !t.closed.Load() {
		t.log.Warn("bus connection lost", "error", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cut(errLost)
	t.link, t.cut = context.WithCancelCause(context.Background())
}

// onTrouble logs why a reconnect failed, once for each reason in a row.
func (t *transport) onTrouble(_ *natsgo.Conn, err error) {
	if err == nil || t.closed.Load() {
		return
	}
	t.mu.Lock()
	known := t.trouble == err.Error()
	t.trouble = err.Error()
	t.mu.Unlock()
	if !known {
		t.log.Warn("cannot connect to the bus, will keep trying", "error", err)
	}
}

func (t *transport) onError(_ *natsgo.Conn, sub *natsgo.Subscription, err error) {
	if sub == nil {
		t.log.Warn("bus error", "error", err)
		return
	}
	dropped, _ := sub.Dropped()
	t.log.Error("bus subscription", "subject", sub.Subject, "error", err, "dropped", dropped)
}

func (t *transport) Reconnected() <-chan struct{} { return t.reconnected }

func (t *transport) Healthy() bool { return t.conn.IsConnected() }

// response is the answer to a call: a result or a failure.
type response struct {
	Result  any              `json:"result"`
	Failure *bus.RemoteError `json:"failure,omitempty"`
}

func (t *transport) Call(ctx context.Context, to bus.Target, m *bus.Message, reply any) error {
	if to.Fanout {
		return fmt.Errorf("bus: %s: a call has one answer, a fanout must be cast", to.Topic)
	}
	subject, data, err := t.encode(to, m)
	if err != nil {
		return err
	}
	limit, began, most := t.limits.of(m.Method), time.Now(), callTimeout
	if deadline, ok := ctx.Deadline(); ok {
		most = time.Until(deadline)
	}
	ctx, done := context.WithTimeout(ctx, limit)
	defer done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(t.currentLink(), func() { cancel(errLost) })()

	msg, err := t.conn.RequestWithContext(ctx, subject, data)
	took := time.Since(began)
	if err == nil || took >= limit {
		t.limits.ended(m.Method, limit, took, most, err == nil)
	}
	if err != nil {
		return callError(ctx, to, err)
	}
	return decodeResponse(msg.Data, to, reply)
}

func (t *transport) Cast(ctx context.Context, to bus.Target, m *bus.Message) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	subject, data, err := t.encode(to, m)
	if err != nil {
		return err
	}
	if err := t.conn.Publish(subject, data); err != nil {
		return callError(ctx, to, err)
	}
	return nil
}

func (t *transport) currentLink() context.Context {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.link
}

// encode also checks whether the message can be sent: nats.go forgets to clean up after a request it could not send.
func (t *transport) encode(to bus.Target, m *bus.Message) (string, []byte, error) {
	s, err := subject(to)
	if err != nil {
		return "", nil, err
	}
	data, err := json.Marshal(m)
	if err != nil {
		return "", nil, fmt.Errorf("bus: encode %s: %w", m.Method, err)
	}
	switch {
	case t.closed.Load():
		return "", nil, bus.ErrClosed
	case !t.conn.IsConnected():
		return "", nil, fmt.Errorf("%w: not connected to the bus", bus.ErrNoResponder)
	}
	if err := t.checkSize(data); err != nil {
		return "", nil, fmt.Errorf("bus: send %s to %s: %w", m.Method, describe(to), err)
	}
	return s, data, nil
}

func (t *transport) checkSize(data []byte) error {
	if limit := t.conn.MaxPayload(); int64(len(data)) > limit {
		return fmt.Errorf("the message has %d bytes but the NATS server takes only %d: raise its max_payload (our own has %d)",
			len(data), limit, maxPayload)
	}
	return nil
}

// callError says what an error of nats.go means in terms of bus.
func callError(ctx context.Context, to bus.Target, err error) error {
	switch {
	case errors.Is(context.Cause(ctx), errLost):
		return fmt.Errorf("%w: %s: %w", bus.ErrTimeout, describe(to), errLost)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, natsgo.ErrTimeout):
		return fmt.Errorf("%w: %s", bus.ErrTimeout, describe(to))
	case errors.Is(err, natsgo.ErrNoResponders):
		return fmt.Errorf("%w: %s", bus.ErrNoResponder, describe(to))
	case errors.Is(err, natsgo.ErrReconnectBufExceeded), errors.Is(err, natsgo.ErrDisconnected):
		return fmt.Errorf("%w: not connected to the bus", bus.ErrNoResponder)
	case errors.Is(err, natsgo.ErrConnectionClosed), errors.Is(err, natsgo.ErrConnectionDraining):
		return bus.ErrClosed
	}
	return fmt.Errorf("bus: %s: %w", describe(to), err)
}

func describe(to bus.Target) string {
	switch {
	case to.Fanout:
		return to.Topic + " everywhere"
	case to.Host != "":
		return to.Topic + " on " + to.Host
	}
	return to.Topic
}

func decodeResponse(data []byte, to bus.Target, reply any) error {
	r := response{Result: reply} // encoding/json fills what a pointer in an interface points to
	if reply == nil {
		r.Result = new(json.RawMessage)
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return fmt.Errorf("bus: answer of %s: %w", describe(to), err)
	}
	if r.Failure != nil {
		return r.Failure
	}
	return nil
}

// Close stops what is still served, as its stop function would, and ends the connection.
func (t *transport) Close() error {
	t.closing.Do(func() {
		for _, s := range t.openServices() {
			s.stop() // handlers may still call others
		}
		t.closed.Store(true)
		t.conn.Close() // flushes
		<-t.gone
	})
	return nil
}

func (t *transport) openServices() []*service {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Collect(maps.Keys(t.services))
}
