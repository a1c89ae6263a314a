package dhcp

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// inspectSteps is how many steps a round of inspect has, so that a thousand networks are not looked at in one go.
const inspectSteps = 20

// remind makes the loop run often enough for inspect, until ctx ends.
func (a *Agent) remind(ctx context.Context) {
	if a.cfg.InspectInterval == 0 {
		return
	}
	tick := time.NewTicker(a.cfg.InspectInterval / inspectSteps)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			a.loop.Kick()
		}
	}
}

// inspect compares some networks with what is in the kernel and mends what somebody else changed: a namespace, device,
// address or route that was removed or added by hand. It goes round all networks within Config.InspectInterval.
func (a *Agent) inspect(ctx context.Context) error {
	step := a.cfg.InspectInterval / inspectSteps
	if step == 0 || time.Since(a.looked) < step*9/10 {
		return nil
	}
	a.looked = time.Now()
	if len(a.round) == 0 {
		a.round = slices.Collect(maps.Keys(a.services))
	}
	count := min(len(a.round), (len(a.services)+inspectSteps-1)/inspectSteps)
	var errs []error
	for _, id := range a.round[:count] {
		if err := a.mend(ctx, a.services[id]); err != nil {
			errs = append(errs, fmt.Errorf("network %s: %w", id, err))
		}
	}
	a.round = a.round[count:]
	return errors.Join(errs...)
}

// mend brings the network in line if it is not. s may be nil: the network went meanwhile.
func (a *Agent) mend(ctx context.Context, s *service) error {
	if s == nil || time.Now().Before(s.notBefore) {
		return nil
	}
	n, wanted := a.table.Wanted(s.id) // what was applied may be older than our port
	if !wanted || !n.served() {
		return nil
	}
	d, before := s.device, a.Writes()
	var err error
	if d.inner != "" {
		err = a.plug(ctx, s, d)
	}
	changes := a.Writes() - before
	if d.inner != "" && err == nil && changes == 0 {
		return nil
	}
	a.log.Warn("a DHCP namespace was not as it was left; mended", "network", s.id, "changes", changes, "error", err)
	err = a.serve(ctx, s, n)
	s.settled(err)
	return err
}
