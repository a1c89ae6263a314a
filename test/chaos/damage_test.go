package chaos

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"neutrino/test/lab"
)

// damage is what somebody may do to a host by hand: commands, each of which damages something else.
type damage struct {
	name string
	ways func(w *world, h *lab.Host) [][]string
}

var (
	bridgeDamages = []damage{
		{"element of a set", elements}, {"rule of a chain", chainRules}, {"table", bridgeTables}, {"all rules", func(*world, *lab.Host) [][]string { return each([]string{"ruleset"}, "nft flush %s") }}, {"forwarding entry", forwardingEntries},
		{"neighbour", permanentNeighbours}, {"device", bridgeDevices}, {"setting", bridgeSettings},
	}
	switchDamages = []damage{
		{"flow", flows}, {"all flows", allFlows}, {"VLAN of a port", vlans}, {"tunnel", bridgePorts},
	}
	namespaceDamages = []damage{
		{"address", namespaceAddresses}, {"route", namespaceRoutes}, {"table", namespaceTables}, {"forwarding", namespaceForwarding}, {"device", namespaceDevices},
		{"namespace", func(w *world, h *lab.Host) [][]string { return each(w.namespaces(h), "ip netns del %s") }},
	}
)

// withinMinute is how long damage may last.
const withinMinute = time.Minute

// damageHosts damages something on each hypervisor, or on the network node: not on all, as what its ports do others follow without a word.
// Soon somebody has said so, and hosts are as they were.
func damageHosts(w *world, _ *snapshot) string {
	w.exorcise(func(ghost) bool { return true }) // nobody minds what is done to them
	w.settle()
	clear(w.known)
	said := map[*lab.Host]int{}
	hosts := w.Compute
	if w.chance(3) {
		hosts = []*lab.Host{w.Network}
	}
	for _, h := range hosts {
		before := len(warnings(h))
		if what := w.damage(h); what != "" {
			said[h] = before
			w.note("by hand on %s: %s", h.Name, what)
		}
	}
	if err := lab.Eventually(withinMinute, func() error {
		for h, before := range said {
			now := warnings(h)
			if len(now) <= before {
				return fmt.Errorf("nobody on %s speaks of the damage", h.Name)
			}
		}
		return nil
	}); err != nil {
		w.fail("damage by hand", []string{err.Error()})
	}
	for h, before := range said {
		w.note("said on %s: %s", h.Name, strings.Join(warnings(h)[before:], "; "))
	}
	w.settle()
	return fmt.Sprintf("%d hosts", len(said))
}

// damage does one thing to a host and says what; "" if there is nothing that could be damaged.
func (w *world) damage(h *lab.Host) string {
	w.t.Helper()
	possible := bridgeDamages
	if w.OpenVSwitch {
		possible = switchDamages
	}
	if h == w.Network && w.chance(2) {
		possible = namespaceDamages
	}
	for _, n := range w.random.Perm(len(possible)) {
		ways := possible[n].ways(w, h)
		if len(ways) == 0 {
			continue
		}
		command := ways[w.random.IntN(len(ways))]
		if _, err := h.Exec(command[0], command[1:]...); err != nil {
			w.note("%v", err)
			continue
		}
		return possible[n].name + ": " + strings.Join(command, " ")
	}
	return ""
}

// warnings are those of a host's daemons.
func warnings(h *lab.Host) (all []string) {
	for _, name := range slices.Sorted(maps.Keys(h.Daemons)) {
		for line := range strings.Lines(h.Daemons[name].Log()) {
			if strings.Contains(line, " WARNING ") && !strings.Contains(line, "neutrino.agent.metering") { // which has nobody to tell counts
				all = append(all, strings.TrimSpace(line))
			}
		}
	}
	return all
}

// each fills every text into the command.
func each(texts []string, command string) (all [][]string) {
	for _, text := range texts {
		all = append(all, strings.Fields(fmt.Sprintf(command, text)))
	}
	return all
}

// read gives what a command prints, by lines; none if it fails.
func read(h *lab.Host, command string) []string {
	words := strings.Fields(command)
	out, _ := h.Exec(words[0], words[1:]...)
	return slices.Collect(strings.Lines(out))
}

