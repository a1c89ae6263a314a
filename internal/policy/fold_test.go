package policy

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func mustBuild(t testing.TB, texts map[string]string) *Rules {
	t.Helper()
	over := overrides{}
	for name, text := range texts {
		e, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		over[name] = override{expr: e}
	}
	rules, err := build(nil, over, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

func TestFold(t *testing.T) {
	alice := Credentials{UserID: "alice", ProjectID: "p1", Roles: []string{"Member"}, ServiceRoles: []string{"service"}, IsAdminProject: true}
	for _, tt := range []struct{ rule, want string }{
		{"@", "@"},
		{"!", "!"},
		{"role:member", "@"},
		{"role:MEMBER", "@"},
		{"role:admin", "!"},
		{"not role:admin", "@"},
		{"role:%(needed)s", `["Member"]:%(needed)s`},
		{"service_roles:service", "@"},
		{"service_roles:Service", "!"},
		{"user_id:alice", "@"},
		{"is_admin_project:True", "@"},
		{"is_admin:False", "@"},
		{"domain_id:%(domain_id)s", "!"},
		{"no_such_credential:x", "!"},
		{"'x':x", "@"},
		{"'x':%(name)s", `["x"]:%(name)s`},
		{"project_id:%(project_id)s", `["p1"]:%(project_id)s`},
		{"role:member and project_id:%(project_id)s", `["p1"]:%(project_id)s`},
		{"role:admin and project_id:%(project_id)s", "!"},
		{"role:member or project_id:%(project_id)s", "@"},
		{"role:admin or not user_id:%(user_id)s", `not ["alice"]:%(user_id)s`},
		{"rule:owner or rule:owner", `["p1"]:%(project_id)s or ["p1"]:%(project_id)s`},
		{"rule:missing", `["p1"]:%(project_id)s`}, // the default rule
		{"project_id:%(network:project_id)s or field:networks:shared=True or project_id:%(project_id)s",
			`["p1"]:%(project_id)s or field:networks:shared=True or ["p1"]:%(network:project_id)s`}, // cheapest first
		{"(rule:owner or project_id:%(ext_parent:project_id)s) and field:x:y=1",
			`field:x:y=1 and (["p1"]:%(project_id)s or ["p1"]:%(ext_parent:project_id)s)`},
	} {
		rules := mustBuild(t, map[string]string{"it": tt.rule, "owner": "project_id:%(project_id)s", "default": "rule:owner"})
		if diff := cmp.Diff(tt.want, rules.For(alice).Explain("it")); diff != "" {
			t.Errorf("%s: %s", tt.rule, diff)
		}
	}
}

func TestChecksOfTargets(t *testing.T) {
	alice := Credentials{UserID: "alice", ProjectID: "p1", Roles: []string{"member"}}
	target := &rowTarget{
		attrs: map[string]string{"project_id": "p2", "user_id": "alice", "mtu": "1500", "admin_state_up": "True", "name": "net-1",
			"gateway_ip": "None", "empty": "", "shared": "False", "needs": "MEMBER"},
		parents: map[string]string{"network:shared": "True", "ext_parent:project_id": "p1"},
	}
	for _, tt := range []struct {
		rule string
		want bool
	}{
		{"user_id:%(user_id)s", true},
		{"project_id:%(project_id)s", false},
		{"user_id:%(absent)s", false},
		{"not user_id:%(absent)s", true},
		{"role:%(needs)s", true},
		{"1500:%(mtu)s", true},
		{"'net-1-p2':%(name)s-%(project_id)s", true},
		{"'net-1':%(name)s%(absent)s", false},
		{"None:%(gateway_ip)s", true},
		{"'':%(empty)s", true},
		{"field:networks:admin_state_up=True", true},
		{"field:networks:admin_state_up=true", true},
		{"field:networks:admin_state_up=1", true},
		{"field:networks:admin_state_up=False", false},
		{"field:networks:admin_state_up=yes", false},
		{"field:networks:gateway_ip=None", false},
		{"field:networks:absent=x", false},
		{"field:networks:name=net-1", true},
		{"field:networks:name=net", false},
		{"field:networks:name=~net", true},
		{"field:networks:name=~et", false},
		{"field:networks:name=~x|n", true},
		{"field:networks:shared=True", false}, // the target's own attribute counts first
		{"project_id:%(ext_parent:project_id)s", true},
		{"project_id:%(security_group:project_id)s", false},
	} {
		rules := mustBuild(t, map[string]string{"it": tt.rule})
		got, err := rules.For(alice).Allows("it", target)
		if err != nil || got != tt.want {
			t.Errorf("%s: got %t, %v", tt.rule, got, err)
		}
	}
}

// TestNothingOwnsNothing: hidden networks of routers have no project; a caller without a project must not get them.
func TestNothingOwnsNothing(t *testing.T) {
	rules := mustBuild(t, map[string]string{"it": "project_id:%(project_id)s"})
	for _, project := range []string{"", "None"} {
		target := &rowTarget{attrs: map[string]string{"project_id": project}}
		if ok, err := rules.For(Credentials{}).Allows("it", target); ok || err != nil {
			t.Errorf("project %q: got %t, %v", project, ok, err)
		}
	}
}

func TestRulesAboutCallers(t *testing.T) {
	rules := mustBuild(t, map[string]string{
		RuleAdmin:        "role:admin or user_id:root and not is_admin:True",
		RuleGlobalAccess: "project_id:%(project_id)s and role:auditor",
		"for_admins":     "is_admin:True",
		"for_auditors":   "has_global_access:True",
	})
	for _, tt := range []struct {
		creds         Credentials
		admin, global bool
	}{
		{Credentials{Roles: []string{"admin"}}, true, false},
		{Credentials{UserID: "root"}, true, false},
		{Credentials{UserID: "alice", ProjectID: "p1", Roles: []string{"auditor"}}, false, true},
		{Credentials{UserID: "alice", Roles: []string{"auditor"}}, false, false},
	} {
		c := rules.For(tt.creds)
		if c.Is(RuleAdmin) != tt.admin || c.Is(RuleGlobalAccess) != tt.global || c.Is(RuleSetProject) {
			t.Errorf("%+v: admin %t, global access %t, project %t", tt.creds, c.Is(RuleAdmin), c.Is(RuleGlobalAccess), c.Is(RuleSetProject))
		}
		if got := c.Decide("for_admins") == Yes; got != tt.admin {
			t.Errorf("%+v: is_admin:True is %t", tt.creds, got)
		}
		if got := c.Decide("for_auditors") == Yes; got != tt.global {
			t.Errorf("%+v: has_global_access:True is %t", tt.creds, got)
		}
	}
}

func TestCyclesAreRefused(t *testing.T) {
	for _, tt := range []struct {
		name  string
		rules map[string]string
		want  string
	}{
		{"itself", map[string]string{"a": "rule:a"}, "rules refer to each other: a -> a"},
		{"three", map[string]string{"a": "role:x or rule:b", "b": "not (rule:c and @)", "c": "rule:a"}, "rules refer to each other: a -> b -> c -> a"},
		{"behind an innocent rule", map[string]string{"a": "rule:b", "b": "rule:c", "c": "rule:b"}, "rules refer to each other: b -> c -> b"},
		{"through the default rule", map[string]string{"default": "rule:missing"}, "rules refer to each other: default -> default"},
	} {
		over := overrides{}
		for name, text := range tt.rules {
			e, err := Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			over[name] = override{expr: e, file: "policy.yaml", line: 7}
		}
		_, err := build(nil, over, Options{})
		if _, ok := errors.AsType[*CycleError](err); !ok {
			t.Errorf("%s: got %v", tt.name, err)
			continue
		}
		if diff := cmp.Diff("policy.yaml:7: "+tt.want, err.Error()); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

func TestExpand(t *testing.T) {
	for _, tt := range []struct{ in, want []string }{
		{nil, nil},
		{[]string{"reader"}, []string{"reader"}},
		{[]string{"service"}, []string{"service"}},
		{[]string{"Admin", "x"}, []string{"Admin", "x", "manager", "member", "reader"}},
		{[]string{"reader", "member"}, []string{"reader", "member"}},
	} {
		if diff := cmp.Diff(tt.want, Expand(tt.in)); diff != "" {
			t.Errorf("%v: %s", tt.in, diff)
		}
	}
}

func BenchmarkFold(b *testing.B) {
	rules, err := Load(Options{})
	if err != nil {
		b.Fatal(err)
	}
	creds := Credentials{ProjectID: "p1", Roles: Expand([]string{"member"})}
	b.ReportAllocs()
	for b.Loop() {
		rules.For(creds).Decide("create_port")
	}
}

func BenchmarkDecide(b *testing.B) {
	rules, err := Load(Options{})
	if err != nil {
		b.Fatal(err)
	}
	caller := rules.For(Credentials{ProjectID: "p1", Roles: Expand([]string{"member"})})
	b.ReportAllocs()
	for b.Loop() {
		if caller.Decide("create_port:allowed_address_pairs:ip_address") != AskRow {
			b.Fatal("not decided by the row")
		}
	}
}

func BenchmarkAllowsRow(b *testing.B) {
	rules, err := Load(Options{})
	if err != nil {
		b.Fatal(err)
	}
	caller := rules.For(Credentials{ProjectID: "p1", Roles: Expand([]string{"member"})})
	own := &rowTarget{attrs: map[string]string{"project_id": "p1"}}
	b.ReportAllocs()
	for b.Loop() {
		if ok, err := caller.Allows("get_port", own); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		if _, err := Load(Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
