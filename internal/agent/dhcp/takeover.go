package dhcp

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// What upstream's DHCP agent leaves on a host when it stops: a namespace for each network with a device tap… in it, and
// in the namespace a dnsmasq and perhaps a haproxy. They hold the ports that we serve at and the addresses that our
// device gets, so that they must go before. Clients notice nothing: dnsmasq says nothing when it ends, and to us a lease
// is whatever the server assigned.

// predecessors finds the processes of upstream's agent by the network that their arguments name. It reads all of /proc.
func predecessors() map[string][]int {
	out := map[string][]int{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return out
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if id := servedBy(pid); id != "" {
			out[id] = append(out[id], pid)
		}
	}
	return out
}

// servedBy is the network that a process serves for upstream's agent, else "". It is certain: the program is the right
// one, its files are those of the network, and it is in the network's namespace.
func servedBy(pid int) (networkID string) {
	dir := fmt.Sprintf("/proc/%d/", pid)
	program, err := os.ReadFile(dir + "comm")
	if err != nil {
		return ""
	}
	var id string
	switch name := strings.TrimSpace(string(program)); name {
	case "dnsmasq", "haproxy":
		line, err := os.ReadFile(dir + "cmdline")
		if err != nil {
			return ""
		}
		id = networkOf(name, strings.Split(string(line), "\x00"))
	}
	var mine, there unix.Stat_t
	if id == "" || unix.Stat(dir+"ns/net", &mine) != nil || unix.Stat("/run/netns/"+namespacePrefix+id, &there) != nil || mine.Ino != there.Ino {
		return ""
	}
	return id
}

// networkOf reads the network out of upstream's arguments: dnsmasq --pid-file=…/dhcp/ID/pid, haproxy -f
// …/ns-metadata-proxy/ID.conf.
func networkOf(program string, args []string) string {
	for i, arg := range args {
		path, pidFile := strings.CutPrefix(arg, "--pid-file=")
		switch {
		case program == "dnsmasq" && pidFile && filepath.Base(path) == "pid":
			return filepath.Base(filepath.Dir(path))
		case program == "haproxy" && i > 0 && args[i-1] == "-f" && filepath.Base(filepath.Dir(arg)) == "ns-metadata-proxy":
			return strings.TrimSuffix(filepath.Base(arg), ".conf")
		}
	}
	return ""
}

// end stops a process that still serves the network: politely, and after a while not.
func end(pid int, networkID string) error {
	fd, err := unix.PidfdOpen(pid, 0) // from here on the number means this process and no later one
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	if servedBy(pid) != networkID {
		return nil
	}
	const patience = 5 * time.Second // as upstream's
	for _, s := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		if err := unix.PidfdSendSignal(fd, s, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("end process %d: %w", pid, err)
		}
		gone := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
			if n, err := unix.Poll(gone, int(time.Until(deadline).Milliseconds())+1); n > 0 || err != nil && !errors.Is(err, unix.EINTR) {
				return err
			}
		}
	}
	return fmt.Errorf("process %d does not end", pid)
}

// endLeft ends what upstream's agent left running for the network.
func (a *Agent) endLeft(networkID string) error {
	a.mu.Lock()
	pids := a.left[networkID]
	delete(a.left, networkID)
	a.mu.Unlock()
	for _, pid := range pids {
		a.log.Info("taking over a network from another DHCP agent", "network", networkID, "process", pid)
		if err := end(pid, networkID); err != nil {
			return err
		}
		a.writes.Add(1)
	}
	return nil
}

// retireOthers clears the network's namespace of the devices, out of its links, that upstream's agent left.
func (d device) retireOthers(h *netlink.Handle, links []netlink.Link) (writes int, err error) {
	for _, l := range links {
		if name := l.Attrs().Name; name == d.inner || !strings.HasPrefix(name, "tap") || len(name) != 14 {
			continue
		}
		writes++
		if err := retire(h, l); err != nil {
			return writes, err
		}
	}
	return writes, nil
}

// retire removes a device. An internal port of Open vSwitch cannot be removed from here; it is left down and without
// addresses, and goes with its port.
func retire(h *netlink.Handle, l netlink.Link) error {
	if h.LinkDel(l) == nil {
		return nil
	}
	addrs, err := h.AddrList(l, netlink.FAMILY_ALL)
	for _, x := range addrs {
		err = errors.Join(err, h.AddrDel(l, &x))
	}
	if err = errors.Join(err, h.LinkSetDown(l)); err != nil {
		return fmt.Errorf("retire %s: %w", l.Attrs().Name, err)
	}
	return nil
}

// leftNetworks are the networks that processes of upstream's agent serve.
func (a *Agent) leftNetworks() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var ids []string
	for id := range a.left {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}
