package ipam

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"

	"neutrino/internal/resource"
	"neutrino/internal/store"
)

// window is how many of the first free addresses a random choice is made from, as upstream does: a subnet fills from
// below, yet two servers that choose at the same time rarely choose the same.
const window = 1000

// exactLimit bounds the memory of an exact search to a bit for each of so many addresses.
const exactLimit = 1 << 24

// free finds up to n addresses that nobody has: the lowest ones, or a random choice near the start of the pools. There
// are fewer only if the pools have no more.
func (s *Subnet) free(tx *store.Tx, n int, lowest bool) ([]netip.Addr, error) {
	total := s.pools.size()
	if total == 0 || n == 0 {
		return nil, nil
	}
	if lowest {
		found, err := s.unused(tx, firstOffsets(total, int64(2*n+16)))
		if err != nil || len(found) >= n {
			return cut(found, n), err
		}
		return s.exact(tx, n, true)
	}
	// Asking for a few random addresses is cheaper than reading all that are taken. A window in which all are taken is
	// mostly full, so the next one is four times as large and asked for more; the lowest of its free ones is still near the start.
	asked := 2*n + 8
	for w := max(window, int64(4*n)); ; w, asked = w*4, 2*n+40 {
		found, err := s.unused(tx, sample(min(w, total), asked))
		if err != nil {
			return nil, err
		}
		if len(found) >= n {
			if w > max(window, int64(4*n)) {
				return cut(found, n), nil
			}
			rand.Shuffle(len(found), func(i, j int) { found[i], found[j] = found[j], found[i] })
			return found[:n], nil
		}
		if w >= total || w > exactLimit {
			return s.exact(tx, n, false)
		}
	}
}

// guess takes an address at random near the start of the pools if it is free, as most are in most subnets.
func (s *Subnet) guess(tx *store.Tx) (a netip.Addr, ok bool, err error) {
	total := s.pools.size()
	if total == 0 {
		return a, false, nil
	}
	a = s.pools.at(rand.Int64N(min(window, total)))
	n, err := tx.Exec(tx.Dialect().InsertIgnore("ipamallocations", "ip_address", "status", "ipam_subnet_id"), a.String(), "ALLOCATED", s.ipamID)
	if store.IsForeignKey(err) {
		err = store.Retry(err)
	}
	return a, n == 1, err
}

func cut(found []netip.Addr, n int) []netip.Addr { return found[:min(n, len(found))] }

func firstOffsets(total, n int64) []int64 {
	out := make([]int64, min(n, total))
	for i := range out {
		out[i] = int64(i)
	}
	return out
}

// sample chooses k different numbers below limit, in order.
func sample(limit int64, k int) []int64 {
	if limit <= int64(k) {
		return firstOffsets(limit, limit)
	}
	chosen := make(map[int64]bool, k)
	for len(chosen) < k {
		chosen[rand.Int64N(limit)] = true
	}
	out := slices.Collect(keys(chosen))
	slices.Sort(out)
	return out
}

// unused returns those of the addresses, by their offsets in the pools, that are not allocated. The primary key of
// ipamallocations begins with the address, so asking for some addresses does not read others.
func (s *Subnet) unused(tx *store.Tx, offsets []int64) ([]netip.Addr, error) {
	all := make([]netip.Addr, len(offsets))
	text := make([]string, len(offsets))
	for i, o := range offsets {
		all[i] = s.pools.at(o)
		text[i] = all[i].String()
	}
	in := resource.In("ip_address", text)
	taken, err := store.Strings(tx.Query("SELECT ip_address FROM ipamallocations WHERE ipam_subnet_id = ? AND "+in.SQL,
		append([]any{s.ipamID}, in.Args...)...))
	if err != nil {
		return nil, fmt.Errorf("read allocated addresses: %w", err)
	}
	used := make(map[string]bool, len(taken))
	for _, t := range taken {
		used[t] = true
	}
	out := make([]netip.Addr, 0, len(all))
	for i, a := range all {
		if !used[text[i]] {
			out = append(out, a)
		}
	}
	return out, nil
}

// exact reads all allocated addresses of the subnet and finds the lowest n free ones, or a random choice of the first
// free ones.
func (s *Subnet) exact(tx *store.Tx, n int, lowest bool) ([]netip.Addr, error) {
	total := min(s.pools.size(), exactLimit)
	used := make([]uint64, (total+63)/64)
	rows, err := tx.Query("SELECT ip_address FROM ipamallocations WHERE ipam_subnet_id = ?", s.ipamID)
	if err != nil {
		return nil, fmt.Errorf("read allocated addresses: %w", err)
	}
	defer rows.Close()
	var text sql.RawBytes
	for rows.Next() {
		if err := rows.Scan(&text); err != nil {
			return nil, fmt.Errorf("read allocated addresses: %w", err)
		}
		a, err := netip.ParseAddr(string(text))
		if err != nil {
			return nil, fmt.Errorf("allocated address of subnet %s: %w", s.ID, err)
		}
		if o, ok := s.pools.offset(a); ok && o < total {
			used[o/64] |= 1 << (o % 64)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read allocated addresses: %w", err)
	}
	want := n
	if !lowest {
		want = max(window, n)
	}
	var found []int64
	for o := int64(0); o < total && len(found) < want; o++ {
		if used[o/64]&(1<<(o%64)) == 0 {
			found = append(found, o)
		}
	}
	if !lowest {
		rand.Shuffle(len(found), func(i, j int) { found[i], found[j] = found[j], found[i] })
	}
	out := make([]netip.Addr, min(n, len(found)))
	for i := range out {
		out[i] = s.pools.at(found[i])
	}
	return out, nil
}
