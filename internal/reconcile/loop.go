package reconcile

import (
	"context"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Loop runs one function whenever it was kicked, one run at a time. Kicks that come close together are one run.
type Loop struct {
	run   func(ctx context.Context) error
	delay time.Duration
	every time.Duration
	log   *slog.Logger
	kick  chan struct{}
}

// NewLoop makes a loop around run. After a kick it waits for delay, so that what arrives together is done together;
// every is the longest time between two runs (0: no limit). A failed run is repeated with back-off up to 30 s.
func NewLoop(run func(ctx context.Context) error, delay, every time.Duration, log *slog.Logger) *Loop {
	return &Loop{run: run, delay: delay, every: every, log: log, kick: make(chan struct{}, 1)}
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
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.kick:
			select {
			case <-ctx.Done():
				return
			case <-time.After(l.delay):
			}
			select { // a kick during the delay is part of this run
			case <-l.kick:
			default:
			}
		case <-wait:
		}
		if err := l.run(ctx); err != nil && ctx.Err() == nil {
			next := retry.NextBackOff()
			l.log.Warn("will try again", "error", err, "in", next.Round(time.Millisecond))
			wait = time.After(next)
			continue
		}
		retry.Reset()
		wait = l.idle()
	}
}

func (l *Loop) idle() <-chan time.Time {
	if l.every == 0 {
		return nil
	}
	return time.After(l.every)
}
