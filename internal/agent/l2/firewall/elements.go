package firewall

import (
	"maps"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strings"

	"neutrino/internal/linux/nft"
)

// mostElements is how many elements go without a script: more do not fit one netlink message, and then the time of an
// nft process does not matter.
const mostElements = 256

// elementChanges translates changes that are only elements; not ok if a script is needed.
func (f *Firewall) elementChanges(c *changes) (all []nft.Change, ok bool) {
	if len(c.setPut)+len(c.setDel)+len(c.chainPut)+len(c.chainDel) > 0 ||
		len(c.elementPut)+len(c.elementDel) > mostElements {
		return nil, false
	}
	byFamily := map[string]*nft.Change{}
	family := func(e element) *nft.Change {
		if byFamily[e.Family] == nil {
			byFamily[e.Family] = &nft.Change{Family: e.Family, Table: tableName}
		}
		return byFamily[e.Family]
	}
	for _, e := range f.outdated(c) {
		x, ok := encode(e, "")
		if !ok {
			return nil, false
		}
		family(e).Delete = append(family(e).Delete, x)
	}
	for e, value := range c.elementPut {
		x, ok := encode(e, value)
		if !ok {
			return nil, false
		}
		family(e).Add = append(family(e).Add, x)
	}
	for _, name := range slices.Sorted(maps.Keys(byFamily)) {
		all = append(all, *byFamily[name])
	}
	return all, true
}

// encode writes an element in the kernel's form.
func encode(e element, value string) (x nft.Element, ok bool) {
	x = nft.Element{Set: e.Name, Verdict: value}
	if e.object == mapZones || isAnywhereSet(e.Name) {
		return x, false // new zones come with new networks, which are rare; so are members with every address
	}
	if isMemberSet(e.Name) {
		p, err := parsePrefix(e.Key)
		if err != nil {
			return x, false
		}
		last := p.Addr().AsSlice()
		for bit := p.Bits(); bit < p.Addr().BitLen(); bit++ {
			last[bit/8] |= 0x80 >> (bit % 8)
		}
		after, _ := netip.AddrFromSlice(last)
		after = after.Next()
		x.Key, x.End = p.Addr().AsSlice(), after.AsSlice()
		return x, after.IsValid()
	}
	for i, part := range strings.Split(e.Key, " . ") {
		b, ok := encodePart(part, i == 0)
		if !ok {
			return x, false
		}
		x.Key = append(x.Key, b...)
	}
	return x, true
}

// encodePart writes a device name, a MAC address, an IP address or a number of 128 bits.
func encodePart(part string, device bool) ([]byte, bool) {
	if device {
		const size = 16 // IFNAMSIZ
		name := make([]byte, size)
		return name, copy(name, part) == len(part)
	}
	if mac, err := net.ParseMAC(part); err == nil && len(mac) == 6 {
		return append(mac, 0, 0), true
	}
	if a, err := netip.ParseAddr(part); err == nil {
		return a.AsSlice(), true
	}
	if n, ok := new(big.Int).SetString(part, 0); ok && n.BitLen() <= 128 {
		return n.FillBytes(make([]byte, 16)), true
	}
	return nil, false
}
