package metering

import (
	"errors"
	"maps"
	"slices"
	"time"

	"neutrino/internal/identity"
	"neutrino/internal/rpc"
)

// system is on whose behalf notifications are published.
var system = identity.System()

// source is a label on a router: what one counter counts.
type source struct{ router, label string }

// info is what is known of one thing that is reported: a label, or with granular_traffic_data also a router, a project, and a
// label within one of them. Times are upstream's: seconds since 1970.
type info struct {
	count
	event       string         // type of the notification
	describes   map[string]any // keys of the payload that tell what it is about
	first, last int64
	time        int64 // seconds measured since the last report
}

// ledger adds up what counters counted, as upstream's agent reports it.
type ledger struct {
	granular bool
	host     string
	project  map[string]string            // of routers
	labels   map[string]rpc.MeteringLabel // by id
	owner    map[string]string            // project of labels: that of a router
	pending  map[source]count
	infos    map[string]*info
}

func newLedger(granular bool, host string) *ledger {
	return &ledger{granular: granular, host: host, project: map[string]string{}, labels: map[string]rpc.MeteringLabel{},
		owner: map[string]string{}, pending: map[source]count{}, infos: map[string]*info{}}
}

// know learns whose routers and labels are counted. What is no longer wanted is remembered as long as counts of it wait.
func (l *ledger) know(routers []rpc.MeteredRouter) {
	waits := func(of func(source) string) map[string]bool {
		ids := map[string]bool{}
		for s := range l.pending {
			ids[of(s)] = true
		}
		return ids
	}
	routerWaits, labelWaits := waits(func(s source) string { return s.router }), waits(func(s source) string { return s.label })
	maps.DeleteFunc(l.project, func(id, _ string) bool { return !routerWaits[id] })
	maps.DeleteFunc(l.labels, func(id string, _ rpc.MeteringLabel) bool { return !labelWaits[id] })
	maps.DeleteFunc(l.owner, func(id, _ string) bool { return !labelWaits[id] })
	for _, r := range routers {
		l.project[r.ID] = r.ProjectID
		for _, label := range r.Labels {
			l.labels[label.ID], l.owner[label.ID] = label, r.ProjectID
		}
	}
}

// measured notes that a counter was read.
func (l *ledger) measured(router, label string, now time.Time) {
	for _, i := range l.about(source{router, label}, now) {
		i.time += now.Unix() - i.last
		i.last = now.Unix()
	}
}

// keep adds what a counter had when it was emptied.
func (l *ledger) keep(router, label string, n count) {
	if n != (count{}) {
		s := source{router, label}
		l.pending[s] = l.pending[s].plus(n)
	}
}

// report has everything published and empties the ledger; what could not be published stays for the next report. What was
// not measured during the last interval is forgotten afterwards.
func (l *ledger) report(now time.Time, interval time.Duration, publish func(event string, payload map[string]any) error) error {
	for s, n := range l.pending {
		for _, i := range l.about(s, now) {
			i.count = i.plus(n)
		}
	}
	clear(l.pending)
	var failed []error
	for _, key := range slices.Sorted(maps.Keys(l.infos)) {
		i := l.infos[key]
		payload := maps.Clone(i.describes)
		maps.Copy(payload, map[string]any{"pkts": i.packets, "bytes": i.bytes, "time": i.time, "first_update": i.first, "last_update": i.last,
			"host": l.host})
		if err := publish(i.event, payload); err != nil {
			failed = append(failed, err)
			continue
		}
		i.count, i.time = count{}, 0
		if i.last < now.Add(-interval).Unix() {
			delete(l.infos, key)
		}
	}
	return errors.Join(failed...)
}

// waiting tells whether there are counts that only the ledger has.
func (l *ledger) waiting() bool {
	for _, i := range l.infos {
		if i.count != (count{}) {
			return true
		}
	}
	return len(l.pending) > 0
}

// about finds, or starts, everything that a counter is part of. Keys and payloads are upstream's
// (metering_agent.py, set_project_id_for_granular_traffic_data).
func (l *ledger) about(s source, now time.Time) []*info {
	if !l.granular {
		return []*info{l.info(s.label, now, "l3.meter", map[string]any{"label_id": s.label, "project_id": orNull(l.owner, s.label)})}
	}
	project, label := l.project[s.router], "label-"+s.label
	ofRouter, ofProject := "router-"+s.router, "project-"+project
	whole := l.aboutLabel(s.label, "all")
	inRouter := l.aboutLabel(s.label, orNull(l.project, s.router))
	if l.labels[s.label].Shared {
		inRouter["router_id"] = s.router
	}
	all := []*info{
		l.info(label, now, "l3.meter.label", whole),
		l.info(ofRouter, now, "l3.meter.router", map[string]any{"router_id": s.router, "project_id": orNull(l.project, s.router)}),
		l.info(ofRouter+"-"+label, now, "l3.meter.label_router", inRouter),
	}
	if project != "" {
		all = append(all, l.info(ofProject, now, "l3.meter.project", map[string]any{"project_id": project}),
			l.info(ofProject+"-"+label, now, "l3.meter.label_project", l.aboutLabel(s.label, project)))
	}
	return all
}

// aboutLabel describes a label; project is whose part of it is meant if it is shared.
func (l *ledger) aboutLabel(id string, project any) map[string]any {
	about := map[string]any{"label_id": id, "label_name": id, "label_shared": nil, "project_id": orNull(l.owner, id)}
	if label, ok := l.labels[id]; ok {
		about["label_name"], about["label_shared"] = label.Name, label.Shared
		if label.Shared {
			about["project_id"] = project
		}
	}
	return about
}

func (l *ledger) info(key string, now time.Time, event string, describes map[string]any) *info {
	i := l.infos[key]
	if i == nil {
		i = &info{first: now.Unix(), last: now.Unix()}
		l.infos[key] = i
	}
	if l.granular {
		describes["resource_id"] = key
	}
	i.event, i.describes = event, describes
	return i
}

func orNull(m map[string]string, key string) any {
	if v, ok := m[key]; ok && v != "" {
		return v
	}
	return nil
}
