package lab

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Node is a machine: network, mount, host name and process namespaces of its own. /run is private, so that two nodes
// may both have a namespace qrouter-X.
type Node struct {
	Name string // also its host name
	lab  *Lab

	holder *exec.Cmd
	hold   io.Closer // the holder ends when this is closed
	gone   chan struct{}
	spaces []space
}

// space is an opened namespace of the holder.
type space struct {
	kind int // a CLONE_NEW… flag
	file *os.File
}

// netSpace is the place of the network namespace in Node.spaces.
const netSpace = 0

// kinds in the order in which they must be joined: the mount namespace last.
var kinds = []struct {
	file string
	flag int
}{
	{"net", unix.CLONE_NEWNET}, {"uts", unix.CLONE_NEWUTS}, {"pid", unix.CLONE_NEWPID}, {"mnt", unix.CLONE_NEWNS},
}

// /sys is mounted again because it shows the network devices of the namespace it was mounted in.
const holderScript = `set -e
mount --make-rprivate /
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
mkdir /run/netns /run/lock
hostname "$1"
ip link set lo up
echo ready
exec cat`

// Node starts a machine with nothing but a loopback.
func (l *Lab) Node(name string) *Node {
	l.T.Helper()
	n, err := l.startNode(name)
	if err != nil {
		l.T.Fatalf("start node %s: %v", name, err)
	}
	return n
}

func (l *Lab) startNode(name string) (*Node, error) {
	n := &Node{Name: name, lab: l, gone: make(chan struct{})}
	n.holder = exec.Command("sh", "-c", holderScript, "holder", name)
	n.holder.Dir = "/"
	n.holder.SysProcAttr = &syscall.SysProcAttr{
		Setpgid: true, // an interrupt from the keyboard is for us; the holders must outlive the clean-up
	}
	for _, k := range kinds {
		n.holder.SysProcAttr.Cloneflags |= uintptr(k.flag)
	}
	var errs bytes.Buffer
	n.holder.Stderr = &errs
	hold, err := n.holder.StdinPipe()
	if err != nil {
		return nil, err
	}
	n.hold = hold
	out, err := n.holder.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := n.holder.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		_ = hold.Close()
		_ = n.holder.Wait()
		return nil, fmt.Errorf("holder said %q: %w: %s", line, err, errs.String())
	}
	go func() {
		_ = n.holder.Wait()
		close(n.gone)
	}()
	l.mu.Lock()
	l.nodes = append(l.nodes, n)
	l.mu.Unlock()
	for _, k := range kinds {
		f, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", n.Pid(), k.file))
		if err != nil {
			return nil, err
		}
		n.spaces = append(n.spaces, space{kind: k.flag, file: f})
	}
	return n, nil
}

// Pid is the process id of the holder, for nsenter.
func (n *Node) Pid() int { return n.holder.Process.Pid }

// Remove takes the machine away with everything in it, as a power cut does.
func (n *Node) Remove() {
	n.end()
	n.ended()
}

// end kills the first process of the process namespace, upon which the kernel kills all others.
func (n *Node) end() {
	_ = n.hold.Close()
	_ = n.holder.Process.Kill()
	for _, s := range n.spaces {
		_ = s.file.Close()
	}
}

func (n *Node) ended() { <-n.gone }

// removed tells whether the machine is gone.
func (n *Node) removed() bool {
	select {
	case <-n.gone:
		return true
	default:
		return false
	}
}

// Do runs f on a thread inside the network namespace of the node. Sockets that f opens stay in it; goroutines that
// it starts are not in it.
func (n *Node) Do(f func() error) error {
	done := make(chan error, 1)
	go func() { // the thread is not unlocked and so ends with the goroutine: nobody inherits its namespace
		runtime.LockOSThread()
		if err := unix.Setns(int(n.spaces[netSpace].file.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter %s: %w", n.Name, err)
			return
		}
		done <- f()
	}()
	return <-done
}

// start begins the command inside all namespaces of the node.
func (n *Node) start(cmd *exec.Cmd) error {
	done := make(chan error, 1)
	go func() { // as in Do, the thread is thrown away
		runtime.LockOSThread()
		// A thread that shares its working directory with others may not change its mount namespace.
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			done <- err
			return
		}
		for _, s := range n.spaces {
			if err := unix.Setns(int(s.file.Fd()), s.kind); err != nil {
				done <- fmt.Errorf("enter %s: %w", n.Name, err)
				return
			}
		}
		done <- cmd.Start()
	}()
	return <-done
}

// Exec runs a command in the node, for at most a minute, and returns what it printed on both outputs.
func (n *Node) Exec(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patient(patience))
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = "/"
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := n.start(cmd); err != nil {
		return "", fmt.Errorf("%s: start %s: %w", n.Name, name, err)
	}
	if err := cmd.Wait(); err != nil {
		return out.String(), fmt.Errorf("%s: %s: %w: %s", n.Name, strings.Join(cmd.Args, " "), err, out.String())
	}
	return out.String(), nil
}

// Run runs a command line, split at spaces, in the node and returns what it printed. If the command fails so does the
// test.
func (n *Node) Run(line string) string {
	n.lab.T.Helper()
	words := strings.Fields(line)
	out, err := n.Exec(words[0], words[1:]...)
	if err != nil {
		n.lab.T.Fatalf("%v", err)
	}
	return out
}

// Sysctl writes a value under /proc/sys of the node; key has slashes.
func (n *Node) Sysctl(key, value string) {
	n.lab.T.Helper()
	if err := n.Do(func() error { return os.WriteFile("/proc/sys/"+key, []byte(value), 0) }); err != nil {
		n.lab.T.Fatalf("%s: set %s: %v", n.Name, key, err)
	}
}

// impatient has the node repeat unanswered ARP and ND requests soon, as waiting a second for the second try would
// hide how long things really take. It gives up as late as any machine, for the answer may have to wait for a busy ovs-vswitchd.
func (n *Node) impatient(device string) {
	n.lab.T.Helper()
	for _, family := range []string{"ipv4", "ipv6"} {
		n.Sysctl("net/"+family+"/neigh/"+device+"/retrans_time_ms", "50")
		n.Sysctl("net/"+family+"/neigh/"+device+"/mcast_solicit", "60")
	}
}

// end of a cable: an interface of a node.
type end struct {
	node *Node
	name string
	mac  net.HardwareAddr // nil: the kernel's choice
	mtu  int
}

// cable connects two nodes by a veth pair. Both ends are left down. A real machine's tap does not speak IPv6 by
// itself, so the first end does not either.
func (l *Lab) cable(a, b end) {
	l.T.Helper()
	if err := makeCable(a, b); err != nil {
		l.T.Fatalf("cable from %s of %s to %s of %s: %v", a.name, a.node.Name, b.name, b.node.Name, err)
	}
}

func makeCable(a, b end) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = a.name, a.mtu
	pair := &netlink.Veth{LinkAttrs: attrs, PeerName: b.name, PeerHardwareAddr: b.mac, PeerMTU: uint32(b.mtu),
		PeerNamespace: netlink.NsFd(int(b.node.spaces[netSpace].file.Fd()))}
	return a.node.Do(func() error {
		if err := netlink.LinkAdd(pair); err != nil {
			return err
		}
		return os.WriteFile("/proc/sys/net/ipv6/conf/"+a.name+"/disable_ipv6", []byte("1"), 0)
	})
}
