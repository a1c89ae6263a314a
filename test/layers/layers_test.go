// Package layers checks that packages only import what their layer may (docs/design/layers.md).
package layers

import (
	"os/exec"
	"strings"
	"testing"
)

const internal = "neutrino/internal/"

// may lists what the packages of a layer may import of ours. A trailing slash stands for the packages below.
var may = []struct {
	packages string
	imports  []string
}{
	{"fault", nil},
	{"identity", nil},
	{"config", nil},
	{"logging", nil},
	{"health", nil},
	{"store", []string{"fault", "store/"}},
	{"store/dbtest", []string{"store", "store/", "fault"}},
	{"store/upkeep", []string{"store", "store/", "fault"}},
	{"store/", []string{"store/"}},
	{"resource", []string{"fault", "identity", "store", "store/"}},
	{"resource/resourcetest", []string{"resource", "fault", "identity", "store", "store/"}},
	{"model", []string{"resource", "fault", "identity", "store", "store/"}},
	{"policy", []string{"fault"}},
	{"httpbasic", []string{"fault", "identity", "policy"}},
	{"keystone", []string{"fault", "identity"}},
	{"reconcile", nil},
	{"linux/", []string{"linux/", "reconcile"}},
	{"bus", nil},
	{"bus/", []string{"bus"}},
	{"rpc", []string{"bus", "fault"}},
	{"notify", []string{"bus", "identity"}},
	{"ovs", nil},
	{"dhcp", []string{"linux/"}},
	{"dns", []string{"linux/"}},
	{"ra", []string{"linux/"}},
	{"metadata", []string{"bus", "rpc", "fault", "linux/"}},
	{"agent", []string{"bus", "rpc", "fault"}},
	{"agent/", []string{"agent", "agent/", "bus", "rpc", "fault", "linux/", "ovs", "reconcile", "dhcp", "dns", "ra", "metadata", "notify", "identity"}},
	{"tool/", []string{"linux/", "reconcile", "ovs", "store", "store/", "fault"}},
	{"service/", []string{"service/", "model", "resource", "store", "store/", "fault", "identity", "rpc", "bus"}},
	{"nova", []string{"keystone", "api", "policy", "model", "resource", "store", "store/", "fault", "identity", "logging", "health"}},
	{"notification", []string{"bus", "notify", "api", "policy", "model", "resource", "store", "store/", "fault", "identity", "logging", "health"}},
	{"api", []string{"policy", "model", "resource", "store", "store/", "fault", "identity", "logging", "health"}},
}

func TestPackagesKeepToTheirLayer(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{.ImportPath}} {{join .Deps \" \"}}", "neutrino/internal/...").CombinedOutput()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, out)
	}
	checked := 0
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		name, ours := strings.CutPrefix(words[0], internal)
		if !ours {
			continue
		}
		allowed, known := layer(name)
		if !known {
			continue
		}
		checked++
		for _, dep := range words[1:] {
			if dep, ours := strings.CutPrefix(dep, internal); ours && !matches(dep, allowed) {
				t.Errorf("%s must not depend on %s", name, dep)
			}
		}
	}
	if checked < len(may) {
		t.Errorf("only %d packages of %d layers were found", checked, len(may))
	}
}

func layer(name string) (imports []string, known bool) {
	for _, l := range may {
		if matches(name, []string{l.packages}) {
			return l.imports, true
		}
	}
	return nil, false
}

func matches(name string, patterns []string) bool {
	for _, p := range patterns {
		if name == p || strings.HasSuffix(p, "/") && strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}
