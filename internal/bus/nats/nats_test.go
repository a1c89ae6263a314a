package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/goleak"

	"neutrino/internal/bus"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = time.Minute // how long tests wait for what must happen

func quiet(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

func startServer(t testing.TB, c ServerConfig) *Server {
	t.Helper()
	s, err := StartServer(t.Context(), c, quiet(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func join(t testing.TB, s *Server, name string) bus.Transport {
	t.Helper()
	c, err := s.Connect(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func dial(t testing.TB, c Config) bus.Transport {
	t.Helper()
	d, err := Dial(c, quiet(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func serve(t testing.TB, c bus.Transport, topic, host string, h bus.Handler) (stop func()) {
	t.Helper()
	stop, err := c.Serve(topic, host, h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return stop
}

func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func message(method string, args any) *bus.Message {
	raw, err := json.Marshal(args)
	if err != nil {
		panic(err)
	}
	return &bus.Message{Method: method, Args: raw, Version: "1.0", Context: map[string]string{"request_id": "req-1"}}
}

// named answers every call with its own name.
func named(name string) bus.Handler {
	return func(context.Context, *bus.Message) (any, error) { return name, nil }
}

func TestCallCarriesTheMessage(t *testing.T) {
	s := startServer(t, ServerConfig{})
	serve(t, join(t, s, "server"), "q-plugin", "node-1", func(_ context.Context, m *bus.Message) (any, error) {
		return m, nil
	})
	sent := message("get_ports", map[string]int{"n": 1})
	var got *bus.Message
	agent := join(t, s, "agent")
	if err := agent.Call(soon(t), bus.Target{Topic: "q-plugin"}, sent, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sent, got); diff != "" {
		t.Error(diff)
	}
	if len(agent.Reconnected()) != 0 {
		t.Error("the first connect is no reconnect")
	}
}

func TestCallResults(t *testing.T) {
	s := startServer(t, ServerConfig{})
	c := join(t, s, "both")
	results := map[string]any{"null": nil, "text": "hello", "unencodable": func() {}}
	errs := map[string]error{
		"fault":   &bus.RemoteError{Class: "PortNotFound", Message: "Port x could not be found."},
		"wrapped": fmt.Errorf("outer: %w", &bus.RemoteError{Class: "PortNotFound", Message: "inner"}),
		"plain":   errors.New("disk full"),
	}
	serve(t, c, "t", "h", func(_ context.Context, m *bus.Message) (any, error) {
		if m.Method == "panic" {
			panic("boom")
		}
		return results[m.Method], errs[m.Method]
	})
	tests := []struct {
		method string
		want   any
		fails  *bus.RemoteError
	}{
		{method: "null", want: "unchanged"},
		{method: "text", want: "hello"},
		{method: "fault", fails: &bus.RemoteError{Class: "PortNotFound", Message: "Port x could not be found."}},
		{method: "wrapped", fails: &bus.RemoteError{Class: "PortNotFound", Message: "inner"}},
		{method: "plain", fails: &bus.RemoteError{Message: "disk full"}},
		{method: "panic", fails: &bus.RemoteError{Class: "InternalError", Message: "t.panic panicked: boom"}},
		{method: "unencodable", fails: &bus.RemoteError{Message: "bus: answer of t.unencodable: json: unsupported type: func()"}},
	}
	for _, tt := range tests {
		t.Run(tt.method, func(t *testing.T) {
			reply := "unchanged"
			err := c.Call(soon(t), bus.Target{Topic: "t"}, message(tt.method, nil), &reply)
			remote, _ := errors.AsType[*bus.RemoteError](err)
			if diff := cmp.Diff(tt.fails, remote); diff != "" {
				t.Fatalf("error %v: %s", err, diff)
			}
			if tt.fails == nil && reply != tt.want {
				t.Errorf("reply %q, want %q", reply, tt.want)
			}
			if err := c.Call(soon(t), bus.Target{Topic: "t"}, message(tt.method, nil), nil); (err != nil) != (tt.fails != nil) {
				t.Errorf("without a reply: %v", err)
			}
		})
	}
}

func TestTargets(t *testing.T) {
	s := startServer(t, ServerConfig{})
	a, b := join(t, s, "a"), join(t, s, "b")
	heard := make(chan string, 10)
	for name, c := range map[string]bus.Transport{"node-1.example.com": a, "node 2": b} {
		serve(t, c, "dhcp.agent", name, func(context.Context, *bus.Message) (any, error) {
			heard <- name
			return name, nil
		})
	}
	for _, host := range []string{"node-1.example.com", "node 2"} {
		var got string
		if err := a.Call(soon(t), bus.Target{Topic: "dhcp.agent", Host: host}, message("who", nil), &got); err != nil || got != host {
			t.Errorf("call to %q answered by %q, %v", host, got, err)
		}
		<-heard
	}

	var any string
	if err := a.Call(soon(t), bus.Target{Topic: "dhcp.agent"}, message("who", nil), &any); err != nil {
		t.Fatal(err)
	}
	if got := <-heard; got != any || len(heard) != 0 {
		t.Errorf("call to any: answer of %q, heard by %q and %d more", any, got, len(heard))
	}

	if err := a.Cast(soon(t), bus.Target{Topic: "dhcp.agent", Host: "node 2"}, message("who", nil)); err != nil {
		t.Fatal(err)
	}
	if got := <-heard; got != "node 2" {
		t.Errorf("cast to node 2 reached %s", got)
	}

	if err := a.Cast(soon(t), bus.Target{Topic: "dhcp.agent", Fanout: true}, message("who", nil)); err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{<-heard: true, <-heard: true} // the sender is one of them
	if diff := cmp.Diff(map[string]bool{"node-1.example.com": true, "node 2": true}, got); diff != "" {
		t.Errorf("fanout: %s", diff)
	}
}

func TestCallErrors(t *testing.T) {
	s := startServer(t, ServerConfig{})
	c := join(t, s, "c")
	release := make(chan struct{})
	defer close(release)
	serve(t, c, "slow", "h", func(ctx context.Context, _ *bus.Message) (any, error) {
		select {
		case <-release:
		case <-ctx.Done():
		}
		return nil, nil
	})
	brief, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	closed := join(t, s, "closed")
	closed.Close()
	tests := []struct {
		name string
		c    bus.Transport
		ctx  context.Context
		to   bus.Target
		want error
	}{
		{"nobody serves the topic", c, soon(t), bus.Target{Topic: "nobody"}, bus.ErrNoResponder},
		{"nobody serves the host", c, soon(t), bus.Target{Topic: "slow", Host: "other"}, bus.ErrNoResponder},
		{"no answer", c, brief, bus.Target{Topic: "slow"}, bus.ErrTimeout},
		{"caller gave up", c, cancelled, bus.Target{Topic: "slow"}, context.Canceled},
		{"closed", closed, soon(t), bus.Target{Topic: "slow"}, bus.ErrClosed},
		{"no topic", c, soon(t), bus.Target{}, errNoTopic},
	}
	for _, tt := range tests {
		if err := tt.c.Call(tt.ctx, tt.to, message("m", nil), nil); !errors.Is(err, tt.want) {
			t.Errorf("%s: error %v, want %v", tt.name, err, tt.want)
		}
	}
	if err := c.Call(soon(t), bus.Target{Topic: "slow", Fanout: true}, message("m", nil), nil); err == nil {
		t.Error("a fanout call must be refused")
	}
	if err := closed.Cast(soon(t), bus.Target{Topic: "slow"}, message("m", nil)); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("cast after Close: %v", err)
	}
	if _, err := closed.Serve("t", "h", named("h")); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("serve after Close: %v", err)
	}
}

func TestBigMessage(t *testing.T) {
	c := join(t, startServer(t, ServerConfig{}), "c")
	serve(t, c, "t", "h", func(_ context.Context, m *bus.Message) (any, error) { return m.Args, nil })
	sent := strings.Repeat("port ", 1<<20) // five times NATS' default limit
	var got string
	if err := c.Call(soon(t), bus.Target{Topic: "t"}, message("echo", sent), &got); err != nil || got != sent {
		t.Errorf("answer of %d bytes, %v; want %d bytes", len(got), err, len(sent))
	}
}

func TestForeignServerWithSmallLimit(t *testing.T) {
	foreign, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, MaxPayload: 1000, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	foreign.Start()
	defer foreign.WaitForShutdown()
	defer foreign.Shutdown()
	if !foreign.ReadyForConnections(patience) {
		t.Fatal("the server did not start")
	}
	c := dial(t, Config{URL: foreign.ClientURL()})
	huge := strings.Repeat("x", 1000)
	serve(t, c, "t", "h", func(context.Context, *bus.Message) (any, error) { return huge, nil })
	for name, m := range map[string]*bus.Message{"request": message("m", huge), "answer": message("m", nil)} {
		err := c.Call(soon(t), bus.Target{Topic: "t"}, m, nil)
		if err == nil || !strings.Contains(err.Error(), "takes only 1000: raise its max_payload") {
			t.Errorf("%s too big: %v", name, err)
		}
	}
}

func TestHandlersAreBoundedAndStopWaits(t *testing.T) {
	s := startServer(t, ServerConfig{})
	c := join(t, s, "c")
	var running, most, done atomic.Int32
	full, release := make(chan struct{}), make(chan struct{})
	reached := sync.OnceFunc(func() { close(full) })
	stop := serve(t, c, "t", "h", func(context.Context, *bus.Message) (any, error) {
		n := running.Add(1)
		defer running.Add(-1)
		if n == maxHandlers {
			reached()
		}
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		<-release
		done.Add(1)
		return nil, nil
	})
	const sent = 3 * maxHandlers
	for range sent {
		if err := c.Cast(soon(t), bus.Target{Topic: "t"}, message("m", nil)); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-full:
	case <-time.After(patience):
		t.Fatalf("only %d handlers run at once", running.Load())
	}
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	select {
	case <-stopped:
		t.Error("stop did not wait for handlers")
	default:
	}
	close(release)
	<-stopped
	if most.Load() != maxHandlers || done.Load() != sent {
		t.Errorf("%d handlers at once, %d messages handled; want %d and %d", most.Load(), done.Load(), maxHandlers, sent)
	}
	if err := c.Call(soon(t), bus.Target{Topic: "t"}, message("m", nil), nil); !errors.Is(err, bus.ErrNoResponder) {
		t.Errorf("call after stop: %v", err)
	}
}

// What a host is told is handled in the order in which it was said, however long that takes.
func TestCastsInOrder(t *testing.T) {
	s := startServer(t, ServerConfig{})
	from, to := join(t, s, "from"), join(t, s, "to")
	for _, target := range []bus.Target{{Topic: "agent", Host: "h"}, {Topic: "agent", Fanout: true}} {
		const count = 200
		got := make(chan int, count)
		stop := serve(t, to, "agent", "h", func(_ context.Context, m *bus.Message) (any, error) {
			var n int
			err := json.Unmarshal(m.Args, &n)
			time.Sleep(time.Duration(count-n) * 10 * time.Microsecond) // the later, the faster
			got <- n
			return nil, err
		})
		for n := range count {
			if err := from.Cast(soon(t), target, message("count", n)); err != nil {
				t.Fatal(err)
			}
		}
		for want := range count {
			select {
			case n := <-got:
				if n != want {
					t.Fatalf("%+v: message %d came in the place of %d", target, n, want)
				}
			case <-time.After(patience):
				t.Fatalf("%+v: message %d does not come", target, want)
			}
		}
		stop()
	}
}

func TestNestedCalls(t *testing.T) {
	s := startServer(t, ServerConfig{})
	c := join(t, s, "c")
	serve(t, c, "inner", "h", named("inner"))
	serve(t, c, "outer", "h", func(ctx context.Context, _ *bus.Message) (any, error) {
		var r string
		err := c.Call(ctx, bus.Target{Topic: "inner"}, message("m", nil), &r)
		return r, err
	})
	var calls sync.WaitGroup
	for range 2 * maxHandlers {
		calls.Go(func() {
			var got string
			if err := c.Call(soon(t), bus.Target{Topic: "outer"}, message("m", nil), &got); err != nil || got != "inner" {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	calls.Wait()
}

// freeAddress is one that nobody listens on at the moment, nor will: it belongs to this process, and no other takes its port for one of
// its own connections.
func freeAddress(t *testing.T) string {
	t.Helper()
	pid := os.Getpid()
	l, err := net.Listen("tcp", fmt.Sprintf("127.%d.%d.%d:0", 1+pid>>16&0x7f, pid>>8&0xff, pid&0xff))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func awaitReconnect(t *testing.T, c bus.Transport) {
	t.Helper()
	select {
	case <-c.Reconnected():
	case <-time.After(patience):
		t.Fatal("no reconnect was signalled")
	}
	if !c.Healthy() {
		t.Error("not healthy after the reconnect")
	}
}

func TestServerComesLateAndRestarts(t *testing.T) {
	config := ServerConfig{Listen: freeAddress(t), Token: "secret"}
	agent := dial(t, Config{URL: "nats://" + config.Listen, Token: "secret", Name: "agent"})
	serve(t, agent, "agent", "node-1", named("agent"))
	if agent.Healthy() {
		t.Error("healthy without a server")
	}
	to := bus.Target{Topic: "q-plugin"}
	if err := agent.Call(soon(t), to, message("m", nil), nil); !errors.Is(err, bus.ErrNoResponder) {
		t.Errorf("call without a server: %v", err)
	}
	if err := agent.Cast(soon(t), to, message("m", nil)); !errors.Is(err, bus.ErrNoResponder) {
		t.Errorf("cast without a server: %v", err)
	}

	for round := range 3 {
		s := startServer(t, config)
		awaitReconnect(t, agent)
		plugin := join(t, s, "server")
		called, release := make(chan struct{}), make(chan struct{})
		serve(t, plugin, "q-plugin", "server", func(_ context.Context, m *bus.Message) (any, error) {
			if m.Method == "hang" {
				close(called)
				<-release
			}
			return "plugin", nil
		})
		var got string
		if err := agent.Call(soon(t), to, message("m", nil), &got); err != nil || got != "plugin" {
			t.Errorf("round %d: agent to server: %q, %v", round, got, err)
		}
		if err := plugin.Call(soon(t), bus.Target{Topic: "agent", Host: "node-1"}, message("m", nil), &got); err != nil || got != "agent" {
			t.Errorf("round %d: server to agent: %q, %v", round, got, err)
		}

		hanging := make(chan error, 1)
		go func() { hanging <- agent.Call(t.Context(), to, message("hang", nil), nil) }()
		<-called
		s.Close()
		if err := <-hanging; !errors.Is(err, bus.ErrTimeout) {
			t.Errorf("round %d: call in flight when the server died: %v", round, err)
		}
		close(release)
		if len(agent.Reconnected()) != 0 {
			t.Errorf("round %d: more than one reconnect was signalled", round)
		}
	}
}

func TestStopWithoutServer(t *testing.T) {
	s := startServer(t, ServerConfig{})
	c := join(t, s, "c")
	stop := serve(t, c, "t", "h", named("h"))
	s.Close()
	stop() // must not hang without a server
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func BenchmarkCall(b *testing.B) {
	s := startServer(b, ServerConfig{Listen: "127.0.0.1:0"})
	serve(b, join(b, s, "server"), "t", "h", named("h"))
	for name, c := range map[string]bus.Transport{
		"InProcess": join(b, s, "agent"),
		"TCP":       dial(b, Config{URL: "nats://" + s.Addr()}),
	} {
		b.Run(name, func(b *testing.B) {
			m := message("m", map[string]int{"n": 1})
			var got string
			for b.Loop() {
				if err := c.Call(b.Context(), bus.Target{Topic: "t"}, m, &got); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
