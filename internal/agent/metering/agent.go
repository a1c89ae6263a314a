// Package metering is the metering agent: it counts the traffic of routers under labels and publishes the counts as
// l3.meter notifications.
//
// The server says which labels count which routers. Counters are nftables counters in the routers' namespaces, in a table
// of their own. They keep what was not yet published, also while no agent runs: reading them for a notification sets them
// to zero, so nothing is lost or published twice by a restart.
package metering

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"neutrino/internal/agent"
	"neutrino/internal/bus"
	"neutrino/internal/linux/netns"
	"neutrino/internal/notify"
	"neutrino/internal/reconcile"
	"neutrino/internal/rpc"

	"golang.org/x/sync/errgroup"
)

// Config is what the agent must know. Only Host is needed.
type Config struct {
	Host            string
	Driver          string        // reported only
	Off             bool          // count nothing: upstream's noop driver
	MeasureInterval time.Duration // measure_interval; 0 = 30 s
	ReportInterval  time.Duration // report_interval of metering.ini, between notifications; 0 = 300 s
	Heartbeat       time.Duration // report_interval of [agent]; 0 = 30 s
	ResyncInterval  time.Duration // between full syncs without reason; 0 = 1 min
	Granular        bool          // granular_traffic_data
	Notifications   notify.Config
}

// Agent is a metering agent.
type Agent struct {
	config    Config
	bus       bus.Transport
	log       *slog.Logger
	reporter  *agent.Reporter
	publisher *notify.Publisher
	sync      *reconcile.Loop
	writes    atomic.Int64
	synced    atomic.Bool
	failing   atomic.Int64 // routers whose counters could not be made

	ask atomic.Bool // ask the server next time

	mu         sync.Mutex // of all below
	asked      time.Time
	wanted     map[string]rpc.MeteredRouter
	unlabelled map[string]uint64 // routers that nobody counts, by their namespace
	away       map[string]bool   // routers that went since the server was asked: their labels may be others when they come back
	meters     map[string]*meter
	ledger     *ledger
}

// New makes an agent.
func New(c Config, t bus.Transport, log *slog.Logger) *Agent {
	for _, d := range []struct {
		value *time.Duration
		def   time.Duration
	}{{&c.MeasureInterval, 30 * time.Second}, {&c.ReportInterval, 300 * time.Second}, {&c.ResyncInterval, time.Minute}} {
		if *d.value == 0 {
			*d.value = d.def
		}
	}
	c.Notifications.Publisher = "metering." + c.Host
	a := &Agent{config: c, bus: t, log: log, publisher: notify.New(c.Notifications, t, log), meters: map[string]*meter{},
		unlabelled: map[string]uint64{}, away: map[string]bool{}, ledger: newLedger(c.Granular, c.Host)}
	a.sync = reconcile.NewLoop(a.pass, 20*time.Millisecond, c.ResyncInterval, log)
	a.reporter = &agent.Reporter{Transport: t, State: a.reportedState(), Interval: c.Heartbeat,
		Resync: func(reason string) { log.Info("full sync", "reason", reason); a.askAgain() }, Log: log}
	return a
}

func (a *Agent) reportedState() rpc.AgentState {
	return rpc.AgentState{Binary: "neutron-metering-agent", Host: a.config.Host, AgentType: rpc.AgentTypeMetering, Topic: rpc.TopicMeteringAgent,
		Configurations: map[string]any{"metering_driver": a.config.Driver, "measure_interval": int(a.config.MeasureInterval.Seconds()),
			"report_interval": int(a.config.ReportInterval.Seconds())}}
}

// Run works until ctx ends. The counters stay and go on counting.
func (a *Agent) Run(ctx context.Context) error {
	if a.config.Off {
		a.log.Warn("nothing is counted: driver is noop")
		a.reporter.Run(ctx)
		return nil
	}
	if !notify.Wanted(a.config.Notifications.Drivers) {
		a.log.Warn("counts are not published: [oslo_messaging_notifications] driver is not set")
	}
	stop, err := a.listen()
	if err != nil {
		return err
	}
	defer stop()
	defer a.close()
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.Go(func() error { return netns.Watch(ctx, a.sync.Kick) }) // a router comes, goes, or comes back
	for _, run := range []func(context.Context){a.reporter.Run, a.sync.Run, a.measureAndReport} {
		tasks.Go(func() error { run(ctx); return nil })
	}
	a.askAgain()
	err = tasks.Wait()
	a.lastWords(context.WithoutCancel(ctx))
	return err
}

