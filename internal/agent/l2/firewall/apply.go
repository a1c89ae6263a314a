package firewall

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"neutrino/internal/linux/nft"
)

// changes are the differences of all three tables.
type changes struct {
	setPut     map[object]string
	setDel     []object
	chainPut   map[object]chain
	chainDel   []object
	elementPut map[element]string
	elementDel []element
}

func (c *changes) empty() bool {
	return len(c.setPut)+len(c.setDel)+len(c.chainPut)+len(c.chainDel)+len(c.elementPut)+len(c.elementDel) == 0
}

// Apply brings the kernel in line, in one atomic batch, or does nothing if it is. recheck tells that connections may
// have lost their permission; then Recheck must run.
func (f *Firewall) Apply(ctx context.Context) (recheck bool, err error) {
	inLine := false
	if !f.loaded {
		inLine = f.inLine()
		if err := f.Load(ctx); err != nil {
			return false, err
		}
	}
	f.mu.Lock()
	f.settle()
	c := f.diff()
	if inLine && !c.empty() { // nothing was to do but for what somebody else changed
		f.log.Warn("restored: firewall", "sets", len(c.setPut)+len(c.setDel), "chains", len(c.chainPut)+len(c.chainDel),
			"elements", len(c.elementPut)+len(c.elementDel))
	}
	f.recheck = f.recheck || f.restricts(c)
	f.mu.Unlock()
	if !c.empty() {
		f.writes.Add(1)
		if err := f.write(ctx, c); err != nil {
			f.loaded = false // somebody may have changed our tables
			return false, fmt.Errorf("apply firewall: %w", err)
		}
		f.applied(c)
	}
	f.written = true
	f.mu.Lock()
	defer f.mu.Unlock()
	recheck = f.recheck
	f.recheck = false
	return recheck, nil
}

// inLine tells whether the kernel is as wanted, as far as is known without asking it.
func (f *Firewall) inLine() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.written {
		return false
	}
	f.settle()
	return f.diff().empty()
}

// write gives the changes to the kernel, the quick way if it can.
func (f *Firewall) write(ctx context.Context, c *changes) error {
	if elements, ok := f.elementChanges(c); ok {
		err := nft.ChangeElements(elements)
		if err == nil {
			return nil
		}
		f.log.Warn("elements refused, trying a script", "error", err)
	}
	return nft.Run(ctx, f.script(c))
}

func (f *Firewall) diff() *changes {
	var c changes
	c.setPut, c.setDel = f.sets.Diff()
	c.chainPut, c.chainDel = f.chains.Diff()
	c.elementPut, c.elementDel = f.elements.Diff()
	return &c
}

func (f *Firewall) applied(c *changes) {
	f.sets.Applied(c.setPut, c.setDel)
	f.chains.Applied(c.chainPut, c.chainDel)
	f.elements.Applied(c.elementPut, c.elementDel)
	f.exists = map[string]bool{familyBridge: true, familyInet: true}
}

// restricts tells whether the changes can take a permission away, or give one back to a connection that was cut.
func (f *Firewall) restricts(c *changes) bool {
	for o := range c.chainPut {
		if isGroupChain(o.Name) && f.hasChain(o) {
			return true
		}
	}
	for _, e := range c.elementDel {
		if isMemberSet(e.Name) || e.object == mapGuard {
			return true
		}
	}
	for e := range c.elementPut {
		if isMemberSet(e.Name) && f.cut > 0 {
			return true
		}
		if _, existed := f.elements.Actual(e); existed && e.object == mapEgress {
			return true
		}
	}
	return false
}

func isGroupChain(name string) bool {
	return strings.HasPrefix(name, direction(true)+"-") || strings.HasPrefix(name, direction(false)+"-")
}

func isMemberSet(name string) bool { return strings.HasPrefix(name, "members") || isAnywhereSet(name) }

func isAnywhereSet(name string) bool { return strings.HasPrefix(name, "anywhere") }

