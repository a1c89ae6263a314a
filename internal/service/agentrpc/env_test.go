package agentrpc

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"neutrino/internal/bus"
	"neutrino/internal/bus/bustest"
	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/resource/resourcetest"
	"neutrino/internal/rpc"
	"neutrino/internal/service/agents"
	"neutrino/internal/service/ml2"
	"neutrino/internal/service/quota"
	"neutrino/internal/service/secgroup"
	"neutrino/internal/store"
	"neutrino/internal/store/dbtest"

	"github.com/google/go-cmp/cmp"
)

var admin = &identity.Caller{ProjectID: "p", IsAdmin: true}

type body = map[string]any

// env is a server with real services, and agents that only note what they are told.
type env struct {
	testing.TB
	ctx     context.Context
	db      *store.DB
	catalog *model.Catalog
	core    *ml2.Plugin
	groups  *secgroup.Service
	agents  *agents.Service
	server  *Server
	bus     *bustest.Bus

	mu    sync.Mutex
	told  []string          // "host method …"
	names map[string]string // ids as the test calls them
}

func setUp(t testing.TB, change ...func(*agents.Config)) *env {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	db := dbtest.Open(t)
	catalog := model.NewCatalog(func(string) bool { return true })
	e := &env{TB: t, ctx: t.Context(), db: db, catalog: catalog, bus: bustest.New(), names: map[string]string{}}
	e.core = ml2.New(ml2.Config{TenantNetworkTypes: []string{"vxlan", "local"}, MechanismDrivers: []string{"linuxbridge", "l2population"},
		VNIRanges: []ml2.Range{{Min: 1, Max: 50}}}, db, catalog, log)
	if err := e.core.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	cfg := agents.Config{NetworkAutoSchedule: true, EnableNewAgents: true}
	for _, f := range change {
		f(&cfg)
	}
	e.agents = agents.New(cfg, db, catalog, log)
	e.groups = secgroup.New(db, catalog, quota.New(nil), log)
	e.server = New(db, catalog, e.core, e.agents, e.bus, log)
	h := &e.core.Hooks
	h.BeforeSubnet = append(h.BeforeSubnet, e.server.BeforeSubnet)
	h.PreparePorts = append(h.PreparePorts, e.groups.PreparePorts)
	h.BeforePort = append(h.BeforePort, e.groups.BeforePort, e.server.BeforePort)
	h.AfterNetwork = append(h.AfterNetwork, e.server.AfterNetwork)
	h.AfterSubnet = append(h.AfterSubnet, e.server.AfterSubnet)
	h.AfterPort = append(h.AfterPort, e.server.AfterPort, e.groups.AfterPort)
	e.groups.Hooks.RulesChanged = append(e.groups.Hooks.RulesChanged, e.server.RulesChanged)
	e.groups.Hooks.MembersChanged = append(e.groups.Hooks.MembersChanged, func(ctx context.Context, groups []string, at []netip.Addr) {
		e.server.MembersChangedAt(ctx, groups, at)
		e.server.tellMembers(ctx, e.server.members.take()) // at once, for order
	})
	e.agents.Notifier, e.agents.Core = e.server, e.core
	mux := rpc.NewMux(log)
	e.server.Register(mux)
	stop, err := mux.Serve(e.bus, "server")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return e
}

// call runs a method as an agent does.
func call[A, R any](e *env, m rpc.Method[A, R], args A) R {
	e.Helper()
	r, err := m.Call(e.ctx, e.bus, "", args)
	if err != nil {
		e.Fatalf("%s: %v", m.Name, err)
	}
	return r
}

// report sends an agent's report and returns the answer.
func (e *env) report(state rpc.AgentState) string {
	e.Helper()
	var args rpc.ReportStateArgs
	args.AgentState.AgentState = state
	args.Time = time.Now().UTC().Format(rpc.TimeFormat)
	return call(e, rpc.ReportState, args)
}

