package nats

import (
	"sync"
	"time"
)

// A request that is on its way to a server of a cluster when that dies is lost, and nobody tells its caller. Calls take milliseconds, so
// the first limit is short; a method that needs longer gets twice as long with each call that failed, as upstream's agents do
// (neutron_lib/rpc.py, _BackingOffContextWrapper), which begin with callTimeout.
const firstTimeout = 4 * time.Second

// limits are how long calls may take.
type limits struct {
	mu       sync.Mutex
	byMethod map[string]time.Duration // where it is more than firstTimeout
}

func (l *limits) of(method string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(l.byMethod[method], firstTimeout)
}

// ended learns from a call that took as long, and was answered or not within the limit that it had. Its caller would wait for most.
func (l *limits) ended(method string, limit, took, most time.Duration, answered bool) {
	next := 4 * took
	if !answered {
		next = 2 * limit
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if next <= firstTimeout {
		delete(l.byMethod, method)
		return
	}
	if l.byMethod == nil {
		l.byMethod = map[string]time.Duration{}
	}
	l.byMethod[method] = min(next, most)
}
