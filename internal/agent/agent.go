// Package agent is what all agents share: they report that they live, and are told when to fetch everything again.
package agent

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"neutrino/internal/bus"
	"neutrino/internal/rpc"
)

// Reporter tells the server every Interval that the agent lives.
type Reporter struct {
	Transport bus.Transport
	State     rpc.AgentState
	Interval  time.Duration                       // report_interval; 0 means upstream's 30 s
	Stats     func(configurations map[string]any) // adds current counts to the report; may be nil
	// Resync is called when the agent must fetch everything again: the server is new to it, or messages may have been
	// lost. It must not block.
	Resync func(reason string)
	// Started is called once, when the first report got through: from then on the server schedules work to the agent.
	// May be nil; must not block.
	Started func()
	Log     *slog.Logger

	alive atomic.Bool
}

// Alive tells whether the last report reached a server.
func (r *Reporter) Alive() bool { return r.alive.Load() }

// Run reports until ctx ends. The first report carries the start flag and is repeated until it gets through.
func (r *Reporter) Run(ctx context.Context) {
	interval := r.Interval
	if interval == 0 {
		interval = 30 * time.Second
	}
	started := true
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for wait := time.Nanosecond; ; {
		select {
		case <-ctx.Done():
			return
		case <-r.Transport.Reconnected():
			r.Resync("the bus is back")
		case <-tick.C:
		case <-after(wait):
		}
		wait = 0
		if err := r.report(ctx, started, interval); err != nil {
			r.Log.Warn("cannot report state", "error", err)
			// Until the server knows the agent nothing is scheduled to it, and later it would soon take it for dead.
			wait = min(time.Second, interval)
			continue
		}
		if started && r.Started != nil {
			r.Started()
		}
		started = false
	}
}

func after(d time.Duration) <-chan time.Time {
	if d == 0 {
		return nil
	}
	return time.After(d)
}

func (r *Reporter) report(ctx context.Context, started bool, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	state := r.State
	state.StartFlag = started
	state.Configurations = map[string]any{}
	for k, v := range r.State.Configurations {
		state.Configurations[k] = v
	}
	if r.Stats != nil {
		r.Stats(state.Configurations)
	}
	var args rpc.ReportStateArgs
	args.AgentState.AgentState = state
	args.Time = time.Now().UTC().Format(rpc.TimeFormat)
	answer, err := rpc.ReportState.Call(ctx, r.Transport, "", args)
	r.alive.Store(err == nil)
	if err != nil {
		return err
	}
	if answer == rpc.AgentRevived || answer == rpc.AgentNew && !started {
		r.Resync("the server says " + answer)
	}
	return nil
}
