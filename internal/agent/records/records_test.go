package records

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
)

func read(t *testing.T, d Dir, id string) (got []int) {
	t.Helper()
	if err := Read(d, id, func(v int) { got = append(got, v) }); err != nil {
		t.Fatal(err)
	}
	return got
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestRecords(t *testing.T) {
	d := Dir(filepath.Join(t.TempDir(), "made", "when needed"))
	if ids, err := d.IDs(); len(ids) > 0 || err != nil {
		t.Errorf("before anything was written: %v, %v", ids, err)
	}
	must(t, Write(d, "a", 1, 2))
	must(t, Write(d, "b", 7))
	must(t, Append(d, "a", 3))
	if got := read(t, d, "a"); !slices.Equal(got, []int{1, 2, 3}) {
		t.Errorf("a is %v", got)
	}
	if ids, err := d.IDs(); !slices.Equal(ids, []string{"a", "b"}) || err != nil {
		t.Errorf("records of %v, %v", ids, err)
	}
	must(t, Write(d, "a", 4))
	must(t, d.Remove("b"))
	must(t, d.Remove("b"))
	if got := read(t, d, "a"); !slices.Equal(got, []int{4}) {
		t.Errorf("a is %v", got)
	}
	must(t, d.Remove("a"))
	if _, err := os.Stat(string(d)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory of nothing: %v", err)
	}
	must(t, Write(d, "a", 4))
	if err := Append(d, "b", 8); err == nil {
		t.Error("values were added to none")
	}
	if ids, err := d.IDs(); !slices.Equal(ids, []string{"a"}) || err != nil {
		t.Errorf("records of %v, %v", ids, err)
	}
}

// Networks come while the last of the others goes.
func TestRecordsOfMany(t *testing.T) {
	d := Dir(filepath.Join(t.TempDir(), "dhcp"))
	var all sync.WaitGroup
	for _, id := range []string{"a", "b", "c"} {
		all.Go(func() {
			for range 300 {
				if err := errors.Join(Write(d, id, 1), Append(d, id, 2), d.Remove(id)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

// What was being written when the agent was killed does not hide what was written before.
func TestTornRecord(t *testing.T) {
	d := Dir(t.TempDir())
	must(t, Write(d, "a", "whole", "torn"))
	f, err := os.OpenFile(d.file("a"), os.O_RDWR, 0)
	must(t, err)
	must(t, f.Truncate(int64(len(`"whole"`+"\n"+`"to`))))
	must(t, f.Close())
	var got []string
	if err := Read(d, "a", func(v string) { got = append(got, v) }); err == nil {
		t.Error("nobody says that the end is missing")
	}
	if !slices.Equal(got, []string{"whole"}) {
		t.Errorf("read %q", got)
	}
}

func TestNothingIsKeptNowhere(t *testing.T) {
	t.Chdir(t.TempDir())
	d := Dir("")
	must(t, Write(d, "a", 1))
	must(t, Append(d, "a", 1))
	must(t, d.Remove("a"))
	if ids, err := d.IDs(); len(ids) > 0 || err != nil {
		t.Errorf("records of %v, %v", ids, err)
	}
	if left, err := os.ReadDir("."); len(left) > 0 || err != nil {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
