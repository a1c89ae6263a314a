// Package l3 is the L3 agent: it keeps the centralised routers of a host, each in a network namespace qrouter-<id>.
//
// The server says what routers there are (full sync) and which changed (notifications). A queue hands them to workers,
// each router to one at a time. A worker turns the router into a State, a description of the kernel, and brings the
// namespace in line with it. Nothing is written before the first full sync, nothing if all is as it should be, and the
// routers go on when the agent ends. Advertisements and metadata come from the agent itself: if it is started while no server is there,
// records tell what its predecessor answered.
package l3

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"neutrino/internal/agent"
	"neutrino/internal/agent/plug"
	"neutrino/internal/agent/records"
	"neutrino/internal/bus"
	"neutrino/internal/linux/announce"
	"neutrino/internal/ra"
	"neutrino/internal/reconcile"
	"neutrino/internal/rpc"

	"golang.org/x/sync/errgroup"
)

// Config is what the agent must know of its host. Only Host is needed.
type Config struct {
	Host             string
	AvailabilityZone string
	InterfaceDriver  string        // reported only; "" = "linuxbridge"
	ReportInterval   time.Duration // report_interval; 0 = 30 s
	ResyncInterval   time.Duration // between full syncs without reason; 0 = 10 min
	CheckInterval    time.Duration // between comparisons of a router with the kernel; 0 = 30 s
	Workers          int           // routers configured at the same time; 0 = 8
	MetadataPort     int           // metadata_port; 0 = 9697
	IPv6Gateway      netip.Addr    // ipv6_gateway, a link-local address; the zero Addr = learn it from advertisements
	Advertisements   ra.Interval   // min_rtr_adv_interval, max_rtr_adv_interval; zero = ra.DefaultInterval
	CleanUpOnStop    bool          // cleanup_on_shutdown: routers go with the agent
	NoInternalOnly   bool          // not handle_internal_only_routers; the scheduler heeds it
	LogHeartbeats    bool          // log_agent_heartbeats, reported only
	Plug             plug.Driver   // makes the interfaces; nil: by veth pairs
	Records          records.Dir   // ra_confs: what an agent answers with that is started while no server is there
}

// Agent is an L3 agent.
type Agent struct {
	config    Config
	options   options
	bus       bus.Transport
	log       *slog.Logger
	metadata  MetadataListener
	reporter  *agent.Reporter
	queue     *queue
	announcer *announce.Announcer
	sync      *reconcile.Loop
	writes    atomic.Int64
	chunk     int           // routers asked for at once
	pause     time.Duration // between two checks because of changes by others
	synced    chan struct{} // closed after the first full sync

	mu       sync.Mutex
	routers  map[string]*hosted
	recalled map[string]*router   // what answers in namespaces of a predecessor, until the router is looked at
	watched  map[int]string       // routers by the ids of their namespaces
	touched  map[string]time.Time // routers whose namespaces somebody changed, and when
	helpers  map[string][]helper  // of upstream's agent, by router, until the router is looked at
}

// hosted is a router that this agent looks after.
type hosted struct {
	router *router     // used by the worker that has the router
	state  State       // as last wanted
	data   *rpc.Router // what state was made of, if it has many floating IPs: used by the worker
	done   bool        // the kernel was brought in line with state once: what differs later was changed by somebody
	asOf   time.Time
	looked time.Time // when it was compared with the kernel

	watched bool // the namespace is in Agent.watched by this id
	nsid    int
}

// New makes an agent. md serves metadata in router namespaces; nil = none.
func New(c Config, t bus.Transport, log *slog.Logger, md MetadataListener) *Agent {
	c = withDefaults(c)
	a := &Agent{config: c, bus: t, log: log, metadata: md, queue: newQueue(), announcer: announce.NewAnnouncer(log),
		chunk: maxChunk, pause: 3 * time.Second, synced: make(chan struct{}), routers: map[string]*hosted{},
		recalled: map[string]*router{}, watched: map[int]string{}, touched: map[string]time.Time{}}
	a.options = options{ipv6: kernelHasIPv6(), ipv6Gateway: c.IPv6Gateway, advertisements: c.Advertisements}
	if md != nil {
		a.options.metadataPort = c.MetadataPort
	}
	a.sync = reconcile.NewLoop(a.fullSync, 50*time.Millisecond, c.ResyncInterval, log)
	a.reporter = &agent.Reporter{Transport: t, State: a.reportedState(), Interval: c.ReportInterval, Stats: a.count,
		Resync: func(reason string) { log.Info("full sync", "reason", reason); a.sync.Kick() }, Log: log}
	return a
}

func withDefaults(c Config) Config {
	if c.Plug == nil {
		c.Plug = plug.Pairs{}
	}
	if c.InterfaceDriver == "" {
		c.InterfaceDriver = "linuxbridge"
	}
	if c.ResyncInterval == 0 {
		c.ResyncInterval = 10 * time.Minute
	}
	if c.CheckInterval == 0 {
		c.CheckInterval = 30 * time.Second
	}
	if c.Workers == 0 {
		c.Workers = 8
	}
	if c.Advertisements == (ra.Interval{}) {
		c.Advertisements = ra.DefaultInterval
	}
	if c.MetadataPort == 0 {
		c.MetadataPort = 9697
	}
	return c
}

func kernelHasIPv6() bool {
	_, err := os.Stat("/proc/sys/net/ipv6")
	return err == nil
}

