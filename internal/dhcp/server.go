package dhcp

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"neutrino/internal/linux/epoll"
	"neutrino/internal/linux/netns"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Server answers the clients of one network on one device of one namespace. Each address family costs a socket, and only if
// the network has subnets of it.
type Server struct {
	place
	poller  *epoll.Poller
	log     *slog.Logger
	network atomic.Pointer[Network]

	mu     sync.Mutex // guards the sockets
	v4, v6 *socket
	frames *frames
}

// Listen starts a server for n, which waits by p. The device must be up and have the server's addresses.
func Listen(p *epoll.Poller, namespace, device string, n *Network, log *slog.Logger) (*Server, error) {
	s := &Server{place: place{namespace, device}, poller: p, log: log}
	if err := s.Update(n); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Update makes n the network that is served from the next packet on.
func (s *Server) Update(n *Network) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.network.Store(n)
	if err := s.family(&s.v4, n.hasFamily(true), s.listen4); err != nil {
		return err
	}
	return s.family(&s.v6, n.hasFamily(false), s.listen6)
}

func (s *Server) family(open **socket, wanted bool, listen func() (*socket, error)) (err error) {
	switch {
	case wanted && *open == nil:
		*open, err = listen()
	case !wanted && *open != nil:
		err = (*open).Close()
		*open = nil
	}
	return err
}

// Close ends the service and waits for the last answer.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, open := range []**socket{&s.v4, &s.v6} {
		if *open != nil {
			errs = append(errs, (*open).Close())
			*open = nil
		}
	}
	if s.frames != nil {
		errs = append(errs, s.frames.Close())
	}
	return errors.Join(errs...)
}

func (s *Server) listen4() (*socket, error) {
	sock, index, err := s.open("udp4", fmt.Sprintf(":%d", dhcpv4.ServerPort), func(int, int) error { return nil })
	if err != nil {
		return nil, err
	}
	if s.frames == nil {
		s.frames = &frames{place: s.place, index: index}
	}
	frames := s.frames
	return s.serve(sock, func(b []byte, _ unix.Sockaddr) error { return s.handle4(sock, frames, b) })
}

