package veth

import (
	"fmt"
	"unsafe"

	"neutrino/internal/linux/netns"

	"golang.org/x/sys/unix"
)

// DisableChecksumOffload makes the kernel fill in the checksums of what the device sends. Without that a userspace
// datapath at the other end of the pair passes on packets that every receiver drops.
func DisableChecksumOffload(namespace, device string) error {
	if err := netns.Do(namespace, func() error { return FillChecksums(device) }); err != nil {
		return fmt.Errorf("checksum offload of %s in %s: %w", device, namespace, err)
	}
	return nil
}

// FillChecksums is DisableChecksumOffload for a device in the namespace of the calling thread.
func FillChecksums(device string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	value := struct{ cmd, data uint32 }{unix.ETHTOOL_STXCSUM, 0}
	request := struct { // struct ifreq of netdevice(7)
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}{data: unsafe.Pointer(&value)}
	copy(request.name[:unix.IFNAMSIZ-1], device)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	if errno != 0 {
		return errno
	}
	return nil
}
