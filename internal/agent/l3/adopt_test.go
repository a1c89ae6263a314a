package l3

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"neutrino/internal/linux/netns"
	"neutrino/internal/linux/sandbox"
	"neutrino/internal/rpc"

	"github.com/vishvananda/netlink"
)

// upstreamRules are rules as upstream's agent makes them for aRouter with one floating IP, and one of the metering agent.
const upstreamRules = `*raw
:neutron-l3-agent-PREROUTING - [0:0]
-A PREROUTING -j neutron-l3-agent-PREROUTING
COMMIT
*mangle
:neutron-l3-agent-PREROUTING - [0:0]
:neutron-l3-agent-mark - [0:0]
:neutron-l3-agent-scope - [0:0]
-A PREROUTING -j neutron-l3-agent-PREROUTING
-A neutron-l3-agent-PREROUTING -j neutron-l3-agent-mark
-A neutron-l3-agent-PREROUTING -j neutron-l3-agent-scope
-A neutron-l3-agent-mark -i qg-eeeeeeee-ee -j MARK --set-xmark 0x2/0xffff
-A neutron-l3-agent-scope -i qg-eeeeeeee-ee -j MARK --set-xmark 0x4000000/0xffff0000
-A neutron-l3-agent-scope -i qr-22222222-22 -j MARK --set-xmark 0x4000000/0xffff0000
-A neutron-l3-agent-scope -i qr-11111111-11 -j MARK --set-xmark 0x4000000/0xffff0000
COMMIT
*nat
:neutron-l3-agent-OUTPUT - [0:0]
:neutron-l3-agent-POSTROUTING - [0:0]
:neutron-l3-agent-PREROUTING - [0:0]
:neutron-l3-agent-float-snat - [0:0]
:neutron-l3-agent-snat - [0:0]
:neutron-postrouting-bottom - [0:0]
-A PREROUTING -j neutron-l3-agent-PREROUTING
-A OUTPUT -j neutron-l3-agent-OUTPUT
-A POSTROUTING -j neutron-l3-agent-POSTROUTING
-A POSTROUTING -j neutron-postrouting-bottom
-A neutron-l3-agent-OUTPUT -d 203.0.113.10/32 -j DNAT --to-destination 10.0.0.5
-A neutron-l3-agent-POSTROUTING ! -o qg-eeeeeeee-ee -m conntrack ! --ctstate DNAT -j ACCEPT
-A neutron-l3-agent-PREROUTING -d 203.0.113.10/32 -j DNAT --to-destination 10.0.0.5
-A neutron-l3-agent-PREROUTING -d 203.0.113.99/32 -j DNAT --to-destination 10.0.0.99
-A neutron-l3-agent-float-snat -s 10.0.0.5/32 -j SNAT --to-source 203.0.113.10 --random-fully
-A neutron-l3-agent-snat -j neutron-l3-agent-float-snat
-A neutron-l3-agent-snat -o qg-eeeeeeee-ee -j SNAT --to-source 203.0.113.2 --random-fully
-A neutron-postrouting-bottom -m comment --comment "Perform source NAT on outgoing traffic." -j neutron-l3-agent-snat
COMMIT
*filter
:neutron-filter-top - [0:0]
:neutron-l3-agent-FORWARD - [0:0]
:neutron-l3-agent-local - [0:0]
:neutron-l3-agent-scope - [0:0]
:neutron-meter-FORWARD - [0:0]
:neutron-meter-l-12345678-12 - [0:0]
-A FORWARD -j neutron-filter-top
-A FORWARD -j neutron-l3-agent-FORWARD
-A FORWARD -j neutron-meter-FORWARD
-A neutron-filter-top -j neutron-l3-agent-local
-A neutron-l3-agent-FORWARD -j neutron-l3-agent-scope
-A neutron-l3-agent-scope -o qr-11111111-11 -m mark ! --mark 0x4000000/0xffff0000 -j DROP
-A neutron-meter-FORWARD -j neutron-meter-l-12345678-12
COMMIT
`

const upstreamRules6 = `*mangle
:neutron-l3-agent-PREROUTING - [0:0]
:neutron-l3-agent-scope - [0:0]
-A PREROUTING -j neutron-l3-agent-PREROUTING
-A neutron-l3-agent-PREROUTING -j neutron-l3-agent-scope
-A neutron-l3-agent-scope -i qr-11111111-11 -j MARK --set-xmark 0x4000000/0xffff0000
COMMIT
*filter
:neutron-filter-top - [0:0]
:neutron-l3-agent-FORWARD - [0:0]
:neutron-l3-agent-local - [0:0]
-A FORWARD -j neutron-filter-top
-A FORWARD -j neutron-l3-agent-FORWARD
-A neutron-filter-top -j neutron-l3-agent-local
COMMIT
`

