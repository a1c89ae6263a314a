package nova

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"neutrino/internal/api"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"

	"github.com/google/uuid"
)

// ofServer tells whether a port belongs to a server of Nova.
func ofServer(deviceID, deviceOwner string) bool {
	_, err := uuid.Parse(deviceID)
	return err == nil && strings.HasPrefix(deviceOwner, "compute:")
}

// statuses are Nova's words for those of ports.
var statuses = map[string]string{"ACTIVE": "completed", "ERROR": "failed", "DOWN": "completed"}

// PortStatus is a hook of ports: it tells when one is plugged or unplugged.
func (n *Notifier) PortStatus(_ context.Context, old, now *model.Port) {
	if now == nil || !ofServer(now.DeviceID, now.DeviceOwner) {
		return
	}
	was := ""
	if old != nil {
		was = old.Status
	}
	name := ""
	switch {
	case was == "ACTIVE" && now.Status == "DOWN":
		name = unplugged
	case slices.Contains([]string{"", "DOWN", "BUILD"}, was) && slices.Contains([]string{"ACTIVE", "ERROR"}, now.Status):
		name = plugged
	default:
		return
	}
	n.add(pending{event: Event{Name: name, ServerUUID: now.DeviceID, Tag: now.ID, Status: statuses[now.Status]}})
}

// Data hears of requests that change ports and floating IPs. It implements api.Listener.
type Data struct{ Notifier *Notifier }

// Requested implements api.Listener.
func (Data) Requested(context.Context, *api.Event) {}

// Done implements api.Listener.
func (d Data) Done(_ context.Context, e *api.Event) {
	switch e.Resource {
	case "port":
		d.port(e)
	case "floatingip":
		d.floatingIP(e)
	}
}

func (d Data) port(e *api.Event) {
	name, text := changed, e.Result
	switch e.Action {
	case "create": // Nova knows: it makes the port itself or is given it later
		return
	case "delete":
		name, text = deleted, []byte(`{"port":`+string(e.Original)+`}`)
	}
	var body struct {
		Port struct {
			ID          string `json:"id"`
			DeviceID    string `json:"device_id"`
			DeviceOwner string `json:"device_owner"`
		} `json:"port"`
	}
	if err := json.Unmarshal(text, &body); err != nil {
		d.Notifier.log.Error("read a port for Nova", "error", err)
		return
	}
	if p := body.Port; ofServer(p.DeviceID, p.DeviceOwner) {
		d.Notifier.add(pending{event: Event{Name: name, ServerUUID: p.DeviceID, Tag: p.ID}})
	}
}

// floatingIP tells the servers that lose and get the address.
func (d Data) floatingIP(e *api.Event) {
	type association struct {
		PortID string `json:"port_id"`
	}
	var before association
	var after struct {
		FloatingIP  association   `json:"floatingip"`
		FloatingIPs []association `json:"floatingips"` // created together
	}
	for text, into := range map[*json.RawMessage]any{&e.Original: &before, &e.Result: &after} {
		if len(*text) == 0 {
			continue
		}
		if err := json.Unmarshal(*text, into); err != nil {
			d.Notifier.log.Error("read a floating IP for Nova", "error", err)
			return
		}
	}
	ports := []string{before.PortID}
	for _, a := range append(after.FloatingIPs, after.FloatingIP) {
		if !slices.Contains(ports, a.PortID) {
			ports = append(ports, a.PortID)
		}
	}
	for _, id := range ports {
		if id != "" {
			d.Notifier.add(pending{port: id})
		}
	}
}

// complete finds the servers of the ports that floating IPs came to or left.
func (n *Notifier) complete(ctx context.Context, batch []pending) ([]Event, error) {
	var ids []string
	for _, p := range batch {
		if p.port != "" {
			ids = append(ids, p.port)
		}
	}
	servers, err := n.servers(ctx, ids)
	var events []Event
	for _, p := range batch {
		if p.port == "" {
			events = append(events, p.event)
		} else if server := servers[p.port]; server != "" {
			events = append(events, Event{Name: changed, ServerUUID: server, Tag: p.port})
		}
	}
	return events, err
}

// servers gives the servers of those ports that have one.
func (n *Notifier) servers(ctx context.Context, ports []string) (map[string]string, error) {
	found := map[string]string{}
	if len(ports) == 0 {
		return found, nil
	}
	err := n.db.Read(ctx, func(tx *store.Tx) error {
		in := resource.In("id", ports)
		rows, err := tx.Query("SELECT id, device_id, device_owner FROM ports WHERE "+in.SQL, in.Args...)
		_, err = store.All(rows, err, func(rows *store.Rows) (struct{}, error) {
			var id, device, owner string
			err := rows.Scan(&id, &device, &owner)
			if ofServer(device, owner) {
				found[id] = device
			}
			return struct{}{}, err
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the servers of ports: %w", err)
	}
	return found, nil
}
