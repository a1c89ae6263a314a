package memory

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// resident are the kB of the process' files that are in memory.
func resident(t *testing.T) (kB int) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "RssFile:")
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

func TestReadOnly(t *testing.T) {
	for line, want := range map[string]bool{
		"00400000-01a2b000 r-xp 00000000 fe:00 123 /usr/bin/neutrino":           true,
		"01a2b000-02c00000 r--p 0162b000 fe:00 123 /usr/bin/neutrino":           true,
		"02c00000-02d00000 rw-p 02800000 fe:00 123 /usr/bin/neutrino":           false, // what is written is not in the file
		"02c00000-02d00000 r--s 02800000 fe:00 123 /usr/bin/neutrino":           false,
		"7f0000000000-7f0000001000 r-xp 00000000 fe:00 124 /usr/lib/other.so":   false,
		"7f0000000000-7f0000001000 rw-p 00000000 00:00 0":                       false,
		"00400000-01a2b000 r-xp 00000000 fe:00 123 /usr/bin/neutrino (deleted)": true,
	} {
		if from, to, ok := readOnly(line, "/usr/bin/neutrino"); ok != want || ok && (from == 0 || to <= from) {
			t.Errorf("%s: %x-%x %v", line, from, to, ok)
		}
	}
}
