package agents

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"neutrino/internal/fault"
	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/rpc"
	"neutrino/internal/store"
	"neutrino/internal/store/dbtest"

	"github.com/google/go-cmp/cmp"
)

// env is the service on a database of its own. It is the notifier too.
type env struct {
	testing.TB
	*Service
	db   *store.DB
	told []string
	far  []string // hosts that reach no network
}

func (e *env) HostsWithAccess(_ *store.Tx, _ string, hosts []string) ([]string, error) {
	return slices.DeleteFunc(slices.Clone(hosts), func(h string) bool { return slices.Contains(e.far, h) }), nil
}

func (e *env) NetworkAdded(_ context.Context, host, network string) {
	e.told = append(e.told, "+"+network+"@"+host)
}
func (e *env) NetworkRemoved(_ context.Context, host, network string) {
	e.told = append(e.told, "-"+network+"@"+host)
}
func (e *env) AdminStateChanged(_ context.Context, kind, host string, up bool) {
	e.told = append(e.told, fmt.Sprint(kind, "@", host, " ", up))
}

// UpdatePort changes a port as the core plug-in does.
func (e *env) UpdatePort(tx *store.Tx, _ *identity.Caller, id string, _ []string, change func(*model.Port)) (*model.Port, error) {
	p := &model.Port{}
	change(p)
	_, err := tx.Exec("UPDATE ports SET device_id = ? WHERE id = ?", p.DeviceID, id)
	return p, err
}

func setUp(t testing.TB, cfg Config) *env {
	t.Helper()
	db := dbtest.Open(t)
	e := &env{TB: t, db: db}
	e.Service = New(cfg, db, model.NewCatalog(func(string) bool { return true }), slog.New(slog.DiscardHandler))
	e.Notifier, e.Core = e, e
	return e
}

// defaults are upstream's.
func defaults() Config {
	return Config{NetworkAutoSchedule: true, EnableNewAgents: true, DHCPAgentsPerNetwork: 1, AutomaticFailover: true}
}

func (e *env) write(f func(tx *store.Tx) error) {
	e.Helper()
	if err := e.db.Write(e.Context(), f); err != nil {
		e.Fatal(err)
	}
}

func (e *env) exec(query string, args ...any) {
	e.Helper()
	e.write(func(tx *store.Tx) error { _, err := tx.Exec(query, args...); return err })
}

func (e *env) strings(query string, args ...any) (out []string) {
	e.Helper()
	e.write(func(tx *store.Tx) (err error) { out, err = store.Strings(tx.Query(query, args...)); return err })
	return out
}

// network makes a network with one subnet.
func (e *env) network(id, hints string, dhcp bool) {
	e.Helper()
	e.write(func(tx *store.Tx) error {
		row, err := tx.Insert("INSERT INTO standardattributes (resource_type, revision_number) VALUES ('networks', 1)")
		if err != nil {
			return err
		}
		if _, err := tx.Exec("INSERT INTO networks (id, project_id, name, status, admin_state_up, mtu, standard_attr_id, availability_zone_hints) "+
			"VALUES (?, 'p', '', 'ACTIVE', ?, 1500, ?, ?)", id, true, row, hints); err != nil {
			return err
		}
		if row, err = tx.Insert("INSERT INTO standardattributes (resource_type, revision_number) VALUES ('subnets', 1)"); err != nil {
			return err
		}
		_, err = tx.Exec("INSERT INTO subnets (id, project_id, name, network_id, ip_version, cidr, enable_dhcp, standard_attr_id) "+
			"VALUES (?, 'p', '', ?, 4, '10.0.0.0/24', ?, ?)", "s"+id, id, dhcp, row)
		return err
	})
}

func state(kind, host string) rpc.AgentState {
	return rpc.AgentState{Binary: "b", Host: host, AgentType: kind, Topic: "t", Configurations: map[string]any{"networks": 3.0}}
}

func (e *env) report(s rpc.AgentState, at time.Time) (string, error) {
	var args rpc.ReportStateArgs
	args.AgentState.AgentState = s
	args.Time = at.UTC().Format(rpc.TimeFormat)
	return e.Report(e.Context(), args)
}

func (e *env) dhcp(host, zone string) string {
	e.Helper()
	s := state(rpc.AgentTypeDHCP, host)
	s.AvailabilityZone = zone
	if _, err := e.report(s, time.Now()); err != nil {
		e.Fatal(err)
	}
	return e.strings("SELECT id FROM agents WHERE host = ? AND agent_type = ?", host, rpc.AgentTypeDHCP)[0]
}

func (e *env) silent(host string, since time.Duration) {
	e.Helper()
	at := store.Time{Time: time.Now().UTC().Add(-since)}
	e.exec("UPDATE agents SET heartbeat_timestamp = ?, started_at = ? WHERE host = ?", at, at, host)
}

