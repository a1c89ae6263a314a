package ipam

import (
	"encoding/binary"
	"math"
	"net/netip"
	"slices"

	"neutrino/internal/model"
)

// span is a range of addresses; both ends belong to it.
type span struct{ first, last netip.Addr }

func (s span) String() string { return s.first.String() + "-" + s.last.String() }

func (s span) contains(a netip.Addr) bool {
	return a.Is4() == s.first.Is4() && s.first.Compare(a) <= 0 && a.Compare(s.last) <= 0
}

// size is the number of addresses, at most MaxInt64.
func (s span) size() int64 {
	h1, l1 := halves(s.first)
	h2, l2 := halves(s.last)
	if h1 != h2 || l2-l1 >= math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(l2-l1) + 1
}

// at is the address with offset i.
func (s span) at(i int64) netip.Addr {
	h, l := halves(s.first)
	low := l + uint64(i)
	if low < l {
		h++
	}
	return fromHalves(h, low, s.first.Is4())
}

// offset is the distance of a, which is in s, from the first address, at most MaxInt64.
func (s span) offset(a netip.Addr) int64 { return span{s.first, a}.size() - 1 }

func halves(a netip.Addr) (high, low uint64) {
	if a.Is4() {
		b := a.As4()
		return 0, uint64(binary.BigEndian.Uint32(b[:]))
	}
	b := a.As16()
	return binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
}

func fromHalves(high, low uint64, is4 bool) netip.Addr {
	if is4 {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(low))
		return netip.AddrFrom4(b)
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], high)
	binary.BigEndian.PutUint64(b[8:], low)
	return netip.AddrFrom16(b)
}

// spans are the allocation pools of a subnet in the order of their addresses.
type spans []span

func (ss spans) size() int64 {
	var n int64
	for _, s := range ss {
		if n += s.size(); n < 0 {
			return math.MaxInt64
		}
	}
	return n
}

// at is the address with offset i in all pools together.
func (ss spans) at(i int64) netip.Addr {
	for _, s := range ss {
		if n := s.size(); i >= n {
			i -= n
			continue
		}
		return s.at(i)
	}
	return netip.Addr{}
}

// offset is the inverse of at; false means that a is in no pool.
func (ss spans) offset(a netip.Addr) (int64, bool) {
	var before int64
	for _, s := range ss {
		if s.contains(a) {
			return before + s.offset(a), true
		}
		before += s.size()
	}
	return 0, false
}

func (ss spans) pools() []model.Pool {
	out := make([]model.Pool, len(ss))
	for i, s := range ss {
		out[i] = model.Pool{Start: s.first.String(), End: s.last.String()}
	}
	return out
}

func (ss spans) sort() {
	slices.SortFunc(ss, func(a, b span) int { return a.first.Compare(b.first) })
}

// last is the highest address of a prefix.
func last(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
