package scenario

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"neutrino/test/lab"
)

// What operators run beside the daemons: nothing that is in use goes by the way, with force all goes, and the agents make
// it again.
func TestTools(t *testing.T) {
	c := allInOne(t)
	c.withRouter()
	host, daemon := c.Compute[0], c.Network.Daemons["all-in-one"]
	a := c.boot("a", host, c.tenant)
	if _, err := a.Reach(lab.InternetIP, patience); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(c.Dir, host.Name+"-all-in-one.conf")
	// tool runs a tool and checks that it succeeds, or not, and what it says.
	tool := func(works bool, says string, args ...string) {
		t.Helper()
		out, err := host.Exec(binary, append(args, "--config-file", file)...)
		if (err == nil) != works || !strings.Contains(out, says) {
			t.Errorf("neutrino %s: %v, without %q: %s", strings.Join(args, " "), err, says, out)
		}
	}
	devices := func(prefixes ...string) (found []string) {
		for _, line := range strings.Split(host.Run("ip -o link"), "\n") {
			for _, p := range prefixes {
				if words := strings.Fields(line); len(words) > 1 && strings.HasPrefix(words[1], p) {
					found = append(found, words[1])
				}
			}
		}
		return found
	}

	tool(true, "network namespaces", "sanity-check")
	tool(true, "L3 agent", "status")
	tool(true, "Database rows", "status", "upgrade", "check")
	stream, err := a.PingStream(lab.InternetIP, 10*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	tool(true, "0 namespaces removed", "netns-cleanup")
	tool(true, "0 bridges removed", "linuxbridge-cleanup")
	if pings := stream.Stop(); pings.Lost() > 0 {
		t.Errorf("cleaning up what is not used cost packets: %s", pings)
	}

	daemon.Kill()
	tool(false, "API", "status")
	tool(true, "2 namespaces removed", "netns-cleanup", "--force")
	tool(true, "1 bridges removed", "linuxbridge-cleanup") // the external network's; the instance's has a port
	host.Run("ip link delete tap" + a.Port.ID()[:11])
	tool(true, "1 bridges removed", "linuxbridge-cleanup")
	if left := devices("tap", "brq", "vxlan-"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if names := strings.TrimSpace(host.Run("ip netns list")); strings.Contains(names, "qrouter-") || strings.Contains(names, "qdhcp-") {
		t.Errorf("left: %s", names)
	}
	daemon.Restart()
	if err := host.WaitHealthy("all-in-one", patience); err != nil {
		t.Fatal(err)
	}
	b := c.boot("b", host, c.tenant)
	if _, err := b.Reach(lab.InternetIP, patience); err != nil {
		t.Errorf("after the cleanup: %v", err)
	}
}
