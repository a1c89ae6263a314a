// Package resource is the engine that all API resources share: a table of attributes as Go values drives decoding,
// defaults, checks, encoding, filters, sorting, paging, SQL and documentation. It knows no networking.
//
// A resource is a Go struct and one Attr per attribute. The accessor func(P) *T in each Attr ties name, type, default
// and column to one struct field, checked by the compiler; nothing is found by reflection.
package resource

import (
	"cmp"
	"encoding/json"
	"iter"
	"math/bits"
	"regexp"
	"slices"

	"neutrino/internal/store"
)

// Set is a set of attributes of one resource: those a body named, those to show, those that changed.
type Set uint64

// Has tells whether attribute number i is in s.
func (s Set) Has(i int) bool { return s&(1<<i) != 0 }

// All iterates over the numbers of the attributes in s.
func (s Set) All() iter.Seq[int] {
	return func(yield func(int) bool) {
		for x := uint64(s); x != 0; x &= x - 1 {
			if !yield(bits.TrailingZeros64(x)) {
				return
			}
		}
	}
}

// Flags say where an attribute may be used.
type Flags uint16

// Upstream's attribute properties, in the order of the legend of the spec (section 1.3).
const (
	Post     Flags = 1 << iota // allowed in POST
	Put                        // allowed in PUT
	Hidden                     // never in a response
	Filter                     // usable as list filter
	Sort                       // usable as sort_key
	Policy                     // a policy rule of its own is asked when it is set or shown
	Needed                     // policy needs its value: always read
	Required                   // must be in a POST body
	Internal                   // no attribute of the API: only the service uses it
)

// Attr is one attribute of R with its type erased into closures, made at start-up.
type Attr[R any] = attr[*R]

type attr[P any] struct {
	Name  string
	Type  string // for documentation
	Ext   string // alias of the extension that brings it, "" = always there
	Flags Flags

	key       []byte
	enc       func([]byte, P) []byte
	dec       func(P, any) error
	def       func(P) // nil: nothing to do when absent
	clear     func(P)
	equal     func(a, b P) bool
	filter    func(string) (any, error)
	ptr       func(P) any
	scan      func(P, *store.Row, int) error
	column    *column
	child     *child[P]
	condition func(values []string) (Cond, error)
	omit      func(P) bool
	from      []string
	sparse    bool
	same      Set    // attributes before it that are the same column in the same field
	optional  string // table outside of which it has no value that depends on the object, "" = the main one has it
	quiet     bool
}

// OmitWhen leaves the attribute out of the JSON of objects for which f holds. from names other attributes that f looks at,
// where they are not read anyhow.
func (a attr[P]) OmitWhen(f func(P) bool, from ...string) attr[P] {
	a.omit = f
	a.from = append(a.from[:len(a.from):len(a.from)], from...)
	return a
}

// ShownAs makes the JSON of an attribute from the whole object. from names the other attributes that f looks at.
func ShownAs[P, T any](a attr[P], t Type[T], f func(P) T, from ...string) attr[P] {
	a.enc = func(b []byte, r P) []byte { return t.Append(b, f(r)) }
	a.from = from
	return a
}

// column says where a scalar is stored. Expr is what is read; Name is what is written, "" = the attribute is derived.
type column struct {
	name string
	expr string // with the main table called t; ":project" stands for the caller's project
	side string // side table that holds name, "" = the main table
	enum bool
	// absent is the value where the only table that expr mentions, a side table, has no row.
	absent string
}

// only tells whether expr mentions no table but this side table, and makes absent then.
func (c *column) only(side string) bool {
	c.absent = regexp.MustCompile(`\b`+side+`\.\w+`).ReplaceAllString(c.expr, "NULL")
	return c.absent != c.expr && !regexp.MustCompile(`\.|:|\bSELECT\b`).MatchString(c.absent)
}

// text is the expression in a form that compares with any text and with its own default.
func (c *column) text() string {
	if c.enum {
		return "CASE WHEN " + c.expr + " IS NOT NULL THEN CONCAT(" + c.expr + ", '') END"
	}
	return c.expr
}

// Option changes how an attribute is declared.
type Option func(*options)

type options struct {
	def       any
	hasDef    bool
	column    column
	unstored  bool
	ext       string
	condition func(values []string) (Cond, error)
	from      []string
	sparse    bool
	quiet     bool
}

// Quiet says that the revision does not count changes of the attribute.
func Quiet() Option { return func(o *options) { o.quiet = true } }

// Sparse says of an attribute in a side table that objects with its default value need no row there.
func Sparse() Option { return func(o *options) { o.sparse = true } }

// From names the attributes from which Logic.Load makes one that has no column.
func From(names ...string) Option { return func(o *options) { o.from = names } }

