package resource

import (
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strings"
)

// Resource is one kind of object: its description, and what can be done with objects of it.
//
// Inside of this package the parameter is the type of the pointer to an object, P, and not R, because of the compiler: it makes one
// machine code for all types of pointers, but one for each type of struct, which is 6 MB and half of the time of a build.
type Resource[R any] = engine[*R]

type engine[P any] struct {
	Name       string // JSON key of one, "security_group"
	Collection string // JSON key of many, "security_groups"
	Path       string // URL path of the collection below /v2.0, "security-groups"
	Attrs      []attr[P]

	// All are all attributes; Shown those that a response may have; Needed those that
	// policy always asks for.
	All, Shown, Needed Set

	create func() P         // makes an object
	maker  func() func() P  // makes a function that makes many: later ones share an allocation
	copy   func(to, from P) // makes an object equal to another one
	table  table[P]
	byName map[string]int
	quiet  Set
	checks []int // in the order in which attributes are checked
	joins  []join
	single string // the condition that finds one object by its id
	plans  plans[P]
	// strict refuses unknown filters (extension filter-validation).
	strict bool
}

// join is how a side table is joined.
type join struct {
	table string // with a dot
	sql   string
	users Set // the attributes that are read from it
}

// Table says where objects of R live.
type Table[R any] = table[*R]

type table[P any] struct {
	Name string
	// Sides are tables with at most one row per object, by name.
	Sides map[string]SideTable
	// Standard says that the table has a standard_attr_id and its objects description, revision and times. Ref finds
	// them in R.
	Standard func(P) *StandardAttr
	// ID finds the key of an object.
	ID func(P) *string
	// IDColumn is the key's column, "" = id.
	IDColumn string
	// Visible limits lists and look-ups to what a caller who is no administrator may see; ":project" stands for the
	// project. "" = no limit.
	Visible string
	// Blank sets what an object has before its attributes are read: the values of those whose extension is not enabled.
	Blank func(P)
	// StrictMarker refuses a list whose marker is not there; upstream reads others without the marker then.
	StrictMarker bool
	// Missing is the error for an object that is not there; nil means upstream's usual one, made from the name.
	Missing func(id string) error
	// OneByOne says that a request creates one object only: a list of them is refused.
	OneByOne bool
	// WholeLists says that lists ignore which attributes the caller wants, but for the id, the owner and those in Picked.
	WholeLists bool
	Picked     []string
	// Fields are the attributes that upstream shows to a caller who wants some, of objects in a list or of one; nil means those.
	Fields func(r *engine[P], wanted Set, list bool) Set
	// TagsDoNotFilter says that lists ignore the filters by tags.
	TagsDoNotFilter bool
	// FoundByAll says that Visible limits lists only: whether a caller may see an object with a certain id, policy decides.
	FoundByAll bool
	// OnePage says that lists come in one page whatever the request says.
	OnePage bool
	// FromZero says that the revision_number of a new object is 0, as upstream's is where one flush writes the object.
	FromZero bool
	// Order are the names of attributes in the order in which they are checked; others come last.
	Order []string
	// Type is the resource_type of the standardattributes row, "" = Name.
	Type string
}

// SideTable says how the row of an object is found.
type SideTable struct {
	Key string // column that refers to the object's id
	And string // a further condition when several rows refer to it, "" = none
}

// StandardAttr is what upstream keeps in the table standardattributes for every API object.
type StandardAttr struct {
	RowID       int64   // standardattributes.id
	Description *string // nil where nobody gave one, as for what services make
	Revision    int64
	CreatedAt   Time
	UpdatedAt   Time
	Tags        []string
}

// New compiles groups of attributes and keeps those whose extension is enabled. It panics on tables that cannot work:
// that is a mistake in the program.
func New[R any](name, collection, path string, table Table[R], enabled func(alias string) bool, groups ...[]Attr[R]) *Resource[R] {
	r := &Resource[R]{Name: name, Collection: collection, Path: path, table: table, byName: map[string]int{}, strict: enabled("filter-validation"),
		create: func() *R { return new(R) }, maker: maker[R], copy: func(to, from *R) { *to = *from }}
	r.compile(enabled, groups)
	return r
}

