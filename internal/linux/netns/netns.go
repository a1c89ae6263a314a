// Package netns makes, finds and enters named network namespaces, as `ip netns` shows them.
package netns

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vishvananda/netlink"
	vns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// dir is where iproute2 keeps names. A process with a mount namespace of its own may have a private one there.
const dir = "/run/netns"

// Names lists the namespaces whose name starts with prefix.
func Names(prefix string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Exists tells whether the namespace is there and usable.
func Exists(name string) bool {
	h, err := vns.GetFromName(name)
	if err != nil {
		return false
	}
	h.Close()
	return true
}

// Ensure makes the namespace if it is not there, with its loopback up. A name that is left over from a crash between
// making the file and mounting the namespace is replaced.
func Ensure(name string) (created bool, err error) {
	if Exists(name) && isMount(name) {
		return false, nil
	}
	_ = os.Remove(filepath.Join(dir, name))
	if err := away(func() error { return create(name) }); err != nil {
		return false, fmt.Errorf("make namespace %s: %w", name, err)
	}
	return true, Do(name, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(lo)
	})
}

// Loopback switches the loopback device on, one of the namespace's links, if it is off.
func Loopback(h *netlink.Handle, links []netlink.Link) (changed bool, err error) {
	for _, l := range links {
		if a := l.Attrs(); a.Flags&net.FlagLoopback != 0 && a.Flags&net.FlagUp == 0 {
			changed = true
			if err := h.LinkSetUp(l); err != nil {
				return changed, fmt.Errorf("switch %s on: %w", a.Name, err)
			}
		}
	}
	return changed, nil
}

func isMount(name string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(filepath.Join(dir, name), &fs) == nil && fs.Type == unix.NSFS_MAGIC
}

func create(name string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	// iproute2 shares the directory between mount namespaces so that a deletion is seen everywhere.
	if err := unix.Mount("", dir, "none", unix.MS_SHARED|unix.MS_REC, ""); err == unix.EINVAL {
		if err := unix.Mount(dir, dir, "none", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return err
		}
		if err := unix.Mount("", dir, "none", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return err
	}
	path := filepath.Join(dir, name)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return err
	}
	f.Close()
	return unix.Mount("/proc/thread-self/ns/net", path, "none", unix.MS_BIND, "")
}

// Delete removes the namespace; what is in it goes too, unless a process is still inside. A missing one is no error.
func Delete(name string) error {
	path := filepath.Join(dir, name)
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && err != unix.EINVAL && err != unix.ENOENT {
		return fmt.Errorf("delete namespace %s: %w", name, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("delete namespace %s: %w", name, err)
	}
	return nil
}

// Do runs f on a thread inside the namespace. Sockets and files that f opens stay in it; goroutines and threads that
// f starts do not.
func Do(name string, f func() error) error {
	return away(func() error {
		there, err := vns.GetFromName(name)
		if err != nil {
			return fmt.Errorf("namespace %s: %w", name, err)
		}
		defer there.Close()
		if err := vns.Set(there); err != nil {
			return fmt.Errorf("enter namespace %s: %w", name, err)
		}
		return f()
	})
}

// away runs f, which may go to another namespace, on a thread of its own, and brings the thread back. If that cannot be the thread is
// given up: it ends with its goroutine, unless it is the process' first one. That would stay where it is for good, and keep the namespace.
func away(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := vns.Get()
		if err != nil {
			runtime.UnlockOSThread()
			done <- err
			return
		}
		defer home.Close()
		err = f()
		if vns.Set(home) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// Handle returns a netlink handle that works inside the namespace from any thread. Close it. It is for devices, addresses,
// routes and neighbours; the handle's other methods would work in the thread's own namespace.
func Handle(name string) (*netlink.Handle, error) { return handle(name, unix.NETLINK_ROUTE) }

// Conntrack returns a handle for the namespace's connections, and for nothing else.
func Conntrack(name string) (*netlink.Handle, error) { return handle(name, unix.NETLINK_NETFILTER) }

// handle opens a socket for one family: each takes two visits to the namespace, and all of them are three.
func handle(name string, family int) (*netlink.Handle, error) {
	there, err := vns.GetFromName(name)
	if err != nil {
		return nil, fmt.Errorf("namespace %s: %w", name, err)
	}
	defer there.Close()
	return netlink.NewHandleAt(there, family)
}

// Sysctl writes a value under /proc/sys inside the namespace; key has slashes ("net/ipv4/ip_forward").
func Sysctl(name, key, value string) error {
	return Do(name, func() error { return os.WriteFile("/proc/sys/"+key, []byte(value), 0) })
}
