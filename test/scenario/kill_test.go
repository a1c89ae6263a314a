package scenario

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"neutrino/test/lab"
)

// Kill -9 of any daemon costs no packet that does not need it; what was asked for meanwhile is done after its restart.
func TestKill(t *testing.T) { onBoth(t, testKill) }

func testKill(t *testing.T, c *cloud) {
	c.withRouter()
	a, b := c.boot("a", c.Compute[0], c.tenant), c.boot("b", c.Compute[1], c.tenant)
	fip := c.floatingIP(b.Port)
	c.settled(a, b)

	var late *lab.Instance // booted while a daemon is dead
	plugLate := func() {
		late = c.Plug(fmt.Sprintf("late%d", time.Now().UnixNano()%1e6), c.Compute[0], c.API.Create("ports",
			lab.Object{"network_id": c.tenant.ID(), "security_groups": []string{c.open.ID()}}))
	}
	lateWorks := func() error {
		late.PowerOn()
		if _, err := late.DHCP(); err != nil {
			return err
		}
		_, err := late.Reach(b.IP(), patience)
		return err
	}
	var lateFIP netip.Addr
	nothing := func() {}

	tests := []struct {
		daemon    string
		host      *lab.Host
		meanwhile func()       // while it is dead
		after     func() error // what must work then
	}{
		{"server", c.Network, nothing, func() error {
			plugLate()
			return lateWorks()
		}},
		{c.L2Agent(), c.Compute[0], plugLate, lateWorks},
		{c.L2Agent(), c.Network, nothing, func() error {
			_, err := a.DHCP()
			return err
		}},
		{"dhcp-agent", c.Network, plugLate, lateWorks},
		{"l3-agent", c.Network, func() { lateFIP = c.floatingIP(a.Port) }, func() error {
			_, err := c.Internet.Reach(lateFIP, patience)
			return err
		}},
		{"metadata-agent", c.Network, nothing, func() error { return metadata(a) }},
	}
	for _, test := range tests {
		t.Run(test.daemon+" on "+test.host.Name, func(t *testing.T) {
			open, err := c.connect(a.Node, b.IP())
			if err != nil {
				t.Fatal(err)
			}
			before := c.steady()
			streams := c.streams(t, a, b, fip)
			test.host.Daemons[test.daemon].Kill()
			time.Sleep(300 * time.Millisecond)
			if err := lab.Exchange(open); err != nil {
				t.Errorf("the open connection while the daemon is dead: %v", err)
			}
			test.host.Daemons[test.daemon].Restart()
			if err := test.host.WaitHealthy(test.daemon, patience); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Second) // the agent's first pass over everything
			for name, stream := range streams {
				if pings := stream.Stop(); pings.Lost() > 0 {
					t.Errorf("%s: %s", name, pings)
				}
			}
			c.compare(t, before)
			if err := lab.Exchange(open); err != nil {
				t.Errorf("the open connection after the restart: %v", err)
			}

			test.host.Daemons[test.daemon].Kill()
			test.meanwhile()
			test.host.Daemons[test.daemon].Restart()
			if err := test.host.WaitHealthy(test.daemon, patience); err != nil {
				t.Error(err)
			}
			if err := test.after(); err != nil {
				t.Error(err)
			}
			if late != nil {
				late.Destroy()
				late = nil
			}
		})
	}
	t.Run("agents that are started while no server is there", func(t *testing.T) {
		before := c.steady()
		c.Network.Daemons["server"].Kill()
		agents := []string{"dhcp-agent", "l3-agent"}
		for _, name := range agents {
			c.Network.Daemons[name].Kill()
			c.Network.Daemons[name].Restart()
		}
		if lease, err := a.DHCP(); err != nil || lease.Address.Addr() != a.IP() {
			t.Errorf("lease %v, %v", lease, err)
		}
		c.Network.Daemons["server"].Restart()
		for _, name := range append(agents, "server") {
			if err := c.Network.WaitHealthy(name, patience); err != nil {
				t.Error(err)
			}
		}
		c.compare(t, before)
	})
}

// floatingIP makes one for the port and waits until it answers.
func (c *cloud) floatingIP(port lab.Object) netip.Addr {
	c.t.Helper()
	f := c.API.Create("floatingips", lab.Object{"floating_network_id": c.public.ID(), "port_id": port.ID()})
	return netip.MustParseAddr(f.Str("floating_ip_address"))
}

// streams are pings on all paths: between hypervisors, out by SNAT, in by floating IP.
func (c *cloud) streams(t *testing.T, a, b *lab.Instance, fip netip.Addr) map[string]*lab.PingStream {
	t.Helper()
	streams := map[string]*lab.PingStream{}
	for _, s := range []struct {
		name string
		from *lab.Node
		to   netip.Addr
	}{
		{"between hypervisors", a.Node, b.IP()},
		{"out", a.Node, lab.InternetIP},
		{"in", c.Internet, fip},
	} {
		if _, err := s.from.Reach(s.to, patience); err != nil {
			t.Fatal(err)
		}
		stream, err := s.from.PingStream(s.to, 10*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		streams[s.name] = stream
	}
	return streams
}

// steady waits until nothing changes any more, as three looks in a row find, and returns the states of the hosts.
func (c *cloud) steady() map[*lab.Host][]string {
	c.t.Helper()
	states := c.states()
	same := 0
	if err := lab.Eventually(patience, func() error {
		time.Sleep(200 * time.Millisecond)
		last := states
		states = c.states()
		for h, facts := range states {
			if d := lab.Difference(last[h], facts); len(d) > 0 {
				same = 0
				return fmt.Errorf("%s still changes: %q", h.Name, d)
			}
		}
		if same++; same < 2 {
			return errNotYet
		}
		return nil
	}); err != nil {
		c.t.Fatal(err)
	}
	return states
}

// states are the kernel's facts on all hosts.
func (c *cloud) states() map[*lab.Host][]string {
	c.t.Helper()
	states := map[*lab.Host][]string{}
	for _, h := range c.Hosts() {
		states[h] = h.KernelState()
	}
	return states
}

// compare fails the test if the kernel of a host has not the facts from before.
func (c *cloud) compare(t *testing.T, before map[*lab.Host][]string) {
	t.Helper()
	for _, h := range c.Hosts() {
		for i, line := range h.WaitState(before[h], patience) {
			if i == 20 {
				t.Errorf("%s: and more", h.Name)
				break
			}
			t.Errorf("%s is not as before: %s", h.Name, line)
		}
	}
}
