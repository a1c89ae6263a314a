package cleanup

import (
	"bufio"
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"neutrino/internal/linux/netns"
	"neutrino/internal/linux/sandbox"
	"neutrino/internal/ovs"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
)

func TestMain(m *testing.M) { sandbox.Main(m) }

const id = "-0a0a0a0a-0000-4000-8000-000000000001"

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func logger(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

// plug gives a namespace a device and returns the name of its other end.
func plug(t *testing.T, namespace string) string {
	t.Helper()
	outer := "o" + strings.NewReplacer("-", "", "q", "").Replace(namespace[:min(len(namespace), 10)])
	there, err := os.Open("/run/netns/" + namespace)
	must(t, err)
	defer there.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = outer
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "ns-x", PeerNamespace: netlink.NsFd(there.Fd())}))
	return outer
}

// within starts a process inside a namespace and waits until it says "ready".
func within(t *testing.T, namespace string, args ...string) *exec.Cmd {
	t.Helper()
	c := exec.Command(args[0], args[1:]...)
	out, err := c.StdoutPipe()
	must(t, err)
	must(t, netns.Do(namespace, c.Start))
	t.Cleanup(func() { _ = c.Process.Kill() })
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("%v says %q, %v", args, line, err)
	}
	return c
}

func TestNamespaces(t *testing.T) {
	sandbox.Need(t)
	used := []string{"qdhcp" + id, "qrouter" + id}                                       // have a device
	empty := []string{"qdhcp" + id + "0", "qrouter" + id + "0", "snat" + id, "fip" + id} // have none
	others := []string{"qrouter-byhand", "other", "ovnmeta" + id}
	for _, c := range []struct {
		name string
		n    Namespaces
		gone []string
	}{
		{"empty ones", Namespaces{}, empty},
		{"of one agent", Namespaces{AgentType: "dhcp"}, []string{"qdhcp" + id + "0"}},
		{"of the other", Namespaces{AgentType: "l3"}, []string{"fip" + id, "qrouter" + id + "0", "snat" + id}},
		{"force", Namespaces{Force: true}, slices.Concat(used, empty)},
		{"force, of one agent", Namespaces{Force: true, AgentType: "l3"}, []string{"fip" + id, "qrouter" + id, "qrouter" + id + "0", "snat" + id}},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := slices.Concat(used, empty, others)
			for _, name := range all {
				_, err := netns.Ensure(name)
				must(t, err)
				t.Cleanup(func() { _ = netns.Delete(name) })
			}
			var outer []string
			for _, name := range slices.Concat(used, others) {
				outer = append(outer, plug(t, name))
			}
			t.Cleanup(func() {
				for _, name := range outer {
					if l, err := netlink.LinkByName(name); err == nil {
						_ = netlink.LinkDel(l)
					}
				}
			})
			c.n.Log = logger(t)
			removed, err := c.n.Run(t.Context())
			must(t, err)
			slices.Sort(c.gone)
			slices.Sort(removed)
			if diff := cmp.Diff(c.gone, removed); diff != "" {
				t.Errorf("removed: -want +got:\n%s", diff)
			}
			left, err := netns.Names("")
			must(t, err)
			want := slices.DeleteFunc(slices.Clone(all), func(n string) bool { return slices.Contains(c.gone, n) })
			slices.Sort(want)
			if diff := cmp.Diff(want, left); diff != "" {
				t.Errorf("left: -want +got:\n%s", diff)
			}
			for i, name := range slices.Concat(used, others) {
				_, err := netlink.LinkByName(outer[i])
				if slices.Contains(c.gone, name) == (err == nil) {
					t.Errorf("%s of %s: %v", outer[i], name, err)
				}
			}
		})
	}
}

// TestNamespaceThatComesToLife: an agent that makes a namespace has no devices in it for a moment.
func TestNamespaceThatComesToLife(t *testing.T) {
	sandbox.Need(t)
	name := "qrouter" + id
	_, err := netns.Ensure(name)
	must(t, err)
	t.Cleanup(func() { _ = netns.Delete(name) })
	done := make(chan []string)
	go func() {
		removed, err := Namespaces{Settle: 3 * time.Second, Log: logger(t)}.Run(context.Background())
		if err != nil {
			t.Error(err)
		}
		done <- removed
	}()
	time.Sleep(100 * time.Millisecond)
	plug(t, name)
	if removed := <-done; len(removed) > 0 || !netns.Exists(name) {
		t.Errorf("removed %v", removed)
	}
}

// TestBrokenName: a file without a namespace is what an interrupted deletion leaves.
func TestBrokenName(t *testing.T) {
	sandbox.Need(t)
	must(t, os.WriteFile("/run/netns/qdhcp"+id, nil, 0o444))
	removed, err := Namespaces{Log: logger(t)}.Run(t.Context())
	if err != nil || len(removed) != 1 {
		t.Errorf("%v %v", removed, err)
	}
}

