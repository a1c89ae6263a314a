package l3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"reflect"
	"time"

	"neutrino/internal/ra"
	"neutrino/internal/rpc"
)

// Values of a floating IP's status.
const (
	statusActive = "ACTIVE"
	statusDown   = "DOWN"
	statusError  = "ERROR"
)

// work configures routers from the queue, after the first full sync.
func (a *Agent) work(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-a.synced:
	}
	for {
		w, ok := a.queue.next(ctx)
		if !ok {
			return
		}
		start := time.Now()
		err := a.process(ctx, w)
		if err != nil && ctx.Err() == nil {
			a.log.Error("router failed, will try again", "router", w.id, "error", err)
		} else {
			a.log.Debug("router done", "router", w.id, "took", time.Since(start))
		}
		a.queue.done(w.id, err, time.Now())
	}
}

// process looks at one router: what should it be, and is it?
func (a *Agent) process(ctx context.Context, w work) error {
	h := a.known(w.id)
	if w.check {
		return a.mend(ctx, h)
	}
	switch {
	case w.data != nil && (h == nil || !w.asOf.Before(h.asOf)):
	case w.data == nil && w.floating != nil && h != nil && h.data != nil:
		var err error
		w.asOf = time.Now()
		if w.data, err = a.fetchFloating(ctx, *h.data, w.floating); err != nil {
			return err
		}
	default:
		w.asOf = time.Now()
		found, err := a.fetch(ctx, []string{w.id})
		if err != nil {
			return err
		}
		w.data = nil
		for _, r := range found {
			if r.ID == w.id {
				w.data = &r
			}
		}
	}
	switch {
	case w.data == nil || !w.data.AdminStateUp:
		return a.remove(ctx, w.id)
	case w.data.HA || w.data.Distributed:
		// Built as an ordinary router it would answer for the addresses of its other halves.
		a.log.Error("router is not centralised; this agent leaves it alone",
			"router", w.id, "ha", w.data.HA, "distributed", w.data.Distributed)
		return a.remove(ctx, w.id)
	}
	return a.update(ctx, w)
}

func (a *Agent) known(id string) *hosted {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.routers[id]
}

// worthKeeping is how many floating IPs a router has of which not all are asked for when one changes.
const worthKeeping = 20

// update brings a router in line with w.data.
func (a *Agent) update(ctx context.Context, w work) error {
	data := *w.data
	want, problems := desired(data, a.options)
	for _, p := range problems {
		a.log.Warn("part of a router is left out", "router", data.ID, "reason", p)
	}
	h := a.known(data.ID)
	if h == nil {
		h = &hosted{router: a.newRouter(data.ID)}
	}
	change, quick := floatingChange{}, false
	if h.done && w.floating != nil {
		change, quick = changeOfFloating(h.state, want)
	}
	a.mu.Lock()
	a.routers[data.ID] = h
	h.done = h.done && (quick || reflect.DeepEqual(h.state, want))
	h.state, h.asOf = want, w.asOf
	a.mu.Unlock()
	only := w.floating
	if h.data == nil || !quick { // what was told last may have failed
		only = nil
	}
	h.data = nil
	if len(data.FloatingIPs) >= worthKeeping {
		h.data = &data
	}

	failed := a.change(ctx, h, change, quick)
	if ctx.Err() != nil { // the agent ends; a failure says nothing of the router
		return failed
	}
	is := statusActive
	if failed != nil {
		is = statusError
	}
	now := statuses(data, want.NAT, is, only)
	failed = errors.Join(failed, h.router.serve(ctx, want), a.tell(ctx, h.router, data.ID, now, only))
	a.record(h.router, want)
	if failed != nil { // ask for everything again
		h.data = nil
		return failed
	}
	for i, f := range data.FloatingIPs {
		if s, served := now[f.ID]; served {
			data.FloatingIPs[i].Status = s.is // the server knows
		}
	}
	return nil
}

