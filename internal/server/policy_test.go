package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"neutrino/internal/config"
	"neutrino/internal/policy"

	"github.com/google/go-cmp/cmp"
)

func TestPolicyOptions(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	found := write("b/found.yaml", `"get_network": "!"`)
	inDir := write("a/policy.d", "")
	for _, tt := range []struct {
		name, text string
		want       policy.Options
	}{
		{"defaults", "", policy.Options{Files: []string{dir + "/a/policy.yaml"}, Dirs: []string{inDir}, DefaultRule: "default"}},
		{"relative", "[oslo_policy]\npolicy_file = found.yaml\npolicy_dirs = x.d\npolicy_dirs = /y.d\n",
			policy.Options{Files: []string{found}, Dirs: []string{dir + "/a/x.d", "/y.d"}, DefaultRule: "default"}},
		{"legacy", "[oslo_policy]\npolicy_file = /p.json\nenforce_new_defaults = false\npolicy_default_rule = other\n",
			policy.Options{Files: []string{"/p.json"}, Dirs: []string{inDir}, LegacyDefaults: true, DefaultRule: "other"}},
	} {
		f, err := config.Load([]string{write("b/early.conf", ""), write("a/neutron.conf", tt.text)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, policyOptions(f)); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

// A policy file that the server is told of is read: a broken one is an error that names it.
func TestPolicyFileIsRead(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "policy.yaml")
	if err := os.WriteFile(path, []byte(`"create_network": "(role:admin"`), 0o600); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(dir, "neutron.conf")
	if err := os.WriteFile(conf, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := config.Load([]string{conf}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := policy.Load(policyOptions(f)); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v, want one about %s", err, path)
	}
}
