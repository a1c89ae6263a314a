package scenario

import (
	"fmt"
	"testing"
	"time"

	"neutrino/test/lab"
)

// The process that is everything dies by kill -9: packets go on, its state is in the database, and another takes over.
func TestAllInOneKill(t *testing.T) {
	t.Run("linuxbridge", func(t *testing.T) { testAllInOneKill(t, allInOne(t)) })
	t.Run("openvswitch", func(t *testing.T) { testAllInOneKill(t, allInOne(t, withSwitch)) })
}

func testAllInOneKill(t *testing.T, c *cloud) {
	c.withRouter()
	a, b := c.boot("a", c.Compute[0], c.tenant), c.boot("b", c.Compute[0], c.tenant)
	fip := c.floatingIP(b.Port)
	c.settled(a, b)
	if _, err := c.Internet.Reach(fip, patience); err != nil {
		t.Fatal(err)
	}
	open, err := c.connect(c.Internet, fip)
	if err != nil {
		t.Fatal(err)
	}
	before := c.steady()
	streams := c.streams(t, a, b, fip)
	c.Network.Daemons["all-in-one"].Kill()
	if err := lab.Exchange(open); err != nil {
		t.Errorf("the open connection while nothing runs: %v", err)
	}
	c.Network.Daemons["all-in-one"].Restart()
	if err := c.Network.WaitHealthy("all-in-one", patience); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second) // the agents' first pass over everything
	for name, stream := range streams {
		if pings := stream.Stop(); pings.Lost() > 0 {
			t.Errorf("%s: %s", name, pings)
		}
	}
	c.compare(t, before)
	c.settled(a, c.boot("late", c.Compute[0], c.tenant))
}

// Addresses and options by DHCPv6, as the subnet's modes say.
func TestDHCPv6(t *testing.T) {
	c := allInOne(t)
	network, _ := c.network("six", "10.6.0.0/24")
	subnet := c.API.Create("subnets", lab.Object{"network_id": network.ID(), "ip_version": 6, "cidr": "fd06::/64",
		"ipv6_ra_mode": "dhcpv6-stateful", "ipv6_address_mode": "dhcpv6-stateful", "dns_nameservers": []string{"2620:fe::9"}})
	router := c.API.Create("routers", lab.Object{"name": "r"})
	c.API.Action("routers", router.ID(), "add_router_interface", lab.Object{"subnet_id": subnet.ID()})
	a := c.boot("a", c.Compute[0], network)
	want := ""
	for _, fixed := range a.Port.Objects("fixed_ips") {
		if fixed.Str("subnet_id") == subnet.ID() {
			want = fixed.Str("ip_address")
		}
	}
	got, options, err := a.DHCP6()
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != want {
		t.Errorf("DHCPv6 gave %s, the port has %s", got, want)
	}
	if dns := options["new_dhcp6_name_servers"]; dns != "2620:fe::9" {
		t.Errorf("DNS server %q", dns)
	}
	if err := lab.Eventually(patience, func() error { // the default route comes by router advertisement
		if routes := a.Run("ip -6 route show default"); routes == "" {
			return fmt.Errorf("no default route")
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// A subnet that comes when the network is already served gets DHCP too.
func TestSubnetAddedLater(t *testing.T) {
	c := allInOne(t)
	network, _ := c.network("grows", "10.7.0.0/24")
	first := c.boot("first", c.Compute[0], network)
	second := c.API.Create("subnets", lab.Object{"network_id": network.ID(), "ip_version": 4, "cidr": "10.8.0.0/24"})
	late := c.Boot("late", c.Compute[0], lab.Object{"network_id": network.ID(), "security_groups": []string{c.open.ID()},
		"fixed_ips": []lab.Object{{"subnet_id": second.ID()}}})
	if late.Boot.Address.Addr() != late.IP() || !late.Boot.Address.Masked().Contains(late.IP()) {
		t.Errorf("lease %v, the port has %s", late.Boot.Address, late.IP())
	}
	if _, err := first.DHCP(); err != nil {
		t.Errorf("the first subnet: %v", err)
	}
}
