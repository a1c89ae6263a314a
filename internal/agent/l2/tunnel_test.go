package l2

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"neutrino/internal/linux/conntrack"
	"neutrino/internal/rpc"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// otherHost says that this process is the second host of TestTunnel.
const otherHost = "NEUTRINO_L2_TEST_HOST"

var underlay = [2]string{"underlay1", "underlay2"}

// underlayFamily is "6" if the hosts' tunnels are to go over IPv6, for both of them.
const underlayFamily = "NEUTRINO_L2_TEST_UNDERLAY"

// endpoints are the hosts' tunnel endpoints.
func endpoints() [2]netip.Addr {
	if os.Getenv(underlayFamily) == "6" {
		return [2]netip.Addr{netip.MustParseAddr("fd00:50::1"), netip.MustParseAddr("fd00:50::2")}
	}
	return [2]netip.Addr{netip.MustParseAddr("192.168.50.1"), netip.MustParseAddr("192.168.50.2")}
}

// underlayAddress is the address of a host's end, in use at once.
func underlayAddress(host int) *netlink.Addr {
	ip := endpoints()[host]
	return &netlink.Addr{IPNet: &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(ip.BitLen()-8, ip.BitLen())}, Flags: unix.IFA_F_NODAD}
}

// hostTB is a testing.TB for a process that is not a test.
type hostTB struct{ testing.TB }

func (hostTB) Helper()          {}
func (hostTB) Cleanup(func())   {} // everything ends with the namespace of the process
func (hostTB) Error(v ...any)   { fmt.Fprintln(os.Stderr, v...) }
func (h hostTB) Fatal(v ...any) { h.Error(v...); os.Exit(1) }

func (hostTB) Context() context.Context { return context.Background() }

// runOtherHost is a host with one instance, number 2 of netA. It says "ready", waits for a line (the underlay is there),
// says "up" when the instance is wired, and ends with its input.
func runOtherHost() {
	in := bufio.NewReader(os.Stdin)
	fmt.Println("ready")
	if _, err := in.ReadString('\n'); err != nil {
		return
	}
	t := hostTB{}
	b := newMemoryBus()
	s := newFakeServer(nil, b)
	i := tunnelHost(t, s, 1)
	cfg := testConfig()
	cfg.Host, cfg.LocalIP = "h2", endpoints()[1]
	onOtherHost(&cfg, s, i)
	if dir := os.Getenv(otherSwitch); dir != "" {
		sw := startSwitch(t, dir)
		sw.setUnderlay(1)
		sw.configure(&cfg)
		sw.vsctl("add-br", "br-int", "--", "set", "Bridge", "br-int", "datapath_type="+datapath(), "fail_mode=secure")
		sw.plugNova(i)
	} else {
		if err := setUnderlay(1); err != nil {
			t.Fatal(err)
		}
		i.plug()
	}
	go New(cfg, b, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))).Run(t.Context())
	s.waitFor(t, i.device)
	fmt.Println("up")
	io.Copy(io.Discard, in)
}

// tunnelHost makes the instance of one of the two hosts and tells the server of the one of the other.
func tunnelHost(t testing.TB, s *fakeServer, host int) *instance {
	s.Groups[groupDefault] = append(allOut(),
		rpc.SecurityGroupRule{Direction: "ingress", Ethertype: "IPv4", Protocol: "icmp", Stateful: true},
		rpc.SecurityGroupRule{Direction: "ingress", Ethertype: "IPv6", Protocol: "icmp", Stateful: true})
	i := newInstance(t, s, netA, host+1, groupDefault)
	s.mu.Lock()
	port := s.Ports[i.device]
	port.Details.NetworkType = tunnelType()
	s.Ports[i.device] = port
	s.mu.Unlock()
	other := 1 - host
	mac := fmt.Sprintf("fa:16:3e:00:00:%02x", other+1)
	s.FDB[netA] = rpc.NetworkFDB{NetworkType: tunnelType(), SegmentID: 5, Ports: map[string][]rpc.FDBEntry{
		endpoints()[other].String(): {rpc.FloodEntry, {MAC: mac, IP: fmt.Sprintf("10.0.0.%d", other+1)},
			{MAC: mac, IP: fmt.Sprintf("fd00::%d", other+1)}}}}
	return i
}

// tunnelTypeOf names the type of the tunnel between the hosts, for both of them.
const tunnelTypeOf = "NEUTRINO_L2_TEST_TUNNEL"

func tunnelType() string { return cmp.Or(os.Getenv(tunnelTypeOf), "vxlan") }

func setUnderlay(host int) error {
	l, err := netlink.LinkByName(underlay[host])
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(l, underlayAddress(host)); err != nil {
		return err
	}
	return netlink.LinkSetUp(l)
}

// otherSwitch names the directory of the other host's Open vSwitch, if it has one.
const otherSwitch = "NEUTRINO_L2_TEST_SWITCH"

