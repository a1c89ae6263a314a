package openvswitch

import (
	"flag"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"neutrino/internal/agent/l2/firewall"
	"neutrino/internal/linux/bridge"
	"neutrino/internal/ovs"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the expected flows anew")

// golden compares flows with a file, and has ovs-ofctl read them if it is there.
func golden(t *testing.T, name string, flows []ovs.Flow) {
	t.Helper()
	var text string
	for _, f := range flows {
		text += f.String() + "\n"
	}
	lines := strings.SplitAfter(text, "\n")
	slices.Sort(lines)
	text = strings.Join(lines, "")
	file := filepath.Join("testdata", name+".flows")
	if *update {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), text); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
	if _, err := exec.LookPath("ovs-ofctl"); err != nil {
		return
	}
	if out, err := exec.Command("ovs-ofctl", "-O", "OpenFlow14", "parse-flows", file).CombinedOutput(); err != nil {
		t.Errorf("%s: %v: %s", name, err, out)
	}
}

func TestFlows(t *testing.T) {
	peer := netip.MustParseAddr("192.168.50.2")
	entries := map[bridge.Entry]string{
		{Kind: bridge.Flood, VNI: 7, IP: peer}: "", {Kind: bridge.Flood, VNI: 7, IP: netip.MustParseAddr("192.168.50.9")}: "", // no tunnel yet
		{Kind: bridge.Remote, VNI: 7, MAC: "fa:16:3e:00:00:09"}: peer.String(), {Kind: bridge.Static, VNI: 7, MAC: "fa:16:3e:00:00:09"}: "",
		{Kind: bridge.Neighbour, VNI: 7, IP: netip.MustParseAddr("10.0.0.9")}: "fa:16:3e:00:00:09",
		{Kind: bridge.Neighbour, VNI: 7, IP: netip.MustParseAddr("fd00::9")}:  "fa:16:3e:00:00:09",
	}
	at := place{number: 5, vlan: 7}
	port := firewall.Port{Mode: firewall.Filtered, MAC: "fa:16:3e:00:00:01", Groups: []string{"g", "h"}, Pairs: []firewall.Pair{
		{MAC: "fa:16:3e:00:00:01", Prefix: netip.MustParsePrefix("10.0.0.1/32")}, {MAC: "fa:16:3e:00:00:01", Prefix: netip.MustParsePrefix("fd00::1/128")},
		{MAC: "fa:16:3e:00:00:aa", Prefix: netip.MustParsePrefix("10.9.0.0/24")}}}
	stateless := port
	stateless.Stateless = true
	groups := map[string][]firewall.Rule{
		"g": {
			{Protocol: -1, Min: -1, Max: -1}, {Protocol: -1, Min: -1, Max: -1, V6: true},
			{Ingress: true, Protocol: 6, Min: 80, Max: 90, Prefix: netip.MustParsePrefix("192.0.2.0/24")},
			{Ingress: true, Protocol: 1, Min: 8, Max: 0}, {Ingress: true, V6: true, Protocol: 58, Min: -1, Max: -1},
			{Ingress: true, Protocol: 17, Min: 0, Max: 65535}, {Ingress: true, Protocol: 47, Min: -1, Max: -1},
		},
		"h": {
			{Ingress: true, Protocol: 6, Min: 22, Max: 22, Remote: "r"}, {Ingress: true, Protocol: 6, Min: 22, Max: 22, Remote: "s"},
			{V6: true, Protocol: -1, Min: -1, Max: -1, Remote: "r"},
		},
	}
	used := map[conjunctionKey]uint32{}
	id := func(k conjunctionKey) uint32 {
		if used[k] == 0 {
			used[k] = uint32(len(used)*8 + 8)
		}
		return used[k]
	}
	rules := groupFlows(at, port, groups, id)
	members := memberFlows(used, func(group string, v6 bool) []netip.Prefix {
		if v6 {
			return []netip.Prefix{netip.MustParsePrefix("fd00::2/128")}
		}
		return []netip.Prefix{netip.MustParsePrefix("10.0.0.2/32"), netip.MustParsePrefix("10.8.0.0/16")}
	})
	for name, flows := range map[string][]ovs.Flow{
		"integration":     integrationFlows(2),
		"tunnels":         slices.Concat(tunnelFlows(1, true), tunnelPortFlows("vxlan", 4), tunnelNetworkFlows("vxlan", 100, 7), tunnelNetworkFlows("geneve", 100, 8)),
		"forwarding":      forwardFlows(7, 100, entries, map[netip.Addr]int{peer: 4}, responder{arp: true, nd: true}),
		"physical":        slices.Concat(physicalFlows(3), physicalOutFlows(3, 7, 150), physicalOutFlows(3, 8, 0)),
		"physical-in":     slices.Concat(physicalInFlows(3, 7, 150), physicalInFlows(3, 8, 0)),
		"open":            openFlows(at),
		"filtered":        append(filteredFlows(at, port), pairFlows(at, port)...),
		"stateless":       append(filteredFlows(at, stateless), pairFlows(at, stateless)...),
		"rules":           rules,
		"members":         members,
		"stateless-rules": groupFlows(at, stateless, groups, id),
	} {
		golden(t, name, flows)
	}
}

