package scenario

import (
	"net/netip"
	"testing"
	"time"

	"neutrino/test/lab"
)

// Everything that guests send arrives where it may, within a network and through a router: IPv4, IPv6, ICMP, UDP, TCP,
// fragments. And when all is deleted by the API the hosts are as they were before.
func TestTraffic(t *testing.T) { onBoth(t, testTraffic) }

func testTraffic(t *testing.T, c *cloud) {
	before := c.steady()
	red, red4 := c.network("red", "10.1.0.0/24")
	blue, blue4 := c.network("blue", "10.2.0.0/24")
	router := c.API.Create("routers", lab.Object{"name": "between"})
	subnets := []string{red4.ID(), blue4.ID()}
	for network, cidr := range map[string]string{red.ID(): "fd00:1::/64", blue.ID(): "fd00:2::/64"} {
		subnets = append(subnets, c.API.Create("subnets", lab.Object{"network_id": network, "ip_version": 6, "cidr": cidr,
			"ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac"}).ID())
	}
	for _, s := range subnets {
		c.API.Action("routers", router.ID(), "add_router_interface", lab.Object{"subnet_id": s})
	}
	// Members may do everything with each other, in either version; others only what the group "open" allows.
	family := c.group("family")
	for _, version := range []string{"IPv4", "IPv6"} {
		c.API.Create("security-group-rules", lab.Object{"security_group_id": family.ID(), "direction": "ingress", "ethertype": version,
			"remote_group_id": family.ID()})
	}
	member := func(name string, host *lab.Host, network lab.Object) *lab.Instance {
		i := c.Boot(name, host, lab.Object{"name": name, "network_id": network.ID(), "security_groups": []string{family.ID()}})
		i.Echo(sshPort)
		i.EchoUDP(sshPort)
		return i
	}
	a := member("a", c.Compute[0], red)
	others := map[string]*lab.Instance{"same host": member("b", c.Compute[0], red), "other host": member("c", c.Compute[1], red),
		"other network": member("d", c.Compute[1], blue)}
	stranger := c.boot("stranger", c.Compute[1], red)
	for where, to := range others {
		six, err := to.SLAAC(patience)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.SLAAC(patience); err != nil {
			t.Fatal(err)
		}
		for version, address := range map[string]netip.Addr{"IPv4": to.IP(), "IPv6": six} {
			t.Run(where+" "+version, func(t *testing.T) {
				if _, err := a.Reach(address, patience); err != nil {
					t.Fatal(err)
				}
				if out, err := a.Exec("ping", "-n", "-c", "3", "-i", "0.1", "-W", "1", "-s", "4000", address.String()); err != nil {
					t.Errorf("fragments: %v: %s", err, out)
				}
				for _, size := range []int{100, 1300, 5000} { // the last in fragments
					if err := lab.Eventually(patience, func() error { return a.Bounce("udp", address, sshPort, size) }); err != nil {
						t.Error(err)
					}
				}
				if err := a.Bounce("tcp", address, sshPort, 1<<18); err != nil {
					t.Error(err)
				}
				if err := stranger.Silent(address, 200*time.Millisecond); err != nil {
					t.Error(err)
				}
				if err := stranger.Bounce("udp", address, sshPort, 100); err == nil {
					t.Error("UDP from a stranger arrives")
				}
			})
		}
	}
	t.Run("nothing is left", func(t *testing.T) {
		for _, i := range append([]*lab.Instance{a, stranger}, others["same host"], others["other host"], others["other network"]) {
			i.Destroy()
		}
		for _, s := range subnets {
			c.API.Action("routers", router.ID(), "remove_router_interface", lab.Object{"subnet_id": s})
		}
		c.API.Delete("routers", router.ID())
		c.API.Delete("networks", red.ID())
		c.API.Delete("networks", blue.ID())
		for _, h := range c.Hosts() {
			for _, line := range h.WaitState(before[h], patience) {
				t.Errorf("%s: %s", h.Name, line)
			}
		}
	})
}
