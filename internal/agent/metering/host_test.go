package metering

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"neutrino/internal/bus"
	"neutrino/internal/linux/netns"
	"neutrino/internal/linux/sandbox"
	"neutrino/internal/notify"
	"neutrino/internal/rpc"
)

func TestMain(m *testing.M) { sandbox.Main(m) }

// server is a Neutron server, the bus to it, and who reads notifications, in memory.
type server struct {
	bus.Transport
	mu      sync.Mutex
	routers []rpc.MeteredRouter
	asked   int
	down    bool // the bus
	refused bool // the agent has asked since it is down
	agent   bus.Handler
	heard   []heard
}

// heard is a notification.
type heard struct {
	Event     string         `json:"event_type"`
	Publisher string         `json:"publisher_id"`
	Payload   map[string]any `json:"payload"`
}

func (s *server) Call(_ context.Context, _ bus.Target, m *bus.Message, reply any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var answer any = rpc.AgentAlive
	if m.Method == "get_sync_data_metering" {
		s.asked++
		answer = s.routers
	}
	raw, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, reply)
}

func (s *server) Cast(_ context.Context, to bus.Target, m *bus.Message) error {
	var h heard
	if err := json.Unmarshal(m.Args, &h); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if to.Topic != "notifications.info" {
		return fmt.Errorf("published on %s", to.Topic)
	}
	s.heard = append(s.heard, h)
	return nil
}

func (s *server) Serve(_, _ string, h bus.Handler) (func(), error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.agent = h
	return func() {}, nil
}

func (s *server) Reconnected() <-chan struct{} { return nil }

func (s *server) Healthy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = s.down
	return !s.down
}

// change sets the routers and tells the agent.
func (s *server) change(t *testing.T, method string, routers ...rpc.MeteredRouter) {
	t.Helper()
	s.mu.Lock()
	s.routers = routers
	tell := s.agent
	s.mu.Unlock()
	if tell == nil {
		return
	}
	if _, err := tell(t.Context(), &bus.Message{Method: method, Args: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
}

// setUp ends what setDown began.
func (s *server) setUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = false
}

// setDown takes the bus away from the agent and waits until it knows: what it publishes at the moment gets away.
func (s *server) setDown(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	s.down, s.refused = true, false
	s.mu.Unlock()
	eventually(t, "the agent finds no bus", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.refused
	})
}

// sum adds up what was published: packets and bytes by event type and one key of the payload.
func (s *server) sum(key string) map[string]count {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]count{}
	for _, h := range s.heard {
		id := fmt.Sprint(h.Event, " ", h.Payload[key])
		all[id] = all[id].plus(count{uint64(h.Payload["pkts"].(float64)), uint64(h.Payload["bytes"].(float64))})
	}
	for id, n := range all {
		if n == (count{}) {
			delete(all, id)
		}
	}
	return all
}

// run starts an agent that measures often.
func run(t *testing.T, s *server, granular bool) (a *Agent, stop func()) {
	t.Helper()
	a = New(Config{Host: "h1", Driver: "iptables", MeasureInterval: 20 * time.Millisecond, ReportInterval: 100 * time.Millisecond, Granular: granular,
		Heartbeat: time.Hour, Notifications: notify.Config{Drivers: []string{"messagingv2"}, Topics: []string{"notifications"}}},
		s, slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	eventually(t, "the agent is ready", func() bool { return a.Healthy() == nil })
	return a, stop
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: ", what)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// sh runs lines of ip(8).
func ip(t *testing.T, lines string) {
	t.Helper()
	cmd := exec.Command("ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(lines)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("ip: %v: %s", err, out)
	}
}

// router is a namespace as the L3 agent makes it, between the namespaces in-N, with 10.0.N.5 and fd00:N::5, and out-N, with
// 203.0.113.1 and 2001:db8::1.
type router struct {
	t       *testing.T
	id      string
	in, out string
}

func newRouter(t *testing.T, n int) *router {
	t.Helper()
	r := &router{t, fmt.Sprintf("0a0a0a0a-0000-4000-8000-00000000000%d", n), fmt.Sprint("in-", n), fmt.Sprint("out-", n)}
	for _, name := range []string{r.in, r.out} {
		_, err := netns.Ensure(name)
		must(t, err)
		t.Cleanup(func() { _ = netns.Delete(name) })
	}
	r.build()
	t.Cleanup(func() { _ = netns.Delete(r.namespace()) })
	return r
}

func (r *router) namespace() string { return namespacePrefix + r.id }

// build makes the router's namespace and connects it.
func (r *router) build() {
	r.t.Helper()
	_, err := netns.Ensure(r.namespace())
	must(r.t, err)
	n := r.in[3:]
	for _, key := range []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"} {
		must(r.t, netns.Sysctl(r.namespace(), key, "1"))
	}
	for _, end := range []struct{ dev, there, mine, theirs, mine6, theirs6 string }{
		{"qr-" + n, r.in, "10.0." + n + ".1/24", "10.0." + n + ".5/24", "fd00:" + n + "::1/64", "fd00:" + n + "::5/64"},
		{"qg-" + n, r.out, "203.0.113.2/24", "203.0.113.1/24", "2001:db8::2/64", "2001:db8::1/64"},
	} {
		ip(r.t, fmt.Sprintf(`link add %[1]s netns %[2]s type veth peer name eth0 netns %[3]s`, end.dev, r.namespace(), end.there))
		for _, side := range []struct{ ns, dev, addr, addr6, via, via6 string }{
			{r.namespace(), end.dev, end.mine, end.mine6, "", ""},
			{end.there, "eth0", end.theirs, end.theirs6, strings.Split(end.mine, "/")[0], strings.Split(end.mine6, "/")[0]},
		} {
			must(r.t, netns.Do(side.ns, func() error {
				lines := fmt.Sprintf("address add %s dev %s\naddress add %s dev %[2]s nodad\nlink set %[2]s up\n", side.addr, side.dev, side.addr6)
				if side.via != "" {
					lines += fmt.Sprintf("route add default via %s\nroute add default via %s\n", side.via, side.via6)
				}
				ip(r.t, lines)
				return nil
			}))
		}
	}
}

// send sends UDP datagrams from one namespace to a listener in another and waits until all have come. It returns what a
// counter must have counted of them: IP packets.
func send(t *testing.T, from, to, address string, packets, size int) count {
	t.Helper()
	var l net.PacketConn
	var c net.Conn
	must(t, netns.Do(to, func() (err error) { l, err = net.ListenPacket("udp", net.JoinHostPort(address, "9")); return err }))
	defer l.Close()
	must(t, netns.Do(from, func() (err error) { c, err = net.Dial("udp", net.JoinHostPort(address, "9")); return err }))
	defer c.Close()
	buffer := make([]byte, 2000)
	for range packets {
		if _, err := c.Write(buffer[:size]); err != nil {
			t.Fatal(err)
		}
		must(t, l.SetReadDeadline(time.Now().Add(time.Minute)))
		if _, _, err := l.ReadFrom(buffer); err != nil {
			t.Fatalf("%s to %s: %v", from, address, err)
		}
	}
	header := 28
	if strings.Contains(address, ":") {
		header = 48
	}
	return count{uint64(packets), uint64(packets * (size + header))}
}
