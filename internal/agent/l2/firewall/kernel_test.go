package firewall

import (
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// inNamespace moves the test into a network namespace of its own, which ends with the test's thread.
func inNamespace(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes a network namespace")
	}
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("needs nft")
	}
	runtime.LockOSThread() // never unlocked: the thread is not given back
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
}

// After each step the kernel must list exactly what was wanted, whichever way it was written.
func TestKernelListsWhatWasWritten(t *testing.T) {
	inNamespace(t)
	f := newTestFirewall()
	second := webPort()
	second.Device, second.MAC, second.Pairs = "tap00000000-02", "fa:16:3e:00:00:02", pairs("fa:16:3e:00:00:02", "10.0.0.2", "::2")
	moved := second
	moved.Groups = []string{friends}
	members := func(all ...string) func() {
		return func() {
			v4 := []netip.Prefix{}
			for _, s := range all {
				v4 = append(v4, prefix(s))
			}
			f.SetMembers(friends, false, v4)
			f.SetMembers(friends, true, []netip.Prefix{prefix("2001:db8::/32"), prefix("fd00::1")})
		}
	}
	steps := []struct {
		name string
		do   func()
	}{
		{"nothing", func() {}},
		{"first port", func() { f.SetPort(webPort()); f.SetGroup(web, webRules()) }},
		{"members", members("10.0.0.1", "10.0.0.2", "10.9.0.0/16", "255.255.255.255")},
		{"one more member", members("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.9.0.0/16", "255.255.255.255")},
		{"wider member", members("10.0.0.0/24", "10.9.0.0/16")},
		{"narrower member", members("10.0.0.2", "10.9.128.0/17")},
		{"second port is plugged", func() { f.SetPort(Port{Device: second.Device, Mode: Closed}) }},
		{"second port", func() { f.SetPort(second) }},
		{"other groups", func() { f.SetPort(moved) }},
		{"stateless", func() { moved.Stateless = true; f.SetPort(moved) }},
		{"other rules", func() { f.SetGroup(web, webRules()[3:]) }},
		{"first port gone", func() { f.RemovePort("tap00000000-01") }},
		{"all gone", func() { f.RemovePort("tap00000000-02") }},
	}
	for _, step := range steps {
		step.do()
		if _, err := f.Apply(t.Context()); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if err := f.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.settle()
		if c := f.diff(); !c.empty() {
			t.Errorf("%s: the kernel differs by\n%s", step.name, f.script(c))
		}
	}
}

func TestForeignChangesAreRepaired(t *testing.T) {
	inNamespace(t)
	f := newTestFirewall()
	f.SetPort(webPort())
	f.SetGroup(web, webRules())
	for _, harm := range []string{
		"delete table bridge neutrino", "flush chain bridge neutrino guard", "flush set bridge neutrino pairs4",
		"add element bridge neutrino ports { \"tap99999999-99\" }", "flush ruleset",
	} {
		if _, err := f.Apply(t.Context()); err != nil {
			t.Fatalf("before %s: %v", harm, err)
		}
		if out, err := exec.Command("nft", harm).CombinedOutput(); err != nil {
			t.Fatalf("%s: %s", harm, out)
		}
		f.Verify()
		before := f.writes.Load()
		if _, err := f.Apply(t.Context()); err != nil {
			t.Errorf("after %s: %v", harm, err)
		}
		if f.writes.Load() == before {
			t.Errorf("%s was not noticed", harm)
		}
	}
}
