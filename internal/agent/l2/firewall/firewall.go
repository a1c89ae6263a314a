package firewall

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/big"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"neutrino/internal/linux/link"
	"neutrino/internal/linux/nft"
	"neutrino/internal/reconcile"
	"neutrino/internal/rpc"
)

// Config says what the firewall must know of the host.
type Config struct {
	// Bridges are the name patterns ("brq*") of the bridges whose traffic is tracked. Default: brq*.
	Bridges []string
	// VXLANPort is the UDP port of outer packets, which are not tracked. Default: 4789.
	VXLANPort int
	// Ethertypes are those that filtered ports may use beside IP and ARP.
	Ethertypes []uint16
}

// Firewall holds what is wanted and what the kernel has. Setters only note; Apply writes.
type Firewall struct {
	log    *slog.Logger
	writes *atomic.Int64
	shared map[object]chain

	sets     *reconcile.Table[object, string]
	chains   *reconcile.Table[object, chain]
	elements *reconcile.Table[element, string]
	loaded   bool // the tables know what the kernel has
	written  bool // the kernel was in line once
	exists   map[string]bool

	mu      sync.Mutex // guards what follows: Recheck runs beside Apply
	ports   map[string]*Port
	groups  map[string][]rule
	members map[object][]netip.Prefix
	roaming map[object][]string // MAC addresses, sorted, of members that may have every address
	zones   map[string]uint16   // of bridges
	kept    map[string]uint16   // zones that bridges had before us
	holders map[element]int     // ports by elements that do not name them
	uses    map[string]int      // ports by what they share; see sharedUses
	derive  bool                // that, or the rules of a group, changed
	recheck bool                // connections may have to be cut
	cut     int                 // connections that are cut now
	left    map[At]bool         // addresses whose connections are to be forgotten
	former  Former
	vacant  map[uint16]bool // zones of bridges that are gone, to be emptied
}

// New makes a firewall that wants only the shared chains. Writes counts the batches given to the kernel.
func New(cfg Config, writes *atomic.Int64, log *slog.Logger) *Firewall {
	if len(cfg.Bridges) == 0 {
		cfg.Bridges = []string{"brq*"}
	}
	if cfg.VXLANPort == 0 {
		cfg.VXLANPort = 4789
	}
	f := &Firewall{
		log: log, writes: writes, shared: sharedChains(cfg),
		// A declaration never changes under one name, and listings do not give it back.
		sets:     reconcile.NewTable[object](func(_, _ string) bool { return true }),
		chains:   reconcile.NewTable[object](func(a, b chain) bool { return a.Sum == b.Sum && len(a.Rules) == len(b.Rules) }),
		elements: reconcile.NewTable[element](func(a, b string) bool { return a == b }),
		ports:    map[string]*Port{}, groups: map[string][]rule{}, members: map[object][]netip.Prefix{}, roaming: map[object][]string{},
		zones: map[string]uint16{}, holders: map[element]int{}, uses: map[string]int{}, left: map[At]bool{}, former: Former{}, vacant: map[uint16]bool{}, derive: true, recheck: true,
	}
	for o, declaration := range sharedSets() {
		f.sets.Want(o, declaration)
	}
	for o, c := range f.shared {
		f.chains.Want(o, c)
	}
	return f
}

// Prepare has the kernel show bridged packets to connection tracking.
func (f *Firewall) Prepare() error {
	for _, key := range []string{"net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables"} {
		changed, err := link.Sysctl(key, "1")
		if err != nil {
			return err
		}
		if changed {
			f.writes.Add(1)
			if f.written {
				f.log.Warn("restored: " + key + "=1")
			}
		}
	}
	return nil
}

// SetPort says how a port is to be filtered.
func (f *Firewall) SetPort(p Port) {
	f.mu.Lock()
	defer f.mu.Unlock()
	old := f.ports[p.Device]
	if old != nil && reflect.DeepEqual(*old, p) { // the server repeats what it said when only members changed
		return
	}
	f.ports[p.Device] = &p
	if old != nil && old.Mode == Open && p.Mode != Open {
		f.recheck = true
	}
	f.forget(f.former.Change(old, &p))
	f.wantPort(old, &p)
}

// RemovePort forgets a port that is gone.
func (f *Firewall) RemovePort(device string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	old := f.ports[device]
	delete(f.ports, device)
	f.forget(f.former.Change(old, nil))
	f.wantPort(old, nil)
}

// forget has the next Recheck forget connections.
func (f *Firewall) forget(addresses []At) {
	for _, at := range addresses {
		f.left[at] = true
		f.recheck = true
	}
}

