package l2

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"neutrino/internal/linux/netns"
	"neutrino/internal/linux/veth"
	"neutrino/internal/rpc"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// inside says that this process is the one in namespaces of its own.
const inside = "NEUTRINO_L2_TEST_INSIDE"

// TestMain runs the tests in a network and mount namespace of their own: the agent works in the namespace of its process,
// and whatever a test leaves behind ends with the process.
func TestMain(m *testing.M) {
	if os.Geteuid() != 0 || os.Getenv(inside) == "" && os.Getenv(otherHost) == "" {
		if os.Geteuid() != 0 {
			os.Exit(m.Run())
		}
		os.Exit(reexec())
	}
	if err := isolate(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if os.Getenv(otherHost) != "" {
		runOtherHost()
		return
	}
	os.Exit(m.Run())
}

func reexec() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // the signal comes when the thread ends
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// isolate hides the names of other namespaces.
func isolate() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := os.MkdirAll("/run/netns", 0o755); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", "/run/netns", "tmpfs", 0, ""); err != nil {
		return err
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(lo)
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: works with network namespaces")
	}
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("needs nft")
	}
}

// instance is a namespace with an interface that is plugged like an instance's.
type instance struct {
	t       testing.TB
	ns      string
	device  string
	portID  string
	mac     net.HardwareAddr
	v4, v6  netip.Addr
	network string
}

const testMTU = 1400

// newInstance makes number n of a network and tells the server of its port. It is not yet plugged.
func newInstance(t testing.TB, s *fakeServer, network string, n int, groups ...string) *instance {
	t.Helper()
	i := &instance{t: t, ns: fmt.Sprintf("vm-%s-%d", network[:4], n), network: network,
		portID: fmt.Sprintf("%s%04x-%02x00-4000-8000-000000000000", network[:4], n, n&0xff),
		mac:    net.HardwareAddr{0xfa, 0x16, 0x3e, 0, byte(n >> 8), byte(n)},
		v4:     netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), v6: netip.MustParseAddr(fmt.Sprintf("fd00::%x", n))}
	i.device = deviceOf(i.portID)
	s.change(func() {
		s.Ports[i.device] = fakePort{
			Details: rpc.DeviceDetails{PortID: i.portID, NetworkID: network, MACAddress: i.mac.String(), AdminStateUp: true,
				NetworkType: "vxlan", SegmentationID: ptr(5), MTU: testMTU, PortSecurity: true, DeviceOwner: "compute:nova"},
			Filter: rpc.FilteredDevice{Device: i.portID, NetworkID: network, MACAddress: strings.ToUpper(i.mac.String()),
				FixedIPs: []string{i.v4.String(), i.v6.String()}, SecurityGroups: groups, PortSecurity: true},
		}
	})
	return i
}

// plug makes the device.
func (i *instance) plug() *instance {
	i.t.Helper()
	if _, err := netns.Ensure(i.ns); err != nil {
		i.t.Fatal(err)
	}
	pair := veth.Pair{Outer: i.device, Inner: "eth0", Namespace: i.ns, MAC: i.mac}
	if _, err := veth.Ensure(pair); err != nil {
		i.t.Fatal(err)
	}
	h, err := netns.Handle(i.ns)
	if err != nil {
		i.t.Fatal(err)
	}
	defer h.Close()
	eth, err := h.LinkByName("eth0")
	if err != nil {
		i.t.Fatal(err)
	}
	for _, a := range []netip.Prefix{netip.PrefixFrom(i.v4, 24), netip.PrefixFrom(i.v6, 64)} {
		ip := &net.IPNet{IP: a.Addr().AsSlice(), Mask: net.CIDRMask(a.Bits(), a.Addr().BitLen())}
		if err := h.AddrAdd(eth, &netlink.Addr{IPNet: ip, Flags: unix.IFA_F_NODAD}); err != nil {
			i.t.Fatal(err)
		}
	}
	i.t.Cleanup(i.unplug)
	return i
}

func (i *instance) unplug() {
	if err := errors.Join(veth.Remove(i.device), netns.Delete(i.ns)); err != nil {
		i.t.Error(err)
	}
}

// pings tells whether one of a few packets is answered.
func (i *instance) pings(to netip.Addr) bool {
	i.t.Helper()
	err := netns.Do(i.ns, func() error {
		return exec.Command("ping", "-n", "-c", "2", "-i", "0.1", "-W", "0.4", to.String()).Run()
	})
	if _, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed {
		i.t.Fatal(err)
	}
	return err == nil
}

