package scenario

import (
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"neutrino/test/lab"
)

// A router whose L3 agent is dead goes to another agent, and with it all traffic. When the first agent is back it
// removes what it had.
func TestRouterFailover(t *testing.T) {
	needRoot(t)
	c := opened(t, lab.New(t).TwoGateways(binary,
		"[DEFAULT]\nallow_automatic_l3agent_failover = true\nagent_down_time = 5\n[agent]\nreport_interval = 0.5\n"))
	c.withRouter()
	a := c.boot("a", c.Compute[0], c.tenant)
	fip := c.floatingIP(a.Port)
	reached := func() {
		t.Helper()
		for from, err := range map[string]error{"inside": reach(a.Node, lab.InternetIP), "outside": reach(c.Internet, fip)} {
			if err != nil {
				t.Fatalf("from the %s: %v", from, err)
			}
		}
	}
	reached()
	first := c.hostOfRouter()
	var second *lab.Host
	for _, h := range c.Hosts() {
		if h != first {
			second = h
		}
	}

	first.Daemons["l3-agent"].Kill()
	if err := reach(a.Node, lab.InternetIP); err != nil {
		t.Errorf("while no agent looks after the router: %v", err)
	}
	if err := lab.Eventually(patience, func() error {
		if h := c.hostOfRouter(); h != second {
			return fmt.Errorf("the router is still on %s", first.Name)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := lab.Eventually(patience, func() error { return namespaceOn(second, c.router.ID(), true) }); err != nil {
		t.Fatal(err)
	}
	reached()
	// Both hosts have the router in their kernels now. Only one of them may be on the networks, once both L2 agents were told.
	if err := lab.Eventually(patience, func() error {
		old, now := first.Capture("ext0", "icmp"), second.Capture("ext0", "icmp")
		reached()
		_, err := now.WaitFor(" > ", 5*time.Second)
		now.Stop()
		if frames := old.Stop(); len(frames) > 0 {
			return fmt.Errorf("packets pass %s: %q", first.Name, frames[0])
		}
		return err
	}); err != nil {
		t.Error(err)
	}

	first.Daemons["l3-agent"].Restart()
	if err := first.WaitHealthy("l3-agent", patience); err != nil {
		t.Error(err)
	}
	if err := lab.Eventually(patience, func() error { return namespaceOn(first, c.router.ID(), false) }); err != nil {
		t.Error(err)
	}
	if links := first.Run("ip -o link"); strings.Contains(links, "tap"+c.gatewayPort()[:11]) {
		t.Errorf("devices of the router are left on %s: %s", first.Name, links)
	}
	reached()
	if c.hostOfRouter() != second {
		t.Error("the router went back")
	}

	// An agent that only was cut off remembers what it had, and still must not have the last word about it.
	agent := second.Daemons["l3-agent"].Pid()
	if err := syscall.Kill(agent, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(agent, syscall.SIGCONT) })
	if err := lab.Eventually(patience, func() error { return namespaceOn(first, c.router.ID(), true) }); err != nil {
		t.Fatal(err)
	}
	reached()
	if err := syscall.Kill(agent, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := lab.Eventually(patience, func() error { return namespaceOn(second, c.router.ID(), false) }); err != nil {
		t.Error(err)
	}
	reached()
	time.Sleep(500 * time.Millisecond)
	if err := c.API.WaitFor("floatingips", c.API.List("floatingips", "")[0].ID(), "status", "ACTIVE", patience); err != nil {
		t.Error(err)
	}
}

func reach(from *lab.Node, to netip.Addr) error {
	_, err := from.Reach(to, patience)
	return err
}

// hostOfRouter is the host whose L3 agent has the router by the server's word.
func (c *cloud) hostOfRouter() *lab.Host {
	c.t.Helper()
	answer, err := c.API.Call("GET", "/routers/"+c.router.ID()+"/l3-agents", nil)
	if err != nil || len(answer.Objects("agents")) != 1 {
		c.t.Fatalf("agents of the router: %v, %v", answer, err)
	}
	for _, h := range c.Hosts() {
		if h.Name == answer.Objects("agents")[0].Str("host") {
			return h
		}
	}
	c.t.Fatalf("agents of the router: %v", answer)
	return nil
}

// namespaceOn tells whether the router's namespace is on the host, or is not, as expected.
func namespaceOn(h *lab.Host, router string, expected bool) error {
	there := strings.Contains(h.Run("ip netns"), "qrouter-"+router)
	if there != expected {
		return fmt.Errorf("namespace of the router on %s: %v", h.Name, there)
	}
	return nil
}

// gatewayPort is the id of the router's port on the external network.
func (c *cloud) gatewayPort() string {
	c.t.Helper()
	return c.API.List("ports", "device_owner=network:router_gateway&device_id="+c.router.ID())[0].ID()
}
