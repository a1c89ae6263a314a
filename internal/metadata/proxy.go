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
	"time"

	"neutrino/internal/linux/netns"
)

// Proxy accepts requests in any number of namespaces. Close ends all.
type Proxy struct {
	backend Backend
	server  *http.Server
	log     *slog.Logger
}

// NewProxy makes a Proxy that hands all requests to the backend.
func NewProxy(backend Backend, log *slog.Logger) *Proxy {
	p := &Proxy{backend: backend, log: log}
	p.server = &http.Server{
		Handler:           http.HandlerFunc(p.handle),
		ConnContext:       connContext,
		ReadHeaderTimeout: 30 * time.Second, // upstream's metadata_haproxy timeouts
		ReadTimeout:       32 * time.Second,
		WriteTimeout:      90 * time.Second, // Nova has 60 s to answer
		IdleTimeout:       30 * time.Second,
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
	l := &listener{Listener: inner, source: source, conns: map[*conn]struct{}{}}
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
	p.backend.ServeMetadata(w, r, c.listener.source, client)
}

type connKey struct{}

func connContext(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// listener knows its source and its open connections.
type listener struct {
	net.Listener
	source Source

	mu     sync.Mutex
	closed bool
	conns  map[*conn]struct{}
}

type conn struct {
	net.Conn
	listener *listener
}

func (l *listener) Accept() (net.Conn, error) {
	inner, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &conn{inner, l}
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
	for c := range l.conns {
		c.Conn.Close()
	}
	return l.Listener.Close()
}

func (c *conn) Close() error {
	c.listener.mu.Lock()
	delete(c.listener.conns, c)
	c.listener.mu.Unlock()
	return c.Conn.Close()
}
