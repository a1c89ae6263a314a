// Package memory gives memory of this process back to the kernel.
package memory

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"
)

// Release gives back what the process does not use: the heap's free pages, and the pages of the program's file, of which most
// were needed only to start. Those that are needed again come from the page cache. It takes some milliseconds.
func Release() error {
	debug.FreeOSMemory()
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	program = strings.TrimSuffix(program, " (deleted)") // by an upgrade
	smaps, err := os.Open("/proc/self/smaps")
	if err != nil {
		return err
	}
	defer smaps.Close()
	for _, m := range unwritten(smaps, program) {
		// madvise(2): a page of a file that is not written to is read from it again when it is next used.
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, m.from, m.to-m.from, unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("madvise: %w", errno)
		}
	}
	return nil
}

// mapping is a part of the address space.
type mapping struct{ from, to uintptr }

// unwritten finds the mappings of the file that cannot be written to and never were: of a position-independent executable, the
// loader has written to some before it closed them.
func unwritten(smaps io.Reader, file string) (found []mapping) {
	candidate := false
	var m mapping
	for lines := bufio.NewScanner(smaps); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) >= 5 && !strings.HasSuffix(fields[0], ":"): // 00400000-01a2b000 r-xp 00000000 fe:00 123 /usr/bin/neutrino
			n, _ := fmt.Sscanf(fields[0], "%x-%x", &m.from, &m.to)
			candidate = n == 2 && len(fields) >= 6 && fields[5] == file && !strings.Contains(fields[1], "w") && strings.HasSuffix(fields[1], "p")
		case fields[0] == "Anonymous:":
			candidate = candidate && fields[1] == "0"
		case fields[0] == "Swap:":
			if candidate && fields[1] == "0" {
				found = append(found, m)
			}
		}
	}
	return found
}
