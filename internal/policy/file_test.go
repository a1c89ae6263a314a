package policy

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	main := write(t, filepath.Join(dir, "policy.yaml"), `# site policy
"create_network": "role:network_admin"   # comment
get_network: ""
update_network: rule:admin_only or
  role:network_admin
delete_network:
  - [role:network_admin, "rule:owner"]
  - rule:admin_only
my_alias: "!"
create_network: role:twice
`)
	later := filepath.Join(dir, "policy.d")
	if err := os.Mkdir(later, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(later, "10.json"), "{\n\t\"get_subnet\": \"@\",\n\t\"get_port\": [[\"role:a\", \"role:b\"], \"role:c\"]\n}\n")
	write(t, filepath.Join(later, "20.yaml"), "get_subnet: '!'\n")
	write(t, filepath.Join(later, ".hidden.yaml"), "get_subnet: broken\n")
	write(t, filepath.Join(later, "30-empty.yaml"), "# nothing\n")
	rules, err := Load(Options{Files: []string{main, filepath.Join(dir, "missing.json")}, Dirs: []string{later, filepath.Join(dir, "missing.d")}})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"create_network": "role:twice",
		"get_network":    "@",
		"update_network": "rule:admin_only or role:network_admin",
		"delete_network": "role:network_admin and rule:owner or rule:admin_only",
		"my_alias":       "!",
		"get_subnet":     "!",
		"get_port":       "role:a and role:b or role:c",
		"get_router":     "rule:admin_only or role:reader and project_id:%(project_id)s",
	} {
		if diff := cmp.Diff(want, rules.Text(name)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestLoadErrors(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"a: '@'\nget_port: role:x or\n", `:2: rule "get_port": character 10: a check is missing at the end`},
		{"get_port: '@'\na: >\n  role:x or\n  rolex\n", `:2: rule "a": character 11: "rolex" is not a check of the form kind:match`},
		{"{\n\"a\": \"@\",\n\"b\": [[\"rolex\"]]\n}", `:3: rule "b": character 1: "rolex" is not a check of the form kind:match`},
		{"get_port:\n", `:1: rule "get_port": no value; write "" or "@" to allow everybody, "!" to allow nobody`},
		{"get_port: {a: b}\n", `:1: rule "get_port": a rule must be text or a list, not map[a:b]`},
		{"get_port: 5\n", `:1: rule "get_port": a rule must be text or a list, not 5`},
		{"5: '@'\n", `: the name of a rule must be text, not 5`},
		{"x: 'a\n", `: [1:4] could not find end character of single-quoted text`},
		{"a: '@'\n---\nb: '!'\n", `: a policy file is one document; what follows "---" would be lost`},
		{"- a\n- b\n", `: [1:1] sequence was used where mapping is expected`},
		{"a: '@'\nadmin_only: rule:get_port\nget_port: rule:admin_only", `:2: rules refer to each other: admin_only -> get_port -> admin_only`},
	} {
		path := write(t, filepath.Join(t.TempDir(), "policy.yaml"), tt.text)
		_, err := Load(Options{Files: []string{path}})
		if err == nil {
			t.Errorf("%q: no error", tt.text)
			continue
		}
		got, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), path), "\n")
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%q: %s", tt.text, diff)
		}
	}
}

func TestRenamedRules(t *testing.T) {
	for _, tt := range []struct {
		text   string
		legacy bool
		want   string
	}{
		{"", false, "rule:admin_only or role:member and project_id:%(project_id)s"},
		{"create_routers_tags: role:x", false, "role:x"},
		{"create_routers_tags: role:x", true, "role:x"},
		{"create_routers_tags: role:x\ncreate_router:tags: role:y", false, "role:y"},
		{"create_routers_tags: rule:create_router:tags", false, "rule:admin_only or role:member and project_id:%(project_id)s"},
		{"create_routers_tags: rule:admin_only or role:manager and project_id:%(project_id)s", false,
			"rule:admin_only or role:member and project_id:%(project_id)s"}, // the old default is no wish of the operator
		{"", true, "(rule:admin_only or role:member and project_id:%(project_id)s) or (rule:admin_only or role:manager and project_id:%(project_id)s)"},
	} {
		path := write(t, filepath.Join(t.TempDir(), "policy.yaml"), tt.text)
		rules, err := Load(Options{Files: []string{path}, LegacyDefaults: tt.legacy})
		if err != nil {
			t.Errorf("%q: %v", tt.text, err)
			continue
		}
		if diff := cmp.Diff(tt.want, rules.Text("create_router:tags")); diff != "" {
			t.Errorf("%q, legacy %t: %s", tt.text, tt.legacy, diff)
		}
	}
}

