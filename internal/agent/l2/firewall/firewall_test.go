package firewall

import (
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"neutrino/internal/linux/conntrack"
	"neutrino/internal/rpc"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

const (
	web     = "11111111-1111-4111-8111-111111111111"
	friends = "22222222-2222-4222-8222-222222222222"
)

func ptr[T any](v T) *T { return &v }

func prefix(s string) netip.Prefix {
	p, err := parsePrefix(s)
	if err != nil {
		panic(err)
	}
	return p
}

func pairs(mac string, all ...string) (x []Pair) {
	for _, s := range all {
		x = append(x, Pair{mac, prefix(s)})
	}
	return x
}

func webRules() []rpc.SecurityGroupRule {
	return []rpc.SecurityGroupRule{
		{Direction: "egress", Ethertype: "IPv4", Stateful: true},
		{Direction: "egress", Ethertype: "IPv6", DestIPPrefix: "2001:db8::/32", Stateful: true},
		{Direction: "ingress", Ethertype: "IPv4", Protocol: "tcp", PortRangeMin: ptr(80), PortRangeMax: ptr(80), Stateful: true},
		{Direction: "ingress", Ethertype: "IPv4", Protocol: "6", PortRangeMin: ptr(8000), PortRangeMax: ptr(8010),
			SourceIPPrefix: "10.1.2.3/8", Stateful: true},
		{Direction: "ingress", Ethertype: "IPv4", Protocol: "icmp", PortRangeMin: ptr(8), PortRangeMax: ptr(0), Stateful: true},
		{Direction: "ingress", Ethertype: "IPv6", Protocol: "icmp", PortRangeMin: ptr(128), Stateful: true},
		{Direction: "ingress", Ethertype: "IPv4", Protocol: "vrrp", RemoteGroupID: friends, Stateful: true},
		{Direction: "ingress", Ethertype: "IPv6", Protocol: "any", RemoteAddressGroupID: friends, Stateful: true},
		{Direction: "ingress", Ethertype: "IPv4", Protocol: "nonsense", Stateful: true},
	}
}

func webPort() Port {
	return Port{Device: "tap00000000-01", Bridge: "brqaaaaaaaa-aa", Mode: Filtered, MAC: "fa:16:3e:00:00:01",
		Pairs:  append(pairs("fa:16:3e:00:00:01", "10.0.0.1", "2001:db8::1"), pairs("00:00:5e:00:01:07", "10.0.0.7", "10.7.0.0/16", "2001:db8:7::/48")...),
		Groups: []string{web, friends}}
}

func newTestFirewall() *Firewall {
	return New(Config{Bridges: []string{"brq*", "br-flat"}}, new(atomic.Int64), slog.New(slog.DiscardHandler))
}

// apply is Apply without a kernel: it returns the batch.
func (f *Firewall) apply() string {
	f.settle()
	c := f.diff()
	if c.empty() {
		return ""
	}
	script := f.script(c)
	f.applied(c)
	return script
}

func TestScripts(t *testing.T) {
	f := newTestFirewall()
	golden(t, "empty.nft", f.apply())

	f.SetPort(webPort())
	f.SetPort(Port{Device: "vxlan-5", Bridge: "brqaaaaaaaa-aa", Mode: Open})
	f.SetPort(Port{Device: "tap00000000-03", Mode: Closed})
	f.SetGroup(web, webRules())
	f.SetMembers(friends, false, []netip.Prefix{prefix("10.0.0.9"), prefix("10.9.0.0/16"), prefix("10.9.1.1")})
	f.SetMembers(friends, true, []netip.Prefix{prefix("2001:db8::9")})
	golden(t, "port.nft", f.apply())

	second := webPort()
	second.Device, second.MAC, second.Stateless = "tap00000000-02", "fa:16:3e:00:00:02", true
	second.Pairs, second.AnyAddress = nil, true
	f.SetPort(second)
	golden(t, "second-port.nft", f.apply())

	f.SetMembers(friends, false, []netip.Prefix{prefix("10.0.0.9"), prefix("10.0.0.10")})
	golden(t, "member.nft", f.apply())

	f.SetGroup(web, webRules()[2:3])
	golden(t, "rules.nft", f.apply())

	f.RemovePort("tap00000000-01")
	f.RemovePort("tap00000000-02")
	f.RemovePort("vxlan-5")
	golden(t, "removed.nft", f.apply())

	if script := f.apply(); script != "" {
		t.Errorf("nothing changed, and yet: %s", script)
	}
}

func TestSameAgainChangesNothing(t *testing.T) {
	f := newTestFirewall()
	set := func() {
		f.SetPort(webPort())
		f.SetGroup(web, webRules())
		f.SetMembers(friends, false, []netip.Prefix{prefix("10.0.0.9")})
	}
	set()
	f.apply()
	set()
	if script := f.apply(); script != "" {
		t.Errorf("nothing changed, and yet: %s", script)
	}
}

// Only what differs from the list before is looked at; it must add up to the last list.
func TestMembersFollowTheLastList(t *testing.T) {
	f, random := newTestFirewall(), rand.New(rand.NewPCG(1, 2))
	f.SetPort(webPort())
	f.SetGroup(web, webRules())
	changed := 0
	for range 200 {
		var list []netip.Prefix
		for _, text := range []string{"10.0.0.1", "10.0.0.2", "10.0.0.0/24", "10.0.0.0/30", "10.0.1.1", "10.0.1.2"} {
			if random.IntN(2) == 0 {
				list = append(list, prefix(text))
			}
		}
		if wide := slices.ContainsFunc(f.members[memberSet(friends, false)], func(p netip.Prefix) bool { return !p.IsSingleIP() }); wide || random.IntN(2) == 0 {
			f.SetMembers(friends, false, list)
		} else { // the same by what changed
			list = slices.DeleteFunc(list, func(p netip.Prefix) bool { return !p.IsSingleIP() })
			change := map[netip.Addr]bool{}
			for _, p := range f.members[memberSet(friends, false)] {
				change[p.Addr()] = false
			}
			for _, p := range list {
				change[p.Addr()] = true
			}
			if !f.ChangeMembers(friends, change) {
				f.SetMembers(friends, false, list) // unknown
			} else if _, known := f.members[memberSet(friends, false)]; known {
				changed++
			}
		}
		if random.IntN(3) == 0 {
			f.apply()
		}
		want, got := []string{}, []string{}
		for _, p := range distinct(list) {
			want = append(want, prefixText(p))
		}
		if _, used := f.sets.Wanted(memberSet(friends, false)); !used {
			continue
		}
		for e := range f.elements.AllWanted() {
			if e.object == memberSet(friends, false) {
				got = append(got, e.Key)
			}
		}
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	}
	if changed == 0 {
		t.Error("nothing was changed one by one")
	}
}

// Nobody has an IPv6 address in most groups; the server would look at all members to find that out.
func TestKnownMembersOfBothEthertypes(t *testing.T) {
	f := New(Config{}, new(atomic.Int64), slog.New(slog.DiscardHandler))
	f.SetGroup(web, []rpc.SecurityGroupRule{{Direction: "ingress", Ethertype: "IPv4", RemoteGroupID: friends}, {Direction: "ingress", Ethertype: "IPv6", RemoteGroupID: friends}})
	var many []netip.Prefix
	for n := range ManyMembers {
		many = append(many, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(n)}), 32))
	}
	for _, step := range []struct {
		v6   bool
		told []netip.Prefix
		want []string
	}{{true, nil, nil}, {false, many[1:], nil}, {false, many, []string{"IPv4", "IPv6"}}} {
		f.SetMembers(friends, step.v6, step.told)
		got := f.KnownMembers()[friends]
		slices.Sort(got)
		if !slices.Equal(got, step.want) {
			t.Errorf("after %d of IPv6 %t: %v known, want %v", len(step.told), step.v6, got, step.want)
		}
	}
	f = New(Config{}, new(atomic.Int64), slog.New(slog.DiscardHandler))
	f.SetGroup(web, []rpc.SecurityGroupRule{{Direction: "ingress", Ethertype: "IPv4", RemoteGroupID: friends}, {Direction: "ingress", Ethertype: "IPv6", RemoteGroupID: friends}})
	f.SetMembers(friends, false, many)
	if got := f.KnownMembers()[friends]; !slices.Equal(got, []string{"IPv4"}) {
		t.Errorf("IPv6 was never told, but %v known", got)
	}
}

