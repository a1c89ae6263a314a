package ml2

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"neutrino/internal/store"
)

// ids is a table of numbers that can be taken: a row for each, with a column that says whether it is. For VLANs it has
// the numbers of all physical networks.
type ids struct {
	table, column string
	physnet       string // column of the physical network, "" = none
}

// rowsPerFill is how many numbers one INSERT adds.
const rowsPerFill = 1000

// where is the condition for the numbers of one physical network.
func (t ids) where(physnet string) (string, []any) {
	if t.physnet == "" {
		return "1 = 1", nil
	}
	return t.physnet + " = ?", []any{physnet}
}

// takeAny takes a free number of the ranges: the lowest, or at random one found from a random one on, so that servers at
// the same time rarely meet. If somebody is faster nevertheless, the transaction starts again.
func (t ids) takeAny(tx *store.Tx, physnet string, ranges []Range, random bool) (id int, ok bool, err error) {
	if len(ranges) == 0 {
		return 0, false, nil
	}
	where, args := t.where(physnet)
	inside, bounds := t.within(ranges)
	starts := []int{0}
	if random {
		starts = []int{start(ranges), 0}
	}
	for _, from := range starts {
		id, ok, err = store.One[int](tx.QueryRow("SELECT "+t.column+" FROM "+t.table+" WHERE "+where+" AND ("+inside+") AND allocated = ? AND "+
			t.column+" >= ? ORDER BY "+t.column+" LIMIT 1", slices.Concat(args, bounds, []any{false, from})...))
		if err != nil || ok {
			break
		}
	}
	if err != nil || !ok {
		return 0, false, err
	}
	n, err := tx.Exec("UPDATE "+t.table+" SET allocated = ? WHERE "+where+" AND "+t.column+" = ? AND allocated = ?",
		append(append([]any{true}, args...), id, false)...)
	if err == nil && n == 0 {
		err = store.Retry(fmt.Errorf("%s %d was taken", t.column, id))
	}
	return id, true, err
}

// within is the condition for the numbers of the ranges.
func (t ids) within(ranges []Range) (string, []any) {
	inside, bounds := "1 = 0", []any(nil)
	for _, r := range ranges {
		inside += " OR " + t.column + " BETWEEN ? AND ?"
		bounds = append(bounds, r.Min, r.Max)
	}
	return inside, bounds
}

func start(ranges []Range) int {
	total := 0
	for _, r := range ranges {
		total += r.Max - r.Min + 1
	}
	if total <= 0 {
		return 0
	}
	k := rand.IntN(total)
	for _, r := range ranges {
		if size := r.Max - r.Min + 1; k >= size {
			k -= size
			continue
		}
		return r.Min + k
	}
	return 0
}

// take takes a certain number, in or outside the ranges; false means that somebody has it.
func (t ids) take(tx *store.Tx, physnet string, id int) (bool, error) {
	where, args := t.where(physnet)
	n, err := tx.Exec("UPDATE "+t.table+" SET allocated = ? WHERE "+where+" AND "+t.column+" = ? AND allocated = ?",
		append(append([]any{true}, args...), id, false)...)
	if err != nil || n > 0 {
		return n > 0, err
	}
	columns, values := []string{t.column, "allocated"}, []any{id, true}
	if t.physnet != "" {
		columns, values = append(columns, t.physnet), append(values, physnet)
	}
	n, err = tx.Exec(tx.Dialect().InsertIgnore(t.table, columns...), values...)
	return n > 0, err
}

// release frees a number, and forgets it if it is outside the ranges.
func (t ids) release(tx *store.Tx, physnet string, id int, ranges []Range) error {
	where, args := t.where(physnet)
	args = append(args, id)
	if !slices.ContainsFunc(ranges, func(r Range) bool { return r.Min <= id && id <= r.Max }) {
		_, err := tx.Exec("DELETE FROM "+t.table+" WHERE "+where+" AND "+t.column+" = ?", args...)
		return err
	}
	_, err := tx.Exec("UPDATE "+t.table+" SET allocated = ? WHERE "+where+" AND "+t.column+" = ?", append([]any{false}, args...)...)
	return err
}

// synchronise adds the numbers of the ranges that the table lacks and removes free ones that are in no range.
func (t ids) synchronise(tx *store.Tx, physnet string, ranges []Range) error {
	where, args := t.where(physnet)
	inside, bounds := t.within(ranges)
	_, err := tx.Exec("DELETE FROM "+t.table+" WHERE "+where+" AND allocated = ? AND NOT ("+inside+")",
		append(append(slices.Clone(args), false), bounds...)...)
	if err != nil {
		return err
	}
	wanted := union(ranges)
	have, _, err := store.One[int](tx.QueryRow("SELECT COUNT(*) FROM "+t.table+" WHERE "+where+" AND ("+inside+")",
		append(slices.Clone(args), bounds...)...))
	if err != nil || have == count(wanted) {
		return err
	}
	rows, err := tx.Query("SELECT "+t.column+" FROM "+t.table+" WHERE "+where, args...)
	existing, err := store.All(rows, err, func(r *sql.Rows) (id int, err error) { err = r.Scan(&id); return id, err })
	if err != nil {
		return err
	}
	return t.fill(tx, physnet, wanted, existing)
}

// fill inserts the numbers of the ranges but the existing ones. A rival who does the same makes the transaction start
// again, and then nothing is missing.
func (t ids) fill(tx *store.Tx, physnet string, ranges []Range, existing []int) error {
	known := make(map[int]bool, len(existing))
	for _, id := range existing {
		known[id] = true
	}
	columns, prefix := t.column+", allocated", ""
	var args []any
	if t.physnet != "" {
		columns, prefix = t.physnet+", "+columns, "?, "
	}
	var values strings.Builder
	n := 0
	flush := func() error {
		if n == 0 {
			return nil
		}
		_, err := tx.Exec("INSERT INTO "+t.table+" ("+columns+") VALUES "+values.String(), args...)
		if store.IsDuplicate(err) {
			err = store.Retry(err)
		}
		values.Reset()
		args, n = args[:0], 0
		return err
	}
	for _, r := range ranges {
		for id := r.Min; id <= r.Max; id++ {
			if known[id] {
				continue
			}
			if n > 0 {
				values.WriteString(", ")
			}
			values.WriteString("(" + prefix + strconv.Itoa(id) + ", false)")
			if t.physnet != "" {
				args = append(args, physnet)
			}
			if n++; n == rowsPerFill {
				if err := flush(); err != nil {
					return err
				}
			}
		}
	}
	return flush()
}

// union merges ranges that overlap.
func union(ranges []Range) []Range {
	sorted := slices.Clone(ranges)
	slices.SortFunc(sorted, func(a, b Range) int { return a.Min - b.Min })
	var out []Range
	for _, r := range sorted {
		if k := len(out) - 1; k >= 0 && r.Min <= out[k].Max {
			out[k].Max = max(out[k].Max, r.Max)
		} else {
			out = append(out, r)
		}
	}
	return out
}

func count(ranges []Range) int {
	n := 0
	for _, r := range ranges {
		n += r.Max - r.Min + 1
	}
	return n
}
