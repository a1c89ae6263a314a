package scenario

import (
	"io"
	"net"
	"testing"
	"time"

	"neutrino/test/lab"
)

// A guest that is moved alive keeps its connections, also those in which it speaks first afterwards to one that lets nobody in.
func TestMigration(t *testing.T) { onBoth(t, testMigration) }

func testMigration(t *testing.T, c *cloud) {
	network, _ := c.network("red", "10.1.0.0/24")
	a := c.boot("a", c.Compute[0], network)
	listener := a.Listen(":0")
	port := listener.Addr().(*net.TCPAddr).Port
	c.API.Create("security-group-rules", lab.Object{"security_group_id": c.open.ID(), "direction": "ingress", "ethertype": "IPv4",
		"protocol": "tcp", "port_range_min": port, "port_range_max": port})
	out := c.group("out")
	var talks []func(when string)
	for name, host := range map[string]*lab.Host{"b": c.Compute[0], "c": c.Compute[1]} {
		i := c.Boot(name, host, lab.Object{"name": name, "network_id": network.ID(), "security_groups": []string{out.ID()}})
		client, err := i.Connected(a.IP(), port)
		if err != nil {
			t.Fatal(err)
		}
		server, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		talks = append(talks, func(when string) {
			t.Helper()
			if _, err := io.WriteString(server, when); err != nil {
				t.Fatal(err)
			}
			_ = client.SetReadDeadline(time.Now().Add(patience))
			got := make([]byte, len(when))
			if _, err := io.ReadFull(client, got); err != nil || string(got) != when {
				t.Errorf("%s hears %q %s: %v", name, got, when, err)
			}
		})
	}
	all := func(when string) {
		for _, talk := range talks {
			talk(when)
		}
	}
	all("before")
	a.Migrate(c.Compute[1])
	all("after the move")
	a.Migrate(c.Compute[0])
	all("back at home")
}
