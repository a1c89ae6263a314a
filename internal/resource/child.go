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
type child[P any] struct {
	table, parent string
	keys          []string // columns usable in column=value filters; the first is the one of plain filters
	load          func(tx *store.Tx, from func(table, columns, key string) *statement, byID *index[P]) error
	save          func(tx *store.Tx, id string, old, obj P) error
	exists        string // SQL that is false if an object has no elements
}

func newChild[P, E any](c Children[E], ref func(P) *[]E) *child[P] {
	x := &child[P]{table: c.Table, parent: c.Parent}
	names := make([]string, len(c.Columns))
	for i, col := range c.Columns {
		names[i] = col.Name
		if col.Key {
			x.keys = append(x.keys, col.Name)
		}
	}
	x.load = func(tx *store.Tx, from func(table, columns, key string) *statement, byID *index[P]) error {
		d := tx.Dialect()
		columns := "child." + c.Parent
		for _, n := range names {
			columns += ", child." + d.Quote(n)
		}
		s := from(c.Table+" child", columns, columns[:len("child."+c.Parent)])
		if c.Position != "" {
			s.WriteString(" ORDER BY child." + d.Quote(c.Position))
		}
		err := tx.Each(s.String(), s.args, func(row *store.Row) error {
			obj, ok := byID.find(row.Bytes(0))
			if !ok {
				return nil
			}
			var e E
			for i, col := range c.Columns {
				if err := scanInto(col.Ref(&e), row, i+1); err != nil {
					return err
				}
			}
			list := ref(obj)
			*list = append(*list, e)
			return nil
		})
		if err != nil {
			return fmt.Errorf("read %s: %w", c.Table, err)
		}
		if c.Position == "" {
			for _, obj := range byID.objs {
				c.sort(*ref(obj))
			}
		}
		return nil
	}
	if !c.ReadOnly {
		x.save = func(tx *store.Tx, id string, old, obj P) error {
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
	if c.Position != "" && !reflect.DeepEqual(old, now) && len(old) > 0 {
		if _, err := tx.Exec("DELETE FROM "+c.Table+" WHERE "+c.Parent+" = ?", id); err != nil {
			return fmt.Errorf("write %s: %w", c.Table, err)
		}
		old = nil
	}
	had, has := c.rows(old), c.rows(now)
	for _, e := range old {
		if has[c.row(&e)] {
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
	columns := append([]string{c.Parent}, names...)
	if c.Position != "" {
		columns = append(columns, c.Position)
	}
	if c.NewID != "" {
		columns = append(columns, c.NewID)
	}
	var rows [][]any
	for i, e := range now {
		if had[c.row(&e)] {
			continue
		}
		args := []any{id}
		for _, col := range c.Columns {
			args = append(args, col.Ref(&e))
		}
		if c.Position != "" {
			args = append(args, i)
		}
		if c.NewID != "" {
			args = append(args, uuid.NewString())
		}
		rows = append(rows, args)
	}
	if err := tx.InsertRows(c.Table, columns, rows); err != nil {
		return fmt.Errorf("write %s: %w", c.Table, err)
	}
	return nil
}

// row is what the columns of an element hold, as a key.
func (c *Children[E]) row(e *E) string {
	var b []byte
	for _, col := range c.Columns {
		v := reflect.ValueOf(col.Ref(e)).Elem()
		for v.Kind() == reflect.Pointer && !v.IsNil() {
			v = v.Elem()
		}
		b = fmt.Appendf(b, "%#v,", v)
	}
	return string(b)
}

func (c *Children[E]) rows(list []E) map[string]bool {
	set := make(map[string]bool, len(list))
	for i := range list {
		set[c.row(&list[i])] = true
	}
	return set
}

const (
	lookUp    = 8    // how many rows SQLite reads in a row in the time of looking for one (measured)
	longList  = 1000 // more objects are found again by their conditions
	listChunk = 5000 // how many ids go into one IN list
)

// loadOthers fills the attributes that are in tables of their own: those of side tables in apart, and the lists.
func (r *engine[P]) loadOthers(tx *store.Tx, q *Query, p *probed[P], read, apart Set, objs []P) error {
	if len(objs) == 0 {
		return nil
	}
	var byID *index[P]
	loads := map[string]bool{}
	for i := range read.All() {
		a := &r.Attrs[i]
		if a.child == nil && (!apart.Has(i) || loads[a.optional]) {
			continue
		}
		loads[a.optional] = true
		if byID == nil {
			byID = r.index(objs)
		}
		load := r.loadSide(a.optional, apart)
		if a.child != nil {
			load = a.child.load
		}
		byID.last = 0
		if whole := r.mostOf(q, p, len(objs)); whole || len(objs) > longList && q.Limit == 0 && q.Marker == "" {
			err := load(tx, func(table, columns, key string) *statement {
				if whole {
					s := &statement{}
					s.WriteString("SELECT " + columns + " FROM " + table)
					return s
				}
				return r.ofFound(q, table, columns, key)
			}, byID)
			if err != nil {
				return err
			}
			continue
		}
		for chunk := range slices.Chunk(byID.ids, listChunk) {
			err := load(tx, func(table, columns, key string) *statement {
				in := In(key, chunk)
				s := &statement{args: in.Args, conditional: true}
				s.WriteString("SELECT " + columns + " FROM " + table + " WHERE " + in.SQL)
				return s
			}, byID)
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// loadSide reads the attributes in set that are in a side table.
func (r *engine[P]) loadSide(side string, set Set) func(*store.Tx, func(table, columns, key string) *statement, *index[P]) error {
	return func(tx *store.Tx, from func(table, columns, key string) *statement, byID *index[P]) error {
		key := side + "." + r.table.Sides[side].Key
		columns := key
		var attrs []*attr[P]
		for i := range set.All() {
			if a := &r.Attrs[i]; a.optional == side && a.column != nil {
				attrs = append(attrs, a)
				columns += ", " + a.column.expr
			}
		}
		s := from(side, columns, key)
		if and := r.table.Sides[side].And; and != "" {
			s.WriteString(map[bool]string{false: " WHERE ", true: " AND "}[s.conditional] + and)
		}
		err := tx.Each(s.String(), s.args, func(row *store.Row) error {
			obj, ok := byID.find(row.Bytes(0))
			if !ok {
				return nil
			}
			for i, a := range attrs {
				if err := a.scan(obj, row, i+1); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("read %s: %w", side, err)
		}
		return nil
	}
}

// mostOf tells whether the n objects that q found are so many of all that it is faster to read all rows of other tables than
// to look for those of each.
func (r *engine[P]) mostOf(q *Query, p *probed[P], n int) bool {
	return len(q.Where) == 0 && !r.limits(q) && q.Limit == 0 || p.rows > 0 && p.rows < lookUp*int64(n)
}

// ofFound begins the query of the rows of another table that belong to the objects that q finds.
func (r *engine[P]) ofFound(q *Query, table, columns, key string) *statement {
	s := &statement{conditional: true, project: q.project()}
	s.WriteString("SELECT " + columns)
	r.from(s, 0, false, &Query{Where: q.Where})
	s.WriteString(" JOIN " + table + " ON " + key + " = t." + r.table.IDColumn)
	r.where(s, q)
	return s
}

// index finds objects by their keys, fastest in the order in which they were read.
type index[P any] struct {
	ids  []string
	objs []P
	byID map[string]int // made when it is needed
	last int            // of the object found before
}

func (r *engine[P]) index(objs []P) *index[P] {
	x := &index[P]{ids: make([]string, len(objs)), objs: objs}
	for i, o := range objs {
		x.ids[i] = r.ID(o)
	}
	return x
}

func (x *index[P]) find(id []byte) (obj P, ok bool) {
	for i := x.last; i < min(x.last+2, len(x.ids)); i++ {
		if x.ids[i] == string(id) {
			x.last = i
			return x.objs[i], true
		}
	}
	if x.byID == nil {
		x.byID = make(map[string]int, len(x.ids))
		for i, id := range x.ids {
			x.byID[id] = i
		}
	}
	i, ok := x.byID[string(id)]
	if !ok {
		return obj, false
	}
	x.last = i
	return x.objs[i], true
}
