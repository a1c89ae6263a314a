package scenario

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"neutrino/test/lab"
)

// Two DHCP agents serve a network, each at an address of its own, and tell clients the same. When one dies the other goes
// on alone; what the dead one had is kept for it, and it has it again when it is back.
func TestDHCPAgents(t *testing.T) {
	needRoot(t)
	l := lab.New(t)
	c := opened(t, l.MultiHost(binary, 2, "[DEFAULT]", "dhcp_agents_per_network = 2", "agent_down_time = 6", "[agent]", "report_interval = 1"))
	second := c.Compute[1]
	c.StartDaemon(second, binary, "dhcp-agent")
	n := c.API.Create("networks", lab.Object{"name": "twice"})
	c.API.Create("subnets", lab.Object{"network_id": n.ID(), "ip_version": 4, "cidr": "10.0.0.0/24"})
	ports := func() (out map[string]string) { // address by device
		out = map[string]string{}
		for _, p := range c.API.List("ports", "network_id="+n.ID()+"&device_owner=network:dhcp") {
			ip := p["fixed_ips"].([]any)[0].(map[string]any)["ip_address"].(string)
			out[p["device_id"].(string)] = ip
		}
		return out
	}
	must := func(what string, within time.Duration, f func() error) {
		t.Helper()
		if err := lab.Eventually(within, f); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	must("two ports", patience, func() error {
		if got := ports(); len(got) != 2 {
			return fmt.Errorf("%v", got)
		}
		return nil
	})
	both := servers(ports())
	a := c.boot("a", c.Compute[0], n)
	name := "host-" + strings.ReplaceAll(a.IP().String(), ".", "-") + ".openstacklocal"
	lease := func(want []string) func() error {
		return func() error {
			got, err := a.DHCP()
			if err != nil {
				return err
			}
			slices.Sort(got.DNS)
			if !slices.Equal(got.DNS, want) {
				return fmt.Errorf("DNS servers %v, want %v", got.DNS, want)
			}
			for _, s := range want {
				if out, err := a.Exec("timeout", "3", "busybox", "nslookup", name, s); err != nil || !strings.Contains(out, a.IP().String()) {
					return fmt.Errorf("%s does not know %s: %v %s", s, name, err, out)
				}
			}
			return nil
		}
	}
	must("lease with two agents", patience, lease(both))

	second.Daemons["dhcp-agent"].Kill()
	if got, err := a.DHCP(); err != nil { // the other answers at once
		t.Errorf("with one agent dead: %v", err)
	} else if got.Address.Addr() != a.IP() {
		t.Errorf("with one agent dead: %s", got.Address)
	}
	must("the dead agent's port is reserved", patience, func() error {
		if got := ports(); got["reserved_dhcp_port"] == "" {
			return fmt.Errorf("%v", got)
		}
		return nil
	})
	kept := ports()["reserved_dhcp_port"]
	alone := slices.DeleteFunc(slices.Clone(both), func(s string) bool { return s == kept })
	must("lease with one agent", patience, lease(alone))

	second.Daemons["dhcp-agent"].Restart()
	if err := second.WaitHealthy("dhcp-agent", patience); err != nil {
		t.Fatal(err)
	}
	must("lease with two agents again", patience, lease(both))
}

func servers(ports map[string]string) []string {
	var out []string
	for _, ip := range ports {
		out = append(out, ip)
	}
	slices.Sort(out)
	return out
}
