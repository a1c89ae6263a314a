// Package failover says when services look for dead agents.
package failover

import (
	"context"
	"log/slog"
	"time"

	"neutrino/internal/store"
)

// Watch calls move until ctx ends, twice in each downTime, after which an agent counts as dead. One of several servers does; task
// names the work. Agents that were cut off together with the servers get the time to report: after the start, when the
// clock jumped or the machine stood still, and when the database was away, nothing is done for that long.
func Watch(ctx context.Context, db *store.DB, log *slog.Logger, task string, downTime time.Duration, move func(context.Context) error) {
	every := max(downTime/2, time.Second)
	lease := db.Lease(task, 2*every)
	tick := time.NewTicker(every)
	defer tick.Stop()
	last := time.Now()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now().Round(0) // the clock on the wall, that of heartbeats
		if gap := now.Sub(last.Round(0)); gap > downTime+every || gap < 0 {
			log.WarnContext(ctx, "the clock jumped or the server stood still; agents get the time to report", "gap", gap)
			n = -1
		}
		last = now
		if err := lease.Do(ctx, func(ctx context.Context) error {
			if n < 2 {
				return nil
			}
			return move(ctx)
		}); err != nil && ctx.Err() == nil {
			log.ErrorContext(ctx, "what dead agents served could not be moved", "task", task, "error", err)
			n = -1 // where this was not written, reports were not either
		}
	}
}
