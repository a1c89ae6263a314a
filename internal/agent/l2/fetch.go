package l2

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"neutrino/internal/agent/l2/firewall"
	"neutrino/internal/bus"
	"neutrino/internal/rpc"
)

// chunk is how many devices one call names, so that answers stay small and other agents get their turn.
const chunk = 200

// fetch asks the server for what is not known. What it learns stays; what fails is asked for again.
func (a *Agent) fetch(ctx context.Context) error {
	if err := a.fetchTunnels(ctx); err != nil {
		return err
	}
	now := time.Now()
	names := a.namesOf(func(d *device) bool { return d.fetch && d.ready(now) })
	for part := range slices.Chunk(names, chunk) {
		r, err := rpc.GetDevicesDetails.Call(ctx, a.transport, "",
			rpc.DevicesArgs{Devices: part, AgentID: a.agentID(), Host: a.cfg.Host})
		if err != nil {
			return err
		}
		for _, name := range r.FailedDevices {
			if d := a.devices[name]; d != nil {
				d.failed(now)
			}
		}
		for _, details := range r.Devices {
			if d := a.devices[details.Device]; d != nil {
				a.learn(d, details)
			}
		}
	}
	if a.firewall == nil {
		return nil
	}
	return a.fetchFilters(ctx)
}

func (a *Agent) agentID() string { return a.cfg.idPrefix() + a.cfg.Host }

// fetchTunnels tells the server of this host's endpoint and learns those of others. A server that refuses it, as its configuration
// is another one's, is asked again in every pass; all but tunnels works meanwhile.
func (a *Agent) fetchTunnels(ctx context.Context) error {
	if !a.cfg.LocalIP.IsValid() || a.announced {
		return nil
	}
	announced := true
	for _, kind := range a.driver.TunnelTypes() {
		r, err := rpc.TunnelSync.Call(ctx, a.transport, "",
			rpc.TunnelSyncArgs{TunnelIP: a.cfg.LocalIP.String(), TunnelType: kind, Host: a.cfg.Host})
		var refused *bus.RemoteError
		switch {
		case errors.As(err, &refused) && refused.Class == "InvalidInput":
			a.log.Error("the server refuses the tunnel endpoint", "type", kind, "local_ip", a.cfg.LocalIP, "error", err)
			announced = false
			continue
		case err != nil:
			return err
		}
		for _, e := range r.Tunnels {
			a.remotes.endpoint(e.IPAddress, true)
		}
	}
	a.announced = announced
	return nil
}

