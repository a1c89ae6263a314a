package ra

import "time"

// Constants of RFC 4861 section 10.
const (
	maxInitialInterval = 16 * time.Second
	maxInitialAdverts  = 3
	minDelayBetweenRAs = 3 * time.Second
	maxRADelay         = 500 * time.Millisecond
)

// pace decides when the next advertisement is due.
type pace struct {
	random  func(below time.Duration) time.Duration // evenly in [0, below)
	every   Interval
	initial int // adverts left of the initial burst
	last    time.Time
	next    time.Time
}

// restart begins with a burst: what is advertised is new.
func (p *pace) restart(now time.Time) {
	p.initial = maxInitialAdverts
	p.next = p.notBefore(now)
}

// sent plans the next unsolicited advertisement.
func (p *pace) sent(now time.Time) {
	p.last = now
	wait := p.every.Min + p.random(max(p.every.Max-p.every.Min, 1))
	if p.initial > 0 {
		p.initial--
	}
	if p.initial > 0 {
		wait = min(wait, maxInitialInterval)
	}
	p.next = now.Add(wait)
}

// solicited brings the next advertisement forward; all solicitations until then are answered by it.
func (p *pace) solicited(now time.Time) {
	if at := p.notBefore(now.Add(p.random(maxRADelay))); at.Before(p.next) {
		p.next = at
	}
}

func (p *pace) notBefore(t time.Time) time.Time {
	if earliest := p.last.Add(minDelayBetweenRAs); t.Before(earliest) {
		return earliest
	}
	return t
}
