package l2

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"neutrino/internal/agent/l2/openvswitch"
	"neutrino/internal/linux/netns"
	"neutrino/internal/linux/veth"
	"neutrino/internal/rpc"

	"github.com/vishvananda/netlink"
)

// vswitch is an Open vSwitch of the test's own.
type vswitch struct {
	t   testing.TB
	dir string
}

func startSwitch(t testing.TB, dir string) *vswitch {
	t.Helper()
	for _, program := range []string{"ovsdb-server", "ovs-vswitchd", "ovs-ofctl", "ovs-vsctl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("needs Open vSwitch: ", program)
		}
	}
	s := &vswitch{t, dir}
	s.run("ovsdb-tool", "create", s.path("conf.db"), "/usr/share/openvswitch/vswitch.ovsschema")
	s.run("ovsdb-server", s.path("conf.db"), "--remote=punix:"+s.path("db.sock"), "--unixctl="+s.path("ovsdb.ctl"), "--pidfile="+s.path("ovsdb.pid"),
		"--log-file="+s.path("ovsdb.log"), "--detach", "--no-chdir")
	t.Cleanup(func() { s.kill("ovsdb.pid") })
	s.vsctl("--no-wait", "init")
	s.startDaemon()
	t.Cleanup(func() {
		s.kill("vswitchd.pid")
		if datapath() == "system" { // the kernel's outlives its daemon
			_ = exec.Command("ovs-dpctl", "del-dp", "ovs-system").Run()
		}
		for _, name := range []string{"br-int", "br-tun", "br-phy", "br-p1", "ovs-netdev", "vxlan_sys_4789", "gre_sys", "genev_sys_6081"} { // so do these
			if l, err := netlink.LinkByName(name); err == nil {
				_ = netlink.LinkDel(l)
			}
		}
	})
	return s
}

// datapath is the userspace's, unless NEUTRINO_KERNEL_DATAPATH is set: many kernels do not have one.
func datapath() string {
	if os.Getenv("NEUTRINO_KERNEL_DATAPATH") != "" {
		return "system"
	}
	return "netdev"
}

func (s *vswitch) path(name string) string { return filepath.Join(s.dir, name) }

func (s *vswitch) startDaemon() {
	s.t.Helper()
	s.run("ovs-vswitchd", "unix:"+s.path("db.sock"), "--unixctl="+s.path("vswitchd.ctl"), "--pidfile="+s.path("vswitchd.pid"),
		"--log-file="+s.path("vswitchd.log"), "--detach", "--no-chdir")
}

