package dns

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"neutrino/internal/linux/epoll"
	"neutrino/internal/linux/netns"

	wire "github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// What a tenant can make a server hold. The numbers are dnsmasq's (--dns-forward-max, MAX_PROCS).
const (
	mostForwarded   = 150 // questions on their way to resolvers
	mostConnections = 20
	idle            = 10 * time.Second // of a TCP connection
	patience        = 3 * time.Second  // with one resolver
	refusedPause    = time.Second      // after a connection could not be accepted
)

// Server answers at some addresses of one namespace. Each address costs a socket, TCP one for all.
type Server struct {
	namespace, device string
	poller            *epoll.Poller
	log               *slog.Logger
	zone              atomic.Pointer[Zone]
	forwarding        limit        // of questions
	good              atomic.Int32 // the resolver that answered last
	ctx               context.Context
	cancel            context.CancelFunc
	wg                sync.WaitGroup

	mu          sync.Mutex // guards the listeners
	udp         []*watched
	tcp         *watched
	connections limit // over TCP
}

// limit counts what there may be only so many of. A channel of tokens would take four times the memory, and there may be a thousand networks.
type limit struct{ count atomic.Int32 }

// enter tells whether there may be one more, which leaves.
func (l *limit) enter(most int32) bool {
	if l.count.Add(1) <= most {
		return true
	}
	l.leave()
	return false
}

func (l *limit) leave() { l.count.Add(-1) }

// watched is a socket that is waited for.
type watched struct {
	io.Closer
	watch *epoll.Watch
	at    netip.Addr // of UDP
}

// Close waits for the last call.
func (w *watched) Close() error {
	err := w.Closer.Close()
	w.watch.Stop()
	return err
}

// NewServer makes a server that does not listen yet and will wait by p. Close it.
func NewServer(p *epoll.Poller, namespace, device string, log *slog.Logger) *Server {
	ctx, cancel := context.WithCancel(context.Background())
	return &Server{namespace: namespace, device: device, poller: p, log: log, ctx: ctx, cancel: cancel}
}

// Update makes z what is answered from the next question on, at the addresses. They must be on the device.
func (s *Server) Update(z *Zone, at []netip.Addr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zone.Store(z)
	errs := s.closeUDP(func(a netip.Addr) bool { return !slices.Contains(at, a) })
	for _, a := range at {
		if !slices.ContainsFunc(s.udp, func(w *watched) bool { return w.at == a }) {
			errs = append(errs, s.listenUDP(a))
		}
	}
	if s.tcp == nil && len(at) > 0 {
		errs = append(errs, s.listenTCP())
	}
	return errors.Join(errs...)
}

// Close ends the service and waits for the last answer.
func (s *Server) Close() error {
	s.cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	errs := s.closeUDP(func(netip.Addr) bool { return true })
	if s.tcp != nil {
		errs = append(errs, s.tcp.Close())
		s.tcp = nil
	}
	s.wg.Wait()
	return errors.Join(errs...)
}

// closeUDP closes the sockets at some addresses. Call it locked.
func (s *Server) closeUDP(at func(netip.Addr) bool) (errs []error) {
	s.udp = slices.DeleteFunc(s.udp, func(w *watched) bool {
		if !at(w.at) {
			return false
		}
		errs = append(errs, w.Close())
		return true
	})
	return errs
}

// control ties a socket to the device.
func (s *Server) control(_, _ string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) { failed = unix.BindToDevice(int(fd), s.device) })
	return errors.Join(err, failed)
}

// listenUDP opens a socket per address: an answer must come from the address that was asked.
func (s *Server) listenUDP(a netip.Addr) error {
	var conn net.PacketConn
	err := netns.Do(s.namespace, func() (err error) {
		lc := net.ListenConfig{Control: s.control}
		conn, err = lc.ListenPacket(s.ctx, "udp", netip.AddrPortFrom(a, 53).String())
		return err
	})
	if err != nil {
		return fmt.Errorf("DNS at %s in %s: %w", a, s.namespace, err)
	}
	udp := conn.(*net.UDPConn)
	w, err := s.watch(udp, func() { s.serveUDP(udp) })
	if err != nil {
		return err
	}
	w.at = a
	s.udp = append(s.udp, w)
	return nil
}

// socket is a UDP socket or one that listens.
type socket interface {
	io.Closer
	syscall.Conn
}

// watch has ready called when there is something to be read from c, which it closes if it fails.
func (s *Server) watch(c socket, ready func()) (*watched, error) {
	raw, err := c.SyscallConn()
	if err == nil {
		var w *epoll.Watch
		if w, err = s.poller.Watch(raw, ready); err == nil {
			return &watched{Closer: c, watch: w}, nil
		}
	}
	return nil, errors.Join(err, c.Close())
}

func (s *Server) listenTCP() error {
	var l net.Listener
	err := netns.Do(s.namespace, func() (err error) {
		lc := net.ListenConfig{Control: s.control}
		l, err = lc.Listen(s.ctx, "tcp", "[::]:53")
		return err
	})
	if err != nil {
		return fmt.Errorf("DNS over TCP in %s: %w", s.namespace, err)
	}
	s.tcp, err = s.watch(l.(*net.TCPListener), func() { s.serveTCP(l) })
	return err
}

// largest is the longest question that is read; they are below a hundred octets.
const largest = 1232

