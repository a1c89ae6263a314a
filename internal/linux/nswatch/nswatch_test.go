package nswatch

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"neutrino/internal/linux/netns"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestChangesAreSeen(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
	name := fmt.Sprintf("nu-watch-%d", os.Getpid())
	if _, err := netns.Ensure(name); err != nil {
		t.Fatal(err)
	}
	defer netns.Delete(name)
	id, err := ID(name)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := ID(name); err != nil || again != id {
		t.Errorf("id %d, then %d, %v", id, again, err)
	}
	w, err := New()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	seen, done := make(chan struct{}, 1000), make(chan error)
	go func() {
		done <- w.Run(ctx, func(n int) {
			if n == id {
				seen <- struct{}{}
			}
		})
	}()
	for _, command := range []string{
		"ip link add va type veth peer name vb", "ip link set va up", "ip addr add 10.0.0.1/24 dev va", "ip link set vb up",
		"ip route add 10.1.0.0/24 via 10.0.0.2", "ip -6 route add unreachable fd00::/64", "ip addr del 10.0.0.1/24 dev va",
		"nft add table ip x", "nft add set ip x s { type ipv4_addr ; }", "nft add element ip x s { 10.0.0.1 }",
		"nft delete element ip x s { 10.0.0.1 }", "nft flush ruleset",
	} {
		time.Sleep(50 * time.Millisecond) // what the last one caused has come
		for len(seen) > 0 {
			<-seen
		}
		if out, err := exec.Command("ip", append([]string{"netns", "exec", name}, strings.Fields(command)...)...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v %s", command, err, out)
		}
		select {
		case <-seen:
		case <-time.After(time.Minute):
			t.Errorf("not seen: %s", command)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
