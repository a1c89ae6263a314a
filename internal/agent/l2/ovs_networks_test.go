package l2

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"neutrino/internal/linux/netns"
	"neutrino/internal/linux/veth"
	"neutrino/internal/rpc"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// physicalPort makes an instance the port of a VLAN or a flat network.
func physicalPort(s *fakeServer, i *instance, kind string, segment *int) {
	s.change(func() {
		p := s.Ports[i.device]
		p.Details.NetworkType, p.Details.SegmentationID, p.Details.PhysicalNetwork = kind, segment, ptr("physnet1")
		s.Ports[i.device] = p
	})
}

// Networks on a provider bridge reach what is outside with their VLAN there, and not each other.
func TestOpenVSwitchPhysicalNetworks(t *testing.T) {
	needRoot(t)
	sw := startSwitch(t, t.TempDir())
	sw.vsctl("add-br", "br-p1", "--", "set", "Bridge", "br-p1", "datapath_type="+datapath())
	r := newOVSRigOn(t, sw, func(c *Config) { c.BridgeMappings = map[string]string{"physnet1": "br-p1"} })
	a, b := newInstance(t, r.server, netA, 1, groupDefault), newInstance(t, r.server, netB, 2, groupDefault)
	physicalPort(r.server, a, "vlan", ptr(150))
	physicalPort(r.server, b, "flat", nil)
	outside := map[string]*instance{}
	for tag, i := range map[string]*instance{"tag=150": newInstance(t, r.server, netA, 3), "tag=[]": newInstance(t, r.server, netB, 4)} {
		i.plug()
		if err := veth.DisableChecksumOffload(i.ns, "eth0"); err != nil {
			t.Fatal(err)
		}
		sw.vsctl("add-port", "br-p1", i.device, "--", "set", "Port", i.device, tag)
		outside[tag] = i
	}
	physicalPort(r.server, outside["tag=150"], "vlan", ptr(150))
	physicalPort(r.server, outside["tag=[]"], "flat", nil)
	sw.plugNova(a)
	sw.plugNova(b)
	r.server.waitFor(t, a.device, b.device)
	a.reaches(outside["tag=150"].v4, true)
	b.reaches(outside["tag=[]"].v4, true)
	a.reaches(outside["tag=[]"].v4, false)
	a.reaches(b.v4, false)

	physicalPort(r.server, a, "vlan", ptr(151)) // the network gets another VLAN
	physicalPort(r.server, outside["tag=150"], "vlan", ptr(151))
	var args rpc.NetworkArgs
	args.Network.ID = netA
	if err := rpc.NetworkUpdate.Fanout(t.Context(), r.bus, args); err != nil {
		t.Fatal(err)
	}
	a.reaches(outside["tag=150"].v4, false)
	sw.vsctl("set", "Port", outside["tag=150"].device, "tag=151")
	a.reaches(outside["tag=150"].v4, true)

	// A provider bridge that somebody removes holds up nothing else, and is used again when it is back.
	sw.vsctl("del-br", "br-p1")
	c := newInstance(t, r.server, "cccc0000-0000-4000-8000-000000000000", 5, groupDefault)
	sw.plugNova(c)
	r.server.waitFor(t, a.device, b.device, c.device)
	sw.vsctl("add-br", "br-p1", "--", "set", "Bridge", "br-p1", "datapath_type="+datapath(), "--", "add-port", "br-p1", outside["tag=[]"].device)
	b.reaches(outside["tag=[]"].v4, true)

	// The configuration names another bridge: nothing of ours is left in the former one.
	r.stop()
	sw.vsctl("add-br", "br-p2", "--", "set", "Bridge", "br-p2", "datapath_type="+datapath())
	r.cfg.BridgeMappings = map[string]string{"physnet1": "br-p2"}
	r.start()
	eventually(t, "the former bridge is disconnected", func() bool {
		return !strings.Contains(sw.vsctl("list-ports", "br-p1"), "phy-") && !strings.Contains(sw.vsctl("list-ports", "br-int"), "int-br-p1")
	})
	eventually(t, "nothing is left of its flows", func() bool { // they go after the ports
		flows := sw.dump("br-p1")
		return !strings.Contains(flows, "mod_vlan") && !strings.Contains(flows, "set_field") && !strings.Contains(flows, "drop") && strings.Contains(flows, "NORMAL")
	})
	b.reaches(outside["tag=[]"].v4, false)
	sw.vsctl("del-port", outside["tag=[]"].device, "--", "add-port", "br-p2", outside["tag=[]"].device)
	b.reaches(outside["tag=[]"].v4, true)
}

