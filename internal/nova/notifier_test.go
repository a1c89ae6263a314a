package nova

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"neutrino/internal/api"
	"neutrino/internal/keystone"
	"neutrino/internal/keystone/keystonetest"
	"neutrino/internal/model"
	"neutrino/internal/store"

	"github.com/google/go-cmp/cmp"
)

const (
	server1 = "11111111-1111-4111-8111-111111111111"
	server2 = "22222222-2222-4222-8222-222222222222"
)

// fakeNova takes events and answers as it is told.
type fakeNova struct {
	got     chan []Event // of each request
	answers chan int     // statuses of the next requests; 200 without one
}

func (f *fakeNova) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body struct{ Events []Event }
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || r.URL.Path != "/v2.1/os-server-external-events" || r.Method != "POST" ||
		r.Header.Get("X-Auth-Token") == "" {
		http.Error(w, "wrong request", http.StatusTeapot)
		return
	}
	status := http.StatusOK
	select {
	case status = <-f.answers:
	default:
	}
	f.got <- body.Events
	w.WriteHeader(status)
	fmt.Fprint(w, `{"events": []}`)
}

// newNotifier has a Nova of its own; it runs until the test ends.
func newNotifier(t *testing.T) (*Notifier, *fakeNova) {
	t.Helper()
	n, nova, _ := newCloud(t)
	return n, nova
}