// matched are the first groups of all matches in what a command prints.
func matched(h *lab.Host, command, pattern string) (all []string) {
	for _, m := range regexp.MustCompile("(?m)"+pattern).FindAllStringSubmatch(strings.Join(read(h, command), ""), -1) {
		all = append(all, m[1])
	}
	return all
}

func elements(_ *world, h *lab.Host) (all [][]string) {
	objects, _ := nft(h, "nft -j list table bridge neutrino")
	for _, o := range objects {
		if o.Set == nil || !compared.MatchString(o.Set.Name) {
			continue
		}
		for _, e := range o.Set.Elements {
			key := tapName.ReplaceAllString(text(e), `"$0"`)
			all = append(all, []string{"nft", fmt.Sprintf("delete element bridge neutrino %s { %s }", o.Set.Name, key)})
		}
	}
	return all
}

var tapName = regexp.MustCompile(`(tap|ext0|vxlan-)[0-9a-f.-]*`)

func chainRules(_ *world, h *lab.Host) (all [][]string) {
	chain := ""
	for _, line := range read(h, "nft -a list table bridge neutrino") {
		words := strings.Fields(line)
		switch n := len(words); {
		case n > 2 && words[0] == "chain":
			chain = words[1]
		case n > 1 && (words[0] == "set" || words[0] == "map"):
			chain = ""
		case n > 2 && chain != "" && words[n-2] == "handle":
			all = append(all, []string{"nft", "delete", "rule", "bridge", "neutrino", chain, "handle", words[n-1]})
		}
	}
	return all
}

func bridgeTables(_ *world, h *lab.Host) [][]string {
	return each(matched(h, "nft list tables", `^table ((?:bridge|inet) neutrino)$`), "nft delete table %s")
}

func forwardingEntries(_ *world, h *lab.Host) (all [][]string) {
	for _, line := range read(h, "bridge fdb show") {
		words := strings.Fields(line)
		if at := slices.Index(words, "dst"); at > 0 {
			all = append(all, []string{"bridge", "fdb", "del", words[0], "dev", words[2], "dst", words[at+1]})
		}
	}
	return all
}

func permanentNeighbours(_ *world, h *lab.Host) (all [][]string) {
	for _, family := range []string{"-4", "-6"} {
		for _, line := range read(h, "ip "+family+" neigh show nud permanent") {
			if words := strings.Fields(line); len(words) > 2 && strings.HasPrefix(words[2], "brq") {
				all = append(all, []string{"ip", "neigh", "del", words[0], "dev", words[2]})
			}
		}
	}
	return all
}

func bridgeDevices(_ *world, h *lab.Host) (all [][]string) {
	taps := matched(h, "ip -o link show", `^\d+: (tap[0-9a-f-]+)[@:].* master brq`)
	working := matched(h, "ip -o link show", `^\d+: (tap[0-9a-f-]+)@\S+ <[A-Z,]*\bUP\b[^>]*> .* master brq`)
	bridges := matched(h, "ip -o link show", `^\d+: (brq[0-9a-f-]+):`)
	tunnels := matched(h, "ip -o link show", `^\d+: (vxlan-\d+):`)
	all = append(each(taps, "ip link set %s nomaster"), each(working, "ip link set %s down")...)
	all = append(append(all, each(taps, "ip link set %s mtu 1280")...), each(bridges, "ip link set %s down")...)
	return append(append(all, each(bridges, "ip link del %s")...), each(tunnels, "ip link del %s")...)
}

// bridgeSettings are what bridges and their filters rely on.
func bridgeSettings(_ *world, h *lab.Host) [][]string {
	bridges := matched(h, "ip -o link show", `^\d+: (brq[0-9a-f-]+):`)
	if len(bridges) == 0 {
		return nil
	}
	all := each([]string{"iptables", "ip6tables"}, "sysctl -qw net.bridge.bridge-nf-call-%s=0")
	all = append(all, each(matched(h, "tc qdisc show", `^qdisc clsact ffff: dev (\S+)`), "tc qdisc del dev %s clsact")...)
	return append(all, each(matched(h, "ip -o link show", `^\d+: (vxlan-\d+):`), "ip link set %s down")...)
}

