package scenario

import (
	"errors"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"neutrino/test/lab"
)

var errNotYet = errors.New("not yet")

// Address groups, allowed address pairs and ports without port security, as the API is told.
func TestFilters(t *testing.T) { onBoth(t, testFilters) }

func testFilters(t *testing.T, c *cloud) {
	network, _ := c.network("red", "10.1.0.0/24")
	a, stranger := c.boot("a", c.Compute[0], network), c.boot("stranger", c.Compute[0], network)

	t.Run("address group", func(t *testing.T) {
		addresses := c.API.Create("address-groups", lab.Object{"name": "friends", "addresses": []string{a.IP().String() + "/32"}})
		change := func(action string, i *lab.Instance) {
			if _, err := c.API.Call(http.MethodPut, "/address-groups/"+addresses.ID()+"/"+action,
				lab.Object{"addresses": []string{i.IP().String() + "/32"}}); err != nil {
				t.Fatal(err)
			}
		}
		group := c.group("by address", lab.Object{"protocol": "tcp", "port_range_min": sshPort, "port_range_max": sshPort,
			"remote_address_group_id": addresses.ID()})
		b := c.Boot("b", c.Compute[1], lab.Object{"network_id": network.ID(), "security_groups": []string{group.ID()}})
		b.Echo(sshPort)
		open, err := c.connect(a.Node, b.IP())
		if err != nil {
			t.Fatal(err)
		}
		if err := stranger.Bounce("tcp", b.IP(), sshPort, 10); err == nil {
			t.Error("an address that is not in the group is let in")
		}
		change("add_addresses", stranger)
		if err := lab.Eventually(patience, func() error { return stranger.Bounce("tcp", b.IP(), sshPort, 10) }); err != nil {
			t.Error(err)
		}
		if err := lab.Exchange(open); err != nil {
			t.Errorf("the open connection: %v", err)
		}
		change("remove_addresses", a)
		if err := lab.Eventually(patience, func() error {
			if lab.ExchangeWithin(open, 500*time.Millisecond) == nil {
				return errNotYet
			}
			return nil
		}); err != nil {
			t.Error("a connection from an address that was removed goes on")
		}
	})
	stolen := netip.MustParseAddr("10.1.0.250")
	a.Run("ip addr add 10.1.0.250/32 dev eth0")
	spoof := func() bool { // answers come back too
		stream, err := a.PingStreamFrom(stolen, stranger.IP(), 20*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(200 * time.Millisecond)
		return stream.Stop().Answered > 0
	}
	arrives := func(want bool) {
		t.Helper()
		if err := lab.Eventually(patience, func() error {
			if spoof() != want {
				return errNotYet
			}
			return nil
		}); err != nil {
			t.Errorf("pings from %s: not %v", stolen, want)
		}
	}
	t.Run("allowed address pair", func(t *testing.T) {
		arrives(false)
		c.API.Update("ports", a.Port.ID(), lab.Object{"allowed_address_pairs": []lab.Object{{"ip_address": stolen.String()}}})
		arrives(true)
		c.API.Update("ports", a.Port.ID(), lab.Object{"allowed_address_pairs": []lab.Object{}})
		arrives(false)
	})
	t.Run("port security off", func(t *testing.T) {
		c.API.Update("ports", a.Port.ID(), lab.Object{"security_groups": []string{}, "port_security_enabled": false})
		arrives(true)
		if err := stranger.Bounce("tcp", a.IP(), sshPort, 10); err != nil {
			t.Error(err)
		}
		c.API.Update("ports", a.Port.ID(), lab.Object{"port_security_enabled": true})
		arrives(false)
	})
}
