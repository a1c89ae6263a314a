package metadata

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"neutrino/internal/linux/netns"
	"neutrino/internal/linux/sandbox"
)

// The numbers were seen with haproxy 2.6 and upstream's configuration of it.
func TestRateLimit(t *testing.T) {
	limit := RateLimit{BaseWindow: 10 * time.Second, Base: 5, BurstWindow: 2 * time.Second, Burst: 3}
	now := time.Unix(1000, 0)
	vm4, vm6 := netip.MustParseAddr("10.0.0.5"), netip.MustParseAddr("2001:db8::5")
	send := func(l *limiter, a netip.Addr, n int) string {
		var out strings.Builder
		for range n {
			if l.allow(a, now) {
				out.WriteByte('+')
			} else {
				out.WriteByte('-')
			}
		}
		return out.String()
	}
	l := &limiter{RateLimit: limit}
	if got := send(l, vm4, 5); got != "+++--" {
		t.Errorf("burst: %s", got)
	}
	now = now.Add(4 * time.Second)
	if got := send(l, vm4, 1); got != "-" { // the sixth within the base window
		t.Errorf("base: %s", got)
	}
	if got := send(l, netip.MustParseAddr("10.0.0.6"), 1); got != "+" {
		t.Errorf("another client: %s", got)
	}
	now = now.Add(15 * time.Second)
	if got := send(l, vm4, 4); got != "+++-" {
		t.Errorf("later: %s", got)
	}
	if got := send(l, vm6, 9); got != "+++++++++" {
		t.Errorf("IPv6 is not limited: %s", got)
	}
	l = &limiter{RateLimit: limit}
	l.IPv6 = true
	if got := send(l, vm6, 4) + send(l, vm4, 4); got != "+++-+++-" {
		t.Errorf("both: %s", got)
	}
	for i := range mostClients + 100 {
		l.allow(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), now)
	}
	if len(l.clients) > mostClients {
		t.Errorf("%d clients are remembered", len(l.clients))
	}
	if got := send(&limiter{}, vm4, 100); strings.Contains(got, "-") {
		t.Error("no limit, but refused")
	}
}

// backend is a Backend of the test.
type backend func(w http.ResponseWriter, r *http.Request)

func (b backend) ServeMetadata(w http.ResponseWriter, r *http.Request, _ Source, _ netip.Addr) {
	b(w, r)
}

// proxy listens in a namespace of its own; dial connects to it.
func proxy(t *testing.T, cfg ProxyConfig, b backend) (dial func() net.Conn) {
	t.Helper()
	sandbox.Need(t)
	const ns = "qdhcp-limit"
	_, err := netns.Ensure(ns)
	must(t, err)
	t.Cleanup(func() { _ = netns.Delete(ns) })
	p := NewProxy(b, cfg, quiet)
	t.Cleanup(func() { p.Close() })
	_, err = p.Listen(t.Context(), ns, "127.0.0.1:80", Source{NetworkID: "net1"})
	must(t, err)
	return func() (c net.Conn) {
		must(t, netns.Do(ns, func() (err error) { c, err = net.Dial("tcp", "127.0.0.1:80"); return err }))
		t.Cleanup(func() { c.Close() })
		return c
	}
}

func status(t *testing.T, c net.Conn) int {
	t.Helper()
	_, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	must(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	must(t, err)
	_, err = io.Copy(io.Discard, resp.Body)
	must(t, err)
	return resp.StatusCode
}

func TestProxyLimit(t *testing.T) {
	dial := proxy(t, ProxyConfig{Limit: RateLimit{BaseWindow: time.Minute, Base: 2, BurstWindow: time.Minute, Burst: 2}},
		func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })
	c := dial()
	if got := fmt.Sprint(status(t, c), status(t, c), status(t, c), status(t, dial())); got != "200 200 429 429" {
		t.Errorf("statuses %s", got)
	}
}

// A backend that does not answer, a client that does not send or not read: each ends after its time, and what is slow but
// alive does not. A body of any size costs no memory.
func TestProxyPatience(t *testing.T) {
	const piece, pieces = 1 << 20, 64
	cfg := ProxyConfig{Client: 3 * time.Second, Server: 2 * time.Second, HTTPRequest: 2 * time.Second, KeepAlive: 3 * time.Second}
	dial := proxy(t, cfg, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/":
			<-r.Context().Done()
			refuse(w, http.StatusServiceUnavailable)
		case "/large":
			b := make([]byte, piece)
			for range pieces {
				if _, err := w.Write(b); err != nil {
					return
				}
			}
		}
	})
	if got := status(t, dial()); got != http.StatusGatewayTimeout {
		t.Errorf("silent backend: %d", got)
	}
	c := dial()
	_, err := io.WriteString(c, "GET / HT")
	must(t, err)
	if rest, err := io.ReadAll(c); err != nil {
		t.Errorf("half a request: %q, %v", rest, err)
	}
	// A slow reader gets it all, although the whole takes longer than each part may.
	began := time.Now()
	if n := read(t, dial(), 64, 100*time.Millisecond); n < piece*pieces || time.Since(began) < 2*cfg.Client {
		t.Errorf("slow reader: %d octets in %s", n, time.Since(began))
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	c = dial() // does not read at all
	_, err = io.WriteString(c, "GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	must(t, err)
	time.Sleep(2 * cfg.Client)
	if n := read(t, c, 0, 0); n >= piece*pieces {
		t.Error("a client that does not read is waited for")
	}
	runtime.ReadMemStats(&after)
	if used := int64(after.HeapAlloc) - int64(before.HeapAlloc); used > 8*piece {
		t.Errorf("%d octets of memory", used)
	}
}

// read asks for the large document if pauses is not 0, and reads it with so many pauses; it returns how much came.
func read(t *testing.T, c net.Conn, pauses int, pause time.Duration) (n int) {
	t.Helper()
	if pauses > 0 {
		_, err := io.WriteString(c, "GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		must(t, err)
	}
	b := make([]byte, 1<<20)
	for {
		k, err := io.ReadFull(c, b)
		n += k
		if err != nil {
			return n
		}
		time.Sleep(pause)
	}
}
