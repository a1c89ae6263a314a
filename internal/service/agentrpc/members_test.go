package agentrpc

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMemberNewsAreGathered(t *testing.T) {
	n := newMemberNews()
	n.add([]string{"b"})
	n.add([]string{"a", "b"})
	if diff := cmp.Diff([]string{"a", "b"}, n.take()); diff != "" {
		t.Error(diff)
	}
	if left := n.take(); len(left) > 0 {
		t.Errorf("taken twice: %v", left)
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
	for end := time.Now().Add(10 * time.Second); told() < messages; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			e.Fatalf("%d messages instead of %d", told(), messages)
		}
	}
}
