package l2

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"neutrino/internal/agent"
	"neutrino/internal/agent/l2/firewall"
	"neutrino/internal/agent/l2/linuxbridge"
	"neutrino/internal/bus"
	"neutrino/internal/linux/bridge"
	"neutrino/internal/linux/link"
	"neutrino/internal/reconcile"
	"neutrino/internal/rpc"

	"github.com/vishvananda/netlink"
)

const (
	binaryName = "neutron-linuxbridge-agent"
	tunnelType = "vxlan"
)

// Agent is the L2 agent of one host.
type Agent struct {
	cfg       Config
	transport bus.Transport
	log       *slog.Logger
	writes    atomic.Int64

	inbox    *inbox
	loop     *reconcile.Loop
	cutter   *reconcile.Loop // cuts connections beside the loop: it takes longer than wiring
	reporter *agent.Reporter
	remotes  *remotes
	firewall *firewall.Firewall // nil: switched off
	links    *link.Cache
	driver   *linuxbridge.Driver
	entries  *bridge.Entries

	// Used by passes only.
	devices        map[string]*device
	networks       map[string]*network
	retired        map[string]linuxbridge.Network // without devices, to be taken down
	gone           map[string]bool                // vanished devices that the server does not know of yet
	changedGroups  map[string]bool                // security groups whose rules are to be fetched
	changedMembers map[string]bool                // remote groups whose members are to be fetched
	kernel         map[bridge.Entry]string        // forwarding entries as this pass read them; nil: it did not
	synced         bool                           // everything was fetched once: the kernel may be changed
	refresh        bool                           // the server must send all forwarding entries
	announced      bool                           // the tunnel endpoint is known to the server
	verified       time.Time
	nextRetry      *time.Timer
	deviceCount    atomic.Int64

	failure atomic.Pointer[error] // of the last pass
}

// New makes an agent. Run starts it.
func New(cfg Config, t bus.Transport, log *slog.Logger) *Agent {
	a := &Agent{cfg: cfg.withDefaults(), transport: t, log: log, inbox: newInbox(),
		devices: map[string]*device{}, networks: map[string]*network{}, retired: map[string]linuxbridge.Network{}, gone: map[string]bool{},
		changedGroups: map[string]bool{}, changedMembers: map[string]bool{}}
	a.remotes = newRemotes(cfg.LocalIP, cfg.DisableL2Population, log)
	a.loop = reconcile.NewLoop(a.pass, a.cfg.Coalesce, a.cfg.VerifyInterval, log)
	a.inbox.kick = a.loop.Kick
	a.reporter = &agent.Reporter{Transport: t, State: a.state(), Interval: a.cfg.ReportInterval, Log: log,
		Stats: func(c map[string]any) { c["devices"] = a.deviceCount.Load() },
		Resync: func(reason string) {
			log.Info("resync", "reason", reason)
			a.inbox.add(func(n *news) { n.resync = true })
		}}
	if !cfg.DisableFirewall {
		bridges := []string{"brq*"}
		for _, b := range cfg.BridgeMappings {
			bridges = append(bridges, b)
		}
		a.firewall = firewall.New(firewall.Config{Bridges: bridges, VXLANPort: a.cfg.UDPPort}, &a.writes, log)
		a.cutter = reconcile.NewLoop(a.firewall.Recheck, 0, 0, log)
	}
	return a
}

func (a *Agent) state() rpc.AgentState {
	types, ip := []string{}, ""
	if a.cfg.LocalIP.IsValid() {
		types, ip = []string{tunnelType}, a.cfg.LocalIP.String()
	}
	return rpc.AgentState{Binary: binaryName, Host: a.cfg.Host, AgentType: rpc.AgentTypeLinuxBridge, Topic: "N/A",
		Configurations: map[string]any{
			"bridge_mappings":    nonNil(a.cfg.BridgeMappings),
			"interface_mappings": nonNil(a.cfg.PhysicalInterfaceMappings),
			"tunnel_types":       types, "tunneling_ip": ip, "l2_population": !a.cfg.DisableL2Population,
			"devices": 0, "extensions": []string{},
		}}
}

func nonNil(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return maps.Clone(m)
}

// Writes is how often the agent changed something in the kernel.
func (a *Agent) Writes() int64 { return a.writes.Load() }

// Healthy returns why the agent does not do its work, or nil.
func (a *Agent) Healthy() error {
	if err := a.failure.Load(); err != nil && *err != nil {
		return *err
	}
	if !a.reporter.Alive() {
		return errors.New("the server does not know that this agent lives")
	}
	return nil
}

// Run works until ctx ends. It leaves everything in the kernel as it is: traffic goes on. An error means that the host
// cannot do what the configuration asks for.
func (a *Agent) Run(ctx context.Context) error {
	handle, err := netlink.NewHandle()
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer handle.Close()
	caps := linuxbridge.Probe(ctx)
	caps.Log(a.log)
	if a.firewall != nil && !caps.BridgeNetfilter {
		return errors.New("this kernel has no br_netfilter, which security groups need; load it or disable them")
	}
	a.links = link.NewCache(handle, func(name string) {
		a.inbox.add(func(n *news) { n.links[name] = true })
	}, a.log)
	a.driver = linuxbridge.New(linuxbridge.Config{Interfaces: a.cfg.PhysicalInterfaceMappings, Bridges: a.cfg.BridgeMappings,
		LocalIP: a.cfg.LocalIP, UDPPort: a.cfg.UDPPort, Learning: a.cfg.DisableL2Population}, caps, handle, a.links, &a.writes, a.log)
	a.entries = a.driver.Entries()
	if err := a.links.Reload(); err != nil {
		return err
	}
	stop, err := a.mux().Serve(a.transport, a.cfg.Host)
	if err != nil {
		return err
	}
	defer stop()
	a.inbox.add(func(n *news) { n.resync = true })
	a.work(ctx)
	return nil
}

func (a *Agent) work(ctx context.Context) {
	jobs := []func(context.Context){a.links.Run, a.reporter.Run, a.loop.Run}
	if a.cutter != nil {
		jobs = append(jobs, a.cutter.Run)
	}
	var all sync.WaitGroup
	for _, job := range jobs {
		all.Go(func() { job(ctx) })
	}
	all.Wait()
	if a.nextRetry != nil {
		a.nextRetry.Stop()
	}
}
