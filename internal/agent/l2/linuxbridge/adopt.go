package linuxbridge

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// What upstream's agent made by iptables, ebtables and ipset (neutron/agent/linux/iptables_firewall.py, ipset_manager.py,
// neutron/plugins/ml2/drivers/linuxbridge/agent/arp_protect.py). It filters beside ours until it is removed.
var (
	upstreamChain = regexp.MustCompile(`^(neutron-linuxbri-|neutron(MAC|ARP)-tap)`)
	upstreamSet   = regexp.MustCompile(`^NIPv[46][0-9a-f]{8}-`)
	// sharedChains are chains that several of upstream's agents jump through. They go with the last of these.
	sharedChains = []string{"neutron-filter-top", "neutron-postrouting-bottom"}
	// jump finds the chain that a rule jumps to.
	jump = regexp.MustCompile(` -[jg] (\S+)`)
	// zone finds the conntrack zone of a bridge's packets.
	zone = regexp.MustCompile(`^-A neutron-linuxbri-PREROUTING -i (brq\S+) .*-j CT --zone (\d+)`)
)

// filterTools are the families of programs that may have made filters. Those that are not installed have made none.
var filterTools = []string{"iptables", "ip6tables", "iptables-legacy", "ip6tables-legacy", "ebtables"}

const toolTimeout = 30 * time.Second

// savedRules returns what TOOL-save says.
func savedRules(ctx context.Context, tool string) (string, error) {
	name := tool + "-save"
	if _, err := exec.LookPath(name); err != nil {
		return "", nil
	}
	if strings.HasSuffix(tool, "-legacy") { // the old interface of the kernel, which tells which tables it has
		names := "/proc/net/" + strings.TrimSuffix(strings.Replace(tool, "tables", "_tables", 1), "-legacy") + "_names"
		if b, err := os.ReadFile(names); err != nil || len(b) == 0 {
			return "", nil
		}
	}
	return runTool(ctx, "", name)
}

func runTool(ctx context.Context, stdin, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, toolTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	if err := cmd.Run(); err != nil {
		err = cmp.Or(ctx.Err(), err) // killed, because the agent is to stop or it took too long
		return "", fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(errs.Bytes()))
	}
	return out.String(), nil
}

// upstreamZones finds the conntrack zones that upstream's agent uses, by bridge. In other zones the connections that
// there are would be unknown.
func upstreamZones(ctx context.Context) (map[string]uint16, error) {
	zones := map[string]uint16{}
	for _, tool := range filterTools {
		saved, err := savedRules(ctx, tool)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(saved) {
			if m := zone.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
				if n, err := strconv.ParseUint(m[2], 10, 16); err == nil {
					zones[m[1]] = uint16(n)
				}
			}
		}
	}
	return zones, nil
}

// dropUpstream removes the filters of upstream's agent. What others made beside them stays.
func (d *Driver) dropUpstream(ctx context.Context) error {
	for _, tool := range filterTools {
		saved, err := savedRules(ctx, tool)
		if err != nil {
			return err
		}
		script := removal(saved)
		if script == "" {
			continue
		}
		if _, err := runTool(ctx, script, tool+"-restore", "--noflush"); err != nil {
			return fmt.Errorf("remove the filters of Neutron's agent: %w", err)
		}
		d.writes.Add(1)
		d.log.Info("filters of Neutron's agent removed", "tool", tool)
	}
	sets, err := netlink.IpsetListAll()
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EPROTONOSUPPORT) {
		return fmt.Errorf("list ipsets: %w", err)
	}
	for _, s := range sets {
		if !upstreamSet.MatchString(s.SetName) {
			continue
		}
		if err := netlink.IpsetDestroy(s.SetName); err != nil { // somebody uses it
			d.log.Warn("ipset of Neutron's agent stays", "set", s.SetName, "error", err)
			continue
		}
		d.writes.Add(1)
	}
	return nil
}

// removal turns the output of iptables-save into the input of iptables-restore that removes upstream's chains and the
// rules that jump there; "" if there are none.
func removal(saved string) string {
	var script strings.Builder
	for _, table := range strings.Split(saved, "\n*")[1:] {
		commands := removalOf(strings.Split(table, "\n"))
		if len(commands) > 0 {
			name, _, _ := strings.Cut(table, "\n")
			fmt.Fprintf(&script, "*%s\n%s\nCOMMIT\n", name, strings.Join(commands, "\n"))
		}
	}
	return script.String()
}

func removalOf(lines []string) []string {
	chains, rules := map[string]bool{}, map[string][]string{} // of upstream; by chain
	for _, line := range lines {
		word, rest, _ := strings.Cut(line, " ")
		switch {
		case strings.HasPrefix(word, ":") && upstreamChain.MatchString(word[1:]):
			chains[word[1:]] = true
		case word == "-A":
			chain, rule, _ := strings.Cut(rest, " ")
			rules[chain] = append(rules[chain], " "+rule)
		}
	}
	if len(chains) == 0 {
		return nil
	}
	toGone := func(rule string) bool {
		m := jump.FindStringSubmatch(rule)
		return m != nil && chains[m[1]]
	}
	for _, shared := range sharedChains {
		if len(rules[shared]) > 0 && !slices.ContainsFunc(rules[shared], func(r string) bool { return !toGone(r) }) {
			chains[shared] = true
		}
	}
	var commands []string
	for _, chain := range slices.Sorted(maps.Keys(rules)) {
		for _, rule := range rules[chain] {
			if !chains[chain] && toGone(rule) {
				commands = append(commands, "-D "+chain+rule)
			}
		}
	}
	all := slices.Sorted(maps.Keys(chains))
	for _, command := range []string{"-F ", "-X "} { // they jump to each other
		for _, chain := range all {
			commands = append(commands, command+chain)
		}
	}
	return commands
}

// admitRule begins the rules that let bridged packets through the host's own filter.
const admitRule = "-m comment --comment neutrino-bridged -j ACCEPT"

// admitBridged lets packets between the ports of our bridges through where iptables drops what it forwards by default, as
// on hosts with Docker: br_netfilter shows it bridged packets too. Upstream's chains accept them for the same reason.
func (d *Driver) admitBridged(ctx context.Context) error {
	for _, tool := range filterTools {
		if tool == "ebtables" {
			continue
		}
		saved, err := savedRules(ctx, tool)
		if err != nil {
			return err
		}
		if !strings.Contains(saved, "\n:FORWARD DROP") {
			continue
		}
		var missing []string
		for _, br := range d.bridges() {
			br = strings.ReplaceAll(br, "*", "+")
			if rule := fmt.Sprintf("FORWARD -i %s -o %s %s", br, br, admitRule); !strings.Contains(saved, "-A "+rule+"\n") {
				missing = append(missing, "-I "+rule)
			}
		}
		if len(missing) == 0 {
			continue
		}
		if _, err := runTool(ctx, "*filter\n"+strings.Join(missing, "\n")+"\nCOMMIT\n", tool+"-restore", "--noflush"); err != nil {
			return fmt.Errorf("let bridged packets through the host's filter: %w", err)
		}
		d.writes.Add(1)
		d.log.Warn("the host drops what it forwards: bridged packets are let through", "tool", tool)
	}
	return nil
}

// bridges are the name patterns of the bridges that we use.
func (d *Driver) bridges() []string {
	return append([]string{bridgePrefix + "*"}, slices.Sorted(maps.Values(d.cfg.Bridges))...)
}