// upstreamRouter makes what upstream's agent leaves when it ends: namespace, devices, addresses, rules and helpers.
func upstreamRouter(t *testing.T) (helpers []chan struct{}) { // closed when one has ended
	t.Helper()
	const ns = namespacePrefix + routerID
	_, err := netns.Ensure(ns)
	must(t, err)
	in(t, ns, "sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2 net.ipv6.conf.all.forwarding=1")
	for _, d := range []struct{ inner, mac, addresses string }{
		{"qr-11111111-11", "fa:16:3e:00:00:01", "10.0.0.1/24 fd00:a::1/64"},
		{"qr-22222222-22", "fa:16:3e:00:00:02", "10.0.1.1/24 fd00:b::1/64"},
		{"qr-99999999-99", "fa:16:3e:00:00:99", "10.0.9.1/24"}, // of a port that is gone
		{"qg-eeeeeeee-ee", "fa:16:3e:00:00:0e", "203.0.113.2/24 203.0.113.10/32 203.0.113.99/32"},
	} {
		outer := "tap" + d.inner[len(internalPrefix):]
		in(t, "", fmt.Sprintf("ip link add %s mtu 1450 type veth peer name %s address %s mtu 1450 netns %s", outer, d.inner, d.mac, ns))
		in(t, "", "ip link set "+outer+" up")
		in(t, ns, "ip link set "+d.inner+" up")
		for _, a := range strings.Fields(d.addresses) {
			in(t, ns, "ip addr add "+a+" dev "+d.inner+map[bool]string{true: " nodad"}[strings.Contains(a, ":")])
		}
	}
	in(t, ns, "ip route add default via 203.0.113.1 dev qg-eeeeeeee-ee proto static")
	in(t, ns, "ip route add 192.168.77.0/24 via 10.0.0.6 proto static")
	for program, rules := range map[string]string{"iptables-restore": upstreamRules, "ip6tables-restore": upstreamRules6} {
		restore := exec.Command("ip", "netns", "exec", ns, program, "-n")
		restore.Stdin = strings.NewReader(rules)
		if out, err := restore.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", program, err, out)
		}
	}
	dir := t.TempDir()
	radvd := filepath.Join(dir, routerID+".radvd.conf")
	must(t, os.WriteFile(radvd, []byte("interface qr-11111111-11 { AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4;\n"+
		"prefix fd00:a::/64 { AdvOnLink on; AdvAutonomous on; }; };\n"), 0o444))
	haproxy := filepath.Join(dir, routerID+".conf")
	must(t, os.WriteFile(haproxy, []byte("defaults\n mode http\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n"+
		"listen listener\n bind 0.0.0.0:9697\n server metadata 127.0.0.1:1\n"), 0o444))
	for _, command := range [][]string{{"radvd", "-n", "-C", radvd, "-p", filepath.Join(dir, routerID+".pid.radvd"), "-m", "stderr"}, {"haproxy", "-f", haproxy}} {
		c := exec.Command("ip", append([]string{"netns", "exec", ns}, command...)...)
		must(t, c.Start())
		done := make(chan struct{})
		go func() { _ = c.Wait(); close(done) }()
		t.Cleanup(func() { _ = c.Process.Kill(); <-done })
		isRunning(t, c, command[0])
		helpers = append(helpers, done)
	}
	return helpers
}

// isRunning waits until a process is what ip(8) was told to make of it: before, nobody sees of which namespace it is.
func isRunning(t *testing.T, c *exec.Cmd, program string) {
	t.Helper()
	eventually(t, program+" runs", func() bool {
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", c.Process.Pid))
		return err == nil && string(name) == program+"\n"
	})
}

