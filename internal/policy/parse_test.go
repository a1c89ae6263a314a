package policy

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", "@"},
		{"@", "@"},
		{"!", "!"},
		{"role:admin", "role:admin"},
		{"role:", "role:"},
		{"rule:a and rule:b or rule:c", "rule:a and rule:b or rule:c"},
		{"rule:a or rule:b and rule:c", "rule:a or rule:b and rule:c"},
		{"(rule:a or rule:b) and rule:c", "(rule:a or rule:b) and rule:c"},
		{"( ( rule:a ) )", "rule:a"},
		{"(rule:a or rule:b) or rule:c", "(rule:a or rule:b) or rule:c"},
		{"NOT rule:a AND Not (rule:b Or rule:c)", "not rule:a and not (rule:b or rule:c)"},
		{"not not @", "not not @"},
		{"not (rule:a and rule:b)", "not (rule:a and rule:b)"},
		{"\trule:a\n  or rule:b ", "rule:a or rule:b"},
		{"project_id:%(project_id)s", "project_id:%(project_id)s"},
		{"(project_id:%(project_id)s)", "project_id:%(project_id)s"},
		{"tenant_id:%(tenant_id)s", "project_id:%(project_id)s"},
		{"project_id:%(network:tenant_id)s", "project_id:%(network:project_id)s"},
		{"tenant_id:%(network_tenant_id)s", "project_id:%(network:project_id)s"},
		{"project_id:%(ext_parent:project_id)s", "project_id:%(ext_parent:project_id)s"},
		{"project_id:%(security_group:project_id)s", "project_id:%(security_group:project_id)s"},
		{"project_id:%(ext_parent_router_id)s", "project_id:%(ext_parent_router_id)s"},
		{"user_id:%(user_id)s", "user_id:%(user_id)s"},
		{"'compute:nova':%(device_owner)s", ""},
		{"'vlan':%(provider:network_type)s", "'vlan':%(provider:network_type)s"},
		{`"vlan":%(provider:network_type)s`, `"vlan":%(provider:network_type)s`},
		{"True:%(shared)s", "True:%(shared)s"},
		{"None:%(gateway_ip)s", "None:%(gateway_ip)s"},
		{"1500:%(mtu)s", "1500:%(mtu)s"},
		{"user_name:100%%%(suffix)s", "user_name:100%%%(suffix)s"},
		{"field:networks:router:external=True", "field:networks:router:external=True"},
		{"field:port:device_owner=~^network:", "field:port:device_owner=~^network:"},
		{"not field:rbac_policy:target_tenant=*", "not field:rbac_policy:target_tenant=*"},
	} {
		e, err := Parse(tt.in)
		if tt.want == "" {
			if err == nil {
				t.Errorf("%q: got %s, want an error", tt.in, e)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", tt.in, err)
			continue
		}
		if diff := cmp.Diff(tt.want, e.String()); diff != "" {
			t.Errorf("%q: %s", tt.in, diff)
		}
	}
}