// host starts an L2 agent whose tunnel endpoint is 192.0.2.n.
func (e *env) host(name string, n int) {
	e.Helper()
	ip := fmt.Sprintf("192.0.2.%d", n)
	e.report(rpc.AgentState{Binary: "neutron-linuxbridge-agent", Host: name, AgentType: rpc.AgentTypeLinuxBridge, StartFlag: true,
		Configurations: map[string]any{"tunneling_ip": ip, "tunnel_types": []string{"vxlan"}, "l2_population": true, "interface_mappings": body{}}})
	for _, topic := range []string{rpc.TopicPortUpdate, rpc.TopicPortDelete, rpc.TopicNetworkUpdate, rpc.TopicNetworkDelete,
		rpc.TopicSecurityGroupUpdate, rpc.TopicL2PopulationUpdate} {
		e.serve(topic, name)
	}
}

// dhcp starts a DHCP agent; on a host without an L2 agent, which it needs to be chosen for a network, one reports once.
func (e *env) dhcp(host string) {
	e.Helper()
	var l2 int
	if err := e.db.Read(e.ctx, func(tx *store.Tx) error {
		return tx.QueryRow("SELECT COUNT(*) FROM agents WHERE host = ? AND agent_type = ?", host, rpc.AgentTypeLinuxBridge).Scan(&l2)
	}); err != nil {
		e.Fatal(err)
	}
	if l2 == 0 {
		e.report(rpc.AgentState{Binary: "neutron-linuxbridge-agent", Host: host, AgentType: rpc.AgentTypeLinuxBridge,
			Configurations: map[string]any{"tunnel_types": []string{"vxlan"}}})
	}
	e.report(rpc.AgentState{Binary: "neutron-dhcp-agent", Host: host, AgentType: rpc.AgentTypeDHCP, Topic: rpc.TopicDHCPAgent, StartFlag: true,
		Configurations: map[string]any{"networks": 3}})
	e.serve(rpc.TopicDHCPAgent, host)
}

func (e *env) serve(topic, host string) {
	e.Helper()
	stop, err := e.bus.Serve(topic, host, func(_ context.Context, m *bus.Message) (any, error) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.told = append(e.told, host+" "+m.Method+summary(m))
		return nil, nil
	})
	if err != nil {
		e.Fatal(err)
	}
	e.Cleanup(stop)
}

// summary is what matters of a message.
func summary(m *bus.Message) string {
	switch m.Method {
	case "add_fdb_entries", "remove_fdb_entries":
		var args rpc.FDBArgs
		if err := json.Unmarshal(m.Args, &args); err != nil {
			return err.Error()
		}
		var out []string
		for network, fdb := range args.Entries {
			for endpoint, entries := range fdb.Ports {
				out = append(out, fmt.Sprint(" ", network, " ", endpoint, show(entries)))
			}
			if len(fdb.Ports) == 0 {
				out = append(out, " "+network+" nothing")
			}
		}
		slices.Sort(out)
		return strings.Join(out, "")
	case "update_fdb_entries":
		var args rpc.FDBChangeArgs
		if err := json.Unmarshal(m.Args, &args); err != nil {
			return err.Error()
		}
		out := ""
		for network, byEndpoint := range args.Entries.ChangedIPs {
			for endpoint, c := range byEndpoint {
				out += fmt.Sprint(" ", network, " ", endpoint, " before", show(c.Before), " after", show(c.After))
			}
		}
		return out
	case "security_groups_rule_updated", "security_groups_member_updated":
		var args rpc.SecurityGroupsArgs
		if err := json.Unmarshal(m.Args, &args); err != nil {
			return err.Error()
		}
		return " " + strings.Join(args.SecurityGroups, " ")
	}
	return ""
}

func show(entries []rpc.FDBEntry) string {
	out := ""
	for _, e := range entries {
		if e == rpc.FloodEntry {
			out += " flood"
		} else {
			out += " " + e.IP
		}
	}
	return out
}

// expect compares what agents were told, in any order, since the last time.
func (e *env) expect(want ...string) {
	e.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	got := append([]string{}, e.told...)
	e.told = nil
	for i, line := range got {
		for id, name := range e.names {
			line = strings.ReplaceAll(line, id, name)
		}
		got[i] = line
	}
	slices.Sort(got)
	want = append([]string{}, want...)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		e.Errorf("messages (-want +got):\n%s", diff)
	}
}

// only keeps those of the messages so far whose method is in methods.
func (e *env) only(methods ...string) *env {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.told = slices.DeleteFunc(e.told, func(line string) bool { return !slices.Contains(methods, strings.Fields(line)[1]) })
	return e
}

