package sandbox

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"neutrino/internal/linux/netns"
)

// answered is how ping(8) tells of an answer.
var answered = regexp.MustCompile(` bytes from \S+ icmp_seq=(\d+)`)

// onTheWay is how many answers may still come when ping ends.
const onTheWay = 20

// Lossless pings from a namespace, once each 10 ms, until end is called, which fails the test if an answer is missing. Both take the
// time that some dozens of pings take.
func Lossless(t testing.TB, namespace, to string) (end func()) {
	t.Helper()
	said := &output{}
	ping := exec.Command("ping", "-n", "-i", "0.01", to)
	ping.Stdout, ping.Stderr = said, said
	if err := netns.Do(namespace, ping.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ping.Process.Kill() })
	more := func() {
		t.Helper()
		enough := len(said.answers()) + 2*onTheWay
		for deadline := time.Now().Add(time.Minute); len(said.answers()) < enough; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s pings %s: no more answers than %d", namespace, to, len(said.answers()))
			}
		}
	}
	more()
	return func() {
		t.Helper()
		more()
		if err := errors.Join(ping.Process.Signal(os.Interrupt), ping.Wait()); err != nil {
			t.Errorf("ping: %v", err)
		}
		got, last := map[int]int{}, 0
		for _, n := range said.answers() {
			got[n]++
			last = max(last, n)
		}
		for n := 1; n <= last-onTheWay; n++ {
			if got[n] != 1 {
				t.Errorf("%s pings %s: %d answers to ping %d of %d", namespace, to, got[n], n, last)
			}
		}
	}
}

// output is read while it is written.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

// answers are the numbers of the pings that were answered.
func (o *output) answers() (all []int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, m := range answered.FindAllSubmatch(o.text.Bytes(), -1) {
		n, _ := strconv.Atoi(string(m[1]))
		all = append(all, n)
	}
	return all
}