// namesOf returns the names of the devices for which f is true, in order.
func (a *Agent) namesOf(f func(*device) bool) []string {
	var names []string
	for name, d := range a.devices {
		if f(d) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// learn takes over what the server says of a device.
func (a *Agent) learn(d *device, details rpc.DeviceDetails) {
	d.fetch = false
	d.succeeded()
	a.leave(d)
	if details.NetworkID == "" || details.NoActiveBinding {
		a.log.Info("device has no port here", "device", d.name)
		d.wire, d.filter, d.report = false, false, false
		a.driver.Unplug(d.name)
		a.close(d)
		return
	}
	d.details = &details
	d.wire, d.report, d.filter = true, true, filtered(&details)
	wanted := networkOf(&details)
	n := a.networks[wanted.ID]
	if n == nil {
		n = &network{devices: map[string]bool{}}
		a.networks[wanted.ID] = n
	}
	if n.Network != wanted {
		n.Network, n.check = wanted, true
	}
	n.devices[d.name] = true
	for _, ip := range details.FixedIPs {
		a.remotes.know(wanted.ID, ip.IPAddress, details.MACAddress)
	}
	if a.firewall == nil {
		d.filter = false
		return
	}
	bridge := a.driver.BridgeName(wanted)
	if uplink := a.driver.Uplink(wanted); uplink != "" {
		a.firewall.SetPort(firewall.Port{Device: uplink, Bridge: bridge, Mode: firewall.Open})
	}
	if !details.AdminStateUp { // its device is down, but Nova may make a new one while no agent runs
		d.filter, d.groups = false, nil
		a.firewall.SetPort(firewall.Port{Device: d.name, Mode: firewall.Closed})
	} else if !d.filter {
		d.groups = nil
		a.firewall.SetPort(firewall.Port{Device: d.name, Bridge: bridge, Mode: firewall.Open})
	} else if mode, known := a.firewall.Mode(d.name); !known || mode == firewall.Open {
		a.firewall.SetPort(firewall.Port{Device: d.name, Mode: firewall.Closed})
	}
}

// membersAgain is how often groups are fetched with all members of which only changes were fetched since.
const membersAgain = 5 * time.Minute

// memberKey names the members of a remote group of one ethertype.
type memberKey struct{ group, ethertype string }

// doubtMembers has the members of all groups fetched again.
func (a *Agent) doubtMembers() {
	if a.firewall == nil {
		return
	}
	for group, ethertypes := range a.firewall.KnownMembers() {
		for _, e := range ethertypes {
			a.doubtful[memberKey{group, e}] = true
		}
	}
}

// knownMembers are those of which the server need not tell.
func (a *Agent) knownMembers() map[string][]string {
	known := a.firewall.KnownMembers()
	for group, ethertypes := range known {
		known[group] = slices.DeleteFunc(ethertypes, func(e string) bool { return a.doubtful[memberKey{group, e}] })
		if len(known[group]) == 0 {
			delete(known, group)
		}
	}
	return known
}

// fetchMembers asks which of the addresses that may have joined or left groups are members. What is left in changedMembers are
// groups whose members are all to be fetched.
func (a *Agent) fetchMembers(ctx context.Context) error {
	ask := rpc.Addresses{Addresses: map[string][]string{}}
	for group, addresses := range a.changedMembers {
		switch {
		case len(a.firewall.GroupsWith(group)) == 0: // no port here is concerned
			delete(a.changedMembers, group)
		case addresses != nil:
			texts := []string{}
			for address := range addresses {
				texts = append(texts, address.String())
			}
			ask.Addresses[group] = texts
		}
	}
	if len(ask.Addresses) == 0 {
		return nil
	}
	r, err := rpc.SecurityGroupMembersAmong.Call(ctx, a.transport, "", ask)
	if _, refused := errors.AsType[*bus.RemoteError](err); err != nil && !refused { // upstream's server does not know the method
		return err
	}
	for group := range ask.Addresses {
		now := a.changedMembers[group]
		for address := range now {
			now[address] = slices.Contains(r.Addresses[group], address.String())
		}
		if err == nil && a.firewall.ChangeMembers(group, now) {
			a.patched[group] = true
			delete(a.changedMembers, group)
		} else {
			a.changedMembers[group] = nil
		}
	}
	return nil
}

// fetchFilters asks for the filters of new devices, and for changed groups: for these it names one device of each group,
// because the answer for one device has all there is to say of its groups. A device may have left the group meanwhile, so
// another is asked until the group was in an answer.
func (a *Agent) fetchFilters(ctx context.Context) error {
	if err := a.fetchMembers(ctx); err != nil {
		return err
	}
	now := time.Now()
	names := a.namesOf(func(d *device) bool { return d.filter && d.ready(now) })
	changed := maps.Clone(a.changedGroups)
	for remote := range a.changedMembers {
		a.doubtful[memberKey{remote, "IPv4"}], a.doubtful[memberKey{remote, "IPv6"}] = true, true
		note(changed, a.firewall.GroupsWith(remote))
	}
	asked := map[string]bool{}
	for first := true; first || len(names) > 0; names = a.representatives(changed, asked) {
		first = false
		for part := range slices.Chunk(names, chunk) {
			if err := a.fetchFilterPart(ctx, part, now, changed); err != nil {
				return err
			}
		}
		note(asked, names)
	}
	clear(a.changedGroups)
	clear(a.changedMembers)
	maps.DeleteFunc(a.doubtful, func(k memberKey, _ bool) bool { return len(a.firewall.GroupsWith(k.group)) == 0 })
	return nil
}

// representatives are devices that have the groups and were not asked for, and those that were misjudged meanwhile.
func (a *Agent) representatives(groups, asked map[string]bool) []string {
	left := maps.Clone(groups)
	var names []string
	for name, d := range a.devices {
		if asked[name] || d.details == nil {
			continue
		}
		before := len(left)
		for _, g := range d.groups {
			delete(left, g)
		}
		if len(left) < before || d.filter && d.notBefore.IsZero() {
			names = append(names, name)
		}
	}
	return names
}

// judge notes whether groups are stateless, and which devices have one of which something else was thought. Only rules tell,
// so of a group without it is not known before it gets one.
func (a *Agent) judge(groups map[string][]rpc.SecurityGroupRule) {
	for id, rules := range groups {
		if len(rules) == 0 || a.stateless[id] == !rules[0].Stateful {
			continue
		}
		a.stateless[id] = !rules[0].Stateful
		for _, d := range a.devices {
			if slices.Contains(d.groups, id) {
				d.filter = true
			}
		}
	}
}

// forgetGroups drops what is known of groups that no device has.
func (a *Agent) forgetGroups() {
	used := map[string]bool{}
	for _, d := range a.devices {
		note(used, d.groups)
	}
	maps.DeleteFunc(a.stateless, func(id string, _ bool) bool { return !used[id] })
}

// fetchFilterPart asks for the filters of the named devices. The groups that were answered are no longer changed.
func (a *Agent) fetchFilterPart(ctx context.Context, names []string, now time.Time, changed map[string]bool) error {
	ids := make([]string, len(names))
	for i, name := range names {
		ids[i] = a.devices[name].details.PortID
	}
	r, err := rpc.SecurityGroupInfoForDevices.Call(ctx, a.transport, "", rpc.SecurityGroupArgs{Devices: ids, KnownMembers: a.knownMembers()})
	if err != nil {
		return err
	}
	a.judge(r.SecurityGroups)
	for id, rules := range r.SecurityGroups {
		a.firewall.SetGroup(id, rules)
		delete(changed, id)
	}
	for group, byType := range r.MemberIPs {
		for ethertype, members := range byType {
			fixed, roaming := membersOf(members)
			a.firewall.SetMembers(group, ethertype == "IPv6", fixed)
			a.firewall.SetRoaming(group, ethertype == "IPv6", roaming)
			delete(a.doubtful, memberKey{group, ethertype})
		}
	}
	for i, name := range names {
		d := a.devices[name]
		f, ok := r.Devices[ids[i]]
		if !ok { // deleted or changed meanwhile; it stays closed until that is clear
			a.log.Warn("no filter for device", "device", name)
			d.fetch = true
			d.failed(now)
			continue
		}
		d.filter, d.groups = false, f.SecurityGroups
		a.firewall.SetPort(filteredPort(name, a.driver.BridgeName(networkOf(d.details)), f, a.stateless))
	}
	return nil
}
