package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The program runs itself again in namespaces of its own. The process there is the first of its process namespace: when
// it ends, for whatever reason, the kernel ends all others with it, and mounts, devices and sockets go with them. So
// nothing has to be tidied up, and ports and names cannot clash with those of another cloud on this machine.

// A phase is what the program does inside namespaces.
type phase string

const (
	phaseBuild phase = "build" // build the tree; needs this machine's network
	phaseTest  phase = "test"  // run the cloud and the tests, on a network of their own
)

// phaseVariable tells the inner program which phase it is.
const phaseVariable = "CONFORMANCE_PHASE"

// errTold is a failure that the inner program has told of.
var errTold = errors.New("it has failed inside namespaces")

// isolated runs this program again, with the same arguments, in namespaces, and waits for its end. If ctx is done it is
// asked to end, and killed after a while.
func isolated(ctx context.Context, p phase) error {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), phaseVariable+"="+string(p))
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC,
		Setpgid:    true, // an interrupt from the keyboard comes through us, once
		Pdeathsig:  syscall.SIGKILL,
	}
	if p == phaseTest {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWNET | unix.CLONE_NEWUTS
	}
	// Pdeathsig is sent when the thread that started the child ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return errTold
	}
	return err
}

// detachMounts keeps what is mounted from now on to this mount namespace, and shows this process namespace in /proc.
func detachMounts() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	return mount("proc", "/proc", "proc", 0)
}

// hideHost shows this network namespace in /sys and gives this machine's programs a /run of their own, where named network
// namespaces are.
func hideHost() error {
	if err := mount("sysfs", "/sys", "sysfs", 0); err != nil {
		return err
	}
	if err := mount("tmpfs", "/run", "tmpfs", 0); err != nil {
		return err
	}
	for _, dir := range []string{"/run/netns", "/run/lock"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// mountSystem mounts what programs expect of a system below root.
func mountSystem(root string) error {
	for _, m := range []struct {
		source, target, kind string
		flags                uintptr
	}{
		{"proc", "proc", "proc", 0},
		{"/dev", "dev", "", unix.MS_BIND | unix.MS_REC},
		{"tmpfs", "run", "tmpfs", 0},
		{"tmpfs", "tmp", "tmpfs", 0},
	} {
		if err := mount(m.source, filepath.Join(root, m.target), m.kind, m.flags); err != nil {
			return err
		}
	}
	return nil
}

func mount(source, target, kind string, flags uintptr) error {
	if err := unix.Mount(source, target, kind, flags, ""); err != nil {
		return fmt.Errorf("mount %s on %s: %w", source, target, err)
	}
	return nil
}
