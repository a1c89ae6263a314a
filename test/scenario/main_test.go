// Package scenario tests Neutrino as a whole: real daemons on simulated hypervisors, instances plugged as Nova plugs
// them, real packets. A scenario is a function like those in reach_test.go: start a cloud, boot instances, look.
package scenario

import (
	"maps"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"neutrino/test/lab"
)

// binary is what the scenarios start.
var binary string

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		os.Exit(m.Run()) // all are skipped
	}
	os.Exit(lab.WithBinary(func(path string) int {
		binary = path
		return m.Run()
	}))
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
}

// cloud is a lab.Cloud with what most scenarios want on it.
type cloud struct {
	*lab.Cloud
	t *testing.T

	open lab.Object // a security group that lets in pings and TCP to port 22

	public, tenant, subnet, router lab.Object // see withRouter
}

const sshPort = 22

// multiHost starts two hypervisors and a network node.
func multiHost(t *testing.T) *cloud {
	t.Helper()
	needRoot(t)
	return opened(t, lab.New(t).MultiHost(binary, 2))
}

// withSwitch has a lab's hosts wire by Open vSwitch.
func withSwitch(l *lab.Lab) {
	l.OpenVSwitch, l.KernelDatapath = true, os.Getenv("NEUTRINO_KERNEL_DATAPATH") != ""
}

// switched is multiHost with hosts that wire by Open vSwitch.
func switched(t *testing.T) *cloud {
	t.Helper()
	needRoot(t)
	l := lab.New(t)
	withSwitch(l)
	return opened(t, l.MultiHost(binary, 2))
}

// onBoth runs a scenario with hosts of either kind.
func onBoth(t *testing.T, scenario func(*testing.T, *cloud)) {
	t.Run("linuxbridge", func(t *testing.T) { scenario(t, multiHost(t)) })
	t.Run("openvswitch", func(t *testing.T) { scenario(t, switched(t)) })
}

// allInOne starts everything in one process on one host.
func allInOne(t *testing.T, adapt ...func(*lab.Lab)) *cloud {
	t.Helper()
	needRoot(t)
	l := lab.New(t)
	for _, f := range adapt {
		f(l)
	}
	return opened(t, l.AllInOne(binary))
}

func opened(t *testing.T, started *lab.Cloud) *cloud {
	t.Helper()
	c := &cloud{Cloud: started, t: t}
	c.open = c.group("open", lab.Object{"protocol": "icmp"}, lab.Object{"protocol": "ipv6-icmp", "ethertype": "IPv6"},
		lab.Object{"protocol": "tcp", "port_range_min": sshPort, "port_range_max": sshPort})
	return c
}

// group makes a security group that lets in what the rules say, IPv4 unless they say otherwise.
func (c *cloud) group(name string, ingress ...lab.Object) lab.Object {
	c.t.Helper()
	group := c.API.Create("security-groups", lab.Object{"name": name})
	for _, rule := range ingress {
		attributes := lab.Object{"security_group_id": group.ID(), "direction": "ingress", "ethertype": "IPv4"}
		maps.Copy(attributes, rule)
		c.API.Create("security-group-rules", attributes)
	}
	return group
}

// network makes a tenant network with one IPv4 subnet, of length 24. Addresses from 250 on are given to nobody.
func (c *cloud) network(name, cidr string) (network, subnet lab.Object) {
	c.t.Helper()
	base := strings.TrimSuffix(cidr, "0/24")
	network = c.API.Create("networks", lab.Object{"name": name})
	subnet = c.API.Create("subnets", lab.Object{"network_id": network.ID(), "ip_version": 4, "cidr": cidr,
		"allocation_pools": []lab.Object{{"start": base + "2", "end": base + "249"}}, "dns_nameservers": []string{"9.9.9.9"}})
	return network, subnet
}

// withRouter makes the network "tenant", 10.0.0.0/24, the external network and a router between them.
func (c *cloud) withRouter() {
	c.t.Helper()
	c.public = c.API.Create("networks", lab.Object{"name": "public", "router:external": true,
		"provider:network_type": "flat", "provider:physical_network": "public"})
	c.API.Create("subnets", lab.Object{"network_id": c.public.ID(), "ip_version": 4, "cidr": lab.PublicCIDR,
		"gateway_ip": lab.InternetIP.String(), "enable_dhcp": false})
	c.tenant, c.subnet = c.network("tenant", "10.0.0.0/24")
	c.router = c.API.Create("routers", lab.Object{"name": "edge",
		"external_gateway_info": lab.Object{"network_id": c.public.ID()}})
	c.API.Action("routers", c.router.ID(), "add_router_interface", lab.Object{"subnet_id": c.subnet.ID()})
}

// boot starts an instance with an echo service on port 22.
func (c *cloud) boot(name string, host *lab.Host, network lab.Object) *lab.Instance {
	c.t.Helper()
	i := c.Boot(name, host, lab.Object{"name": name, "network_id": network.ID(), "security_groups": []string{c.open.ID()}})
	i.Echo(sshPort)
	return i
}

// patience bounds the wait for what takes a second on a machine that has nothing else to do.
const patience = time.Minute

// connect makes a connection to the echo service on port 22, which is open. It is closed with the test.
func (c *cloud) connect(from *lab.Node, to netip.Addr) (net.Conn, error) {
	conn, err := from.Connected(to, sshPort)
	if err != nil {
		return nil, err
	}
	return conn, lab.Exchange(conn)
}

// settled waits until pings between the instances work, both ways.
func (c *cloud) settled(a, b *lab.Instance) {
	c.t.Helper()
	for _, p := range []struct{ from, to *lab.Instance }{{a, b}, {b, a}} {
		if _, err := p.from.Reach(p.to.IP(), patience); err != nil {
			c.t.Fatal(err)
		}
	}
}
