package metadata

import (
	"net/netip"
	"sync"
	"time"
)

// RateLimit bounds how often one client may ask ([metadata_rate_limiting]): so many requests in the base window and so
// many in the burst window. The zero RateLimit bounds nothing.
type RateLimit struct {
	BaseWindow, BurstWindow time.Duration
	Base, Burst             int
	IPv6                    bool // both IP versions; else IPv4 only. haproxy's tables are such.
}

// mostClients of one network or router are counted at a time (haproxy's table size).
const mostClients = 10_000

// limiter counts the requests of the clients of one listener.
type limiter struct {
	RateLimit
	mu      sync.Mutex
	clients map[netip.Addr]*counts
}

type counts struct{ base, burst counter }

// allow counts a request and tells whether it is to be answered. Those that are refused count too.
func (l *limiter) allow(client netip.Addr, now time.Time) bool {
	if l.Base == 0 || client.Is6() && !l.IPv6 {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.clients[client]
	if c == nil {
		l.makeRoom(now)
		c = &counts{}
		l.clients[client] = c
	}
	base, burst := c.base.add(now, l.BaseWindow), c.burst.add(now, l.BurstWindow)
	return base <= l.Base && burst <= l.Burst
}

// makeRoom forgets clients that were quiet for both windows; if none was, any.
func (l *limiter) makeRoom(now time.Time) {
	if l.clients == nil {
		l.clients = map[netip.Addr]*counts{}
	}
	if len(l.clients) < mostClients {
		return
	}
	for a, c := range l.clients {
		if now.Sub(c.base.began) > 2*l.BaseWindow && now.Sub(c.burst.began) > 2*l.BurstWindow {
			delete(l.clients, a)
		}
	}
	for a := range l.clients {
		if len(l.clients) < mostClients {
			return
		}
		delete(l.clients, a)
	}
}

// counter estimates the events of the last window as haproxy's http_req_rate does: those of the current window and, of
// the window before, the share that is not older than a window.
type counter struct {
	began         time.Time // of the current window
	current, past int
}

func (c *counter) add(now time.Time, window time.Duration) int {
	switch age := now.Sub(c.began); {
	case age >= 2*window:
		c.began, c.current, c.past = now, 0, 0
	case age >= window:
		c.began, c.past, c.current = c.began.Add(window), c.current, 0
	}
	c.current++
	remain := window - now.Sub(c.began)
	return c.current + int(int64(c.past)*int64(remain)/int64(window))
}
