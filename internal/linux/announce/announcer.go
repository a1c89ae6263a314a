package announce

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"neutrino/internal/linux/netns"
)

// Neighbours are told three times (upstream's send_arp_for_ha): the first frame is often lost, because the L2 agent
// has not wired the port yet.
const (
	repetitions = 3
	interval    = 2 * time.Second
	backlog     = 1024
)

// Announcement tells the neighbours on a link who has some addresses now.
type Announcement struct {
	Namespace string
	Interface string
	MAC       net.HardwareAddr
	Addrs     []netip.Addr
	Router    bool // the interface is a router's
}

// Announcer announces for all interfaces of an agent from one goroutine.
type Announcer struct {
	fresh chan Announcement
	log   *slog.Logger
}

// repetition is an announcement that is to be sent again.
type repetition struct {
	Announcement
	left int
	due  time.Time
}

// NewAnnouncer makes an announcer, which works while Run does.
func NewAnnouncer(log *slog.Logger) *Announcer {
	return &Announcer{fresh: make(chan Announcement, backlog), log: log}
}

// Add queues an announcement. It does not block: under a flood some neighbours have to find out by themselves.
func (a *Announcer) Add(n Announcement) {
	if len(n.Addrs) == 0 {
		return
	}
	select {
	case a.fresh <- n:
	default:
		a.log.Warn("addresses are not announced: too many at once", "interface", n.Interface, "count", len(n.Addrs))
	}
}

// Run sends what is added until ctx ends.
func (a *Announcer) Run(ctx context.Context) {
	var again []repetition // in the order in which they are due
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if len(again) > 0 {
			timer.Reset(time.Until(again[0].due))
		}
		var next repetition
		select {
		case <-ctx.Done():
			return
		case n := <-a.fresh:
			next = repetition{Announcement: n, left: repetitions}
		case <-timer.C:
			if len(again) == 0 {
				continue
			}
			next, again = again[0], again[1:]
		}
		if err := next.send(); err != nil {
			a.log.Debug("addresses are not announced", "interface", next.Interface, "error", err)
			continue // most likely the interface is gone
		}
		if next.left--; next.left > 0 {
			next.due = time.Now().Add(interval)
			again = append(again, next)
		}
	}
}

// send writes the frames in the interface's namespace.
func (n Announcement) send() error {
	return netns.Do(n.Namespace, func() error {
		var frames [][]byte
		for _, addr := range n.Addrs {
			frames = append(frames, Frames(n.MAC, addr, n.Router)...)
		}
		return Send(n.Interface, frames)
	})
}
