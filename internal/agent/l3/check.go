package l3

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"
)

// check has every router compared with the kernel once in CheckInterval, one after the other, because somebody may have
// changed a namespace by hand. That takes no process and no question to the server, and writes nothing where nothing
// differs.
func (a *Agent) check(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-a.synced:
	}
	for {
		a.mu.Lock()
		ids := slices.Sorted(maps.Keys(a.routers))
		a.mu.Unlock()
		pause := a.config.CheckInterval / time.Duration(max(len(ids), 1))
		for _, id := range append(ids, "")[:max(len(ids), 1)] {
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
			if id != "" {
				a.queue.add(work{id: id, check: true}, byCheck)
			}
		}
	}
}

// mend brings a router in line with what was last wanted.
func (a *Agent) mend(ctx context.Context, h *hosted) error {
	if h == nil { // removed meanwhile
		return nil
	}
	return errors.Join(a.configure(ctx, h), h.router.serve(ctx, h.state))
}

// summary names a few of the changes.
func summary(changes []string) string {
	const most = 12
	if len(changes) > most {
		changes = append(slices.Clone(changes[:most]), "and more")
	}
	return strings.Join(changes, "; ")
}
