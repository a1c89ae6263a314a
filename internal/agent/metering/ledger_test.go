package metering

import (
	"errors"
	"testing"
	"time"

	"neutrino/internal/rpc"

	"github.com/google/go-cmp/cmp"
)

// sent is a notification.
type sent struct {
	event   string
	payload map[string]any
}

// reported has the ledger report and returns what it publishes.
func reported(t *testing.T, l *ledger, now time.Time, interval time.Duration) (all []sent) {
	t.Helper()
	if err := l.report(now, interval, func(event string, payload map[string]any) error {
		all = append(all, sent{event, payload})
		return nil
	}); err != nil {
		t.Error(err)
	}
	return all
}

func TestPayloads(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	routers := []rpc.MeteredRouter{{ID: "R", ProjectID: "P", Labels: []rpc.MeteringLabel{{ID: "L", Name: "l"}, {ID: "S", Name: "s", Shared: true}}}}
	with := func(extra map[string]any) map[string]any {
		all := map[string]any{"pkts": uint64(2), "bytes": uint64(200), "time": int64(30), "first_update": int64(100), "last_update": int64(130), "host": "h"}
		for k, v := range extra {
			all[k] = v
		}
		return all
	}
	for _, c := range []struct {
		name     string
		granular bool
		label    string
		want     map[string]map[string]any // payload by event
	}{
		{"legacy", false, "L", map[string]map[string]any{"l3.meter": with(map[string]any{"label_id": "L", "project_id": "P"})}},
		{"granular", true, "L", map[string]map[string]any{
			"l3.meter.label":         with(map[string]any{"resource_id": "label-L", "label_id": "L", "label_name": "l", "label_shared": false, "project_id": "P"}),
			"l3.meter.router":        with(map[string]any{"resource_id": "router-R", "router_id": "R", "project_id": "P"}),
			"l3.meter.project":       with(map[string]any{"resource_id": "project-P", "project_id": "P"}),
			"l3.meter.label_router":  with(map[string]any{"resource_id": "router-R-label-L", "label_id": "L", "label_name": "l", "label_shared": false, "project_id": "P"}),
			"l3.meter.label_project": with(map[string]any{"resource_id": "project-P-label-L", "label_id": "L", "label_name": "l", "label_shared": false, "project_id": "P"}),
		}},
		{"granular, shared", true, "S", map[string]map[string]any{
			"l3.meter.label":         with(map[string]any{"resource_id": "label-S", "label_id": "S", "label_name": "s", "label_shared": true, "project_id": "all"}),
			"l3.meter.router":        with(map[string]any{"resource_id": "router-R", "router_id": "R", "project_id": "P"}),
			"l3.meter.project":       with(map[string]any{"resource_id": "project-P", "project_id": "P"}),
			"l3.meter.label_router":  with(map[string]any{"resource_id": "router-R-label-S", "label_id": "S", "label_name": "s", "label_shared": true, "project_id": "P", "router_id": "R"}),
			"l3.meter.label_project": with(map[string]any{"resource_id": "project-P-label-S", "label_id": "S", "label_name": "s", "label_shared": true, "project_id": "P"}),
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLedger(c.granular, "h")
			l.know(routers)
			l.measured("R", c.label, at(100))
			l.measured("R", c.label, at(130))
			l.keep("R", c.label, count{2, 200})
			got := map[string]map[string]any{}
			for _, n := range reported(t, l, at(130), 300*time.Second) {
				got[n.event] = n.payload
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			for _, n := range reported(t, l, at(430), 300*time.Second) {
				if n.payload["pkts"] != uint64(0) || n.payload["time"] != int64(0) {
					t.Errorf("the next report repeats %v", n.payload)
				}
			}
			if again := reported(t, l, at(431), 300*time.Second); again == nil {
				t.Error("what was measured within the interval was forgotten")
			}
			if again := reported(t, l, at(432), 300*time.Second); len(again) != 0 {
				t.Errorf("never forgotten: %v", again)
			}
		})
	}
}

// TestCountsOfDeletedLabels: what a label counted keeps its name and project until it is published.
func TestCountsOfDeletedLabels(t *testing.T) {
	l := newLedger(false, "h")
	l.know([]rpc.MeteredRouter{{ID: "R", ProjectID: "P", Labels: []rpc.MeteringLabel{{ID: "L"}}}})
	l.keep("R", "L", count{1, 2})
	l.know(nil)
	got := reported(t, l, time.Unix(5, 0), time.Second)
	if len(got) != 1 || got[0].payload["project_id"] != "P" || got[0].payload["bytes"] != uint64(2) {
		t.Errorf("%v", got)
	}
	l.know(nil)
	if len(l.project)+len(l.labels)+len(l.owner) > 0 {
		t.Error("remembered for ever")
	}
}

// TestFailedReport: what did not get away is in the next report.
func TestFailedReport(t *testing.T) {
	l := newLedger(false, "h")
	l.know([]rpc.MeteredRouter{{ID: "R", ProjectID: "P", Labels: []rpc.MeteringLabel{{ID: "A"}, {ID: "B"}}}})
	l.keep("R", "A", count{1, 10})
	l.keep("R", "B", count{2, 20})
	broken := errors.New("broken")
	if err := l.report(time.Unix(5, 0), time.Second, func(_ string, payload map[string]any) error {
		if payload["label_id"] == "B" {
			return broken
		}
		return nil
	}); !errors.Is(err, broken) || !l.waiting() {
		t.Errorf("%v, waiting %v", err, l.waiting())
	}
	l.keep("R", "A", count{3, 30})
	l.keep("R", "B", count{4, 40})
	got := map[any]any{}
	for _, n := range reported(t, l, time.Unix(6, 0), time.Second) {
		got[n.payload["label_id"]] = n.payload["bytes"]
	}
	if diff := cmp.Diff(map[any]any{"A": uint64(30), "B": uint64(60)}, got); diff != "" || l.waiting() {
		t.Errorf("waiting %v: %s", l.waiting(), diff)
	}
}
