package l2

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"neutrino/internal/rpc"
)

// tell reports devices that are wired and devices that are gone. What the server fails to note is reported again.
func (a *Agent) tell(ctx context.Context) error {
	now := time.Now()
	done := func(d *device) bool {
		return d.report && d.details != nil && !d.fetch && !d.filter && !d.wire && d.ready(now)
	}
	up := a.namesOf(func(d *device) bool { return done(d) && d.details.AdminStateUp })
	down := a.namesOf(func(d *device) bool { return done(d) && !d.details.AdminStateUp })
	down = append(down, slices.Sorted(maps.Keys(a.gone))...)
	if len(up)+len(down) == 0 {
		return nil
	}
	args := rpc.DeviceListArgs{DevicesUp: nonNull(up), DevicesDown: nonNull(down), RefreshTunnels: a.refresh,
		AgentID: a.agentID(), Host: a.cfg.Host}
	round := 0
	if a.refresh {
		round = a.remotes.nextRound()
	}
	r, err := rpc.UpdateDeviceList.Call(ctx, a.transport, "", args)
	if err != nil {
		return err
	}
	if a.refresh {
		a.refresh = false
		a.expireLater(ctx, round)
	}
	clear(a.gone)
	for _, name := range append(up, down...) {
		if d := a.devices[name]; d != nil {
			d.report = false
		}
	}
	for _, name := range r.FailedDevicesUp {
		if d := a.devices[name]; d != nil {
			d.report = true
			d.failed(now)
		}
	}
	for _, name := range r.FailedDevicesDown {
		if a.devices[name] == nil {
			a.gone[name] = true
		}
	}
	return nil
}

// expireLater drops the forwarding entries that the server has not repeated some time from now.
func (a *Agent) expireLater(ctx context.Context, round int) {
	time.AfterFunc(a.cfg.StaleAfter, func() {
		if ctx.Err() == nil {
			a.remotes.expire(round)
			a.told.Store(true)
			a.loop.Kick()
		}
	})
}

// nonNull makes an empty list JSON's [] instead of null: upstream iterates over it.
func nonNull(names []string) []string {
	if names == nil {
		return []string{}
	}
	return names
}

// membersOf reads [address or prefix, mac] pairs. Those with every address are known by their MAC addresses, if they have one.
func membersOf(pairs [][2]*string) (fixed []netip.Prefix, roaming []string) {
	for _, m := range pairs {
		if m[0] == nil {
			continue
		}
		switch p, ok := addressOrPrefix(*m[0]); {
		case !ok:
		case p.Bits() == 0 && m[1] != nil:
			roaming = append(roaming, strings.ToLower(*m[1]))
		default:
			fixed = append(fixed, p)
		}
	}
	slices.Sort(roaming)
	return fixed, slices.Compact(roaming)
}
