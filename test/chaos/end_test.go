package chaos

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"neutrino/test/lab"
)

// underscored is how bodies spell the name of a collection. What an agent has are "networks" or "routers".
func underscored(collection string) string {
	for _, agents := range []string{"dhcp-", "l3-"} {
		collection = strings.TrimPrefix(collection, agents)
	}
	return strings.ReplaceAll(collection, "-", "_")
}

// states are the hosts' facts when they change no more.
func (w *world) states() map[*lab.Host][]string {
	w.t.Helper()
	read := func() map[*lab.Host][]string {
		all := map[*lab.Host][]string{}
		for _, h := range w.Hosts() {
			all[h] = w.stateOf(h)
		}
		return all
	}
	last := read()
	if err := lab.Eventually(15*time.Second, func() error {
		time.Sleep(500 * time.Millisecond)
		now := read()
		before := last
		last = now
		for h := range now {
			if d := lab.Difference(before[h], now[h]); len(d) > 0 {
				return fmt.Errorf("%s still changes: %q", h.Name, d)
			}
		}
		return nil
	}); err != nil {
		w.fail("hosts do not come to rest", []string{err.Error()})
	}
	return last
}

// pristine is how the hosts are before anything is created.
func (w *world) pristine() map[*lab.Host][]string {
	w.t.Helper()
	all := w.states()
	if w.OpenVSwitch {
		w.rememberFlows()
	}
	return all
}

