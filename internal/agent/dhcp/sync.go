package dhcp

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"neutrino/internal/agent/plug"
	"neutrino/internal/bus"
	"neutrino/internal/linux/memory"
	"neutrino/internal/reconcile"
	"neutrino/internal/rpc"

	"golang.org/x/sync/errgroup"
)

// errWaiting is the state of a network whose next attempt is not due yet.
var errWaiting = errors.New("waiting to be tried again")

// sync is one run of the loop: fetch what is asked for, then bring changed networks in line.
func (a *Agent) sync(ctx context.Context) error {
	a.turn.Lock()
	defer a.turn.Unlock()
	full, fetch, ok := a.begin()
	if !ok {
		return nil
	}
	var err error
	if full {
		err = a.fetchAll(ctx)
	} else if len(fetch) > 0 {
		err = a.fetchSome(ctx, fetch)
	}
	if a.lastFull.IsZero() { // nothing is touched before the server said what is wanted
		return a.report(err)
	}
	if !a.swept && a.leftNetworks() == nil {
		left := predecessors()
		a.mu.Lock()
		a.left = left
		a.mu.Unlock()
	}
	a.forgetLost()
	_, applied := reconcile.Apply(ctx, a.table, a)
	if full { // the answer was much larger than what is kept of it
		if err := memory.Release(); err != nil {
			a.log.Debug("memory is not given back", "error", err)
		}
	}
	if !a.swept && err == nil {
		swept := a.sweep(ctx)
		a.swept = swept == nil
		applied = errors.Join(applied, swept)
	}
	return a.report(errors.Join(err, applied, a.inspect(ctx)))
}

func (a *Agent) report(err error) error {
	a.failure.Store(&err)
	return err
}

// begin takes what is to be fetched. From here on ports that come are noted in the journal, since an answer that is on
// its way may not have them.
func (a *Agent) begin() (full bool, fetch []string, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.started {
		return false, nil, false
	}
	full = a.full || time.Since(a.lastFull) >= a.cfg.ResyncInterval && a.cfg.ResyncInterval > 0
	fetch = slices.Sorted(maps.Keys(a.fetch))
	a.full, a.fetch = false, map[string]bool{}
	if full || len(fetch) > 0 {
		a.journal = map[string]*rpc.Port{}
	}
	return full, fetch, true
}

// fullTimeout bounds the call that may carry thousands of networks.
const fullTimeout = 5 * time.Minute

func (a *Agent) fetchAll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, fullTimeout)
	defer cancel()
	answer, err := rpc.GetActiveNetworksInfo.Call(ctx, a.transport, "", rpc.HostArgs{Host: a.cfg.Host})
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		a.full, a.journal = true, nil
		return fmt.Errorf("fetch the networks: %w", err)
	}
	all := make(map[string]*network, len(answer))
	strings := repeated{}
	for _, info := range answer {
		strings.compact(&info)
		all[info.ID] = a.merge(info)
	}
	a.journal = nil
	a.table.WantOnly(all)
	a.lastFull = time.Now()
	a.forget()
	return nil
}

func (a *Agent) fetchSome(ctx context.Context, ids []string) error {
	var g errgroup.Group
	g.SetLimit(a.threads())
	var mu sync.Mutex
	answers := map[string]*rpc.DHCPNetwork{}
	var errs []error
	for _, id := range ids {
		g.Go(func() error {
			info, err := rpc.GetNetworkInfo.Call(ctx, a.transport, "", rpc.NetworkInfoArgs{NetworkID: id, Host: a.cfg.Host})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, fmt.Errorf("fetch network %s: %w", id, err))
			} else {
				answers[id] = info
			}
			return nil
		})
	}
	_ = g.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, id := range ids {
		info, answered := answers[id]
		switch {
		case !answered:
			a.fetch[id] = true
		case info == nil:
			a.table.Unwant(id)
		default:
			repeated{}.compact(info)
			a.table.Want(id, a.merge(*info))
			a.service(id).notBefore = time.Time{}
		}
	}
	a.journal = nil
	return errors.Join(errs...)
}

