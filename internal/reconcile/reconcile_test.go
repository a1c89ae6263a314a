package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// kernel is a Driver over a map; keys in broken fail.
type kernel struct {
	objects map[string]int
	broken  map[string]bool
	down    bool
	calls   int
}

func (k *kernel) List(context.Context) (map[string]int, error) { return maps.Clone(k.objects), nil }

func (k *kernel) Apply(_ context.Context, put map[string]int, del []string) error {
	k.calls++
	if k.down {
		return errors.New("down")
	}
	failed := map[string]error{}
	for key, v := range put {
		if k.broken[key] {
			failed[key] = errors.New("broken")
			continue
		}
		k.objects[key] = v
	}
	for _, key := range del {
		if k.broken[key] {
			failed[key] = errors.New("broken")
			continue
		}
		delete(k.objects, key)
	}
	if len(failed) > 0 {
		return &PartialError[string]{failed}
	}
	return nil
}

func TestApply(t *testing.T) {
	k := &kernel{objects: map[string]int{"old": 1, "same": 2}, broken: map[string]bool{}}
	table := NewTable[string](func(a, b int) bool { return a == b })
	apply := func(what string, changed, calls int, fails bool, want map[string]int) {
		t.Helper()
		k.calls = 0
		n, err := Apply(t.Context(), table, k)
		if n != changed || k.calls != calls || (err != nil) != fails {
			t.Errorf("%s: %d changed in %d calls, %v; want %d in %d", what, n, k.calls, err, changed, calls)
		}
		if diff := cmp.Diff(want, k.objects); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	there, _ := k.List(t.Context())
	table.Saw(there)
	table.WantOnly(map[string]int{"same": 2, "new": 3})
	apply("first", 2, 1, false, map[string]int{"same": 2, "new": 3})
	apply("again", 0, 0, false, map[string]int{"same": 2, "new": 3})
	table.Want("same", 2)
	table.Want("b", 1)
	table.Unwant("b")
	apply("nothing really", 0, 0, false, map[string]int{"same": 2, "new": 3})

	k.broken["bad"], k.broken["new"] = true, true
	table.Want("bad", 1)
	table.Want("good", 1)
	table.Unwant("new")
	apply("some fail", 1, 1, true, map[string]int{"same": 2, "new": 3, "good": 1})
	apply("only these again", 0, 1, true, map[string]int{"same": 2, "new": 3, "good": 1})
	clear(k.broken)
	k.down = true
	apply("all fail", 0, 1, true, map[string]int{"same": 2, "new": 3, "good": 1})
	k.down = false
	apply("repaired", 2, 1, false, map[string]int{"same": 2, "good": 1, "bad": 1})

	delete(k.objects, "same") // somebody else did that
	k.objects["stray"] = 9
	there, _ = k.List(t.Context())
	table.Saw(there)
	apply("seen", 2, 1, false, map[string]int{"same": 2, "good": 1, "bad": 1})
	if v, ok := table.Wanted("same"); !ok || v != 2 || len(table.AllWanted()) != 3 {
		t.Errorf("wanted: %v", table.AllWanted())
	}
	if _, ok := table.Actual("stray"); ok {
		t.Error("the stray object is still thought to be there")
	}
}

// running starts a loop and returns its stop.
func running(l *Loop) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); l.Run(ctx) }()
	return func() { cancel(); <-done }
}

func TestLoop(t *testing.T) {
	runs := make(chan error)
	result := make(chan error)
	log := slog.New(slog.DiscardHandler)
	l := NewLoop(func(ctx context.Context) error {
		select {
		case runs <- nil:
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case err := <-result:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}, time.Millisecond, 0, log)
	stop := running(l)
	defer stop()
	for range 100 {
		l.Kick()
	}
	<-runs
	l.Kick() // while it runs: once more
	result <- nil
	<-runs
	result <- errors.New("try again")
	<-runs // without a kick
	result <- nil
}

// One kick does not wait; those that come soon after a run are done together when the rest is over.
func TestLoopRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var runs atomic.Int32
		const rest = time.Second
		l := NewLoop(func(context.Context) error { runs.Add(1); return nil }, rest, 0, slog.New(slog.DiscardHandler))
		stop := running(l)
		defer stop()
		expect := func(what string, want int32) {
			t.Helper()
			synctest.Wait()
			if got := runs.Load(); got != want {
				t.Fatalf("%s: %d runs, want %d", what, got, want)
			}
		}
		l.Kick()
		expect("kicked", 1)
		for range 3 {
			time.Sleep(rest / 4)
			l.Kick()
			expect("kicked again soon", 1)
		}
		time.Sleep(rest / 2)
		expect("after the rest", 2)
		time.Sleep(2 * rest)
		expect("not kicked", 2)
		l.Kick()
		expect("kicked after long", 3)
	})
}

func TestLoopRunsWithoutKicks(t *testing.T) {
	var n atomic.Int32
	two := make(chan struct{})
	l := NewLoop(func(context.Context) error {
		if n.Add(1) == 2 {
			close(two)
		}
		return nil
	}, 0, time.Millisecond, slog.New(slog.DiscardHandler))
	stop := running(l)
	<-two
	stop()
}

func TestPartialErrorNamesOne(t *testing.T) {
	err := &PartialError[string]{map[string]error{"x": errors.New("why")}}
	if got := err.Error(); got != "1 objects failed, one of them x: why" {
		t.Error(got)
	}
	if !slices.Contains([]string{"no object failed"}, (&PartialError[string]{}).Error()) {
		t.Error("nothing failed")
	}
}
