package agentrpc

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"neutrino/internal/rpc"

	"github.com/google/go-cmp/cmp"
)

func TestMemberNewsAreGathered(t *testing.T) {
	n := newMemberNews()
	one, two := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::2")
	n.add([]string{"b", "c"}, []netip.Addr{one})
	n.add([]string{"a", "b"}, []netip.Addr{two})
	n.add([]string{"c"}, nil)
	n.add([]string{"c"}, []netip.Addr{two})
	n.add([]string{"d"}, []netip.Addr{})
	for i := range rpc.MostAddresses + 1 {
		n.add([]string{"e"}, []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 1, byte(i)})})
	}
	want := rpc.SecurityGroupsArgs{SecurityGroups: []string{"a", "b", "c", "d", "e"},
		Addresses: map[string][]string{"a": {"fd00::2"}, "b": {"10.0.0.1", "fd00::2"}, "d": {}}}
	if diff := cmp.Diff(want, n.take()); diff != "" {
		t.Error(diff)
	}
	if left := n.take(); len(left.SecurityGroups) > 0 {
		t.Errorf("taken twice: %v", left)
	}
}

// Which addresses are members follows from fixed addresses and address pairs of all ports of a group, however they are spelled.
func TestMembersAmong(t *testing.T) {
	e := setUp(t)
	n := e.network("net", "10.0.0.0/24", false)
	group := func(name string) string {
		return create(e, e.catalog.SecurityGroups, e.groups.Groups(), body{"name": name}).ID
	}
	web, db, empty := group("web"), group("db"), group("empty")
	e.port(n, "", "10.0.0.10", "security_groups", []any{web},
		"allowed_address_pairs", []any{body{"ip_address": "10.0.0.99"}, body{"ip_address": "10.0.0.98/32"}, body{"ip_address": "FD00::00:1"}})
	last := e.port(n, "", "10.0.0.11", "security_groups", []any{web, db}, "allowed_address_pairs", []any{body{"ip_address": "10.0.0.99"}})
	ask := []string{"10.0.0.10", "10.0.0.11", "10.0.0.12", "10.0.0.98", "10.0.0.99", "fd00::1", "fd00::2", "nonsense"}
	expect := func(web4, db4 []string) {
		t.Helper()
		got := call(e, rpc.SecurityGroupMembersAmong, rpc.Addresses{Addresses: map[string][]string{web: ask, db: ask, empty: ask}}).Addresses
		for _, list := range got {
			slices.Sort(list)
		}
		if diff := cmp.Diff(map[string][]string{web: web4, db: db4, empty: {}}, got); diff != "" {
			t.Errorf("members (-want +got):\n%s", diff)
		}
	}
	expect([]string{"10.0.0.10", "10.0.0.11", "10.0.0.98", "10.0.0.99", "fd00::1"}, []string{"10.0.0.11", "10.0.0.99"})
	e.remove(last) // of its addresses one is another port's, too
	expect([]string{"10.0.0.10", "10.0.0.98", "10.0.0.99", "fd00::1"}, []string{})
}

// Agents are not sent the members that they know.
func TestKnownMembers(t *testing.T) {
	e := setUp(t)
	n := e.network("net", "10.0.0.0/24", false)
	web := create(e, e.catalog.SecurityGroups, e.groups.Groups(), body{"name": "web"}).ID
	for _, ethertype := range []string{"IPv4", "IPv6"} {
		create(e, e.catalog.SecurityGroupRules, e.groups.Rules(), body{"security_group_id": web, "direction": "ingress", "remote_group_id": web, "ethertype": ethertype})
	}
	p := e.port(n, "", "10.0.0.10", "security_groups", []any{web})
	ip, mac := "10.0.0.10", p.MACAddress
	for _, tt := range []struct {
		known []string
		want  map[string]map[string][][2]*string
	}{
		{nil, map[string]map[string][][2]*string{web: {"IPv4": {{&ip, &mac}}, "IPv6": {}}}},
		{[]string{"IPv6"}, map[string]map[string][][2]*string{web: {"IPv4": {{&ip, &mac}}}}},
		{[]string{"IPv4"}, map[string]map[string][][2]*string{web: {"IPv6": {}}}},
		{[]string{"IPv4", "IPv6"}, map[string]map[string][][2]*string{}},
	} {
		args := rpc.SecurityGroupArgs{Devices: []string{p.ID}, KnownMembers: map[string][]string{web: tt.known}}
		got := call(e, rpc.SecurityGroupInfoForDevices, args)
		if diff := cmp.Diff(tt.want, got.MemberIPs); diff != "" {
			t.Errorf("known %v: %s", tt.known, diff)
		}
		if len(got.SecurityGroups[web]) != 4 || len(got.Devices) != 1 {
			t.Errorf("known %v: %+v", tt.known, got)
		}
	}
}

// What changes before TellMembers runs is told once, what changes while it runs or rests is told again.
func TestTellMembers(t *testing.T) {
	e := setUp(t)
	e.host("h1", 1)
	n := e.network("net", "10.0.0.0/24", false)
	group := create(e, e.catalog.SecurityGroups, e.groups.Groups(), body{"name": "web"}).ID
	e.names[group] = "web"
	create(e, e.catalog.SecurityGroupRules, e.groups.Rules(), body{"security_group_id": group, "direction": "ingress", "remote_group_id": group})
	e.port(n, "h1", "10.0.0.10", "security_groups", []any{group})
	e.forget()
	ctx, cancel := context.WithCancel(e.ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	e.server.MembersChanged(ctx, []string{group})
	e.server.MembersChanged(ctx, []string{group})
	running.Go(func() { e.server.TellMembers(ctx) })
	e.waitFor(1)
	e.server.MembersChanged(ctx, []string{group})
	e.waitFor(2)
	const message = "h1 security_groups_member_updated web"
	e.expect(message, message)
}

// waitFor waits until agents were told so many messages.
func (e *env) waitFor(messages int) {
	e.Helper()
	told := func() int {
		e.mu.Lock()
		defer e.mu.Unlock()
		return len(e.told)
	}
	for end := time.Now().Add(time.Minute); told() < messages; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			e.Fatalf("%d messages instead of %d", told(), messages)
		}
	}
}
