// Package nswatch tells in which network namespaces something was changed: links, addresses, routes or nft rules.
//
// Two sockets are enough for all namespaces: the kernel hands a socket with NETLINK_LISTEN_ALL_NSID the notifications of
// every namespace that has an id in the socket's own (netlink(7)).
package nswatch

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	vns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// groups are what is listened to, as bits of sockaddr_nl.
var groups = map[int]uint32{
	unix.NETLINK_ROUTE: unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_IFADDR |
		unix.RTMGRP_IPV6_ROUTE,
	unix.NETLINK_NETFILTER: 1 << (unix.NFNLGRP_NFTABLES - 1),
}

// receiveBuffer holds some thousand notifications.
const receiveBuffer = 4 << 20

// ID returns the id that a named namespace has in the process's namespace; it gets one if it has none.
func ID(namespace string) (int, error) {
	there, err := vns.GetFromName(namespace)
	if err != nil {
		return 0, fmt.Errorf("namespace %s: %w", namespace, err)
	}
	defer there.Close()
	id, err := netlink.GetNetNsIdByFd(int(there))
	if err == nil && id >= 0 {
		return id, nil
	}
	const next = -1 // the kernel picks one
	if err := netlink.SetNetNsIdByFd(int(there), next); err != nil && !errors.Is(err, unix.EEXIST) {
		return 0, fmt.Errorf("give namespace %s an id: %w", namespace, err)
	}
	return netlink.GetNetNsIdByFd(int(there))
}

// Watcher receives notifications.
type Watcher struct{ sockets []*os.File }

// New listens from now on.
func New() (*Watcher, error) {
	w := &Watcher{}
	for protocol, mask := range groups {
		s, err := open(protocol, mask)
		if err != nil {
			w.close()
			return nil, fmt.Errorf("listen to changes in namespaces: %w", err)
		}
		w.sockets = append(w.sockets, s)
	}
	return w, nil
}

func open(protocol int, mask uint32) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return nil, err
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) // a smaller one only loses more
	err = errors.Join(unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_LISTEN_ALL_NSID, 1),
		unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: mask}))
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "netlink"), nil
}

func (w *Watcher) close() {
	for _, s := range w.sockets {
		s.Close()
	}
}

// Run calls changed for each notification with the id of the namespace that it comes from, from several goroutines, until
// ctx ends. Notifications may be lost when there are very many.
func (w *Watcher) Run(ctx context.Context, changed func(id int)) error {
	failed := make(chan error)
	for _, s := range w.sockets {
		go func() { failed <- receive(s, changed) }()
	}
	stop := context.AfterFunc(ctx, w.close)
	var errs []error
	for range w.sockets {
		errs = append(errs, <-failed)
		w.close() // one is of no use without the other
	}
	stop()
	if ctx.Err() != nil {
		return nil
	}
	return errors.Join(errs...)
}

func receive(s *os.File, changed func(id int)) error {
	raw, err := s.SyscallConn()
	if err != nil {
		return err
	}
	data, oob := make([]byte, 1), make([]byte, 64) // what has changed is not of interest
	for {
		var n int
		var got error
		if err := raw.Read(func(fd uintptr) bool {
			_, n, _, _, got = unix.Recvmsg(int(fd), data, oob, 0)
			return got != unix.EAGAIN
		}); err != nil {
			return err
		}
		if got == unix.ENOBUFS || got == unix.EINTR {
			continue
		}
		if got != nil {
			return got
		}
		if id, ok := namespaceID(oob[:n]); ok {
			changed(id)
		}
	}
}

// namespaceID finds the namespace that a notification comes from; there is none if it is the socket's own.
func namespaceID(oob []byte) (id int, ok bool) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return 0, false
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_NETLINK && m.Header.Type == unix.NETLINK_LISTEN_ALL_NSID && len(m.Data) >= 4 {
			return int(int32(binary.NativeEndian.Uint32(m.Data))), true
		}
	}
	return 0, false
}
