package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

	// workDir is a file system in memory in the tree: what a run writes.
	workDir = "/work"

	// startTimeout is how long a daemon may take until it listens.
	startTimeout = 90 * time.Second
)

// system runs programs, those of the tree in the tree. Their output goes to files in results.
type system struct {
	root    string
	results string
	died    context.CancelCauseFunc // a daemon has ended before its time
}

// program is a command line and how it is run.
type program struct {
	name string // of the file for its output
	args []string
	user string   // of the tree; "" for root
	env  []string // besides the usual variables
	host bool     // a program of this machine, not of the tree
}

func (s *system) path(inTree string) string { return filepath.Join(s.root, inTree) }

// write makes a file in the tree that belongs to the user.
func (s *system) write(inTree, text, user string) error {
	if err := writeFile(s.path(inTree), text, 0o644); err != nil {
		return err
	}
	return s.give(inTree, user)
}

// home makes a directory in the tree that belongs to the user.
func (s *system) home(inTree, user string) error {
	if err := os.MkdirAll(s.path(inTree), 0o755); err != nil {
		return err
	}
	return s.give(inTree, user)
}

func (s *system) give(inTree, user string) error {
	who, err := s.credential(user)
	if err != nil {
		return err
	}
	return os.Chown(s.path(inTree), int(who.Uid), int(who.Gid))
}

// credential finds a user of the tree.
func (s *system) credential(user string) (*syscall.Credential, error) {
	if user == "" {
		return &syscall.Credential{}, nil
	}
	file, err := os.Open(s.path("/etc/passwd"))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		fields := strings.Split(lines.Text(), ":")
		if len(fields) < 4 || fields[0] != user {
			continue
		}
		uid, errUID := strconv.ParseUint(fields[2], 10, 32)
		gid, errGID := strconv.ParseUint(fields[3], 10, 32)
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, errors.Join(errUID, errGID)
	}
	return nil, fmt.Errorf("the tree has no user %s", user)
}

// command prepares a program. Only a program of this machine sees this machine's environment.
func (s *system) command(ctx context.Context, p program) (*exec.Cmd, error) {
	cmd := exec.CommandContext(ctx, p.args[0], p.args[1:]...)
	cmd.Dir = "/"
	if p.host {
		cmd.Env = append(os.Environ(), p.env...)
		return cmd, nil
	}
	who, err := s.credential(p.user)
	if err != nil {
		return nil, err
	}
	cmd.Env = append([]string{"PATH=" + searchPath, "LC_ALL=C.UTF-8", "HOME=" + workDir}, p.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: s.root, Credential: who}
	return cmd, nil
}

func (s *system) output(p program) string { return filepath.Join(s.results, p.name+".log") }

// run runs a program to its end.
func (s *system) run(ctx context.Context, p program) error {
	cmd, err := s.command(ctx, p)
	if err != nil {
		return err
	}
	log, err := os.Create(s.output(p))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w; see %s", strings.Join(p.args, " "), err, log.Name())
	}
	return nil
}

// start starts a daemon. If address is given, it waits until the daemon listens there. The run fails if the daemon ends.
func (s *system) start(ctx context.Context, p program, address string) error {
	cmd, err := s.command(ctx, p)
	if err != nil {
		return err
	}
	log, err := os.Create(s.output(p))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	go func() {
		s.died(fmt.Errorf("%s has ended: %v; see %s", p.name, cmd.Wait(), log.Name()))
	}()
	if address == "" {
		return nil
	}
	return wait(ctx, p.name+" to listen on "+address, func() error {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err
	})
}

// wait tries until there is no error.
func wait(ctx context.Context, what string, try func() error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, errors.New("timed out"))
	defer cancel()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w: %w", what, context.Cause(ctx), err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
