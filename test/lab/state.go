package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// What a node's kernel holds of our making, as text. Learned addresses, counters and timers are left out: they change
// with traffic.
var stateCommands = []struct {
	what    string
	command string
	keep    *regexp.Regexp // nil: all lines
}{
	{"link", "ip -d -o link show", nil},
	{"address", "ip -o addr show", nil},
	{"route", "ip -N route show table all", nil},
	{"route", "ip -N -6 route show table all", regexp.MustCompile(`proto (static|bird|[0-9]+)`)},
	{"rule", "ip rule show", nil},
	{"neigh", "ip neigh show nud permanent", nil},
	{"neigh", "ip -6 neigh show nud permanent", nil},
	{"fdb", "bridge fdb show", regexp.MustCompile(`permanent|static|dst `)},
	{"nft", "nft -s list ruleset", nil},
	{"socket", "ss -Hltun", nil},
}

var volatile = regexp.MustCompile(`\w+_timer +[0-9.]+|expires \w+|valid_lft \w+ preferred_lft \w+|state \w+|` +
	`timer_\w+|(age|used|updated) \S+|NO-CARRIER,|,?LOWER_UP|# handle \d+`)

// KernelState describes links, addresses, routes, forwarding and filters of a node and of its named namespaces, a
// fact a line.
func (n *Node) KernelState() []string {
	n.lab.T.Helper()
	facts, err := n.kernelState()
	if err != nil {
		n.lab.T.Fatalf("%v", err)
	}
	return facts
}

func (n *Node) kernelState() ([]string, error) {
	names, err := n.namespaces()
	if err != nil {
		return nil, err
	}
	var facts []string
	for _, name := range append([]string{""}, names...) {
		more, err := n.stateIn(name)
		for patience := 20; err != nil && name != "" && n.has(name) && patience > 0; patience-- { // about to be deleted?
			time.Sleep(20 * time.Millisecond)
			more, err = n.stateIn(name)
		}
		if err != nil && name != "" && !n.has(name) { // deleted while it was read
			continue
		}
		if err != nil {
			return nil, err
		}
		facts = append(facts, more...)
	}
	more, err := n.switchState()
	if err != nil {
		return nil, err
	}
	facts = append(facts, more...)
	slices.Sort(facts)
	return facts, nil
}

