package l3

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"neutrino/internal/linux/netns"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// insideVariable tells the test binary that it runs in a host of its own.
const insideVariable = "NEUTRINO_L3_TEST_HOST"

// TestMain runs the tests in a private host: a network namespace, and a mount namespace with an own /run/netns, so
// that routers and taps clash with nobody's and are gone with the process.
func TestMain(m *testing.M) {
	if os.Geteuid() != 0 || os.Getenv(insideVariable) != "" {
		goleak.VerifyTestMain(m)
	}
	os.Exit(inPrivateHost())
}

func inPrivateHost() int {
	name := fmt.Sprintf("nu-l3-%d", os.Getpid())
	if _, err := netns.Ensure(name); err != nil {
		fmt.Fprintln(os.Stderr, "private host:", err)
		return 1
	}
	defer netns.Delete(name)
	args := append([]string{"netns", "exec", name, "unshare", "-m", "--propagation", "private",
		"sh", "-c", `mount -t tmpfs tmpfs /run/netns && exec "$0" "$@"`}, os.Args...)
	cmd := exec.Command("ip", args...)
	cmd.Env = append(os.Environ(), insideVariable+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "private host:", err)
		return 1
	}
	return 0
}

func needHost(t testing.TB) {
	t.Helper()
	if os.Getenv(insideVariable) == "" {
		t.Skip("needs root: makes network namespaces")
	}
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("needs nft")
	}
}

// bridge makes a plain bridge in the host and plugs the taps of ports into it as they appear.
func bridge(t *testing.T, name string, taps ...string) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	br := &netlink.Bridge{LinkAttrs: attrs}
	must(t, netlink.LinkAdd(br))
	t.Cleanup(func() { _ = netlink.LinkDel(br) })
	must(t, os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("1"), 0))
	must(t, netlink.LinkSetUp(br))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { // the L2 agent
		defer close(done)
		for ctx.Err() == nil {
			for _, tap := range taps {
				if l, err := netlink.LinkByName(tap); err == nil && l.Attrs().MasterIndex == 0 {
					_ = netlink.LinkSetMaster(l, br)
				}
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
}

// machine is an instance, or the internet: a namespace with one interface on a bridge.
type machine struct {
	t    *testing.T
	name string
}

func newMachine(t *testing.T, name, bridge, address, gateway string) machine {
	t.Helper()
	_, err := netns.Ensure(name)
	must(t, err)
	t.Cleanup(func() { _ = netns.Delete(name) })
	m := machine{t, name}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "o-" + name
	there, err := os.Open("/run/netns/" + name)
	must(t, err)
	defer there.Close()
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(there.Fd())}))
	outer, err := netlink.LinkByName(attrs.Name)
	must(t, err)
	t.Cleanup(func() { _ = netlink.LinkDel(outer) })
	br, err := netlink.LinkByName(bridge)
	must(t, err)
	must(t, os.WriteFile("/proc/sys/net/ipv6/conf/"+attrs.Name+"/disable_ipv6", []byte("1"), 0))
	must(t, netns.Sysctl(name, "net/ipv6/conf/eth0/accept_dad", "0"))
	must(t, netlink.LinkSetMaster(outer, br))
	must(t, netlink.LinkSetUp(outer))
	m.with(func(h *netlink.Handle, eth0 netlink.Link) {
		must(t, h.LinkSetUp(eth0))
	})
	if address != "" {
		m.address(address)
	}
	if gateway != "" {
		m.route("0.0.0.0/0", gateway)
	}
	return m
}

func (m machine) with(f func(h *netlink.Handle, eth0 netlink.Link)) {
	m.t.Helper()
	h, err := netns.Handle(m.name)
	must(m.t, err)
	defer h.Close()
	eth0, err := h.LinkByName("eth0")
	must(m.t, err)
	f(h, eth0)
}

func (m machine) address(cidr string) {
	m.with(func(h *netlink.Handle, eth0 netlink.Link) {
		must(m.t, h.AddrReplace(eth0, netlinkAddr(netip.MustParsePrefix(cidr))))
	})
}