// Default is the value when a POST body does not name the attribute. It must have the attribute's type.
func Default[T any](v T) Option { return func(o *options) { o.def, o.hasDef = v, true } }

// Column names the column if it is not called as the attribute.
func Column(name string) Option { return func(o *options) { o.column.name = name } }

// Side says that the value is in a table of its own with one row per object (see Resource.Sides). absent is the SQL
// literal that stands for a missing row.
func Side(table, columnName, absent string) Option {
	return func(o *options) {
		o.column = column{name: columnName, side: table, expr: "COALESCE(" + table + "." + columnName + ", " + absent + ")"}
	}
}

// Derived says that the value is the SQL expression over the main table t (and side tables) and is never written.
// ":project" in it stands for the caller's project.
func Derived(expr string) Option { return func(o *options) { o.column = column{expr: expr} } }

// Enum says that the column is an enumeration. PostgreSQL refuses to compare those with what is none of their values.
func Enum() Option { return func(o *options) { o.column.enum = true } }

// Unstored says that the attribute has no column: the service fills it or only reads it from bodies.
func Unstored() Option { return func(o *options) { o.unstored = true } }

// Matching says how the attribute is filtered when that is not `column IN (values)`.
func Matching(f func(values []string) (Cond, error)) Option {
	return func(o *options) { o.condition = f }
}

// Cond is a piece of a WHERE clause and its arguments. The main table is called t.
type Cond struct {
	SQL  string
	Args []any
}

// Field declares a scalar attribute of R.
func Field[P, T any](name string, t Type[T], use Flags, ref func(P) *T, opts ...Option) attr[P] {
	o := options{column: column{name: name}}
	for _, f := range opts {
		f(&o)
	}
	a := base(name, t, use, ref, &o)
	if !o.unstored {
		c := o.column
		if c.expr == "" {
			c.expr = `t."` + c.name + `"`
		} else if c.side == "" {
			c.name = ""
		}
		a.column = &c
	}
	return a
}

func base[P, T any](name string, t Type[T], use Flags, ref func(P) *T, o *options) attr[P] {
	k, _ := json.Marshal(name)
	a := attr[P]{Name: name, Type: t.Name, Flags: use, Ext: o.ext, key: slices.Concat([]byte{','}, k, []byte{':'}),
		enc:       func(b []byte, r P) []byte { return t.Append(b, *ref(r)) },
		ptr:       func(r P) any { return ref(r) },
		scan:      scanner(ref),
		equal:     func(x, y P) bool { return t.equal(*ref(x), *ref(y)) },
		clear:     func(r P) { var zero T; *ref(r) = zero },
		condition: o.condition, from: o.from, sparse: o.sparse, quiet: o.quiet,
	}
	if o.hasDef {
		def := o.def.(T)
		a.def = func(r P) { *ref(r) = t.clone(def) }
	}
	a.dec = func(r P, v any) error {
		x, err := t.Parse(v)
		if err != nil {
			return err
		}
		*ref(r) = x
		return nil
	}
	a.filter = func(s string) (any, error) {
		if t.FromQuery != nil {
			return t.FromQuery(s)
		}
		return s, nil
	}
	return a
}

// Col is one column of a child table: its name and the field of the element that holds it.
type Col[E any] struct {
	Name string
	Ref  func(*E) any // pointer to the field
	Key  bool         // usable in filters of the form attribute=column=value
}

// Children says where the elements of a list are stored: rows of Table whose Parent column is the object's id.
type Children[E any] struct {
	Table   string
	Parent  string
	Columns []Col[E]
	Order   string // the column of text by which the rows of one object are sorted, "" = Columns[0]
	// Position names a column that gets the index of the element, "" = none.
	Position string
	// ReadOnly says that only the service writes these rows.
	ReadOnly bool
	// NewID names a column that gets a new UUID in each written row, "" = none.
	NewID string
	// Source is the table without whose rows there are none, "" = Table. It is for a Table that is a query.
	Source string
}

// List declares an attribute whose elements are rows of a child table.
func List[P, E any](name string, t Type[[]E], use Flags, ref func(P) *[]E, c Children[E], opts ...Option) attr[P] {
	var o options
	for _, f := range opts {
		f(&o)
	}
	a := base(name, t, use, ref, &o)
	a.child = newChild(c, ref)
	a.optional = cmp.Or(c.Source, c.Table)
	return a
}

// Ext marks attributes as belonging to the extension alias; without it they do not exist.
func Ext[P any](alias string, attrs ...attr[P]) []attr[P] {
	for i := range attrs {
		attrs[i].Ext = alias
	}
	return attrs
}