// maker is the maker of R.
func maker[R any]() func() *R {
	const most = 32 // objects in an allocation
	var block []R
	size := 1
	return func() *R {
		if len(block) == 0 {
			block = make([]R, size)
			size = min(2*size, most)
		}
		r := &block[0]
		block = block[1:]
		return r
	}
}

// compile takes the attributes, and finds out what the operations need to know of them.
func (r *engine[P]) compile(enabled func(alias string) bool, groups [][]attr[P]) {
	if r.table.IDColumn == "" {
		r.table.IDColumn = "id"
	}
	if r.table.Type == "" {
		r.table.Type = r.table.Name
	}
	for _, g := range groups {
		for _, a := range g {
			if a.Ext != "" && !enabled(a.Ext) {
				continue
			}
			if _, twice := r.byName[a.Name]; twice {
				panic(fmt.Sprintf("resource %s: attribute %s is declared twice", r.Name, a.Name))
			}
			if a.column != nil && a.column.side != "" && r.table.Sides[a.column.side].Key == "" {
				panic(fmt.Sprintf("resource %s: attribute %s is in an unknown side table", r.Name, a.Name))
			}
			r.byName[a.Name] = len(r.Attrs)
			r.Attrs = append(r.Attrs, a)
		}
	}
	if len(r.Attrs) > bits.UintSize {
		panic(fmt.Sprintf("resource %s has more than %d attributes", r.Name, bits.UintSize))
	}
	for i := range r.Attrs {
		r.findColumn(i)
	}
	r.findTables()
	for i, a := range r.Attrs {
		r.All |= 1 << i
		if a.Flags&Hidden == 0 {
			r.Shown |= 1 << i
		}
		if a.quiet {
			r.quiet |= 1 << i
		}
		if a.Flags&Needed != 0 || a.Name == "id" {
			r.Needed |= 1 << i
		}
	}
	r.checks = r.checkOrder()
}

// findTables finds out which attributes need which side tables, and how to ask for the rows of lists.
func (r *engine[P]) findTables() {
	r.single = r.ByID("").SQL
	for _, a := range r.Attrs {
		switch c := a.child; {
		case c == nil:
		case a.optional == c.table:
			c.exists = "EXISTS (SELECT 1 FROM " + c.table + " child WHERE child." + c.parent + " = t." + r.table.IDColumn + ")"
		default: // its table is a query
			c.exists = "EXISTS (SELECT 1 FROM " + a.optional + ")"
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.table.Sides)) {
		side := r.table.Sides[name]
		j := join{table: name + ".", sql: " LEFT JOIN " + name + " ON " + name + "." + side.Key + " = t." + r.table.IDColumn}
		if side.And != "" {
			j.sql += " AND " + side.And
		}
		for i, a := range r.Attrs {
			if c := a.column; c != nil && (c.side == name || strings.Contains(c.expr, j.table)) {
				j.users |= 1 << i
			}
		}
		r.joins = append(r.joins, j)
	}
}

// findColumn finds out what of attribute i need not be read.
func (r *engine[P]) findColumn(i int) {
	a := &r.Attrs[i]
	if a.column == nil {
		return
	}
	for side := range r.table.Sides {
		if a.column.only(side) {
			a.optional = side
			break
		}
	}
	zero := r.create()
	plain := func(a *attr[P]) string { return strings.ReplaceAll(a.column.expr, `"`, "") }
	for j, b := range r.Attrs[:i] {
		if b.column != nil && plain(&b) == plain(a) && a.ptr(zero) == b.ptr(zero) {
			a.same |= 1 << j
		}
	}
}

// InOrder lists the attributes in s in the order in which they are checked.
func (r *engine[P]) InOrder(s Set) []int {
	return slices.DeleteFunc(slices.Clone(r.checks), func(i int) bool { return !s.Has(i) })
}

// checkOrder are the numbers of all attributes in the order in which they are checked.
func (r *engine[P]) checkOrder() []int {
	place := func(i int) int {
		if at := slices.Index(r.table.Order, r.Attrs[i].Name); at >= 0 {
			return at
		}
		return len(r.table.Order)
	}
	order := slices.Collect(r.All.All())
	slices.SortStableFunc(order, func(a, b int) int { return place(a) - place(b) })
	return order
}