// Devices that agents leave for services are plugged by this agent, and go with them.
func TestOpenVSwitchServices(t *testing.T) {
	r := newOVSRig(t)
	r.server.change(func() {
		r.server.Groups[groupClosed] = append(allOut(), rpc.SecurityGroupRule{Direction: "ingress", Ethertype: "IPv4", Protocol: "icmp", Stateful: true})
	})
	a, service := newInstance(t, r.server, netA, 1, groupClosed), newInstance(t, r.server, netA, 2)
	r.server.change(func() {
		p := r.server.Ports[service.device]
		p.Details.DeviceOwner = "network:dhcp"
		r.server.Ports[service.device] = p
	})
	service.plug()
	if err := veth.DisableChecksumOffload(service.ns, "eth0"); err != nil {
		t.Fatal(err)
	}
	r.sw.plugNova(a)
	r.server.waitFor(t, a.device, service.device)
	a.reaches(service.v4, true)
	service.reaches(a.v4, true)
	if out := r.sw.vsctl("get", "Interface", service.device, "external_ids:iface-id"); !strings.Contains(out, service.portID) {
		t.Errorf("iface-id %s", out)
	}
	if err := veth.Remove(service.device); err != nil {
		t.Fatal(err)
	}
	r.server.waitFor(t, a.device)
	eventually(t, "port removed", func() bool { return !strings.Contains(r.sw.vsctl("list-ports", "br-int"), service.device) })
	if !strings.Contains(r.sw.vsctl("list-ports", "br-int"), a.device) {
		t.Error("Nova's port was removed")
	}
}

// A port that Nova takes out of the bridge stays out, also when a pass is under way that began before and the device, a
// pair of veth devices as those of services are, is still there.
func TestOpenVSwitchTakenOut(t *testing.T) {
	r := newOVSRig(t)
	a, b := newInstance(t, r.server, netA, 1, groupDefault), newInstance(t, r.server, netA, 2, groupDefault)
	r.sw.plugNova(a)
	r.sw.plugNova(b)
	r.server.waitFor(t, a.device, b.device)
	hold := make(chan struct{})
	r.server.change(func() { r.server.hold = hold })
	release := sync.OnceFunc(func() { close(hold) })
	t.Cleanup(release)
	held := func() (is bool) {
		r.server.change(func() { is = r.server.held })
		return is
	}
	if err := rpc.PortUpdate.Fanout(t.Context(), r.bus, rpc.PortUpdateArgs{Port: rpc.Port{ID: b.portID}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pass waits for the server", held)
	r.sw.vsctl("del-port", "br-int", a.device)
	eventually(t, "the agent has seen it", func() bool {
		r.agent.inbox.mu.Lock()
		defer r.agent.inbox.mu.Unlock()
		return r.agent.inbox.news.links[a.device]
	})
	release()
	r.server.waitFor(t, b.device)
	if ports := r.sw.vsctl("list-ports", "br-int"); strings.Contains(ports, a.device) {
		t.Errorf("the port is back: %s", ports)
	}
}

// Nothing comes through to a port while it is switched off and on again that its groups do not allow.
func TestOpenVSwitchClosing(t *testing.T) {
	r := newOVSRig(t)
	a, b := newInstance(t, r.server, netA, 1, groupClosed), newInstance(t, r.server, netA, 2, groupClosed)
	r.server.change(func() {
		r.server.Groups[groupClosed] = []rpc.SecurityGroupRule{{Direction: "egress", Ethertype: "IPv4", Protocol: "udp", Stateful: true}}
	})
	r.sw.plugNova(a)
	r.sw.plugNova(b)
	r.server.waitFor(t, a.device, b.device)
	run(t, fmt.Sprintf("ip -n %s neigh replace %s lladdr %s dev eth0", a.ns, b.v4, b.mac))
	at := netip.AddrPortFrom(b.v4, 1000)
	var server, client *net.UDPConn
	open := func(ns string, f func() error) {
		if err := netns.Do(ns, f); err != nil {
			t.Fatal(err)
		}
	}
	open(b.ns, func() (err error) { server, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(at)); return err })
	open(a.ns, func() (err error) { client, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(at)); return err })
	sent := make(chan int)
	go func() {
		n := 0
		for ; ; n++ {
			if _, err := client.Write([]byte("x")); errors.Is(err, net.ErrClosed) {
				break
			}
			time.Sleep(200 * time.Microsecond)
		}
		sent <- n
	}()
	for range 10 {
		for _, tag := range []string{"4095", "1"} {
			r.details(b, func(d *rpc.DeviceDetails) { d.AdminStateUp = tag == "1" })
			if err := rpc.PortUpdate.Fanout(t.Context(), r.bus, rpc.PortUpdateArgs{Port: rpc.Port{ID: b.portID}}); err != nil {
				t.Fatal(err)
			}
			eventually(t, "VLAN "+tag, func() bool { return strings.TrimSpace(r.sw.vsctl("get", "Port", b.device, "tag")) == tag })
		}
	}
	_ = client.Close()
	if n := <-sent; n < 100 {
		t.Errorf("only %d packets were sent", n)
	}
	_ = server.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := server.Read(make([]byte, 8)); err == nil {
		t.Errorf("a packet of %d bytes came through", n)
	}
	_ = server.Close()
}

