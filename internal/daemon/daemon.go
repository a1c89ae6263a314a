// Package daemon is what all daemons do alike: read the configuration, open the log, connect to the bus, serve health and
// metrics, and run until they are told to stop.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"neutrino/internal/bus"
	"neutrino/internal/bus/nats"
	"neutrino/internal/config"
	"neutrino/internal/health"
	"neutrino/internal/linux/memory"
	"neutrino/internal/logging"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
)

// Daemon is a process being set up.
type Daemon struct {
	Program string
	File    *config.File
	Log     *slog.Logger
	Host    string
	Metrics *prometheus.Registry

	checks []health.Check
	tasks  []task
	logOut io.Closer
}

type task struct {
	name string
	run  func(ctx context.Context) error
}

// Options are where a daemon's configuration comes from.
type Options struct {
	Program     string
	ConfigFiles []string
	ConfigDirs  []string
	Underlay    string             // built-in configuration below all files, as INI text
	Override    func(*config.File) // command-line flags
}

// New reads the configuration and opens the log. Unknown options are warned of; wrong ones are an error.
func New(o Options) (*Daemon, error) {
	f, err := config.Load(o.ConfigFiles, o.ConfigDirs)
	if err != nil {
		return nil, err
	}
	if o.Underlay != "" {
		if err := f.Underlay("built-in", o.Underlay); err != nil {
			return nil, err
		}
	}
	if o.Override != nil {
		o.Override(f)
	}
	warnings, err := config.Check(f)
	if err != nil {
		return nil, err
	}
	out, err := logging.Open(config.LogDir.Get(f), config.LogFile.Get(f), o.Program)
	if err != nil {
		return nil, err
	}
	d := &Daemon{Program: o.Program, File: f, Host: config.Host.Get(f), Metrics: health.Registry(), logOut: out,
		Log: logging.New(out, logging.Config{Program: o.Program, Debug: config.Debug.Get(f), JSON: config.UseJSON.Get(f)})}
	for _, w := range warnings {
		d.Log.Warn(w)
	}
	return d, nil
}

// Logger is the logger of a part of the daemon.
func (d *Daemon) Logger(part string) *slog.Logger { return logging.Named(d.Log, "neutrino."+part) }

// Go adds a task that runs until its context ends. If it returns an error, or returns before, the daemon stops.
func (d *Daemon) Go(name string, run func(ctx context.Context) error) {
	d.tasks = append(d.tasks, task{name, run})
}

// Check adds a reason for the daemon to be unhealthy.
func (d *Daemon) Check(c health.Check) { d.checks = append(d.checks, c) }

// CountWrites shows an agent's kernel writes in the metrics.
func (d *Daemon) CountWrites(agent string, writes func() int64) {
	d.Metrics.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "neutrino_agent_kernel_writes_total",
		Help: "Changes that the agent made to the kernel's networking.", ConstLabels: prometheus.Labels{"agent": agent}},
		func() float64 { return float64(writes()) }))
}

// DialBus connects to the servers' bus. The connection is kept up from then on.
func (d *Daemon) DialBus() (bus.Transport, error) {
	return nats.Dial(nats.Config{URL: config.BusURL.Get(d.File), Token: config.BusToken.Get(d.File), TLS: d.BusTLS(),
		Name: d.Program + "@" + d.Host}, d.Logger("bus"))
}

// BusTLS are the certificates for the bus.
func (d *Daemon) BusTLS() nats.TLS {
	return nats.TLS{CertFile: config.BusCertFile.Get(d.File), KeyFile: config.BusKeyFile.Get(d.File), CAFile: config.BusCAFile.Get(d.File)}
}

// Close closes the log. It comes last, after all that may still write to it.
func (d *Daemon) Close() error { return d.logOut.Close() }

// settled is how long after its start a daemon has no more use for most of what it needed for that.
const settled = 3 * time.Second

// Run runs all tasks until SIGTERM or SIGINT, or until one fails. A second signal ends the process at once.
func (d *Daemon) Run() error {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	context.AfterFunc(ctx, cancel) // gives the signals their default meaning back
	group, ctx := errgroup.WithContext(ctx)
	_, stop, err := health.Start(ctx, config.HealthListen.Get(d.File), health.Handler(d.Metrics, d.checks...), d.Logger("health"))
	if err != nil {
		return err
	}
	defer stop()
	for _, t := range d.tasks {
		group.Go(func() error {
			err := t.run(ctx)
			if err == nil && ctx.Err() == nil {
				err = errors.New("ended without a reason")
			}
			if err != nil && !errors.Is(err, context.Canceled) {
				return fmt.Errorf("%s: %w", t.name, err)
			}
			return nil
		})
	}
	d.Log.Info("started", "host", d.Host, "pid", os.Getpid())
	defer time.AfterFunc(settled, func() {
		if err := memory.Release(); err != nil {
			d.Log.Debug("memory is not given back", "error", err)
		}
	}).Stop()
	err = group.Wait()
	if err != nil {
		d.Log.Error("stopped", "error", err)
		return err
	}
	d.Log.Info("stopped")
	return nil
}