// Mode returns how the port is filtered; not ok if it is unknown.
func (f *Firewall) Mode(device string) (Mode, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p := f.ports[device]; p != nil {
		return p.Mode, true
	}
	return Closed, false
}

func (f *Firewall) wantPort(old, p *Port) {
	for _, use := range sharedUses(old) {
		if f.uses[use]--; f.uses[use] == 0 {
			delete(f.uses, use)
			f.derive = true
		}
	}
	for _, use := range sharedUses(p) {
		f.uses[use]++
		f.derive = f.derive || f.uses[use] == 1
	}
	before, after := map[element]string{}, map[element]string{}
	if old != nil {
		before = portElements(old)
	}
	if p != nil {
		after = portElements(p)
	}
	for e := range before {
		if _, kept := after[e]; !kept && !f.held(e, -1) {
			f.elements.Unwant(e)
		}
	}
	for e, value := range after {
		if _, already := before[e]; !already {
			f.held(e, 1)
		}
		f.elements.Want(e, value)
	}
}

// held counts the ports that have an element which does not name the port, and tells whether any has it still: ports with an
// address pair of the same MAC share some.
func (f *Firewall) held(e element, more int) bool {
	if e.object != setTracked && e.object != setStateless {
		return false
	}
	if f.holders[e] += more; f.holders[e] > 0 {
		return true
	}
	delete(f.holders, e)
	return false
}

// sharedUses names what settle makes for a port, which may be nil: what has the same name is made once.
func sharedUses(p *Port) (uses []string) {
	if p == nil {
		return nil
	}
	uses = append(uses, "bridge "+p.Bridge)
	if p.Mode != Filtered {
		return uses
	}
	groups := slices.Sorted(slices.Values(p.Groups))
	uses = append(uses, fmt.Sprintf("stateless %v", p.Stateless), "groups "+strings.Join(groups, " "))
	if c := wideChain(p); len(c.Rules) > 0 {
		uses = append(uses, "port "+p.Device+": "+strings.Join(c.Rules, "; "))
	}
	return uses
}

// SetGroup gives the rules of a security group. Rules that cannot be understood are logged and match nothing.
func (f *Firewall) SetGroup(id string, rules []rpc.SecurityGroupRule) {
	parsed := make([]rule, 0, len(rules))
	for _, r := range rules {
		x, err := parseRule(r)
		if err != nil {
			f.log.Error("rule ignored", "group", id, "error", err)
			continue
		}
		parsed = append(parsed, x)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if old, known := f.groups[id]; known && slices.Equal(old, parsed) {
		return
	}
	f.groups[id] = parsed
	f.derive = true
}

// SetMembers gives the addresses of a remote group or address group, of one IP version.
func (f *Firewall) SetMembers(group string, v6 bool, addresses []netip.Prefix) {
	f.mu.Lock()
	defer f.mu.Unlock()
	set := memberSet(group, v6)
	before, after := f.members[set], distinct(addresses)
	f.members[set] = after
	if _, used := f.sets.Wanted(set); !used {
		return
	}
	for len(before)+len(after) > 0 { // both are sorted
		switch order := firstOf(before, after); {
		case order < 0:
			f.elements.Unwant(element{set, prefixText(before[0])})
			before = before[1:]
		case order > 0:
			f.elements.Want(element{set, prefixText(after[0])}, "")
			after = after[1:]
		default:
			before, after = before[1:], after[1:]
		}
	}
}

// SetRoaming gives the MAC addresses, sorted, of the members of a remote group that may have every address.
func (f *Firewall) SetRoaming(group string, v6 bool, macs []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	set := anywhereSet(group, v6)
	before := f.roaming[set]
	if slices.Equal(before, macs) {
		return
	}
	if f.roaming[set] = macs; len(macs) == 0 {
		delete(f.roaming, set)
	}
	f.derive = f.derive || (len(before) == 0) != (len(macs) == 0)
	if _, used := f.sets.Wanted(set); !used {
		return
	}
	for _, mac := range before {
		f.elements.Unwant(element{set, mac})
	}
	for _, mac := range macs {
		f.elements.Want(element{set, mac}, "")
	}
}

// ChangeMembers says which addresses are members of a remote group now, and which are not. False: SetMembers is to be called.
func (f *Firewall) ChangeMembers(group string, members map[netip.Addr]bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for a, member := range members {
		set := memberSet(group, a.Is6())
		list, known := f.members[set]
		_, used := f.sets.Wanted(set)
		if !known && !used {
			continue
		}
		if !known || slices.ContainsFunc(list, func(p netip.Prefix) bool { return !p.IsSingleIP() }) { // those may cover others
			return false
		}
		p := netip.PrefixFrom(a, a.BitLen())
		at, is := slices.BinarySearchFunc(list, p, netip.Prefix.Compare)
		switch {
		case member == is:
			continue
		case member:
			f.members[set] = slices.Insert(list, at, p)
		default:
			f.members[set] = slices.Delete(list, at, at+1)
		}
		if e := (element{set, prefixText(p)}); used && member {
			f.elements.Want(e, "")
		} else if used {
			f.elements.Unwant(e)
		}
	}
	return true
}

// KnownMembers are the ethertypes by remote group of those whose members are known and many. The server looks at all members
// for each ethertype, so those of the other one count, too.
func (f *Firewall) KnownMembers() map[string][]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	known := map[string][]string{}
	for _, rules := range f.groups {
		for _, r := range rules {
			if r.remote == "" || slices.Contains(known[r.remote], Ethertype(r.v6)) {
				continue
			}
			told, fetched := f.members[memberSet(r.remote, r.v6)]
			if fetched && len(told)+len(f.members[memberSet(r.remote, !r.v6)]) >= ManyMembers {
				known[r.remote] = append(known[r.remote], Ethertype(r.v6))
			}
		}
	}
	return known
}