// TestProcesses: only those inside end, by SIGTERM or else by SIGKILL, and only with force.
func TestProcesses(t *testing.T) {
	sandbox.Need(t)
	name, other := "qdhcp"+id, "elsewhere"
	for _, ns := range []string{name, other} {
		_, err := netns.Ensure(ns)
		must(t, err)
		t.Cleanup(func() { _ = netns.Delete(ns) })
	}
	const sleeper = "echo ready; exec sleep 60"
	polite := within(t, name, "sh", "-c", sleeper)
	stubborn := within(t, name, "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done")
	spared := within(t, other, "sh", "-c", sleeper)
	plug(t, name)
	if removed, err := (Namespaces{Log: logger(t)}).Run(t.Context()); err != nil || len(removed) > 0 {
		t.Fatalf("without force: %v %v", removed, err)
	}
	if err := polite.Process.Signal(syscall.Signal(0)); err != nil {
		t.Fatal("a process was ended without force")
	}
	var ended sync.WaitGroup
	for _, c := range []*exec.Cmd{polite, stubborn} { // zombies count as processes until somebody waits
		ended.Go(func() { _ = c.Wait() })
	}
	removed, err := Namespaces{Force: true, Grace: 500 * time.Millisecond, Log: logger(t)}.Run(t.Context())
	if err != nil || len(removed) != 1 {
		t.Errorf("removed %v, %v", removed, err)
	}
	ended.Wait()
	got := []string{polite.ProcessState.String(), stubborn.ProcessState.String()}
	if diff := cmp.Diff([]string{"signal: terminated", "signal: killed"}, got); diff != "" {
		t.Error(diff)
	}
	if err := spared.Process.Signal(syscall.Signal(0)); err != nil {
		t.Error("a process of another namespace was ended")
	}
}

func TestOpenVSwitch(t *testing.T) {
	sandbox.Need(t)
	dir := t.TempDir()
	run := func(name string, args ...string) string {
		t.Helper()
		c := exec.Command(name, args...)
		c.Env = append(os.Environ(), "OVS_RUNDIR="+dir, "OVS_LOGDIR="+dir, "OVS_DBDIR="+dir)
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %v: %v: %s", name, args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	socket := filepath.Join(dir, "db.sock")
	run("ovsdb-tool", "create", filepath.Join(dir, "conf.db"), "/usr/share/openvswitch/vswitch.ovsschema")
	server := exec.Command("ovsdb-server", filepath.Join(dir, "conf.db"), "--remote=punix:"+socket, "--unixctl="+filepath.Join(dir, "ctl"))
	server.Env = append(os.Environ(), "OVS_RUNDIR="+dir)
	must(t, server.Start())
	t.Cleanup(func() { _ = server.Process.Kill(); _ = server.Wait() })
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(socket); err == nil {
			break
		}
	}
	vsctl := func(args ...string) string {
		return run("ovs-vsctl", append([]string{"--no-wait", "--db=unix:" + socket}, args...)...)
	}
	vsctl("init")
	const vif = "external_ids:iface-id=x"
	fill := func() {
		for _, b := range []string{"br-int", "br-ex"} {
			vsctl("--if-exists", "del-br", b, "--", "add-br", b)
		}
		vsctl("add-port", "br-int", "tap1", "--", "set", "Interface", "tap1", vif, "external_ids:attached-mac=y",
			"--", "add-port", "br-int", "kept", "--", "set", "Interface", "kept", vif, "external_ids:attached-mac=y", "external_ids:skip_cleanup=true",
			"--", "add-port", "br-int", "patch-tun", "--", "add-port", "br-int", "half", "--", "set", "Interface", "half", vif,
			"--", "add-port", "br-ex", "tap2", "--", "set", "Interface", "tap2", vif, "external_ids:attached-mac=y")
	}
	left := func() string {
		return strings.Join(strings.Fields(vsctl("list-ports", "br-int")+" | "+vsctl("list-ports", "br-ex")), " ")
	}
	db, err := ovs.Open(t.Context(), "unix:"+socket, func() {}, slog.New(slog.DiscardHandler))
	must(t, err)
	defer db.Close()
	for _, c := range []struct {
		all  bool
		gone []string
		left string
	}{
		{false, []string{"tap1"}, "half kept patch-tun | tap2"},
		{true, []string{"half", "kept", "patch-tun", "tap1", "tap2"}, "|"},
	} {
		fill()
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) { // the picture follows
			if s, err := db.State(t.Context()); err == nil && len(s.Ports) == 7 || time.Now().After(deadline) {
				break
			}
		}
		removed, err := Ports(t.Context(), db, "br-int", c.all, logger(t))
		must(t, err)
		if diff := cmp.Diff(c.gone, removed); diff != "" {
			t.Errorf("all %v: -want +got:\n%s", c.all, diff)
		}
		if got := left(); got != c.left {
			t.Errorf("all %v: left %q, want %q", c.all, got, c.left)
		}
	}
	fill()
	eventually := time.Now().Add(time.Minute)
	for time.Now().Before(eventually) {
		if s, err := db.State(t.Context()); err == nil && s.BridgeOf["tap2"] != "" {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	must(t, RemovePort(t.Context(), db, "tap2"))
	if got, want := left(), "half kept patch-tun tap1 |"; got != want {
		t.Errorf("after the removal of a port: %q, want %q", got, want)
	}
	if err := RemovePort(t.Context(), db, "nobody"); err == nil {
		t.Error("a port that is not there was removed")
	}
}
