package memory

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// resident are the kB of the process' files that are in memory.
func resident(t *testing.T) int { t.Helper(); return status(t, "RssFile:") }

// anonymous are the kB of the rest of its memory.
func anonymous(t *testing.T) int { t.Helper(); return status(t, "RssAnon:") }

func status(t *testing.T, key string) (kB int) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), key)
	if _, err := fmt.Sscan(after, &kB); err != nil {
		t.Fatal(err)
	}
	return kB
}

func TestRelease(t *testing.T) {
	before := resident(t)
	for range 3 {
		if err := Release(); err != nil {
			t.Fatal(err)
		}
	}
	if after := resident(t); after >= before {
		t.Errorf("%d kB of files before, %d after", before, after)
	}
}

func TestUnwritten(t *testing.T) {
	const clean, written, swapped = "Anonymous: 0 kB\nSwap: 0 kB\n", "Anonymous: 8 kB\nSwap: 0 kB\n", "Anonymous: 0 kB\nSwap: 8 kB\n"
	for smaps, want := range map[string]bool{
		"00400000-01a2b000 r-xp 00000000 fe:00 123 /usr/bin/neutrino\n" + clean:           true,
		"01a2b000-02c00000 r--p 0162b000 fe:00 123 /usr/bin/neutrino\n" + clean:           true,
		"01a2b000-02c00000 r--p 0162b000 fe:00 123 /usr/bin/neutrino\n" + written:         false,
		"01a2b000-02c00000 r--p 0162b000 fe:00 123 /usr/bin/neutrino\n" + swapped:         false,
		"02c00000-02d00000 rw-p 02800000 fe:00 123 /usr/bin/neutrino\n" + clean:           false, // what is written is not in the file
		"02c00000-02d00000 r--s 02800000 fe:00 123 /usr/bin/neutrino\n" + clean:           false,
		"7f0000000000-7f0000001000 r-xp 00000000 fe:00 124 /usr/lib/other.so\n" + clean:   false,
		"7f0000000000-7f0000001000 rw-p 00000000 00:00 0\n" + clean:                       false,
		"00400000-01a2b000 r-xp 00000000 fe:00 123 /usr/bin/neutrino (deleted)\n" + clean: true,
	} {
		found := unwritten(strings.NewReader(smaps), "/usr/bin/neutrino")
		if want != (len(found) == 1) || want && (found[0].from == 0 || found[0].to <= found[0].from) {
			t.Errorf("%s: %x", smaps, found)
		}
	}
}