// serveUDP answers a question that it knows the answer of at once; only what is forwarded keeps a goroutine.
func (s *Server) serveUDP(conn *net.UDPConn) {
	buf := make([]byte, largest) // not kept while there is nothing to read: there may be a thousand networks
	n, from, err := conn.ReadFromUDPAddrPort(buf)
	if err != nil {
		return
	}
	send := func(reply *wire.Msg, most int) {
		if reply == nil {
			return
		}
		reply.Truncate(most)
		if b, err := reply.Pack(); err != nil {
			s.log.Debug("DNS answer not sent", "device", s.device, "error", err)
		} else {
			_, _ = conn.WriteToUDPAddrPort(b, from)
		}
	}
	req, reply := s.read(buf[:n], from.Addr())
	if req == nil || reply != nil {
		send(reply, size(req))
		return
	}
	s.forward("udp", req, func(reply *wire.Msg) { send(reply, size(req)) })
}

// serveTCP takes one connection.
func (s *Server) serveTCP(l net.Listener) {
	conn, err := l.Accept()
	if err != nil {
		if s.ctx.Err() == nil && !errors.Is(err, net.ErrClosed) {
			s.log.Warn("DNS over TCP: a connection was not accepted", "device", s.device, "error", err)
			select { // it is still there, and so may be the reason
			case <-s.ctx.Done():
			case <-time.After(refusedPause):
			}
		}
		return
	}
	if !s.connections.enter(mostConnections) {
		conn.Close()
		return
	}
	s.wg.Go(func() {
		defer s.connections.leave()
		s.serveConnection(conn)
	})
}

func (s *Server) serveConnection(conn net.Conn) {
	defer conn.Close()
	defer context.AfterFunc(s.ctx, func() { conn.Close() })()
	client := addrOf(conn.RemoteAddr())
	framed := wire.Conn{Conn: conn}
	for {
		if err := conn.SetDeadline(time.Now().Add(idle)); err != nil {
			return
		}
		b, err := framed.ReadMsgHeader(nil)
		if err != nil {
			return
		}
		req, reply := s.read(b, client)
		if req == nil {
			return
		}
		if reply == nil {
			done := make(chan *wire.Msg, 1)
			s.forward("tcp", req, func(reply *wire.Msg) { done <- reply })
			if reply = <-done; reply == nil {
				return
			}
		}
		if err := framed.WriteMsg(reply); err != nil {
			return
		}
	}
}

// read parses a question. Without req there is nothing to say; without reply it is to be forwarded.
func (s *Server) read(b []byte, client netip.Addr) (req, reply *wire.Msg) {
	z := s.zone.Load()
	if !z.allows(client.Unmap().WithZone("")) {
		return nil, nil
	}
	req = new(wire.Msg)
	switch err := unpack(req, b); {
	case err != nil || req.Response:
		return nil, nil
	case req.Opcode != wire.OpcodeQuery:
		return req, new(wire.Msg).SetRcode(req, wire.RcodeNotImplemented)
	case len(req.Question) != 1:
		return req, new(wire.Msg).SetRcodeFormatError(req)
	}
	return req, z.answer(req)
}

// unpack turns a panic into an error: packets come from tenants, and the parser is somebody else's.
func unpack(m *wire.Msg, b []byte) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return m.Unpack(b)
}

// size is the largest UDP answer that the client takes.
func size(req *wire.Msg) int {
	if req == nil {
		return wire.MinMsgSize
	}
	if o := req.IsEdns0(); o != nil {
		return max(int(o.UDPSize()), wire.MinMsgSize)
	}
	return wire.MinMsgSize
}

func addrOf(a net.Addr) netip.Addr {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr()
	}
	return netip.Addr{}
}

// forward asks the resolvers one after the other, beginning with the one that answered last, over the client's transport.
// A refusal of ours means that there are no resolvers or that too many questions are on their way; nil, that none
// answered.
func (s *Server) forward(network string, req *wire.Msg, done func(*wire.Msg)) {
	refused := func() { done(new(wire.Msg).SetRcode(req, wire.RcodeRefused)) }
	resolvers := s.zone.Load().Resolvers
	if len(resolvers) == 0 {
		refused()
		return
	}
	if !s.forwarding.enter(mostForwarded) {
		s.log.Warn("DNS: too many questions at a time", "device", s.device, "most", mostForwarded)
		refused()
		return
	}
	s.wg.Go(func() {
		defer s.forwarding.leave()
		done(s.askAll(network, resolvers, req))
	})
}

func (s *Server) askAll(network string, resolvers []netip.AddrPort, req *wire.Msg) *wire.Msg {
	question := req.Copy()
	question.Id = wire.Id()
	first := int(s.good.Load())
	for i := range resolvers {
		i = (first + i) % len(resolvers)
		reply, err := s.ask(network, resolvers[i], question)
		if err != nil {
			s.log.Debug("DNS resolver did not answer", "device", s.device, "resolver", resolvers[i], "error", err)
			continue
		}
		s.good.Store(int32(i))
		reply.Id = req.Id
		return reply
	}
	return nil
}

func (s *Server) ask(network string, to netip.AddrPort, question *wire.Msg) (*wire.Msg, error) {
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	var conn net.Conn
	err := netns.Do(s.namespace, func() (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, to.String())
		return err
	})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	client := wire.Client{Net: network, Timeout: patience, UDPSize: wire.MaxMsgSize}
	reply, _, err := client.ExchangeWithConnContext(ctx, question, &wire.Conn{Conn: conn, UDPSize: wire.MaxMsgSize})
	if err != nil && reply == nil {
		return nil, err
	}
	return reply, nil
}
