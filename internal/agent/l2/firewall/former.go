package firewall

import (
	"net/netip"
	"slices"
)

// At is an address on a network, which is given by its bridge.
type At struct {
	Bridge  string
	Address netip.Addr
}

// Former remembers which port last had an address. A packet that belongs to one of its connections would pass to the next
// port with the address, whatever that one's groups say, so they are to be forgotten then. Not before: a port that goes may live on
// on another host, and those that it talks to here would lose theirs.
type Former map[At]string

// mostFormer is how many ports are remembered.
const mostFormer = 10000

// Change tells of which addresses connections are to be forgotten when a port changes. old or now is nil for one that comes or goes.
func (f Former) Change(old, now *Port) (forget []At) {
	before, after := addressesOf(old), addressesOf(now)
	for _, at := range before {
		switch {
		case slices.Contains(after, at) || now != nil && now.Mode == Open:
		case now != nil && now.Mode == Filtered: // the port is here and may not use it any more
			forget = append(forget, at)
		default:
			f.remember(at, old.Device)
		}
	}
	tracked := old != nil && now != nil && old.Stateless && !now.Stateless
	for _, at := range after {
		switch last, ok := f[at]; {
		case ok && last != now.Device:
			forget = append(forget, at)
		case tracked && slices.Contains(before, at): // what is known of TCP connections from before it was stateless makes their packets invalid now
			forget = append(forget, at)
		}
		delete(f, at)
	}
	return forget
}

func (f Former) remember(at At, device string) {
	f[at] = device
	for other := range f {
		if len(f) <= mostFormer {
			break
		}
		delete(f, other)
	}
}

// Leave forgets the ports of a network that has none here any more.
func (f Former) Leave(bridge string) {
	for at := range f {
		if at.Bridge == bridge {
			delete(f, at)
		}
	}
}

func addressesOf(p *Port) (all []At) {
	if p == nil || p.Mode != Filtered {
		return nil
	}
	for _, pair := range p.Pairs {
		if pair.Prefix.IsSingleIP() {
			all = append(all, At{p.Bridge, pair.Prefix.Addr()})
		}
	}
	return all
}
