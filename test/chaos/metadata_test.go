package chaos

import (
	"fmt"
	"net/netip"
	"sync"
)

// metadataAddress is where guests ask.
var metadataAddress = netip.MustParseAddr("169.254.169.254")

// metadata has each guest that can ask who it is, by its router, or by the DHCP port of a subnet without one.
func (w *world) metadata(s *snapshot) []string {
	var mu sync.Mutex
	var bad []string
	var all sync.WaitGroup
	for _, g := range w.guests {
		p := s.ports[g.port]
		via, ok := s.metadataBy(p)
		if !ok {
			continue
		}
		w.probes++
		all.Go(func() {
			if err := g.asks(via); err != nil {
				mu.Lock()
				defer mu.Unlock()
				bad = append(bad, fmt.Sprintf("metadata of %s by %s: %v; %s", g.name, via, err, s.describe(g, metadataAddress)))
			}
		})
	}
	all.Wait()
	return bad
}

// asks fetches the guest's metadata by a router, as a lease would tell it.
func (g *guest) asks(via netip.Addr) error {
	if _, err := g.node.Exec("ip", "route", "replace", metadataAddress.String(), "via", via.String()); err != nil {
		return err
	}
	id, err := g.node.Get("http://" + metadataAddress.String() + "/latest/meta-data/instance-id")
	if err == nil && id != g.instance.ID {
		err = fmt.Errorf("it is told that it is %s instead of %s", id, g.instance.ID)
	}
	return err
}

// metadataBy tells where a port's guest gets metadata.
func (s *snapshot) metadataBy(p port) (via netip.Addr, ok bool) {
	f, ok := p.first(false)
	t := traffic{"tcp", 80, smallPayload, false}
	question := probe{src: f.address, dst: metadataAddress, traffic: t}
	x := s.subnets[f.subnet]
	switch {
	case !ok || !p.up || !s.groupsAllow(p, false, metadataAddress, t):
		return via, false
	case s.isStateless(p) && !s.groupsAllow(p, true, metadataAddress, question.answer()):
		return via, false
	}
	if _, routed := s.gatewayOf(p, f.address); routed {
		return x.gateway, true
	}
	if at, taken := s.portWith(p.network, x.gateway); taken && at.owner == "network:router_interface" || !x.dhcp || !s.served(p.network) {
		return via, false
	}
	for _, d := range s.ports {
		for _, a := range d.fixed {
			if d.network == p.network && d.owner == "network:dhcp" && a.subnet == x.id {
				return a.address, true
			}
		}
	}
	return via, false
}
