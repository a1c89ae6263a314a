package ra

import (
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }
	most := func(below time.Duration) time.Duration { return below - 1 }
	none := func(time.Duration) time.Duration { return 0 }
	for _, c := range []struct {
		name string
		rand func(time.Duration) time.Duration
		do   func(p *pace)
		want time.Time
	}{
		{"the first one at once", most, func(p *pace) { p.restart(at(0)) }, at(0)},
		{"the burst is spaced 16 s", most, func(p *pace) { p.restart(at(0)); p.sent(at(0)) }, at(16)},
		{"after the burst up to 100 s", most, func(p *pace) {
			p.restart(at(0))
			p.sent(at(0))
			p.sent(at(16))
			p.sent(at(32))
		}, at(132).Add(-1)},
		{"after the burst at least 30 s", none, func(p *pace) {
			p.restart(at(0))
			p.sent(at(0))
			p.sent(at(16))
			p.sent(at(32))
		}, at(62)},
		{"a solicitation is answered within half a second", most, func(p *pace) { p.sent(at(0)); p.solicited(at(20)) }, at(20.5).Add(-1)},
		{"answers are three seconds apart", none, func(p *pace) { p.sent(at(0)); p.solicited(at(1)) }, at(3)},
		{"many solicitations do not put the answer off", none, func(p *pace) {
			p.sent(at(0))
			p.solicited(at(1))
			p.solicited(at(2))
			p.solicited(at(2.9))
		}, at(3)},
		{"news are three seconds apart too", none, func(p *pace) { p.sent(at(0)); p.restart(at(1)) }, at(3)},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &pace{every: DefaultInterval, random: c.rand}
			c.do(p)
			if !p.next.Equal(c.want) {
				t.Errorf("next after %v, want %v", p.next.Sub(start), c.want.Sub(start))
			}
		})
	}
}
