package l3

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"neutrino/internal/bus"
	"neutrino/internal/linux/netns"
	"neutrino/internal/rpc"

	"github.com/google/uuid"
)

// Routers asked for at once: upstream's SYNC_ROUTERS_MAX_CHUNK_SIZE and SYNC_ROUTERS_MIN_CHUNK_SIZE.
const (
	maxChunk = 256
	minChunk = 32
)

// fullSync asks for all routers of the host. What the server does not name is looked at again too: a router that is
// known here, or a namespace that an earlier agent left behind.
func (a *Agent) fullSync(ctx context.Context) error {
	ids, err := rpc.GetRouterIDs.Call(ctx, a.bus, "", rpc.RouterIDsArgs{Host: a.config.Host})
	if err != nil {
		return err
	}
	local, err := a.local()
	if err != nil {
		return err
	}
	var all []work
	for start := 0; start < len(ids); {
		part := ids[start:min(start+a.chunk, len(ids))]
		asOf := time.Now()
		routers, err := a.fetch(ctx, part)
		if timeout(err) && a.chunk > minChunk {
			a.chunk = max(a.chunk/2, minChunk)
			a.log.Warn("the server is slow, asking for fewer routers at once", "error", err, "routers", a.chunk)
			continue
		}
		if err != nil {
			return err
		}
		for _, r := range routers {
			all = append(all, work{id: r.ID, data: &r, asOf: asOf})
			delete(local, r.ID)
		}
		start += len(part)
	}
	a.chunk = min(a.chunk+minChunk, maxChunk)
	for _, w := range all {
		a.queue.add(w, bySync)
	}
	for id := range local { // it may have been added since: ask for it alone
		a.queue.add(work{id: id}, bySync)
	}
	a.log.Info("full sync done", "routers", len(all), "not wanted", len(local))
	select {
	case <-a.synced:
	default:
		a.mu.Lock()
		a.helpers = findHelpers()
		a.mu.Unlock()
		close(a.synced)
	}
	return nil
}

func (a *Agent) fetch(ctx context.Context, ids []string) ([]rpc.Router, error) {
	return rpc.SyncRouters.Call(ctx, a.bus, "", rpc.SyncRoutersArgs{Host: a.config.Host, RouterIDs: ids})
}

// fetchFloating asks for a router with only some of its floating IPs, and returns it with the others as they were known. nil: it
// is not here any more.
func (a *Agent) fetchFloating(ctx context.Context, known rpc.Router, some map[string]bool) (*rpc.Router, error) {
	found, err := rpc.SyncRouters.Call(ctx, a.bus, "", rpc.SyncRoutersArgs{Host: a.config.Host, RouterIDs: []string{known.ID},
		FloatingIPs: slices.Sorted(maps.Keys(some))})
	if err != nil {
		return nil, err
	}
	for _, r := range found {
		if r.ID != known.ID {
			continue
		}
		told := map[string]bool{} // more than asked for, if the server is upstream's
		for _, f := range r.FloatingIPs {
			told[f.ID] = true
		}
		r.FloatingIPs = slices.Grow(r.FloatingIPs, len(known.FloatingIPs))
		for _, f := range known.FloatingIPs {
			if !some[f.ID] && !told[f.ID] {
				r.FloatingIPs = append(r.FloatingIPs, f)
			}
		}
		return &r, nil
	}
	return nil, nil
}

func timeout(err error) bool {
	return errors.Is(err, bus.ErrTimeout) || errors.Is(err, context.DeadlineExceeded)
}

// local returns the routers that this host has, whoever made them, and those of which it has records.
func (a *Agent) local() (map[string]bool, error) {
	namespaces, err := netns.Names(namespacePrefix)
	if err != nil {
		return nil, fmt.Errorf("list namespaces: %w", err)
	}
	recorded, err := a.config.Records.IDs()
	if err != nil {
		return nil, err
	}
	ids := map[string]bool{}
	for _, id := range recorded {
		ids[id] = true
	}
	for _, name := range namespaces {
		id := strings.TrimPrefix(name, namespacePrefix)
		if uuid.Validate(id) == nil { // not one that somebody made by hand
			ids[id] = true
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for id := range a.routers {
		ids[id] = true
	}
	return ids, nil
}
