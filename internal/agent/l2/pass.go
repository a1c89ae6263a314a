package l2

import (
	"context"
	"errors"
	"maps"
	"net"
	"time"

	"neutrino/internal/agent/l2/firewall"
	"neutrino/internal/agent/l2/wiring"
	"neutrino/internal/linux/memory"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// pass brings the host in line: fetch what is new, close and open ports in the firewall, then wire them, then forwarding
// entries, then tell the server. A device that fails is tried again later and does not hold up the others.
func (a *Agent) pass(ctx context.Context) error {
	err := a.run(ctx)
	a.failure.Store(&err)
	return err
}

func (a *Agent) run(ctx context.Context) error {
	news := a.inbox.take()
	if news.resync { // what is asked for and read is much larger than what is kept of it
		defer func() {
			if err := memory.Release(); err != nil {
				a.log.Debug("memory is not given back", "error", err)
			}
		}()
	}
	a.read(news)
	if time.Since(a.healed) >= membersAgain { // news that were lost count from now on, at the latest
		for group := range a.patched {
			a.changedMembers.add(group, nil)
		}
		clear(a.patched)
		a.healed = time.Now()
	}
	fetchErr := a.fetch(ctx)
	if fetchErr != nil && !a.synced {
		return fetchErr
	}
	if !a.synced || time.Since(a.verified) >= a.cfg.VerifyInterval/2 {
		if err := a.verify(ctx); err != nil {
			return err
		}
	} else if a.strayed && a.allFetched() {
		if err := a.sweep(); err != nil {
			return err
		}
	}
	a.synced = true
	a.retire()
	if err := a.filter(ctx); err != nil { // nothing is plugged that is not closed
		return err
	}
	a.wire(ctx)
	errs := []error{fetchErr, a.remove(), a.remotes.apply(ctx, a.entries)}
	if err := a.driver.Commit(ctx, a.allFetched(), a.told.Load() || len(a.networks) == 0); err != nil { // nothing is told that is not done
		return errors.Join(append(errs, err)...)
	}
	a.announce(ctx)
	errs = append(errs, a.tell(ctx))
	a.kernel = nil
	a.schedule()
	return errors.Join(errs...)
}

// read notes which devices and networks have work to do.
func (a *Agent) read(n *news) {
	if n.resync {
		a.refresh, a.announced, a.verified = true, false, time.Time{}
		for _, d := range a.devices {
			d.fetch = true
		}
		a.doubtMembers()
	}
	for name := range n.links {
		a.readLink(name)
	}
	for name := range n.ports {
		if d := a.devices[name]; d != nil {
			d.fetch = true
			d.succeeded()
		}
	}
	for id := range n.networks {
		if net := a.networks[id]; net != nil {
			for name := range net.devices {
				a.devices[name].fetch = true
			}
		}
	}
	maps.Copy(a.changedGroups, n.groups)
	for group, addresses := range n.members {
		a.changedMembers.add(group, addresses)
	}
	a.deviceCount.Store(int64(len(a.devices)))
}

func (a *Agent) readLink(name string) {
	if !tapPattern.MatchString(name) {
		for _, n := range a.networks {
			if a.driver.Touches(name, n.Network) {
				n.check = true
				for device := range n.devices {
					a.devices[device].wire = true
				}
			}
		}
		return
	}
	index, d := a.driver.Device(name), a.devices[name]
	switch {
	case index == 0 && d == nil:
	case index == 0:
		a.vanish(d)
	case d == nil || d.index != index:
		if d != nil {
			a.vanish(d)
		}
		delete(a.gone, name)
		a.devices[name] = newDevice(name, index)
	case d.details != nil && !a.driver.Wired(name, networkOf(d.details), d.details.AdminStateUp):
		d.wire = true
	case d.details == nil:
		a.close(d)
	}
}

func (a *Agent) vanish(d *device) {
	a.log.Info("device gone", "device", d.name)
	if d.details != nil {
		a.gone[d.name] = true
	}
	a.strayed = a.strayed || d.details == nil
	a.leave(d)
	a.driver.Unplug(d.name)
	delete(a.devices, d.name)
	if a.firewall != nil {
		a.firewall.RemovePort(d.name)
	}
}

// leave takes the device out of its network.
func (a *Agent) leave(d *device) {
	if d.details != nil {
		delete(a.networks[d.details.NetworkID].devices, d.name)
		d.details = nil
	}
}

// close keeps a device of which the server does not know from using a bridge of ours. Elsewhere it is none of our
// business.
func (a *Agent) close(d *device) {
	if a.firewall == nil {
		return
	}
	if _, known := a.firewall.Mode(d.name); a.driver.Reaches(d.name) || known {
		a.firewall.SetPort(firewall.Port{Device: d.name, Mode: firewall.Closed})
	}
}

// verify has everything compared with the kernel: it does not tell of every change that somebody makes by hand.
func (a *Agent) verify(ctx context.Context) error {
	var err error
	if a.firewall != nil {
		a.firewall.Verify()
	}
	a.driver.Verify()
	for _, n := range a.networks {
		n.check = true
	}
	if a.kernel, err = a.entries.List(ctx); err != nil {
		return err
	}
	a.remotes.saw(a.kernel)
	for _, d := range a.devices {
		d.fetch = d.fetch || d.details == nil
		d.wire = d.wire || d.details != nil
	}
	if !a.allFetched() { // what cannot be fetched may be in use
		return nil
	}
	a.verified = time.Now()
	a.forgetGroups()
	return a.sweep()
}

// sweep takes down what an earlier run made for networks that have no ports here.
func (a *Agent) sweep() error {
	keep := map[string]bool{}
	for _, n := range a.networks {
		keep[a.driver.BridgeName(n.Network)] = true
	}
	a.strayed = false
	return a.driver.Sweep(keep)
}

func (a *Agent) allFetched() bool {
	for _, d := range a.devices {
		if d.fetch && d.details == nil && !d.notBefore.IsZero() {
			return false
		}
	}
	return true
}

// retire forgets networks that lost their last device.
func (a *Agent) retire() {
	for id, n := range a.networks {
		if len(n.devices) > 0 {
			continue
		}
		a.retired[id] = n.Network
		delete(a.networks, id)
		a.remotes.unwire(id)
		if uplink := a.driver.Uplink(n.Network); uplink != "" && a.firewall != nil {
			a.firewall.RemovePort(uplink)
		}
	}
}

func (a *Agent) filter(ctx context.Context) error {
	if a.firewall == nil {
		return nil
	}
	recheck, err := a.firewall.Apply(ctx)
	if recheck {
		a.cutter.Kick()
	}
	return err
}

// wire plugs the devices whose network and filter are known.
func (a *Agent) wire(ctx context.Context) {
	now := time.Now()
	for _, n := range a.networks {
		n.failure = nil
	}
	for _, d := range a.devices {
		if d.details == nil || !d.wire || !d.ready(now) { // without filter yet it is closed, and may be plugged
			continue
		}
		err := a.plug(ctx, d)
		if gone(err) { // the next news
			continue
		}
		if err != nil {
			a.log.Error("cannot wire device", "device", d.name, "error", err)
			d.failed(now)
			continue
		}
		d.wire = false
		d.succeeded()
	}
}

// gone tells whether the device vanished while it was being plugged.
func gone(err error) bool {
	_, notFound := errors.AsType[netlink.LinkNotFoundError](err)
	return notFound || errors.Is(err, unix.ENODEV) || errors.Is(err, wiring.ErrGone)
}

func (a *Agent) plug(ctx context.Context, d *device) error {
	n := a.networks[d.details.NetworkID]
	if n.failure == nil && n.check {
		n.failure = a.ensure(ctx, n)
	}
	if n.failure != nil {
		return n.failure
	}
	return a.driver.Plug(d.name, d.details, n.Network)
}

// ensure makes the bridge and the uplink, and starts the forwarding entries of tunnels.
func (a *Agent) ensure(ctx context.Context, n *network) error {
	fresh, err := a.driver.Ensure(n.Network)
	if err != nil {
		return err
	}
	n.check = false
	number, forwards := a.driver.Forwards(n.Network)
	switch {
	case !forwards:
	case !a.remotes.wired(n.ID, number):
		if fresh { // what this pass has read belongs to something else
			a.remotes.wire(n.ID, number, nil)
			break
		}
		if a.kernel == nil {
			if a.kernel, err = a.entries.List(ctx); err != nil {
				return err
			}
		}
		a.remotes.wire(n.ID, number, a.kernel)
	case fresh:
		a.remotes.lost(n.ID)
	}
	return nil
}

// remove takes down retired networks. One whose bridge has other devices is tried again: a port may be deleted on the
// server before its device goes.
func (a *Agent) remove() error {
	var errs []error
	for id, n := range a.retired {
		removed := a.networks[id] != nil // in use again
		if !removed {
			var err error
			removed, err = a.driver.Remove(n)
			errs = append(errs, err)
		}
		if removed {
			delete(a.retired, id)
		}
	}
	return errors.Join(errs...)
}

// announce tells ports here of addresses that have moved to ports elsewhere.
func (a *Agent) announce(ctx context.Context) {
	for _, x := range a.remotes.takeMoved() {
		n := a.networks[x.network]
		mac, err := net.ParseMAC(x.mac)
		if n == nil || err != nil {
			continue
		}
		if err := a.driver.Announce(ctx, n.Network, mac, x.ip); err != nil {
			a.log.Warn("an address that moved is not announced", "address", x.ip, "error", err)
		}
	}
}

// schedule wakes the loop when the first device that failed may be tried again.
func (a *Agent) schedule() {
	var first time.Time
	for _, d := range a.devices {
		if !d.idle() && !d.notBefore.IsZero() && (first.IsZero() || d.notBefore.Before(first)) {
			first = d.notBefore
		}
	}
	if a.nextRetry != nil {
		a.nextRetry.Stop()
	}
	if !first.IsZero() {
		a.nextRetry = time.AfterFunc(time.Until(first), a.loop.Kick)
	}
}
