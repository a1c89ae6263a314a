// Package reconcile brings what is there in line with what should be there. It knows keys and values, not what they
// mean: an agent fills Tables from its inputs, and one Loop applies the differences through Drivers.
package reconcile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
)

// Table remembers which objects should be there and which are. It is safe for concurrent use.
//
// Updates are cheap and only mark keys as changed, so that the cost of a Diff follows the changes and not the size.
type Table[K comparable, V any] struct {
	mu     sync.Mutex
	equal  func(a, b V) bool
	wanted map[K]V
	actual map[K]V
	dirty  map[K]struct{}
}

// NewTable makes an empty table; equal tells whether an object is as wanted.
func NewTable[K comparable, V any](equal func(a, b V) bool) *Table[K, V] {
	return &Table[K, V]{equal: equal, wanted: map[K]V{}, actual: map[K]V{}, dirty: map[K]struct{}{}}
}

// Want says that object k should be there and look like v.
func (t *Table[K, V]) Want(k K, v V) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wanted[k] = v
	t.dirty[k] = struct{}{}
}

// Unwant says that object k should not be there.
func (t *Table[K, V]) Unwant(k K) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.wanted, k)
	t.dirty[k] = struct{}{}
}

// WantOnly replaces everything that is wanted (a full sync).
func (t *Table[K, V]) WantOnly(all map[K]V) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for k := range t.wanted {
		t.dirty[k] = struct{}{}
	}
	t.wanted = maps.Clone(all)
	for k := range all {
		t.dirty[k] = struct{}{}
	}
}

// Saw replaces what is known to be there, as a Driver listed it.
func (t *Table[K, V]) Saw(all map[K]V) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for k := range t.actual {
		t.dirty[k] = struct{}{}
	}
	t.actual = maps.Clone(all)
	for k := range t.actual {
		t.dirty[k] = struct{}{}
	}
	for k := range t.wanted {
		t.dirty[k] = struct{}{}
	}
}

// Lost says that object k is not as it was: if it is wanted, it is put again. It must not run beside Apply.
func (t *Table[K, V]) Lost(k K) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, wanted := t.wanted[k]; wanted {
		delete(t.actual, k)
		t.dirty[k] = struct{}{}
	}
}

// Wanted returns what object k should look like.
func (t *Table[K, V]) Wanted(k K) (V, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v, ok := t.wanted[k]
	return v, ok
}

// Actual returns what object k looks like as far as is known.
func (t *Table[K, V]) Actual(k K) (V, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v, ok := t.actual[k]
	return v, ok
}

// AllWanted returns a copy of everything that is wanted.
func (t *Table[K, V]) AllWanted() map[K]V {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.wanted)
}

// Diff returns what is to be put (made or changed) and what is to be deleted. Keys that are in order are forgotten
// until the next change; the others stay marked until Applied says that they were dealt with.
func (t *Table[K, V]) Diff() (put map[K]V, del []K) {
	t.mu.Lock()
	defer t.mu.Unlock()
	put = map[K]V{}
	for k := range t.dirty {
		want, wanted := t.wanted[k]
		have, there := t.actual[k]
		switch {
		case wanted && (!there || !t.equal(want, have)):
			put[k] = want
		case !wanted && there:
			del = append(del, k)
		default:
			delete(t.dirty, k)
		}
	}
	return put, del
}

// Applied says that a Driver made put true and removed del.
func (t *Table[K, V]) Applied(put map[K]V, del []K) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for k, v := range put {
		t.actual[k] = v
	}
	for _, k := range del {
		delete(t.actual, k)
	}
}

// Driver brings one kind of object in the kernel in line with a Table.
type Driver[K comparable, V any] interface {
	// List returns the objects that carry our mark; nobody else's.
	List(ctx context.Context) (map[K]V, error)
	// Apply makes or changes put and removes del, in one batch. It is idempotent. It returns a PartialError if some
	// keys failed and the others are done, any other error if nothing can be said.
	Apply(ctx context.Context, put map[K]V, del []K) error
}

// PartialError says which keys failed, and why.
type PartialError[K comparable] struct{ Failed map[K]error }

func (e *PartialError[K]) Error() string {
	for k, err := range e.Failed {
		return fmt.Sprintf("%d objects failed, one of them %v: %v", len(e.Failed), k, err)
	}
	return "no object failed"
}

// Apply brings the driver's objects in line with t. Keys that fail stay marked and are tried again next time.
func Apply[K comparable, V any](ctx context.Context, t *Table[K, V], d Driver[K, V]) (changed int, err error) {
	put, del := t.Diff()
	if len(put)+len(del) == 0 {
		return 0, nil
	}
	err = d.Apply(ctx, put, del)
	if partial, ok := errors.AsType[*PartialError[K]](err); ok {
		for k := range partial.Failed {
			delete(put, k)
		}
		kept := del[:0]
		for _, k := range del {
			if _, bad := partial.Failed[k]; !bad {
				kept = append(kept, k)
			}
		}
		del = kept
	} else if err != nil {
		return 0, err
	}
	t.Applied(put, del)
	return len(put) + len(del), err
}
