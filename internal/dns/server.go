package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

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
)

// Server answers at some addresses of one namespace.
type Server struct {
	namespace, device string
	log               *slog.Logger
	zone              atomic.Pointer[Zone]
	forwarding        chan struct{} // holds a token for each question that is forwarded
	good              atomic.Int32  // the resolver that answered last
	ctx               context.Context
	cancel            context.CancelFunc
	wg                sync.WaitGroup

	mu   sync.Mutex // guards the listeners
	open map[netip.Addr]*wire.Server
	tcp  *wire.Server
}

// NewServer makes a server that does not listen yet. Close it.
func NewServer(namespace, device string, log *slog.Logger) *Server {
	ctx, cancel := context.WithCancel(context.Background())
	return &Server{namespace: namespace, device: device, log: log.With("device", device), forwarding: make(chan struct{}, mostForwarded),
		ctx: ctx, cancel: cancel, open: map[netip.Addr]*wire.Server{}}
}

// Update makes z what is answered from the next question on, at the addresses. They must be on the device.
func (s *Server) Update(z *Zone, at []netip.Addr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zone.Store(z)
	wanted := map[netip.Addr]bool{}
	for _, a := range at {
		wanted[a] = true
	}
	var errs []error
	for a, l := range s.open {
		if !wanted[a] {
			errs = append(errs, l.Shutdown())
			delete(s.open, a)
		}
	}
	for a := range wanted {
		if s.open[a] == nil {
			errs = append(errs, s.listenUDP(a))
		}
	}
	if s.tcp == nil && len(wanted) > 0 {
		errs = append(errs, s.listenTCP())
	}
	return errors.Join(errs...)
}

// Close ends the service and waits for the last answer.
func (s *Server) Close() error {
	s.cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for a, l := range s.open {
		errs = append(errs, l.Shutdown())
		delete(s.open, a)
	}
	if s.tcp != nil {
		errs = append(errs, s.tcp.Shutdown())
		s.tcp = nil
	}
	s.wg.Wait()
	return errors.Join(errs...)
}

// control ties a socket to the device, so that another network with the same addresses cannot ask.
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
	s.open[a] = s.serve(&wire.Server{PacketConn: conn, Handler: s})
	return nil
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
	s.tcp = s.serve(&wire.Server{Listener: &limited{Listener: l, free: make(chan struct{}, mostConnections)}, Handler: s,
		ReadTimeout: idle, WriteTimeout: idle, IdleTimeout: func() time.Duration { return idle }, MaxTCPQueries: 100})
	return nil
}

func (s *Server) serve(l *wire.Server) *wire.Server {
	started := make(chan struct{})
	l.NotifyStartedFunc = func() { close(started) }
	s.wg.Go(func() {
		if err := l.ActivateAndServe(); err != nil && s.ctx.Err() == nil {
			s.log.Debug("DNS listener ended", "error", err)
		}
	})
	<-started // Shutdown of one that has not started is an error
	return l
}

// limited is a listener with so many connections at most.
type limited struct {
	net.Listener
	free chan struct{}
}

func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.free <- struct{}{}:
			return &counted{Conn: c, done: sync.OnceFunc(func() { <-l.free })}, nil
		default:
			c.Close()
		}
	}
}

type counted struct {
	net.Conn
	done func()
}

func (c *counted) Close() error {
	c.done()
	return c.Conn.Close()
}

// ServeDNS implements the handler of the library, which has checked the header.
func (s *Server) ServeDNS(w wire.ResponseWriter, req *wire.Msg) {
	z := s.zone.Load()
	if !z.allows(addrOf(w.RemoteAddr())) || len(req.Question) != 1 {
		return
	}
	reply := z.answer(req)
	if reply == nil {
		reply = s.forward(w, z, req)
	}
	if reply == nil {
		return
	}
	if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
		reply.Truncate(size(req))
	}
	if err := w.WriteMsg(reply); err != nil {
		s.log.Debug("DNS answer not sent", "error", err)
	}
}

// size is the largest UDP answer that the client takes.
func size(req *wire.Msg) int {
	if o := req.IsEdns0(); o != nil {
		return max(int(o.UDPSize()), wire.MinMsgSize)
	}
	return wire.MinMsgSize
}

func addrOf(a net.Addr) netip.Addr {
	switch a := a.(type) {
	case *net.UDPAddr:
		return a.AddrPort().Addr().Unmap().WithZone("")
	case *net.TCPAddr:
		return a.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

// forward asks the resolvers one after the other, beginning with the one that answered last, over the client's transport. A refusal of ours means that there are no
// resolvers or that too many questions are on their way; nil, that none answered.
func (s *Server) forward(w wire.ResponseWriter, z *Zone, req *wire.Msg) *wire.Msg {
	refused := func() *wire.Msg { return new(wire.Msg).SetRcode(req, wire.RcodeRefused) }
	if len(z.Resolvers) == 0 {
		return refused()
	}
	select {
	case s.forwarding <- struct{}{}:
		defer func() { <-s.forwarding }()
	default:
		s.log.Warn("DNS: too many questions at a time", "most", mostForwarded)
		return refused()
	}
	network := "tcp"
	if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
		network = "udp"
	}
	question := req.Copy()
	question.Id = wire.Id()
	first := int(s.good.Load())
	for i := range z.Resolvers {
		i = (first + i) % len(z.Resolvers)
		reply, err := s.ask(network, z.Resolvers[i], question)
		if err != nil {
			s.log.Debug("DNS resolver did not answer", "resolver", z.Resolvers[i], "error", err)
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