func TestReport(t *testing.T) {
	e := setUp(t, defaults())
	s := state(rpc.AgentTypeDHCP, "h1")
	for _, step := range []struct {
		name   string
		before func()
		at     time.Time
		want   string
	}{
		{"first", func() {}, time.Now(), rpc.AgentNew},
		{"second", func() {}, time.Now(), rpc.AgentAlive},
		{"after silence", func() { e.silent("h1", time.Hour) }, time.Now(), rpc.AgentRevived},
		{"then", func() {}, time.Now(), rpc.AgentAlive},
		{"sent long before the server started", func() { e.silent("h1", time.Hour) }, time.Now().Add(-time.Hour), rpc.AgentAlive},
		{"which does not count as a report", func() {}, time.Now(), rpc.AgentRevived},
	} {
		step.before()
		if got, err := e.report(s, step.at); err != nil || got != step.want {
			t.Errorf("%s: %q, %v; want %q", step.name, got, err, step.want)
		}
	}
	if got := e.strings("SELECT availability_zone || ' ' || " + `"load"` + " FROM agents"); !slices.Equal(got, []string{"nova 3"}) {
		t.Errorf("zone and load: %v", got)
	}
	for _, bad := range []rpc.AgentState{{Host: "h"}, {AgentType: "x"}} {
		if _, err := e.report(bad, time.Now()); !fault.Is(err, "InvalidInput") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

func TestReportIsOneStatement(t *testing.T) {
	e := setUp(t, defaults())
	e.dhcp("h1", "")
	before := e.db.Statements()
	if _, err := e.report(state(rpc.AgentTypeDHCP, "h1"), time.Now()); err != nil {
		t.Fatal(err)
	}
	if n := e.db.Statements() - before; n != 1 {
		t.Errorf("a report took %d statements", n)
	}
}

func TestNewAgentsMayStartDisabled(t *testing.T) {
	cfg := defaults()
	cfg.EnableNewAgents = false
	e := setUp(t, cfg)
	e.dhcp("h1", "")
	if up := e.strings("SELECT admin_state_up FROM agents"); up[0] != "0" && up[0] != "false" {
		t.Errorf("admin_state_up %v", up)
	}
}

func TestAliveFilter(t *testing.T) {
	e := setUp(t, defaults())
	e.dhcp("alive", "")
	e.dhcp("dead", "")
	e.silent("dead", time.Hour)
	for value, want := range map[string][]string{"true": {"alive"}, "1": {"alive"}, "False": {"dead"}} {
		q, err := e.catalog.Agents.ParseQuery(map[string][]string{"alive": {value}}, 0, false)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		e.write(func(tx *store.Tx) error {
			list, err := e.list(tx, q.Where...)
			for _, a := range list {
				got = append(got, a.Host)
				if a.Alive != (a.Host == "alive") {
					t.Errorf("alive of %s is %v", a.Host, a.Alive)
				}
			}
			return err
		})
		if !slices.Equal(got, want) {
			t.Errorf("alive=%s: %v, want %v", value, got, want)
		}
	}
	if _, err := e.catalog.Agents.ParseQuery(map[string][]string{"alive": {"x"}}, 0, false); !fault.Is(err, "InvalidInput") {
		t.Errorf("alive=x: %v", err)
	}
}

func TestAdminState(t *testing.T) {
	e := setUp(t, defaults())
	id := e.dhcp("h1", "")
	logic := e.Logic()
	put := func(change func(*model.Agent)) {
		t.Helper()
		e.write(func(tx *store.Tx) error {
			old, err := e.catalog.Agents.Get(tx, nil, id, e.catalog.Agents.All)
			if err != nil {
				return err
			}
			now := *old
			change(&now)
			return logic.Update(&resource.Change[model.Agent]{Resource: e.catalog.Agents, Tx: tx, Old: old, New: &now})
		})
	}
	text := "x"
	put(func(a *model.Agent) { a.Description = &text })
	put(func(a *model.Agent) { a.AdminStateUp = false })
	put(func(a *model.Agent) { a.AdminStateUp = true })
	if diff := cmp.Diff([]string{"DHCP agent@h1 false", "DHCP agent@h1 true"}, e.told); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestZones(t *testing.T) {
	e := setUp(t, defaults())
	e.dhcp("h1", "az1")
	e.dhcp("h2", "az1")
	e.dhcp("h3", "az2")
	if _, err := e.report(state(rpc.AgentTypeL3, "h1"), time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := e.report(state(rpc.AgentTypeLinuxBridge, "h1"), time.Now()); err != nil {
		t.Fatal(err)
	}
	e.exec("UPDATE agents SET admin_state_up = ? WHERE host IN ('h2', 'h3')", false)
	e.write(func(tx *store.Tx) error {
		got, err := e.Zones(tx)
		slices.SortFunc(got, func(a, b Zone) int { return slices.Compare([]string{a.Name, a.Resource}, []string{b.Name, b.Resource}) })
		want := []Zone{{"az1", "network", "available"}, {"az2", "network", "unavailable"}, {"nova", "router", "available"}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		return err
	})
}

func describe(err error) string {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return fmt.Sprintf("%d %s: %s", f.Status, f.Type, f.Message)
	}
	return fmt.Sprint(err)
}
