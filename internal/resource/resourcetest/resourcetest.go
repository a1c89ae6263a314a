// Package resourcetest does to objects in tests what the API does to them with requests, but for policy and quota.
package resourcetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"

	"neutrino/internal/fault"
	"neutrino/internal/identity"
	"neutrino/internal/resource"
	"neutrino/internal/store"
)

// Body is a request's attributes.
type Body = map[string]any

// clone is a body that may be written to: the functions that read one do.
func clone(b Body) Body {
	c := Body{}
	maps.Copy(c, b)
	return c
}

// Create is POST.
func Create[R any](db *store.DB, r *resource.Resource[R], logic resource.Logic[R], caller *identity.Caller, b Body) (obj *R, err error) {
	err = db.Write(context.Background(), func(tx *store.Tx) error {
		obj, err = resource.Make(tx, caller, r, logic, clone(b))
		return err
	})
	return obj, err
}

// CreateMany is POST of several objects at once.
func CreateMany[R any](db *store.DB, r *resource.Resource[R], logic resource.Logic[R], caller *identity.Caller, bodies ...Body) (objs []*R, err error) {
	err = db.Write(context.Background(), func(tx *store.Tx) error {
		objs = nil
		var changes []*resource.Change[R]
		for _, b := range bodies {
			obj, named, err := r.Create(caller, clone(b))
			if err != nil {
				return err
			}
			objs = append(objs, obj)
			changes = append(changes, &resource.Change[R]{Resource: r, Tx: tx, Caller: caller, New: obj, Named: named})
		}
		return logic.CreateMany(changes)
	})
	return objs, err
}

// Update is PUT.
func Update[R any](db *store.DB, r *resource.Resource[R], logic resource.Logic[R], caller *identity.Caller, id string, b Body) (obj *R, err error) {
	err = db.Write(context.Background(), func(tx *store.Tx) error {
		old, err := r.Get(tx, caller, id, r.All)
		if err != nil {
			return err
		}
		if obj, err = r.Get(tx, caller, id, r.All); err != nil {
			return err
		}
		named, err := r.Update(caller, obj, clone(b))
		if err != nil {
			return err
		}
		return logic.Update(&resource.Change[R]{Resource: r, Tx: tx, Caller: caller, Old: old, New: obj, Named: named})
	})
	return obj, err
}

// Delete is DELETE.
func Delete[R any](db *store.DB, r *resource.Resource[R], logic resource.Logic[R], caller *identity.Caller, id string) error {
	return db.Write(context.Background(), func(tx *store.Tx) error {
		old, err := r.Get(tx, caller, id, r.All)
		if err != nil {
			return err
		}
		return logic.Delete(&resource.Change[R]{Resource: r, Tx: tx, Caller: caller, Old: old})
	})
}

// Describe is an error as a client sees it, "STATUS TYPE: MESSAGE"; "" is none.
func Describe(err error) string {
	if err == nil {
		return ""
	}
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return fmt.Sprintf("%d %s: %s", f.Status, f.Type, f.Message)
	}
	return "500 " + err.Error()
}

// Wants fails the test unless Describe tells that of the error.
func Wants(t testing.TB, err error, want string) {
	t.Helper()
	if got := Describe(err); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
