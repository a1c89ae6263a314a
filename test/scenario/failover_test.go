package scenario

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"neutrino/test/lab"
)

// When a host's agents die, another host's serve its networks and routers, with the same addresses; when they come back
// they clean up what is no longer theirs.
func TestFailover(t *testing.T) {
	needRoot(t)
	c := opened(t, lab.New(t).MultiHost(binary, 1, `[DEFAULT]
agent_down_time = 6
allow_automatic_l3agent_failover = true
[agent]
report_interval = 1
`))
	one, oneSubnet := c.network("one", "10.1.0.0/24")
	two, twoSubnet := c.network("two", "10.2.0.0/24")
	router := c.API.Create("routers", lab.Object{"name": "between"})
	for _, subnet := range []lab.Object{oneSubnet, twoSubnet} {
		c.API.Action("routers", router.ID(), "add_router_interface", lab.Object{"subnet_id": subnet.ID()})
	}
	spare := c.Compute[0]
	a, b := c.boot("a", spare, one), c.boot("b", spare, two)
	c.settled(a, b)
	// serving lists the hosts of the agents that serve the network and the router.
	serving := func() string {
		list := func(path string) (hosts []string) {
			answer, err := c.API.Call("GET", path, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, agent := range answer.Objects("agents") {
				hosts = append(hosts, agent.Str("host"))
			}
			return hosts
		}
		return fmt.Sprint(list("/networks/"+one.ID()+"/dhcp-agents"), list("/routers/"+router.ID()+"/l3-agents"))
	}
	address := func() string { // of the DHCP port
		ports := c.API.List("ports", "device_owner=network:dhcp&network_id="+one.ID())
		if len(ports) != 1 {
			t.Fatalf("%d DHCP ports", len(ports))
		}
		return ports[0].Objects("fixed_ips")[0].Str("ip_address") + " on " + ports[0].Str("binding:host_id")
	}
	namespaces := func(h *lab.Host) (found []string) {
		for _, word := range strings.Fields(h.Run("ip netns list")) {
			if strings.HasPrefix(word, "qdhcp-") || strings.HasPrefix(word, "qrouter-") {
				found = append(found, word)
			}
		}
		return found
	}
	if got := serving(); got != "[network] [network]" {
		t.Fatalf("served by %s", got)
	}
	before := address()

	for _, name := range []string{"metadata-agent", "dhcp-agent", "l3-agent"} {
		c.StartDaemon(spare, binary, name)
	}
	if got := serving(); got != "[network] [network]" {
		t.Errorf("agents that come take away what others serve: %s", got)
	}
	// The host is gone: its agents, and what they left in the kernel.
	for _, name := range []string{"dhcp-agent", "l3-agent", "linuxbridge-agent"} {
		c.Network.Daemons[name].Kill()
	}
	c.Network.Run("ip link set vxlan-" + fmt.Sprint(one["provider:segmentation_id"]) + " down")
	c.Network.Run("ip link set vxlan-" + fmt.Sprint(two["provider:segmentation_id"]) + " down")
	if err := lab.Eventually(patience, func() error {
		if got := serving(); got != "[compute1] [compute1]" {
			return fmt.Errorf("served by %s", got)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Reach(b.IP(), patience); err != nil {
		t.Errorf("the router has not moved: %v", err)
	}
	if err := lab.Eventually(patience, func() error {
		if got, want := address(), strings.Replace(before, "on network", "on compute1", 1); got != want {
			return fmt.Errorf("DHCP port %s, want %s", got, want)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	c.settled(c.boot("late", spare, one), a) // its address comes from the new agent

	for _, name := range []string{"linuxbridge-agent", "dhcp-agent", "l3-agent"} {
		c.Network.Daemons[name].Restart()
		if err := c.Network.WaitHealthy(name, patience); err != nil {
			t.Fatal(err)
		}
	}
	if err := lab.Eventually(patience, func() error {
		if left := namespaces(c.Network); len(left) > 0 {
			return fmt.Errorf("the host that came back keeps %v", left)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	if err := lab.Eventually(patience, func() error {
		if got := namespaces(spare); len(got) != 3 || !slices.Contains(got, "qrouter-"+router.ID()) {
			return fmt.Errorf("the other host has %v", got)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	c.settled(a, b)
}
