package scenario

import (
	"net/netip"
	"strings"
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

func TestOpenVSwitchSlice(t *testing.T) {
	c := switched(t)
	c.withRouter()
	a, b := c.boot("a", c.Compute[0], c.tenant), c.boot("b", c.Compute[1], c.tenant)
	c.settled(a, b)
	if _, err := a.Reach(lab.InternetIP, 5*time.Second); err != nil {
		t.Error(err)
	}
	if _, err := a.Connect(b.IP(), sshPort); err != nil {
		t.Error(err)
	}
	id, err := a.Get("http://169.254.169.254/latest/meta-data/instance-id")
	if err != nil || strings.TrimSpace(id) != a.ID {
		t.Errorf("metadata %q, %v", id, err)
	}
	f := c.API.Create("floatingips", lab.Object{"floating_network_id": c.public.ID(), "port_id": b.Port.ID()})
	if _, err := c.Internet.Connect(netip.MustParseAddr(f.Str("floating_ip_address")), sshPort); err != nil {
		t.Error(err)
	}
}
