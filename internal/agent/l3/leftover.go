package l3

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// helperSignals are the programs that upstream's agent leaves running in a router's namespace when it ends, and how they
// are ended: radvd at once, because it would take its advertisements back and hosts would lose their default route;
// haproxy, which serves metadata on the port that we need, in its own way.
var helperSignals = map[string]unix.Signal{"radvd": unix.SIGKILL, "haproxy": unix.SIGTERM}

var uuidPattern = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

// helper is a process that upstream's agent left.
type helper struct {
	pid  int
	name string
}

// findHelpers returns the processes whose name and arguments are those of upstream's helpers, by router or network.
func findHelpers() map[string][]helper {
	found := map[string][]helper{}
	processes, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return found
	}
	for _, file := range processes {
		name, err := os.ReadFile(file)
		program := strings.TrimSpace(string(name))
		if err != nil || helperSignals[program] == 0 {
			continue
		}
		arguments, err := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
		pid, notNumber := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if id := uuidPattern.FindString(string(arguments)); id != "" && err == nil && notNumber == nil {
			found[id] = append(found[id], helper{pid, program})
		}
	}
	return found
}

// endHelpers ends what upstream's agent left in the namespace, and nothing outside of it.
func (r *router) endHelpers() error {
	var failed []error
	for _, h := range r.helpers {
		ended, err := h.end(r.namespace)
		if err != nil {
			failed = append(failed, fmt.Errorf("end %s (process %d): %w", h.name, h.pid, err))
		}
		if ended {
			r.wrote()
			r.log.Info("a helper of an earlier agent was ended", "program", h.name, "pid", h.pid)
		}
	}
	if len(failed) == 0 {
		r.helpers = nil
	}
	return errors.Join(failed...)
}

const helperTimeout = 5 * time.Second

// end goes by a descriptor of the process, because its number may belong to another one by now.
func (h helper) end(namespace string) (ended bool, err error) {
	fd, err := unix.PidfdOpen(h.pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	proc := fmt.Sprintf("/proc/%d/", h.pid)
	name, err := os.ReadFile(proc + "comm")
	if err != nil || strings.TrimSpace(string(name)) != h.name || !sameFile(proc+"ns/net", "/run/netns/"+namespace) {
		return false, nil
	}
	if err := unix.PidfdSendSignal(fd, helperSignals[h.name], nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return false, err
	}
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(helperTimeout.Milliseconds()))
	if n == 0 && err == nil {
		err = errors.New("it does not end")
	}
	return n > 0, err
}

func sameFile(a, b string) bool {
	one, err1 := os.Stat(a)
	other, err2 := os.Stat(b)
	return err1 == nil && err2 == nil && os.SameFile(one, other)
}
