package scenario

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"neutrino/test/lab"

	"github.com/mdlayher/ndp"
)

// An ARP request for a known address stays on its host, and broadcasts go to hosts with the network only.
func TestNoFlood(t *testing.T) { onBoth(t, testNoFlood) }

func testNoFlood(t *testing.T, c *cloud) {
	red, _ := c.network("red", "10.1.0.0/24")
	blue, _ := c.network("blue", "10.2.0.0/24")
	a, b := c.boot("a", c.Compute[0], red), c.boot("b", c.Compute[1], red)
	alone := c.boot("alone", c.Compute[0], blue) // DHCP makes the network node the only other host with blue
	c.settled(a, b)

	t.Run("ARP is answered locally", func(t *testing.T) {
		a.Run("ip neigh flush dev eth0")
		tunnel := c.Compute[0].CaptureTunnels()
		if _, err := a.Reach(b.IP(), patience); err != nil {
			t.Fatal(err)
		}
		if _, err := tunnel.WaitFor("ICMP echo request", patience); err != nil {
			t.Fatal("the capture does not see the pings:", err)
		}
		for _, frame := range tunnel.Stop() {
			if strings.Contains(frame, "ARP, Request who-has "+b.IP().String()) {
				t.Errorf("asked over the underlay: %s", frame)
			}
		}
	})
	t.Run("broadcasts reach hosts with the network only", func(t *testing.T) {
		with := c.Network.CaptureTunnels()
		without := c.Compute[1].CaptureTunnels()
		from, to := netip.AddrPortFrom(alone.IP(), 9999), netip.MustParseAddrPort("255.255.255.255:9999")
		if err := alone.SendUDP("eth0", from, to, []byte("anybody?")); err != nil {
			t.Fatal(err)
		}
		if _, err := with.WaitFor("255.255.255.255.9999", patience); err != nil {
			t.Error(err)
		}
		for _, frame := range without.Stop() {
			if strings.Contains(frame, "9999") {
				t.Errorf("flooded to a host without the network: %s", frame)
			}
		}
	})
}

// What a guest must not send does not arrive, neither on its own host nor over the tunnel.
func TestAntiSpoofing(t *testing.T) { onBoth(t, testAntiSpoofing) }