func TestSyntaxErrors(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"  ", "character 3: a check is missing at the end"},
		{"rule:a and", "character 11: a check is missing at the end"},
		{"rule:a rule:b", `character 8: unexpected "rule:b"`},
		{"or rule:a", `character 1: unexpected "or"`},
		{"rule:a and or rule:b", `character 12: unexpected "or"`},
		{"(rule:a", "character 1: the parenthesis is not closed"},
		{"rule:a)", `character 7: unexpected ")"`},
		{"()", `character 2: unexpected ")"`},
		{"not", "character 4: a check is missing at the end"},
		{"rôle or admin", `character 1: "rôle" is not a check of the form kind:match`},
		{"role:ö or admin", `character 11: "admin" is not a check of the form kind:match`},
		{"'quoted'", `character 1: "'quoted'" is not a check of the form kind:match`},
		{"not(role:x)", `character 1: "not(role:x": bad name before the colon; a space may be missing`},
		{":x", `character 1: ":x": nothing stands before the colon`},
		{"'a:%(x)s", `character 1: "'a:%(x)s": bad literal before the colon`},
		{"project_id:p1", `character 1: "project_id:p1": an ownership check must compare with "%(attribute)s"`},
		{"project_id:%(port:project_id)s", `character 1: "project_id:%(port:project_id)s": the owner of a parent "port" cannot be looked up`},
		{"user_id:%(x)d", `character 1: "user_id:%(x)d": after "%" must come "(attribute)s" or another "%"`},
		{"user_id:%x", `character 1: "user_id:%x": after "%" must come "(attribute)s" or another "%"`},
		{"field:networks", `character 1: "field:networks": want field:resources:attribute=value`},
		{"field:port:x=~[", "character 1: \"field:port:x=~[\": regular expression: error parsing regexp: missing closing ]: `[)`"},
		{"http://example.org/check", `character 1: "http://example.org/check": checks answered by a remote server are not supported`},
		{strings.Repeat("(", 200), "character 102: nested more than 100 deep"},
	} {
		e, err := Parse(tt.in)
		if err == nil {
			t.Errorf("%q: got %s, want an error", tt.in, e)
			continue
		}
		if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
			t.Errorf("%q: %s", tt.in, diff)
		}
	}
}

func TestParseList(t *testing.T) {
	type list = []any
	for _, tt := range []struct {
		in   list
		want string // empty: an error
	}{
		{list{}, "@"},
		{list{list{}}, "!"},
		{list{"rule:a"}, "rule:a"},
		{list{list{"rule:a", "role:b"}}, "rule:a and role:b"},
		{list{list{"rule:a", "role:b"}, list{}, "role:c", list{"@"}}, "rule:a and role:b or role:c or @"},
		{list{"rule:a and rule:b"}, ""},
		{list{list{"(rule:a)"}}, ""},
		{list{7}, ""},
		{list{list{list{"rule:a"}}}, ""},
		{list{""}, ""},
	} {
		e, err := parseList(tt.in)
		switch {
		case tt.want == "" && err == nil:
			t.Errorf("%v: got %s, want an error", tt.in, e)
		case tt.want != "" && err != nil:
			t.Errorf("%v: %v", tt.in, err)
		case tt.want != "" && e.String() != tt.want:
			t.Errorf("%v: got %s, want %s", tt.in, e, tt.want)
		}
	}
}

// FuzzParse: any text is either refused with a SyntaxError or printed in a form that means the same.
func FuzzParse(f *testing.F) {
	for _, d := range Defaults() {
		f.Add(d.Check)
		f.Add(d.Legacy)
	}
	f.Add("not (role:%(x)s or 'a':%%%(b)s) and 12:%(c)s")
	f.Fuzz(func(t *testing.T, rule string) {
		e, err := Parse(rule)
		if err != nil {
			if _, ok := errors.AsType[*SyntaxError](err); !ok {
				t.Fatalf("%q: not a syntax error: %v", rule, err)
			}
			return
		}
		again, err := Parse(e.String())
		if err != nil {
			t.Fatalf("%q prints as %q, which is refused: %v", rule, e, err)
		}
		if e.String() != again.String() {
			t.Fatalf("%q prints as %q, then as %q", rule, e, again)
		}
		rules := &Rules{index: map[string]int{}, fallback: -1}
		folded := rules.For(Credentials{ProjectID: "p", Roles: []string{"member"}}).fold(e)
		twice := rules.For(Credentials{ProjectID: "p", Roles: []string{"member"}}).fold(again)
		target := &rowTarget{attrs: map[string]string{"project_id": "p", "x": "member"}}
		a, errA := eval(folded, target)
		b, errB := eval(twice, target)
		if a != b || errA != nil || errB != nil {
			t.Fatalf("%q: %t, %v but after printing %t, %v", rule, a, errA, b, errB)
		}
	})
}
