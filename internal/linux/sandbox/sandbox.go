// Package sandbox gives tests a machine of their own: network and mount namespaces with an empty /run/netns. All that a
// test makes in there is gone when its process ends, however it ends.
package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const inside = "NEUTRINO_TEST_SANDBOX"

// Main is for TestMain: it runs the package's tests again inside a sandbox and exits. Without root, and when fuzzing,
// the tests run where they are, and those that Need a sandbox are skipped.
func Main(m *testing.M) {
	switch {
	case os.Getenv(inside) != "":
		if err := settle(); err != nil {
			fmt.Fprintln(os.Stderr, "sandbox:", err)
			os.Exit(1)
		}
	case os.Geteuid() == 0 && !fuzzing():
		os.Exit(again())
	}
	os.Exit(m.Run())
}

// Need skips a test that is not in a sandbox.
func Need(t testing.TB) {
	t.Helper()
	if os.Getenv(inside) == "" {
		t.Skip("needs root: makes network namespaces and interfaces")
	}
}

// fuzzing: the workers of a fuzzing process talk over inherited files, which a process in between would lose.
func fuzzing() bool {
	for _, arg := range os.Args {
		if strings.HasPrefix(arg, "-test.fuzz") {
			return true
		}
	}
	return false
}

func again() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		return failed.ExitCode()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "sandbox:", err)
		return 1
	}
	return 0
}

func settle() error {
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := os.MkdirAll("/run/netns", 0o755); err != nil {
		return err
	}
	if err := unix.Mount("sandbox", "/run/netns", "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("private /run/netns: %w", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(lo)
}
