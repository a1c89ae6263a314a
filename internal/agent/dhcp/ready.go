package dhcp

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"neutrino/internal/bus"
	"neutrino/internal/reconcile"
	"neutrino/internal/rpc"
)

// readyBatch is how many ports upstream puts into one call.
const readyBatch = 64

// readyPorts tells the server which ports DHCP serves. Instances wait for that when they boot.
type readyPorts struct {
	transport bus.Transport
	loop      *reconcile.Loop

	mu     sync.Mutex
	queue  []string // what came by itself, a few at a time
	bulk   []string // what came in large numbers, which is mostly known to the server
	queued map[string]bool
}

func newReadyPorts(t bus.Transport, log *slog.Logger) *readyPorts {
	r := &readyPorts{transport: t, queued: map[string]bool{}}
	r.loop = reconcile.NewLoop(r.send, time.Millisecond, 0, log)
	return r
}

// add queues ports. The ports of a full synchronisation wait until single ports are through.
func (r *readyPorts) add(ids []string) {
	if len(ids) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		if r.queued[id] {
			continue
		}
		r.queued[id] = true
		if len(ids) < readyBatch {
			r.queue = append(r.queue, id)
		} else {
			r.bulk = append(r.bulk, id)
		}
	}
	r.loop.Kick()
}

// take returns the next batch.
func (r *readyPorts) take() (ids []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, q := range []*[]string{&r.queue, &r.bulk} {
		n := min(len(*q), readyBatch-len(ids))
		ids = append(ids, (*q)[:n]...)
		*q = (*q)[n:]
	}
	for _, id := range ids {
		delete(r.queued, id)
	}
	return ids
}

// send reports until nothing is left. What fails is put back; a failure that the server itself reported concerns the
// batch and does not hold up the others.
func (r *readyPorts) send(ctx context.Context) error {
	var failed []string
	var errs []error
	defer func() { r.putBack(failed) }()
	for {
		ids := r.take()
		if len(ids) == 0 {
			return errors.Join(errs...)
		}
		_, err := rpc.DHCPReadyOnPorts.Call(ctx, r.transport, "", rpc.PortIDsArgs{PortIDs: ids})
		if err == nil {
			continue
		}
		failed, errs = append(failed, ids...), append(errs, err)
		if _, remote := errors.AsType[*bus.RemoteError](err); !remote {
			return errors.Join(errs...)
		}
	}
}

func (r *readyPorts) putBack(ids []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		if !r.queued[id] {
			r.queued[id] = true
			r.queue = append(r.queue, id)
		}
	}
}
