package openvswitch

import (
	"context"
	"hash/fnv"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"

	"neutrino/internal/agent/l2/firewall"
	"neutrino/internal/rpc"
)

// filter remembers how ports are to be filtered; the driver's Commit makes flows of it.
type filter struct {
	log     *slog.Logger
	ports   map[string]*filteredPort
	groups  map[string][]firewall.Rule
	members map[memberKey]map[netip.Prefix]bool
	roaming map[memberKey][]string // MAC addresses, sorted, of members that may have every address
	ids     map[conjunctionKey]uint32
	taken   map[uint32]bool
	edition int                   // counts changes
	stirred map[netip.Prefix]bool // joined or left a group
	strayed bool                  // roaming changed
	touched map[string]int        // the edition in which a group's rules changed
	former  firewall.Former
	left    []firewall.At // addresses whose connections are to be forgotten
}

type filteredPort struct {
	firewall.Port
	edition int
}

type memberKey struct {
	group string
	v6    bool
}

func newFilter(log *slog.Logger) *filter {
	return &filter{log: log, ports: map[string]*filteredPort{}, groups: map[string][]firewall.Rule{}, members: map[memberKey]map[netip.Prefix]bool{},
		roaming: map[memberKey][]string{},
		stirred: map[netip.Prefix]bool{},
		ids:     map[conjunctionKey]uint32{}, taken: map[uint32]bool{}, touched: map[string]int{}, former: firewall.Former{}}
}

// SetPort says how a port is to be filtered.
func (f *filter) SetPort(p firewall.Port) {
	if old := f.ports[p.Device]; old != nil && reflect.DeepEqual(old.Port, p) { // the server repeats what it said when only members changed
		return
	}
	f.left = append(f.left, f.former.Change(f.port(p.Device), &p)...)
	f.edition++
	f.ports[p.Device] = &filteredPort{p, f.edition}
}

// port is how a port was filtered; nil: it is new.
func (f *filter) port(device string) *firewall.Port {
	if p := f.ports[device]; p != nil {
		return &p.Port
	}
	return nil
}

// RemovePort forgets a port.
func (f *filter) RemovePort(device string) {
	f.left = append(f.left, f.former.Change(f.port(device), nil)...)
	delete(f.ports, device)
}

// Mode returns how a port is filtered.
func (f *filter) Mode(device string) (firewall.Mode, bool) {
	if p := f.ports[device]; p != nil {
		return p.Mode, true
	}
	return firewall.Closed, false
}

// SetGroup gives the rules of a security group. Those that cannot be understood are logged and match nothing.
func (f *filter) SetGroup(id string, rules []rpc.SecurityGroupRule) {
	parsed := make([]firewall.Rule, 0, len(rules))
	for _, r := range rules {
		x, err := firewall.Parse(r)
		if err != nil {
			f.log.Error("rule ignored", "group", id, "error", err)
			continue
		}
		parsed = append(parsed, x)
	}
	if slices.Equal(parsed, f.groups[id]) {
		return
	}
	f.edition++
	f.groups[id], f.touched[id] = parsed, f.edition
}

// SetMembers gives the addresses of a remote group or address group.
func (f *filter) SetMembers(group string, v6 bool, addresses []netip.Prefix) {
	k := memberKey{group, v6}
	before, after := f.members[k], make(map[netip.Prefix]bool, len(addresses))
	for _, p := range addresses {
		after[p] = true
		if !before[p] {
			f.stirred[p] = true
		}
	}
	for p := range before {
		if !after[p] {
			f.stirred[p] = true
		}
	}
	f.members[k] = after
}

// SetRoaming gives the MAC addresses, sorted, of the members of a remote group that may have every address.
func (f *filter) SetRoaming(group string, v6 bool, macs []string) {
	k := memberKey{group, v6}
	if slices.Equal(f.roaming[k], macs) {
		return
	}
	f.strayed = true
	if f.roaming[k] = macs; len(macs) == 0 {
		delete(f.roaming, k)
	}
}

// ChangeMembers says which addresses are members of a remote group now, and which are not. False: SetMembers is to be called.
func (f *filter) ChangeMembers(group string, members map[netip.Addr]bool) bool {
	for a, member := range members {
		k := memberKey{group, a.Is6()}
		if f.members[k] == nil && f.names(k) {
			return false
		}
		p := netip.PrefixFrom(a, a.BitLen())
		if f.members[k] == nil || f.members[k][p] == member {
			continue
		}
		f.stirred[p] = true
		if member {
			f.members[k][p] = true
		} else {
			delete(f.members[k], p)
		}
	}
	return true
}

// names tells whether a rule is about the remote group and the IP version.
func (f *filter) names(k memberKey) bool {
	for _, rules := range f.groups {
		if slices.ContainsFunc(rules, func(r firewall.Rule) bool { return r.Remote == k.group && r.V6 == k.v6 }) {
			return true
		}
	}
	return false
}

// KnownMembers are the ethertypes by remote group of those whose members are known and, of both ethertypes together, many.
func (f *filter) KnownMembers() map[string][]string {
	known := map[string][]string{}
	for k, members := range f.members {
		if len(members)+len(f.members[memberKey{k.group, !k.v6}]) >= firewall.ManyMembers {
			known[k.group] = append(known[k.group], firewall.Ethertype(k.v6))
		}
	}
	return known
}

// GroupsWith returns the groups that have a rule about the remote group.
func (f *filter) GroupsWith(remote string) []string {
	var out []string
	for id, rules := range f.groups {
		if slices.ContainsFunc(rules, func(r firewall.Rule) bool { return r.Remote == remote }) {
			out = append(out, id)
		}
	}
	return out
}

// Verify leaves everything to the driver's.
func (f *filter) Verify() {}

// Apply leaves everything to Commit.
func (f *filter) Apply(context.Context) (bool, error) { return false, nil }

// Recheck has nothing to do: flows mark what is no longer allowed.
func (f *filter) Recheck(context.Context) error { return nil }

// id is the number of a conjunction, the same in every run unless two collide. The one above it belongs to it too.
func (f *filter) id(k conjunctionKey) uint32 {
	if id := f.ids[k]; id != 0 {
		return id
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(k.group + " " + k.remote))
	id := (h.Sum32() ^ uint32(k.vlan)*2654435761) &^ 63
	id |= uint32(k.specificity) << 1
	for i, set := range []bool{k.ingress, k.v6, k.stateless} {
		if set {
			id |= 1 << (3 + i)
		}
	}
	for id == 0 || f.taken[id] {
		id += 64
	}
	f.ids[k], f.taken[id] = id, true
	return id
}

// forget drops the conjunctions, groups and members that no port uses any more.
func (f *filter) forget(used map[conjunctionKey]bool, groups map[string]bool) {
	for k, id := range f.ids {
		if !used[k] {
			delete(f.ids, k)
			delete(f.taken, id)
		}
	}
	for g := range f.groups {
		if !groups[g] {
			delete(f.groups, g)
			delete(f.touched, g)
		}
	}
	remotes := map[string]bool{}
	for _, rules := range f.groups {
		for _, r := range rules {
			remotes[r.Remote] = true
		}
	}
	for k := range f.members {
		if !remotes[k.group] {
			delete(f.members, k)
		}
	}
	for k := range f.roaming {
		if !remotes[k.group] {
			delete(f.roaming, k)
		}
	}
}
