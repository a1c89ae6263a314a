package resource

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"neutrino/internal/identity"
	"neutrino/internal/store"
)

// Query says which objects to read, what of them, and in which order.
type Query struct {
	Set     Set // attributes to read; the id always is
	Where   []Cond
	Sort    []SortKey
	Limit   int    // 0 = no limit
	Marker  string // id of the last object of the page before
	Reverse bool   // the page before the marker
	// Caller limits the result to what they may see; nil means the system.
	Caller *identity.Caller
}

// SortKey is one sort_key with its direction.
type SortKey struct {
	Attr int
	Desc bool
}

// sorted are the attributes by which the objects are sorted.
func (q *Query) sorted() (s Set) {
	for _, k := range q.Sort {
		s |= 1 << k.Attr
	}
	return s
}

// project is the caller's; empty if that is the system.
func (q *Query) project() string {
	if q.Caller == nil {
		return ""
	}
	return q.Caller.ProjectID
}

func (c *Cond) mentions(table string) bool { return strings.Contains(c.SQL, table+".") }

// statement collects SQL and its arguments in the order of the text.
type statement struct {
	strings.Builder
	args    []any
	project string
	// conditional says that there is a WHERE.
	conditional bool
}

// expr writes an expression and turns each ":project" into an argument.
func (s *statement) expr(e string) {
	for {
		before, after, found := strings.Cut(e, ":project")
		s.WriteString(before)
		if !found {
			return
		}
		s.WriteByte('?')
		s.args = append(s.args, s.project)
		e = after
	}
}

func (s *statement) cond(c Cond) {
	if strings.Contains(c.SQL, ":project") {
		s.expr(c.SQL)
	} else {
		s.WriteString(c.SQL)
	}
	s.args = append(s.args, c.Args...)
}

// from writes the FROM clause with the tables that the attributes or the conditions need, and with the standard
// attributes if they are wanted or needed.
func (r *engine[P]) from(s *statement, need Set, standard bool, q *Query, more ...Cond) {
	need |= q.sorted()
	mentioned := func(table string) bool {
		mentions := func(c Cond) bool { return strings.Contains(c.SQL, table) }
		return slices.ContainsFunc(q.Where, mentions) || slices.ContainsFunc(more, mentions)
	}
	s.WriteString(" FROM " + r.table.Name + " t")
	if r.table.Standard != nil && (standard || need&^r.Bit("id") != 0 || mentioned("sa.")) {
		s.WriteString(" JOIN standardattributes sa ON sa.id = t.standard_attr_id")
	}
	for _, j := range r.joins {
		if need&j.users != 0 || mentioned(j.table) {
			s.WriteString(j.sql)
		}
	}
}

// limits tells whether the caller may not see all objects.
func (r *engine[P]) limits(q *Query) bool {
	return r.table.Visible != "" && q.Caller != nil && !q.Caller.SeesAll()
}

// where writes the WHERE clause: the caller's view, then the conditions.
func (r *engine[P]) where(s *statement, q *Query, more ...Cond) {
	sep := " WHERE "
	if r.limits(q) {
		s.WriteString(sep + "(")
		s.expr(r.table.Visible)
		s.WriteString(")")
		sep = " AND "
	}
	for _, c := range slices.Concat(q.Where, more) {
		s.WriteString(sep)
		s.cond(c)
		sep = " AND "
	}
}

