package netns_test

import (
	"fmt"
	"os"
	"runtime"
	"testing"

	"neutrino/internal/linux/netns"
	"neutrino/internal/linux/sandbox"
)

func TestMain(m *testing.M) { sandbox.Main(m) }

// No thread stays in a namespace that was made or visited, above all not the first one, which cannot end before the process: it would
// keep the namespace when that is deleted, and the process would count as one of those inside.
func TestThreadsComeHome(t *testing.T) {
	sandbox.Need(t)
	home, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		name := fmt.Sprintf("made%d", i)
		if created, err := netns.Ensure(name); !created || err != nil {
			t.Fatal(created, err)
		}
		if err := netns.Do(name, func() error { return nil }); err != nil {
			t.Error(err)
		}
		if err := netns.Delete(name); err != nil {
			t.Error(err)
		}
		runtime.Gosched()
	}
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		where, err := os.Readlink("/proc/self/task/" + thread.Name() + "/ns/net")
		if err == nil && where != home {
			t.Errorf("thread %s of process %d is in %s, not in %s", thread.Name(), os.Getpid(), where, home)
		}
	}
}
