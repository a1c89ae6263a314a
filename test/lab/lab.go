// Package lab builds small data centres out of Linux namespaces: hypervisors with real agents, instances plugged the
// way Nova plugs them, an outside network. The demo and the scenario tests are written with it.
//
// Everything hangs on processes of the lab's own: a machine is a holder process with namespaces of its own, and
// the holder ends when its standard input closes. So whatever ends the program that made the lab, kill -9 included,
// the kernel takes the machines, their links, bridges, tables and processes away. Nothing is named or made in the
// namespaces of the real machine; only a directory with logs and databases can be left over, see Sweep.
//
// Functions that can only fail because the lab is broken end the test through T.Fatalf; functions whose outcome is
// what a test is about return it.
package lab

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// T is what the lab needs of a testing.TB.
type T interface {
	Helper()
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(func())
	Failed() bool
}

// Lab owns machines, processes and a directory, and removes them all when the test ends.
type Lab struct {
	T   T
	Dir string // for logs, state and configuration; its name starts with dirPrefix

	// OpenVSwitch has hosts wire by Open vSwitch instead of Linux bridges, with the userspace datapath unless
	// KernelDatapath is set too. Both are to be set before the cloud starts.
	OpenVSwitch, KernelDatapath bool

	// ProviderEverywhere connects hypervisors to the outside too, as VLAN networks need it. To be set before the cloud starts.
	ProviderEverywhere bool

	// Database is the URL of a PostgreSQL or MySQL database, which two servers of a cloud of many hosts share. Without it there is one
	// server with a file. To be set before the cloud starts.
	Database string

	inUse *os.File     // the directory, locked
	tools atomic.Int32 // how many were started
	sw    *Node        // the switch all segments are bridges of; made with the first segment

	mu        sync.Mutex
	nodes     []*Node
	processes []*Process
	closed    bool
}

const dirPrefix = "neutrino-lab."

// New makes an empty lab that is closed when the test ends.
func New(t T) *Lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatalf("the lab makes namespaces and needs root")
	}
	Sweep()
	dir, err := os.MkdirTemp("", dirPrefix)
	if err != nil {
		t.Fatalf("lab directory: %v", err)
	}
	inUse, err := lock(dir)
	if err != nil {
		t.Fatalf("lab directory: %v", err)
	}
	l := &Lab{T: t, Dir: dir, inUse: inUse}
	t.Cleanup(l.Close)
	return l
}

// Close stops every process, removes every machine and deletes the directory. After a failure it first puts the end of
// each log into the test's output; logs, databases and what the kernels hold are copied to the directory that
// NEUTRINO_LAB_LOGS names, if it is set.
func (l *Lab) Close() {
	l.mu.Lock()
	closed := l.closed
	l.closed = true
	nodes, processes := l.nodes, l.processes
	l.mu.Unlock()
	if closed {
		return
	}
	if l.T.Failed() {
		l.logTails(processes)
		if to := os.Getenv("NEUTRINO_LAB_LOGS"); to != "" {
			l.keepEvidence(slices.DeleteFunc(slices.Clone(nodes), (*Node).removed), to)
		}
	}
	for _, n := range nodes {
		n.end()
	}
	for _, n := range nodes {
		n.ended()
	}
	for _, p := range processes {
		p.wait(10 * time.Second)
	}
	if err := os.RemoveAll(l.Dir); err != nil {
		l.T.Logf("remove lab directory: %v", err)
	}
	_ = l.inUse.Close()
}

func (l *Lab) logTails(processes []*Process) {
	const lines = 25
	for _, p := range processes {
		text, err := os.ReadFile(p.LogFile)
		if err != nil || len(text) == 0 || p.tool {
			continue
		}
		all := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
		tail := all[max(0, len(all)-lines):]
		l.T.Logf("--- end of the log of %s (%s)\n%s", p.Name, p.node.Name, strings.Join(tail, "\n"))
	}
}

// keepEvidence copies the lab's directory, and writes the kernel state of its machines beside.
func (l *Lab) keepEvidence(nodes []*Node, to string) {
	to = filepath.Join(to, filepath.Base(l.Dir))
	if err := os.CopyFS(to, os.DirFS(l.Dir)); err != nil {
		l.T.Logf("copy logs: %v", err)
	}
	l.saveStates(nodes, to)
	l.T.Logf("logs and states are in %s", to)
}

// SaveStates writes what the machines' kernels have now into a directory, a file for each machine.
func (l *Lab) SaveStates(dir string) {
	l.mu.Lock()
	nodes := slices.DeleteFunc(slices.Clone(l.nodes), (*Node).removed)
	l.mu.Unlock()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		l.T.Logf("%v", err)
	}
	l.saveStates(nodes, dir)
}

// seen are commands for what was learned and counted: no state, but it tells where packets went.
var seen = [][]string{{"ip", "neigh", "show"},
	{"ovs-appctl", "-t", switchDir + "/vswitchd.ctl", "dpctl/dump-flows", "-m"},
	{"ovs-appctl", "-t", switchDir + "/vswitchd.ctl", "dpctl/dump-conntrack"},
	{"ovs-appctl", "-t", switchDir + "/vswitchd.ctl", "fdb/show", "br-int"},
	{"ovs-appctl", "-t", switchDir + "/vswitchd.ctl", "coverage/show"}}

func (l *Lab) saveStates(nodes []*Node, dir string) {
	for _, n := range nodes {
		facts, err := n.kernelState()
		if err != nil {
			l.T.Logf("state of %s: %v", n.Name, err)
		}
		for _, command := range seen {
			out, err := n.Exec(command[0], command[1:]...)
			if err == nil {
				facts = append(facts, out)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, n.Name+".state"), []byte(strings.Join(facts, "\n")), 0o644); err != nil {
			l.T.Logf("state of %s: %v", n.Name, err)
		}
	}
}

// lock marks the directory as in use, for as long as this process lives and the file is open.
func lock(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// Sweep deletes directories of labs whose process is gone. The kernel has already removed the rest of them.
func Sweep() {
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), dirPrefix+"*"))
	if err != nil {
		return
	}
	for _, dir := range dirs {
		if info, err := os.Stat(dir); err != nil || time.Since(info.ModTime()) < time.Minute {
			continue // perhaps made a moment ago and not yet locked
		}
		if f, err := lock(dir); err == nil {
			_ = os.RemoveAll(dir)
			_ = f.Close()
		}
	}
}

// errGone says that what is waited for will not come.
var errGone = errors.New("gone")

// patience bounds the wait for what takes a second on a machine that has nothing else to do.
const patience = time.Minute

// patient lengthens a time to wait by the factor NEUTRINO_LAB_PATIENCE, for machines that are slower than real ones.
func patient(d time.Duration) time.Duration {
	if factor, err := strconv.Atoi(os.Getenv("NEUTRINO_LAB_PATIENCE")); err == nil && factor > 1 {
		return d * time.Duration(factor)
	}
	return d
}

// Eventually asks again and again, at most until the time is over, and returns the last error. It asks at least once,
// and no longer once a daemon has ended.
func Eventually(within time.Duration, ask func() error) error {
	deadline := time.Now().Add(patient(within))
	for pause := 2 * time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		err := ask()
		if err == nil || errors.Is(err, errGone) || time.Now().After(deadline) {
			return err
		}
		time.Sleep(pause)
	}
}
