package config

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// An option is read by the program, or declared to have no effect; never both, never neither.
func TestOptionsAreHonoured(t *testing.T) {
	readElsewhere := map[string]bool{
		"StatePath":  true, // by $state_path in other options
		"CorePlugin": true, // its check leaves nothing to decide
	}
	program := sources(t, "../server", "../daemon", "../../cmd/neutrino")
	declared := 0
	for name, noEffect := range declarations(t) {
		declared++
		used := strings.Contains(program, "config."+name+".") || readElsewhere[name]
		if used == noEffect {
			t.Errorf("%s: read by the program: %v, declared to have no effect: %v", name, used, noEffect)
		}
	}
	if declared < 50 {
		t.Errorf("only %d declarations were found", declared)
	}
}

// declarations are the exported variables of the options*.go files, and whether NoEffect is called on them.
func declarations(t *testing.T) map[string]bool {
	found := map[string]bool{}
	for _, path := range glob(t, "options*.go") {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || !spec.Names[0].IsExported() {
				return true
			}
			noEffect := false
			ast.Inspect(spec.Values[0], func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == "NoEffect" {
					noEffect = true
				}
				return true
			})
			found[spec.Names[0].Name] = noEffect
			return false
		})
	}
	return found
}

func sources(t *testing.T, dirs ...string) string {
	var b strings.Builder
	for _, dir := range dirs {
		for _, path := range glob(t, filepath.Join(dir, "*.go")) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			b.Write(text)
		}
	}
	return b.String()
}

func glob(t *testing.T, pattern string) []string {
	paths, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, path := range paths {
		if !strings.HasSuffix(path, "_test.go") {
			out = append(out, path)
		}
	}
	return out
}