// leases has every guest that is served ask for its addresses, by DHCP of both versions and by router advertisements.
func (w *world) leases() {
	w.t.Helper()
	s := w.look()
	var mu sync.Mutex
	var bad []string
	asked := 0
	var all sync.WaitGroup
	for _, g := range w.guests {
		ways := s.ways(s.ports[g.port])
		asked += len(ways)
		all.Go(func() { // one after another: a client configures the interface
			for _, ask := range ways {
				if err := ask(g); err != nil {
					mu.Lock()
					bad = append(bad, fmt.Sprintf("%s, %s: %s", g.name, s.describe(g, netip.Addr{}), err))
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	w.note("%d leases and advertisements", asked)
	if len(bad) > 0 {
		w.fail("leases", bad)
	}
	for _, g := range w.guests {
		w.configure(g)
	}
}

// ways are those by which a guest is told its addresses.
func (s *snapshot) ways(p port) (all []func(*guest) error) {
	if !p.up {
		return nil
	}
	mine := func(a netip.Addr, err error) error {
		if err == nil && !slices.ContainsFunc(p.fixed, func(f fixed) bool { return f.address == a }) {
			return fmt.Errorf("is told that it has %s, but has %v", a, p.fixed)
		}
		return err
	}
	if f, ok := p.first(false); ok && s.subnets[f.subnet].dhcp && s.served(p.network) {
		all = append(all, func(g *guest) error {
			lease, err := g.node.DHCP()
			if x := s.subnets[f.subnet]; err == nil {
				err = told(x, lease)
			}
			return mine(lease.Address.Addr(), err)
		})
	}
	f, ok := p.first(true)
	if !ok {
		return all
	}
	r, routed := s.gatewayOf(p, f.address)
	switch mode := s.subnets[f.subnet].mode; {
	case mode == "dhcpv6-stateful" && s.served(p.network):
		all = append(all, func(g *guest) error {
			a, _, err := g.node.DHCP6()
			return mine(a, err)
		})
	case (mode == "slaac" || mode == "dhcpv6-stateless") && routed && r.up:
		all = append(all, func(g *guest) error { return mine(advertised(g)) })
	}
	return all
}

// told compares what a lease says with a subnet's options.
func told(x subnet, lease lab.Lease) error {
	if servers := slices.Sorted(slices.Values(lease.DNS)); len(x.dns) > 0 && !slices.Equal(servers, x.dns) {
		return fmt.Errorf("is told of the DNS servers %v instead of %v", servers, x.dns)
	}
	text := lease.Options["staticroutes"]
	for _, r := range x.routes {
		if !strings.Contains(text, r.to.String()+" "+r.via.String()) {
			return fmt.Errorf("is told of the routes %q without that to %s", text, r.to)
		}
	}
	return nil
}

// advertised is what a guest makes of a router's advertisement.
func advertised(g *guest) (netip.Addr, error) {
	for _, line := range []string{"ip -6 addr flush dev eth0 scope global", "sysctl -qw net.ipv6.conf.eth0.accept_ra=1 net.ipv6.conf.eth0.autoconf=1",
		"ip link set eth0 down", "ip link set eth0 up"} {
		words := strings.Fields(line)
		if _, err := g.node.Exec(words[0], words[1:]...); err != nil {
			return netip.Addr{}, err
		}
	}
	defer func() {
		_, _ = g.node.Exec("sysctl", "-qw", "net.ipv6.conf.eth0.accept_ra=0", "net.ipv6.conf.eth0.autoconf=0")
	}()
	return g.node.SLAAC(10 * time.Second)
}

// restartAll restarts every daemon: on hosts that are as they should be, nothing changes.
func (w *world) restartAll() {
	w.t.Helper()
	for _, g := range w.guests { // what a host without working ports knows of others may be old
		if !w.look().ports[g.port].up {
			w.note("%s", w.changePort(g, lab.Object{"admin_state_up": true}))
		}
	}
	for _, name := range []string{"l3-agent", "dhcp-agent"} { // their start gives them routers and networks that no agent has, as upstream's
		w.Network.Daemons[name].Kill()
		w.Network.Daemons[name].Restart()
	}
	w.settle()
	before := w.states()
	for _, h := range w.Hosts() {
		for _, name := range slices.Sorted(maps.Keys(h.Daemons)) {
			h.Daemons[name].Kill()
			h.Daemons[name].Restart()
		}
	}
	w.note("everything restarted")
	w.settle()
	w.compareStates("after a restart of everything", before, 5*time.Second)
}

func (w *world) compareStates(when string, before map[*lab.Host][]string, within time.Duration) {
	w.t.Helper()
	var bad []string
	for _, h := range w.Hosts() {
		var difference []string
		_ = lab.Eventually(within, func() error {
			if difference = lab.Difference(before[h], w.stateOf(h)); len(difference) > 0 {
				return fmt.Errorf("%d differences", len(difference))
			}
			return nil
		})
		for _, line := range difference {
			bad = append(bad, h.Name+" "+line)
		}
	}
	if len(bad) > 0 {
		w.fail(when, bad)
	}
}

// clear deletes everything through the API.
func (w *world) clear() {
	w.t.Helper()
	w.exorcise(func(ghost) bool { return true })
	for _, g := range w.guests {
		w.unplug(g)
		_, what := w.try("DELETE", "/ports/"+g.port, nil)
		w.note("%s", what)
	}
	w.guests = nil
	w.enableAgents()
	s := w.look()
	gone := func(method, path string, body lab.Object) {
		if _, what := w.try(method, path, body); strings.Contains(what, "refused") {
			w.fail("deleting everything", []string{what})
		}
	}
	for id := range s.floatingIPs {
		gone("DELETE", "/floatingips/"+id, nil)
	}
	for _, id := range s.labels {
		gone("DELETE", "/metering/metering-labels/"+id, nil)
	}
	for id := range s.routers {
		gone("PUT", "/routers/"+id, lab.Object{"router": lab.Object{"routes": []lab.Object{}}})
	}
	for id := range s.routers {
		for _, p := range s.interfacesOf(id) {
			gone("PUT", "/routers/"+id+"/remove_router_interface", lab.Object{"port_id": p.id})
		}
		gone("DELETE", "/routers/"+id, nil)
	}
	for id := range s.networks {
		gone("DELETE", "/networks/"+id, nil)
	}
	for _, id := range w.pools {
		gone("DELETE", "/subnetpools/"+id, nil)
	}
	for _, o := range w.list("address-scopes") {
		gone("DELETE", "/address-scopes/"+o.ID(), nil)
	}
	groups := w.list("security-groups")
	for _, g := range groups { // rules may refer to other groups
		for _, r := range g.Objects("security_group_rules") {
			gone("DELETE", "/security-group-rules/"+r.ID(), nil)
		}
	}
	for _, g := range groups {
		gone("DELETE", "/security-groups/"+g.ID(), nil)
	}
	for id := range s.addressGroups {
		gone("DELETE", "/address-groups/"+id, nil)
	}
	w.note("everything deleted")
}

func (w *world) comparePristine(before map[*lab.Host][]string) {
	w.t.Helper()
	w.compareStates("after everything was deleted", before, patience)
}
