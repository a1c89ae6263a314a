package scenario

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"neutrino/test/lab"
)

// Agents that start on a host whose kernel is right write nothing into it.
func TestRestartWritesNothing(t *testing.T) { onBoth(t, testRestartWritesNothing) }

func testRestartWritesNothing(t *testing.T, c *cloud) {
	const silent = 200
	c.withRouter()
	a, b := c.boot("a", c.Compute[0], c.tenant), c.boot("b", c.Compute[1], c.tenant)
	c.floatingIP(a.Port)
	host := c.Compute[0]
	ports := c.bulk(silent, host)
	c.PlugSilent(host, ports)
	c.waitAllActive(host, silent+1)
	c.settled(a, b)

	for _, test := range []struct {
		host    *lab.Host
		daemons []string
	}{
		{host, []string{c.L2Agent()}},
		{c.Network, []string{c.L2Agent(), "dhcp-agent", "l3-agent", "metadata-agent"}},
	} {
		for _, daemon := range test.daemons {
			t.Run(daemon+" on "+test.host.Name, func(t *testing.T) {
				watch := test.host.Watch()
				time.Sleep(time.Second) // Open vSwitch is done with what the test asked it
				stream, err := a.PingStream(lab.InternetIP, 10*time.Millisecond)
				if err != nil {
					t.Fatal(err)
				}
				test.host.Daemons[daemon].Kill()
				test.host.Daemons[daemon].Restart()
				if err := test.host.WaitHealthy(daemon, patience); err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * time.Second) // time to do what should not be done
				pings := stream.Stop()      // before Open vSwitch is busy with telling its flows to the test
				changes := watch.Stop()
				for i, change := range changes {
					if i == 15 {
						t.Errorf("and %d more", len(changes)-i)
						break
					}
					t.Errorf("changed: %s", change)
				}
				if writes := test.host.Metric(daemon, "neutrino_agent_kernel_writes_total"); writes != 0 {
					t.Errorf("the agent counts %v writes", writes)
				}
				if pings.Lost() > 0 {
					t.Errorf("pings out: %s", pings)
				}
			})
		}
	}
	late := c.boot("late", host, c.tenant) // and it does work
	c.settled(late, b)
}

// bulk creates ports that are bound to the host, in the tenant network.
func (c *cloud) bulk(count int, host *lab.Host) []lab.Object {
	c.t.Helper()
	list := make([]lab.Object, count)
	for i := range list {
		list[i] = lab.Object{"network_id": c.tenant.ID(), "name": fmt.Sprintf("silent%d", i), "binding:host_id": host.Name,
			"device_owner": "compute:nova", "device_id": fmt.Sprintf("silent%d", i), "security_groups": []string{c.open.ID()}}
	}
	return c.API.CreateBulk("ports", list)
}

// waitAllActive waits until so many ports of instances on the host are ACTIVE.
func (c *cloud) waitAllActive(host *lab.Host, count int) {
	c.t.Helper()
	query := "device_owner=compute:nova&status=ACTIVE&fields=id&binding:host_id=" + host.Name
	if err := lab.Eventually(60*time.Second, func() error {
		if n := len(c.API.List("ports", query)); n != count {
			return fmt.Errorf("%d of %d ports are ACTIVE", n, count)
		}
		return nil
	}); err != nil {
		c.t.Fatal(err)
	}
}

// A whole-cloud restart, one daemon after the other, as a package upgrade makes it.
func TestRollingRestart(t *testing.T) { onBoth(t, testRollingRestart) }

func testRollingRestart(t *testing.T, c *cloud) {
	c.withRouter()
	a, b := c.boot("a", c.Compute[0], c.tenant), c.boot("b", c.Compute[1], c.tenant)
	c.settled(a, b)
	open, err := c.connect(a.Node, b.IP())
	if err != nil {
		t.Fatal(err)
	}
	before := c.steady()
	stream, err := a.PingStream(b.IP(), 10*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range c.Hosts() {
		for name, daemon := range h.Daemons {
			daemon.Stop()
			daemon.Restart()
			if err := h.WaitHealthy(name, patience); err != nil {
				t.Error(err)
			}
			if strings.Contains(daemon.Log(), "panic:") {
				t.Errorf("%s on %s panicked", name, h.Name)
			}
		}
	}
	if pings := stream.Stop(); pings.Lost() > 0 {
		t.Error(pings)
	}
	c.compare(t, before)
	if err := lab.Exchange(open); err != nil {
		t.Errorf("the open connection: %v", err)
	}
}
