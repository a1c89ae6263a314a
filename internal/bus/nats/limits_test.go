package nats

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"neutrino/internal/bus"
)

func TestLimits(t *testing.T) {
	var l limits
	for _, step := range []struct {
		took     time.Duration
		answered bool
		want     time.Duration // of the next call
	}{
		{10 * time.Millisecond, true, firstTimeout},
		{4 * time.Second, false, 8 * time.Second},
		{8 * time.Second, false, 16 * time.Second},
		{10 * time.Second, true, 40 * time.Second},
		{40 * time.Second, false, callTimeout},
		{time.Millisecond, true, firstTimeout},
	} {
		l.ended("m", l.of("m"), step.took, callTimeout, step.answered)
		if got := l.of("m"); got != step.want {
			t.Fatalf("after %v, answered %v: %v, want %v", step.took, step.answered, got, step.want)
		}
	}
	if len(l.byMethod) > 0 {
		t.Errorf("kept: %v", l.byMethod)
	}
	l.ended("m", l.of("m"), time.Second, callTimeout, false)
	if got := l.of("other"); got != firstTimeout {
		t.Errorf("another method has %v", got)
	}
}

// A request whose answer never comes, as its server died, is given up long before a minute is over, and made again.
func TestLostRequest(t *testing.T) {
	s := startServer(t, ServerConfig{})
	c := join(t, s, "c")
	var lost atomic.Bool
	release := make(chan struct{})
	defer close(release)
	serve(t, c, "t", "h", func(context.Context, *bus.Message) (any, error) {
		if !lost.Swap(true) {
			<-release
		}
		return "answer", nil
	})
	began := time.Now()
	if err := c.Call(soon(t), bus.Target{Topic: "t"}, message("m", nil), nil); !errors.Is(err, bus.ErrTimeout) {
		t.Fatalf("error %v", err)
	}
	if took := time.Since(began); took > callTimeout/2 {
		t.Errorf("given up after %v", took)
	}
	var got string
	if err := c.Call(soon(t), bus.Target{Topic: "t"}, message("m", nil), &got); err != nil || got != "answer" {
		t.Errorf("the second call: %q, %v", got, err)
	}
}
