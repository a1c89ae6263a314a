package firewall

import (
	"context"
	"maps"
	"net/netip"
	"slices"

	"neutrino/internal/linux/conntrack"
)

// judge decides about tracked connections as the chains would decide about their first packet.
type judge struct {
	byAddress map[zoned]*Port
	wide      map[uint16][]*Port // ports with prefixes, by zone
	groups    map[string][]rule
	members   map[object][]netip.Prefix
	left      map[At]bool
	leftZoned map[zoned]bool  // the same
	vacant    map[uint16]bool // zones to be emptied
	roaming   map[object]bool // groups of which some member may have every address
}

type zoned struct {
	zone uint16
	addr netip.Addr
}

// Recheck cuts the connections that the rules no longer allow, and only these; those that were cut and are allowed again
// go on. Those of addresses that have another port now are forgotten: it has not begun them. It takes time proportional to the connections of the host and may run beside Apply.
func (f *Firewall) Recheck(ctx context.Context) error {
	j, zones := f.judge()
	flows, err := conntrack.List(func(c *conntrack.Flow) bool { return zones[c.Zone] })
	if err != nil {
		f.leave(j)
		return err
	}
	cut := 0
	for i := range flows {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		flow := &flows[i]
		if j.vacant[flow.Zone] || j.leftZoned[zoned{flow.Zone, flow.Source}] || j.leftZoned[zoned{flow.Zone, flow.Dest}] {
			f.writes.Add(1)
			if err := conntrack.Delete(flow); err != nil {
				f.leave(j)
				return err
			}
			continue
		}
		mark := uint32(0)
		if !j.allows(flow) {
			mark = markDead
			cut++
		}
		if flow.Mark == mark {
			continue
		}
		f.writes.Add(1)
		if err := conntrack.SetMark(flow, mark); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cut = cut
	return nil
}

// leave has the next Recheck forget what this one could not.
func (f *Firewall) leave(j *judge) {
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.Copy(f.left, j.left)
	maps.Copy(f.vacant, j.vacant)
}

func (f *Firewall) judge() (*judge, map[uint16]bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	j := &judge{byAddress: map[zoned]*Port{}, wide: map[uint16][]*Port{}, groups: map[string][]rule{},
		members: map[object][]netip.Prefix{}, roaming: map[object]bool{}, leftZoned: map[zoned]bool{}}
	for id, rules := range f.groups { // the slices are replaced, never changed
		j.groups[id] = rules
	}
	for set, all := range f.members {
		j.members[set] = all
	}
	for set := range f.roaming {
		j.roaming[set] = true
	}
	zones := map[uint16]bool{}
	for _, zone := range f.zones {
		zones[zone] = true
	}
	j.left, f.left = f.left, map[At]bool{}
	for at := range j.left {
		j.leftZoned[zoned{f.zones[at.Bridge], at.Address}] = true
	}
	j.vacant, f.vacant = f.vacant, map[uint16]bool{}
	for zone := range j.vacant {
		zones[zone] = true // perhaps another bridge has it already: its connections are as young as the bridge
	}
	for _, p := range f.ports {
		if p.Mode == Filtered {
			j.add(f.zones[p.Bridge], p)
		}
	}
	return j, zones
}

func (j *judge) add(zone uint16, p *Port) {
	wide := false
	for _, pair := range p.Pairs {
		if pair.Prefix.IsSingleIP() {
			j.byAddress[zoned{zone, pair.Prefix.Addr()}] = p
		} else {
			wide = true
		}
	}
	if wide {
		j.wide[zone] = append(j.wide[zone], p)
	}
}

func (j *judge) port(zone uint16, a netip.Addr) *Port {
	if p := j.byAddress[zoned{zone, a}]; p != nil {
		return p
	}
	for _, p := range j.wide[zone] {
		if slices.ContainsFunc(p.Pairs, func(x Pair) bool { return x.Prefix.Contains(a) }) {
			return p
		}
	}
	return nil
}

// allows tells whether the connection may go on: both ends must agree if both are here.
func (j *judge) allows(c *conntrack.Flow) bool {
	if c.Expected || isDHCP(c) {
		return true
	}
	if p := j.port(c.Zone, c.Source); p != nil && !p.Stateless && !j.matches(p, false, c) {
		return false
	}
	if p := j.port(c.Zone, c.Dest); p != nil && !p.Stateless && !j.matches(p, true, c) {
		return false
	}
	return true
}

func isDHCP(c *conntrack.Flow) bool {
	const udp = 17
	low, high := min(c.SourcePort, c.DestPort), max(c.SourcePort, c.DestPort)
	return c.Protocol == udp && (low == 67 && high == 68 || low == 546 && high == 547)
}

func (j *judge) matches(p *Port, ingress bool, c *conntrack.Flow) bool {
	remote := c.Dest
	if ingress {
		remote = c.Source
	}
	for _, g := range p.Groups {
		for _, r := range j.groups[g] {
			if r.ingress == ingress && r.v6 == remote.Is6() && r.matches(c) && j.matchesRemote(&r, remote) {
				return true
			}
		}
	}
	return false
}

func (j *judge) matchesRemote(r *rule, remote netip.Addr) bool {
	if r.prefix.IsValid() && !r.prefix.Contains(remote) {
		return false
	}
	if r.remote != "" && j.roaming[anywhereSet(r.remote, r.v6)] { // nobody knows whose it is: connections have no MAC addresses
		return true
	}
	contains := func(p netip.Prefix) bool { return p.Contains(remote) }
	return r.remote == "" || slices.ContainsFunc(j.members[memberSet(r.remote, r.v6)], contains)
}

// matches compares protocol and ports, or ICMP type and code, with those of the first packet.
func (r *rule) matches(c *conntrack.Flow) bool {
	if r.protocol >= 0 && r.protocol != int(c.Protocol) {
		return false
	}
	switch {
	case r.protocol < 0 || r.min < 0:
		return true
	case r.protocol == protoICMP || r.protocol == protoICMPv6:
		return r.min == int(c.ICMPType) && (r.max < 0 || r.max == int(c.ICMPCode))
	case withPorts[c.Protocol]:
		return r.min <= int(c.DestPort) && int(c.DestPort) <= max(r.min, r.max)
	}
	return true
}
