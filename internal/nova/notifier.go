// Package nova tells Compute what happens to the ports of its servers (neutron/notifiers/nova.py): it waits for these
// events when it boots or moves a server, and renews what it knows about a server's addresses.
package nova

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"neutrino/internal/keystone"
	"neutrino/internal/store"

	"github.com/cenkalti/backoff/v5"
	"github.com/gophercloud/gophercloud/v2"
)

// Event is one of the events of POST /os-server-external-events.
type Event struct {
	Name       string `json:"name"`
	ServerUUID string `json:"server_uuid"`
	Tag        string `json:"tag"` // the port's id
	Status     string `json:"status,omitempty"`
}

// Names of events.
const (
	changed   = "network-changed"
	plugged   = "network-vif-plugged"
	unplugged = "network-vif-unplugged"
	deleted   = "network-vif-deleted"
)

const (
	queueLength = 10000
	// maxBatch bounds one request to Nova.
	maxBatch   = 500
	firstPause = 200 * time.Millisecond
	maxPause   = 10 * time.Second
)

// Notifier collects events and sends them in batches. Its methods do not wait.
type Notifier struct {
	db       *store.DB
	client   *keystone.Client
	interval time.Duration
	retries  int
	log      *slog.Logger
	queue    chan pending
}

// pending is an event, or a port whose owner has yet to be looked up to make one.
type pending struct {
	event Event
	port  string
}

// New makes a Notifier that sends at most once in an interval, and tries again so many times if Nova cannot be reached.
func New(db *store.DB, client *keystone.Client, interval time.Duration, retries int, log *slog.Logger) *Notifier {
	return &Notifier{db: db, client: client, interval: interval, retries: retries, log: log, queue: make(chan pending, queueLength)}
}

func (n *Notifier) add(p pending) {
	select {
	case n.queue <- p:
	default: // Nova has been out of reach for long; who waits for the event there gives up
		n.log.Warn("event dropped, too many wait for Nova", "event", p.event.Name, "server", p.event.ServerUUID, "port", p.event.Tag+p.port)
	}
}

// Run sends events until ctx ends.
func (n *Notifier) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case first := <-n.queue:
			n.deliver(ctx, n.batch(first))
		}
		select { // what comes meanwhile goes together
		case <-ctx.Done():
			return
		case <-time.After(n.interval):
		}
	}
}

// batch takes what waits.
func (n *Notifier) batch(first pending) []pending {
	all := []pending{first}
	for len(all) < maxBatch {
		select {
		case p := <-n.queue:
			all = append(all, p)
		default:
			return all
		}
	}
	return all
}

func (n *Notifier) deliver(ctx context.Context, batch []pending) {
	events, err := n.complete(ctx, batch)
	if err != nil {
		n.log.Error("look up ports for Nova", "error", err)
	}
	if len(events) == 0 {
		return
	}
	pause := &backoff.ExponentialBackOff{InitialInterval: firstPause, Multiplier: 2, MaxInterval: maxPause}
	_, err = backoff.Retry(ctx, func() (struct{}, error) { return struct{}{}, n.send(ctx, events) },
		backoff.WithBackOff(pause), backoff.WithMaxTries(uint(n.retries)+1), backoff.WithMaxElapsedTime(0))
	if err != nil {
		n.log.Error("tell Nova of events", "events", events, "error", err)
	}
}

// send posts events. What Nova has refused is not sent again; it is out of reach or ill if it did not answer or said 5xx.
func (n *Notifier) send(ctx context.Context, events []Event) error {
	var answer struct {
		Events []struct {
			Event
			Code int `json:"code"`
		} `json:"events"`
	}
	err := n.client.Do(ctx, keystone.Request{Service: "compute", Method: http.MethodPost, Path: "os-server-external-events",
		Header: map[string]string{"OpenStack-API-Version": "compute 2.1", "X-OpenStack-Nova-API-Version": "2.1"},
		Body:   map[string][]Event{"events": events}, Answer: &answer, OK: []int{http.StatusOK, http.StatusMultiStatus}})
	if status, ok := errors.AsType[gophercloud.ErrUnexpectedResponseCode](err); ok && status.Actual < http.StatusInternalServerError {
		if status.Actual == http.StatusNotFound { // none of the servers is there any more
			n.log.Debug("Nova does not know the servers", "events", events)
			return nil
		}
		return backoff.Permanent(fmt.Errorf("events refused by Nova: %w", err))
	}
	if errors.Is(err, keystone.ErrNoEndpoint) {
		return backoff.Permanent(err)
	}
	if err != nil {
		return err
	}
	for _, e := range answer.Events {
		if e.Code != http.StatusOK {
			n.log.Warn("Nova could not use an event", "event", e.Event, "code", e.Code)
		}
	}
	return nil
}