// A network's MTU that grows reaches taps that are plugged, also those that somebody else makes smaller. One that shrinks does not.
func TestOpenVSwitchMTU(t *testing.T) {
	r := newOVSRig(t)
	a := newInstance(t, r.server, netA, 1, groupDefault)
	r.sw.plugNova(a)
	r.server.waitFor(t, a.device)
	has := func(mtu string) {
		t.Helper()
		eventually(t, "MTU "+mtu, func() bool { return strings.Contains(run(t, "ip link show "+a.device), "mtu "+mtu+" ") })
	}
	has("1500") // the plug's
	for _, mtu := range []int{1600, 1550, 1700} {
		r.details(a, func(d *rpc.DeviceDetails) { d.MTU = mtu })
		if err := rpc.PortUpdate.Fanout(t.Context(), r.bus, rpc.PortUpdateArgs{Port: rpc.Port{ID: a.portID}}); err != nil {
			t.Fatal(err)
		}
		r.server.waitFor(t, a.device)
		has(map[int]string{1600: "1600", 1550: "1600", 1700: "1700"}[mtu])
	}
	run(t, "ip link set "+a.device+" mtu 1300")
	has("1700")
}

// A stateless group lets answers through only where a rule does.
func TestOpenVSwitchStateless(t *testing.T) {
	r := newOVSRig(t)
	r.server.change(func() {
		rule := func(direction string, port int) rpc.SecurityGroupRule {
			return rpc.SecurityGroupRule{Direction: direction, Ethertype: "IPv4", Protocol: "tcp", PortRangeMin: ptr(port), PortRangeMax: ptr(port)}
		}
		any := rpc.SecurityGroupRule{Direction: "egress", Ethertype: "IPv4"}
		r.server.Groups[groupClosed] = []rpc.SecurityGroupRule{any, rule("ingress", 1000), {Direction: "ingress", Ethertype: "IPv4", Protocol: "icmp", PortRangeMin: ptr(8)}}
	})
	a, b := newInstance(t, r.server, netA, 1, groupDefault), newInstance(t, r.server, netA, 2, groupClosed)
	r.members(groupDefault, a, b)
	r.sw.plugNova(a)
	r.sw.plugNova(b)
	r.server.waitFor(t, a.device, b.device)
	a.reaches(b.v4, true)
	b.reaches(a.v4, false) // it is let in there, but the answer is no echo request
	a.connect(b, 1000).echoes()
}

// A group that has no rules does not tell that it is stateless. Its first rule does, for all its ports.
func TestOpenVSwitchStatelessLater(t *testing.T) {
	r := newOVSRig(t)
	r.server.change(func() { r.server.Groups[groupClosed] = nil })
	a, b := newInstance(t, r.server, netA, 1, groupClosed), newInstance(t, r.server, netA, 2, groupClosed)
	c := newInstance(t, r.server, netA, 3, groupDefault)
	for _, i := range []*instance{a, b, c} {
		r.sw.plugNova(i)
	}
	r.server.waitFor(t, a.device, b.device, c.device)
	r.server.change(func() {
		r.server.Groups[groupClosed] = []rpc.SecurityGroupRule{{Direction: "egress", Ethertype: "IPv4"},
			{Direction: "ingress", Ethertype: "IPv4", Protocol: "icmp", PortRangeMin: ptr(8)}}
	})
	r.tell(rpc.SecurityGroupsRuleUpdated, groupClosed)
	c.reaches(a.v4, true)
	c.reaches(b.v4, true)
	a.reaches(b.v4, false) // no rule lets the answer in
	b.reaches(a.v4, false)
}

