package subnetpool

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func set(texts ...string) prefixSet {
	var prefixes []netip.Prefix
	for _, t := range texts {
		prefixes = append(prefixes, netip.MustParsePrefix(t))
	}
	return newSet(prefixes)
}

func TestSetsAreCompact(t *testing.T) {
	for _, c := range []struct{ in, want []string }{
		{[]string{}, []string{}},
		{[]string{"10.1.0.0/16", "10.0.0.0/16"}, []string{"10.0.0.0/15"}},
		{[]string{"10.0.0.0/24", "10.0.0.0/8"}, []string{"10.0.0.0/8"}},
		{[]string{"10.1.0.0/16", "10.2.0.0/16"}, []string{"10.1.0.0/16", "10.2.0.0/16"}},
		{[]string{"10.0.0.0/10", "10.64.0.0/10", "10.128.0.0/9"}, []string{"10.0.0.0/8"}},
		{[]string{"0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"}, []string{"0.0.0.0/0", "::/0"}},
		{[]string{"fd00::1/64", "fd00::/64"}, []string{"fd00::/64"}},
	} {
		if d := cmp.Diff(c.want, set(c.in...).strings()); d != "" {
			t.Errorf("%v: %s", c.in, d)
		}
	}
}

func TestDifference(t *testing.T) {
	for _, c := range []struct{ a, b, want []string }{
		{[]string{"10.0.0.0/8"}, nil, []string{"10.0.0.0/8"}},
		{[]string{"10.0.0.0/8"}, []string{"10.0.0.0/8"}, []string{}},
		{[]string{"10.0.0.0/24"}, []string{"10.0.0.0/8"}, []string{}},
		{[]string{"10.0.0.0/24"}, []string{"10.0.0.64/26"}, []string{"10.0.0.0/26", "10.0.0.128/25"}},
		{[]string{"10.0.0.0/30", "10.1.0.0/30"}, []string{"10.0.0.1/32", "10.1.0.2/31"}, []string{"10.0.0.0/32", "10.0.0.2/31", "10.1.0.0/31"}},
		{[]string{"fd00::/62"}, []string{"fd00::/64", "fd00:0:0:3::/64"}, []string{"fd00:0:0:1::/64", "fd00:0:0:2::/64"}},
		{[]string{"10.0.0.0/8"}, []string{"fd00::/64"}, []string{"10.0.0.0/8"}},
	} {
		if d := cmp.Diff(c.want, set(c.a...).minus(set(c.b...)).strings()); d != "" {
			t.Errorf("%v - %v: %s", c.a, c.b, d)
		}
	}
}

// The operations agree with those on single addresses, of which a /24 has few enough.
func TestSetsAreSetsOfAddresses(t *testing.T) {
	prefix := rapid.Custom(func(t *rapid.T) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, rapid.Byte().Draw(t, "host")}), rapid.IntRange(26, 32).Draw(t, "bits")).Masked()
	})
	has := func(prefixes []netip.Prefix, host int) bool {
		a := netip.AddrFrom4([4]byte{10, 0, 0, byte(host)})
		return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.SliceOfN(prefix, 0, 8).Draw(t, "a"), rapid.SliceOfN(prefix, 0, 8).Draw(t, "b")
		x, y := newSet(a), newSet(b)
		diff := x.minus(y)
		overlap, covered := false, true
		for host := range 256 {
			inA, inB := has(a, host), has(b, host)
			overlap = overlap || inA && inB
			covered = covered && (inA || !inB)
			if has(x, host) != inA || has(diff, host) != (inA && !inB) {
				t.Fatalf("address %d: in %v %v, in %v %v, in the difference %v %v", host, x, has(x, host), y, inB, diff, has(diff, host))
			}
		}
		if x.overlaps(y) != overlap || x.covers(y) != covered {
			t.Fatalf("%v, %v: overlaps %v, covers %v", x, y, x.overlaps(y), x.covers(y))
		}
		if again := newSet(diff); !slices.Equal(again, diff) {
			t.Fatalf("%v is not compact", diff)
		}
	})
}
