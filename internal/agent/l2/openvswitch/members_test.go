package openvswitch

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"

	"neutrino/internal/agent/l2/firewall"

	"github.com/google/go-cmp/cmp"
)

// However members, groups and ports come and go, the flows are those that a new agent would make of what is there.
func TestMembersFollowWhatChanges(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	newDriver := func() *Driver { return New(Config{}, new(atomic.Int64), slog.New(slog.DiscardHandler)) }
	groups, made := []string{"g", "h", "r"}, 0
	some := func() (all []netip.Prefix) {
		for i := range 6 {
			if random.IntN(2) == 0 {
				all = append(all, netip.MustParsePrefix(fmt.Sprintf("10.0.0.%d/32", i)))
			}
		}
		return all
	}
	d := newDriver()
	for step := range 500 {
		changed := false
		switch group := groups[random.IntN(len(groups))]; random.IntN(5) {
		case 4:
			members := map[netip.Addr]bool{}
			for _, p := range some() {
				members[p.Addr()] = random.IntN(2) == 0
			}
			if d.filter.ChangeMembers(group, members) {
				for a, want := range members {
					if all := d.filter.members[memberKey{group, false}]; all != nil && all[netip.PrefixFrom(a, 32)] != want {
						t.Fatalf("step %d: %s is a member: %v", step, a, !want)
					}
				}
			}
		case 0: // as the agent does, which asks only for groups that ports name
			d.filter.SetMembers(group, false, some())
		case 1:
			rules := []firewall.Rule{}
			for _, remote := range groups {
				if random.IntN(2) == 0 {
					rules = append(rules, firewall.Rule{Ingress: random.IntN(2) == 0, Protocol: -1, Min: -1, Max: -1, Remote: remote})
				}
			}
			d.filter.groups[group], changed = rules, true
			for _, remote := range groups {
				d.filter.SetMembers(remote, false, some())
			}
		case 2:
			name := fmt.Sprint("tap", random.IntN(4))
			d.devices[name] = &device{made: flowsOf{place: place{vlan: 1 + random.IntN(2)}, up: random.IntN(4) > 0}}
			d.filter.SetPort(firewall.Port{Device: name, Mode: firewall.Filtered, Groups: slices.Clone(groups[random.IntN(3):])})
			changed = true
		default:
			name := fmt.Sprint("tap", random.IntN(4))
			delete(d.devices, name)
			d.filter.RemovePort(name)
			changed = true
		}
		d.memberFlows(changed)
		fresh := newDriver()
		fresh.devices, fresh.filter.ports, fresh.filter.groups, fresh.filter.members = d.devices, d.filter.ports, d.filter.groups, d.filter.members
		fresh.memberFlows(true)
		got, want := d.table(d.cfg.IntegrationBridge), fresh.table(d.cfg.IntegrationBridge)
		if diff := cmp.Diff(want.All(), got.All()); diff != "" {
			t.Fatalf("step %d: %s", step, diff)
		}
		made += got.Len()
	}
	if made == 0 {
		t.Error("there never were any flows")
	}
}
