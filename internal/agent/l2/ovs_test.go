package l2

import (
	"context"
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
	"neutrino/internal/linux/veth"
	"neutrino/internal/rpc"
)

// vswitch is an Open vSwitch of the test's own, with the userspace datapath.
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
	t.Cleanup(func() { s.kill("vswitchd.pid") })
	return s
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
	for syscall.Kill(pid, 0) == nil {
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
	s.vsctl("--may-exist", "add-port", "br-int", i.device, "--", "set", "Interface", i.device, "external_ids:iface-id="+i.portID,
		"external_ids:iface-status=active", "external_ids:attached-mac="+i.mac.String())
	return i
}

// ovsRig is a rig whose agent uses an Open vSwitch.
type ovsRig struct {
	*rig
	sw *vswitch
}

func newOVSRig(t *testing.T) *ovsRig {
	needRoot(t)
	sw := startSwitch(t, t.TempDir())
	r := newRig(t)
	r.cfg.OpenVSwitch = &openvswitch.Config{Endpoint: "unix:" + sw.path("db.sock"), RunDir: sw.dir, DatapathType: "netdev",
		TunnelTypes: []string{"vxlan"}, ARPResponder: true}
	o := &ovsRig{r, sw}
	t.Cleanup(func() {
		if t.Failed() {
			for _, b := range []string{"br-int", "br-tun"} {
				t.Log(b + "\n" + sw.dump(b))
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
	a.reaches(b.v4, true)
	a.reaches(c.v4, false)
	c.reaches(a.v4, false) // not a member
	b.reaches(a.v6, false) // the group allows only IPv4 in

	r.members(groupDefault, a, b, c)
	r.tell(rpc.SecurityGroupsMemberUpdated, groupDefault)
	c.reaches(a.v4, true)

	r.server.change(func() {
		r.server.Groups[groupClosed] = append(allOut(),
			rpc.SecurityGroupRule{Direction: "ingress", Ethertype: "IPv6", Protocol: "icmp", PortRangeMin: ptr(128), Stateful: true})
	})
	r.tell(rpc.SecurityGroupsRuleUpdated, groupClosed)
	a.reaches(c.v6, true)
	a.reaches(c.v4, false)
	if err := r.agent.Healthy(); err != nil {
		t.Error(err)
	}
}

var _ = context.Background
var _ = fmt.Sprint
var _ netip.Addr
