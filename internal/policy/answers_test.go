package policy

import (
	"bufio"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"
)

// rowTarget is a target made of texts.
type rowTarget struct {
	attrs   map[string]string
	parents map[string]string // "network:project_id"
	err     error             // of every Parent
	reads   int
}

func (r *rowTarget) Attr(name string) (string, bool) {
	r.reads++
	v, ok := r.attrs[name]
	return v, ok
}

func (r *rowTarget) Parent(kind, attr string) (string, bool, error) {
	r.reads++
	v, ok := r.parents[kind+":"+attr]
	return v, ok, r.err
}

type caller struct {
	name  string
	creds Credentials
}

// callers are those of testdata/upstream_answers.txt, in its order.
func callers() []caller {
	of := func(roles ...string) Credentials {
		return Credentials{UserID: "u1", ProjectID: "p1", Roles: roles, IsAdminProject: true}
	}
	onBehalf := of("member", "reader")
	onBehalf.ServiceRoles = []string{"service"}
	system, domain := of("admin", "member", "reader"), of("admin", "member", "reader")
	system.ProjectID, system.SystemScope = "", "all"
	domain.ProjectID, domain.DomainID = "", "d1"
	return []caller{
		{"admin", of(Expand([]string{"admin"})...)},
		{"manager", of(Expand([]string{"manager"})...)},
		{"member", of(Expand([]string{"member"})...)},
		{"reader", of("reader")},
		{"service", of("service")},
		{"advsvc", of("advsvc")},
		{"integrator", of("data_plane_integrator")},
		{"nobody", of()},
		{"service on behalf of a member", onBehalf},
		{"member in other letters", of("Member", "READER")},
		{"system", system},
		{"domain", domain},
	}
}

type namedTarget struct {
	name string
	*rowTarget
}

// targets are those of testdata/upstream_answers.txt, in its order: a resource of a project, whose network, security
// group and parent belong to a project, with some attributes.
func targets() []namedTarget {
	of := func(name, project, parents string, attrs map[string]string) namedTarget {
		all := map[string]string{"project_id": project, "tenant_id": project, "device_owner": "", "target_tenant": "p9", "target_project": "p9"}
		maps.Copy(all, attrs)
		return namedTarget{name, &rowTarget{attrs: all, parents: map[string]string{
			"network:project_id": parents, "security_group:project_id": parents, "ext_parent:project_id": parents,
			"network:shared": "False",
		}}}
	}
	onShared := of("on a shared network", "p2", "p2", map[string]string{"device_owner": "network:dhcp"})
	onShared.parents["network:shared"] = "True"
	return []namedTarget{
		of("own", "p1", "p1", nil),
		of("foreign", "p2", "p2", nil),
		of("foreign in own parent", "p2", "p1", nil),
		of("own in foreign parent", "p1", "p2", map[string]string{"device_owner": "network:dhcp"}),
		of("shared", "p2", "p2", map[string]string{"shared": "True", "device_owner": "compute:nova"}),
		onShared,
		of("external", "p2", "p2", map[string]string{"router:external": "True", "device_owner": "baremetal:none"}),
		of("for all projects", "p1", "p1", map[string]string{"target_tenant": "*", "target_project": "*", "device_owner": "manila:share"}),
		of("in use", "p1", "p1", map[string]string{"device_owner": "compute:nova", "shared": "False",
			"router:external": "False", "belongs_to_default_sg": "True"}),
	}
}

// answers are upstream's for one rule: bits by caller and target.
type answers struct {
	rule            string
	current, legacy *big.Int
}

func readAnswers(t *testing.T) []answers {
	t.Helper()
	f, err := os.Open("testdata/upstream_answers.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	number := func(hex string) *big.Int {
		n, ok := new(big.Int).SetString(hex, 16)
		if !ok {
			t.Fatalf("bad number %q", hex)
		}
		return n
	}
	var all []answers
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if fields[0] == "#" {
			continue
		}
		a := answers{rule: fields[0], current: number(fields[1])}
		if a.legacy = a.current; fields[2] != "=" {
			a.legacy = number(fields[2])
		}
		all = append(all, a)
	}
	return all
}

