package l3

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"
)

// checkSteps is in how many steps a CheckInterval is divided.
const checkSteps = 30

// check has every router compared with the kernel when nobody has looked at it for CheckInterval, because somebody may
// have changed its namespace by hand. That takes no process and no question to the server, and writes nothing where
// nothing differs.
func (a *Agent) check(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-a.synced:
	}
	step := time.NewTicker(a.config.CheckInterval / checkSteps)
	defer step.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-step.C:
			for _, id := range a.due(now) {
				if !a.queue.has(id) { // it is being looked at, for so long already
					a.queue.add(work{id: id, check: true}, byCheck)
				}
			}
		}
	}
}

// due returns routers to check, those first that were not looked at for the longest time. They are so few that the work
// is spread over the interval.
func (a *Agent) due(now time.Time) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var ids []string
	for id, h := range a.routers {
		if now.Sub(h.looked) >= a.config.CheckInterval {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(x, y string) int { return a.routers[x].looked.Compare(a.routers[y].looked) })
	return ids[:min(len(ids), 2*len(a.routers)/checkSteps+1)]
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
