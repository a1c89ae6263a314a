package agentrpc

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"neutrino/internal/resource"
	"neutrino/internal/rpc"
)

// memberNews gathers the security groups and address groups that got or lost addresses. Which hosts that concerns takes a query that reads
// all ports of a group; creating many ports in one group would be quadratic if each asked it.
type memberNews struct {
	mu     sync.Mutex
	groups map[string]bool
	wake   chan struct{} // holds one, so that nobody waits
}

func newMemberNews() *memberNews {
	return &memberNews{groups: map[string]bool{}, wake: make(chan struct{}, 1)}
}

func (n *memberNews) add(groups []string) {
	n.mu.Lock()
	for _, g := range groups {
		n.groups[g] = true
	}
	n.mu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

func (n *memberNews) take() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	groups := slices.Sorted(maps.Keys(n.groups))
	clear(n.groups)
	return groups
}

// memberRest is how many times as long as it worked TellMembers rests, so that news take a bounded part of the processor.
const memberRest = 4

// MembersChanged has TellMembers tell the hosts that have ports whose rules name the groups as remote ones (hook of the security
// group service).
func (s *Server) MembersChanged(_ context.Context, groups []string) { s.members.add(groups) }

// TellMembers tells agents of the groups that MembersChanged gathered, until ctx ends.
func (s *Server) TellMembers(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.members.wake:
		}
		began := time.Now()
		s.tellMembers(ctx, s.members.take())
		select {
		case <-ctx.Done():
			return
		case <-time.After(memberRest * time.Since(began)):
		}
	}
}

func (s *Server) tellMembers(ctx context.Context, groups []string) {
	in, byAddress := resource.In("r.remote_group_id", groups), resource.In("r.remote_address_group_id", groups)
	for _, host := range s.hosts(ctx, "SELECT DISTINCT b.host FROM securitygroupportbindings g JOIN ml2_port_bindings b ON b.port_id = g.port_id "+
		"WHERE b.host <> '' AND g.security_group_id IN (SELECT r.security_group_id FROM securitygrouprules r WHERE "+in.SQL+" OR "+byAddress.SQL+")",
		append(in.Args, byAddress.Args...)...) {
		s.cast("security_groups_member_updated", rpc.SecurityGroupsMemberUpdated.Cast(ctx, s.bus, host, rpc.SecurityGroupsArgs{SecurityGroups: groups}))
	}
}
