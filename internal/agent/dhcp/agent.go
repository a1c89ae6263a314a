// Package dhcp is the DHCP agent: for each network that the server gives it, it keeps a namespace with a port of its own
// and answers DHCP, and where it is asked to metadata requests, from within this process.
//
// What the server says is kept in a reconcile.Table; one loop fetches what must be fetched and brings networks in line
// that changed, at a cost that follows the changes. Nothing of a network is touched while it stays the same, and nothing
// at all before the first answer of the server. When the agent ends, namespaces and addresses stay for its successor, and
// records of what was served there: with them it answers until the server does.
package dhcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"neutrino/internal/agent"
	"neutrino/internal/agent/plug"
	"neutrino/internal/bus"
	"neutrino/internal/dhcp"
	"neutrino/internal/linux/announce"
	"neutrino/internal/linux/epoll"
	"neutrino/internal/linux/netns"
	"neutrino/internal/metadata"
	"neutrino/internal/reconcile"
	"neutrino/internal/rpc"
)

// Agent is the DHCP agent.
type Agent struct {
	cfg        Config
	transport  bus.Transport
	log        *slog.Logger
	reporter   *agent.Reporter
	loop       *reconcile.Loop
	table      *reconcile.Table[string, *network]
	translator *translator
	proxy      *metadata.Proxy // nil without a backend
	poller     *epoll.Poller   // waits for the sockets of all networks while Run works
	ready      *readyPorts
	announcer  *announce.Announcer
	writes     atomic.Int64
	failure    atomic.Pointer[error] // of the last synchronisation

	turn     sync.Mutex          // held during a run of the loop
	services map[string]*service // used by the loop only
	lastFull time.Time           // used by the loop only
	swept    bool                // used by the loop only
	round    []string            // networks that inspect has still to look at in this round; used by the loop only
	looked   time.Time           // when inspect last did; used by the loop only

	mu      sync.Mutex // guards what follows, and changes of table that depend on its contents
	started bool
	full    bool                 // fetch everything
	fetch   map[string]bool      // networks to fetch
	left    map[string][]int     // processes of upstream's agent, by network
	lost    map[string]bool      // networks whose interface is to be plugged again
	deleted map[string]time.Time // ports, so that a late message does not bring them back
	journal map[string]*rpc.Port // ports that came while a fetch is under way; nil if none is
}

// coalesce is how long the loop rests after a run: what comes meanwhile is done together.
const coalesce = 4 * time.Millisecond

// New makes the agent.
func New(cfg Config, t bus.Transport, log *slog.Logger) *Agent {
	if cfg.Plug == nil {
		cfg.Plug = plug.Pairs{}
	}
	a := &Agent{
		cfg:       cfg,
		transport: t,
		log:       log,
		table:     reconcile.NewTable[string](func(a, b *network) bool { return a == b }),
		ready:     newReadyPorts(t, log),
		announcer: announce.NewAnnouncer(log),
		services:  map[string]*service{},
		full:      true,
		fetch:     map[string]bool{},
		lost:      map[string]bool{},
		deleted:   map[string]time.Time{},
	}
	a.translator = &translator{&a.cfg, dhcp.NewParser(), log}
	a.loop = reconcile.NewLoop(a.sync, coalesce, cfg.ResyncInterval, log)
	if cfg.Metadata != nil {
		a.proxy = metadata.NewProxy(cfg.Metadata, cfg.MetadataProxy, log)
	}
	a.reporter = &agent.Reporter{
		Transport: t,
		Interval:  cfg.ReportInterval,
		Stats:     a.stats,
		Resync:    a.Resync,
		Started:   a.start,
		Log:       log,
		State: rpc.AgentState{
			Binary:           "neutron-dhcp-agent",
			Host:             cfg.Host,
			AgentType:        rpc.AgentTypeDHCP,
			Topic:            rpc.TopicDHCPAgent,
			AvailabilityZone: cfg.AvailabilityZone,
			Configurations: map[string]any{
				"dhcp_driver":          cfg.Driver,
				"dhcp_lease_duration":  leaseSeconds(cfg.LeaseDuration),
				"log_agent_heartbeats": cfg.LogHeartbeats,
			},
		},
	}
	return a
}

// leaseSeconds is the option's value: -1 is infinite.
func leaseSeconds(d time.Duration) int {
	if d < 0 {
		return -1
	}
	return int(d / time.Second)
}

// Run works until ctx ends, and leaves the kernel as it is then.
func (a *Agent) Run(ctx context.Context) error {
	poller, err := epoll.New()
	if err != nil {
		return err
	}
	defer poller.Close()
	a.poller = poller
	a.recall(ctx)
	stop, err := a.handlers().Serve(a.transport, a.cfg.Host)
	if err != nil {
		return errors.Join(err, a.stopServices())
	}
	var wg sync.WaitGroup
	for _, run := range []func(context.Context){a.reporter.Run, a.loop.Run, a.ready.loop.Run, a.announcer.Run, a.remind, a.watchInterfaces} {
		wg.Go(func() { run(ctx) })
	}
	<-ctx.Done()
	stop()
	wg.Wait()
	return a.stopServices()
}

func (a *Agent) stopServices() error {
	var errs []error
	for _, s := range a.services {
		errs = append(errs, s.stop())
	}
	if a.proxy != nil {
		errs = append(errs, a.proxy.Close())
	}
	return errors.Join(errs...)
}

// Healthy tells what keeps the agent from working.
func (a *Agent) Healthy() error {
	if !a.reporter.Alive() {
		return errors.New("DHCP agent: the last state report did not get through")
	}
	switch err := a.failure.Load(); {
	case err == nil:
		return errors.New("DHCP agent: the server has not yet said which networks there are")
	case *err != nil:
		return fmt.Errorf("DHCP agent: %w", *err)
	}
	return nil
}

// Writes is the number of changes made to the kernel since the start.
func (a *Agent) Writes() int64 { return a.writes.Load() }

// Resync makes the agent fetch everything again.
func (a *Agent) Resync(reason string) {
	a.log.Info("will fetch everything", "reason", reason)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.full = true
	a.loop.Kick()
}

// start lets the first synchronisation begin: before the server knows the agent it would give it no networks.
func (a *Agent) start() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.started = true
	a.loop.Kick()
}

func (a *Agent) stats(c map[string]any) {
	var networks, subnets, ports int
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, n := range a.table.AllWanted() {
		if !n.served() {
			continue
		}
		networks++
		subnets += len(n.Subnets) + len(n.NonLocalSubnets)
		ports += len(n.ports.byID)
	}
	c["networks"], c["subnets"], c["ports"] = networks, subnets, ports
}

// exists tells whether the network has a namespace.
func (a *Agent) exists(networkID string) bool { return netns.Exists(namespacePrefix + networkID) }