// Select reads objects: one query for the rows, one for each list attribute in the set, and one that tells which tables
// need not be asked, however many there are. On some databases side tables have queries of their own, too. For an object
// with a certain id, the query of the row tells which lists it has.
func (r *engine[P]) Select(tx *store.Tx, q *Query) ([]P, error) {
	read := q.Set | r.Bit("id")
	single := slices.ContainsFunc(q.Where, func(c Cond) bool { return c.SQL == r.single })
	p, err := r.probe(tx, read, single)
	if err != nil {
		return nil, err
	}
	read &^= p.absent
	var apart Set
	if !single {
		apart = r.apart(tx, q, read)
	}
	standard := r.table.Standard != nil && q.Set&^r.Bit("id") != 0 // read as a whole
	plan, args, err := r.plan(tx, q, read&^apart, standard, single)
	if err != nil {
		return nil, err
	}
	var objs []P
	create := r.maker()
	err = tx.Each(plan.text, args, func(row *store.Row) error {
		obj := create()
		r.copy(obj, p.blank)
		for i, a := range plan.attrs {
			if err := a.scan(obj, row, i); err != nil {
				return err
			}
		}
		objs = append(objs, obj)
		next := len(plan.attrs)
		if standard {
			if err := scanStandard(r.table.Standard(obj), row, next); err != nil {
				return err
			}
			next += standardCount
		}
		for at, i := range plan.lists {
			if row.Int(next+at) == 0 {
				p.absent |= 1 << i
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", r.Collection, err)
	}
	if q.Reverse {
		slices.Reverse(objs)
	}
	return objs, r.loadOthers(tx, q, p, read&^p.absent, apart, objs)
}

// plan makes the query of the rows, and its arguments.
func (r *engine[P]) plan(tx *store.Tx, q *Query, read Set, standard, single bool) (*plan[P], []any, error) {
	if single && len(q.Where) == 1 && len(q.Sort) == 0 && q.Limit == 0 && q.Marker == "" {
		p := r.plans.get(planKey{read, standard, r.limits(q)}, func() *plan[P] {
			p, s := r.write(q, read, standard, single)
			p.projects = len(s.args) - len(q.Where[0].Args)
			return p
		})
		return p, append(slices.Repeat([]any{q.project()}, p.projects), q.Where[0].Args...), nil
	}
	var more []Cond
	if q.Marker != "" {
		after, ok, err := r.after(tx, q)
		if err != nil {
			return nil, nil, err
		}
		if ok {
			more = append(more, after)
		}
	}
	p, s := r.write(q, read, standard, single, more...)
	return p, s.args, nil
}

// write writes the query of the rows.
func (r *engine[P]) write(q *Query, read Set, standard, single bool, more ...Cond) (*plan[P], *statement) {
	s := &statement{project: q.project()}
	p := &plan[P]{attrs: r.columns(s, read, standard)}
	if single {
		p.lists = r.listColumns(s, read)
	}
	r.from(s, read, standard, q, more...)
	r.page(s, q, more...)
	p.text = s.String()
	return p, s
}

// page writes the conditions, the order and the limit. A page is found first, by its keys alone: what the database has to
// sort is then as small as can be, and nothing is looked up for the rows that are not on it.
func (r *engine[P]) page(s *statement, q *Query, more ...Cond) {
	if q.Limit == 0 {
		r.where(s, q, more...)
		r.order(s, q)
		return
	}
	s.WriteString(" JOIN (SELECT t." + r.table.IDColumn + " AS page_id")
	r.from(s, 0, false, q, more...)
	r.where(s, q, more...)
	r.order(s, q)
	s.WriteString(") page ON page.page_id = t." + r.table.IDColumn)
	r.order(s, &Query{Sort: q.Sort, Marker: q.Marker, Limit: q.Limit, Reverse: q.Reverse})
}

// columns begins the query of the rows, and returns the attributes that its columns hold; those of standard follow.
func (r *engine[P]) columns(s *statement, read Set, standard bool) []*attr[P] {
	var attrs []*attr[P]
	s.WriteString("SELECT ")
	for i := range read.All() {
		a := &r.Attrs[i]
		if a.column == nil || a.same&read != 0 || standard && strings.HasPrefix(a.column.expr, "sa.") {
			continue
		}
		if len(attrs) > 0 {
			s.WriteString(", ")
		}
		s.expr(a.column.expr)
		attrs = append(attrs, a)
	}
	if standard {
		s.WriteString(", " + standardColumns)
	}
	return attrs
}

// listColumns adds columns that tell which lists an object has, and returns the numbers of the lists' attributes.
func (r *engine[P]) listColumns(s *statement, read Set) (lists []int) {
	for i := range read.All() {
		if a := &r.Attrs[i]; a.child != nil {
			s.WriteString(", " + a.child.exists)
			lists = append(lists, i)
		}
	}
	return lists
}

// probed is what a look at the tables tells before objects are read.
type probed[P any] struct {
	// absent are the attributes that no object has because their tables are empty, as those of rarely used extensions
	// are. Looking up 5000 rows that are not there costs as much as reading ports.
	absent Set
	blank  P     // has the values of attributes without a row in their side tables
	rows   int64 // bound of the number of rows in the main table; 0 = unknown
}

// probe looks at the tables, unless it is for a single object.
func (r *engine[P]) probe(tx *store.Tx, read Set, single bool) (*probed[P], error) {
	p := &probed[P]{blank: r.create()}
	if r.table.Blank != nil {
		r.table.Blank(p.blank)
	}
	if single {
		return p, nil
	}
	tables := map[string]int{} // the columns that tell whether they have rows
	var columns []string
	for i := range read.All() {
		if table := r.Attrs[i].optional; table != "" {
			if _, ok := tables[table]; !ok {
				tables[table] = len(columns)
				columns = append(columns, "EXISTS (SELECT 1 FROM "+table+")")
			}
		}
	}
	if len(tables) == 0 {
		return p, nil
	}
	values := map[int]int{} // the columns that have the values of attributes
	for i := range read.All() {
		if a := &r.Attrs[i]; a.optional != "" && a.column != nil {
			values[i] = len(columns)
			columns = append(columns, a.column.absent)
		}
	}
	bound := tx.Dialect().RowBound(r.table.Name)
	if bound != "" {
		columns = append(columns, bound)
	}
	err := tx.Each("SELECT "+strings.Join(columns, ", "), nil, func(row *store.Row) error {
		if bound != "" {
			p.rows = row.Int(len(columns) - 1)
		}
		for i := range read.All() {
			a := &r.Attrs[i]
			if a.optional != "" && row.Int(tables[a.optional]) == 0 {
				p.absent |= 1 << i
			}
			if at, ok := values[i]; ok {
				if err := a.scan(p.blank, row, at); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", r.Collection, err)
	}
	return p, nil
}

// apart are the attributes of side tables that are read by queries of their own. Where a join means to look up each row,
// long lists are read faster by going through both tables.
func (r *engine[P]) apart(tx *store.Tx, q *Query, read Set) (apart Set) {
	if tx.Dialect().RowBound(r.table.Name) == "" {
		return 0
	}
	for i := range (read &^ q.sorted()).All() {
		a := &r.Attrs[i]
		if a.optional != "" && a.column != nil && !slices.ContainsFunc(q.Where, func(c Cond) bool { return c.mentions(a.optional) }) {
			apart |= 1 << i
		}
	}
	return apart
}

// Get reads one object. What the caller may not see does not exist.
func (r *engine[P]) Get(tx *store.Tx, caller *identity.Caller, id string, set Set) (obj P, err error) {
	if strings.ContainsRune(id, 0) { // PostgreSQL would refuse the question
		return obj, r.NotFound(id)
	}
	if r.table.FoundByAll && caller != nil {
		caller = caller.Elevated()
	}
	objs, err := r.Select(tx, &Query{Set: set, Caller: caller, Where: []Cond{r.ByID(id)}})
	if err != nil {
		return obj, err
	}
	if len(objs) == 0 {
		return obj, r.NotFound(id)
	}
	return objs[0], nil
}

// ByID is the condition for the objects with these keys.
func (r *engine[P]) ByID(ids ...string) Cond { return In("t."+r.table.IDColumn, ids) }

// In is the condition `expr IN (values)`; no values match nothing.
func In[T any](expr string, values []T) Cond {
	if len(values) == 0 {
		return Cond{SQL: "1 = 0"}
	}
	args := make([]any, len(values))
	for i, v := range values {
		args[i] = v
	}
	if len(values) == 1 {
		return Cond{expr + " = ?", args}
	}
	return Cond{expr + " IN " + store.In(len(values)), args}
}

// Count counts the objects that match.
func (r *engine[P]) Count(tx *store.Tx, q *Query) (int, error) {
	s := &statement{}
	if q.Caller != nil {
		s.project = q.Caller.ProjectID
	}
	s.WriteString("SELECT COUNT(*)")
	r.from(s, 0, false, q)
	r.where(s, q)
	var n int
	if err := tx.QueryRow(s.String(), s.args...).Scan(&n); err != nil {
		return 0, fmt.Errorf("count %s: %w", r.Collection, err)
	}
	return n, nil
}

// Insert writes a new object: standard attributes, main row, side rows and list rows. The id must be set.
func (r *engine[P]) Insert(tx *store.Tx, obj P) error {
	cols, vals := []string{}, []any{}
	if r.table.Standard != nil {
		std := r.table.Standard(obj)
		std.CreatedAt, std.Revision = Now(), 1
		std.UpdatedAt = std.CreatedAt
		if r.table.FromZero {
			std.Revision = 0
		}
		var err error
		std.RowID, err = tx.Insert("INSERT INTO standardattributes (resource_type, description, revision_number, created_at, "+
			"updated_at) VALUES (?, ?, ?, ?, ?)", r.table.Type, std.Description, std.Revision, std.CreatedAt, std.UpdatedAt)
		if err != nil {
			return fmt.Errorf("create %s: %w", r.Name, err)
		}
		cols, vals = append(cols, "standard_attr_id"), append(vals, std.RowID)
	}
	sides := map[string]*Cond{}
	for i := range r.Attrs {
		a := &r.Attrs[i]
		if a.column == nil || a.column.name == "" {
			continue
		}
		if a.column.side == "" {
			cols, vals = append(cols, tx.Dialect().Quote(a.column.name)), append(vals, a.ptr(obj))
			continue
		}
		if r.rowless(i, obj) {
			continue
		}
		c := sides[a.column.side]
		if c == nil {
			c = &Cond{r.table.Sides[a.column.side].Key, []any{r.ID(obj)}}
			sides[a.column.side] = c
		}
		c.SQL += ", " + a.column.name
		c.Args = append(c.Args, a.ptr(obj))
	}
	if err := insertRow(tx, r.table.Name, strings.Join(cols, ", "), vals); err != nil {
		return fmt.Errorf("create %s: %w", r.Name, err)
	}
	for _, side := range slices.Sorted(maps.Keys(sides)) {
		if err := insertRow(tx, side, sides[side].SQL, sides[side].Args); err != nil {
			return fmt.Errorf("create %s: %w", r.Name, err)
		}
	}
	for i := range r.Attrs {
		if c := r.Attrs[i].child; c != nil && c.save != nil {
			if err := c.save(tx, r.ID(obj), r.create(), obj); err != nil {
				return fmt.Errorf("create %s: %w", r.Name, err)
			}
		}
	}
	if r.table.Standard != nil {
		std := r.table.Standard(obj)
		for _, tag := range std.Tags {
			if err := insertRow(tx, "tags", "standard_attr_id, tag", []any{std.RowID, tag}); err != nil {
				return fmt.Errorf("create %s: %w", r.Name, err)
			}
		}
	}
	return nil
}

func insertRow(tx *store.Tx, table, cols string, vals []any) error {
	_, err := tx.Exec("INSERT INTO "+table+" ("+cols+") VALUES "+store.In(len(vals)), vals...)
	return err
}

// isNil tells whether a pointer to a nullable field holds nothing.
func isNil(p any) bool {
	switch x := p.(type) {
	case **string:
		return *x == nil
	case **bool:
		return *x == nil
	case **int:
		return *x == nil
	}
	return false
}

// Save writes what differs between old and obj, and counts the revision up unless all that is quiet. A row that somebody else changed since it
// was read makes the transaction start again. It returns what changed.
func (r *engine[P]) Save(tx *store.Tx, old, obj P) (Set, error) {
	changed := r.Changed(old, obj)
	if changed == 0 {
		return 0, nil
	}
	if changed&^r.quiet != 0 {
		if err := r.bump(tx, obj); err != nil {
			return 0, err
		}
	}
	var sets []string
	var args []any
	for i := range changed.All() {
		a := &r.Attrs[i]
		switch {
		case a.child != nil && a.child.save != nil:
			if err := a.child.save(tx, r.ID(obj), old, obj); err != nil {
				return 0, fmt.Errorf("update %s: %w", r.Name, err)
			}
		case a.column == nil || a.column.name == "":
		case a.column.side != "":
			if err := r.saveSide(tx, i, obj); err != nil {
				return 0, fmt.Errorf("update %s: %w", r.Name, err)
			}
		default:
			sets, args = append(sets, tx.Dialect().Quote(a.column.name)+" = ?"), append(args, a.ptr(obj))
		}
	}
	if len(sets) == 0 {
		return changed, nil
	}
	_, err := tx.Exec("UPDATE "+r.table.Name+" SET "+strings.Join(sets, ", ")+" WHERE "+r.table.IDColumn+" = ?",
		append(args, r.ID(obj))...)
	if err != nil {
		return 0, fmt.Errorf("update %s: %w", r.Name, err)
	}
	return changed, nil
}

// rowless tells whether attribute i, which is in a side table, needs no row there.
func (r *engine[P]) rowless(i int, obj P) bool {
	return isNil(r.Attrs[i].ptr(obj)) || r.Attrs[i].sparse && r.IsDefault(obj, i)
}

func (r *engine[P]) saveSide(tx *store.Tx, i int, obj P) error {
	a := &r.Attrs[i]
	side, key := a.column.side, r.table.Sides[a.column.side].Key
	if r.rowless(i, obj) {
		_, err := tx.Exec("DELETE FROM "+side+" WHERE "+key+" = ?", r.ID(obj))
		return err
	}
	n, err := tx.Exec("UPDATE "+side+" SET "+a.column.name+" = ? WHERE "+key+" = ?", a.ptr(obj), r.ID(obj))
	if err != nil || n > 0 {
		return err
	}
	return insertRow(tx, side, key+", "+a.column.name, []any{r.ID(obj), a.ptr(obj)})
}

// Touch counts the revision up without another change: a dependent row changed.
func (r *engine[P]) Touch(tx *store.Tx, obj P) error { return r.bump(tx, obj) }

func (r *engine[P]) bump(tx *store.Tx, obj P) error {
	if r.table.Standard == nil {
		return nil
	}
	std := r.table.Standard(obj)
	std.UpdatedAt = Now()
	n, err := tx.Exec("UPDATE standardattributes SET revision_number = revision_number + 1, updated_at = ?, description = ? "+
		"WHERE id = ? AND revision_number = ?", std.UpdatedAt, std.Description, std.RowID, std.Revision)
	if err != nil {
		return fmt.Errorf("update %s: %w", r.Name, err)
	}
	if n == 0 {
		return store.Retry(fmt.Errorf("%s %s was changed by somebody else", r.Name, r.ID(obj)))
	}
	std.Revision++
	return nil
}

// CountUp adds n to the revisions of objects that this transaction has written: upstream does in several steps what here
// is one.
func (r *engine[P]) CountUp(tx *store.Tx, n int, objs ...P) error {
	if n == 0 || len(objs) == 0 {
		return nil
	}
	args := []any{n}
	for _, obj := range objs {
		std := r.table.Standard(obj)
		std.Revision += int64(n)
		args = append(args, std.RowID)
	}
	_, err := tx.Exec("UPDATE standardattributes SET revision_number = revision_number + ? WHERE id IN "+store.In(len(objs)), args...)
	if err != nil {
		return fmt.Errorf("count revisions of %s: %w", r.Collection, err)
	}
	return nil
}

// Delete removes an object and, by the database's cascades, what hangs on it.
func (r *engine[P]) Delete(tx *store.Tx, obj P) error {
	n, err := tx.Exec("DELETE FROM "+r.table.Name+" WHERE "+r.table.IDColumn+" = ?", r.ID(obj))
	if err != nil {
		return fmt.Errorf("delete %s: %w", r.Name, err)
	}
	if n == 0 {
		return r.NotFound(r.ID(obj))
	}
	if r.table.Standard != nil {
		if _, err := tx.Exec("DELETE FROM standardattributes WHERE id = ?", r.table.Standard(obj).RowID); err != nil {
			return fmt.Errorf("delete %s: %w", r.Name, err)
		}
	}
	return nil
}
