package ml2

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"testing"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/store"

	"github.com/google/go-cmp/cmp"
)

// movable makes a port on host h1, and agents on it and on h2.
func movable(e *env, kv ...any) *model.Port {
	e.agent("h1", "Linux bridge agent", `{"tunnel_types": ["vxlan"]}`)
	e.agent("h2", "Linux bridge agent", `{"tunnel_types": ["vxlan"]}`)
	return e.port(e.network(), append([]any{"device_owner", "compute:nova", "binding:host_id", "h1"}, kv...)...)
}

// bindings are the hosts of a port's bindings, with state and type.
func (e *env) bindings(id string) []string {
	e.t.Helper()
	var out []string
	err := e.db.Read(ctx, func(tx *store.Tx) error {
		list, err := e.plugin.PortBindings(tx, admin, id, nil)
		for _, b := range list {
			out = append(out, b.Host+" "+b.Status+" "+b.VIFType)
		}
		return err
	})
	if err != nil {
		e.t.Fatal(err)
	}
	return out
}

// on are the ports that the filter binding:host_id finds.
func (e *env) on(host string) []string {
	e.t.Helper()
	ports := e.catalog.Ports
	q, err := ports.ParseQuery(url.Values{"binding:host_id": {host}}, 0, true)
	if err != nil {
		e.t.Fatal(err)
	}
	q.Set, q.Caller = ports.Bits("id"), admin
	var ids []string
	err = e.db.Read(ctx, func(tx *store.Tx) error {
		list, err := ports.Select(tx, q)
		for _, p := range list {
			ids = append(ids, p.ID)
		}
		return err
	})
	if err != nil {
		e.t.Fatal(err)
	}
	return ids
}

func (e *env) prepare(port *model.Port, host string) error {
	return e.db.Write(ctx, func(tx *store.Tx) error {
		_, err := e.plugin.CreatePortBinding(tx, admin, port.ID, &model.PortBinding{Host: host, VNICType: "normal"})
		return err
	})
}

func (e *env) activate(port *model.Port, host string) error {
	return e.db.Write(ctx, func(tx *store.Tx) error {
		_, err := e.plugin.ActivatePortBinding(tx, admin, port.ID, host)
		return err
	})
}

func TestPortMovesToAnotherHost(t *testing.T) {
	e := setUp(t)
	port := movable(e)
	var moves []string
	e.plugin.Hooks.AfterPort = append(e.plugin.Hooks.AfterPort, func(_ context.Context, old, now *model.Port) {
		moves = append(moves, old.HostID+" "+now.HostID+" "+now.Status)
	})
	if err := e.prepare(port, "h2"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"h1 ACTIVE bridge", "h2 INACTIVE bridge"}, e.bindings(port.ID)); diff != "" {
		t.Error("prepared:", diff)
	}
	if moves != nil {
		t.Error("the preparation moved the port:", moves)
	}
	for host, want := range map[string][]string{"h1": {port.ID}, "h2": {port.ID}, "h3": nil} { // active or not
		if diff := cmp.Diff(want, e.on(host)); diff != "" {
			t.Errorf("filter by host %s: %s", host, diff)
		}
	}
	if err := e.activate(port, "h2"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"h1 INACTIVE unbound", "h2 ACTIVE bridge"}, e.bindings(port.ID)); diff != "" {
		t.Error("moved:", diff)
	}
	if diff := cmp.Diff([]string{"h1 h2 DOWN"}, moves); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(`{"binding:host_id":"h2","binding:vif_type":"bridge"}`, e.shown(port.ID, "binding:host_id", "binding:vif_type")); diff != "" {
		t.Error(diff)
	}
	if err := e.activate(port, "h1"); err != nil {
		t.Error("back:", err)
	}
	err := e.db.Write(ctx, func(tx *store.Tx) error { return e.plugin.DeletePortBinding(tx, admin, port.ID, "h2") })
	if err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"h1 ACTIVE unbound"}, e.bindings(port.ID)); diff != "" {
		t.Error("back:", diff)
	}
}