// script renders the changes in an order in which every name exists when it is used: old elements go before the chains
// they jump to, new ones come after.
func (f *Firewall) script(c *changes) string {
	var b strings.Builder
	for _, family := range []string{familyBridge, familyInet} {
		if !f.exists[family] {
			fmt.Fprintf(&b, "add table %s %s\n", family, tableName)
		}
	}
	for _, o := range sortedObjects(maps.Keys(c.setPut)) {
		kind, spec, _ := strings.Cut(c.setPut[o], " ")
		fmt.Fprintf(&b, "add %s %s %s %s { %s; }\n", kind, o.Family, tableName, o.Name, spec)
	}
	writeElements(&b, "delete", f.outdated(c), nil)
	order := sortedObjects(maps.Keys(c.chainPut))
	for _, o := range order {
		if hook := c.chainPut[o].Hook; hook != "" {
			fmt.Fprintf(&b, "add chain %s %s %s { %s; policy accept; }\n", o.Family, tableName, o.Name, hook)
		} else {
			fmt.Fprintf(&b, "add chain %s %s %s\n", o.Family, tableName, o.Name)
		}
	}
	for _, o := range order {
		writeRules(&b, o, c.chainPut[o], f.hasChain(o))
	}
	writeElements(&b, "add", slices.Collect(maps.Keys(c.elementPut)), c.elementPut)
	for _, o := range sortedObjects(slices.Values(c.chainDel)) {
		fmt.Fprintf(&b, "flush chain %s %s %s\n", o.Family, tableName, o.Name)
	}
	for _, o := range sortedObjects(slices.Values(c.chainDel)) {
		fmt.Fprintf(&b, "delete chain %s %s %s\n", o.Family, tableName, o.Name)
	}
	for _, o := range sortedObjects(slices.Values(c.setDel)) {
		fmt.Fprintf(&b, "delete set %s %s %s\n", o.Family, tableName, o.Name)
	}
	return b.String()
}

func (f *Firewall) hasChain(o object) bool {
	_, ok := f.chains.Actual(o)
	return ok
}

// outdated are the elements to delete, among them those of maps that get another value. The elements of a set that is
// deleted go with it.
func (f *Firewall) outdated(c *changes) []element {
	var all []element
	for _, e := range c.elementDel {
		if !slices.Contains(c.setDel, e.object) {
			all = append(all, e)
		}
	}
	for e := range c.elementPut {
		if _, there := f.elements.Actual(e); there {
			all = append(all, e)
		}
	}
	return all
}

func writeRules(b *strings.Builder, o object, c chain, flush bool) {
	if flush {
		fmt.Fprintf(b, "flush chain %s %s %s\n", o.Family, tableName, o.Name)
	}
	for i, r := range c.Rules {
		fmt.Fprintf(b, "add rule %s %s %s %s", o.Family, tableName, o.Name, r)
		if i == len(c.Rules)-1 {
			fmt.Fprintf(b, " comment %q", c.Sum)
		}
		b.WriteByte('\n')
	}
}

// writeElements writes one command per set.
func writeElements(b *strings.Builder, verb string, elements []element, values map[element]string) {
	bySet := map[object][]string{}
	for _, e := range elements {
		text := quoted(e)
		if v := values[e]; v != "" {
			text += " : " + v
		}
		bySet[e.object] = append(bySet[e.object], text)
	}
	for _, o := range sortedObjects(maps.Keys(bySet)) {
		slices.Sort(bySet[o])
		fmt.Fprintf(b, "%s element %s %s %s { %s }\n", verb, o.Family, tableName, o.Name, strings.Join(bySet[o], ", "))
	}
}

// quoted is the element's key as nft reads it. All our keys but those of member sets start with a device name, which may
// look like something else to nft's scanner.
func quoted(e element) string {
	if isMemberSet(e.Name) {
		return e.Key
	}
	device, rest, more := strings.Cut(e.Key, " . ")
	if more {
		return fmt.Sprintf("%q . %s", device, rest)
	}
	return fmt.Sprintf("%q", device)
}

func sortedObjects(all func(yield func(object) bool)) []object {
	return slices.SortedFunc(all, func(a, b object) int {
		return strings.Compare(a.Family+a.Name, b.Family+b.Name)
	})
}
