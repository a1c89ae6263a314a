package netns

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Watch calls changed when names come or go, until ctx ends. Several changes may be one call. A name that comes is there
// a moment before its namespace.
func Watch(ctx context.Context, changed func()) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return fmt.Errorf("watch %s: %w", dir, err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	defer f.Close()
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_CREATE|unix.IN_DELETE|unix.IN_MOVED_TO|unix.IN_MOVED_FROM); err != nil {
		return fmt.Errorf("watch %s: %w", dir, err)
	}
	defer context.AfterFunc(ctx, func() { f.Close() })()
	events := make([]byte, 4096)
	for {
		if _, err := f.Read(events); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("watch %s: %w", dir, err)
		}
		changed()
	}
}

// ID tells namespaces apart that had the same name at different times. ok is false if there is none of this name.
func ID(name string) (id uint64, ok bool) {
	var st unix.Stat_t
	if !isMount(name) || unix.Stat(dir+"/"+name, &st) != nil {
		return 0, false
	}
	return st.Ino, true
}
