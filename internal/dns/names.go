package dns

import (
	"net/netip"
	"slices"
	"strings"
	"sync"

	wire "github.com/miekg/dns"
)

// Name is the name of an address: FQDN is the whole of it, Short the first label, which is answered too.
type Name struct {
	Addr        netip.Addr
	FQDN, Short string
}

// Names are the names of a network's ports. It is safe for concurrent use.
type Names struct {
	mu sync.RWMutex
	// Both are sorted, and have twice what two ports said, so that it stays when one of them goes.
	addrs map[string][]netip.Addr // by canonical name
	names map[netip.Addr][]string
}

// NewNames makes a table of names.
func NewNames(names ...Name) *Names {
	t := &Names{}
	t.Replace(nil, names)
	return t
}

// Replace makes now known instead of old.
func (t *Names) Replace(old, now []Name) {
	if slices.Equal(old, now) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, n := range old {
		remove(t.names, n.Addr, wire.Fqdn(n.FQDN), strings.Compare)
		for _, name := range n.canonical() {
			remove(t.addrs, name, n.Addr, netip.Addr.Compare)
		}
	}
	if t.addrs == nil {
		t.addrs, t.names = make(map[string][]netip.Addr, 2*len(now)), make(map[netip.Addr][]string, len(now))
	}
	for _, n := range now {
		add(t.names, n.Addr, wire.Fqdn(n.FQDN), strings.Compare)
		for _, name := range n.canonical() {
			add(t.addrs, name, n.Addr, netip.Addr.Compare)
		}
	}
}

// canonical are the names to be asked for.
func (n Name) canonical() []string {
	out := make([]string, 0, 2)
	for _, name := range []string{n.FQDN, n.Short} {
		if name = wire.CanonicalName(name); name != "." && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

func add[K comparable, V any](m map[K][]V, key K, v V, compare func(a, b V) int) {
	i, _ := slices.BinarySearchFunc(m[key], v, compare)
	m[key] = slices.Insert(m[key], i, v)
}

func remove[K comparable, V any](m map[K][]V, key K, v V, compare func(a, b V) int) {
	i, found := slices.BinarySearchFunc(m[key], v, compare)
	if !found {
		return
	}
	if m[key] = slices.Delete(m[key], i, i+1); len(m[key]) == 0 {
		delete(m, key)
	}
}

// addrsOf are the addresses of a canonical name.
func (t *Names) addrsOf(name string) (addrs []netip.Addr, known bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	addrs, known = t.addrs[name]
	return slices.Compact(slices.Clone(addrs)), known
}

// nameOf is the name of the address; empty if it has none.
func (t *Names) nameOf(a netip.Addr) string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if names := t.names[a]; len(names) > 0 {
		return names[len(names)-1]
	}
	return ""
}
