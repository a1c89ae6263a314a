package metering

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"neutrino/internal/linux/netns"
	"neutrino/internal/linux/sandbox"
	"neutrino/internal/notify"
	"neutrino/internal/rpc"
)

// BenchmarkRestart is the first pass of an agent on a host with 200 metered routers, where nothing changed, and one reading
// of all counters.
func BenchmarkRestart(b *testing.B) {
	sandbox.Need(b)
	s := &server{}
	for i := range 200 {
		id := fmt.Sprintf("0b0b0b0b-0000-4000-8000-%012d", i)
		if _, err := netns.Ensure(namespacePrefix + id); err != nil {
			b.Fatal(err)
		}
		defer netns.Delete(namespacePrefix + id)
		s.routers = append(s.routers, rpc.MeteredRouter{ID: id, ProjectID: "p", Labels: []rpc.MeteringLabel{label(label1, egress()), label(label2, egress())}})
	}
	agent := func() *Agent {
		return New(Config{Host: "h", Notifications: notify.Config{Drivers: []string{"messagingv2"}}}, s, slog.New(slog.DiscardHandler))
	}
	first := agent()
	if err := first.pass(context.Background()); err != nil {
		b.Fatal(err)
	}
	first.close()
	for b.Loop() {
		a := agent()
		if err := a.pass(context.Background()); err != nil {
			b.Fatal(err)
		}
		if n := a.Writes(); n != 0 {
			b.Fatalf("%d writes", n)
		}
		start := time.Now()
		a.measure(start, false)
		b.ReportMetric(time.Since(start).Seconds()*1e3, "measure-ms")
		a.close()
	}
}
