package metadata

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"neutrino/internal/linux/netns"
)

// Proxy accepts requests in any number of namespaces. Close ends all.
type Proxy struct {
	backend Backend
	cfg     ProxyConfig
	server  *http.Server
	log     *slog.Logger
}

// ProxyConfig bounds what clients may do. Zero durations mean upstream's defaults ([metadata_haproxy]).
type ProxyConfig struct {
	Client      time.Duration // timeout_client: between two parts of a request or of an answer; 32 s
	Server      time.Duration // timeout_server: until the backend begins to answer; 32 s
	HTTPRequest time.Duration // timeout_http_request: for the headers of a request; 30 s
	KeepAlive   time.Duration // timeout_http_keep_alive: until the next request; 30 s
	Limit       RateLimit
}

func (c ProxyConfig) withDefaults() ProxyConfig {
	for d, value := range map[*time.Duration]time.Duration{&c.Client: 32 * time.Second, &c.Server: 32 * time.Second,
		&c.HTTPRequest: 30 * time.Second, &c.KeepAlive: 30 * time.Second} {
		if *d == 0 {
			*d = value
		}
	}
	return c
}

// mostConnections of one listener are open at a time; others wait (haproxy's maxconn).
const mostConnections = 1024

// NewProxy makes a Proxy that hands all requests to the backend.
func NewProxy(backend Backend, cfg ProxyConfig, log *slog.Logger) *Proxy {
	cfg = cfg.withDefaults()
	p := &Proxy{backend: backend, cfg: cfg, log: log}
	p.server = &http.Server{
		Handler:           http.HandlerFunc(p.handle),
		ConnContext:       connContext,
		ReadHeaderTimeout: cfg.HTTPRequest,
		IdleTimeout:       cfg.KeepAlive,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	return p
}

// Close ends all listeners and connections.
func (p *Proxy) Close() error { return p.server.Close() }

// Listen accepts requests at addr in the namespace and attributes them to source. An IPv6 link-local address needs a
// zone, the name of the device ("[fe80::a9fe:a9fe%ns-0123456789a]:80"). Closing the result ends its connections too.
func (p *Proxy) Listen(ctx context.Context, namespace, addr string, source Source) (io.Closer, error) {
	var inner net.Listener
	err := netns.Do(namespace, func() error {
		address, err := numericZone(addr)
		if err != nil {
			return err
		}
		var lc net.ListenConfig
		inner, err = lc.Listen(ctx, "tcp", address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("metadata proxy at %s in %s: %w", addr, namespace, err)
	}
	l := &listener{Listener: inner, source: source, conns: map[*conn]struct{}{}, free: make(chan struct{}, mostConnections), ended: make(chan struct{}),
		limit: limiter{RateLimit: p.cfg.Limit}}
	go func() {
		if err := p.server.Serve(l); !errors.Is(err, net.ErrClosed) && !errors.Is(err, http.ErrServerClosed) {
			p.log.Error("metadata proxy stopped", "namespace", namespace, "error", err)
		}
	}()
	return l, nil
}

// numericZone replaces the name of a zone by its index: package net remembers names across namespaces.
func numericZone(addr string) (string, error) {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil || ap.Addr().Zone() == "" {
		return addr, err
	}
	dev, err := net.InterfaceByName(ap.Addr().Zone())
	if err != nil {
		return "", fmt.Errorf("zone of %s: %w", addr, err)
	}
	return netip.AddrPortFrom(ap.Addr().WithZone(strconv.Itoa(dev.Index)), ap.Port()).String(), nil
}

func (p *Proxy) handle(w http.ResponseWriter, r *http.Request) {
	c := r.Context().Value(connKey{}).(*conn)
	client := clientOf(c.RemoteAddr())
	if !client.IsValid() {
		http.Error(w, "unknown client", http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	answer := newAnswer(w, p.cfg, cancel)
	defer answer.waiting.Stop()
	if !c.listener.limit.allow(client, time.Now()) {
		refuse(answer, http.StatusTooManyRequests)
		return
	}
	r = r.WithContext(ctx)
	if r.Body != http.NoBody {
		r.Body = &request{r.Body, http.NewResponseController(w), p.cfg.Client}
	}
	p.backend.ServeMetadata(answer, r, c.listener.source, client)
}

// answer is a ResponseWriter that waits for the backend and for the client for so long each time, however long the whole
// takes. A backend that has not begun when its time is over is told to give up, and the client gets 504.
type answer struct {
	http.ResponseWriter
	control *http.ResponseController
	client  time.Duration
	waiting *time.Timer
	late    atomic.Bool
	begun   bool
}

func newAnswer(w http.ResponseWriter, cfg ProxyConfig, giveUp func()) *answer {
	a := &answer{ResponseWriter: w, control: http.NewResponseController(w), client: cfg.Client}
	a.waiting = time.AfterFunc(cfg.Server, func() {
		a.late.Store(true)
		giveUp()
	})
	return a
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *answer) WriteHeader(status int) {
	a.begun = true
	a.waiting.Stop()
	if a.late.Load() {
		status = http.StatusGatewayTimeout
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(b []byte) (int, error) {
	if !a.begun {
		a.WriteHeader(http.StatusOK)
	}
	if err := a.control.SetWriteDeadline(time.Now().Add(a.client)); err != nil {
		return 0, err
	}
	return a.ResponseWriter.Write(b)
}

// request is a body whose parts may take so long each.
type request struct {
	io.ReadCloser
	control *http.ResponseController
	client  time.Duration
}

func (r *request) Read(b []byte) (int, error) {
	if err := r.control.SetReadDeadline(time.Now().Add(r.client)); err != nil {
		return 0, err
	}
	n, err := r.ReadCloser.Read(b)
	if err != nil { // the client need not send anything while it waits for the answer
		_ = r.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

type connKey struct{}

func connContext(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// listener knows its source and its open connections.
type listener struct {
	net.Listener
	source Source
	limit  limiter
	free   chan struct{} // holds a token for each connection
	ended  chan struct{} // closed when the listener is

	mu     sync.Mutex
	closed bool
	conns  map[*conn]struct{}
}

type conn struct {
	net.Conn
	listener *listener
	done     func()
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case l.free <- struct{}{}:
	case <-l.ended:
		return nil, net.ErrClosed
	}
	inner, err := l.Listener.Accept()
	if err != nil {
		<-l.free
		return nil, err
	}
	c := &conn{Conn: inner, listener: l, done: sync.OnceFunc(func() { <-l.free })}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		inner.Close()
		return nil, net.ErrClosed
	}
	l.conns[c] = struct{}{}
	return c, nil
}

func (l *listener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	close(l.ended)
	for c := range l.conns {
		c.Conn.Close()
	}
	return l.Listener.Close()
}

func (c *conn) Close() error {
	c.listener.mu.Lock()
	delete(c.listener.conns, c)
	c.listener.mu.Unlock()
	c.done()
	return c.Conn.Close()
}
