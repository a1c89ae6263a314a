package agentrpc

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/rpc"
	"neutrino/internal/store"
)

// memberNews gathers the security groups and address groups that got or lost addresses, so that many ports that are made in one
// group are one message.
type memberNews struct {
	mu     sync.Mutex
	groups map[string]map[netip.Addr]bool // nil: any address
	wake   chan struct{}                  // holds one, so that nobody waits
}

func newMemberNews() *memberNews {
	return &memberNews{groups: map[string]map[netip.Addr]bool{}, wake: make(chan struct{}, 1)}
}

// add notes that the addresses (nil: any) joined or left the groups.
func (n *memberNews) add(groups []string, addresses []netip.Addr) {
	n.mu.Lock()
	for _, g := range groups {
		set, noted := n.groups[g]
		switch {
		case addresses == nil || noted && set == nil || len(set)+len(addresses) > rpc.MostAddresses:
			n.groups[g] = nil
			continue
		case !noted:
			set = map[netip.Addr]bool{}
			n.groups[g] = set
		}
		for _, a := range addresses {
			set[a] = true
		}
	}
	n.mu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// take returns the message that tells what was gathered.
func (n *memberNews) take() rpc.SecurityGroupsArgs {
	n.mu.Lock()
	defer n.mu.Unlock()
	args := rpc.SecurityGroupsArgs{SecurityGroups: slices.Sorted(maps.Keys(n.groups)), Addresses: map[string][]string{}}
	for g, addresses := range n.groups {
		if addresses == nil {
			continue
		}
		texts := []string{}
		for a := range addresses {
			texts = append(texts, a.String())
		}
		slices.Sort(texts)
		args.Addresses[g] = texts
	}
	clear(n.groups)
	return args
}

// memberRest is how long TellMembers rests after it told: each message goes to all hosts.
const memberRest = 20 * time.Millisecond

// MembersChanged has TellMembers tell that the members of groups changed.
func (s *Server) MembersChanged(_ context.Context, groups []string) { s.members.add(groups, nil) }

// MembersChangedAt has TellMembers tell that addresses became members of groups, or are none any more (hook of the security
// group service). Without addresses, any may have.
func (s *Server) MembersChangedAt(_ context.Context, groups []string, addresses []netip.Addr) {
	s.members.add(groups, addresses)
}

// TellMembers tells agents of the groups that MembersChanged gathered, until ctx ends.
func (s *Server) TellMembers(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.members.wake:
		}
		s.tellMembers(ctx, s.members.take())
		select {
		case <-ctx.Done():
			return
		case <-time.After(memberRest):
		}
	}
}

// tellMembers tells all hosts of those of the groups that rules name: which hosts have ports with such rules takes a query that
// reads all these ports, and an agent that hears of every change can rely on what it knows of a group when a port comes.
func (s *Server) tellMembers(ctx context.Context, args rpc.SecurityGroupsArgs) {
	in, byAddress := resource.In("remote_group_id", args.SecurityGroups), resource.In("remote_address_group_id", args.SecurityGroups)
	named, err := read(ctx, s.db, func(tx *store.Tx) ([]string, error) {
		rows, err := tx.Query("SELECT remote_group_id FROM securitygrouprules WHERE "+in.SQL+" UNION "+
			"SELECT remote_address_group_id FROM securitygrouprules WHERE "+byAddress.SQL, slices.Concat(in.Args, byAddress.Args)...)
		return store.Strings(rows, err)
	})
	if err != nil {
		s.log.Error("cannot find the rules that name security groups; all hosts are told", "error", err)
	} else {
		args.SecurityGroups = named
		maps.DeleteFunc(args.Addresses, func(g string, _ []string) bool { return !slices.Contains(named, g) })
	}
	if len(args.SecurityGroups) > 0 {
		s.cast("security_groups_member_updated", rpc.SecurityGroupsMemberUpdated.Fanout(ctx, s.bus, args))
	}
}

// membersAmong answers which addresses are members of their groups now.
func (s *Server) membersAmong(ctx context.Context, args rpc.Addresses) (rpc.Addresses, error) {
	return read(ctx, s.db, func(tx *store.Tx) (rpc.Addresses, error) {
		out := rpc.Addresses{Addresses: map[string][]string{}}
		asked, spellings, v6 := map[string]map[netip.Addr]bool{}, map[string]bool{}, false
		for group, texts := range args.Addresses {
			out.Addresses[group], asked[group] = []string{}, map[netip.Addr]bool{}
			for _, text := range texts {
				if a, err := netip.ParseAddr(text); err == nil {
					asked[group][a] = true
					spellings[a.String()], v6 = true, v6 || a.Is6()
				}
			}
		}
		if len(spellings) == 0 {
			return out, nil
		}
		found := func(row *store.Row) error {
			group := row.Text(0)
			if a, single := model.SingleAddress(string(row.Bytes(1))); single && asked[group][a] {
				delete(asked[group], a) // once
				out.Addresses[group] = append(out.Addresses[group], a.String())
			}
			return nil
		}
		groups := resource.In("b.security_group_id", slices.Collect(maps.Keys(asked)))
		fixed := resource.In("a.ip_address", slices.Collect(maps.Keys(spellings)))
		if err := tx.Each("SELECT b.security_group_id, a.ip_address FROM ipallocations a JOIN securitygroupportbindings b ON b.port_id = a.port_id "+
			"WHERE "+fixed.SQL+" AND "+groups.SQL, slices.Concat(fixed.Args, groups.Args), found); err != nil {
			return out, err
		}
		// Address pairs are rare, and kept as their users spelled them.
		for a := range maps.Clone(spellings) {
			spellings[a+"/32"] = true
		}
		pairs := resource.In("a.ip_address", slices.Collect(maps.Keys(spellings)))
		if v6 {
			pairs.SQL = "(" + pairs.SQL + " OR a.ip_address LIKE '%:%')"
		}
		return out, tx.Each("SELECT b.security_group_id, a.ip_address FROM allowedaddresspairs a JOIN securitygroupportbindings b ON b.port_id = a.port_id "+
			"WHERE "+pairs.SQL+" AND "+groups.SQL, slices.Concat(pairs.Args, groups.Args), found)
	})
}
