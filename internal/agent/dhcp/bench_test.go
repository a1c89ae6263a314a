package dhcp

import (
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"neutrino/internal/linux/sandbox"
)

// BenchmarkNetworks brings up a thousand networks with two ports each, and restarts the agent.
func BenchmarkNetworks(b *testing.B) {
	const networks = 1000
	for b.Loop() {
		b.StopTimer()
		sandbox.Need(b)
		s := newServer(b)
		for i := range networks {
			s.networks[fmt.Sprintf("net%d", i)] = testNetwork(i)
		}
		reported := func(times int) func() bool {
			return func() bool {
				s.mu.Lock()
				defer s.mu.Unlock()
				n := 0
				for _, c := range s.ready {
					if c >= times {
						n++
					}
				}
				return n >= 3*networks // with our own
			}
		}
		b.StartTimer()
		begin := time.Now()
		_, stop := s.start(b, testConfig())
		eventually(b, "all ports ready", reported(1))
		b.ReportMetric(time.Since(begin).Seconds(), "s/first")
		stop()
		begin = time.Now()
		a, stop := s.start(b, testConfig())
		eventually(b, "all ports ready again", reported(2))
		b.ReportMetric(time.Since(begin).Seconds(), "s/restart")
		b.ReportMetric(float64(a.Writes()), "writes/restart")
		debug.FreeOSMemory()
		status, err := os.ReadFile("/proc/self/status")
		must(b, err)
		_, rss, _ := strings.Cut(string(status), "VmRSS:")
		var kb float64
		fmt.Sscan(rss, &kb)
		b.ReportMetric(kb/1024, "MB-rss")
		stop()
	}
}
