package l3

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"neutrino/internal/linux/announce"
	"neutrino/internal/linux/netns"
)

// Neighbours are told three times (upstream's send_arp_for_ha): the first frame is often lost, because the L2 agent
// has not wired the port yet.
const (
	announcements        = 3
	announcementInterval = 2 * time.Second
	announcementBacklog  = 1024
)

// announcement tells the neighbours on a link who has some addresses now.
type announcement struct {
	namespace string
	iface     string
	mac       net.HardwareAddr
	addrs     []netip.Addr
	left      int
	due       time.Time
}

// announcer announces for all routers from one goroutine.
type announcer struct {
	fresh chan announcement
	log   *slog.Logger
}

func newAnnouncer(log *slog.Logger) *announcer {
	return &announcer{fresh: make(chan announcement, announcementBacklog), log: log}
}

// announce queues the addresses. It does not block: under a flood some neighbours have to find out by themselves.
func (a *announcer) announce(namespace string, i Interface, addrs []netip.Addr) {
	if len(addrs) == 0 {
		return
	}
	select {
	case a.fresh <- announcement{namespace: namespace, iface: i.Name, mac: i.MAC, addrs: addrs, left: announcements}:
	default:
		a.log.Warn("addresses are not announced: too many at once", "interface", i.Name, "count", len(addrs))
	}
}

func (a *announcer) run(ctx context.Context) {
	var again []announcement // in the order in which they are due
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if len(again) > 0 {
			timer.Reset(time.Until(again[0].due))
		}
		var next announcement
		select {
		case <-ctx.Done():
			return
		case next = <-a.fresh:
		case <-timer.C:
			if len(again) == 0 {
				continue
			}
			next, again = again[0], again[1:]
		}
		if err := next.send(); err != nil {
			a.log.Debug("addresses are not announced", "interface", next.iface, "error", err)
			continue // most likely the interface is gone
		}
		if next.left--; next.left > 0 {
			next.due = time.Now().Add(announcementInterval)
			again = append(again, next)
		}
	}
}

// send writes the frames in the router's namespace.
func (n announcement) send() error {
	return netns.Do(n.namespace, func() error {
		var frames [][]byte
		for _, addr := range n.addrs {
			frames = append(frames, announce.Frames(n.mac, addr, true)...)
		}
		return announce.Send(n.iface, frames)
	})
}
