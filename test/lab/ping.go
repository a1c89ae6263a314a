package lab

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// Pings is the account of a series of echo requests.
type Pings struct {
	Sent, Answered int
	LongestGap     time.Duration // between two answers, or between the start or the end and an answer
	RTT            time.Duration // of the last answer
}

// Lost is the number of requests without an answer.
func (p Pings) Lost() int { return p.Sent - p.Answered }

func (p Pings) String() string {
	return fmt.Sprintf("%d sent, %d lost, longest gap %s", p.Sent, p.Lost(), p.LongestGap.Round(time.Millisecond))
}

// PingStream sends echo requests at a steady pace until it is stopped.
type PingStream struct {
	conn   *icmp.PacketConn
	to     netip.Addr
	id     int
	stop   chan struct{}
	sender sync.WaitGroup
	reader sync.WaitGroup
	answer chan struct{} // gets one element at the first answer

	mu         sync.Mutex
	sentAt     map[int]time.Time // unanswered requests
	result     Pings
	lastAnswer time.Time
	sendErr    error
}

// PingStream begins to ping from the node.
func (n *Node) PingStream(to netip.Addr, every time.Duration) (*PingStream, error) {
	return n.PingStreamFrom(netip.Addr{}, to, every)
}

// PingStreamFrom is PingStream with a source address that the node must have.
func (n *Node) PingStreamFrom(from, to netip.Addr, every time.Duration) (*PingStream, error) {
	network, any := "ip4:icmp", "0.0.0.0"
	if to.Is6() {
		network, any = "ip6:ipv6-icmp", "::"
	}
	if from.IsValid() {
		any = from.String()
	}
	s := &PingStream{to: to, id: rand.IntN(1 << 16), stop: make(chan struct{}), answer: make(chan struct{}, 1),
		sentAt: map[int]time.Time{}, lastAnswer: time.Now()}
	err := n.Do(func() (err error) {
		s.conn, err = icmp.ListenPacket(network, any)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("ping from %s: %w", n.Name, err)
	}
	s.sender.Go(func() { s.send(every) })
	s.reader.Go(s.receive)
	return s, nil
}

// Stop ends the stream, gives answers under way ten seconds (a busy machine delays them), and returns the account.
func (s *PingStream) Stop() Pings {
	close(s.stop)
	s.sender.Wait()
	s.mu.Lock()
	s.result.LongestGap = max(s.result.LongestGap, time.Since(s.lastAnswer))
	s.mu.Unlock()
	_ = Eventually(10*time.Second, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.result.Lost() > 0 {
			return fmt.Errorf("answers missing")
		}
		return nil
	})
	_ = s.conn.Close()
	s.reader.Wait()
	return s.result
}

func (s *PingStream) send(every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for seq := 0; ; seq = (seq + 1) & 0xffff {
		var kind icmp.Type = ipv4.ICMPTypeEcho
		if s.to.Is6() {
			kind = ipv6.ICMPTypeEchoRequest
		}
		request := icmp.Message{Type: kind, Body: &icmp.Echo{ID: s.id, Seq: seq, Data: make([]byte, 32)}}
		frame, err := request.Marshal(nil)
		s.mu.Lock()
		s.sentAt[seq] = time.Now()
		s.result.Sent++
		s.mu.Unlock()
		if err == nil {
			_, err = s.conn.WriteTo(frame, &net.IPAddr{IP: s.to.AsSlice()})
		}
		if err != nil {
			s.mu.Lock()
			s.sendErr = err
			s.mu.Unlock()
		}
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
	}
}

func (s *PingStream) receive() {
	buf := make([]byte, 1500)
	var reply icmp.Type = ipv4.ICMPTypeEchoReply
	if s.to.Is6() {
		reply = ipv6.ICMPTypeEchoReply
	}
	for {
		n, peer, err := s.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		m, err := icmp.ParseMessage(reply.Protocol(), buf[:n])
		if err != nil || m.Type != reply || peer.String() != s.to.String() {
			continue
		}
		if echo, ok := m.Body.(*icmp.Echo); ok && echo.ID == s.id {
			s.answered(echo.Seq)
		}
	}
}

func (s *PingStream) answered(seq int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sent, ok := s.sentAt[seq]
	if !ok { // an answer that comes twice counts once
		return
	}
	delete(s.sentAt, seq)
	now := time.Now()
	s.result.Answered++
	s.result.RTT = now.Sub(sent)
	s.result.LongestGap = max(s.result.LongestGap, now.Sub(s.lastAnswer))
	s.lastAnswer = now
	select {
	case s.answer <- struct{}{}:
	default:
	}
}

// Reach pings until the first answer and returns its round trip time; no answer in time is an error.
func (n *Node) Reach(to netip.Addr, within time.Duration) (time.Duration, error) {
	s, err := n.PingStream(to, 50*time.Millisecond)
	if err != nil {
		return 0, err
	}
	select {
	case <-s.answer:
	case <-time.After(within):
	}
	close(s.stop)
	s.sender.Wait()
	_ = s.conn.Close()
	s.reader.Wait()
	if s.result.Answered == 0 {
		return 0, fmt.Errorf("no answer to pings from %s to %s within %s (last error of sending: %v)",
			n.Name, to, within, s.sendErr)
	}
	return s.result.RTT, nil
}

// Silent pings for the given time and fails if an answer comes.
func (n *Node) Silent(to netip.Addr, duration time.Duration) error {
	if rtt, err := n.Reach(to, duration); err == nil {
		return fmt.Errorf("%s answers pings from %s (%s)", to, n.Name, rtt)
	}
	return nil
}
