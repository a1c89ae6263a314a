// Package cleanup removes what agents left behind that ended by force, as upstream's neutron-netns-cleanup,
// neutron-ovs-cleanup and neutron-linuxbridge-cleanup do.
package cleanup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"neutrino/internal/linux/netns"

	"github.com/vishvananda/netlink"
)

// prefixes of the agents' namespaces (upstream cmd/netns_cleanup.py, NS_PREFIXES).
var prefixes = map[string][]string{"dhcp": {"qdhcp-"}, "l3": {"qrouter-", "snat-", "fip-"}}

// uuids follow the prefix; what people made by hand has other names.
var uuids = regexp.MustCompile(`^[a-fA-F0-9]{8}-[a-fA-F0-9]{4}-[a-fA-F0-9]{4}-[a-fA-F0-9]{4}-[a-fA-F0-9]{12}`)

// fallback are devices that the kernel puts into every namespace (upstream ip_lib.py, FB_TUNNEL_DEVICE_NAMES).
var fallback = []string{"lo", "gre0", "gretap0", "tunl0", "erspan0", "sit0", "ip6tnl0", "ip6gre0", "ip6_vti0", "ip_vti0"}

// Namespaces says which namespaces to remove.
type Namespaces struct {
	AgentType string // "dhcp" or "l3"; "" = both
	Force     bool   // also those with devices; processes inside are ended
	// Settle is the time after which an empty namespace must still be empty: agents make namespaces before devices.
	Settle time.Duration
	Grace  time.Duration // between SIGTERM and SIGKILL
	// RemovePort removes a port of Open vSwitch that is a device in a namespace; nil: there is no Open vSwitch.
	RemovePort func(ctx context.Context, device string) error
	Log        *slog.Logger
}

// Run removes namespaces and returns their names. One that fails does not stop the others.
func (n Namespaces) Run(ctx context.Context) (removed []string, err error) {
	candidates, err := n.candidates()
	if err != nil || len(candidates) == 0 {
		return nil, err
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(n.Settle):
	}
	var failed []error
	for _, name := range candidates {
		gone, err := n.remove(ctx, name)
		if err != nil {
			failed = append(failed, fmt.Errorf("namespace %s: %w", name, err))
		}
		if gone {
			n.Log.Info("namespace removed", "namespace", name)
			removed = append(removed, name)
		}
	}
	return removed, errors.Join(failed...)
}

func (n Namespaces) candidates() ([]string, error) {
	all, err := netns.Names("")
	if err != nil {
		return nil, fmt.Errorf("list namespaces: %w", err)
	}
	var out []string
	for _, name := range all {
		if !n.agents(name) {
			continue
		}
		devices, err := devicesIn(name)
		if err != nil {
			n.Log.Warn("cannot look into a namespace", "namespace", name, "error", err)
			continue
		}
		if n.Force || len(devices) == 0 {
			out = append(out, name)
		}
	}
	return out, nil
}

// agents tells whether the name is one that the agents give.
func (n Namespaces) agents(name string) bool {
	for kind, list := range prefixes {
		for _, p := range list {
			if id, ok := strings.CutPrefix(name, p); ok && uuids.MatchString(id) && (n.AgentType == "" || n.AgentType == kind) {
				return true
			}
		}
	}
	return false
}

// devicesIn lists the devices of a namespace that somebody made. A name without a namespace, left by an interrupted
// deletion, has none.
func devicesIn(name string) ([]netlink.Link, error) {
	if _, ok := netns.ID(name); !ok {
		return nil, nil
	}
	h, err := netns.Handle(name)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	links, err := h.LinkList()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(links, func(l netlink.Link) bool { return slices.Contains(fallback, l.Attrs().Name) }), nil
}

// remove looks again and removes the namespace.
func (n Namespaces) remove(ctx context.Context, name string) (gone bool, err error) {
	if n.Force {
		if err := n.endProcesses(ctx, name); err != nil {
			n.Log.Error("not all processes have ended", "namespace", name, "error", err)
		}
		if err := n.unplug(ctx, name); err != nil {
			return false, err
		}
	}
	devices, err := devicesIn(name)
	if err != nil || len(devices) > 0 {
		return false, err
	}
	return true, netns.Delete(name)
}

// unplug deletes all devices.
func (n Namespaces) unplug(ctx context.Context, name string) error {
	devices, err := devicesIn(name)
	if err != nil || len(devices) == 0 {
		return err
	}
	h, err := netns.Handle(name)
	if err != nil {
		return err
	}
	defer h.Close()
	var failed []error
	for _, l := range devices {
		err := h.LinkDel(l)
		if err != nil && n.RemovePort != nil { // internal ports of Open vSwitch are deleted there
			err = n.RemovePort(ctx, l.Attrs().Name)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("delete %s: %w", l.Attrs().Name, err))
		}
	}
	return errors.Join(failed...)
}

// endProcesses ends the processes inside the namespace: dnsmasq, haproxy, radvd and keepalived of upstream's agents. Those
// that only have sockets there, like our agents, are not inside.
func (n Namespaces) endProcesses(ctx context.Context, name string) error {
	id, ok := netns.ID(name)
	if !ok {
		return nil
	}
	for _, step := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{syscall.SIGTERM, n.Grace}, {syscall.SIGKILL, time.Second}} {
		pids := inside(id)
		for _, pid := range pids {
			n.Log.Warn("ending a process", "namespace", name, "pid", pid, "signal", step.signal.String(), "command", commandLine(pid))
			if err := syscall.Kill(pid, step.signal); err != nil && !errors.Is(err, syscall.ESRCH) {
				n.Log.Error("cannot end a process", "pid", pid, "error", err)
			}
		}
		for deadline := time.Now().Add(step.wait); len(inside(id)) > 0 && time.Now().Before(deadline) && ctx.Err() == nil; {
			time.Sleep(50 * time.Millisecond)
		}
	}
	if pids := inside(id); len(pids) > 0 {
		return fmt.Errorf("processes %v are still there", pids)
	}
	return nil
}

// inside lists the processes whose network namespace has this identity; never this one, and nothing if it is our own.
func inside(id uint64) []int {
	own, ok := namespaceOf("self")
	if !ok || own == id {
		return nil
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid <= 1 || pid == os.Getpid() {
			continue
		}
		if theirs, ok := namespaceOf(e.Name()); ok && theirs == id {
			pids = append(pids, pid)
		}
	}
	return pids
}

func namespaceOf(pid string) (id uint64, ok bool) {
	var st syscall.Stat_t
	if syscall.Stat(filepath.Join("/proc", pid, "ns/net"), &st) != nil {
		return 0, false
	}
	return st.Ino, true
}

func commandLine(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	line := strings.ReplaceAll(strings.Trim(string(text), "\x00"), "\x00", " ")
	return line[:min(len(line), 80)]
}