func (e *env) forget() { e.only() }

func create[R any](e *env, r *resource.Resource[R], logic resource.Logic[R], b body) *R {
	e.Helper()
	obj, err := resourcetest.Create(e.db, r, logic, admin, b)
	if err != nil {
		e.Fatalf("%v: %v", b, err)
	}
	return obj
}

func update[R any](e *env, r *resource.Resource[R], logic resource.Logic[R], id string, b body) {
	e.Helper()
	if _, err := resourcetest.Update(e.db, r, logic, admin, id, b); err != nil {
		e.Fatalf("%v: %v", b, err)
	}
}

func remove[R any](e *env, r *resource.Resource[R], logic resource.Logic[R], id string) {
	e.Helper()
	if err := resourcetest.Delete(e.db, r, logic, admin, id); err != nil {
		e.Fatal(err)
	}
}

// network makes a network with a subnet; name is how expect shows it.
func (e *env) network(name, cidr string, dhcp bool) *model.Network {
	e.Helper()
	n := create(e, e.catalog.Networks, e.core.Networks(), body{"name": name})
	e.names[n.ID] = name
	create(e, e.catalog.Subnets, e.core.Subnets(), body{"network_id": n.ID, "cidr": cidr, "ip_version": json.Number("4"), "enable_dhcp": dhcp})
	return n
}

// port makes an instance's port on a host, with an address.
func (e *env) port(n *model.Network, host, ip string, kv ...any) *model.Port {
	e.Helper()
	b := body{"network_id": n.ID, "binding:host_id": host, "device_owner": "compute:nova", "device_id": "vm", "fixed_ips": []any{body{"ip_address": ip}}}
	for i := 0; i+1 < len(kv); i += 2 {
		b[kv[i].(string)] = kv[i+1]
	}
	return create(e, e.catalog.Ports, e.core.Ports(), b)
}

func (e *env) change(p *model.Port, b body) {
	e.Helper()
	update(e, e.catalog.Ports, e.core.Ports(), p.ID, b)
}
func (e *env) remove(p *model.Port) { e.Helper(); remove(e, e.catalog.Ports, e.core.Ports(), p.ID) }

func tap(p *model.Port) string { return "tap" + p.ID[:11] }

// details asks as the L2 agent of host.
func (e *env) details(host string, ports ...*model.Port) []rpc.DeviceDetails {
	e.Helper()
	return call(e, rpc.GetDevicesDetails, rpc.DevicesArgs{Host: host, Devices: convert(ports, tap)}).Devices
}

// up does what the L2 agent of host does with new ports.
func (e *env) up(host string, ports ...*model.Port) {
	e.Helper()
	e.details(host, ports...)
	r := call(e, rpc.UpdateDeviceList, rpc.DeviceListArgs{Host: host, DevicesUp: convert(ports, tap)})
	if len(r.FailedDevicesUp) > 0 {
		e.Errorf("the server failed for %v", r.FailedDevicesUp)
	}
}

func (e *env) down(host string, ports ...*model.Port) []rpc.DeviceGone {
	e.Helper()
	return call(e, rpc.UpdateDeviceList, rpc.DeviceListArgs{Host: host, DevicesDown: convert(ports, tap)}).DevicesDown
}

func (e *env) status(p *model.Port) string {
	e.Helper()
	var s string
	err := e.db.Read(e.ctx, func(tx *store.Tx) error { return tx.QueryRow("SELECT status FROM ports WHERE id = ?", p.ID).Scan(&s) })
	if err != nil {
		e.Fatal(err)
	}
	return s
}

func (e *env) exec(query string, args ...any) {
	e.Helper()
	if err := e.db.Write(e.ctx, func(tx *store.Tx) error { _, err := tx.Exec(query, args...); return err }); err != nil {
		e.Fatal(err)
	}
}

// kill makes an agent look as if it had not reported for an hour.
func (e *env) kill(agentType, host string) {
	e.Helper()
	long := store.Time{Time: time.Now().UTC().Add(-time.Hour)}
	e.exec("UPDATE agents SET heartbeat_timestamp = ?, started_at = ? WHERE agent_type = ? AND host = ?", long, long, agentType, host)
}
