package l3

import (
	"context"
	"maps"
	"sync"
	"time"

	"neutrino/internal/rpc"
)

// Back-off of a router that fails.
const (
	firstRetry = 500 * time.Millisecond
	lastRetry  = time.Minute
)

// priority orders routers that wait; lower goes first.
type priority int

const (
	byNotification priority = iota // somebody changed it just now
	bySync                         // found by a full sync, or to be tried again
	byCheck                        // its turn to be compared with the kernel
)

// work is one router to look at.
type work struct {
	id   string
	data *rpc.Router // what a full sync said of it; nil: ask the server
	asOf time.Time   // data is at least that new

	floating map[string]bool // the only floating IPs that changed, and nothing else did; nil: anything may have

	check bool // only compare the kernel with what was wanted last; ask nobody
}

// entry is a router in the queue. It is there once, however often it changes, which bounds the queue.
type entry struct {
	work
	priority priority
	order    uint64
	ready    time.Time
	waiting  bool
	running  bool
	failures int
}

// queue gives routers to workers: each router to one at a time, and one that fails not before its back-off is over.
type queue struct {
	mu      sync.Mutex
	entries map[string]*entry
	order   uint64
	wake    chan struct{} // closed and replaced when something became ready
}

func newQueue() *queue { return &queue{entries: map[string]*entry{}, wake: make(chan struct{})} }

// add asks to look at a router. While it waits, an order to ask the server wins over data, which may be older.
func (q *queue) add(w work, p priority) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e := q.entries[w.id]
	if e == nil {
		e = &entry{work: w}
		q.entries[w.id] = e
	}
	if e.waiting && w.check { // it will be looked at anyway
		return
	}
	if e.waiting {
		p = min(p, e.priority)
		if e.data == nil && !e.check {
			w.floating = w.union(e.floating)
			w.data = nil
		} else if !e.check { // a full sync
			w.floating = nil
		}
	} else {
		q.order++
		e.order = q.order
	}
	e.work, e.priority, e.waiting, e.ready = w, p, true, time.Time{}
	q.signal()
}

// has tells whether the router is worked on, or waits for that.
func (q *queue) has(id string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.entries[id] != nil
}

// mostFloating is how many changed floating IPs are gathered for a router before all are asked for.
const mostFloating = 100

// union adds floating IPs that changed to those of w; nil if all are to be asked for.
func (w work) union(more map[string]bool) map[string]bool {
	if w.data != nil || w.floating == nil || more == nil || len(w.floating)+len(more) > mostFloating {
		return nil
	}
	all := maps.Clone(more)
	maps.Copy(all, w.floating)
	return all
}

func (q *queue) signal() {
	close(q.wake)
	q.wake = make(chan struct{})
}

// next waits for a router that is due. The caller must call done with the same id. ok is false when ctx ended.
func (q *queue) next(ctx context.Context) (w work, ok bool) {
	for {
		e, wake, wait := q.take(time.Now())
		if e != nil {
			return *e, true
		}
		var timer *time.Timer
		var due <-chan time.Time
		if wait > 0 {
			timer = time.NewTimer(wait)
			due = timer.C
		}
		select {
		case <-ctx.Done():
		case <-wake:
		case <-due:
		}
		if timer != nil {
			timer.Stop()
		}
		if ctx.Err() != nil {
			return work{}, false
		}
	}
}

// take picks the first router that is due; otherwise it says what to wait for.
func (q *queue) take(now time.Time) (w *work, wake <-chan struct{}, wait time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	var best *entry
	for _, e := range q.entries {
		if !e.waiting || e.running {
			continue
		}
		if left := e.ready.Sub(now); left > 0 {
			if wait == 0 || left < wait {
				wait = left
			}
			continue
		}
		if best == nil || e.priority < best.priority || e.priority == best.priority && e.order < best.order {
			best = e
		}
	}
	if best == nil {
		return nil, q.wake, wait
	}
	best.waiting, best.running = false, true
	taken := best.work
	return &taken, nil, 0
}

// done ends the work on a router; if it failed it waits for its next try, unless something new is known already. A comparison is
// not that: it would not tell the server that the router is well again.
func (q *queue) done(id string, err error, now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e := q.entries[id]
	e.running = false
	if err == nil {
		e.failures = 0
	} else {
		e.failures++
	}
	switch {
	case e.waiting && (err == nil || !e.check):
	case err != nil:
		q.order++
		e.work, e.priority, e.order, e.waiting = work{id: id}, bySync, q.order, true
		e.ready = now.Add(retryAfter(e.failures))
	default:
		delete(q.entries, id)
	}
	q.signal()
}

func retryAfter(failures int) time.Duration {
	wait := firstRetry
	for range failures - 1 {
		if wait *= 2; wait >= lastRetry {
			return lastRetry
		}
	}
	return wait
}

// failing counts the routers whose last try failed.
func (q *queue) failing() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for _, e := range q.entries {
		if e.failures > 0 {
			n++
		}
	}
	return n
}
