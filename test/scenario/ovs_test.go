package scenario

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"neutrino/test/lab"
)

// switched starts two hypervisors and a network node that wire by Open vSwitch.
func switched(t *testing.T) *cloud {
	t.Helper()
	needRoot(t)
	l := lab.New(t)
	l.OpenVSwitch = true
	return opened(t, l.MultiHost(binary, 2))
}

// With the userspace datapath a dead ovs-vswitchd takes all traffic of its host along, and the devices of DHCP and
// routers. Everything is back soon after its restart.
func TestOpenVSwitchKilled(t *testing.T) {
	c := switched(t)
	c.withRouter()
	a, b := c.boot("a", c.Compute[0], c.tenant), c.boot("b", c.Compute[1], c.tenant)
	fip := c.floatingIP(b.Port)
	c.settled(a, b)
	for _, h := range []*lab.Host{c.Compute[0], c.Network} {
		t.Run(h.Name, func(t *testing.T) {
			streams := c.streams(t, a, b, fip)
			open, err := a.Connect(b.IP(), sshPort)
			if err != nil {
				t.Fatal(err)
			}
			before := c.steady()
			h.RestartSwitch()
			began := time.Now()
			for name, s := range map[string]struct {
				from *lab.Node
				to   netip.Addr
			}{"between hypervisors": {a.Node, b.IP()}, "out": {a.Node, lab.InternetIP}, "in": {c.Internet, fip}} {
				if _, err := s.from.Reach(s.to, 10*time.Second); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			t.Log("all paths work again after", time.Since(began).Round(time.Millisecond))
			for name, stream := range streams {
				t.Log(name, stream.Stop())
			}
			if err := lab.Exchange(open); err != nil {
				t.Errorf("the open connection: %v", err)
			}
			if _, err := a.DHCP(); err != nil {
				t.Error(err)
			}
			if id, err := a.Get("http://169.254.169.254/latest/meta-data/instance-id"); err != nil || id != a.ID {
				t.Errorf("metadata says %q, %v", id, err)
			}
			c.compare(t, before)
		})
	}
	fmt.Println()
}
