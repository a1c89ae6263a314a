package l3

import (
	"fmt"
	"log/slog"
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
	server := newServer()
	newAgent := func() *Agent { return New(Config{Host: "host"}, server, slog.New(slog.DiscardHandler), nil) }
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
	b.Run("one more", func(b *testing.B) { // that the server names
		last := work{id: r.ID, floating: map[string]bool{all[n].ID: true}}
		turn := func(router rpc.Router) {
			server.routers[r.ID] = router
			if err := a.process(b.Context(), last); err != nil {
				b.Fatal(err)
			}
		}
		more := r
		more.FloatingIPs = all
		for b.Loop() {
			turn(more)
			b.StopTimer()
			turn(r)
			b.StartTimer()
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

// A host with many routers: made, looked at by an agent that starts, and compared once by an agent that runs. The last
// two take no process: nft is not to be found meanwhile.
func BenchmarkRouters(b *testing.B) {
	const n = 300
	needHost(b)
	s := newServer()
	for i := range n {
		r := aRouter()
		r.ID = fmt.Sprintf("0a0a0a0a-0000-4000-8000-%012d", i)
		for j := range r.Interfaces {
			r.Interfaces[j].ID = fmt.Sprintf("%06d%02d-0000", i, j)
		}
		gateway := *r.GatewayPort
		gateway.ID = fmt.Sprintf("%06d%02d-0000", i, 9)
		r.GatewayPort = &gateway
		r.FloatingIPs = manyFloatingIPs(3)
		s.routers[r.ID] = r
	}
	defer removeRouters(b)
	start := time.Now()
	a := benchAgent(s)
	a.syncAll(b)
	b.Logf("%d routers made in %v", n, time.Since(start))
	b.Setenv("PATH", b.TempDir())
	for _, c := range []struct {
		name string
		do   func(b *testing.B)
	}{
		{"restart", func(b *testing.B) { a = benchAgent(s); a.syncAll(b) }},
		{"check", func(b *testing.B) {
			for _, h := range a.routers {
				if err := a.mend(b.Context(), h); err != nil {
					b.Fatal(err)
				}
			}
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			before := a.Writes()
			for b.Loop() {
				c.do(b)
			}
			if c.name == "restart" {
				before = 0
			}
			if a.Writes() != before || len(a.routers) != n {
				b.Fatal("writes:", a.Writes()-before, "routers:", len(a.routers))
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "µs/router")
		})
	}
}

type benched struct{ *Agent }

func benchAgent(s *server) benched {
	return benched{New(Config{Host: "host"}, s, slog.New(slog.DiscardHandler), nil)}
}

// syncAll does a full sync and all that follows from it, by one worker.
func (a benched) syncAll(b *testing.B) {
	if err := a.fullSync(b.Context()); err != nil {
		b.Fatal(err)
	}
	for len(a.queue.entries) > 0 {
		w, _ := a.queue.next(b.Context())
		if err := a.process(b.Context(), w); err != nil {
			b.Fatal(err)
		}
		a.queue.done(w.id, nil, time.Now())
	}
}