func testAntiSpoofing(t *testing.T, c *cloud) {
	network, _ := c.network("red", "10.1.0.0/24")
	evil := c.boot("evil", c.Compute[0], network)
	near, far := c.boot("near", c.Compute[0], network), c.boot("far", c.Compute[1], network)
	c.settled(near, far)
	c.settled(evil, near)
	stolen := netip.MustParseAddr("10.1.0.250")
	evil.Run("ip addr add 10.1.0.250/24 dev eth0")
	broadcast := netip.MustParseAddrPort("255.255.255.255:68")
	everyNode := netip.MustParseAddrPort("[ff02::1]:546")

	tests := []struct {
		name, filter string
		send         func() error
	}{
		{"source address", "src host 10.1.0.250 and icmp", func() error {
			stream, err := evil.PingStreamFrom(stolen, near.IP(), 20*time.Millisecond)
			if err == nil {
				defer stream.Stop()
				stream, err = evil.PingStreamFrom(stolen, far.IP(), 20*time.Millisecond)
			}
			if err == nil {
				stream.Stop()
			}
			return err
		}},
		{"ARP", "arp src host 10.1.0.250", func() error {
			return evil.SendFrame("eth0", lab.ARPAnnouncement(evil.MAC(), stolen))
		}},
		{"DHCP server", "udp dst port 68", func() error {
			return evil.SendUDP("eth0", netip.AddrPortFrom(evil.IP(), 67), broadcast, make([]byte, 300))
		}},
		{"DHCPv6 server", "udp dst port 546", func() error {
			return evil.SendUDP("eth0", netip.MustParseAddrPort("[::]:547"), everyNode, make([]byte, 100))
		}},
		{"router advertisement", "icmp6 and ip6[40] == 134", func() error { return evil.SendRouterAdvertisement("eth0") }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			left := evil.Capture("eth0", test.filter)
			captures := []*lab.Capture{near.Capture("eth0", test.filter), far.Capture("eth0", test.filter)}
			if err := test.send(); err != nil {
				t.Fatal(err)
			}
			if _, err := left.WaitFor(" > ", patience); err != nil {
				t.Fatal("the guest did not send it:", err)
			}
			for i, capture := range captures {
				if frames := capture.Stop(); len(frames) > 0 {
					t.Errorf("arrived at %s: %s", []string{"near", "far"}[i], frames[0])
				}
			}
		})
	}
	// What the port may use it may announce, on all hosts: neighbours must hear when an address moves to another port.
	six := netip.MustParseAddr("fd00::250")
	c.API.Update("ports", evil.Port.ID(), lab.Object{"allowed_address_pairs": []lab.Object{{"ip_address": stolen.String()}, {"ip_address": six.String()}}})
	for _, x := range []struct {
		filter      string
		frame, mark []byte
		marked      string // what tcpdump says of a mark only
	}{
		{"arp src host 10.1.0.250", lab.ARPAnnouncement(evil.MAC(), stolen),
			lab.ARPRequest(evil.MAC(), stolen, netip.MustParseAddr("10.1.0.251")), "10.1.0.251"},
		{"icmp6 and ip6[40] == 136 and src host fd00::250", lab.NeighbourAnnouncement(evil.MAC(), six),
			lab.NeighbourAnnouncement(evil.MAC(), six, ndp.NewMTU(1500)), "length 40"},
	} {
		filter, frame := x.filter, x.frame
		captures := map[string]*lab.Capture{"near": near.Capture("eth0", filter), "far": far.Capture("eth0", filter)}
		for where, capture := range captures {
			if err := lab.Eventually(patience, func() error {
				if err := evil.SendFrame("eth0", frame); err != nil {
					return err
				}
				_, err := capture.WaitFor(" > ", 200*time.Millisecond)
				return err
			}); err != nil {
				t.Errorf("%s does not hear an announcement (%s): %v", where, filter, err)
			}
		}
		arrived := func() (frames, marks int) {
			for _, line := range captures["far"].Frames() {
				if strings.Contains(line, x.marked) {
					marks++
				} else {
					frames++
				}
			}
			return frames, marks
		}
		// What was sent before a mark has arrived when the mark has.
		send := func(frame []byte, there func() bool) {
			if err := evil.SendFrame("eth0", frame); err != nil {
				t.Fatal(err)
			}
			if err := lab.Eventually(patience, func() error {
				if there() {
					return nil
				}
				return errNotYet
			}); err != nil {
				t.Errorf("an announcement does not arrive: %v", err)
			}
		}
		marks := func(n int) func() bool { return func() bool { _, m := arrived(); return m == n } }
		send(x.mark, marks(1))
		before, _ := arrived()
		send(frame, func() bool { now, _ := arrived(); return now > before })
		send(x.mark, marks(2))
		if now, _ := arrived(); now != before+1 {
			t.Errorf("%d frames arrive of one announcement (%s)", now-before, filter)
		}
		for _, capture := range captures {
			capture.Stop()
		}
	}
}

// Rules take effect at once for what is new, and leave alone what is still allowed.
func TestSecurityGroupChange(t *testing.T) { onBoth(t, testSecurityGroupChange) }

func testSecurityGroupChange(t *testing.T, c *cloud) {
	network, _ := c.network("red", "10.1.0.0/24")
	a, b := c.boot("a", c.Compute[0], network), c.boot("b", c.Compute[1], network)
	c.settled(a, b)
	open, err := c.connect(a.Node, b.IP())
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range c.API.List("security-group-rules", "security_group_id="+c.open.ID()+"&protocol=icmp") {
		c.API.Delete("security-group-rules", rule.ID())
	}
	if err := lab.Eventually(patience, func() error { return a.Silent(b.IP(), 100*time.Millisecond) }); err != nil {
		t.Error(err)
	}
	if err := lab.Exchange(open); err != nil {
		t.Errorf("the established connection: %v", err)
	}
	if _, err := c.connect(a.Node, b.IP()); err != nil {
		t.Errorf("a new connection: %v", err)
	}
	// Members of the group are a remote of their own.
	c.API.Create("security-group-rules", lab.Object{"security_group_id": c.open.ID(), "direction": "ingress",
		"ethertype": "IPv4", "protocol": "icmp", "remote_group_id": c.open.ID()})
	c.settled(a, b)
	stranger := c.Boot("stranger", c.Compute[0], lab.Object{"network_id": network.ID(), "name": "stranger"})
	if err := stranger.Silent(b.IP(), 500*time.Millisecond); err != nil {
		t.Errorf("not a member of the group: %v", err)
	}
	if _, err := c.connect(stranger.Node, b.IP()); err != nil {
		t.Error(fmt.Errorf("port 22 is open to all: %w", err))
	}
}