func TestUnknownActions(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "policy.yaml"), "deny: '!'\nget_network: rule:typo\n")
	member := Credentials{ProjectID: "p1", Roles: Expand([]string{"member"})}
	own := &rowTarget{attrs: map[string]string{"project_id": "p1"}}
	for fallback, want := range map[string]bool{"": true, "deny": false, "no_such_rule": false} {
		rules, err := Load(Options{Files: []string{path}, DefaultRule: fallback})
		if err != nil {
			t.Fatal(err)
		}
		for _, action := range []string{"create_network:no_such_attribute", "get_network"} {
			if got, err := rules.For(member).Allows(action, own); err != nil || got != want {
				t.Errorf("default rule %q, %s: got %t, %v", fallback, action, got, err)
			}
		}
		if diff := cmp.Diff([]string{`rule "get_network" refers to rule "typo", which does not exist`}, rules.Warnings()); diff != "" {
			t.Error(diff)
		}
	}
}

func TestStore(t *testing.T) {
	dir := t.TempDir()
	file, drop := filepath.Join(dir, "policy.yaml"), filepath.Join(dir, "policy.d")
	var logged bytes.Buffer
	now := time.Unix(1000, 0)
	s, err := open(Options{Files: []string{file}, Dirs: []string{drop}}, slog.New(slog.NewTextHandler(&logged, nil)), func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	check := func(step, want string) {
		t.Helper()
		if got := s.Rules().Text("get_flavor"); got != want {
			t.Errorf("%s: got %q, want %q", step, got, want)
		}
	}
	check("no files", "role:reader")

	write(t, file, "get_flavor: role:one")
	check("within the same second", "role:reader")
	now = now.Add(checkEvery)
	check("a new file", "role:one")

	write(t, file, "get_flavor: role:changed")
	now = now.Add(checkEvery)
	check("a changed file", "role:changed")
	if logged.Len() == 0 || strings.Contains(logged.String(), "level=ERROR") {
		t.Errorf("log: %s", &logged)
	}

	logged.Reset()
	write(t, file, "get_flavor: role:changed or nonsense")
	for range 3 {
		now = now.Add(checkEvery)
		check("a broken file", "role:changed")
	}
	if n := strings.Count(logged.String(), "level=ERROR"); n != 1 || !strings.Contains(logged.String(), "character 17") {
		t.Errorf("a broken file should be logged once: %s", &logged)
	}

	if err := os.Mkdir(drop, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, file, "get_flavor: role:repaired")
	write(t, filepath.Join(drop, "a.yaml"), "get_flavor: role:dropped-in")
	now = now.Add(checkEvery)
	check("a drop-in", "role:dropped-in")

	if err := os.RemoveAll(drop); err != nil {
		t.Fatal(err)
	}
	now = now.Add(checkEvery)
	check("the drop-in removed", "role:repaired")
}

func TestStoreRefusesBrokenFilesAtStart(t *testing.T) {
	file := write(t, filepath.Join(t.TempDir(), "policy.yaml"), "get_flavor: nonsense")
	if _, err := Open(Options{Files: []string{file}}, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("no error")
	}
}

// FuzzPolicyFile: an operator's typing mistake must not stop a running server.
func FuzzPolicyFile(f *testing.F) {
	f.Add("a: role:b\n\"c\": [[\"role:d\", \"rule:a\"], '@']\n")
	f.Add("{\n\t\"a\": \"@\"\n}")
	f.Add("a: &x role:b\nb: *x\n<<: {c: '!'}\n")
	f.Add("a: >\n  role:x or\n  role:y\n--- # second\nb: |\n")
	f.Fuzz(func(t *testing.T, text string) {
		over := overrides{}
		if err := over.read("policy.yaml", []byte(text)); err != nil {
			return
		}
		for name, o := range over {
			if o.expr == nil {
				t.Fatalf("%q: rule %q is empty", text, name)
			}
		}
	})
}
