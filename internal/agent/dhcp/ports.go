package dhcp

import (
	"reflect"

	"neutrino/internal/rpc"
)

// ports are all ports of a network. They note what changed since that was last taken.
type ports struct {
	byID map[string]*rpc.Port
	byIP map[rpc.FixedIP]*rpc.Port // nil before it is needed, which it is when ports come by themselves
	news map[string]bool           // ids; nil before anybody took them
}

func (ps *ports) put(p *rpc.Port) {
	ps.remove(p.ID)
	ps.byID[p.ID] = p
	if ps.byIP != nil {
		ps.index(p)
	}
}

func (ps *ports) index(p *rpc.Port) {
	for _, ip := range p.FixedIPs {
		ps.byIP[ip] = p
	}
}

func (ps *ports) remove(id string) {
	if ps.news != nil {
		ps.news[id] = true
	}
	p := ps.byID[id]
	if p == nil {
		return
	}
	delete(ps.byID, id)
	for _, ip := range p.FixedIPs {
		if ps.byIP[ip] == p {
			delete(ps.byIP, ip)
		}
	}
}

// replace makes these the only ports. It tells whether they were already.
func (ps *ports) replace(all []rpc.Port) (same bool) {
	same = true
	seen := make(map[string]bool, len(all))
	for i := range all {
		p := all[i] // a copy: the others are not kept in memory if only this one is
		seen[p.ID] = true
		if have := ps.byID[p.ID]; have == nil || !reflect.DeepEqual(have, &p) {
			ps.put(&p)
			same = false
		}
	}
	for id := range ps.byID {
		if !seen[id] {
			ps.remove(id)
			same = false
		}
	}
	return same
}

// clash tells whether another port has an address of this one.
func (ps *ports) clash(p *rpc.Port) bool {
	if ps.byIP == nil {
		ps.byIP = make(map[rpc.FixedIP]*rpc.Port, len(ps.byID))
		for _, p := range ps.byID {
			ps.index(p)
		}
	}
	for _, ip := range p.FixedIPs {
		if other := ps.byIP[ip]; other != nil && other.ID != p.ID {
			return true
		}
	}
	return false
}

// take returns the ports that changed since the last time, by id; nil for those that are gone.
func (ps *ports) take() map[string]*rpc.Port {
	out := make(map[string]*rpc.Port, len(ps.news))
	for id := range ps.news {
		out[id] = ps.byID[id]
	}
	ps.news = map[string]bool{}
	return out
}
