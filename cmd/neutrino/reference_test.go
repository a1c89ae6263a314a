package main

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestGeneratedPages(t *testing.T) {
	for path, text := range map[string]func() string{
		"../../docs/configuration.md": configReference,
		"../../docs/api.md":           apiReference,
	} {
		written, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(text(), string(written)); diff != "" {
			t.Errorf("%s is out of date, run make docs: %s", path, diff)
		}
	}
}