// What is in the bridge is read back as what it was made of.
func TestReadEntries(t *testing.T) {
	peer := netip.MustParseAddr("192.168.50.2")
	want := map[bridge.Entry]string{
		{Kind: bridge.Flood, VNI: 7, IP: peer}:                                "",
		{Kind: bridge.Remote, VNI: 7, MAC: "fa:16:3e:00:00:09"}:               peer.String(),
		{Kind: bridge.Static, VNI: 7, MAC: "fa:16:3e:00:00:09"}:               "",
		{Kind: bridge.Neighbour, VNI: 7, IP: netip.MustParseAddr("10.0.0.9")}: "fa:16:3e:00:00:09",
		{Kind: bridge.Neighbour, VNI: 7, IP: netip.MustParseAddr("fd00::9")}:  "fa:16:3e:00:00:09",
	}
	got := map[bridge.Entry]string{}
	for _, f := range forwardFlows(7, 100, want, map[netip.Addr]int{peer: 4}, responder{arp: true, nd: true}) {
		readEntry(got, f.Table, f.String(), map[int]netip.Addr{4: peer})
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

func TestPortMasks(t *testing.T) {
	for _, x := range []struct {
		low, high int
		want      string
	}{{80, 80, "80"}, {80, 90, "0x50/0xfff8 0x58/0xfffe 90"}, {1, 65535, ""}, {0, 65535, "none"}, {1024, 2047, "0x400/0xfc00"}} {
		got := portMasks(x.low, x.high)
		covered := 0
		for p := range 65536 {
			for _, m := range got {
				if inMask(t, m, p) {
					covered++
					if p < x.low || p > x.high {
						t.Fatalf("%d-%d: %s has %d", x.low, x.high, m, p)
					}
				}
			}
		}
		if x.want == "none" {
			if got != nil {
				t.Errorf("all ports: %v", got)
			}
			continue
		}
		if covered != x.high-x.low+1 || x.want != "" && strings.Join(got, " ") != x.want {
			t.Errorf("%d-%d: %v covers %d", x.low, x.high, got, covered)
		}
	}
}

func inMask(t *testing.T, text string, port int) bool {
	t.Helper()
	value, mask, masked := strings.Cut(text, "/")
	number := func(s string) int {
		n, err := strconv.ParseInt(s, 0, 32)
		if err != nil {
			t.Fatal(err)
		}
		return int(n)
	}
	if !masked {
		return port == number(value)
	}
	return port&number(mask) == number(value)
}

// The kernel's datapath cannot make neighbour advertisements: without them it has to do.
func TestResponderOfKernel(t *testing.T) {
	entries := map[bridge.Entry]string{}
	for _, ip := range []string{"10.0.0.1", "fd00::1"} {
		entries[bridge.Entry{Kind: bridge.Neighbour, VNI: 7, IP: netip.MustParseAddr(ip)}] = "fa:16:3e:00:00:01"
	}
	for want, r := range map[int]responder{0: {}, 1: {arp: true}, 3: {arp: true, nd: true}} {
		if got := forwardFlows(7, 100, entries, nil, r); len(got) != want {
			t.Errorf("%+v: %d flows, want %d", r, len(got), want)
		}
	}
}

// Bridges whose names differ in the end only have patch ports of their own, named as upstream's agent names them.
func TestPatchNames(t *testing.T) {
	for bridge, want := range map[string]string{"br-ex": "int-br-ex", "br-provider": "int-br-provider", "br-provider1": "int-br-prcebb81", "br-provider2": "int-br-pr6e8b65"} {
		if got := patchIn(bridge); got != want {
			t.Errorf("%s: %s", bridge, got)
		}
	}
}

// pairFlows are those for the MAC addresses of a port's pairs.
func pairFlows(p place, f firewall.Port) (flows []ovs.Flow) {
	for _, mac := range macsOf(f)[1:] {
		flows = append(flows, deliveryFlows(p.vlan, mac, receiver{p, f.Stateless})...)
	}
	return flows
}