// lastWords publishes what the kernel has no longer: counts of labels and routers that are gone.
func (a *Agent) lastWords(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	a.mu.Lock()
	waiting := a.ledger.waiting()
	a.mu.Unlock()
	if waiting && a.canPublish() {
		a.report(ctx, time.Now())
	}
}

// askAgain has the next pass ask the server.
func (a *Agent) askAgain() {
	a.ask.Store(true)
	a.sync.Kick()
}

// listen serves the server's notifications. All of them only say that something changed.
func (a *Agent) listen() (stop func(), err error) {
	mux := rpc.NewMux(a.log)
	changed := func(context.Context, rpc.MeteredRoutersArgs) (rpc.None, error) { a.askAgain(); return rpc.None{}, nil }
	for _, m := range []rpc.Method[rpc.MeteredRoutersArgs, rpc.None]{rpc.AddMeteringLabel, rpc.RemoveMeteringLabel, rpc.AddMeteringLabelRule,
		rpc.RemoveMeteringLabelRule, rpc.UpdateMeteringLabelRules, rpc.MeteredRoutersUpdated} {
		rpc.Handle(mux, m, changed)
	}
	rpc.Handle(mux, rpc.MeteredRouterDeleted, func(context.Context, rpc.RouterIDArgs) (rpc.None, error) { a.askAgain(); return rpc.None{}, nil })
	return mux.Serve(a.bus, a.config.Host)
}

// pass makes the namespaces of this host count as the server wants. The server is asked if something changed there, if a
// router came that was not there when it was last asked, and after some time.
func (a *Agent) pass(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	news, err := a.look()
	if a.ask.Swap(false) || news || time.Since(a.asked) >= a.config.ResyncInterval {
		if err := a.fetch(ctx); err != nil {
			a.ask.Store(true)
			return err
		}
	}
	failed := []error{err}
	for id, m := range a.meters {
		r, ok := a.wanted[id]
		if !ok {
			r = rpc.MeteredRouter{ID: id} // no labels: the table goes
		}
		if err := a.update(ctx, m, r); err != nil {
			failed = append(failed, fmt.Errorf("router %s: %w", id, err))
		} else if !ok {
			a.unlabelled[id] = m.id
			m.close()
			delete(a.meters, id)
		}
	}
	a.failing.Store(int64(len(failed) - 1))
	a.synced.Store(true)
	return errors.Join(failed...)
}

// fetch asks which labels count which routers of this host.
func (a *Agent) fetch(ctx context.Context) error {
	routers, err := rpc.GetSyncDataMetering.Call(ctx, a.bus, "", rpc.MeteringHostArgs{Host: a.config.Host})
	if err != nil {
		return err
	}
	a.asked = time.Now()
	a.wanted = make(map[string]rpc.MeteredRouter, len(routers))
	for _, r := range routers {
		a.wanted[r.ID] = r
	}
	a.ledger.know(routers)
	_, err = a.look() // some may have got labels
	clear(a.away)
	return err
}

// look opens a meter for each namespace that needs one: the router has labels, or an earlier agent's table. It tells
// whether there are routers that were not there before. Meters of namespaces that are gone are closed.
func (a *Agent) look() (news bool, err error) {
	for id, m := range a.meters {
		if m.gone() {
			a.collectLast(m)
			m.close()
			delete(a.meters, id)
			a.away[id] = true
		}
	}
	names, err := netns.Names(namespacePrefix)
	if err != nil {
		return false, fmt.Errorf("list namespaces: %w", err)
	}
	var failed []error
	seen := make(map[string]uint64, len(names))
	for _, name := range names {
		id := name[len(namespacePrefix):]
		if a.meters[id] != nil {
			continue
		}
		inode, _ := netns.ID(name)
		_, wanted := a.wanted[id]
		if before, ok := a.unlabelled[id]; ok && before == inode && !wanted {
			seen[id] = inode
			continue
		}
		m, err := openMeter(id)
		if err != nil {
			failed = append(failed, fmt.Errorf("router %s: %w", id, err))
			continue
		}
		news = news || !wanted || a.away[id]
		if !wanted {
			seen[id] = m.id
		}
		if wanted || m.table.exists {
			a.meters[id] = m
		} else {
			m.close()
		}
	}
	a.unlabelled = seen
	return news, errors.Join(failed...)
}

