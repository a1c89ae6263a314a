package chaos

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"neutrino/test/lab"
)

// traffic is a kind of packet that is tried.
type traffic struct {
	protocol string // icmp, tcp, udp
	port     int
	size     int  // of the payload
	reply    bool // of ICMP
}

// kind is the type of an ICMP message.
func (t traffic) kind(v6 bool) int {
	switch {
	case v6 && t.reply:
		return int(ipv6.ICMPTypeEchoReply)
	case v6:
		return int(ipv6.ICMPTypeEchoRequest)
	case t.reply:
		return int(ipv4.ICMPTypeEchoReply)
	}
	return int(ipv4.ICMPTypeEcho)
}

func (t traffic) String() string {
	if t.size > smallPayload {
		return fmt.Sprintf("%s %d in fragments", t.protocol, t.port)
	}
	if t.protocol == "icmp" {
		return "icmp"
	}
	return fmt.Sprintf("%s %d", t.protocol, t.port)
}

const smallPayload = 64

// ports are those that services listen on. Rules of security groups allow one, or both.
var ports = []int{1001, 1002}

var kinds = []traffic{
	{"icmp", 0, smallPayload, false},
	{"tcp", ports[0], smallPayload, false}, {"tcp", ports[1], smallPayload, false},
	{"udp", ports[0], smallPayload, false}, {"udp", ports[1], smallPayload, false},
	{"udp", ports[0], 3000, false}, // three fragments each way
}

// probe is one packet with an answer, from one address to another.
type probe struct {
	from     *endpoint
	src, dst netip.Addr
	traffic
}

func (p probe) String() string {
	return fmt.Sprintf("%s %s > %s %s", p.from.name, p.src, p.dst, p.traffic)
}

// flight is a probe under way.
type flight struct {
	probe probe
	fd    int
	nonce []byte
	done  bool
}

// sendAt is when a probe is sent again.
var sendAt = []time.Duration{0, 120 * time.Millisecond, 350 * time.Millisecond, 700 * time.Millisecond, 1500 * time.Millisecond}

const (
	quiet   = 500 * time.Millisecond // after this a probe that should fail has failed
	patient = 3 * time.Second        // after this any probe has failed; a lost SYN is sent again after a second
)

// send tries all probes at once, from a fresh source port each, and returns which were answered.
func send(probes []probe, want func(probe) bool) map[probe]bool {
	byEndpoint := map[*endpoint][]*flight{}
	for _, p := range probes {
		byEndpoint[p.from] = append(byEndpoint[p.from], &flight{probe: p, fd: -1})
	}
	var all sync.WaitGroup
	for from, flights := range byEndpoint {
		all.Go(func() { _ = from.node.Do(func() error { return fly(flights, want) }) })
	}
	all.Wait()
	answers := map[probe]bool{}
	for _, flights := range byEndpoint {
		for _, f := range flights {
			answers[f.probe] = f.done
		}
	}
	return answers
}

func fly(flights []*flight, want func(probe) bool) error {
	defer func() {
		for _, f := range flights {
			f.close()
		}
	}()
	start, sent := time.Now(), 0
	for _, f := range flights {
		f.open()
	}
	for {
		now := time.Since(start)
		if sent < len(sendAt) && now >= sendAt[sent] {
			sent++
			for _, f := range flights {
				f.send()
			}
		}
		missing := poll(flights, want)
		if now > patient || now > quiet && missing == 0 {
			return nil
		}
	}
}

// poll waits a moment for answers and returns how many that are expected are missing.
func poll(flights []*flight, want func(probe) bool) (missing int) {
	var fds []unix.PollFd
	var waiting []*flight
	for _, f := range flights {
		if f.done {
			continue
		}
		if want(f.probe) {
			missing++
		}
		if f.fd < 0 {
			continue
		}
		events := int16(unix.POLLIN)
		if f.probe.protocol == "tcp" {
			events = unix.POLLOUT
		}
		fds, waiting = append(fds, unix.PollFd{Fd: int32(f.fd), Events: events}), append(waiting, f)
	}
	if n, err := unix.Poll(fds, 50); err != nil || n <= 0 {
		return missing
	}
	for i, fd := range fds {
		if fd.Revents != 0 && waiting[i].answered() && want(waiting[i].probe) {
			missing--
		}
	}
	return missing
}

