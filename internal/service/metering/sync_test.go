package metering

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/rpc"
	"neutrino/internal/store"
	"neutrino/internal/store/dbtest"

	"github.com/google/go-cmp/cmp"
)

// recorder notes what agents are told.
type recorder struct{ told []string }

func (r *recorder) Metering(_ context.Context, m rpc.Method[rpc.MeteredRoutersArgs, rpc.None], host string, routers []rpc.MeteredRouter) {
	r.told = append(r.told, m.Name+" "+host+" "+describe(routers))
}

// describe is "router(label label …) …", a rule with its label after a slash.
func describe(routers []rpc.MeteredRouter) string {
	var all []string
	for _, r := range routers {
		var labels []string
		for _, l := range r.Labels {
			text := l.ID
			for _, rule := range l.Rules {
				text += "/" + rule.ID
			}
			if l.Rule != nil {
				text += "/" + l.Rule.ID
			}
			labels = append(labels, text)
		}
		all = append(all, r.ID+"("+strings.Join(labels, " ")+")")
	}
	return strings.Join(all, " ")
}

func TestWhoCountsWhat(t *testing.T) {
	db := dbtest.Open(t)
	catalog := model.NewCatalog(func(string) bool { return true })
	s, told := New(catalog), &recorder{}
	s.Notifier = told
	write := func(f func(tx *store.Tx) error) {
		t.Helper()
		if err := db.Write(t.Context(), f); err != nil {
			t.Fatal(err)
		}
	}
	exec := func(tx *store.Tx, query string, args ...any) {
		t.Helper()
		if _, err := tx.Exec(query, args...); err != nil {
			t.Fatal(err)
		}
	}
	write(func(tx *store.Tx) error {
		now := store.Time{Time: time.Now().UTC()}
		for _, host := range []string{"h1", "h2", "off"} {
			exec(tx, "INSERT INTO agents (id, agent_type, "+tx.Dialect().Quote("binary")+", topic, host, admin_state_up, created_at, started_at, heartbeat_timestamp, configurations, "+
				tx.Dialect().Quote("load")+") VALUES (?, 'L3 agent', 'b', 't', ?, ?, ?, ?, ?, '{}', 0)", "a"+host, host, host != "off", now, now, now)
		}
		for i, r := range []struct {
			id, project, host string
			up                bool
		}{{"r1", "p", "h1", true}, {"r2", "p", "h2", true}, {"r3", "q", "h1", true}, {"r4", "p", "h1", false}, {"r5", "p", "off", true}, {"r6", "p", "", true}} {
			row, err := tx.Insert("INSERT INTO standardattributes (resource_type, revision_number) VALUES ('routers', 1)")
			if err != nil {
				return err
			}
			exec(tx, "INSERT INTO routers (id, project_id, name, status, admin_state_up, enable_snat, standard_attr_id) VALUES (?, ?, '', 'ACTIVE', ?, ?, ?)", r.id, r.project, r.up, true, row)
			if r.host != "" {
				exec(tx, "INSERT INTO routerl3agentbindings (router_id, l3_agent_id, binding_index) VALUES (?, ?, ?)", r.id, "a"+r.host, i+1)
			}
		}
		return nil
	})
	caller := &identity.Caller{ProjectID: "p", IsAdmin: true}
	all := "10.0.0.0/24"
	newLabel := func(id, project string, shared bool) *model.MeteringLabel {
		l := &model.MeteringLabel{Standard: model.Standard{ID: id, ProjectID: project}, Shared: shared}
		write(func(tx *store.Tx) error {
			return s.Labels().Create(&resource.Change[model.MeteringLabel]{Resource: catalog.MeteringLabels, Tx: tx, Caller: caller, New: l})
		})
		return l
	}
	var own, shared *model.MeteringLabel
	var rule *model.MeteringLabelRule
	for _, step := range []struct {
		name string
		do   func()
		told []string
		sync map[string]string // by host, afterwards
	}{
		{"label", func() { own = newLabel("own", "p", false) },
			[]string{"add_metering_label h1 r1(own)", "add_metering_label h2 r2(own)"}, map[string]string{"h1": "r1(own)", "h2": "r2(own)"}},
		{"shared label", func() { shared = newLabel("sh", "q", true) },
			[]string{"add_metering_label h1 r1(own sh) r3(sh)", "add_metering_label h2 r2(own sh)"}, map[string]string{"h1": "r1(own sh) r3(sh)", "h2": "r2(own sh)"}},
		{"rule", func() {
			rule = &model.MeteringLabelRule{ID: "x", LabelID: "own", Direction: "egress", SourcePrefix: &all}
			write(func(tx *store.Tx) error {
				return s.Rules().Create(&resource.Change[model.MeteringLabelRule]{Resource: catalog.MeteringLabelRules, Tx: tx, Caller: caller, New: rule})
			})
		}, []string{"add_metering_label_rule h1 r1(own/x) r4(own/x)", "add_metering_label_rule h2 r2(own/x)"}, map[string]string{"h1": "r1(own/x sh) r3(sh)", "h2": "r2(own/x sh)"}},
		{"rule goes", func() {
			write(func(tx *store.Tx) error {
				return s.Rules().Delete(&resource.Change[model.MeteringLabelRule]{Resource: catalog.MeteringLabelRules, Tx: tx, Caller: caller, Old: rule})
			})
		}, []string{"remove_metering_label_rule h1 r1(own/x) r4(own/x)", "remove_metering_label_rule h2 r2(own/x)"}, map[string]string{"h1": "r1(own sh) r3(sh)", "h2": "r2(own sh)"}},
		{"label goes", func() {
			write(func(tx *store.Tx) error {
				return s.Labels().Delete(&resource.Change[model.MeteringLabel]{Resource: catalog.MeteringLabels, Tx: tx, Caller: caller, Old: own})
			})
		}, []string{"remove_metering_label h1 r1(own) r4(own)", "remove_metering_label h2 r2(own)"}, map[string]string{"h1": "r1(sh) r3(sh)", "h2": "r2(sh)"}},
		{"shared label goes", func() {
			write(func(tx *store.Tx) error {
				return s.Labels().Delete(&resource.Change[model.MeteringLabel]{Resource: catalog.MeteringLabels, Tx: tx, Caller: caller, Old: shared})
			})
		}, []string{"remove_metering_label h1 r1(sh) r3(sh) r4(sh)", "remove_metering_label h2 r2(sh)"}, map[string]string{"h1": "", "h2": ""}},
	} {
		told.told = nil
		step.do()
		if diff := cmp.Diff(step.told, told.told); diff != "" {
			t.Errorf("%s: told -want +got:\n%s", step.name, diff)
		}
		got := map[string]string{}
		write(func(tx *store.Tx) error {
			for _, host := range []string{"h1", "h2"} {
				list, err := s.SyncData(tx, host)
				if err != nil || list == nil {
					return fmt.Errorf("%v %w", list, err)
				}
				slices.SortFunc(list, func(a, b rpc.MeteredRouter) int { return strings.Compare(a.ID, b.ID) })
				got[host] = describe(list)
			}
			return nil
		})
		if diff := cmp.Diff(step.sync, got); diff != "" {
			t.Errorf("%s: sync -want +got:\n%s", step.name, diff)
		}
	}
}
