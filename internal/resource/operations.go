package resource

import (
	"net/url"

	"neutrino/internal/identity"
	"neutrino/internal/store"
)

// operations are the methods of a Resource; type engine has them, and their documentation.
type operations[R any] interface {
	Create(caller *identity.Caller, body map[string]any) (*R, Set, error)
	Update(caller *identity.Caller, obj *R, body map[string]any) (Set, error)
	Bodies(body map[string]any, bulkAllowed bool) (bodies []map[string]any, bulk bool, err error)
	IsDefault(obj *R, i int) bool
	NotFound(id string) error
	Describe() []Row
	ParseFields(values url.Values) Set
	ParseQuery(values url.Values, maxLimit int, names ...string) (*Query, error)
	InOrder(s Set) []int
	ListFields(wanted Set) Set
	Bulk() bool
	Bit(name string) Set
	Bits(names ...string) Set
	Attr(name string) (*Attr[R], bool)
	SetMatching(name string, f func(values []string) (Cond, error))
	SetCheck(name string, check func(*R) error)
	Names(s Set) []string
	ID(obj *R) string
	SetID(obj *R, id string)
	Standard(obj *R) *StandardAttr
	ForLoad(set Set) Set
	Text(obj *R, name string) (string, bool)
	Changed(a, b *R) Set
	Append(b []byte, obj *R, set Set) []byte
	Select(tx *store.Tx, q *Query) ([]*R, error)
	Get(tx *store.Tx, caller *identity.Caller, id string, set Set) (*R, error)
	ByID(ids ...string) Cond
	Count(tx *store.Tx, q *Query) (int, error)
	Insert(tx *store.Tx, obj *R) error
	Save(tx *store.Tx, old, obj *R) (Set, error)
	Touch(tx *store.Tx, obj *R) error
	CountUp(tx *store.Tx, n int, objs ...*R) error
	Delete(tx *store.Tx, obj *R) error
}