func (m machine) route(dst, via string) {
	m.with(func(h *netlink.Handle, _ netlink.Link) {
		must(m.t, h.RouteReplace(&netlink.Route{Dst: ipNet(netip.MustParsePrefix(dst)), Gw: net.ParseIP(via)}))
	})
}

// serve answers TCP on port 7: first the address of the client on a line, then whatever the client sends.
func (m machine) serve() {
	m.t.Helper()
	serveIn(m.t, m.name, ":7")
}

func serveIn(t *testing.T, namespace, address string) net.Listener {
	t.Helper()
	var l net.Listener
	must(t, netns.Do(namespace, func() (err error) {
		l, err = net.Listen("tcp", address)
		return err
	}))
	ctx, cancel := context.WithCancel(context.Background())
	var tasks sync.WaitGroup
	tasks.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			stop := context.AfterFunc(ctx, func() { c.Close() })
			tasks.Go(func() { echo(c); stop() })
		}
	})
	t.Cleanup(func() { cancel(); l.Close(); tasks.Wait() })
	return l
}

func echo(c net.Conn) {
	defer c.Close()
	from, _ := netip.ParseAddrPort(c.RemoteAddr().String())
	fmt.Fprintln(c, from.Addr().Unmap().WithZone(""))
	in := bufio.NewReader(c)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		fmt.Fprint(c, line)
	}
}

// dial connects and returns the connection and which source address the server saw.
func (m machine) dial(address string) (c net.Conn, source string, err error) {
	return m.dialWithin(address, patience)
}

func (m machine) dialWithin(address string, limit time.Duration) (c net.Conn, source string, err error) {
	err = netns.Do(m.name, func() error {
		d := net.Dialer{Timeout: limit}
		c, err = d.Dial("tcp", address)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	c.SetDeadline(time.Now().Add(patience))
	source, err = bufio.NewReader(c).ReadString('\n')
	m.t.Cleanup(func() { c.Close() })
	return c, strings.TrimSpace(source), err
}

// sees checks which source address the server at address sees of the machine; "" = there is no way. A way may take a while: taps are
// plugged and neighbours found by others.
func (m machine) sees(address, want string) {
	m.t.Helper()
	c, got, err := m.dialWithin(address, 300*time.Millisecond)
	for end := time.Now().Add(patience); err != nil && want != "" && time.Now().Before(end); {
		c, got, err = m.dialWithin(address, time.Second)
	}
	if err == nil {
		c.Close()
	}
	if got != want {
		m.t.Errorf("%s to %s: source %q, want %q (%v)", m.name, address, got, want, err)
	}
}

// reaches waits until there is a way.
func (m machine) reaches(address string) {
	m.t.Helper()
	eventually(m.t, m.name+" reaches "+address, func() bool {
		c, _, err := m.dialWithin(address, time.Second)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

// alive tells whether the connection still carries data.
func alive(c net.Conn) bool { return answersWithin(c, patience) }

// dead tells whether it does not any more.
func dead(c net.Conn) bool { return !answersWithin(c, 700*time.Millisecond) }

func answersWithin(c net.Conn, limit time.Duration) bool {
	c.SetDeadline(time.Now().Add(limit))
	if _, err := fmt.Fprintln(c, "hello"); err != nil {
		return false
	}
	answer, err := bufio.NewReader(c).ReadString('\n')
	return err == nil && answer == "hello\n"
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// patience bounds the wait for what takes a second on a machine that has nothing else to do.
const patience = time.Minute

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: ", what)
		}
	}
}

func linkExists(name string) bool {
	_, err := netlink.LinkByName(name)
	return err == nil
}

// routesIn returns the static routes of a namespace as text.
func routesIn(t *testing.T, namespace string) (out []string) {
	h, err := netns.Handle(namespace)
	must(t, err)
	defer h.Close()
	routes, err := h.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Protocol: unix.RTPROT_STATIC}, netlink.RT_FILTER_PROTOCOL)
	must(t, err)
	for _, r := range routes {
		out = append(out, destination(r, netlink.FAMILY_V4).String())
	}
	return out
}
