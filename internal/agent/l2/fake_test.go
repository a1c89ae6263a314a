package l2

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"neutrino/internal/bus"
	"neutrino/internal/fault"
	"neutrino/internal/rpc"
)

// memoryBus is a bus within the process.
type memoryBus struct {
	mu    sync.Mutex
	topic map[string][]*served
	again chan struct{}
	down  atomic.Bool // calls find nobody
}

type served struct {
	host string
	h    bus.Handler
}

func newMemoryBus() *memoryBus {
	return &memoryBus{topic: map[string][]*served{}, again: make(chan struct{})}
}

func (b *memoryBus) to(t bus.Target) []*served {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := slices.Clone(b.topic[t.Topic])
	if t.Fanout {
		return all
	}
	all = slices.DeleteFunc(all, func(s *served) bool { return t.Host != "" && s.host != t.Host })
	return all[:min(len(all), 1)]
}

func (b *memoryBus) Call(ctx context.Context, to bus.Target, m *bus.Message, reply any) error {
	all := b.to(to)
	if len(all) == 0 || b.down.Load() {
		return bus.ErrNoResponder
	}
	r, err := all[0].h(ctx, m)
	if err != nil || reply == nil {
		return err
	}
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, reply)
}

func (b *memoryBus) Cast(ctx context.Context, to bus.Target, m *bus.Message) error {
	for _, s := range b.to(to) {
		if _, err := s.h(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

func (b *memoryBus) Serve(topic, host string, h bus.Handler) (func(), error) {
	s := &served{host, h}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.topic[topic] = append(b.topic[topic], s)
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.topic[topic] = slices.DeleteFunc(b.topic[topic], func(x *served) bool { return x == s })
	}, nil
}

func (b *memoryBus) Reconnected() <-chan struct{} { return b.again }
func (b *memoryBus) Healthy() bool                { return true }
func (b *memoryBus) Close() error                 { return nil }

// fakePort is what the fake server knows of a port.
type fakePort struct {
	Details rpc.DeviceDetails
	Filter  rpc.FilteredDevice
}

// fakeServer answers like a server with a few ports. Ports are by device name.
type fakeServer struct {
	mu      sync.Mutex
	bus     *memoryBus
	Ports   map[string]fakePort
	Groups  map[string][]rpc.SecurityGroupRule
	Members map[string]map[string][][2]*string
	FDB     map[string]rpc.NetworkFDB
	up      map[string]bool
	changed chan struct{}         // closed and replaced at each report
	asked   [][]string            // devices of each security group request
	known   []map[string][]string // members that the agent knew at each
	among   int                   // requests for members among addresses
	old     bool                  // does not know that method
	refuses bool                  // takes no tunnel endpoint
	hold    chan struct{}         // details are answered when it is closed; nil: at once
	held    bool                  // somebody waits for that
}

func newFakeServer(t testing.TB, b *memoryBus) *fakeServer {
	s := &fakeServer{bus: b, Ports: map[string]fakePort{}, Groups: map[string][]rpc.SecurityGroupRule{},
		Members: map[string]map[string][][2]*string{}, FDB: map[string]rpc.NetworkFDB{}, up: map[string]bool{},
		changed: make(chan struct{})}
	x := rpc.NewMux(slog.Default())
	rpc.Handle(x, rpc.ReportState, func(context.Context, rpc.ReportStateArgs) (string, error) { return rpc.AgentAlive, nil })
	rpc.Handle(x, rpc.GetDevicesDetails, s.details)
	rpc.Handle(x, rpc.SecurityGroupInfoForDevices, s.filters)
	rpc.Handle(x, rpc.SecurityGroupMembersAmong, s.membersAmong)
	rpc.Handle(x, rpc.UpdateDeviceList, s.report)
	rpc.Handle(x, rpc.TunnelSync, s.tunnels)
	stop, err := x.Serve(b, "server")
	if err != nil {
		panic(err)
	}
	if t != nil {
		t.Cleanup(stop)
	}
	return s
}

func (s *fakeServer) tunnels(context.Context, rpc.TunnelSyncArgs) (rpc.Tunnels, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuses {
		return rpc.Tunnels{}, fault.InvalidInput("no tunnels of this type")
	}
	return rpc.Tunnels{}, nil
}

func (s *fakeServer) details(_ context.Context, args rpc.DevicesArgs) (r rpc.DevicesDetails, err error) {
	s.mu.Lock()
	hold := s.hold
	s.mu.Unlock()
	if hold != nil {
		s.change(func() { s.held = true })
		<-hold
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range args.Devices {
		d := s.Ports[name].Details
		d.Device = name
		r.Devices = append(r.Devices, d)
	}
	return r, nil
}

func (s *fakeServer) filters(_ context.Context, args rpc.SecurityGroupArgs) (rpc.SecurityGroupInfo, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked, s.known = append(s.asked, args.Devices), append(s.known, args.KnownMembers)
	r := rpc.SecurityGroupInfo{SecurityGroups: map[string][]rpc.SecurityGroupRule{},
		MemberIPs: map[string]map[string][][2]*string{}, Devices: map[string]rpc.FilteredDevice{}}
	for _, id := range args.Devices {
		p, ok := s.Ports[deviceOf(id)]
		if !ok || !filtered(&p.Details) {
			continue
		}
		r.Devices[id] = p.Filter
		for _, g := range p.Filter.SecurityGroups {
			r.SecurityGroups[g] = s.Groups[g]
			for _, rule := range s.Groups[g] {
				if remote := cmp.Or(rule.RemoteGroupID, rule.RemoteAddressGroupID); remote != "" && !slices.Contains(args.KnownMembers[remote], rule.Ethertype) {
					if r.MemberIPs[remote] == nil {
						r.MemberIPs[remote] = map[string][][2]*string{}
					}
					r.MemberIPs[remote][rule.Ethertype] = s.Members[remote][rule.Ethertype]
				}
			}
		}
	}
	return r, nil
}

func (s *fakeServer) membersAmong(_ context.Context, args rpc.Addresses) (rpc.Addresses, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.among++
	r := rpc.Addresses{Addresses: map[string][]string{}}
	if s.old {
		return r, &bus.RemoteError{Class: "UnsupportedVersion", Message: "what?"}
	}
	for group, addresses := range args.Addresses {
		for _, members := range s.Members[group] {
			for _, m := range members {
				if slices.Contains(addresses, *m[0]) {
					r.Addresses[group] = append(r.Addresses[group], *m[0])
				}
			}
		}
	}
	return r, nil
}

func (s *fakeServer) report(ctx context.Context, args rpc.DeviceListArgs) (rpc.DeviceListResult, error) {
	s.mu.Lock()
	for _, name := range args.DevicesUp {
		s.up[name] = true
	}
	for _, name := range args.DevicesDown {
		delete(s.up, name)
	}
	close(s.changed)
	s.changed = make(chan struct{})
	fdb := maps.Clone(s.FDB)
	s.mu.Unlock()
	if len(args.DevicesUp) == 0 {
		return rpc.DeviceListResult{}, nil
	}
	return rpc.DeviceListResult{}, rpc.AddFDBEntries.Cast(ctx, s.bus, args.Host, rpc.FDBArgs{Entries: fdb})
}

func (s *fakeServer) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// waitFor blocks until exactly the devices are up.
func (s *fakeServer) waitFor(t testing.TB, devices ...string) {
	t.Helper()
	for {
		s.mu.Lock()
		ok, changed := len(s.up) == len(devices), s.changed
		for _, d := range devices {
			ok = ok && s.up[d]
		}
		s.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-t.Context().Done():
			t.Fatalf("devices never came up: %s", strings.Join(devices, " "))
		}
	}
}

func ptr[T any](v T) *T { return &v }