// firstOf compares the first elements of two lists of which one may be empty; the end comes after everything.
func firstOf(a, b []netip.Prefix) int {
	switch {
	case len(a) == 0:
		return 1
	case len(b) == 0:
		return -1
	}
	return a[0].Compare(b[0])
}

// distinct sorts prefixes and leaves out those that lie in others: interval sets refuse overlaps.
func distinct(all []netip.Prefix) []netip.Prefix {
	all = slices.Clone(all)
	slices.SortFunc(all, netip.Prefix.Compare)
	kept := all[:0]
	for _, p := range all {
		if len(kept) == 0 || !kept[len(kept)-1].Overlaps(p) {
			kept = append(kept, p)
		}
	}
	return kept
}

// GroupsWith returns the known groups that have a rule about the remote group.
func (f *Firewall) GroupsWith(remote string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var found []string
	for id, rules := range f.groups {
		if slices.ContainsFunc(rules, func(r rule) bool { return r.remote == remote }) {
			found = append(found, id)
		}
	}
	return found
}

// settle brings the chains, sets and zones that ports share in line with the ports there are. One more port that shares all with
// others changes none; else it costs a few map operations per port, and nothing in the kernel for what stays.
func (f *Firewall) settle() {
	if !f.derive {
		return
	}
	f.derive = false
	sets, chains, bridges := sharedSets(), maps.Clone(f.shared), map[string]bool{}
	used := map[string]bool{}
	for _, p := range f.ports {
		if p.Bridge != "" {
			bridges[p.Bridge] = true
		}
		if p.Mode != Filtered {
			continue
		}
		if p.Stateless {
			maps.Copy(chains, statelessChains(true))
		}
		if c := wideChain(p); len(c.Rules) > 0 {
			chains[wideName(p.Device)] = sealed(c)
		}
		profile := p.profile()
		if used[profile] {
			continue
		}
		used[profile] = true
		for _, ingress := range []bool{true, false} {
			chains[inBridge(profile+"-"+direction(ingress))] = profileChain(p.Groups, ingress)
		}
		for _, g := range p.Groups {
			f.settleGroup(g, sets, chains)
		}
	}
	f.chains.WantOnly(chains)
	f.settleSets(sets)
	f.settleZones(bridges)
	maps.DeleteFunc(f.groups, func(g string, _ []rule) bool {
		_, kept := chains[groupChain(g, true)]
		return !kept
	})
	maps.DeleteFunc(f.members, func(o object, _ []netip.Prefix) bool {
		_, kept := sets[o]
		return !kept
	})
	maps.DeleteFunc(f.roaming, func(o object, _ []string) bool {
		_, kept := sets[o]
		return !kept
	})
}

func (f *Firewall) settleGroup(group string, sets map[object]string, chains map[object]chain) {
	rules := f.groups[group]
	for _, ingress := range []bool{true, false} {
		chains[groupChain(group, ingress)] = rulesChain(rules, ingress, func(r rule) bool { return len(f.roaming[anywhereSet(r.remote, r.v6)]) > 0 })
	}
	for _, r := range rules {
		if r.remote == "" {
			continue
		}
		kind := "ipv4_addr"
		if r.v6 {
			kind = "ipv6_addr"
		}
		sets[memberSet(r.remote, r.v6)] = "set type " + kind + "; flags interval"
		if o := anywhereSet(r.remote, r.v6); len(f.roaming[o]) > 0 {
			sets[o] = "set type ether_addr"
		}
	}
}

