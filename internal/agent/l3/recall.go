package l3

import (
	"context"
	"errors"
	"reflect"
	"time"

	"neutrino/internal/agent/records"
	"neutrino/internal/linux/netns"
	"neutrino/internal/ra"
)

// answering is what of a router lives in the agent's process: advertisements and metadata.
func answering(s State) State {
	return State{ID: s.ID, Interfaces: s.Interfaces, NAT: NAT{MetadataPort: s.NAT.MetadataPort}}
}

// record notes what answers for the router. A disk that takes nothing keeps no router from working.
func (a *Agent) record(r *router, s State) {
	now := answering(s)
	if a.config.Records == "" || reflect.DeepEqual(now, r.recorded) {
		return
	}
	r.recorded = now
	if err := records.Write(a.config.Records, s.ID, now); err != nil {
		r.recorded = State{}
		r.log.Warn("what answers for a router is not on disk; the agent will not serve it if it is started while no server is there", "error", err)
	}
}

// recall has routers advertised, and metadata served in them, as when the records were written, where the namespace is still there and
// nobody else does that, until the server says what there is now. The kernel stays as it is.
func (a *Agent) recall(ctx context.Context) {
	start := time.Now()
	ids, err := a.config.Records.IDs()
	if err != nil {
		a.log.Warn("nothing is served before the server answers", "error", err)
	}
	if len(ids) == 0 {
		return
	}
	others := findHelpers()
	for _, id := range ids {
		if !netns.Exists(namespaceOf(id)) || len(others[id]) > 0 {
			continue
		}
		if r, err := a.recallRouter(ctx, id); err != nil {
			a.log.Info("a router is not served before the server answers", "router", id, "error", err)
		} else {
			a.recalled[id] = r
		}
	}
	a.log.Info("routers are served as they were until the server answers", "count", len(a.recalled), "took", time.Since(start))
}

func (a *Agent) recallRouter(ctx context.Context, id string) (*router, error) {
	var s State
	if err := records.Read(a.config.Records, id, func(is State) { s = is }); err != nil {
		return nil, err
	}
	if s.ID != id {
		return nil, errors.New("its records are incomplete")
	}
	r := a.newRouter(id)
	if err := r.serve(ctx, s); err != nil {
		r.stopServing((*ra.Sender).Close)
		return nil, err
	}
	r.recorded = s
	return r, nil
}
