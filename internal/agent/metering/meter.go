package metering

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"neutrino/internal/linux/netns"
	"neutrino/internal/linux/nft"

	"github.com/google/nftables"
)

// namespacePrefix is how the L3 agent names the namespaces of routers.
const namespacePrefix = "qrouter-"

// count is what a counter has counted.
type count struct{ packets, bytes uint64 }

func (c count) plus(d count) count { return count{c.packets + d.packets, c.bytes + d.bytes} }

// table is what our table in a namespace has.
type table struct {
	exists   bool
	mark     string
	chains   []string // the mark too
	counters []string // labels
	rules    int      // in all chains
}

// meter is our table in the namespace of one router. Its connection reaches the namespace also after that lost its name,
// as long as the meter is open, so that the last counts can be read.
type meter struct {
	router    string
	namespace string
	id        uint64 // of the namespace
	conn      *nftables.Conn
	table     table
	read      map[string]count // at the last look, since the counters were last emptied
	lost      map[string]count // what counters had that somebody else deleted or emptied
}

// openMeter connects to a router's namespace and looks what it has. Nothing is written.
func openMeter(router string) (*meter, error) {
	m := &meter{router: router, namespace: namespacePrefix + router, read: map[string]count{}, lost: map[string]count{}}
	var ok bool
	if m.id, ok = netns.ID(m.namespace); !ok {
		return nil, fmt.Errorf("namespace %s is not complete", m.namespace)
	}
	err := netns.Do(m.namespace, func() (err error) {
		m.conn, err = nftables.New(nftables.AsLasting())
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := m.look(); err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

func (m *meter) close() { _ = m.conn.CloseLasting() }

// gone tells whether the namespace has lost its name.
func (m *meter) gone() bool {
	id, ok := netns.ID(m.namespace)
	return !ok || id != m.id
}

var ours = &nftables.Table{Family: nftables.TableFamilyINet, Name: tableName}

// look reads which chains and counters there are.
func (m *meter) look() error {
	found, err := m.find()
	if err != nil {
		return err
	}
	if found.exists {
		objects, err := m.conn.GetNamedObjects(ours)
		if err != nil {
			return fmt.Errorf("list counters: %w", err)
		}
		for _, o := range objects {
			if o, ok := o.(*nftables.NamedObj); ok && strings.HasPrefix(o.Name, prefix) {
				found.counters = append(found.counters, strings.TrimPrefix(o.Name, prefix))
			}
		}
	}
	for label, n := range m.read {
		if !slices.Contains(found.counters, label) {
			m.lost[label] = m.lost[label].plus(n)
			delete(m.read, label)
		}
	}
	m.table = found
	return nil
}

func (m *meter) find() (found table, err error) {
	chains, err := m.conn.ListChainsOfTableFamily(nftables.TableFamilyINet)
	if err != nil {
		return found, fmt.Errorf("list chains: %w", err)
	}
	for _, c := range chains {
		if c.Table.Name != tableName {
			continue
		}
		found.exists = true
		found.chains = append(found.chains, c.Name)
		if strings.HasPrefix(c.Name, markPrefix) {
			found.mark = c.Name
			continue
		}
		rules, err := m.conn.GetRules(ours, c)
		if err != nil {
			return found, fmt.Errorf("list rules: %w", err)
		}
		found.rules += len(rules)
	}
	return found, nil
}

// intact tells whether the table still has the rules that were put there. If not, the next apply looks what it has.
func (m *meter) intact() bool {
	found, err := m.find()
	if err == nil && found.exists == m.table.exists && found.mark == m.table.mark && found.rules == m.table.rules {
		return true
	}
	m.table.mark = ""
	return false
}

func (m *meter) labels() []string { return slices.Clone(m.table.counters) }

// superfluous are the labels with a counter that no rule needs.
func (m *meter) superfluous(r rules) []string {
	return slices.DeleteFunc(m.labels(), func(l string) bool { _, ok := r[l]; return ok })
}

// apply has the table count by these rules. Without labels and without a table there is nothing to do.
func (m *meter) apply(ctx context.Context, r rules) (changed bool, err error) {
	mark, size := r.mark(), r.size()
	as := func() bool { return m.table.mark == mark && m.table.rules == size }
	if as() || !m.table.exists && len(r) == 0 {
		return false, nil
	}
	if err := m.look(); err != nil || as() {
		return false, err
	}
	script := r.script(m.table)
	if err := netns.Do(m.namespace, func() error { return nft.Run(ctx, script) }); err != nil {
		return true, err
	}
	return true, m.look()
}

// remove deletes the table.
func (m *meter) remove() error {
	m.conn.DelTable(ours)
	if err := m.conn.Flush(); err != nil {
		return fmt.Errorf("delete table %s: %w", tableName, err)
	}
	m.table = table{}
	return nil
}

func (m *meter) counter(label string) *nftables.CounterObj {
	return &nftables.CounterObj{Table: ours, Name: counterName(label)}
}

// take reads and empties a counter, which is one step in the kernel.
func (m *meter) take(label string) (count, error) { return m.value(label, true) }

// peek reads what a counter has counted since it was last emptied.
func (m *meter) peek(label string) (count, error) { return m.value(label, false) }

func (m *meter) value(label string, empty bool) (count, error) {
	get := m.conn.GetObject
	if empty {
		get = m.conn.ResetObject
	}
	o, err := get(m.counter(label))
	if err != nil {
		return count{}, fmt.Errorf("read counter: %w", err)
	}
	c, ok := o.(*nftables.CounterObj)
	if !ok {
		return count{}, fmt.Errorf("read counter: the kernel answers with %T", o)
	}
	now := count{c.Packets, c.Bytes}
	if before := m.read[label]; now.packets < before.packets {
		m.lost[label] = m.lost[label].plus(before)
	}
	m.read[label] = now
	now = now.plus(m.lost[label])
	if empty {
		m.forget(label)
	}
	return now, nil
}

func (m *meter) forget(label string) {
	delete(m.read, label)
	delete(m.lost, label)
}

// known is what a counter had when it was last read.
func (m *meter) known(label string) count { return m.read[label].plus(m.lost[label]) }

// drop deletes a counter that no rule names.
func (m *meter) drop(label string) error {
	m.conn.DeleteObject(m.counter(label))
	if err := m.conn.Flush(); err != nil {
		return fmt.Errorf("delete counter: %w", err)
	}
	m.forget(label)
	m.table.counters = slices.DeleteFunc(m.table.counters, func(l string) bool { return l == label })
	return nil
}
