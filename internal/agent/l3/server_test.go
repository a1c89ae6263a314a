package l3

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"neutrino/internal/bus"
	"neutrino/internal/rpc"
)

// server is a Neutron server and the bus to it, in memory.
type server struct {
	mu       sync.Mutex
	routers  map[string]rpc.Router
	statuses map[string]string // of floating IPs, as reported
	reports  []rpc.AgentState
	asked    []int            // number of routers in each sync_routers
	floating [][]string       // the only floating IPs that were asked for in each
	reported int              // statuses in all reports
	fail     map[string]error // by method
	maxChunk int              // longer sync_routers time out; 0 = no limit
	agents   map[int]endpoint
	nextID   int

	reconnected chan struct{}
}

// endpoint is one topic that an agent serves.
type endpoint struct {
	topic  string
	handle bus.Handler
}

func newServer(routers ...rpc.Router) *server {
	s := &server{routers: map[string]rpc.Router{}, statuses: map[string]string{}, fail: map[string]error{},
		agents: map[int]endpoint{}, reconnected: make(chan struct{})}
	for _, r := range routers {
		s.routers[r.ID] = r
	}
	return s
}

func (s *server) Call(ctx context.Context, _ bus.Target, m *bus.Message, reply any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.fail[m.Method]; err != nil {
		return err
	}
	result, err := s.answer(m)
	if err != nil || reply == nil {
		return err
	}
	raw, err := json.Marshal(result)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, reply)
}

func (s *server) answer(m *bus.Message) (any, error) {
	switch m.Method {
	case "get_router_ids":
		return slices.Sorted(maps.Keys(s.routers)), nil
	case "sync_routers":
		var args rpc.SyncRoutersArgs
		if err := json.Unmarshal(m.Args, &args); err != nil {
			return nil, err
		}
		s.asked, s.floating = append(s.asked, len(args.RouterIDs)), append(s.floating, args.FloatingIPs)
		if s.maxChunk > 0 && len(args.RouterIDs) > s.maxChunk {
			return nil, bus.ErrTimeout
		}
		found := []rpc.Router{}
		for _, id := range args.RouterIDs {
			if r, ok := s.routers[id]; ok && r.AdminStateUp { // upstream names no others
				if len(args.FloatingIPs) > 0 {
					r.FloatingIPs = slices.DeleteFunc(slices.Clone(r.FloatingIPs), func(f rpc.FloatingIP) bool { return !slices.Contains(args.FloatingIPs, f.ID) })
				}
				found = append(found, r)
			}
		}
		return found, nil
	case "update_floatingip_statuses":
		var args rpc.FloatingIPStatusArgs
		if err := json.Unmarshal(m.Args, &args); err != nil {
			return nil, err
		}
		maps.Copy(s.statuses, args.Statuses)
		s.reported += len(args.Statuses)
		return nil, nil
	case "report_state":
		var args rpc.ReportStateArgs
		if err := json.Unmarshal(m.Args, &args); err != nil {
			return nil, err
		}
		s.reports = append(s.reports, args.AgentState.AgentState)
		return rpc.AgentAlive, nil
	}
	return nil, &bus.RemoteError{Class: "UnsupportedVersion", Message: m.Method}
}

func (s *server) Cast(context.Context, bus.Target, *bus.Message) error { return nil }

func (s *server) Serve(topic, _ string, h bus.Handler) (stop func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nextID++
	id := s.nextID
	s.agents[id] = endpoint{topic, h}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.agents, id)
	}, nil
}

func (s *server) Reconnected() <-chan struct{} { return s.reconnected }
func (s *server) Healthy() bool                { return true }
func (s *server) Close() error                 { return nil }

// notify sends a notification to the agents.
func notify[A any](t *testing.T, s *server, m rpc.Method[A, rpc.None], args A) {
	t.Helper()
	raw, err := json.Marshal(args)
	must(t, err)
	s.mu.Lock()
	agents := slices.Collect(maps.Values(s.agents))
	s.mu.Unlock()
	for _, a := range agents {
		if a.topic == m.Topic {
			_, err := a.handle(context.Background(), &bus.Message{Method: m.Name, Args: raw})
			must(t, err)
		}
	}
}

// set changes a router and tells the agents.
func (s *server) set(t *testing.T, r rpc.Router) { s.setFloating(t, r) }

// setFloating does that when only these floating IPs of the router changed; without any, anything may have.
func (s *server) setFloating(t *testing.T, r rpc.Router, ids ...string) {
	t.Helper()
	s.mu.Lock()
	s.routers[r.ID] = r
	s.mu.Unlock()
	args := rpc.RoutersArgs{Routers: []string{r.ID}}
	if len(ids) > 0 {
		args.FloatingIPs = map[string][]string{r.ID: ids}
	}
	notify(t, s, rpc.RoutersUpdated, args)
}

func (s *server) drop(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.routers, id)
}

func (s *server) failWith(method string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail[method] = err
}

func (s *server) status(fip string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.statuses[fip]
}

// requests counts the calls of sync_routers.
func (s *server) requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked)
}

func (s *server) lastReport() rpc.AgentState {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.reports) == 0 {
		return rpc.AgentState{}
	}
	return s.reports[len(s.reports)-1]
}

// running is an agent that runs.
type running struct {
	*Agent
	t      *testing.T
	cancel context.CancelFunc
	done   chan error
}

// run starts an agent; it is stopped at the end of the test at the latest.
func run(t *testing.T, s *server, md MetadataListener) *running {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	return start(t, New(Config{Host: "host", ReportInterval: 50 * time.Millisecond}, s, log, md))
}

// runWith starts an agent with a configuration and a log of its own.
func runWith(t *testing.T, s *server, c Config, log *slog.Logger) *running {
	t.Helper()
	c.Host, c.ReportInterval = "host", 50*time.Millisecond
	return start(t, New(c, s, log, nil))
}

func start(t *testing.T, a *Agent) *running {
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{a, t, cancel, make(chan error, 1)}
	go func() { r.done <- r.Run(ctx) }()
	t.Cleanup(r.stop)
	return r
}

func (r *running) stop() {
	r.t.Helper()
	if r.cancel == nil {
		return
	}
	r.cancel()
	r.cancel = nil
	if err := <-r.done; err != nil {
		r.t.Error("agent:", err)
	}
}

// settled waits until the agent has done all it was told.
func (r *running) settled() {
	r.t.Helper()
	eventually(r.t, "the agent is done", func() bool {
		select {
		case <-r.synced:
		default:
			return false
		}
		r.queue.mu.Lock()
		defer r.queue.mu.Unlock()
		return len(r.queue.entries) == 0
	})
}