// toldFlow sends what is for an address that the server told of; what was learned has priority 1.
var toldFlow = regexp.MustCompile(`table=20,.* priority=2,`)

// Without l2 population hosts flood to all endpoints and learn from what comes back, whatever a server tells.
func TestOpenVSwitchLearning(t *testing.T) {
	needRoot(t)
	sw := startSwitch(t, t.TempDir())
	r := newOVSRigOn(t, sw, func(c *Config) { c.DisableL2Population = true })
	startOtherHost(t, func(host int) error { sw.setUnderlay(host); return nil }, otherSwitchFor(t))
	a := tunnelHost(t, r.server, 0)
	sw.plugNova(a)
	r.server.waitFor(t, a.device)
	if err := rpc.TunnelUpdate.Fanout(t.Context(), r.bus, rpc.TunnelArgs{TunnelIP: endpoints()[1].String(), TunnelType: "vxlan"}); err != nil {
		t.Fatal(err)
	}
	a.reaches(netip.MustParseAddr("10.0.0.2"), true)
	if flows := sw.dump("br-tun"); !strings.Contains(flows, "hard_timeout=300") || toldFlow.MatchString(flows) {
		t.Errorf("no learned flow, or one that the server told: %s", flows)
	}
}

// Whatever somebody removes or changes by hand is back soon, and logged.
func TestOpenVSwitchDrift(t *testing.T) {
	needRoot(t)
	sw := startSwitch(t, t.TempDir())
	sw.vsctl("add-br", "br-p1", "--", "set", "Bridge", "br-p1", "datapath_type="+datapath())
	r := newOVSRigOn(t, sw, func(c *Config) {
		c.VerifyInterval = 300 * time.Millisecond
		c.BridgeMappings = map[string]string{"physnet1": "br-p1"}
	})
	a, b := newInstance(t, r.server, netA, 1, groupDefault), newInstance(t, r.server, netA, 2, groupDefault)
	outside, off := newInstance(t, r.server, netB, 3), newInstance(t, r.server, netA, 5)
	r.details(off, func(d *rpc.DeviceDetails) { d.AdminStateUp = false })
	r.members(groupDefault, a, b)
	r.server.change(func() { r.server.FDB[netA] = remoteFDB() })
	c := newInstance(t, r.server, netB, 4, groupDefault)
	physicalPort(r.server, c, "flat", nil)
	physicalPort(r.server, outside, "flat", nil)
	outside.plug()
	if err := veth.DisableChecksumOffload(outside.ns, "eth0"); err != nil {
		t.Fatal(err)
	}
	sw.vsctl("add-port", "br-p1", outside.device)
	for _, i := range []*instance{a, b, c, off} {
		sw.plugNova(i)
	}
	r.server.waitFor(t, a.device, b.device, c.device)
	eventually(t, "a port that is off", func() bool { return strings.TrimSpace(sw.vsctl("get", "Port", off.device, "tag")) == "4095" })
	a.reaches(b.v4, true)
	c.reaches(outside.v4, true)
	eventually(t, "flows for a remote port", func() bool { return strings.Contains(sw.dump("br-tun"), "arp_tpa=10.0.0.99") })
	numbers := regexp.MustCompile(`cookie=0x[0-9a-f]+|in_port=[^ ,]+|output:[^ ,]+|duration=[^ ,]+|n_packets=\d+|n_bytes=\d+|idle_age=\d+|[a-z_]+=[0-9.]+s`)
	state := func() string {
		var lines []string
		for _, bridge := range []string{"br-int", "br-tun", "br-p1"} {
			for line := range strings.Lines(sw.dump(bridge)) {
				if strings.Contains(line, "table=") {
					lines = append(lines, bridge+numbers.ReplaceAllString(line, ""))
				}
			}
		}
		slices.Sort(lines)
		return strings.Join(lines, "") + sw.vsctl("--columns=name,tag", "--format=csv", "list", "Port", a.device, off.device) + sw.vsctl("list-ports", "br-int") + sw.vsctl("list-ports", "br-tun") +
			sw.vsctl("--if-exists", "--columns=options", "list", "Interface", "vxlan-c0a83202")
	}
	flow := func(bridge, match string) func() {
		return func() { sw.run("ovs-ofctl", "-O", "OpenFlow14", "del-flows", "unix:"+sw.path(bridge+".mgmt"), match) }
	}
	database := func(args ...string) func() { return func() { sw.vsctl(args...) } }
	r.rest() // all that the start brings about is done
	before := state()
	for _, x := range []struct {
		name, logged string
		do           func()
	}{
		{"flows of ports", "flows are missing", flow("br-int", "table=71")},
		{"all flows of the tunnel bridge", "flows are missing", flow("br-tun", "")},
		{"flows of the provider bridge", "flows are missing", flow("br-p1", "")},
		{"another VLAN", "not as it should be", database("set", "Port", a.device, "tag=77")},
		{"VLAN of a port that is off", "not as it should be", database("set", "Port", off.device, "tag=77")},
		{"no VLAN", "not as it should be", database("clear", "Port", a.device, "tag")},
		{"patch port", "are missing, they are made again", database("del-port", "patch-tun")},
		{"patch port of the provider bridge", "are missing, they are made again", database("del-port", "phy-br-p1")},
		{"tunnel", "are missing, they are made again", database("del-port", "vxlan-c0a83202")},
		{"remote end of a tunnel", "has other options", database("set", "Interface", "vxlan-c0a83202", "options:remote_ip=192.168.50.77")},
		{"tunnel bridge", "are missing, they are made again", database("del-br", "br-tun")},
	} {
		logged := r.logged.count(x.logged)
		x.do()
		eventually(t, x.name+" is logged", func() bool { return r.logged.count(x.logged) > logged })
		var now string
		for end := time.Now().Add(patient(patience)); now != before; {
			if now = state(); now != before && time.Now().After(end) {
				t.Fatalf("%s: not as before: %s", x.name, cmp.Diff(strings.Split(before, "\n"), strings.Split(now, "\n")))
			}
		}
	}
	a.reaches(b.v4, true)
	c.reaches(outside.v4, true)
}