// namespaces are the names of the node's network namespaces, such as qrouter-….
func (n *Node) namespaces() ([]string, error) {
	entries, err := os.ReadDir(n.netnsDir())
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

func (n *Node) has(namespace string) bool {
	_, err := os.Stat(filepath.Join(n.netnsDir(), namespace))
	return err == nil
}

func (n *Node) netnsDir() string { return fmt.Sprintf("/proc/%d/root/run/netns", n.Pid()) }

func (n *Node) stateIn(namespace string) ([]string, error) {
	facts := []string{namespace + " exists"}
	for _, c := range stateCommands {
		words := strings.Fields(c.command)
		if namespace != "" {
			words = append([]string{"ip", "netns", "exec", namespace}, words...)
		}
		out, err := n.Exec(words[0], words[1:]...)
		if err != nil {
			return nil, err
		}
		context := "" // lines of the rule set mean something only in their chain
		for line := range strings.Lines(out) {
			line = volatile.ReplaceAllString(strings.TrimRight(line, "\n "), "")
			if c.keep != nil && !c.keep.MatchString(line) {
				continue
			}
			if c.what == "nft" {
				if strings.Trim(line, " \t}") == "" { // objects are listed in the order in which they were made
					continue
				}
				if strings.HasSuffix(line, "{") {
					context = strings.TrimSpace(strings.TrimSuffix(line, "{"))
				}
				line = context + ": " + strings.TrimSpace(line)
			}
			facts = append(facts, namespace+" "+c.what+" "+line)
		}
	}
	return facts, nil
}

// Difference lists the facts that are only in one of two states: "-" before, "+" after.
func Difference(before, after []string) []string {
	count := map[string]int{}
	for _, f := range before {
		count[f]--
	}
	for _, f := range after {
		count[f]++
	}
	var lines []string
	for f, c := range count {
		for ; c < 0; c++ {
			lines = append(lines, "- "+f)
		}
		for ; c > 0; c-- {
			lines = append(lines, "+ "+f)
		}
	}
	slices.Sort(lines)
	return lines
}

// WaitState waits until the state of the node is what it was, and returns the difference that remains.
func (n *Node) WaitState(before []string, within time.Duration) (difference []string) {
	n.lab.T.Helper()
	_ = Eventually(within, func() error {
		difference = Difference(before, n.KernelState())
		if len(difference) > 0 {
			return fmt.Errorf("%d differences", len(difference))
		}
		return nil
	})
	return difference
}

// Watch sees every change that anybody makes in the kernel of a node and its namespaces, one that is undone at once
// included.
type Watch struct {
	node  *Node
	nft   []*Process
	links []*Process
}

// Watch begins to watch. The caller should leave the node alone until it does.
func (n *Node) Watch() *Watch {
	n.lab.T.Helper()
	w := &Watch{node: n}
	names, err := n.namespaces()
	if err != nil {
		n.lab.T.Fatalf("%v", err)
	}
	for _, namespace := range append([]string{""}, names...) {
		w.add(namespace)
	}
	return w
}

func (w *Watch) add(namespace string) {
	t := w.node.lab.T
	t.Helper()
	var prefix []string
	if namespace != "" {
		prefix = []string{"ip", "netns", "exec", namespace}
	}
	command := func(line string) []string { return append(slices.Clone(prefix), strings.Fields(line)...) }
	rules := w.node.startTool("nft-monitor", command("nft monitor")...)
	links := w.node.startTool("ip-monitor", command("ip monitor label link address route rule neigh")...)
	// The monitors do not say when they have begun, so changes are made until they are seen.
	if err := Eventually(patience, func() error {
		for _, line := range []string{"nft add table inet " + probe, "nft delete table inet " + probe,
			"ip addr add " + probeAddress + " dev lo", "ip addr del " + probeAddress + " dev lo"} {
			words := command(line)
			if _, err := w.node.Exec(words[0], words[1:]...); err != nil {
				return err
			}
		}
		if !strings.Contains(rules.Log(), probe) || !strings.Contains(links.Log(), probeAddress) {
			return fmt.Errorf("the monitors do not show a probe")
		}
		return nil
	}); err != nil {
		t.Fatalf("watch %s: %v", w.node.Name, err)
	}
	w.nft, w.links = append(w.nft, rules), append(w.links, links)
}

const (
	probe        = "lab_probe"
	probeAddress = "127.254.254.254"
)

// Stop ends the watch and returns the changes.
func (w *Watch) Stop() []string {
	time.Sleep(100 * time.Millisecond) // what was just done is on its way through a pipe
	var changes []string
	for _, p := range w.nft {
		p.Kill()
		changes = append(changes, nftChanges(p)...)
	}
	for _, p := range w.links {
		p.Kill()
		changes = append(changes, linkChanges(p)...)
	}
	return changes
}

func nftChanges(p *Process) (changes []string) {
	for line := range strings.Lines(p.Log()) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "#") && !strings.Contains(line, probe) {
			changes = append(changes, line)
		}
	}
	return changes
}

// linkChanges leaves out what the kernel does itself: neighbours that it learns and forgets.
func linkChanges(p *Process) (changes []string) {
	for line := range strings.Lines(p.Log()) {
		line = strings.TrimSpace(line)
		neighbour := strings.Contains(line, "[NEIGH]")
		lasting := strings.Contains(line, "PERMANENT") || strings.Contains(line, "NOARP")
		if strings.HasPrefix(line, "[") && (!neighbour || lasting) && !strings.Contains(line, probeAddress) {
			changes = append(changes, line)
		}
	}
	return changes
}
