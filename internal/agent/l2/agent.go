package l2

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"neutrino/internal/agent"
	"neutrino/internal/agent/l2/linuxbridge"
	"neutrino/internal/agent/l2/openvswitch"
	"neutrino/internal/agent/l2/wiring"
	"neutrino/internal/bus"
	"neutrino/internal/linux/bridge"
	"neutrino/internal/reconcile"
	"neutrino/internal/rpc"

	"github.com/vishvananda/netlink"
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
	driver   wiring.Driver
	firewall wiring.Filter // nil: switched off
	entries  reconcile.Driver[bridge.Entry, string]

	// Used by passes only.
	devices        map[string]*device
	networks       map[string]*network
	retired        map[string]wiring.Network // without devices, to be taken down
	gone           map[string]bool           // vanished devices that the server does not know of yet
	changedGroups  map[string]bool           // security groups whose rules are to be fetched
	changedMembers memberNews                // remote groups of whose members something is to be fetched
	doubtful       map[memberKey]bool        // members that are to be fetched although they are known
	patched        map[string]bool           // remote groups of whose members only changes were fetched
	healed         time.Time                 // when these were last fetched as a whole
	stateless      map[string]bool           // security groups, as far as their rules told
	kernel         map[bridge.Entry]string   // forwarding entries as this pass read them; nil: it did not
	synced         bool                      // everything was fetched once: the kernel may be changed
	refresh        bool                      // the server must send all forwarding entries
	announced      bool                      // the tunnel endpoint is known to the server
	verified       time.Time
	strayed        bool // a device that had no port here is gone: an earlier run may have left its network for it
	nextRetry      *time.Timer
	told           atomic.Bool // the server has sent them, once
	deviceCount    atomic.Int64

	failure atomic.Pointer[error] // of the last pass
}

// New makes an agent. Run starts it.
func New(cfg Config, t bus.Transport, log *slog.Logger) *Agent {
	a := &Agent{cfg: cfg.withDefaults(), transport: t, log: log, inbox: newInbox(),
		devices: map[string]*device{}, networks: map[string]*network{}, retired: map[string]wiring.Network{}, gone: map[string]bool{},
		changedGroups: map[string]bool{}, changedMembers: memberNews{}, stateless: map[string]bool{},
		doubtful: map[memberKey]bool{}, patched: map[string]bool{}}
	a.remotes = newRemotes(cfg.LocalIP, cfg.DisableL2Population && !cfg.Tunnels.Group.IsValid(), log)
	a.loop = reconcile.NewLoop(a.pass, a.cfg.Coalesce, a.cfg.VerifyInterval/2, log) // half: a pass just before would delay it else
	a.inbox.kick = a.loop.Kick
	a.driver = a.newDriver()
	a.reporter = &agent.Reporter{Transport: t, State: a.state(), Interval: a.cfg.ReportInterval, Log: log,
		Stats: func(c map[string]any) { c["devices"] = a.deviceCount.Load() },
		Resync: func(reason string) {
			log.Info("resync", "reason", reason)
			a.inbox.add(func(n *news) { n.resync = true })
		}}
	if a.firewall = a.driver.Filter(); a.firewall != nil {
		a.cutter = reconcile.NewLoop(a.firewall.Recheck, 0, 0, log)
	}
	return a
}

// newDriver makes the driver that the configuration asks for.
func (a *Agent) newDriver() wiring.Driver {
	if a.cfg.OpenVSwitch != nil {
		c := *a.cfg.OpenVSwitch
		c.LocalIP, c.BridgeMappings, c.L2Population, c.Unfiltered = a.cfg.LocalIP, a.cfg.BridgeMappings, !a.cfg.DisableL2Population, a.cfg.DisableFirewall
		c.PermittedEthertypes = a.cfg.PermittedEthertypes
		return openvswitch.New(c, &a.writes, a.log)
	}
	return linuxbridge.New(linuxbridge.Config{Interfaces: a.cfg.PhysicalInterfaceMappings, Bridges: a.cfg.BridgeMappings,
		LocalIP: a.cfg.LocalIP, UDPPort: a.cfg.UDPPort, Learning: a.cfg.DisableL2Population, Unfiltered: a.cfg.DisableFirewall,
		PermittedEthertypes: a.cfg.PermittedEthertypes, Tunnels: a.cfg.Tunnels}, &a.writes, a.log)
}

func (a *Agent) state() rpc.AgentState {
	s := rpc.AgentState{Host: a.cfg.Host, Topic: "N/A", Configurations: map[string]any{"devices": 0, "extensions": []string{}}}
	a.driver.Describe(&s)
	return s
}

// Writes is how often the agent changed something in the kernel.
func (a *Agent) Writes() int64 { return a.writes.Load() }

// Healthy returns why the agent does not do its work, or nil.
func (a *Agent) Healthy() error {
	switch err := a.failure.Load(); {
	case err == nil:
		return errors.New("the server has not yet said which ports there are")
	case *err != nil:
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
	defer a.driver.Close()
	if err := a.driver.Open(ctx, func(device string) {
		a.inbox.add(func(n *news) { n.links[device] = true })
	}); err != nil {
		return err
	}
	a.entries = a.driver.Entries()
	a.lookForEndpoint()
	a.reporter.State = a.state()
	stop, err := a.mux().Serve(a.transport, a.cfg.Host)
	if err != nil {
		return err
	}
	defer stop()
	a.inbox.add(func(n *news) { n.resync = true })
	a.work(ctx)
	return nil
}

// lookForEndpoint says if this host has not the address of its tunnels, without which they are silent.
func (a *Agent) lookForEndpoint() {
	if !a.cfg.LocalIP.IsValid() {
		return
	}
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		a.log.Warn("cannot list the addresses of this host", "error", err)
		return
	}
	if !slices.ContainsFunc(addrs, func(x netlink.Addr) bool { return x.IP.Equal(a.cfg.LocalIP.AsSlice()) }) {
		a.log.Error("no device of this host has the address local_ip: tunnels do not work until one has", "local_ip", a.cfg.LocalIP)
	}
}

func (a *Agent) work(ctx context.Context) {
	jobs := []func(context.Context){a.driver.Run, a.reporter.Run, a.loop.Run}
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
