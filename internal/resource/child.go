package resource

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"neutrino/internal/store"

	"github.com/google/uuid"
)

// child reads and writes the rows of a list attribute.
type child[R any] struct {
	table, parent string
	keys          []string // columns usable in column=value filters; the first is the one of plain filters
	load          func(tx *store.Tx, where Cond, byID map[string]*R) error
	save          func(tx *store.Tx, id string, old, obj *R) error
}

func newChild[R, E any](c Children[E], ref func(*R) *[]E) *child[R] {
	x := &child[R]{table: c.Table, parent: c.Parent}
	names := make([]string, len(c.Columns))
	for i, col := range c.Columns {
		names[i] = col.Name
		if col.Key {
			x.keys = append(x.keys, col.Name)
		}
	}
	x.load = func(tx *store.Tx, where Cond, byID map[string]*R) error {
		d := tx.Dialect()
		read := fmt.Sprintf("SELECT %s, %s FROM %s WHERE %s", c.Parent, strings.Join(quoted(d, names...), ", "), c.Table, where.SQL)
		if c.Position != "" {
			read += " ORDER BY " + d.Quote(c.Position)
		}
		rows, err := tx.Query(read, where.Args...)
		if err != nil {
			return fmt.Errorf("read %s: %w", c.Table, err)
		}
		defer rows.Close()
		var parent string
		dst := make([]any, 1+len(c.Columns))
		dst[0] = &parent
		for rows.Next() {
			var e E
			for i, col := range c.Columns {
				dst[1+i] = col.Ref(&e)
			}
			if err := rows.Scan(dst...); err != nil {
				return fmt.Errorf("read %s: %w", c.Table, err)
			}
			if obj := byID[parent]; obj != nil {
				list := ref(obj)
				*list = append(*list, e)
			}
		}
		if c.Position == "" {
			for _, obj := range byID {
				c.sort(*ref(obj))
			}
		}
		return rows.Err()
	}
	if !c.ReadOnly {
		x.save = func(tx *store.Tx, id string, old, obj *R) error {
			return saveList(tx, c, names, id, *ref(old), *ref(obj))
		}
	}
	return x
}

// sort brings the elements of one object into order. The database would have to sort those of all objects together.
func (c *Children[E]) sort(list []E) {
	if len(list) < 2 {
		return
	}
	by := max(0, slices.IndexFunc(c.Columns, func(col Col[E]) bool { return col.Name == c.Order }))
	slices.SortStableFunc(list, func(a, b E) int {
		return strings.Compare(*c.Columns[by].Ref(&a).(*string), *c.Columns[by].Ref(&b).(*string))
	})
}

// quoted protects column names that are words of SQL, such as order.
func quoted(d store.Dialect, names ...string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = d.Quote(n)
	}
	return out
}

// saveList deletes rows that are gone and inserts new ones. With a Position all rows are written again if any moved.
func saveList[E any](tx *store.Tx, c Children[E], names []string, id string, old, now []E) error {
	same := func(a E) func(E) bool { return func(b E) bool { return reflect.DeepEqual(a, b) } }
	if c.Position != "" && !reflect.DeepEqual(old, now) && len(old) > 0 {
		if _, err := tx.Exec("DELETE FROM "+c.Table+" WHERE "+c.Parent+" = ?", id); err != nil {
			return fmt.Errorf("write %s: %w", c.Table, err)
		}
		old = nil
	}
	for _, e := range old {
		if slices.ContainsFunc(now, same(e)) {
			continue
		}
		args := []any{id}
		for _, col := range c.Columns {
			args = append(args, col.Ref(&e))
		}
		if _, err := tx.Exec("DELETE FROM "+c.Table+" WHERE "+c.Parent+" = ? AND "+strings.Join(quoted(tx.Dialect(), names...), " = ? AND ")+" = ?",
			args...); err != nil {
			return fmt.Errorf("write %s: %w", c.Table, err)
		}
	}
	for i, e := range now {
		if slices.ContainsFunc(old, same(e)) {
			continue
		}
		cols, args := append([]string{c.Parent}, quoted(tx.Dialect(), names...)...), []any{id}
		for _, col := range c.Columns {
			args = append(args, col.Ref(&e))
		}
		if c.Position != "" {
			cols, args = append(cols, tx.Dialect().Quote(c.Position)), append(args, i)
		}
		if c.NewID != "" {
			cols, args = append(cols, c.NewID), append(args, uuid.NewString())
		}
		if err := insertRow(tx, c.Table, strings.Join(cols, ", "), args); err != nil {
			return fmt.Errorf("write %s: %w", c.Table, err)
		}
	}
	return nil
}

// listChunk is how many ids go into one IN list.
const listChunk = 5000

// loadChildren fills the list attributes of objs.
func (r *engine[R]) loadChildren(tx *store.Tx, q *Query, set Set, objs []*R) error {
	var byID map[string]*R
	var ids []string
	for i := range set.All() {
		c := r.Attrs[i].child
		if c == nil || len(objs) == 0 {
			continue
		}
		if byID == nil {
			byID = make(map[string]*R, len(objs))
			for _, o := range objs {
				byID[r.ID(o)] = o
				ids = append(ids, r.ID(o))
			}
		}
		if len(objs) > 1000 && q.Limit == 0 && q.Marker == "" { // one query with the same conditions, not thousands of ids
			s := &statement{}
			if q.Caller != nil {
				s.project = q.Caller.ProjectID
			}
			s.WriteString(c.parent + " IN (SELECT t." + r.table.IDColumn)
			r.from(s, 0, &Query{Where: q.Where})
			r.where(s, q)
			s.WriteString(")")
			if err := c.load(tx, Cond{s.String(), s.args}, byID); err != nil {
				return err
			}
			continue
		}
		for chunk := range slices.Chunk(ids, listChunk) {
			if err := c.load(tx, In(c.parent, chunk), byID); err != nil {
				return err
			}
		}
	}
	return nil
}
