package l3

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"testing"
	"time"

	"neutrino/internal/rpc"
)

// takeAll returns the ids that are due, in order, and leaves them running.
func takeAll(q *queue, now time.Time) (ids []string) {
	for {
		w, _, _ := q.take(now)
		if w == nil {
			return ids
		}
		ids = append(ids, w.id)
	}
}

func TestQueueOrder(t *testing.T) {
	q := newQueue()
	q.add(work{id: "synced"}, bySync)
	q.add(work{id: "first"}, byNotification)
	q.add(work{id: "second"}, byNotification)
	q.add(work{id: "raised"}, bySync)
	q.add(work{id: "raised"}, byNotification)
	q.add(work{id: "first"}, bySync)
	got := takeAll(q, time.Now())
	want := []string{"first", "second", "raised", "synced"}
	if len(got) != len(want) {
		t.Fatalf("%v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("%v, want %v", got, want)
		}
	}
}

func TestQueueOneWorkerPerRouter(t *testing.T) {
	q, now := newQueue(), time.Now()
	q.add(work{id: "a"}, bySync)
	takeAll(q, now)
	q.add(work{id: "a"}, byNotification)
	if got := takeAll(q, now); got != nil {
		t.Fatalf("%v is worked on twice at a time", got)
	}
	q.done("a", nil, now)
	if got := takeAll(q, now); len(got) != 1 {
		t.Fatal("the change that came in between is lost")
	}
	q.done("a", nil, now)
	if len(q.entries) != 0 {
		t.Fatal("finished work is kept")
	}
}

func TestQueueBackOff(t *testing.T) {
	q, now := newQueue(), time.Now()
	broken := errors.New("broken")
	for _, wait := range []time.Duration{firstRetry, 2 * firstRetry, 4 * firstRetry} {
		q.add(work{id: "good"}, bySync)
		q.add(work{id: "bad"}, bySync)
		takeAll(q, now)
		q.done("good", nil, now)
		q.done("bad", broken, now)
		if got := takeAll(q, now.Add(wait-1)); got != nil {
			t.Fatalf("%v tried again too early", got)
		}
		if got := takeAll(q, now.Add(wait)); len(got) != 1 {
			t.Fatalf("not tried again after %v", wait)
		}
		q.done("bad", broken, now)
		q.entries["bad"].failures-- // the extra try above
	}
	if q.failing() != 1 {
		t.Error("failing routers:", q.failing())
	}
	q.add(work{id: "bad"}, byNotification)
	if got := takeAll(q, now); len(got) != 1 {
		t.Error("news about a failing router wait for its back-off")
	}
}

// A router that failed is asked for again, also when it was to be compared with the kernel meanwhile.
func TestFailureOutlastsCheck(t *testing.T) {
	q, now := newQueue(), time.Now()
	q.add(work{id: "a"}, byNotification)
	takeAll(q, now)
	q.add(work{id: "a", check: true}, byCheck)
	q.done("a", errors.New("broken"), now)
	if w, _, _ := q.take(now.Add(lastRetry)); w == nil || w.check {
		t.Fatalf("%+v follows, want the whole router", w)
	}
}

func TestRetryIsBounded(t *testing.T) {
	if got := retryAfter(1000); got != lastRetry {
		t.Error(got)
	}
}

func TestNotificationWinsOverOldData(t *testing.T) {
	q := newQueue()
	q.add(work{id: "a"}, byNotification)
	q.add(work{id: "a", data: &rpc.Router{ID: "a"}}, bySync)
	if w, _, _ := q.take(time.Now()); w.data != nil {
		t.Error("data that may be older than the notification is used")
	}
}

// What is asked for covers everything that was told while the router waited.
func TestFloatingIPsAreGathered(t *testing.T) {
	some := func(ids ...string) work {
		w := work{id: "a", floating: map[string]bool{}}
		for _, id := range ids {
			w.floating[id] = true
		}
		return w
	}
	all := work{id: "a"}
	var many []string
	for i := range mostFloating {
		many = append(many, fmt.Sprint(i))
	}
	for name, tt := range map[string]struct {
		told []work
		want map[string]bool
	}{
		"one":            {[]work{some("x")}, map[string]bool{"x": true}},
		"two":            {[]work{some("x"), some("y")}, map[string]bool{"x": true, "y": true}},
		"and all":        {[]work{some("x"), all}, nil},
		"all before":     {[]work{all, some("x")}, nil},
		"too many":       {[]work{some("x"), some(many...)}, nil},
		"sync before":    {[]work{{id: "a", data: &rpc.Router{ID: "a"}}, some("x")}, nil},
		"sync meanwhile": {[]work{some("x"), {id: "a", data: &rpc.Router{ID: "a"}}}, nil},
		"check before":   {[]work{{id: "a", check: true}, some("x")}, map[string]bool{"x": true}},
	} {
		q := newQueue()
		for _, w := range tt.told {
			q.add(w, byNotification)
		}
		w, _, _ := q.take(time.Now())
		if w.data != nil || w.check || !maps.Equal(w.floating, tt.want) || w.floating == nil != (tt.want == nil) {
			t.Errorf("%s: %+v, want floating IPs %v", name, w, tt.want)
		}
	}
}

func TestNextEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, ok := newQueue().next(ctx); ok {
		t.Error("work from an empty queue")
	}
}

// Every router is checked within little more than the interval, and the work is spread.
func TestChecksAreSpread(t *testing.T) {
	const n, interval = 100, 30 * time.Second
	a := New(Config{Host: "host", CheckInterval: interval}, newServer(), slog.New(slog.DiscardHandler), nil)
	start := time.Now()
	for i := range n {
		a.routers[fmt.Sprint(i)] = &hosted{looked: start}
	}
	at := func(d time.Duration) []string { return a.due(start.Add(d)) }
	if ids := at(interval - time.Second); len(ids) > 0 {
		t.Error("too early:", ids)
	}
	most, checked := 0, map[string]bool{}
	for second := interval; second <= interval*8/5; second += time.Second {
		ids := at(second)
		most = max(most, len(ids))
		for _, id := range ids {
			checked[id] = true
			a.routers[id].looked = start.Add(second)
		}
	}
	if len(checked) != n || most > 7 {
		t.Errorf("%d checked, %d at once", len(checked), most)
	}
}
