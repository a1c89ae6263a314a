package resource

import (
	"context"
	"net/url"

	"neutrino/internal/identity"
	"neutrino/internal/store"

	"github.com/google/uuid"
)

// Change is one object being created, updated or deleted, inside its transaction.
type Change[R any] struct {
	Resource *Resource[R]
	Tx       *store.Tx
	Caller   *identity.Caller
	Old      *R  // nil on create
	New      *R  // nil on delete
	Named    Set // attributes that the caller named
}

// Context is the transaction's.
func (c *Change[R]) Context() context.Context { return c.Tx.Context() }

// Has tells whether the caller named the attribute.
func (c *Change[R]) Has(name string) bool { return c.Named&c.Resource.Bit(name) != 0 }

// Logic is what a resource does beyond storing its attributes. A nil function means "just store"; a function that is
// there does the storing itself (Insert, Save, Delete) at the moment that suits it.
type Logic[R any] struct {
	Create func(c *Change[R]) error
	Update func(c *Change[R]) error
	Delete func(c *Change[R]) error
	// CreateMany creates all objects of a bulk request; nil means Create for each.
	CreateMany func(cs []*Change[R]) error
	// Refused may have an error that goes before policy's refusal to create an object.
	Refused func(c *Change[R]) error
	// BeforeList runs before a list is read, in a transaction of its own if it is needed at all.
	BeforeList func(ctx context.Context, caller *identity.Caller, query url.Values) error
	// Answer adapts an object to the answer to the request that created or updated it, where upstream shows it in another
	// way than otherwise.
	Answer func(c *Change[R], obj *R)
	// AfterList adapts the objects of a list, completed by Load, to the filters that the engine does not know.
	AfterList func(query url.Values, objs []*R)
	// Load fills attributes in set that have no column. It gets all objects of a list at once.
	Load func(tx *store.Tx, caller *identity.Caller, set Set, objs []*R) error
}

// Make creates an object as a POST request with this body would, but for policy, quota, and what adjust changes.
func Make[R any](tx *store.Tx, caller *identity.Caller, res *Resource[R], logic Logic[R], body map[string]any, adjust ...func(*R)) (*R, error) {
	obj, named, err := res.Create(caller, body)
	if err != nil {
		return nil, err
	}
	res.SetID(obj, uuid.NewString())
	for _, f := range adjust {
		f(obj)
	}
	return obj, logic.Create(&Change[R]{Resource: res, Tx: tx, Caller: caller, New: obj, Named: named})
}
