package scenario

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"neutrino/test/lab"
)

// With the userspace datapath a dead ovs-vswitchd takes all traffic of its host along, and the devices of DHCP and
// routers. All is back soon after its restart, whoever else is dead meanwhile.
func TestOpenVSwitchDaemons(t *testing.T) {
	c := switched(t)
	c.withRouter()
	a, b := c.boot("a", c.Compute[0], c.tenant), c.boot("b", c.Compute[1], c.tenant)
	fip := c.floatingIP(b.Port)
	c.settled(a, b)
	agents := []string{"openvswitch-agent", "dhcp-agent", "l3-agent"}
	tests := []struct {
		name string
		host *lab.Host
		do   func(h *lab.Host)
	}{
		{"ovs-vswitchd of a hypervisor", c.Compute[0], (*lab.Host).RestartSwitch},
		{"ovs-vswitchd of the network node", c.Network, (*lab.Host).RestartSwitch},
		{"ovs-vswitchd while the agents are dead", c.Network, func(h *lab.Host) {
			for _, name := range agents {
				h.Daemons[name].Kill()
			}
			h.RestartSwitch()
			for _, name := range agents {
				h.Daemons[name].Restart()
			}
		}},
		{"namespaces are removed while the agents are dead", c.Network, func(h *lab.Host) {
			for _, name := range agents[1:] {
				h.Daemons[name].Kill()
			}
			h.Run("ip netns del qrouter-" + c.router.ID())
			h.Run("ip netns del qdhcp-" + c.tenant.ID())
			// The kernel takes its time, and what goes through the old ones meanwhile proves nothing.
			if err := lab.Eventually(patience, func() error { return a.Silent(lab.InternetIP, 200*time.Millisecond) }); err != nil {
				t.Error(err)
			}
			for _, name := range agents[1:] {
				h.Daemons[name].Restart()
			}
		}},
		{"ovsdb-server", c.Network, func(h *lab.Host) {
			stream, err := a.PingStream(lab.InternetIP, 10*time.Millisecond)
			if err != nil {
				t.Fatal(err)
			}
			h.SwitchDB.Kill()
			h.SwitchDB.Restart()
			time.Sleep(time.Second)
			if pings := stream.Stop(); pings.Lost() > 0 {
				t.Error(pings)
			}
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			streams := c.streams(t, a, b, fip)
			open, err := c.connect(a.Node, b.IP())
			if err != nil {
				t.Fatal(err)
			}
			before := c.numberless(test.host)
			test.do(test.host)
			began := time.Now()
			for name, path := range map[string]struct {
				from *lab.Node
				to   netip.Addr
			}{"between hypervisors": {a.Node, b.IP()}, "out": {a.Node, lab.InternetIP}, "in": {c.Internet, fip}} {
				if _, err := path.from.Reach(path.to, patience); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			t.Log("all paths work after", time.Since(began).Round(time.Millisecond))
			for name, stream := range streams {
				t.Log(name, stream.Stop())
			}
			if err := lab.Exchange(open); err != nil {
				t.Errorf("the open connection: %v", err)
			}
			if err := lab.Eventually(patience, func() error {
				_, err := a.DHCP()
				return err
			}); err != nil {
				t.Error(err)
			}
			if err := metadata(a); err != nil {
				t.Error(err)
			}
			if err := lab.Eventually(patience, func() error {
				if lines := lab.Difference(before, c.numberless(test.host)); len(lines) > 0 {
					return errors.New(lines[0])
				}
				return nil
			}); err != nil {
				t.Errorf("%s is not as before: %v", test.host.Name, err)
			}
		})
	}
	late := c.boot("late", c.Compute[0], c.tenant)
	c.settled(late, b)
	if _, err := late.Reach(lab.InternetIP, patience); err != nil {
		t.Error(err)
	}
}

// What differs between devices of one name: their indexes, and the numbers of ports in flows.
var deviceNumbers = regexp.MustCompile(`(link|address) +\d+:|in_port=\d+|reg5=0x[0-9a-f]+|output:\d+|load:0x[0-9a-f]+->NXM_NX_REG5\[\]|set_field:0x[0-9a-f]+->reg5|cookie=0x[0-9a-f]+`)

// The kernel's tunnel devices are made by ovs-vswitchd, with another MAC and address each time.
var madeBySwitch = regexp.MustCompile(`\b(vxlan|gre|genev)_sys`)

// numberless is the state of a host without the numbers that new devices get.
func (c *cloud) numberless(h *lab.Host) []string {
	c.t.Helper()
	var out []string
	for _, fact := range h.KernelState() {
		if madeBySwitch.MatchString(fact) {
			continue
		}
		out = append(out, deviceNumbers.ReplaceAllString(fact, "N"))
	}
	return out
}

// A DHCP port that somebody deletes while its agent is dead leaves nothing in Open vSwitch when the agent has made itself another.
func TestOpenVSwitchDHCPPortReplaced(t *testing.T) {
	c := switched(t)
	network, _ := c.network("one", "10.1.0.0/24")
	a := c.boot("a", c.Compute[0], network)
	ports := "device_owner=network:dhcp&network_id=" + network.ID()
	old := c.API.List("ports", ports)[0]
	agent := c.Network.Daemons["dhcp-agent"]
	agent.Kill()
	c.API.Delete("ports", old.ID())
	agent.Restart()
	if err := lab.Eventually(patience, func() error {
		if now := c.API.List("ports", ports+"&status=ACTIVE"); len(now) != 1 {
			return fmt.Errorf("%d DHCP ports are ACTIVE", len(now))
		}
		_, err := a.DHCP()
		return err
	}); err != nil {
		t.Fatal(err)
	}
	taps, err := c.Network.Exec("ovs-vsctl", "list-ports", "br-int")
	if err != nil {
		t.Fatal(err)
	}
	if tap := "tap" + old.ID()[:11]; strings.Contains(taps, tap) {
		t.Errorf("%s is still there:\n%s", tap, taps)
	}
}