// A tunnel that nothing needs any more is removed once everything is known. If somebody does that before, nothing of it is left, either.
func TestOpenVSwitchTunnelNobodyNeeds(t *testing.T) {
	needRoot(t)
	r := newOVSRigOn(t, startSwitch(t, t.TempDir()), func(c *Config) { c.StaleAfter, c.VerifyInterval = time.Hour, 300*time.Millisecond })
	a := newInstance(t, r.server, netA, 1, groupDefault)
	r.server.change(func() { r.server.FDB[netA] = remoteFDB() })
	r.sw.plugNova(a)
	r.server.waitFor(t, a.device)
	const tunnel = "vxlan-c0a83202"
	entrance := func() bool {
		number := strings.TrimSpace(r.sw.vsctl("--if-exists", "get", "Interface", tunnel, "ofport"))
		return number != "" && strings.Contains(r.sw.dump("br-tun"), "in_port="+number)
	}
	eventually(t, "the tunnel's flow", entrance)
	flows := strings.Count(r.sw.dump("br-tun"), "in_port=")
	if err := rpc.RemoveFDBEntries.Fanout(t.Context(), r.bus, rpc.FDBArgs{Entries: map[string]rpc.NetworkFDB{netA: remoteFDB()}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "nothing goes through the tunnel", func() bool { return !strings.Contains(r.sw.dump("br-tun"), "arp_tpa=10.0.0.99") })
	r.sw.vsctl("del-port", "br-tun", tunnel)
	eventually(t, "its flow is gone", func() bool { return strings.Count(r.sw.dump("br-tun"), "in_port=") == flows-1 })
	if r.logged.count("that was about to be removed is gone") != 1 {
		t.Error("that it is gone is not logged")
	}
}

// The host answers for addresses of which the server told, though nobody is there.
func TestOpenVSwitchResponder(t *testing.T) {
	r := newOVSRig(t)
	a := newInstance(t, r.server, netA, 1, groupDefault)
	r.server.change(func() { r.server.FDB[netA] = remoteFDB() })
	r.sw.plugNova(a)
	r.server.waitFor(t, a.device)
	eventually(t, "flows for a remote port", func() bool { return strings.Contains(r.sw.dump("br-tun"), "arp_tpa=10.0.0.99") })
	answered := []string{"10.0.0.99"}
	if datapath() == "netdev" {
		answered = append(answered, "fd00::63")
	}
	for _, known := range answered {
		eventually(t, known+" is resolved", func() bool {
			a.pings(netip.MustParseAddr(known))
			return strings.Contains(a.neighbours(), known+" lladdr fa:16:3e:00:00:63")
		})
	}
	for _, unknown := range []string{"10.0.0.98", "fd00::62"} {
		a.pings(netip.MustParseAddr(unknown))
		if n := a.neighbours(); strings.Contains(n, unknown+" lladdr") {
			t.Errorf("somebody answers for %s: %s", unknown, n)
		}
	}
}

// neighbours are what the instance's kernel knows of them.
func (i *instance) neighbours() (out string) {
	i.t.Helper()
	if err := netns.Do(i.ns, func() error {
		text, err := exec.Command("ip", "neigh", "show", "dev", "eth0").CombinedOutput()
		out = string(text)
		return err
	}); err != nil {
		i.t.Fatal(err)
	}
	return out
}

// What upstream's agent left is taken over: VLANs of networks stay, ports that were plugged dead come to life, and its
// flows go once ours are there; those of others in other tables stay.
func TestOpenVSwitchAdopts(t *testing.T) {
	needRoot(t)
	sw := startSwitch(t, t.TempDir())
	sw.vsctl("add-br", "br-int", "--", "set", "Bridge", "br-int", "datapath_type="+datapath(), "fail_mode=secure")
	flow := func(text string) {
		sw.run("ovs-ofctl", "-O", "OpenFlow14", "add-flow", "unix:"+sw.path("br-int.mgmt"), text)
	}
	flow("cookie=0x66b1c2d3e4f50617,table=60,priority=3,actions=NORMAL")
	flow("cookie=0x66b1c2d3e4f50617,table=0,priority=2,in_port=77,actions=drop")
	flow("cookie=0xabc,table=200,priority=2,actions=drop")
	r := newRig(t)
	sw.configure(&r.cfg)
	a, b := newInstance(t, r.server, netA, 1, groupDefault), newInstance(t, r.server, netA, 2, groupDefault)
	r.members(groupDefault, a, b)
	sw.plugNova(a)
	sw.plugNova(b)
	sw.vsctl("set", "Port", a.device, "tag=42", "other_config:net_uuid="+netA, "other_config:tag=42", "other_config:network_type=vxlan")
	sw.vsctl("set", "Port", b.device, "tag=4095", "vlan_mode=trunk", "trunks=4095")
	r.start()
	r.server.waitFor(t, a.device, b.device)
	a.reaches(b.v4, true)
	if tags := sw.vsctl("get", "Port", a.device, "tag", "--", "get", "Port", b.device, "tag", "trunks"); tags != "42\n42\n[]\n" {
		t.Errorf("VLANs %q", tags)
	}
	eventually(t, "flows of upstream's agent are gone", func() bool { return !strings.Contains(sw.dump("br-int"), "0x66b1c2d3e4f50617") })
	if !strings.Contains(sw.dump("br-int"), "cookie=0xabc,") {
		t.Error("a flow in a table of somebody else is gone")
	}
}

// Datagrams that need several packets obey rules about ports, from the first one of a connection on, in IPv4 and IPv6.
func TestOpenVSwitchFragments(t *testing.T) {
	r := newOVSRig(t)
	r.server.change(func() {
		for _, family := range []string{"IPv4", "IPv6"} {
			r.server.Groups[groupClosed] = append(r.server.Groups[groupClosed],
				rpc.SecurityGroupRule{Direction: "egress", Ethertype: family, Protocol: "udp", PortRangeMin: ptr(1000), PortRangeMax: ptr(1001), Stateful: true},
				rpc.SecurityGroupRule{Direction: "ingress", Ethertype: family, Protocol: "udp", PortRangeMin: ptr(1000), PortRangeMax: ptr(1000), Stateful: true})
		}
	})
	a, b := newInstance(t, r.server, netA, 1, groupClosed), newInstance(t, r.server, netA, 2, groupClosed)
	for _, i := range []*instance{a, b} {
		r.sw.plugNova(i)
	}
	r.server.waitFor(t, a.device, b.device)
	for _, to := range []netip.Addr{b.v4, b.v6} {
		for port, want := range map[int]bool{1000: true, 1001: false, 1002: false} {
			if want {
				eventually(t, "fragments", func() bool { return a.exchanges(t, b, to, port) })
			} else if a.exchanges(t, b, to, port) {
				t.Errorf("%s port %d is answered", to, port)
			}
		}
	}
}

// What a stateless port of the same host takes of a datagram of a stateful one does not depend on which of its packets comes last.
func TestOpenVSwitchFragmentsToStateless(t *testing.T) {
	r := newOVSRig(t)
	r.server.change(func() {
		for family, icmp := range map[string]string{"IPv4": "icmp", "IPv6": "ipv6-icmp"} {
			r.server.Groups[groupClosed] = append(r.server.Groups[groupClosed], rpc.SecurityGroupRule{Direction: "egress", Ethertype: family},
				rpc.SecurityGroupRule{Direction: "ingress", Ethertype: family, Protocol: icmp})
			r.server.Groups[groupDefault] = append(r.server.Groups[groupDefault], rpc.SecurityGroupRule{Direction: "egress", Ethertype: family, Stateful: true})
		}
	})
	a, b := newInstance(t, r.server, netA, 1, groupDefault), newInstance(t, r.server, netA, 2, groupClosed)
	r.sw.plugNova(a)
	r.sw.plugNova(b)
	r.server.waitFor(t, a.device, b.device)
	a.reaches(b.v6, true)
	for range 10 {
		for _, to := range []netip.Addr{b.v4, b.v6} {
			if a.exchanges(t, b, to, 1001) {
				t.Errorf("%s port 1001 is answered", to)
			}
		}
	}
}

// exchanges tells whether a datagram of three packets to another instance comes, and its echo comes back.
func (i *instance) exchanges(t *testing.T, to *instance, address netip.Addr, port int) bool {
	t.Helper()
	socket := func(ns string, open func() (net.Conn, error)) (c net.Conn) {
		if err := netns.Do(ns, func() (err error) { c, err = open(); return err }); err != nil {
			t.Fatal(err)
		}
		if err := c.SetDeadline(time.Now().Add(700 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		return c
	}
	at := netip.AddrPortFrom(address, uint16(port))
	server := socket(to.ns, func() (net.Conn, error) { return net.ListenUDP("udp", net.UDPAddrFromAddrPort(at)) }).(*net.UDPConn)
	client := socket(i.ns, func() (net.Conn, error) { return net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(at)) })
	defer func() { _, _ = client.Close(), server.Close() }()
	go func() {
		buf := make([]byte, 4096)
		if n, from, err := server.ReadFromUDPAddrPort(buf); err == nil {
			_, _ = server.WriteToUDPAddrPort(buf[:n], from)
		}
	}()
	sent := make([]byte, 3000)
	if _, err := client.Write(sent); err != nil {
		t.Fatal(err)
	}
	n, err := client.Read(make([]byte, 4096))
	return err == nil && n == len(sent)
}

// What is for a MAC address that the address pairs of two ports share, as that of a VRRP router, reaches both, and the flows for it stay.
func TestOpenVSwitchSharedMAC(t *testing.T) {
	needRoot(t)
	r := newOVSRigOn(t, startSwitch(t, t.TempDir()), func(c *Config) { c.VerifyInterval = time.Second })
	r.server.change(func() {
		r.server.Groups[groupOther] = append(allOut(), rpc.SecurityGroupRule{Direction: "ingress", Ethertype: "IPv4", Stateful: true})
	})
	router := net.HardwareAddr{0, 0, 0x5e, 0, 1, 7}
	a, b, c := newInstance(t, r.server, netA, 1, groupOther), newInstance(t, r.server, netA, 2, groupOther), newInstance(t, r.server, netA, 3, groupOther)
	r.server.change(func() {
		for _, i := range []*instance{a, b} {
			p := r.server.Ports[i.device]
			p.Filter.AddressPairs = []rpc.AddressPair{{IPAddress: "10.0.0.200", MACAddress: router.String()}}
			r.server.Ports[i.device] = p
		}
	})
	for _, i := range []*instance{a, b, c} {
		r.sw.plugNova(i)
	}
	r.server.waitFor(t, a.device, b.device, c.device)
	frame := ethernet(c.mac, router, unix.ETH_P_IP, udp(c.v4.String(), "10.0.0.200", 1, 2))
	for _, to := range []*instance{a, b} {
		c.receivedBy(to, [][]byte{frame}) // fails if it does not arrive
	}
	time.Sleep(2 * r.cfg.VerifyInterval)
	if n := r.logged.count("flows are missing"); n > 0 {
		t.Errorf("flows were missing %d times", n)
	}
}
