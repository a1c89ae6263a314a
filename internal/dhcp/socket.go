package dhcp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"

	"neutrino/internal/linux/epoll"
	"neutrino/internal/linux/netns"

	"golang.org/x/sys/unix"
)

// socket is a UDP socket inside a namespace, bound to one device.
//
// It reads and writes below package net, because that translates interface indexes to names by asking the namespace
// of the current thread, which is another one.
type socket struct {
	conn  net.PacketConn
	raw   syscall.RawConn
	watch *epoll.Watch
}

// place is where a socket lives.
type place struct {
	namespace string
	device    string
}

// open opens a socket on the address; prepare sees the file descriptor and the device's index before the bind.
func (p place) open(network, address string, prepare func(fd, index int) error) (s *socket, index int, err error) {
	err = netns.Do(p.namespace, func() error {
		lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
			var failed error
			err := c.Control(func(fd uintptr) {
				if index, failed = deviceIndex(int(fd), p.device); failed == nil {
					failed = errors.Join(unix.BindToDevice(int(fd), p.device), prepare(int(fd), index))
				}
			})
			return errors.Join(err, failed)
		}}
		conn, err := lc.ListenPacket(context.Background(), network, address)
		if err != nil {
			return err
		}
		raw, err := conn.(*net.UDPConn).SyscallConn()
		s = &socket{conn: conn, raw: raw}
		return err
	})
	if err != nil {
		return nil, 0, fmt.Errorf("open %s %s on %s in %s: %w", network, address, p.device, p.namespace, err)
	}
	return s, index, nil
}

// deviceIndex asks a socket for the index of a device of its namespace. Package net would read all devices.
func deviceIndex(fd int, device string) (int, error) {
	r, err := unix.NewIfreq(device)
	if err != nil {
		return 0, err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, r); err != nil {
		return 0, fmt.Errorf("index of %s: %w", device, err)
	}
	return int(r.Uint32()), nil
}

// read waits for a packet. It fails once the socket is closed.
func (s *socket) read(buf []byte) (n int, from unix.Sockaddr, err error) {
	closed := s.raw.Read(func(fd uintptr) bool {
		n, from, err = unix.Recvfrom(int(fd), buf, unix.MSG_DONTWAIT)
		return err != unix.EAGAIN && err != unix.EINTR
	})
	if closed != nil {
		return 0, nil, net.ErrClosed
	}
	return n, from, err
}

// write sends a packet; what does not fit into the send buffer is dropped, as UDP may.
func (s *socket) write(b []byte, to unix.Sockaddr) error {
	var err error
	if closed := s.raw.Control(func(fd uintptr) { err = unix.Sendto(int(fd), b, unix.MSG_DONTWAIT, to) }); closed != nil {
		return closed
	}
	return err
}

// Close waits for the last answer.
func (s *socket) Close() error {
	err := s.conn.Close()
	s.watch.Stop()
	return err
}

// frames sends IPv4 packets to Ethernet addresses, for clients that cannot be reached by ARP yet. The socket is opened
// when first used and never receives: a receiving packet socket would cost every packet of the namespace.
type frames struct {
	place
	index int

	mu sync.Mutex
	fd int // 0: not open
}

func (f *frames) send(packet []byte, to MAC) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fd == 0 {
		err := netns.Do(f.namespace, func() (err error) {
			f.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
			return err
		})
		if err != nil {
			f.fd = 0
			return fmt.Errorf("open packet socket in %s: %w", f.namespace, err)
		}
	}
	ll := &unix.SockaddrLinklayer{Protocol: swap16(unix.ETH_P_IP), Ifindex: f.index, Halen: uint8(len(to))}
	copy(ll.Addr[:], to[:])
	return unix.Sendto(f.fd, packet, 0, ll)
}

func (f *frames) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fd == 0 {
		return nil
	}
	fd := f.fd
	f.fd = 0
	return unix.Close(fd)
}

// swap16 puts a number in network byte order where the kernel wants it so in a native integer.
func swap16(v uint16) uint16 {
	return binary.NativeEndian.Uint16([]byte{byte(v >> 8), byte(v)})
}

func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port))
	}
	return netip.AddrPort{}
}