// Run works until ctx ends. It leaves the routers as they are, unless CleanUpOnStop.
func (a *Agent) Run(ctx context.Context) error {
	stop, err := a.listen()
	if err != nil {
		return err
	}
	a.recall(ctx)
	tasks, ctx := errgroup.WithContext(ctx)
	start := func(f func(context.Context)) { tasks.Go(func() error { f(ctx); return nil }) }
	start(a.reporter.Run)
	start(a.announcer.Run)
	start(a.check)
	start(a.watch)
	start(func(ctx context.Context) {
		again := func(p plug.Port) {
			a.queue.add(work{id: strings.TrimPrefix(p.Namespace, namespacePrefix)}, byNotification)
		}
		a.config.Plug.Run(ctx, again)
	})
	start(func(ctx context.Context) {
		a.waitReported(ctx)
		a.sync.Kick()
		a.sync.Run(ctx)
	})
	for range a.config.Workers {
		start(a.work)
	}
	err = tasks.Wait()
	stop()
	for _, r := range a.recalled {
		r.stopServing((*ra.Sender).Close)
	}
	for _, h := range a.routers { // nobody else is left to use them
		h.router.stopServing((*ra.Sender).Close)
		if a.config.CleanUpOnStop {
			err = errors.Join(err, h.router.remove(context.WithoutCancel(ctx)))
		}
	}
	return err
}

// listen serves the server's notifications. All of them only say where to look again: messages may overtake each other
// and may be lost, so what they say is not relied upon.
func (a *Agent) listen() (stop func(), err error) {
	mux := rpc.NewMux(a.log)
	look := func(ids ...string) (rpc.None, error) {
		for _, id := range ids {
			a.queue.add(work{id: id}, byNotification)
		}
		return rpc.None{}, nil
	}
	rpc.Handle(mux, rpc.RoutersUpdated, func(_ context.Context, x rpc.RoutersArgs) (rpc.None, error) {
		for _, id := range x.Routers {
			w := work{id: id}
			if floating, only := x.FloatingIPs[id]; only {
				w.floating = map[string]bool{}
				for _, f := range floating {
					w.floating[f] = true
				}
			}
			a.queue.add(w, byNotification)
		}
		return rpc.None{}, nil
	})
	rpc.Handle(mux, rpc.RouterDeleted, func(_ context.Context, x rpc.RouterIDArgs) (rpc.None, error) { return look(x.RouterID) })
	rpc.Handle(mux, rpc.RouterAddedToAgent, func(_ context.Context, x rpc.RoutersPayload) (rpc.None, error) { return look(x.Payload...) })
	rpc.Handle(mux, rpc.RouterRemovedFromAgent, func(_ context.Context, x rpc.RouterPayload) (rpc.None, error) {
		return look(x.Payload.RouterID)
	})
	network := func(_ context.Context, x rpc.NetworkArgs) (rpc.None, error) {
		return look(a.routersOn(x.Network.ID)...)
	}
	rpc.Handle(mux, rpc.L3NetworkUpdate, network)
	rpc.Handle(mux, rpc.NetworkUpdate, network) // upstream's server tells all agents at once
	rpc.Handle(mux, rpc.L3AgentUpdated, func(_ context.Context, x rpc.AgentUpdatedArgs) (rpc.None, error) {
		a.log.Info("full sync", "reason", "the server updated the agent", "admin_state_up", x.Payload.AdminStateUp)
		a.sync.Kick()
		return rpc.None{}, nil
	})
	return mux.Serve(a.bus, a.config.Host)
}

// waitReported waits until the server knows the agent, or it would schedule no routers to it; for some time only,
// because the routers may be there already.
func (a *Agent) waitReported(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for !a.reporter.Alive() {
		select {
		case <-ctx.Done():
			return
		case <-poll.C:
		}
	}
}

func (a *Agent) routersOn(network string) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var ids []string
	for id, h := range a.routers {
		for _, i := range h.state.Interfaces {
			if i.Network == network {
				ids = append(ids, id)
				break
			}
		}
	}
	return ids
}

// Healthy returns nil if the agent can do its work, or the reason why not.
func (a *Agent) Healthy() error {
	if !a.bus.Healthy() {
		return errors.New("no connection to the bus")
	}
	select {
	case <-a.synced:
	default:
		return errors.New("the server has not yet said which routers there are")
	}
	if n := a.queue.failing(); n > 0 {
		return fmt.Errorf("%d routers cannot be configured", n)
	}
	return nil
}

// Writes counts the changes of the kernel since the start.
func (a *Agent) Writes() int64 { return a.writes.Load() }

func (a *Agent) reportedState() rpc.AgentState {
	return rpc.AgentState{
		Binary: "neutron-l3-agent", Host: a.config.Host, AgentType: rpc.AgentTypeL3, Topic: rpc.TopicL3Agent,
		AvailabilityZone: a.config.AvailabilityZone,
		Configurations: map[string]any{
			"agent_mode":                   "legacy",
			"handle_internal_only_routers": !a.config.NoInternalOnly,
			"interface_driver":             a.config.InterfaceDriver,
			"log_agent_heartbeats":         a.config.LogHeartbeats,
			"extensions":                   []string{},
		},
	}
}

func (a *Agent) count(configurations map[string]any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	gateways, interfaces, floating := 0, 0, 0
	for _, h := range a.routers {
		for _, i := range h.state.Interfaces {
			if i.External {
				gateways++
			} else {
				interfaces++
			}
		}
		floating += len(h.state.NAT.FloatingIPs)
	}
	configurations["routers"] = len(a.routers)
	configurations["ex_gw_ports"] = gateways
	configurations["interfaces"] = interfaces
	configurations["floating_ips"] = floating
}