// TestUpstreamAnswers compares every default rule with what upstream's engine answered for every caller and target.
func TestUpstreamAnswers(t *testing.T) {
	recorded := readAnswers(t)
	for _, legacy := range []bool{false, true} {
		rules, err := Load(Options{LegacyDefaults: legacy})
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, a := range recorded {
			names = append(names, a.rule)
			bits := a.current
			if legacy {
				bits = a.legacy
			}
			for _, diff := range compareRule(t, rules, a.rule, bits) {
				t.Errorf("legacy defaults %t: %s (%s)", legacy, diff, rules.Text(a.rule))
			}
		}
		names = append(names, RuleSetProject) // lives in neutron-lib
		ours := rules.Names()
		slices.Sort(names)
		slices.Sort(ours)
		if !slices.Equal(names, ours) {
			t.Errorf("the rules are not upstream's:\n%v\n%v", ours, names)
		}
	}
}

func compareRule(t *testing.T, rules *Rules, rule string, bits *big.Int) (diffs []string) {
	bit := len(callers()) * len(targets())
	for _, who := range callers() {
		caller := rules.For(who.creds)
		for _, target := range targets() {
			bit--
			want := bits.Bit(bit) == 1
			got, err := caller.Allows(rule, target)
			if err != nil {
				t.Fatal(err)
			}
			if got != want {
				diffs = append(diffs, fmt.Sprintf("%s: %s on %s: got %t", rule, who.name, target.name, got))
			}
			if caller.Decide(rule) != AskRow && target.reads > 0 {
				diffs = append(diffs, fmt.Sprintf("%s: %s: decided by credentials, but the target was read", rule, who.name))
			}
		}
	}
	return diffs
}

// TestMostRulesNeedNoRow: folding is of use only if it decides a good part.
func TestMostRulesNeedNoRow(t *testing.T) {
	rules, err := Load(Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		who     string
		atLeast int // percent of all rules
	}{{"admin", 90}, {"member", 35}, {"nobody", 85}, {"system", 90}} {
		i := slices.IndexFunc(callers(), func(c caller) bool { return c.name == tt.who })
		caller := rules.For(callers()[i].creds)
		decided := 0
		for _, name := range rules.Names() {
			if caller.Decide(name) != AskRow {
				decided++
			}
		}
		if percent := 100 * decided / len(rules.Names()); percent < tt.atLeast {
			t.Errorf("%s: credentials decide %d %% of the rules, want %d", tt.who, percent, tt.atLeast)
		}
	}
}

// TestReadsWhatItNeeds: an engine that loads only NeedsAttrs gets the same answers.
func TestReadsWhatItNeeds(t *testing.T) {
	rules, err := Load(Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, who := range callers() {
		caller := rules.For(who.creds)
		for _, name := range rules.Names() {
			needs := caller.NeedsAttrs(name)
			for _, target := range targets() {
				less := &rowTarget{attrs: maps.Clone(target.attrs), parents: maps.Clone(target.parents)}
				maps.DeleteFunc(less.attrs, func(attr, _ string) bool { return !slices.Contains(needs, attr) })
				if !slices.Contains(needs, "network_id") {
					delete(less.parents, "network:project_id")
					delete(less.parents, "network:shared")
				}
				want, _ := caller.Allows(name, target)
				got, _ := caller.Allows(name, less)
				if got != want {
					t.Errorf("%s, %s, %s: %t with %v only, else %t", name, who.name, target.name, got, needs, want)
				}
			}
		}
	}
}

func TestParentErrorsReachTheCaller(t *testing.T) {
	rules, err := Load(Options{})
	if err != nil {
		t.Fatal(err)
	}
	broken := &rowTarget{attrs: map[string]string{"project_id": "p2"}, err: errors.New("no database")}
	member := rules.For(Credentials{ProjectID: "p1", Roles: Expand([]string{"member"})})
	for _, action := range []string{"create_subnet", "create_port:fixed_ips:ip_address", "create_security_group_rule"} {
		if ok, err := member.Allows(action, broken); ok || !errors.Is(err, broken.err) {
			t.Errorf("%s: got %t, %v", action, ok, err)
		}
	}
	broken.attrs["project_id"] = "p1"
	if ok, err := member.Allows("delete_subnet", broken); !ok || err != nil {
		t.Errorf("the owner needs no parent: got %t, %v", ok, err)
	}
}
