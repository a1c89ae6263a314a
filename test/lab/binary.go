package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// WithBinary runs the tests of a package with the path of the program: NEUTRINO_BINARY, or else one built for them. It returns the
// exit status for TestMain.
func WithBinary(tests func(path string) int) int {
	if path := os.Getenv("NEUTRINO_BINARY"); path != "" {
		return tests(path)
	}
	dir, err := os.MkdirTemp("", "neutrino-binary-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "neutrino")
	build := exec.Command("go", "build", "-o", path, "neutrino/cmd/neutrino")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		return 1
	}
	return tests(path)
}
