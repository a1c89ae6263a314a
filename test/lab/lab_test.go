package lab

import (
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func newLab(t *testing.T) *Lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes namespaces")
	}
	return New(t)
}

// pair returns two nodes on one segment.
func pair(l *Lab) (a, b *Node) {
	s := l.Segment("wire", 1600)
	a, b = l.Node("a"), l.Node("b")
	for i, n := range []*Node{a, b} {
		s.Attach(n, "eth0")
		n.Run("ip addr add 192.0.2." + string(rune('1'+i)) + "/24 dev eth0")
	}
	return a, b
}

var addressB = netip.MustParseAddr("192.0.2.2")

func TestNodeHasItsOwnNamesAndNamespaces(t *testing.T) {
	l := newLab(t)
	a, b := l.Node("alpha"), l.Node("beta")
	for _, n := range []*Node{a, b} {
		if got := strings.TrimSpace(n.Run("hostname")); got != n.Name {
			t.Errorf("host name %q, want %q", got, n.Name)
		}
		n.Run("ip netns add qrouter-x")
	}
	b.Run("ip netns del qrouter-x")
	if got := strings.TrimSpace(a.Run("ip netns list")); got != "qrouter-x" {
		t.Errorf("after deleting b's namespace a has %q", got)
	}
	if _, err := os.Stat("/run/netns/qrouter-x"); err == nil {
		t.Error("the namespace is seen outside of the lab")
	}
}

func TestPing(t *testing.T) {
	a, b := pair(newLab(t))
	if _, err := a.Reach(addressB, patience); err != nil {
		t.Fatal(err)
	}
	s, err := a.PingStream(addressB, 5*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	<-s.answer
	b.Run("ip link set eth0 down")
	time.Sleep(300 * time.Millisecond)
	b.Run("ip link set eth0 up")
	if _, err := a.Reach(addressB, patience); err != nil {
		t.Fatal(err)
	}
	got := s.Stop()
	if got.Answered == 0 || got.Lost() == 0 || got.LongestGap < 300*time.Millisecond {
		t.Errorf("the interruption is not in the account: %v", got)
	}
	if err := a.Silent(netip.MustParseAddr("192.0.2.3"), 100*time.Millisecond); err != nil {
		t.Error(err)
	}
	if err := a.Silent(addressB, patience); err == nil {
		t.Error("a host that answers counts as silent")
	}
}

func TestTCPAndCapture(t *testing.T) {
	a, b := pair(newLab(t))
	b.Echo(22)
	tcp := b.Capture("eth0", "tcp port 22")
	udp := b.Capture("eth0", "udp port 53")
	c, err := a.Connect(addressB, 22)
	if err != nil {
		t.Fatal(err)
	}
	if err := Exchange(c); err != nil {
		t.Fatal(err)
	}
	if _, err := tcp.WaitFor("Flags [S]", patience); err != nil {
		t.Error(err)
	}
	if frames := udp.Stop(); len(frames) != 0 {
		t.Errorf("frames of something else: %q", frames)
	}
	from, to := netip.MustParseAddrPort("192.0.2.1:1000"), netip.MustParseAddrPort("255.255.255.255:68")
	broadcast := b.Capture("eth0", "udp port 68")
	if err := a.SendUDP("eth0", from, to, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, err := broadcast.WaitFor("255.255.255.255.68", patience); err != nil {
		t.Error(err)
	}
}

func TestProcess(t *testing.T) {
	n := newLab(t).Node("n")
	p := n.Start("sleeper", "sh", "-c", "trap 'exit 0' TERM; echo here; while :; do sleep 0.05; done")
	if err := p.waitForLog("here", patience); err != nil {
		t.Fatal(err)
	}
	p.Kill()
	if p.Ended() == nil {
		t.Error("runs after a kill")
	}
	p.Restart()
	if err := Eventually(patience, func() error {
		if strings.Count(p.Log(), "here") != 2 {
			return os.ErrNotExist
		}
		return nil
	}); err != nil {
		t.Errorf("log after a restart: %q", p.Log())
	}
	p.Stop()
}

func TestCloseLeavesNothing(t *testing.T) {
	if os.Getenv("LAB_CRASH") != "" { // what the child below runs
		l := New(t)
		l.Node("crash").Start("daemon", "sleep", "1000")
		_ = os.WriteFile(os.Getenv("LAB_CRASH"), []byte(l.Dir), 0o644)
		select {}
	}
	l := newLab(t)
	note := filepath.Join(t.TempDir(), "dir")
	child := exec.Command(os.Args[0], "-test.run", "^TestCloseLeavesNothing$")
	child.Env = append(os.Environ(), "LAB_CRASH="+note)
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var dir []byte
	if err := Eventually(patience, func() (err error) {
		if dir, err = os.ReadFile(note); err == nil && len(dir) == 0 {
			err = io.ErrUnexpectedEOF // it is being written
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	_ = child.Process.Kill()
	_ = child.Wait()
	if err := Eventually(patience, func() error { return noProcessIn(string(dir)) }); err != nil {
		t.Error(err)
	}
	old := time.Now().Add(-time.Hour)
	for _, d := range []string{string(dir), l.Dir} {
		if err := os.Chtimes(d, old, old); err != nil {
			t.Fatal(err)
		}
	}
	Sweep()
	if _, err := os.Stat(string(dir)); err == nil {
		t.Error("the directory of the killed lab is still there")
	}
	if _, err := os.Stat(l.Dir); err != nil {
		t.Errorf("the directory of a living lab was swept: %v", err)
	}
}

// noProcessIn fails if a process works in the directory.
func noProcessIn(dir string) error {
	links, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		return err
	}
	for _, link := range links {
		if cwd, err := os.Readlink(link); err == nil && cwd == dir {
			return &os.PathError{Op: "still running", Path: link, Err: os.ErrExist}
		}
	}
	return nil
}

func TestStateAndWatch(t *testing.T) {
	n := newLab(t).Node("n")
	n.Run("ip netns add qrouter-x")
	before := n.KernelState()
	if d := Difference(before, n.KernelState()); len(d) != 0 {
		t.Errorf("nothing was done, and yet:\n%s", strings.Join(d, "\n"))
	}
	w := n.Watch()
	if got := w.Stop(); len(got) != 0 {
		t.Errorf("nothing was done, and yet changes were seen: %q", got)
	}
	w = n.Watch()
	n.Run("nft add table inet t")
	n.Run("nft delete table inet t")
	n.Run("ip netns exec qrouter-x ip addr add 192.0.2.1/32 dev lo")
	changes := strings.Join(w.Stop(), "\n")
	for _, want := range []string{"add table inet t", "delete table inet t", "192.0.2.1"} {
		if !strings.Contains(changes, want) {
			t.Errorf("%q was not seen:\n%s", want, changes)
		}
	}
	if d := Difference(before, n.KernelState()); !strings.Contains(strings.Join(d, "\n"), "+ qrouter-x address") {
		t.Errorf("the new address is not in the difference: %q", d)
	}
}

func TestMetadataSignature(t *testing.T) {
	n := newLab(t).Node("n")
	nova := n.Nova("127.0.0.1:8775", "secret")
	if _, err := n.Get("http://127.0.0.1:8775/latest/meta-data/instance-id"); err == nil || nova.Refused() != 1 {
		t.Errorf("a request without signature: error %v, refused %d", err, nova.Refused())
	}
}