func (f *flight) open() {
	family, kind, protocol := unix.AF_INET, unix.SOCK_DGRAM, 0
	if f.probe.dst.Is6() {
		family = unix.AF_INET6
	}
	switch {
	case f.probe.protocol == "tcp":
		kind = unix.SOCK_STREAM
	case f.probe.protocol == "icmp" && family == unix.AF_INET:
		protocol = unix.IPPROTO_ICMP
	case f.probe.protocol == "icmp":
		protocol = unix.IPPROTO_ICMPV6
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return
	}
	f.fd = fd
	if err := unix.Bind(fd, sockaddr(f.probe.src, 0)); err != nil {
		f.close()
		return
	}
	if err := unix.Connect(fd, sockaddr(f.probe.dst, f.probe.port)); err != nil && err != unix.EINPROGRESS {
		f.close()
		return
	}
	f.nonce = make([]byte, f.probe.size)
	if f.probe.protocol == "icmp" { // type and code; the kernel fills in identifier and checksum
		f.nonce[0] = byte(ipv4.ICMPTypeEcho)
		if f.probe.dst.Is6() {
			f.nonce[0] = byte(ipv6.ICMPTypeEchoRequest)
		}
	}
	binary.BigEndian.PutUint64(f.nonce[8:], rand.Uint64())
}

func sockaddr(a netip.Addr, port int) unix.Sockaddr {
	if a.Is6() {
		return &unix.SockaddrInet6{Addr: a.As16(), Port: port}
	}
	return &unix.SockaddrInet4{Addr: a.As4(), Port: port}
}

func (f *flight) send() {
	if !f.done && f.fd >= 0 && f.probe.protocol != "tcp" {
		_, _ = unix.Write(f.fd, f.nonce)
	}
}

// answered takes what has come.
func (f *flight) answered() bool {
	if f.probe.protocol == "tcp" {
		_, err := unix.Getpeername(f.fd) // only who is connected has one, whatever SO_ERROR says
		if f.done = err == nil; !f.done {
			f.close()
		}
		return f.done
	}
	buf := make([]byte, 1<<16)
	n, err := unix.Read(f.fd, buf) // an error is one of ICMP's, which may be about a packet before
	f.done = err == nil && n == len(f.nonce) && string(buf[8:n]) == string(f.nonce[8:])
	return f.done
}

func (f *flight) close() {
	if f.fd >= 0 {
		_ = unix.Close(f.fd)
		f.fd = -1
	}
}

// serve answers TCP and UDP on all ports, until the node is removed.
func serve(n *lab.Node) {
	n.Sysctl("net/ipv4/ping_group_range", "0 0")
	for _, port := range ports {
		n.Echo(port)
		for _, network := range []string{"udp4", "udp6"} {
			var c net.PacketConn
			if err := n.Do(func() (err error) {
				listen := net.ListenConfig{}
				c, err = listen.ListenPacket(context.Background(), network, fmt.Sprintf(":%d", port))
				return err
			}); err != nil {
				panic(err)
			}
			if network == "udp4" {
				go echo4(ipv4.NewPacketConn(c))
			} else {
				go echo6(ipv6.NewPacketConn(c))
			}
		}
	}
}

// echo4 and echo6 answer from the address that was asked, which is not always the one that the kernel would choose.
func echo4(c *ipv4.PacketConn) {
	_ = c.SetControlMessage(ipv4.FlagDst, true)
	buf := make([]byte, 1<<16)
	for {
		n, info, peer, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		_, _ = c.WriteTo(buf[:n], &ipv4.ControlMessage{Src: info.Dst}, peer)
	}
}

func echo6(c *ipv6.PacketConn) {
	_ = c.SetControlMessage(ipv6.FlagDst, true)
	buf := make([]byte, 1<<16)
	for {
		n, info, peer, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		_, _ = c.WriteTo(buf[:n], &ipv6.ControlMessage{Src: info.Dst}, peer)
	}
}