func (s *vswitch) run(name string, args ...string) string {
	s.t.Helper()
	c := exec.Command(name, args...)
	c.Env = append(os.Environ(), "OVS_RUNDIR="+s.dir, "OVS_LOGDIR="+s.dir, "OVS_DBDIR="+s.dir)
	out, err := c.CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (s *vswitch) vsctl(args ...string) string {
	s.t.Helper()
	return s.run("ovs-vsctl", append([]string{"--db=unix:" + s.path("db.sock")}, args...)...)
}

func (s *vswitch) dump(bridge string) string {
	out, _ := exec.Command("ovs-ofctl", "-O", "OpenFlow14", "dump-flows", "unix:"+s.path(bridge+".mgmt")).CombinedOutput()
	return string(out)
}

// kill ends a daemon and waits until it is gone.
func (s *vswitch) kill(pidfile string) {
	text, err := os.ReadFile(s.path(pidfile))
	if err != nil {
		return
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
	for { // what is not reaped yet is dead all the same
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	_ = os.Remove(s.path(pidfile))
}

// plugNova puts an instance's device into the integration bridge as os-vif does.
func (s *vswitch) plugNova(i *instance) *instance {
	s.t.Helper()
	i.plug()
	if err := veth.DisableChecksumOffload(i.ns, "eth0"); err != nil { // the userspace datapath does not complete checksums
		s.t.Fatal(err)
	}
	s.addPort(i)
	return i
}

func (s *vswitch) addPort(i *instance) {
	s.t.Helper()
	s.vsctl("--may-exist", "add-port", "br-int", i.device, "--", "set", "Interface", i.device, "external_ids:iface-id="+i.portID,
		"external_ids:iface-status=active", "external_ids:attached-mac="+i.mac.String())
}

func (s *vswitch) configure(cfg *Config) {
	cfg.OpenVSwitch = &openvswitch.Config{Endpoint: "unix:" + s.path("db.sock"), RunDir: s.dir, DatapathType: datapath(),
		TunnelTypes: []string{tunnelType()}, ARPResponder: true}
}

// setUnderlay gives a host its tunnel endpoint. The userspace datapath wants it on a bridge.
func (s *vswitch) setUnderlay(host int) {
	s.t.Helper()
	l, err := netlink.LinkByName(underlay[host])
	if err != nil {
		s.t.Fatal(err)
	}
	if err := netlink.LinkSetUp(l); err != nil {
		s.t.Fatal(err)
	}
	// The kernel must not answer ARP requests for the bridge's address at the uplink, with that one's MAC.
	if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+underlay[host]+"/arp_ignore", []byte("1"), 0); err != nil {
		s.t.Fatal(err)
	}
	s.vsctl("add-br", "br-phy", "--", "set", "Bridge", "br-phy", "datapath_type="+datapath(), "--", "add-port", "br-phy", underlay[host])
	br, err := netlink.LinkByName("br-phy")
	if err != nil {
		s.t.Fatal(err)
	}
	if err := errors.Join(netlink.AddrAdd(br, underlayAddress(host)), netlink.LinkSetUp(br)); err != nil {
		s.t.Fatal(err)
	}
}

// otherSwitchFor is a directory for the other host's switch, whose daemons outlive that host.
func otherSwitchFor(t *testing.T) (env string) {
	other := &vswitch{t, t.TempDir()}
	t.Cleanup(func() {
		other.kill("vswitchd.pid")
		other.kill("ovsdb.pid")
	})
	return otherSwitch + "=" + other.dir
}

// ovsRig is a rig whose agent uses an Open vSwitch.
type ovsRig struct {
	*rig
	sw *vswitch
}

func newOVSRig(t *testing.T) *ovsRig {
	needRoot(t)
	return newOVSRigOn(t, startSwitch(t, t.TempDir()), func(*Config) {})
}

func newOVSRigOn(t *testing.T, sw *vswitch, adapt func(*Config)) *ovsRig {
	t.Helper()
	r := newRig(t)
	sw.configure(&r.cfg)
	adapt(&r.cfg)
	o := &ovsRig{r, sw}
	t.Cleanup(func() {
		if t.Failed() {
			if testing.Verbose() {
				for _, b := range []string{"br-int", "br-tun"} {
					t.Log(b + "\n" + sw.dump(b))
				}
			}
			t.Log(sw.vsctl("show"))
		}
	})
	r.start()
	eventually(t, "bridges", func() bool { return strings.Contains(sw.vsctl("list-br"), "br-int") })
	return o
}

func TestOpenVSwitchGroups(t *testing.T) {
	r := newOVSRig(t)
	a, b := newInstance(t, r.server, netA, 1, groupDefault), newInstance(t, r.server, netA, 2, groupDefault)
	c := newInstance(t, r.server, netA, 3, groupClosed)
	r.members(groupDefault, a, b)
	for _, i := range []*instance{a, b, c} {
		r.sw.plugNova(i)
	}
	r.server.waitFor(t, a.device, b.device, c.device)
	r.groupsWork(t, a, b, c)

	for _, i := range []*instance{a, b, c} { // ports that are down leave nothing behind, their groups' members included
		r.server.change(func() {
			p := r.server.Ports[i.device]
			p.Details.AdminStateUp = false
			r.server.Ports[i.device] = p
		})
		if err := rpc.PortUpdate.Fanout(t.Context(), r.bus, rpc.PortUpdateArgs{Port: rpc.Port{ID: i.portID}}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "no flows of groups", func() bool { return !strings.Contains(r.sw.dump("br-int"), "conj") })
}

// A connection that loses its rule is cut; others go on. A port cannot use an address that is not its own.
func TestOpenVSwitchCutAndSpoof(t *testing.T) {
	r := newOVSRig(t)
	open := rpc.SecurityGroupRule{Direction: "ingress", Ethertype: "IPv4", Protocol: "tcp", PortRangeMin: ptr(1000), PortRangeMax: ptr(1999), Stateful: true}
	ping := rpc.SecurityGroupRule{Direction: "ingress", Ethertype: "IPv4", Protocol: "icmp", Stateful: true}
	r.server.change(func() { r.server.Groups[groupClosed] = append(allOut(), open, ping) })
	a, b := newInstance(t, r.server, netA, 1, groupClosed), newInstance(t, r.server, netA, 2, groupClosed)
	r.sw.plugNova(a)
	r.sw.plugNova(b)
	r.server.waitFor(t, a.device, b.device)
	a.reaches(b.v4, true)
	cut, kept := a.connect(b, 1999), a.connect(b, 1000)
	cut.echoes()
	kept.echoes()
	narrow := open
	narrow.PortRangeMax = ptr(1500)
	r.server.change(func() { r.server.Groups[groupClosed] = append(allOut(), narrow, ping) })
	r.tell(rpc.SecurityGroupsRuleUpdated, groupClosed)
	cut.isCut(kept)
	kept.echoes()
	r.server.change(func() { r.server.Groups[groupClosed] = append(allOut(), open, ping) })
	r.tell(rpc.SecurityGroupsRuleUpdated, groupClosed)
	cut.echoes() // its rule is back

	if err := netns.Do(a.ns, func() error {
		if out, err := exec.Command("ip", "addr", "add", "10.0.0.99/24", "dev", "eth0").CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	from := func(source string) bool {
		return netns.Do(a.ns, func() error {
			return exec.Command("ping", "-n", "-c", "2", "-i", "0.1", "-W", "0.4", "-I", source, b.v4.String()).Run()
		}) == nil
	}
	if from("10.0.0.99") || !from(a.v4.String()) {
		t.Error("anti-spoofing")
	}
	r.server.change(func() {
		p := r.server.Ports[a.device]
		p.Filter.AddressPairs = []rpc.AddressPair{{IPAddress: "10.0.0.96/28"}}
		r.server.Ports[a.device] = p
	})
	if err := rpc.PortUpdate.Fanout(t.Context(), r.bus, rpc.PortUpdateArgs{Port: rpc.Port{ID: a.portID}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "allowed address pair", func() bool { return from("10.0.0.99") })
}

// An agent that starts again changes nothing; what a restarted ovs-vswitchd lost is back at once.
func TestOpenVSwitchRestarts(t *testing.T) {
	r := newOVSRig(t)
	a, b := newInstance(t, r.server, netA, 1, groupDefault), newInstance(t, r.server, netA, 2, groupDefault)
	r.members(groupDefault, a, b)
	r.server.change(func() { r.server.FDB[netA] = remoteFDB() })
	r.sw.plugNova(a)
	r.sw.plugNova(b)
	r.server.waitFor(t, a.device, b.device)
	a.reaches(b.v4, true)
	eventually(t, "flows for a remote port", func() bool { return strings.Contains(r.sw.dump("br-tun"), "arp_tpa=10.0.0.99") })
	if r.agent.Writes() == 0 {
		t.Fatal("writes are not counted")
	}
	tags := r.sw.vsctl("--columns=name,tag", "list", "Port", a.device, b.device)
	r.stop()
	a.reaches(b.v4, true)
	r.server.change(func() { clear(r.server.up) })
	r.start()
	r.server.waitFor(t, a.device, b.device)
	eventually(t, "stale entries expired", func() bool { return r.agent.remotes.fresh() })
	a.reaches(b.v4, true)
	if n := r.agent.Writes(); n != 0 {
		t.Errorf("%d writes for an unchanged state", n)
	}
	if now := r.sw.vsctl("--columns=name,tag", "list", "Port", a.device, b.device); now != tags {
		t.Errorf("tags\n%s\nand before\n%s", now, tags)
	}

	r.sw.kill("vswitchd.pid")
	r.sw.startDaemon()
	began := time.Now()
	a.reaches(b.v4, true)
	t.Log("traffic again after", time.Since(began).Round(time.Millisecond))
	eventually(t, "flows of the tunnel bridge", func() bool { return strings.Contains(r.sw.dump("br-tun"), "arp_tpa=10.0.0.99") })

	r.sw.run("ovs-ofctl", "-O", "OpenFlow14", "del-flows", "unix:"+r.sw.path("br-int.mgmt"))
	r.agent.inbox.add(func(n *news) { n.resync = true })
	a.reaches(b.v4, true)

	// Without an agent the flows that tell who needs a tunnel are lost, too. It stays.
	tunnels := r.sw.vsctl("--columns=_uuid,name", "find", "Interface", "type="+tunnelType())
	if tunnels == "" {
		t.Fatal("there is no tunnel")
	}
	r.stop()
	r.sw.kill("vswitchd.pid")
	r.sw.startDaemon()
	r.server.change(func() { clear(r.server.up) })
	r.start()
	r.server.waitFor(t, a.device, b.device)
	eventually(t, "flows of the tunnel bridge", func() bool { return strings.Contains(r.sw.dump("br-tun"), "arp_tpa=10.0.0.99") })
	eventually(t, "stale entries expired", func() bool { return r.agent.remotes.fresh() })
	if now := r.sw.vsctl("--columns=_uuid,name", "find", "Interface", "type="+tunnelType()); now != tunnels {
		t.Errorf("tunnels\n%s\nand before\n%s", now, tunnels)
	}
}

// The flows of thousands of members go by several connections. A restarted ovs-vswitchd gets all of them, and what may not talk does not.
func TestOpenVSwitchManyMembers(t *testing.T) {
	r := newOVSRig(t)
	a, b := newInstance(t, r.server, netA, 1, groupDefault), newInstance(t, r.server, netA, 2, groupDefault)
	c := newInstance(t, r.server, netA, 3, groupClosed)
	r.members(groupDefault, a, b)
	r.server.change(func() {
		members := r.server.Members[groupDefault]
		for i := range 3000 {
			members["IPv4"] = append(members["IPv4"], [2]*string{ptr(fmt.Sprintf("10.0.%d.%d", 1+i/250, 1+i%250)), ptr(a.mac.String())})
		}
	})
	for _, i := range []*instance{a, b, c} {
		r.sw.plugNova(i)
	}
	r.server.waitFor(t, a.device, b.device, c.device)
	a.reaches(b.v4, true)
	flows := func() int { return strings.Count(r.sw.dump("br-int"), "table=") }
	before := flows()
	if before < 3000 {
		t.Fatalf("%d flows", before)
	}
	r.sw.kill("vswitchd.pid")
	r.sw.startDaemon()
	eventually(t, "all flows", func() bool { return flows() == before })
	a.reaches(b.v4, true)
	a.reaches(c.v4, false)
}

// A port that is plugged anew while the agent is away has lost the VLAN of its network: what was told of that is told again.
func TestOpenVSwitchPluggedAnew(t *testing.T) {
	r := newOVSRig(t)
	a := newInstance(t, r.server, netA, 1, groupDefault)
	r.server.change(func() { r.server.FDB[netA] = remoteFDB() })
	r.sw.plugNova(a)
	r.server.waitFor(t, a.device)
	known := func() bool { return strings.Contains(r.sw.dump("br-tun"), "arp_tpa=10.0.0.99") }
	eventually(t, "flows for a remote port", known)
	r.stop()
	r.sw.vsctl("del-port", "br-int", a.device)
	r.sw.addPort(a)
	r.server.change(func() { clear(r.server.up) })
	r.start()
	r.server.waitFor(t, a.device)
	eventually(t, "stale entries expired", func() bool { return r.agent.remotes.fresh() })
	eventually(t, "flows for a remote port", known)
}

// Two hosts, each with a switch of its own, and tunnels of each type between them.
func TestOpenVSwitchTunnel(t *testing.T) {
	for _, x := range []struct{ kind, family, port string }{
		{"vxlan", "4", "vxlan-c0a83202"}, {"gre", "4", "gre-c0a83202"}, {"geneve", "4", "geneve-c0a83202"}, {"vxlan", "6", "vxlan-3gre72mzs"}, {"geneve", "6", "geneve-3gre72mz"},
	} {
		t.Run(x.kind+" over IPv"+x.family, func(t *testing.T) {
			t.Setenv(tunnelTypeOf, x.kind)
			t.Setenv(underlayFamily, x.family)
			r := newOVSRig(t)
			startOtherHost(t, func(host int) error { r.sw.setUnderlay(host); return nil }, otherSwitchFor(t))
			a := tunnelHost(t, r.server, 0)
			r.sw.plugNova(a)
			r.server.waitFor(t, a.device)
			for _, remote := range []string{"10.0.0.2", "fd00::2"} {
				a.reaches(netip.MustParseAddr(remote), true)
			}
			if out := r.sw.vsctl("get", "Interface", x.port, "type"); !strings.Contains(out, x.kind) {
				t.Errorf("type %s", out)
			}
		})
	}
}