// startOtherHost starts the process and joins it with this host. setUnderlay gives this host its address.
func startOtherHost(t *testing.T, setUnderlay func(host int) error, env ...string) {
	t.Helper()
	runtime.LockOSThread() // the kill signal for the child comes when the thread ends
	t.Cleanup(runtime.UnlockOSThread)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(append(os.Environ(), otherHost+"=1"), env...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		cmd.Wait()
	})
	out := bufio.NewScanner(stdout)
	expect := func(want string) {
		t.Helper()
		if !out.Scan() || out.Text() != want {
			t.Fatalf("other host said %q, not %q", out.Text(), want)
		}
	}
	expect("ready")
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: underlay[0], MTU: 1500}, PeerName: underlay[1],
		PeerNamespace: netlink.NsPid(cmd.Process.Pid)}
	if err := netlink.LinkAdd(pair); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { deleteLink(t, underlay[0]) })
	if err := setUnderlay(0); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(stdin)
	expect("up")
}

func TestTunnel(t *testing.T) {
	r := newRig(t)
	startOtherHost(t, setUnderlay)
	a := tunnelHost(t, r.server, 0).plug()
	r.start()
	r.server.waitFor(t, a.device)
	eventually(t, "remote entries", func() bool { return len(kernelFDB(t)) == 5 }) // flooding, without which nobody is asked, comes last
	if err := netlink.ConntrackTableFlush(netlink.ConntrackTable); err != nil {    // the other host may have sent before there were filters
		t.Fatal(err)
	}
	wire := capture(t, underlay[0])
	for _, remote := range []string{"10.0.0.2", "fd00::2"} {
		a.reaches(netip.MustParseAddr(remote), true)
	}
	a.pings(netip.MustParseAddr("10.0.0.77"))
	a.pings(netip.MustParseAddr("fd00::77"))

	asked := map[string]bool{}
	for !asked["10.0.0.77"] || !asked["fd00::77"] {
		p := wire.next()
		if target := resolved(p.inner); target != "" && bytes.Equal(p.inner[6:12], a.mac) {
			asked[target] = true
			if p.dst != endpoints()[1] {
				t.Errorf("question for %s went to %s", target, p.dst)
			}
		}
	}
	for _, known := range []string{"10.0.0.2", "fd00::2"} {
		if asked[known] {
			t.Errorf("question for %s left the host", known)
		}
	}
	tracked, err := conntrack.List(func(f *conntrack.Flow) bool { return f.Protocol == unix.IPPROTO_UDP && f.DestPort == 4789 })
	if err != nil || len(tracked) > 0 {
		t.Errorf("tunnel packets are tracked: %v, %v", tracked, err)
	}
}

func TestTunnelOverIPv6(t *testing.T) {
	t.Setenv(underlayFamily, "6")
	r := newRig(t)
	startOtherHost(t, setUnderlay)
	a := tunnelHost(t, r.server, 0).plug()
	r.start()
	r.server.waitFor(t, a.device)
	for _, remote := range []string{"10.0.0.2", "fd00::2"} {
		a.reaches(netip.MustParseAddr(remote), true)
	}
}

// tunnelTap is a raw socket that sees tunnel packets.
type tunnelTap struct {
	t  *testing.T
	fd int
}

type tunnelPacket struct {
	dst   netip.Addr
	inner []byte
}

func capture(t *testing.T, device string) *tunnelTap {
	t.Helper()
	l, err := netlink.LinkByName(device)
	if err != nil {
		t.Fatal(err)
	}
	all := binary.NativeEndian.Uint16(be16(unix.ETH_P_ALL))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(all))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: l.Attrs().Index}); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 60}); err != nil {
		t.Fatal(err)
	}
	return &tunnelTap{t, fd}
}

// next waits for the next tunnel packet that leaves this host.
func (c *tunnelTap) next() tunnelPacket {
	c.t.Helper()
	const outer = 14 + 20 + 8 + 8
	buf := make([]byte, 2048)
	for {
		n, err := unix.Read(c.fd, buf)
		if err != nil {
			c.t.Fatal("no more tunnel packets:", err)
		}
		b := buf[:n]
		if n < outer+14 || binary.BigEndian.Uint16(b[12:]) != unix.ETH_P_IP || b[23] != unix.IPPROTO_UDP ||
			binary.BigEndian.Uint16(b[36:]) != 4789 || !bytes.Equal(b[26:30], endpoints()[0].AsSlice()) {
			continue
		}
		dst, _ := netip.AddrFromSlice(b[30:34])
		return tunnelPacket{dst, bytes.Clone(b[outer:])}
	}
}

// resolved is the address that an ARP request or a neighbour solicitation asks for, or "".
func resolved(frame []byte) string {
	var target []byte
	switch kind := binary.BigEndian.Uint16(frame[12:]); {
	case kind == unix.ETH_P_ARP && frame[21] == 1:
		target = frame[38:42]
	case kind == unix.ETH_P_IPV6 && frame[20] == unix.IPPROTO_ICMPV6 && frame[54] == 135:
		target = frame[62:78]
	default:
		return ""
	}
	a, _ := netip.AddrFromSlice(target)
	return a.String()
}