// merge makes a snapshot of an answer and of the messages that came after it was asked for. Call it locked.
func (a *Agent) merge(info rpc.DHCPNetwork) *network {
	ports := info.Ports[:0]
	for _, p := range info.Ports {
		if _, gone := a.deleted[p.ID]; !gone {
			ports = append(ports, p)
		}
	}
	info.Ports = ports
	old, _ := a.table.Wanted(info.ID)
	n := newNetwork(info, old)
	for _, p := range a.journal {
		have := n.ports.byID[p.ID]
		if p.NetworkID == info.ID && (have == nil || have.Revision <= p.Revision && have != p) {
			n = n.with(p)
		}
	}
	return n
}

// forget drops what is known of ports that were deleted long ago. Call it locked.
func (a *Agent) forget() {
	const late = time.Hour
	for id, at := range a.deleted {
		if time.Since(at) > late {
			delete(a.deleted, id)
		}
	}
}

// watchInterfaces has networks served again whose interface is lost.
func (a *Agent) watchInterfaces(ctx context.Context) {
	a.cfg.Plug.Run(ctx, func(p plug.Port) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.lost[strings.TrimPrefix(p.Namespace, namespacePrefix)] = true
		a.loop.Kick()
	})
}

func (a *Agent) forgetLost() {
	a.mu.Lock()
	lost := a.lost
	a.lost = map[string]bool{}
	a.mu.Unlock()
	for id := range lost {
		if s := a.services[id]; s != nil {
			s.device, s.notBefore = device{}, time.Time{}
		}
		a.table.Lost(id)
	}
}

func (a *Agent) threads() int { return max(a.cfg.SyncThreads, 1) }

// List implements reconcile.Driver. What is there is found out network by network when it is served.
func (a *Agent) List(context.Context) (map[string]*network, error) { return nil, nil }

// Apply implements reconcile.Driver: it serves changed networks and withdraws from those that are gone.
func (a *Agent) Apply(ctx context.Context, put map[string]*network, del []string) error {
	var g errgroup.Group
	g.SetLimit(a.threads())
	var mu sync.Mutex
	failed := map[string]error{}
	down := false // the server does not answer: do not wait for it once per network
	work := func(id string, f func(s *service) error) {
		s := a.service(id)
		g.Go(func() error {
			mu.Lock()
			skip := down
			mu.Unlock()
			if skip || time.Now().Before(s.notBefore) {
				return a.note(&mu, failed, id, errWaiting)
			}
			err := f(s)
			s.settled(err)
			if errors.Is(err, bus.ErrTimeout) || errors.Is(err, bus.ErrNoResponder) || errors.Is(err, context.DeadlineExceeded) {
				mu.Lock()
				down = true
				mu.Unlock()
			}
			if errors.Is(err, errChanged) {
				a.refetch(id)
			}
			return a.note(&mu, failed, id, err)
		})
	}
	for _, id := range del {
		work(id, func(s *service) error { return a.withdraw(ctx, s) })
	}
	for id, n := range put {
		work(id, func(s *service) error { return a.serve(ctx, s, n) })
	}
	_ = g.Wait()
	for _, id := range del {
		if failed[id] == nil {
			delete(a.services, id)
		}
	}
	if len(failed) > 0 {
		return &reconcile.PartialError[string]{Failed: failed}
	}
	return nil
}

func (a *Agent) note(mu *sync.Mutex, failed map[string]error, id string, err error) error {
	if err != nil {
		mu.Lock()
		failed[id] = err
		mu.Unlock()
		a.log.Debug("network not served", "network", id, "error", err)
	}
	return nil
}

func (a *Agent) service(id string) *service {
	s := a.services[id]
	if s == nil {
		s = &service{id: id}
		s.forget()
		a.services[id] = s
	}
	return s
}

// sweep removes namespaces that a former run of the agent made for networks that are no longer here.
func (a *Agent) sweep(ctx context.Context) error {
	gone, err := strays(func(id string) bool {
		_, ours := a.table.Wanted(id)
		return ours
	})
	recorded, unread := a.cfg.Records.IDs()
	err = errors.Join(err, unread)
	for _, id := range slices.Concat(a.leftNetworks(), recorded) {
		if _, ours := a.table.Wanted(id); !ours && !slices.Contains(gone, id) {
			gone = append(gone, id)
		}
	}
	for _, id := range gone {
		a.log.Info("removing what is left of a network", "network", id)
		err = errors.Join(err, a.withdraw(ctx, a.service(id)))
		delete(a.services, id)
	}
	return err
}