func TestAdoptsUpstreamsRouter(t *testing.T) {
	r := dual(aRouter())
	r.Interfaces[0].Subnets[1].IPv6RAMode = ptr("slaac")
	r.FloatingIPs = []rpc.FloatingIP{fip("fip", "203.0.113.10", "10.0.0.5")}
	s := newSite(t, r)
	for _, program := range []string{"iptables-restore", "radvd", "haproxy"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("needs %s", program)
		}
	}
	helpers := upstreamRouter(t)
	s.internet.reaches("203.0.113.10:7")
	s.a2.reaches("203.0.113.1:7")
	in6 := func() bool { return linkHasDefault6(t, s.a1) }
	eventually(t, "a default route from upstream's advertisement", in6)
	inside, _, err := s.internet.dial("203.0.113.10:7")
	must(t, err)
	outside, _, err := s.a2.dial("203.0.113.1:7")
	must(t, err)
	const ns = namespacePrefix + routerID
	links := in(t, ns, "ip -o link show qg-eeeeeeee-ee") + in(t, ns, "ip -o link show qr-11111111-11")
	lossless := sandbox.Lossless(t, s.a2.name, "203.0.113.1")

	md := &listeners{t: t, at: map[string]string{}}
	a := run(t, s.server, md)
	for n := range 40 { // connections that begin meanwhile
		if c, source, err := s.a2.dialWithin("203.0.113.1:7", time.Second); err != nil || source != "203.0.113.2" {
			t.Errorf("connection %d: source %s, %v", n, source, err)
		} else {
			c.Close()
		}
		if c, _, err := s.internet.dialWithin("203.0.113.10:7", time.Second); err != nil {
			t.Errorf("connection %d by floating IP: %v", n, err)
		} else {
			c.Close()
		}
		if !in6() {
			t.Error("no IPv6 default route")
		}
	}
	a.settled()
	lossless()
	if !alive(inside) || !alive(outside) {
		t.Error("a connection was cut")
	}
	if now := in(t, ns, "ip -o link show qg-eeeeeeee-ee") + in(t, ns, "ip -o link show qr-11111111-11"); now != links {
		t.Errorf("links before and after:\n%s\n%s", links, now)
	}
	rules := in(t, ns, "nft list ruleset")
	if strings.Contains(rules, "neutron-l3-agent") || !strings.Contains(rules, "neutron-meter-l-12345678-12") ||
		strings.Contains(rules, "table ip6") || strings.Contains(rules, "table ip nat") || strings.Contains(rules, "table ip mangle") {
		t.Error(rules)
	}
	s.internet.sees("203.0.113.10:7", "203.0.113.1")
	s.a1.sees("203.0.113.1:7", "203.0.113.10")
	addresses := in(t, ns, "ip -o addr") + in(t, ns, "ip route")
	for _, gone := range []string{"203.0.113.99", "10.0.9.1", "192.168.77.0"} {
		if strings.Contains(addresses, gone) {
			t.Errorf("%s is left:\n%s", gone, addresses)
		}
	}
	allEnded(t, helpers)
	s.a1.reaches("169.254.169.254:80")
	before := a.Writes()
	a.queue.add(work{id: routerID, check: true}, byCheck)
	a.settled()
	if n := a.Writes() - before; n != 0 {
		t.Errorf("%d writes after the adoption", n)
	}
}

func allEnded(t *testing.T, helpers []chan struct{}) {
	t.Helper()
	for _, done := range helpers {
		select {
		case <-done:
		case <-time.After(patience):
			t.Error("a helper of upstream's agent still runs")
		}
	}
}

// A router that upstream's agent left and that is not on this host any more goes, with all that runs in it. Helpers of
// other namespaces stay, whatever their arguments say.
func TestUpstreamsStaleRouterGoes(t *testing.T) {
	needHost(t)
	t.Cleanup(func() { removeRouters(t) })
	helpers := upstreamRouter(t)
	const elsewhere = "elsewhere"
	_, err := netns.Ensure(elsewhere)
	must(t, err)
	t.Cleanup(func() { _ = netns.Delete(elsewhere) })
	haproxy := filepath.Join(t.TempDir(), routerID+".conf")
	must(t, os.WriteFile(haproxy, []byte("defaults\n timeout connect 1s\n timeout client 1s\n timeout server 1s\nlisten x\n bind 127.0.0.1:1234\n"), 0o444))
	other := exec.Command("ip", "netns", "exec", elsewhere, "haproxy", "-f", haproxy)
	must(t, other.Start())
	t.Cleanup(func() { _ = other.Process.Kill(); _ = other.Wait() })
	isRunning(t, other, "haproxy")
	run(t, newServer(), nil).settled()
	if netns.Exists(namespacePrefix+routerID) || linkExists("tap11111111-11") || linkExists("tapeeeeeeee-ee") {
		t.Error("something is left")
	}
	allEnded(t, helpers)
	if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", other.Process.Pid)); err != nil || string(name) != "haproxy\n" {
		t.Errorf("a process of another namespace was ended: %q, %v", name, err)
	}
	if state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", other.Process.Pid)); err != nil || strings.Contains(string(state), ") Z ") {
		t.Errorf("a process of another namespace was ended: %s, %v", state, err)
	}
}

// linkHasDefault6 tells whether the machine has an IPv6 default route.
func linkHasDefault6(t *testing.T, m machine) (has bool) {
	m.with(func(h *netlink.Handle, eth0 netlink.Link) {
		routes, err := h.RouteList(eth0, netlink.FAMILY_V6)
		must(t, err)
		for _, r := range routes {
			has = has || destination(r, netlink.FAMILY_V6).Bits() == 0
		}
	})
	return has
}
