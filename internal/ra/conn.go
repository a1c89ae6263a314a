package ra

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"neutrino/internal/linux/netns"

	"github.com/mdlayher/ndp"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

var (
	allNodes   = netip.MustParseAddr("ff02::1")
	allRouters = netip.MustParseAddr("ff02::2")
)

// conn is an ICMPv6 socket on one interface. It speaks to the kernel directly because the net package (and all that
// is built on it) keeps one table of interface names per process, whatever namespace they were seen in.
type conn struct {
	file  *os.File
	raw   syscall.RawConn
	index int
	mac   net.HardwareAddr
}

// dial opens the socket inside namespace, bound to the interface and to source, a link-local address of it.
func dial(namespace, iface string, source netip.Addr) (*conn, error) {
	var c *conn
	err := netns.Do(namespace, func() error {
		ifi, err := net.InterfaceByName(iface)
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
		if err != nil {
			return err
		}
		if err := prepare(fd, ifi, source); err != nil {
			unix.Close(fd)
			return err
		}
		c = &conn{file: os.NewFile(uintptr(fd), "icmpv6:"+iface), index: ifi.Index, mac: ifi.HardwareAddr}
		c.raw, err = c.file.SyscallConn()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open an ICMPv6 socket on %s: %w", iface, err)
	}
	return c, nil
}

func prepare(fd int, ifi *net.Interface, source netip.Addr) error {
	var filter unix.ICMPv6Filter // a set bit blocks a type; RFC 3542 section 3.2
	for i := range filter.Data {
		filter.Data[i] = ^uint32(0)
	}
	t := int(ipv6.ICMPTypeRouterSolicitation)
	filter.Data[t/32] &^= 1 << (t % 32)
	return errors.Join(
		unix.SetsockoptICMPv6Filter(fd, unix.IPPROTO_ICMPV6, unix.ICMPV6_FILTER, &filter),
		unix.BindToDevice(fd, ifi.Name),
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, ndp.HopLimit),
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP, 0),
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 1),
		unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP,
			&unix.IPv6Mreq{Multiaddr: allRouters.As16(), Interface: uint32(ifi.Index)}),
		unix.Bind(fd, &unix.SockaddrInet6{Addr: source.As16(), ZoneId: uint32(ifi.Index)}),
	)
}

// send sends m to all nodes of the link.
func (c *conn) send(m ndp.Message) error {
	b, err := ndp.MarshalMessage(m) // the kernel fills in the checksum
	if err != nil {
		return err
	}
	to := &unix.SockaddrInet6{Addr: allNodes.As16(), ZoneId: uint32(c.index)}
	var sent error
	if err := c.raw.Write(func(fd uintptr) bool {
		sent = unix.Sendto(int(fd), b, 0, to)
		return sent != unix.EAGAIN
	}); err != nil {
		return err
	}
	return sent
}

// receive waits for a router solicitation. Whatever did not come from this link (RFC 4861 section 6.1.1) is ignored.
func (c *conn) receive() error {
	b, oob := make([]byte, 1500), make([]byte, 128)
	for {
		var n, oobn int
		var got error
		if err := c.raw.Read(func(fd uintptr) bool {
			n, oobn, _, _, got = unix.Recvmsg(int(fd), b, oob, 0)
			return got != unix.EAGAIN
		}); err != nil {
			return err
		}
		if got != nil {
			return got
		}
		if hopLimit(oob[:oobn]) != ndp.HopLimit {
			continue
		}
		m, err := ndp.ParseMessage(b[:n])
		if _, ok := m.(*ndp.RouterSolicitation); err == nil && ok {
			return nil
		}
	}
}

func hopLimit(oob []byte) int {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return 0
	}
	for _, m := range msgs {
		if m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_HOPLIMIT && len(m.Data) >= 4 {
			return int(binary.NativeEndian.Uint32(m.Data))
		}
	}
	return 0
}

func (c *conn) close() error { return c.file.Close() }
