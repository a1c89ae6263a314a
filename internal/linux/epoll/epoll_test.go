package epoll

import (
	"fmt"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// echo answers each datagram.
func echo(t *testing.T, p *Poller) (*net.UDPConn, *Watch) {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	must(t, err)
	w, err := p.Watch(rawOf(t, c), func() {
		buf := make([]byte, 64)
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if err == nil {
			_, _ = c.WriteToUDPAddrPort(buf[:n], from)
		}
	})
	must(t, err)
	return c, w
}

func rawOf(t *testing.T, c syscall.Conn) syscall.RawConn {
	t.Helper()
	raw, err := c.SyscallConn()
	must(t, err)
	return raw
}

// Many sockets cost no goroutine, and each of many datagrams gets its answer.
func TestDatagrams(t *testing.T) {
	p, err := New()
	must(t, err)
	before := runtime.NumGoroutine()
	const sockets, datagrams = 200, 20
	var conns []*net.UDPConn
	var watches []*Watch
	for range sockets {
		c, w := echo(t, p)
		conns, watches = append(conns, c), append(watches, w)
	}
	if now := runtime.NumGoroutine(); now > before {
		t.Errorf("%d goroutines wait for %d sockets", now-before, sockets)
	}
	var all sync.WaitGroup
	for i, server := range conns {
		if i%10 > 0 {
			continue
		}
		all.Go(func() {
			c, err := net.DialUDP("udp4", nil, server.LocalAddr().(*net.UDPAddr))
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			buf := make([]byte, 64)
			for n := range datagrams {
				sent := fmt.Sprint(i, " ", n)
				for range 2 { // the second one waits while the first is answered
					if _, err := c.Write([]byte(sent)); err != nil {
						t.Error(err)
					}
				}
				for range 2 {
					_ = c.SetReadDeadline(time.Now().Add(time.Minute))
					got, err := c.Read(buf)
					if err != nil || string(buf[:got]) != sent {
						t.Errorf("%q (%v), want %q", buf[:got], err, sent)
						return
					}
				}
			}
		})
	}
	all.Wait()
	for i, c := range conns {
		must(t, c.Close())
		watches[i].Stop()
	}
	if len(p.watches) > 0 {
		t.Errorf("%d watches are left", len(p.watches))
	}
	must(t, p.Close())
}

// Stop waits for the call that runs, and there is none after it.
func TestStop(t *testing.T) {
	p, err := New()
	must(t, err)
	defer p.Close()
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	must(t, err)
	accepted, release := make(chan struct{}), make(chan struct{})
	var calls, done atomic.Int32
	w, err := p.Watch(rawOf(t, l), func() {
		calls.Add(1)
		c, err := l.Accept()
		if err == nil {
			c.Close()
		}
		accepted <- struct{}{}
		<-release
		done.Add(1)
	})
	must(t, err)
	for range 2 { // the second one waits for the first
		c, err := net.Dial("tcp4", l.Addr().String())
		must(t, err)
		defer c.Close()
	}
	<-accepted
	if n := calls.Load(); n != 1 {
		t.Errorf("%d calls at a time", n)
	}
	must(t, l.Close())
	stopped := make(chan struct{})
	go func() { w.Stop(); close(stopped) }()
	select {
	case <-stopped:
		t.Error("Stop did not wait")
	case <-time.After(50 * time.Millisecond):
	}
	close(release)
	<-stopped
	if calls.Load() != 1 || done.Load() != 1 {
		t.Errorf("%d calls, %d of them done", calls.Load(), done.Load())
	}
	if _, err := p.Watch(rawOf(t, l), func() {}); err == nil {
		t.Error("a closed socket is watched")
	}
}
