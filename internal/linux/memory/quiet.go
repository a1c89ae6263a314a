package memory

import (
	"context"
	"runtime/metrics"
	"time"
)

// Slack is how many bytes of garbage the heap may hold before it is collected, whatever is in use: Go's collector runs when as
// much was allocated as is in use, which for a server with little in use is for every long list. The bytes are reserved and
// never touched, so they take no memory; but they count as in use, until Slack is forgotten.
type Slack []byte

// NewSlack is for the start of a process: memory that was used before would be cleared, and taken by that.
func NewSlack(bytes int) Slack { return make(Slack, bytes) }

const (
	look = time.Second // how often Keep looks
	calm = 2 << 20     // allocated bytes between two looks of a process that is quiet
	much = 16 << 20    // allocated bytes that are worth giving back
)

// Keep calls give, which is to give memory back, whenever the process is quiet after it worked. Go by itself keeps memory for
// minutes. It returns when ctx ends.
func Keep(ctx context.Context, give func(context.Context)) {
	k := keeper{}
	for ticks := time.NewTicker(look); ; {
		select {
		case <-ctx.Done():
			ticks.Stop()
			return
		case <-ticks.C:
		}
		if k.quiet(allocated()) {
			give(ctx)
			k.gave(allocated())
		}
	}
}

// keeper remembers how much had been allocated since the process began.
type keeper struct{ before, given uint64 }

// quiet tells whether it is time to give memory back.
func (k *keeper) quiet(now uint64) bool {
	recent := now - k.before
	k.before = now
	return recent < calm && now-k.given >= much
}

func (k *keeper) gave(now uint64) { k.before, k.given = now, now }

func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