// reaches waits until the ping has the wanted result.
func (i *instance) reaches(to netip.Addr, want bool) {
	i.t.Helper()
	for end := time.Now().Add(patient(patience)); time.Now().Before(end); {
		if i.pings(to) == want {
			return
		}
	}
	ruleset, _ := exec.Command("nft", "list", "ruleset").CombinedOutput()
	i.t.Fatalf("%s pings %s: not %v\n%s", i.ns, to, want, ruleset)
}

// patience bounds the wait for what takes a second on a machine that has nothing else to do.
const patience = time.Minute

// patient lengthens a time to wait by the factor NEUTRINO_LAB_PATIENCE, for machines that are slower than real ones.
func patient(d time.Duration) time.Duration {
	factor, _ := strconv.Atoi(os.Getenv("NEUTRINO_LAB_PATIENCE"))
	return d * time.Duration(max(factor, 1))
}

// eventually polls, because the kernel and the agent tell nobody when they are done.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patient(patience)); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if f() {
			return
		}
	}
	t.Fatal("never: " + what)
}

func exists(name string) bool {
	_, err := netlink.LinkByName(name)
	return err == nil
}

// connection is a TCP connection from one instance to another, which echoes.
type connection struct {
	t    testing.TB
	conn net.Conn
}

func (i *instance) connect(to *instance, port int) *connection {
	i.t.Helper()
	address := net.JoinHostPort(to.v4.String(), fmt.Sprint(port))
	var listener net.Listener
	if err := netns.Do(to.ns, func() (err error) {
		listener, err = net.Listen("tcp", address)
		return err
	}); err != nil {
		i.t.Fatal(err)
	}
	accepted := make(chan net.Conn, 1)
	go func() {
		defer close(accepted)
		if c, err := listener.Accept(); err == nil {
			accepted <- c
			io.Copy(c, c)
		}
	}()
	i.t.Cleanup(func() { // the other side's end of a cut connection never arrives
		listener.Close()
		if c := <-accepted; c != nil {
			c.Close()
		}
	})
	c := &connection{t: i.t}
	if err := netns.Do(i.ns, func() (err error) {
		c.conn, err = net.DialTimeout("tcp", address, patient(patience))
		return err
	}); err != nil {
		i.t.Fatal(err)
	}
	i.t.Cleanup(func() { c.conn.Close() })
	return c
}

// works tells whether an echo comes back soon.
func (c *connection) works() bool {
	c.t.Helper()
	want := []byte(time.Now().Format(time.RFC3339Nano))
	if _, err := c.conn.Write(append(want, '\n')); err != nil {
		c.t.Fatal(err)
	}
	c.conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
	var got []byte
	for buf := make([]byte, 4096); !bytes.Contains(got, want); {
		n, err := c.conn.Read(buf)
		if err != nil {
			return false
		}
		got = append(got, buf[:n]...)
	}
	return true
}

func (c *connection) echoes() {
	c.t.Helper()
	eventually(c.t, "echo", c.works)
}

// isCut waits until the connection does not work while another one does, as a busy machine delays the echoes of both, and checks that
// it stays so.
func (c *connection) isCut(other *connection) {
	c.t.Helper()
	eventually(c.t, "cut", func() bool { return !c.works() && other.works() && !c.works() })
	if c.works() {
		c.t.Fatal("connection was not cut")
	}
}

// cleanHost removes what an agent leaves.
func cleanHost(t *testing.T) {
	links, err := netlink.LinkList()
	if err != nil {
		t.Error(err)
	}
	for _, l := range links {
		if name := l.Attrs().Name; strings.HasPrefix(name, "brq") || strings.HasPrefix(name, "vxlan-") {
			deleteLink(t, name)
		}
	}
	if out, err := exec.Command("nft", "flush", "ruleset").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if err := netlink.ConntrackTableFlush(netlink.ConntrackTable); err != nil {
		t.Error(err)
	}
}

func putInBridge(device, bridge string) error {
	l, err := netlink.LinkByName(device)
	if err != nil {
		return err
	}
	br, err := netlink.LinkByName(bridge)
	if err != nil {
		return err
	}
	return netlink.LinkSetMaster(l, br)
}
