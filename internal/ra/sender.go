package ra

import (
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

// Sender advertises on one interface until it is closed or withdrawn.
type Sender struct {
	conn      *conn
	log       *slog.Logger
	changed   chan struct{}
	solicited chan struct{}
	done      chan struct{}
	tasks     sync.WaitGroup

	mu     sync.Mutex
	config Config
}

// Start advertises c on the interface in namespace, which must be up. The link-local address source must be there.
func Start(namespace, iface string, source netip.Addr, c Config, log *slog.Logger) (*Sender, error) {
	conn, err := dial(namespace, iface, source)
	if err != nil {
		return nil, err
	}
	s := &Sender{conn: conn, log: log.With("interface", iface), config: c,
		changed: make(chan struct{}, 1), solicited: make(chan struct{}, 1), done: make(chan struct{})}
	s.tasks.Go(s.receive)
	s.tasks.Go(s.advertise)
	return s, nil
}

// Update advertises c from now on, beginning at once. It must not be called after Close or Withdraw.
func (s *Sender) Update(c Config) {
	s.mu.Lock()
	same := s.config.Equal(c)
	s.config = c
	s.mu.Unlock()
	if same {
		return
	}
	select {
	case s.changed <- struct{}{}:
	default: // an earlier one is still waiting and will find c
	}
}

// Close stops to advertise and tells nobody: hosts keep the router for its lifetime, which is what an agent that is
// restarted wants.
func (s *Sender) Close() {
	close(s.done)
	s.conn.close()
	s.tasks.Wait()
}

// Withdraw tells hosts that this is no router any more, and stops.
func (s *Sender) Withdraw() {
	if err := s.conn.send(s.current().farewell(s.conn.mac)); err != nil {
		s.log.Debug("cannot take the router advertisement back", "error", err)
	}
	s.Close()
}

func (s *Sender) current() Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.config
}

func (s *Sender) advertise() {
	p := pace{every: s.current().Interval, random: func(below time.Duration) time.Duration { return rand.N(below) }}
	p.restart(time.Now())
	for {
		due := time.NewTimer(time.Until(p.next))
		select {
		case <-s.done:
			due.Stop()
			return
		case <-s.changed:
			p.every = s.current().Interval
			p.restart(time.Now())
		case <-s.solicited:
			p.solicited(time.Now())
		case <-due.C:
			if err := s.conn.send(s.current().Message(s.conn.mac)); err != nil {
				s.log.Debug("cannot send a router advertisement", "error", err)
			}
			p.sent(time.Now())
		}
		due.Stop()
	}
}

func (s *Sender) receive() {
	for {
		err := s.conn.receive()
		if err != nil {
			select {
			case <-s.done:
				return
			default:
			}
			s.log.Warn("router solicitations are not answered any more", "error", err)
			return
		}
		select {
		case s.solicited <- struct{}{}:
		default:
		}
	}
}