// Bit is the Set of the one attribute called name, empty if there is none (its extension is off).
func (r *engine[P]) Bit(name string) Set {
	if i, ok := r.byName[name]; ok {
		return 1 << i
	}
	return 0
}

// Columns are the attributes with a column in the main table.
func (r *engine[P]) Columns() Set {
	var s Set
	for i, a := range r.Attrs {
		if a.column != nil && a.column.name != "" && a.column.side == "" {
			s |= 1 << i
		}
	}
	return s
}

// Bits is the Set of several attributes.
func (r *engine[P]) Bits(names ...string) Set {
	var s Set
	for _, n := range names {
		s |= r.Bit(n)
	}
	return s
}

// Attr returns the attribute called name.
func (r *engine[P]) Attr(name string) (*attr[P], bool) {
	i, ok := r.byName[name]
	if !ok {
		return nil, false
	}
	return &r.Attrs[i], true
}

// SetMatching says how an attribute is filtered when that depends on the configuration; see Matching. It must be called
// before the first request.
func (r *engine[P]) SetMatching(name string, f func(values []string) (Cond, error)) {
	if i, ok := r.byName[name]; ok {
		r.Attrs[i].condition = f
	}
}

// SetCheck adds a condition on the values of an attribute that depends on the configuration; check returns a Reason or nil.
// It must be called before the first request.
func (r *engine[P]) SetCheck(name string, check func(P) error) {
	i, ok := r.byName[name]
	if !ok {
		return
	}
	dec := r.Attrs[i].dec
	r.Attrs[i].dec = func(obj P, v any) error {
		if err := dec(obj, v); err != nil {
			return err
		}
		return check(obj)
	}
}

// Names lists the attributes in s, in the order of the table.
func (r *engine[P]) Names(s Set) []string {
	var names []string
	for i := range s.All() {
		names = append(names, r.Attrs[i].Name)
	}
	return names
}

// ID is the key of an object.
func (r *engine[P]) ID(obj P) string { return *r.table.ID(obj) }

// SetID gives an object its key.
func (r *engine[P]) SetID(obj P, id string) { *r.table.ID(obj) = id }

// Standard finds the standard attributes of an object; nil if objects of this kind have none.
func (r *engine[P]) Standard(obj P) *StandardAttr {
	if r.table.Standard == nil {
		return nil
	}
	return r.table.Standard(obj)
}

// ForLoad are the attributes that must be read to show those in set: what they are made from (ShownAs), and for those
// without a column the hidden ones, from which Logic.Load makes them.
func (r *engine[P]) ForLoad(set Set) Set {
	var more Set
	for i := range set.All() {
		a := &r.Attrs[i]
		switch {
		case len(a.from) > 0:
			more |= r.Bits(a.from...)
		case a.column == nil && a.child == nil:
			more |= r.All &^ r.Shown
		}
	}
	return more
}

// Text is the value of an attribute as policy compares it: as Python's str() shows it, but lists and structures as in
// JSON.
func (r *engine[P]) Text(obj P, name string) (string, bool) {
	i, ok := r.byName[name]
	if !ok {
		return "", false
	}
	switch p := r.Attrs[i].ptr(obj).(type) {
	case *string:
		return *p, true
	case **string:
		if *p == nil {
			return "None", true
		}
		return **p, true
	case *bool:
		return PyRepr(*p), true
	case **bool:
		if *p == nil {
			return "None", true
		}
		return PyRepr(**p), true
	}
	if s := string(r.Attrs[i].enc(nil, obj)); s != "null" {
		return s, true
	}
	return "None", true
}

// Changed returns the attributes in which two objects differ.
func (r *engine[P]) Changed(a, b P) Set {
	var s Set
	for i := range r.Attrs {
		if !r.Attrs[i].equal(a, b) {
			s |= 1 << i
		}
	}
	return s
}

// Append writes the attributes of obj that are in set as a JSON object.
func (r *engine[P]) Append(b []byte, obj P, set Set) []byte {
	b = append(b, '{')
	n := len(b)
	for x := uint64(set); x != 0; x &= x - 1 {
		a := &r.Attrs[bits.TrailingZeros64(x)]
		if a.omit != nil && a.omit(obj) {
			continue
		}
		k := a.key
		if len(b) == n {
			k = k[1:]
		}
		b = a.enc(append(b, k...), obj)
	}
	return append(b, '}')
}