// change makes a change of floating IPs if it is quick, and else or if that fails brings the whole router in line.
func (a *Agent) change(ctx context.Context, h *hosted, change floatingChange, quick bool) error {
	if quick {
		err := h.router.changeFloating(ctx, change, h.state)
		if err == nil {
			a.log.Debug("floating IPs changed", "router", h.state.ID, "changed", summary(h.router.changes))
			return nil
		}
		if ctx.Err() != nil {
			return err
		}
		a.log.Info("floating IPs could not be changed alone", "router", h.state.ID, "error", err)
		h.done = false // what is corrected now is our own doing
	}
	return a.configure(ctx, h)
}

// configure brings the router in line with its state, and says what somebody had changed.
func (a *Agent) configure(ctx context.Context, h *hosted) error {
	err := h.router.configure(ctx, h.state)
	a.looked(h)
	changes := h.router.changes
	switch {
	case len(changes) == 0 || ctx.Err() != nil:
	case h.done:
		a.log.Warn("router was changed by somebody, and is as it should be again", "router", h.state.ID, "restored", summary(changes))
	default:
		a.log.Debug("router configured", "router", h.state.ID, "changed", summary(changes))
	}
	h.done = h.done || err == nil
	return err
}

func (a *Agent) newRouter(id string) *router {
	a.mu.Lock()
	helpers, r := a.helpers[id], a.recalled[id]
	delete(a.helpers, id)
	delete(a.recalled, id)
	a.mu.Unlock()
	if r != nil {
		r.helpers = helpers
		return r
	}
	return &router{helpers: helpers, namespace: namespaceOf(id), log: a.log.With("router", id), writes: &a.writes, announcer: a.announcer, driver: a.config.Plug,
		metadata: a.metadata, senders: map[string]*ra.Sender{}, listeners: map[listenAt]io.Closer{}, told: map[string]string{}, plugged: map[string]bool{}}
}

func (a *Agent) remove(ctx context.Context, id string) error {
	if err := a.config.Records.Remove(id); err != nil {
		return err
	}
	h := a.known(id)
	if h == nil {
		return a.newRouter(id).remove(ctx)
	}
	if err := h.router.remove(ctx); err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	a.forget(id, h)
	if err := a.tell(ctx, h.router, id, nil, nil); err != nil { // the router may be unknown to the server by now
		a.log.Info("floating IPs of a removed router are not reported", "router", id, "error", err)
	}
	return nil
}

// status is the state of a floating IP: what it is, and what the server thought when it sent the router.
type status struct{ is, was string }

// statuses are those of the floating IPs that this router has to serve: without a gateway none. One that could not be
// understood is not translated. only are those of interest; nil: all.
func statuses(r rpc.Router, nat NAT, is string, only map[string]bool) map[string]status {
	out := map[string]status{}
	if r.GatewayPort == nil {
		return out
	}
	for _, f := range r.FloatingIPs {
		if f.FixedIPAddress == nil || only != nil && !only[f.ID] {
			continue
		}
		s := status{is, f.Status}
		if address, err := netip.ParseAddr(f.FloatingIPAddress); err != nil || !nat.translates(address) {
			s.is = statusError
		}
		out[f.ID] = s
	}
	return out
}

// tell reports the floating IPs whose status the server does not know, and those that are gone, in one call. only are those that may
// have changed; nil: all.
func (a *Agent) tell(ctx context.Context, r *router, id string, now map[string]status, only map[string]bool) error {
	report := map[string]string{}
	for fip, s := range now {
		if before, ok := r.told[fip]; s.was != s.is || ok && before != s.is {
			report[fip] = s.is
		}
	}
	gone := func(fip string) {
		if _, is := now[fip]; !is {
			report[fip] = statusDown
		}
	}
	if only == nil {
		for fip := range r.told {
			gone(fip)
		}
	}
	for fip := range only {
		if _, was := r.told[fip]; was {
			gone(fip)
		}
	}
	if len(report) > 0 {
		_, err := rpc.UpdateFloatingIPStatuses.Call(ctx, a.bus, "", rpc.FloatingIPStatusArgs{RouterID: id, Statuses: report})
		if err != nil {
			return err
		}
	}
	for fip := range report {
		delete(r.told, fip)
	}
	for fip, s := range now {
		r.told[fip] = s.is
	}
	return nil
}