// newCloud gives its Keystone too.
func newCloud(t *testing.T) (*Notifier, *fakeNova, *keystonetest.Fake) {
	t.Helper()
	nova := &fakeNova{got: make(chan []Event, 10), answers: make(chan int, 10)}
	compute := httptest.NewServer(nova)
	t.Cleanup(compute.Close)
	fake := keystonetest.New(t)
	fake.Endpoints["compute"] = compute.URL + "/v2.1"
	client, err := keystone.NewClient(keystone.Credentials{AuthType: "password", AuthURL: fake.URL, Username: keystonetest.User,
		Password: keystonetest.Password, UserDomainName: "Default", ProjectName: "service", ProjectDomainName: "Default",
		Region: "RegionOne", Interface: "internal"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	db, err := store.Open(t.Context(), "sqlite:///"+filepath.Join(t.TempDir(), "neutron.sqlite"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return New(db, client, time.Millisecond, 3, slog.New(slog.DiscardHandler)), nova, fake
}

// run starts sending and stops it with the test.
func run(t *testing.T, n *Notifier) {
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		n.Run(ctx)
		close(done)
	}()
	t.Cleanup(func() {
		stop()
		<-done
	})
}

func port(id, device, owner, status string) *model.Port {
	p := &model.Port{DeviceID: device, DeviceOwner: owner, Status: status}
	p.ID = id
	return p
}

func TestPortStatus(t *testing.T) {
	n := New(nil, nil, 0, 0, slog.New(slog.DiscardHandler))
	for _, c := range []struct {
		was, now, device, owner string
		want                    *Event
	}{
		{"DOWN", "ACTIVE", server1, "compute:nova", &Event{plugged, server1, "p", "completed"}},
		{"BUILD", "ACTIVE", server1, "compute:az2", &Event{plugged, server1, "p", "completed"}},
		{"DOWN", "ERROR", server1, "compute:nova", &Event{plugged, server1, "p", "failed"}},
		{"ACTIVE", "DOWN", server1, "compute:nova", &Event{unplugged, server1, "p", "completed"}},
		{"", "ACTIVE", server1, "compute:nova", &Event{plugged, server1, "p", "completed"}},
		{"", "DOWN", server1, "compute:nova", nil},
		{"ACTIVE", "ACTIVE", server1, "compute:nova", nil},
		{"ACTIVE", "ERROR", server1, "compute:nova", nil},
		{"DOWN", "BUILD", server1, "compute:nova", nil},
		{"DOWN", "ACTIVE", server1, "network:dhcp", nil},
		{"DOWN", "ACTIVE", "not-a-uuid", "compute:nova", nil},
		{"DOWN", "ACTIVE", "", "compute:nova", nil},
	} {
		var old *model.Port
		if c.was != "" {
			old = port("p", c.device, c.owner, c.was)
		}
		n.PortStatus(t.Context(), old, port("p", c.device, c.owner, c.now))
		var got *Event
		select {
		case p := <-n.queue:
			got = &p.event
		default:
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%+v: %s", c, diff)
		}
	}
	n.PortStatus(t.Context(), port("p", server1, "compute:nova", "ACTIVE"), nil) // deleted: Data tells that
	if len(n.queue) != 0 {
		t.Error("an event of a deleted port")
	}
}

func TestData(t *testing.T) {
	n, _ := newNotifier(t)
	if err := n.db.Write(t.Context(), func(tx *store.Tx) error {
		return addPorts(tx)
	}); err != nil {
		t.Fatal(err)
	}
	server := `{"id":"p1","device_id":"` + server1 + `","device_owner":"compute:nova"}`
	router := `{"id":"p3","device_id":"` + server1 + `","device_owner":"network:router_interface"}`
	for _, c := range []struct {
		name string
		e    api.Event
		want []Event
	}{
		{"port created", api.Event{Resource: "port", Action: "create", Result: []byte(`{"port":` + server + `}`)}, nil},
		{"port updated", api.Event{Resource: "port", Action: "update", Original: []byte(server), Result: []byte(`{"port":` + server + `}`)},
			[]Event{{Name: changed, ServerUUID: server1, Tag: "p1"}}},
		{"port deleted", api.Event{Resource: "port", Action: "delete", Original: []byte(server)}, []Event{{Name: deleted, ServerUUID: server1, Tag: "p1"}}},
		{"router's port updated", api.Event{Resource: "port", Action: "update", Result: []byte(`{"port":` + router + `}`)}, nil},
		{"network updated", api.Event{Resource: "network", Action: "update", Result: []byte(`{"network":{}}`)}, nil},
		{"address created", api.Event{Resource: "floatingip", Action: "create", Result: []byte(`{"floatingip":{"port_id":"p1"}}`)},
			[]Event{{Name: changed, ServerUUID: server1, Tag: "p1"}}},
		{"address created without a port", api.Event{Resource: "floatingip", Action: "create", Result: []byte(`{"floatingip":{"port_id":null}}`)}, nil},
		{"address moved", api.Event{Resource: "floatingip", Action: "update", Original: []byte(`{"port_id":"p1"}`), Result: []byte(`{"floatingip":{"port_id":"p2"}}`)},
			[]Event{{Name: changed, ServerUUID: server1, Tag: "p1"}, {Name: changed, ServerUUID: server2, Tag: "p2"}}},
		{"address taken away", api.Event{Resource: "floatingip", Action: "update", Original: []byte(`{"port_id":"p1"}`), Result: []byte(`{"floatingip":{"port_id":null}}`)},
			[]Event{{Name: changed, ServerUUID: server1, Tag: "p1"}}},
		{"address deleted", api.Event{Resource: "floatingip", Action: "delete", Original: []byte(`{"port_id":"p2"}`)},
			[]Event{{Name: changed, ServerUUID: server2, Tag: "p2"}}},
		{"address of a router's port", api.Event{Resource: "floatingip", Action: "delete", Original: []byte(`{"port_id":"p3"}`)}, nil},
		{"address of a port that is gone", api.Event{Resource: "floatingip", Action: "delete", Original: []byte(`{"port_id":"p4"}`)}, nil},
	} {
		Data{n}.Done(t.Context(), &c.e)
		var got []Event
		if len(n.queue) > 0 {
			var err error
			if got, err = n.complete(t.Context(), n.batch(<-n.queue)); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

// addPorts makes ports of two servers and of a router.
func addPorts(tx *store.Tx) error {
	if err := tx.InsertRows("networks", []string{"id", "standard_attr_id"}, [][]any{{"n", 1}}); err != nil {
		return err
	}
	return tx.InsertRows("ports", []string{"id", "network_id", "mac_address", "admin_state_up", "status", "device_id", "device_owner", "standard_attr_id"}, [][]any{
		{"p1", "n", "fa:16:3e:00:00:01", true, "ACTIVE", server1, "compute:nova", 2},
		{"p2", "n", "fa:16:3e:00:00:02", true, "ACTIVE", server2, "compute:nova", 3},
		{"p3", "n", "fa:16:3e:00:00:03", true, "ACTIVE", server1, "network:router_interface", 4}})
}

func add(n *Notifier, tags ...string) {
	for _, tag := range tags {
		n.add(pending{event: Event{Name: changed, ServerUUID: server1, Tag: tag}})
	}
}

func tags(events []Event) []string {
	var all []string
	for _, e := range events {
		all = append(all, e.Tag)
	}
	return all
}

func TestBatches(t *testing.T) {
	n, nova := newNotifier(t)
	add(n, "a", "b", "c")
	run(t, n)
	if diff := cmp.Diff([]string{"a", "b", "c"}, tags(<-nova.got)); diff != "" {
		t.Error(diff)
	}
	add(n, "d")
	if diff := cmp.Diff([]string{"d"}, tags(<-nova.got)); diff != "" {
		t.Error(diff)
	}
}

// A Nova that is ill is asked again; what it refuses is not sent again.
func TestRetry(t *testing.T) {
	n, nova := newNotifier(t)
	for _, status := range []int{503, 200, 404, 400, 207} {
		nova.answers <- status
	}
	run(t, n)
	for _, want := range []struct {
		tag   string
		times int
	}{{"a", 2}, {"b", 1}, {"c", 1}, {"d", 1}} {
		add(n, want.tag)
		for range want.times {
			if diff := cmp.Diff([]string{want.tag}, tags(<-nova.got)); diff != "" {
				t.Error(diff)
			}
		}
	}
}

// An endpoint that was not in the catalog at first is found later, though the token still lives.
func TestEndpointComesLate(t *testing.T) {
	n, nova, fake := newCloud(t)
	url := fake.Endpoints["compute"]
	delete(fake.Endpoints, "compute")
	event := []Event{{Name: changed, ServerUUID: server1, Tag: "a"}}
	if err := n.send(t.Context(), event); !errors.Is(err, keystone.ErrNoEndpoint) {
		t.Errorf("%v", err)
	}
	fake.Lock()
	fake.Endpoints["compute"] = url
	fake.Unlock()
	if err := n.send(t.Context(), event); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(event, <-nova.got); diff != "" {
		t.Error(diff)
	}
}

func TestQueueIsBounded(t *testing.T) {
	n := New(nil, nil, 0, 0, slog.New(slog.DiscardHandler))
	for range queueLength + 5 {
		add(n, "x")
	}
	if got := len(n.batch(<-n.queue)); got != maxBatch {
		t.Errorf("%d events in a batch", got)
	}
}
