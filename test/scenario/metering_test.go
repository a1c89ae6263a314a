package scenario

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"neutrino/test/lab"
)

// What instances send to the outside is published as l3.meter, to the byte, also when the processes that count and route
// are killed.
func TestMetering(t *testing.T) {
	needRoot(t)
	const options = `[DEFAULT]
service_plugins = router,metering
driver = iptables
measure_interval = 1
report_interval = 2
[oslo_messaging_notifications]
driver = log
`
	t.Run("all-in-one", func(t *testing.T) {
		meter(t, opened(t, lab.New(t).AllInOne(binary, options)), "all-in-one")
	})
	t.Run("daemons", func(t *testing.T) {
		c := opened(t, lab.New(t).MultiHost(binary, 1, options))
		c.StartDaemon(c.Network, binary, "metering-agent")
		meter(t, c, "metering-agent", "l3-agent")
	})
}

// meter sends packets while the first of the daemons, which counts, and the others are killed.
func meter(t *testing.T, c *cloud, daemons ...string) {
	c.withRouter()
	a := c.boot("a", c.Compute[0], c.tenant)
	if _, err := a.Reach(lab.InternetIP, patience); err != nil { // before anything counts: nobody knows how many pings that takes
		t.Fatal(err)
	}
	label := c.API.Create("metering/metering-labels", lab.Object{"name": "sold"})
	c.API.Create("metering/metering-label-rules", lab.Object{"metering_label_id": label.ID(), "direction": "egress",
		"destination_ip_prefix": lab.InternetIP.String() + "/32"})
	if err := lab.Eventually(patience, func() error { // the agent has seen the rule
		rules, err := c.Network.Exec("ip", "netns", "exec", "qrouter-"+c.router.ID(), "nft", "list", "table", "inet", "neutrino-metering")
		if err == nil && !strings.Contains(rules, lab.InternetIP.String()) {
			err = fmt.Errorf("no rule in %s", rules)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	agents := c.API.List("agents", "binary=neutron-metering-agent")
	if len(agents) != 1 || agents[0].Str("agent_type") != "Metering agent" || agents[0].Str("topic") != "metering_agent" {
		t.Errorf("agents: %v", agents)
	}
	daemon := c.Network.Daemons[daemons[0]]
	send(t, a, lab.InternetIP, 40, 500)
	for _, name := range daemons {
		c.Network.Daemons[name].Kill()
	}
	send(t, a, lab.InternetIP, 60, 1000) // nobody looks
	for _, name := range daemons {
		c.Network.Daemons[name].Restart()
		if err := c.Network.WaitHealthy(name, patience); err != nil {
			t.Fatal(err)
		}
	}
	const wantPackets, wantBytes = 100, 40*528 + 60*1028
	if err := lab.Eventually(patience, func() error {
		if packets, bytes := published(t, daemon.Log(), label.ID()); packets != wantPackets || bytes != wantBytes {
			return fmt.Errorf("published %d packets of %d bytes, sent were %d of %d", packets, bytes, wantPackets, wantBytes)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// published adds up the notifications of a label in a log.
func published(t *testing.T, log, label string) (packets, bytes int) {
	t.Helper()
	for line := range strings.Lines(log) {
		_, text, ok := strings.Cut(line, "oslo.messaging.notification.l3.meter ")
		if !ok {
			continue
		}
		var n struct {
			Publisher string `json:"publisher_id"`
			Payload   struct {
				Label   string `json:"label_id"`
				Packets int    `json:"pkts"`
				Bytes   int    `json:"bytes"`
			} `json:"payload"`
		}
		if err := json.Unmarshal([]byte(text), &n); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if n.Payload.Label == label && strings.HasPrefix(n.Publisher, "metering.") {
			packets, bytes = packets+n.Payload.Packets, bytes+n.Payload.Bytes
		}
	}
	return packets, bytes
}

// send sends UDP datagrams.
func send(t *testing.T, from *lab.Instance, to netip.Addr, count, size int) {
	t.Helper()
	if err := from.Do(func() error {
		c, err := net.ListenPacket("udp4", ":0") // not connected: that nobody listens is no error
		if err != nil {
			return err
		}
		defer c.Close()
		for range count {
			if _, err := c.WriteTo(make([]byte, size), net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, 9999))); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}