func flows(_ *world, h *lab.Host) (all [][]string) {
	for _, bridge := range []string{integration, tunnels, external} {
		for _, cookie := range matched(h, "ovs-ofctl -O OpenFlow14 --no-stats dump-flows "+bridge, `cookie=(0x4e75[0-9a-f]+), (?:table=\d+, )?priority`) {
			all = append(all, []string{"ovs-ofctl", "-O", "OpenFlow14", "del-flows", bridge, "cookie=" + cookie + "/-1"})
		}
	}
	return all
}

func allFlows(*world, *lab.Host) [][]string {
	return each([]string{integration, tunnels}, "ovs-ofctl -O OpenFlow14 del-flows %s")
}

func vlans(w *world, h *lab.Host) [][]string {
	ports := matched(h, "ovs-vsctl --timeout=10 list-ports "+integration, `^(tap.*)$`)
	if h == w.Network {
		ports = matched(h, "ovs-vsctl --timeout=10 list-ports "+integration, `^((?:tap|qr-|qg-).*)$`)
	}
	return append(each(ports, "ovs-vsctl --timeout=10 clear Port %s tag"), each(ports, "ovs-vsctl --timeout=10 set Port %s tag=77")...)
}

// bridgePorts are those of tunnels. Patch ports would get other numbers, which stand in flows that must be as before the start.
func bridgePorts(_ *world, h *lab.Host) [][]string {
	endpoints := matched(h, "ovs-vsctl --timeout=10 list-ports "+tunnels, `^(vxlan-.*)$`)
	return each(endpoints, "ovs-vsctl --timeout=10 del-port "+tunnels+" %s")
}

// namespaces are those of routers and DHCP.
func (w *world) namespaces(h *lab.Host) []string {
	return matched(h, "ip netns list", `^(q(?:router|dhcp)-\S+)`)
}

func namespaceAddresses(w *world, h *lab.Host) (all [][]string) {
	for _, namespace := range w.namespaces(h) {
		for _, line := range read(h, "ip -n "+namespace+" -o addr show scope global") {
			words := strings.Fields(line)
			all = append(all, []string{"ip", "-n", namespace, "addr", "del", words[3], "dev", words[1]})
		}
	}
	return all
}

func namespaceRoutes(w *world, h *lab.Host) (all [][]string) {
	for _, namespace := range w.namespaces(h) {
		for _, line := range read(h, "ip -n "+namespace+" route show") {
			if words := strings.Fields(line); strings.HasPrefix(namespace, "qrouter-") && words[1] == "via" {
				all = append(all, append([]string{"ip", "-n", namespace, "route", "del"}, words[:3]...))
			}
		}
	}
	return all
}

func namespaceTables(w *world, h *lab.Host) (all [][]string) {
	for _, namespace := range w.namespaces(h) {
		in := "ip netns exec " + namespace + " nft "
		all = append(all, each(matched(h, in+"list tables", `^table (\w+ neutrino)$`), in+"delete table %s")...)
	}
	return all
}

func namespaceForwarding(w *world, h *lab.Host) (all [][]string) {
	for _, namespace := range w.namespaces(h) {
		if strings.HasPrefix(namespace, "qrouter-") {
			all = append(all, strings.Fields("ip netns exec "+namespace+" sysctl -qw net.ipv4.ip_forward=0"), strings.Fields("ip netns exec "+namespace+" nft flush ruleset"))
		}
	}
	return all
}

func namespaceDevices(w *world, h *lab.Host) (all [][]string) {
	for _, namespace := range w.namespaces(h) {
		devices := matched(h, "ip -n "+namespace+" -o link show", `^\d+: ((?:qr-|qg-|ns-|tap)[0-9a-f-]+)[@:]`)
		all = append(all, each(devices, "ip -n "+namespace+" link set %s down")...)
		if w.OpenVSwitch {
			all = append(all, each(devices, "ovs-vsctl --timeout=10 del-port "+integration+" %s")...)
		} else {
			all = append(all, each(devices, "ip -n "+namespace+" link del %s")...)
		}
	}
	return all
}
