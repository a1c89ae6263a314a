package reconcile

import (
	"context"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Loop runs one function whenever it was kicked, one run at a time. Kicks while it runs or rests are one run.
type Loop struct {
	run   func(ctx context.Context) error
	rest  time.Duration
	every time.Duration
	log   *slog.Logger
	kick  chan struct{}
}

// NewLoop makes a loop around run. A kick runs it at once, unless it ran within the last rest: so one piece of news does not
// wait, and many are done together. every is the longest time between two runs (0: no limit). A failed run is repeated with
// back-off up to 30 s.
func NewLoop(run func(ctx context.Context) error, rest, every time.Duration, log *slog.Logger) *Loop {
	return &Loop{run: run, rest: rest, every: every, log: log, kick: make(chan struct{}, 1)}
}

// Kick asks for a run. It never blocks.
func (l *Loop) Kick() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// Run works until ctx ends.
func (l *Loop) Run(ctx context.Context) {
	retry := backoff.NewExponentialBackOff()
	retry.InitialInterval = 200 * time.Millisecond
	retry.MaxInterval = 30 * time.Second
	wait := l.idle()
	var ended time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.kick:
			if !l.rested(ctx, ended) {
				return
			}
		case <-wait:
		}
		err := l.run(ctx)
		ended = time.Now()
		if err != nil && ctx.Err() == nil {
			next := retry.NextBackOff()
			l.log.Warn("will try again", "error", err, "in", next.Round(time.Millisecond))
			wait = time.After(next)
			continue
		}
		retry.Reset()
		wait = l.idle()
	}
}

// rested waits until the last run was long enough ago; false if ctx ended. Kicks meanwhile are part of the next run.
func (l *Loop) rested(ctx context.Context, ended time.Time) bool {
	left := l.rest - time.Since(ended)
	if left <= 0 {
		return ctx.Err() == nil
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(left):
	}
	select {
	case <-l.kick:
	default:
	}
	return true
}

func (l *Loop) idle() <-chan time.Time {
	if l.every == 0 {
		return nil
	}
	return time.After(l.every)
}
