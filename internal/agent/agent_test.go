package agent

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"neutrino/internal/bus/bustest"
	"neutrino/internal/rpc"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// answer is what the server says to a report.
type answer struct {
	text string
	err  error
}

// TestReporter: each step is one report and the server's answer.
func TestReporter(t *testing.T) {
	b := bustest.New()
	reports, answers := make(chan rpc.AgentState), make(chan answer)
	mux := rpc.NewMux(slog.New(slog.DiscardHandler))
	rpc.Handle(mux, rpc.ReportState, func(ctx context.Context, args rpc.ReportStateArgs) (string, error) {
		if _, err := time.Parse(rpc.TimeFormat, args.Time); err != nil {
			t.Error(err)
		}
		select {
		case reports <- args.AgentState.AgentState:
		case <-ctx.Done():
			return "", ctx.Err()
		}
		a := <-answers
		return a.text, a.err
	})
	stop, err := mux.Serve(b, "server")
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	var resyncs, starts atomic.Int32
	r := &Reporter{Transport: b, Interval: 500 * time.Millisecond, Log: slog.New(slog.DiscardHandler),
		State:   rpc.AgentState{Host: "h", Configurations: map[string]any{"fixed": "x"}},
		Stats:   func(c map[string]any) { c["networks"] = 2 },
		Resync:  func(string) { resyncs.Add(1) },
		Started: func() { starts.Add(1) },
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	defer func() { cancel(); <-done }()
	for i, step := range []struct {
		answer          answer
		start           bool // the report carries the start flag
		resyncs, starts int32
		alive           bool
	}{
		{answer{"", errors.New("not yet")}, true, 0, 0, false},
		{answer{rpc.AgentNew, nil}, true, 0, 1, true}, // the first synchronisation is under way anyhow
		{answer{rpc.AgentAlive, nil}, false, 0, 1, true},
		{answer{rpc.AgentRevived, nil}, false, 1, 1, true},
		{answer{"", errors.New("down")}, false, 1, 1, false},
		{answer{rpc.AgentNew, nil}, false, 2, 1, true},
		{answer{rpc.AgentAlive, nil}, false, 2, 1, true},
	} {
		state := <-reports
		if state.StartFlag != step.start || state.Configurations["networks"] != 2.0 || state.Configurations["fixed"] != "x" {
			t.Errorf("report %d: %+v", i, state)
		}
		answers <- step.answer
		deadline := time.Now().Add(time.Minute)
		for resyncs.Load() != step.resyncs || starts.Load() != step.starts || r.Alive() != step.alive {
			if time.Now().After(deadline) {
				t.Fatalf("after report %d: %d resyncs, %d starts, alive %v; want %+v", i, resyncs.Load(), starts.Load(), r.Alive(), step)
			}
			time.Sleep(time.Millisecond)
		}
	}
	if _, leaked := r.State.Configurations["networks"]; leaked {
		t.Error("the counts of a report stay in the state")
	}
	before := resyncs.Load()
	b.Reconnect()
	state := <-reports
	answers <- answer{rpc.AgentAlive, nil}
	if resyncs.Load() == before || state.StartFlag {
		t.Errorf("after the bus came back: %d resyncs", resyncs.Load())
	}
}