func TestZonesAreKept(t *testing.T) {
	f := newTestFirewall()
	f.zones["brqbbbbbbbb-bb"] = firstZone
	f.SetPort(Port{Device: "vxlan-1", Bridge: "brqaaaaaaaa-aa", Mode: Open})
	f.SetPort(Port{Device: "vxlan-2", Bridge: "brqbbbbbbbb-bb", Mode: Open})
	f.apply()
	want := map[string]uint16{"brqbbbbbbbb-bb": firstZone, "brqaaaaaaaa-aa": firstZone + 1}
	if diff := cmp.Diff(want, f.zones); diff != "" {
		t.Error(diff)
	}
}

func TestRestricts(t *testing.T) {
	friend := []netip.Prefix{prefix("10.0.0.9")}
	tests := []struct {
		name   string
		change func(f *Firewall)
		want   bool
	}{
		{"nothing", func(*Firewall) {}, false},
		{"new port", func(f *Firewall) { p := webPort(); p.Device = "tap00000000-02"; f.SetPort(p) }, false},
		{"new member", func(f *Firewall) { f.SetMembers(friends, false, append(friend, prefix("10.0.0.8"))) }, false},
		{"member left", func(f *Firewall) { f.SetMembers(friends, false, nil) }, true},
		{"rules changed", func(f *Firewall) { f.SetGroup(web, webRules()[1:]) }, true},
		{"port left group", func(f *Firewall) { p := webPort(); p.Groups = p.Groups[:1]; f.SetPort(p) }, true},
		{"port removed", func(f *Firewall) { f.RemovePort("tap00000000-01") }, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := newTestFirewall()
			f.SetPort(webPort())
			f.SetGroup(web, webRules())
			f.SetMembers(friends, false, friend)
			f.apply()
			test.change(f)
			f.settle()
			if got := f.restricts(f.diff()); got != test.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestJudge(t *testing.T) {
	f := newTestFirewall()
	f.SetPort(webPort())
	f.SetGroup(web, webRules())
	f.SetMembers(friends, false, []netip.Prefix{prefix("10.0.0.9")})
	f.apply()
	j, zones := f.judge()
	zone := f.zones["brqaaaaaaaa-aa"]
	if !zones[zone] {
		t.Fatal("the zone of the port is not looked at")
	}
	flow := func(src, dst string, proto uint8, port uint16) conntrack.Flow {
		return conntrack.Flow{Zone: zone, Source: netip.MustParseAddr(src), Dest: netip.MustParseAddr(dst), Protocol: proto,
			SourcePort: 40000, DestPort: port}
	}
	ping := flow("10.0.0.2", "10.0.0.1", protoICMP, 0)
	ping.ICMPType = 8
	data := flow("10.0.0.2", "10.0.0.1", 6, 2000)
	data.Expected = true
	elsewhere := flow("10.0.0.2", "10.0.0.1", 6, 22)
	elsewhere.Zone++
	tests := []struct {
		name string
		flow conntrack.Flow
		want bool
	}{
		{"allowed port", flow("10.0.0.2", "10.0.0.1", 6, 80), true},
		{"other port", flow("10.0.0.2", "10.0.0.1", 6, 22), false},
		{"port range from prefix", flow("10.0.0.2", "10.0.0.1", 6, 8005), true},
		{"port range from outside", flow("192.0.2.1", "10.0.0.1", 6, 8005), false},
		{"ping", ping, true},
		{"from member", flow("10.0.0.9", "10.0.0.1", 112, 0), true},
		{"from stranger", flow("10.0.0.8", "10.0.0.1", 112, 0), false},
		{"to anywhere", flow("10.0.0.1", "192.0.2.1", 17, 53), true},
		{"IPv6 to prefix", flow("2001:db8::1", "2001:db8::2", 6, 1), true},
		{"IPv6 to elsewhere", flow("2001:db8::1", "2001::2", 6, 1), false},
		{"from pair prefix", flow("2001:db8:7::7", "2001::2", 6, 1), false},
		{"DHCP", conntrack.Flow{Zone: zone, Source: netip.MustParseAddr("10.0.0.2"), Dest: netip.MustParseAddr("10.0.0.1"),
			Protocol: 17, SourcePort: 67, DestPort: 68}, true},
		{"expected", data, true},
		{"other network", elsewhere, true},
		{"nobody here", flow("10.0.0.2", "10.0.0.3", 6, 22), true},
	}
	for _, test := range tests {
		if got := j.allows(&test.flow); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

func TestDistinct(t *testing.T) {
	in := []netip.Prefix{prefix("10.0.0.5"), prefix("10.0.0.0/24"), prefix("10.0.1.1"), prefix("10.0.1.1"), prefix("10.0.0.0/8")}
	if got := distinct(in); !slices.Equal(got, []netip.Prefix{prefix("10.0.0.0/8")}) {
		t.Error(got)
	}
	if got := distinct(in[:3]); !slices.Equal(got, []netip.Prefix{prefix("10.0.0.0/24"), prefix("10.0.1.1")}) {
		t.Error(got)
	}
}

func TestParseRuleErrors(t *testing.T) {
	for _, r := range []rpc.SecurityGroupRule{
		{Ethertype: "IPv4", Protocol: "256"},
		{Ethertype: "IPv4", Direction: "ingress", SourceIPPrefix: "fd00::/8"},
		{Ethertype: "IPv6", Direction: "egress", DestIPPrefix: "somewhere"},
	} {
		if x, err := parseRule(r); err == nil {
			t.Errorf("%+v gave %+v", r, x)
		}
	}
}

// However ports come, change and go, what they share is as a new firewall would make it.
func TestSharedFollowsPorts(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	f := newTestFirewall()
	groups := []string{web, friends, "00000000-0000-4000-8000-000000000003"}
	for step := range 300 {
		p := webPort()
		p.Device = fmt.Sprintf("tap00000000-%02d", random.IntN(4))
		switch random.IntN(4) {
		case 0:
			f.RemovePort(p.Device)
		case 1:
			p.Mode = Mode(random.IntN(3))
			f.SetPort(p)
		case 2:
			f.SetGroup(web, webRules()[random.IntN(3):])
		default:
			p.Bridge = fmt.Sprintf("brqaaaaaaaa-%02d", random.IntN(2))
			p.Groups, p.Stateless, p.AnyAddress = groups[random.IntN(3):], random.IntN(3) == 0, random.IntN(2) == 0
			p.Pairs = p.Pairs[random.IntN(len(p.Pairs)+1):]
			f.SetPort(p)
		}
		f.apply()
		fresh := newTestFirewall()
		for id, rules := range f.groups {
			fresh.groups[id] = rules
		}
		for _, p := range f.ports {
			fresh.SetPort(*p)
		}
		fresh.kept = f.zones
		fresh.apply()
		for what, diff := range map[string]string{
			"sets":     cmp.Diff(fresh.sets.AllWanted(), f.sets.AllWanted()),
			"chains":   cmp.Diff(fresh.chains.AllWanted(), f.chains.AllWanted()),
			"elements": cmp.Diff(fresh.elements.AllWanted(), f.elements.AllWanted()),
		} {
			if diff != "" {
				t.Fatalf("step %d, %s (-new +kept):\n%s", step, what, diff)
			}
		}
	}
}