func (s *Server) listen6() (*socket, error) {
	groups := []net.IP{dhcpv6.AllDHCPRelayAgentsAndServers, dhcpv6.AllDHCPServers}
	sock, index, err := s.open("udp6", fmt.Sprintf("[::]:%d", dhcpv6.DefaultServerPort), func(fd, index int) error {
		for _, g := range groups {
			m := &unix.IPv6Mreq{Multiaddr: [16]byte(g.To16()), Interface: uint32(index)}
			if err := unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, m); err != nil {
				return fmt.Errorf("join %s: %w", g, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s.serve(sock, func(b []byte, from unix.Sockaddr) error { return s.handle6(sock, index, b, from) })
}

// largest is the longest request that is read; clients send a few hundred octets.
const largest = 2048

// serve has handle called for each packet. It closes the socket if it fails.
func (s *Server) serve(sock *socket, handle func(b []byte, from unix.Sockaddr) error) (_ *socket, err error) {
	sock.watch, err = s.poller.Watch(sock.raw, func() {
		buf := make([]byte, largest) // not kept while there is nothing to read: there may be a thousand networks
		n, from, err := sock.read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			err = guard(func() error { return handle(buf[:n], from) })
		}
		if err != nil {
			s.log.Debug("DHCP request failed", "device", s.device, "from", addrPort(from), "error", err)
		}
	})
	if err != nil {
		return nil, errors.Join(err, sock.conn.Close())
	}
	return sock, nil
}

// guard turns a panic into an error: packets come from tenants, and the parser is somebody else's.
func guard(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return f()
}

func (s *Server) handle4(sock *socket, frames *frames, b []byte) error {
	req, err := dhcpv4.FromBytes(b)
	if err != nil {
		return err
	}
	n := s.network.Load()
	reply := n.Reply4(req)
	if reply == nil {
		return nil
	}
	s.log.Debug("DHCP", "device", s.device, "request", req.MessageType(), "reply", reply.MessageType(), "mac", req.ClientHWAddr, "address", reply.YourIPAddr)
	to, routed, broadcast := n.destination4(reply)
	if routed {
		return sock.write(reply.ToBytes(), &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()})
	}
	mac, _ := macOf(reply.ClientHWAddr)
	if broadcast {
		mac = MAC{255, 255, 255, 255, 255, 255}
	}
	server := addr4(reply.ServerIdentifier())
	if !server.IsValid() { // BOOTP has none
		server = n.address(nil, true)
	}
	from := netip.AddrPortFrom(server, dhcpv4.ServerPort)
	return frames.send(datagram4(from, to, reply.ToBytes()), mac)
}

func (s *Server) handle6(sock *socket, index int, b []byte, from unix.Sockaddr) error {
	packet, err := dhcpv6.FromBytes(b)
	if err != nil {
		return err
	}
	req, err := packet.GetInnerMessage()
	if err != nil {
		return err
	}
	n := s.network.Load()
	client := s.client6(n, sock, index, packet, req, from)
	reply := n.Reply6(req, client)
	if reply == nil {
		return nil
	}
	s.log.Debug("DHCPv6", "device", s.device, "request", req.MessageType, "reply", reply.MessageType, "mac", client.MAC)
	answer := dhcpv6.DHCPv6(reply)
	if relay, ok := packet.(*dhcpv6.RelayMessage); ok {
		if answer, err = dhcpv6.NewRelayReplFromRelayForw(relay, reply); err != nil {
			return err
		}
	}
	return sock.write(answer.ToBytes(), from)
}

// client6 finds out who sent a message: from the relay's word (RFC 6939), the sender's link-local address, or the
// neighbour table. An identifier that contains an address is believed last, since a clone may carry another's.
func (s *Server) client6(n *Network, sock *socket, index int, packet dhcpv6.DHCPv6, req *dhcpv6.Message, from unix.Sockaddr) Client6 {
	var c Client6
	peer := addrPort(from).Addr()
	if relay, ok := packet.(*dhcpv6.RelayMessage); ok {
		relay = innermost(relay)
		c.Link, _ = netip.AddrFromSlice(relay.LinkAddr.To16())
		peer, _ = netip.AddrFromSlice(relay.PeerAddr.To16())
		if _, hw := relay.Options.ClientLinkLayerAddress(); hw != nil {
			c.MAC, _ = macOf(hw)
			return c
		}
	}
	if mac, ok := eui64(peer); ok && n.find(nil, mac) != nil {
		c.MAC = mac
		return c
	}
	if !packet.IsRelay() {
		if mac, ok := s.neighbour(sock, index, peer); ok {
			c.MAC = mac
			return c
		}
	}
	switch id := req.Options.ClientID().(type) {
	case *dhcpv6.DUIDLL:
		c.MAC, _ = macOf(id.LinkLayerAddr)
	case *dhcpv6.DUIDLLT:
		c.MAC, _ = macOf(id.LinkLayerAddr)
	}
	return c
}

// innermost is the envelope that the relay next to the client made.
func innermost(r *dhcpv6.RelayMessage) *dhcpv6.RelayMessage {
	for {
		inner, ok := r.Options.RelayMessage().(*dhcpv6.RelayMessage)
		if !ok {
			return r
		}
		r = inner
	}
}

// eui64 takes the Ethernet address out of a modified EUI-64 interface identifier.
func eui64(a netip.Addr) (MAC, bool) {
	if !a.Is6() {
		return MAC{}, false
	}
	b := a.As16()
	if b[11] != 0xff || b[12] != 0xfe {
		return MAC{}, false
	}
	return MAC{b[8] ^ 2, b[9], b[10], b[13], b[14], b[15]}, true
}

// neighbour looks the sender up in the kernel's neighbour table. A packet to its discard port makes the kernel ask for
// it if it is not there, which takes a moment on a healthy link.
func (s *Server) neighbour(sock *socket, index int, peer netip.Addr) (MAC, bool) {
	h, err := netns.Handle(s.namespace)
	if err != nil {
		return MAC{}, false
	}
	defer h.Close()
	const discard, tries, pause = 9, 5, 4 * time.Millisecond
	for range tries {
		table, err := h.NeighList(index, netlink.FAMILY_V6)
		if err != nil {
			return MAC{}, false
		}
		for _, e := range table {
			if a, _ := netip.AddrFromSlice(e.IP); a == peer {
				if mac, ok := macOf(e.HardwareAddr); ok {
					return mac, true
				}
			}
		}
		_ = sock.write(nil, &unix.SockaddrInet6{Port: discard, ZoneId: uint32(index), Addr: peer.As16()})
		time.Sleep(pause)
	}
	return MAC{}, false
}