// update brings one namespace in line. What labels counted that are no longer there is kept for the next notification.
func (a *Agent) update(ctx context.Context, m *meter, r rpc.MeteredRouter) error {
	rules, problems := translate(r.Labels)
	for _, p := range problems {
		a.log.Warn("a rule counts nothing", "router", r.ID, "reason", p)
	}
	changed, err := m.apply(ctx, rules)
	if changed {
		a.writes.Add(1)
	}
	if err != nil {
		return err
	}
	for _, label := range m.superfluous(rules) {
		n, err := m.take(label)
		if err == nil {
			a.ledger.keep(r.ID, label, n)
			err = m.drop(label)
		}
		if err != nil {
			m.table.mark = "" // look again what is there
			return err
		}
		a.writes.Add(1)
	}
	if len(r.Labels) == 0 && m.table.exists {
		a.writes.Add(1)
		return m.remove()
	}
	return nil
}

// collectLast keeps what a namespace counted that has lost its name. The meter still reaches it.
func (a *Agent) collectLast(m *meter) {
	for _, label := range m.labels() {
		n, err := m.take(label)
		if err != nil {
			n = m.known(label)
			a.log.Warn("the last counts of a router are lost", "router", m.router, "label", label, "error", err)
		}
		a.ledger.keep(m.router, label, n)
	}
	m.table = table{}
}

// measureAndReport reads the counters every measure_interval and publishes them every report_interval.
func (a *Agent) measureAndReport(ctx context.Context) {
	tick := time.NewTicker(a.config.MeasureInterval)
	defer tick.Stop()
	reported := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !a.synced.Load() {
			continue
		}
		now := time.Now()
		due := now.Sub(reported) >= a.config.ReportInterval && a.canPublish()
		a.measure(now, due)
		if due {
			a.report(ctx, now)
			reported = now
		}
	}
}

// canPublish tells whether notifications get away. As long as they do not, the counters keep the counts.
func (a *Agent) canPublish() bool {
	return notify.Wanted(a.config.Notifications.Drivers) && a.bus.Healthy()
}

// measure reads all counters; with take it empties them into the ledger.
func (a *Agent) measure(now time.Time, take bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, m := range a.meters {
		if !m.intact() {
			a.log.Warn("the rules of a router were changed by somebody else; they are put back", "router", id)
			a.sync.Kick()
		}
		for _, label := range m.labels() {
			read := m.peek
			if take {
				read = m.take
			}
			n, err := read(label)
			if err != nil {
				a.log.Warn("cannot read a counter", "router", id, "label", label, "error", err)
				m.table.mark = "" // look again what is there
				a.sync.Kick()
				continue
			}
			a.ledger.measured(id, label, now)
			if take {
				a.ledger.keep(id, label, n)
			}
		}
	}
}

func (a *Agent) report(ctx context.Context, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.ledger.report(now, a.config.ReportInterval, func(event string, payload map[string]any) error {
		return a.publisher.Send(ctx, system, event, payload)
	}); err != nil {
		a.log.Error("some counts could not be published; they come with the next ones", "error", err)
	}
}

func (a *Agent) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, m := range a.meters {
		m.close()
		delete(a.meters, id)
	}
}

// Healthy returns nil if the agent can do its work, or the reason why not.
func (a *Agent) Healthy() error {
	switch n := a.failing.Load(); {
	case !a.bus.Healthy():
		return errors.New("metering agent: no connection to the bus")
	case a.config.Off:
	case !a.synced.Load():
		return errors.New("metering agent: the server has not yet said what to count")
	case n > 0:
		return fmt.Errorf("metering agent: %d routers cannot be metered", n)
	}
	return nil
}

// Writes counts the changes of rules since the start.
func (a *Agent) Writes() int64 { return a.writes.Load() }
