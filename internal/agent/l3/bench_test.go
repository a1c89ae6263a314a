package l3

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"neutrino/internal/rpc"
)

func manyFloatingIPs(n int) (out []rpc.FloatingIP) {
	for i := range n {
		f := fip(fmt.Sprint(i), fmt.Sprintf("198.18.%d.%d", i/250, i%250+1), fmt.Sprintf("10.0.%d.%d", i/250, i%250+2))
		f.Status = statusActive
		out = append(out, f)
	}
	return out
}

// A router with 1000 floating IPs: all at once, one more, and nothing new after a restart.
func BenchmarkFloatingIPs(b *testing.B) {
	const n = 1000
	r := aRouter()
	newAgent := func() *Agent { return New(Config{Host: "host"}, newServer(), slog.New(slog.DiscardHandler), nil) }
	process := func(b *testing.B, a *Agent) {
		if err := a.process(b.Context(), work{id: r.ID, data: &r, asOf: time.Now()}); err != nil {
			b.Fatal(err)
		}
	}
	needHost(b)
	b.Run("all", func(b *testing.B) {
		for b.Loop() {
			r.FloatingIPs = manyFloatingIPs(n)
			process(b, newAgent())
			b.StopTimer()
			removeRouters(b)
			b.StartTimer()
		}
	})
	all := manyFloatingIPs(n + 1)
	a := newAgent()
	r.FloatingIPs = all[:n]
	process(b, a)
	defer removeRouters(b)
	b.Run("one more or less", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			r.FloatingIPs = slices.Clone(all[:n+i%2])
			process(b, a)
		}
	})
	r.FloatingIPs = all[:n]
	process(b, a)
	b.Run("restart", func(b *testing.B) {
		for b.Loop() {
			a := newAgent()
			process(b, a)
			if a.Writes() != 0 {
				b.Fatal("writes:", a.Writes())
			}
		}
	})
}