func (f *Firewall) settleSets(sets map[object]string) {
	for o := range f.sets.AllWanted() {
		if _, kept := sets[o]; kept {
			continue
		}
		f.sets.Unwant(o)
		for _, key := range f.keysOf(o) {
			f.elements.Unwant(element{o, key})
		}
	}
	for o, declaration := range sets {
		if _, already := f.sets.Wanted(o); already {
			continue
		}
		f.sets.Want(o, declaration)
		for _, key := range f.keysOf(o) {
			f.elements.Want(element{o, key}, "")
		}
	}
}

// keysOf are the elements of a set of members.
func (f *Firewall) keysOf(o object) []string {
	keys := slices.Clone(f.roaming[o])
	for _, p := range f.members[o] {
		keys = append(keys, prefixText(p))
	}
	return keys
}

// firstZone is upstream's first zone; those below are for other users of connection tracking.
const firstZone = 4097

func (f *Firewall) settleZones(bridges map[string]bool) {
	taken := map[uint16]bool{}
	for b, zone := range f.zones {
		if !bridges[b] {
			delete(f.zones, b)
			f.elements.Unwant(element{mapZones, b})
			f.former.Leave(b)
			f.vacant[zone], f.recheck = true, true
			continue
		}
		taken[zone] = true
	}
	for _, zone := range f.kept {
		taken[zone] = true
	}
	next := uint16(firstZone)
	for _, b := range slices.Sorted(maps.Keys(bridges)) {
		if f.zones[b] == 0 && f.kept[b] != 0 {
			f.zones[b] = f.kept[b]
		}
		if f.zones[b] == 0 {
			for taken[next] {
				next++
			}
			f.zones[b], taken[next] = next, true
		}
		if have, ok := f.elements.Wanted(element{mapZones, b}); !ok || have != strconv.Itoa(int(f.zones[b])) {
			f.elements.Want(element{mapZones, b}, strconv.Itoa(int(f.zones[b])))
		}
	}
}

// Verify makes the next Apply read the tables of the kernel first, in case somebody else changed them.
func (f *Firewall) Verify() { f.loaded = false }

// Load reads what the kernel has. Zones in use are kept, so that connections survive.
func (f *Firewall) Load(ctx context.Context) error {
	sets, chains, elements := map[object]string{}, map[object]chain{}, map[element]string{}
	f.exists = map[string]bool{}
	for _, family := range []string{familyBridge, familyInet} {
		c, err := nft.List(ctx, family, tableName)
		if errors.Is(err, nft.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		f.exists[family] = true
		for name, all := range c.Sets {
			o := object{family, name}
			sets[o] = ""
			for key, value := range all {
				elements[element{o, canonical(o, key)}] = value
			}
		}
		for name, comments := range c.Chains {
			sum := ""
			if len(comments) > 0 {
				sum = comments[len(comments)-1]
			}
			chains[object{family, name}] = chain{Rules: comments, Sum: sum} // how many rules is all that counts
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for e, zone := range elements {
		if n, err := strconv.ParseUint(zone, 10, 16); e.object == mapZones && err == nil && f.zones[e.Key] == 0 {
			f.zones[e.Key] = uint16(n)
			f.derive = true
		}
	}
	f.sets.Saw(sets)
	f.chains.Saw(chains)
	f.elements.Saw(elements)
	f.loaded = true
	return nil
}

// canonical undoes the freedom that nft has in writing 128-bit numbers.
func canonical(o object, key string) string {
	if o != setTargets {
		return key
	}
	at := strings.LastIndexByte(key, ' ') + 1
	if n, ok := new(big.Int).SetString(key[at:], 0); ok {
		return key[:at] + fmt.Sprintf("%#x", n)
	}
	return key
}

// KeepZones gives the conntrack zones in which the connections of bridges are already.
func (f *Firewall) KeepZones(zones map[string]uint16) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.kept = zones
}

// Remove deletes our tables, for a host whose firewall was switched off.
func Remove(ctx context.Context, writes *atomic.Int64) error {
	for _, family := range []string{familyBridge, familyInet} {
		if _, err := nft.List(ctx, family, tableName); errors.Is(err, nft.ErrNotFound) {
			continue
		} else if err != nil {
			return err
		}
		writes.Add(1)
		if err := nft.Run(ctx, fmt.Sprintf("delete table %s %s\n", family, tableName)); err != nil {
			return err
		}
	}
	return nil
}
