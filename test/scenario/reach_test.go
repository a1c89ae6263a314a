package scenario

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"neutrino/test/lab"
)

// Everything that the demo shows, with the instances on two hypervisors and the router on a third machine.
func TestAcrossHosts(t *testing.T) { onBoth(t, testAcrossHosts) }

func testAcrossHosts(t *testing.T, c *cloud) {
	c.withRouter()
	subnet6 := c.API.Create("subnets", lab.Object{"network_id": c.tenant.ID(), "ip_version": 6, "cidr": "fd00:1::/64",
		"ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac"})
	c.API.Action("routers", c.router.ID(), "add_router_interface", lab.Object{"subnet_id": subnet6.ID()})
	a, b := c.boot("a", c.Compute[0], c.tenant), c.boot("b", c.Compute[1], c.tenant)

	t.Run("lease", func(t *testing.T) {
		if a.Boot.Address.Addr() != a.IP() || a.Boot.MTU != 1450 || strings.Join(a.Boot.DNS, " ") != "9.9.9.9" {
			t.Errorf("lease %+v of a port with %s", a.Boot, a.IP())
		}
	})
	t.Run("instances reach each other", func(t *testing.T) {
		if _, err := a.Reach(b.IP(), patience); err != nil {
			t.Error(err)
		}
		if _, err := c.connect(a.Node, b.IP()); err != nil {
			t.Error(err)
		}
		if c, err := a.Connect(b.IP(), 23); err == nil {
			t.Errorf("connected to %s, which no rule allows", c.RemoteAddr())
		}
	})
	t.Run("IPv6", func(t *testing.T) {
		if _, err := a.SLAAC(patience); err != nil {
			t.Fatal(err)
		}
		to, err := b.SLAAC(patience)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.Reach(to, patience); err != nil {
			t.Error(err)
		}
	})
	t.Run("internet", func(t *testing.T) {
		for _, i := range []*lab.Instance{a, b} {
			if _, err := i.Reach(lab.InternetIP, patience); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("metadata", func(t *testing.T) {
		for _, i := range []*lab.Instance{a, b} {
			if err := metadata(i); err != nil {
				t.Error(err)
			}
		}
		if n := c.Nova.Refused(); n > 0 {
			t.Errorf("%d requests with a wrong signature", n)
		}
	})
	t.Run("floating IP moves", func(t *testing.T) {
		f := c.API.Create("floatingips", lab.Object{"floating_network_id": c.public.ID(), "port_id": a.Port.ID()})
		address := netip.MustParseAddr(f.Str("floating_ip_address"))
		for _, i := range []*lab.Instance{a, b} {
			c.API.Update("floatingips", f.ID(), lab.Object{"port_id": i.Port.ID()})
			arriving := i.Capture("eth0", "tcp dst port 22 and src host "+lab.InternetIP.String())
			if err := lab.Eventually(patience, func() error {
				if _, err := c.Internet.Connect(address, sshPort); err != nil {
					return err
				}
				_, err := arriving.WaitFor("Flags [S]", 100*time.Millisecond)
				return err
			}); err != nil {
				t.Errorf("floating IP of %s: %v", i.Name, err)
			}
		}
		if _, err := c.Internet.Reach(address, patience); err != nil {
			t.Error(err)
		}
	})
}

// metadata asks the metadata service who the instance is.
func metadata(i *lab.Instance) error {
	id, err := i.Get("http://169.254.169.254/latest/meta-data/instance-id")
	if err != nil || id != i.ID {
		return fmt.Errorf("metadata tells %s, which is %s, that it is %q (%v)", i.Name, i.ID, id, err)
	}
	return nil
}
