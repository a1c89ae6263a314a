package subnetpool

import (
	"net/netip"
	"slices"
)

// prefixSet is a set of addresses as prefixes: by address, without overlaps, in as few pieces as possible.
type prefixSet []netip.Prefix

// newSet makes a set of prefixes in any order, which may overlap.
func newSet(prefixes []netip.Prefix) prefixSet {
	sorted := slices.Clone(prefixes)
	for i, p := range sorted {
		sorted[i] = p.Masked()
	}
	slices.SortFunc(sorted, compare)
	set := prefixSet{}
	for _, p := range sorted {
		if n := len(set); n > 0 && set[n-1].Overlaps(p) { // sorted: the one before is the larger one
			continue
		}
		set = append(set, p)
		for n := len(set); n > 1; n = len(set) {
			parent, ok := joined(set[n-2], set[n-1])
			if !ok {
				break
			}
			set = append(set[:n-2], parent)
		}
	}
	return set
}

// compare orders prefixes by address; of those with the same one the largest comes first.
func compare(a, b netip.Prefix) int {
	if c := a.Addr().Compare(b.Addr()); c != 0 {
		return c
	}
	return a.Bits() - b.Bits()
}

// joined is the prefix whose halves a and b are.
func joined(a, b netip.Prefix) (netip.Prefix, bool) {
	if a.Bits() != b.Bits() || a.Bits() == 0 || a.Addr().Is4() != b.Addr().Is4() {
		return netip.Prefix{}, false
	}
	parent := netip.PrefixFrom(a.Addr(), a.Bits()-1).Masked()
	return parent, a != b && parent.Contains(b.Addr())
}

// halves splits a prefix, which must not be a single address.
func halves(p netip.Prefix) (low, high netip.Prefix) {
	raw := p.Addr().AsSlice()
	raw[p.Bits()/8] |= 0x80 >> (p.Bits() % 8)
	middle, _ := netip.AddrFromSlice(raw)
	return netip.PrefixFrom(p.Addr(), p.Bits()+1), netip.PrefixFrom(middle, p.Bits()+1)
}

// within are the members of s that overlap p: a piece of s, found by its ends.
func (s prefixSet) within(p netip.Prefix) prefixSet {
	first, _ := slices.BinarySearchFunc(s, p.Addr(), func(e netip.Prefix, a netip.Addr) int {
		if e.Contains(a) {
			return 0
		}
		return e.Addr().Compare(a)
	})
	last := first
	for last < len(s) && s[last].Overlaps(p) {
		last++
	}
	return s[first:last]
}

// minus is what is in s but not in other.
func (s prefixSet) minus(other prefixSet) prefixSet {
	out := prefixSet{}
	for _, p := range s {
		out = without(out, p, other.within(p))
	}
	return out
}

// without appends to out what is left of p, largest pieces first where they fit; gone are the prefixes that overlap it.
func without(out prefixSet, p netip.Prefix, gone prefixSet) prefixSet {
	switch {
	case len(gone) == 0:
		return append(out, p)
	case gone[0].Bits() <= p.Bits():
		return out
	}
	low, high := halves(p)
	i := slices.IndexFunc(gone, func(g netip.Prefix) bool { return !low.Overlaps(g) })
	if i < 0 {
		i = len(gone)
	}
	return without(without(out, low, gone[:i]), high, gone[i:])
}

// overlaps tells whether the sets have an address in common.
func (s prefixSet) overlaps(other prefixSet) bool {
	return slices.ContainsFunc(s, func(p netip.Prefix) bool { return len(other.within(p)) > 0 })
}

// covers tells whether all of other is in s.
func (s prefixSet) covers(other prefixSet) bool { return len(other.minus(s)) == 0 }

// strings are the members as text.
func (s prefixSet) strings() []string {
	out := make([]string, len(s))
	for i, p := range s {
		out[i] = p.String()
	}
	return out
}
