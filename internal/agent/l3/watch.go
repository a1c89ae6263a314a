package l3

import (
	"context"
	"slices"
	"time"

	"neutrino/internal/linux/netns"
	"neutrino/internal/linux/nswatch"
)

// Changes by others are found at once where the kernel tells of them: the routers concerned are checked. What it does not
// tell of (sysctls), and what gets lost, is found by the regular check.

const (
	watchStep      = 250 * time.Millisecond
	ownChanges     = 100 * time.Millisecond // how late notifications of what we did ourselves may come
	namespaceSteps = 4                      // of watchStep between two looks whether namespaces are still there
)

// watch has routers checked whose namespaces somebody changed.
func (a *Agent) watch(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-a.synced:
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		w, err := nswatch.New()
		if err == nil {
			err = w.Run(ctx, a.touch)
		}
		if err != nil {
			a.log.Warn("changes by others are found by the regular check only", "error", err)
		}
	}()
	defer func() { cancel(); <-done }()
	step := time.NewTicker(watchStep)
	defer step.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case now := <-step.C:
			if n%namespaceSteps == 0 {
				a.touchMissing(now)
			}
			for _, id := range a.changedByOthers(now) {
				a.queue.add(work{id: id, check: true}, byCheck)
			}
		}
	}
}

// touch says that something changed in the namespace with this id.
func (a *Agent) touch(nsid int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if id, ok := a.watched[nsid]; ok {
		a.touched[id] = time.Now()
	}
}

// touchMissing looks for namespaces that are gone.
func (a *Agent) touchMissing(now time.Time) {
	there, err := netns.Names(namespacePrefix)
	if err != nil {
		return
	}
	slices.Sort(there)
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, h := range a.routers {
		if _, found := slices.BinarySearch(there, namespaceOf(id)); !found && h.watched {
			a.touched[id] = now
		}
	}
}

// changedByOthers takes the routers that were changed after we last looked. A router waits for a pause, so that two who
// want different things do not keep the host busy.
func (a *Agent) changedByOthers(now time.Time) (ids []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, at := range a.touched {
		h := a.routers[id]
		switch {
		case h == nil || at.Before(h.looked.Add(ownChanges)):
			delete(a.touched, id)
		case now.Sub(h.looked) >= a.pause:
			delete(a.touched, id)
			ids = append(ids, id)
		}
	}
	return ids
}

// looked notes that the router was compared with the kernel just now.
func (a *Agent) looked(h *hosted) {
	id, err := h.nsid, error(nil)
	if !h.watched || h.router.fresh {
		id, err = nswatch.ID(h.router.namespace)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	h.looked = time.Now()
	if err != nil {
		return
	}
	if h.watched && a.watched[h.nsid] == h.state.ID {
		delete(a.watched, h.nsid)
	}
	h.watched, h.nsid = true, id
	a.watched[id] = h.state.ID
}

// forget ends the care for a router.
func (a *Agent) forget(id string, h *hosted) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.routers, id)
	delete(a.touched, id)
	if a.watched[h.nsid] == id {
		delete(a.watched, h.nsid)
	}
}