// TestRevisionsOfMoves: how often upstream counts the revision up depends on the binding levels that it removes.
func TestRevisionsOfMoves(t *testing.T) {
	e := setUp(t)
	port := movable(e)
	remove := func(port *model.Port, host string) error {
		return e.db.Write(ctx, func(tx *store.Tx) error { return e.plugin.DeletePortBinding(tx, admin, port.ID, host) })
	}
	ports := e.catalog.Ports
	before := port.Revision
	for i, step := range []struct {
		do      func(*model.Port, string) error
		host    string
		more    int64
		drivers int // that the port is shown with
	}{
		{e.prepare, "h2", 1, 1}, {e.activate, "h2", 2, 1}, {e.activate, "h1", 2, 0}, {e.activate, "h2", 1, 0}, {e.activate, "h1", 1, 0},
		{remove, "h2", 1, 0}, {e.prepare, "h2", 1, 1}, {e.activate, "h2", 1, 1}, {remove, "h1", 1, 1}, {e.prepare, "h1", 1, 1}, {remove, "h1", 2, 1},
	} {
		if err := step.do(port, step.host); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		err := e.db.Read(ctx, func(tx *store.Tx) error {
			now, err := ports.Get(tx, admin, port.ID, ports.All)
			if err != nil {
				return err
			}
			if i == 0 {
				before = now.Revision - step.more
			}
			if got := now.Revision - before; got != step.more {
				t.Errorf("step %d: %d revisions, want %d", i, got, step.more)
			}
			before, now.VIFDetails = now.Revision, without(now.VIFDetails, "bound_drivers") // as other software stores them
			err = e.plugin.loadPorts(tx, admin, ports.All, []*model.Port{now})
			if drivers, _ := now.VIFDetails["bound_drivers"].(map[string]any); len(drivers) != step.drivers {
				t.Errorf("step %d: drivers %v, want %d", i, drivers, step.drivers)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func without(d model.Dict, key string) model.Dict {
	d = maps.Clone(d)
	delete(d, key)
	return d
}

func TestBindingsThatCannotBe(t *testing.T) {
	e := setUp(t)
	port := movable(e)
	other := e.port(e.network(), "device_owner", "network:dhcp")
	for _, x := range []struct {
		name string
		got  error
		want string
	}{
		{"twice", e.prepare(port, "h1"), "PortBindingAlreadyExists: Binding for port " + port.ID + " on host h1 already exists."},
		{"host without agent", e.prepare(port, "h3"), "PortBindingError: Binding for port " + port.ID + " on host h3 could not be created or updated."},
		{"port that stays", e.prepare(other, "h1"), "BadRequest: Bad port request: Invalid port " + other.ID +
			". Operation only valid on compute and shared filesystem ports."},
		{"active already", e.activate(port, "h1"), "PortBindingAlreadyActive: Binding for port " + port.ID + " on host h1 is already active."},
		{"not prepared", e.activate(port, "h2"), "PortBindingNotFound: Binding for port " + port.ID + " for host h2 could not be found."},
	} {
		if x.got == nil || x.got.Error() != x.want {
			t.Errorf("%s: %v, want %s", x.name, x.got, x.want)
		}
	}
	if diff := cmp.Diff([]string{"h1 ACTIVE bridge"}, e.bindings(port.ID)); diff != "" {
		t.Error("after errors:", diff)
	}
	if got := fault.As(e.prepare(port, "h3")).Status; got != http.StatusInternalServerError { // as upstream
		t.Errorf("host without agent: status %d", got)
	}
}

func TestTrustIsPartOfBoundProfiles(t *testing.T) {
	e := setUp(t)
	port := movable(e, "trusted", true)
	err := e.db.Write(ctx, func(tx *store.Tx) error {
		b, err := e.plugin.UpdatePortBinding(tx, admin, port.ID, "h1", &model.PortBinding{Profile: model.Dict{"a": "b"}},
			func(string) bool { return false })
		if err == nil {
			want := &model.PortBinding{Host: "h1", VNICType: "normal", Status: "ACTIVE", VIFType: "bridge",
				Profile: model.Dict{"a": "b", "trusted": true}, VIFDetails: model.Dict{"port_filter": true, "connectivity": "l2"}}
			if diff := cmp.Diff(want, b); diff != "" {
				t.Error(diff)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(`{"binding:profile":{"a":"b","trusted":true}}`, e.shown(port.ID, "binding:profile")); diff != "" {
		t.Error(diff)
	}
}
