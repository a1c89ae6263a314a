package api

import (
	"cmp"
	"net/http"

	"neutrino/internal/resource"
)

// ReadOnly answers requests to make or change objects of a collection whose objects are only read, as upstream does: the body
// is looked at first. The list itself is served elsewhere. unable answers changes whose body is correct. first says that
// upstream serves the collection by its first framework (see Call.body).
func ReadOnly[R any](s *Server, res *resource.Resource[R], first bool, unable func(c *Call) error) {
	c := &Collection[R]{s: s, res: res, core: first}
	s.add(http.MethodPost, "/"+res.Path, c.negotiated(func(call *Call) (*reply, error) {
		body, err := call.body(first)
		if err != nil {
			return nil, err
		}
		bodies, _, wrong := c.bodies(call, body, true)
		_, err = c.drafts(call, bodies)
		return nil, cmp.Or(err, wrong, error(errMethod))
	}))
	s.add(http.MethodPut, "/"+res.Path+"/{id}", c.negotiated(func(call *Call) (*reply, error) {
		body, err := call.updateBody(first)
		if err != nil {
			return nil, err
		}
		bodies, _, err := c.bodies(call, body, false)
		if err != nil {
			return nil, err
		}
		_, err = res.Update(call.Caller, new(R), bodies[0])
		return nil, cmp.Or(err, unable(call))
	}))
	s.add(http.MethodPut, "/"+res.Path, func(call *Call) (*reply, error) { return nil, cmp.Or(c.strayUpdate(call), unable(call)) })
	if !first {
		s.add(http.MethodPost, "/"+res.Path+"/{id}", c.stray)
	}
}

// Undeletable answers requests to delete objects that nobody can delete, as upstream does: those that the caller does not see
// are not there.
func (c *Collection[R]) Undeletable() {
	c.s.add(http.MethodDelete, "/"+c.res.Path+"/{id}", c.negotiated(func(call *Call) (*reply, error) {
		if err := call.noBody(c.first(call)); err != nil {
			return nil, err
		}
		_, err := c.show(call)
		return nil, cmp.Or(err, error(errMethod))
	}))
}

// OnlyPut is the refusal of GET by a member action.
func OnlyPut() error { return errOnlyPut }

// NotServed is the refusal of a method.
func NotServed() error { return errMethod }

// Unchangeable is the refusal to change a list, or one of its objects, of which none is found.
func Unchangeable(c *Call) error {
	if c.Path("id") == "" {
		return errMethod
	}
	return errNoSuchPage
}

// NotThere is what there is to say of objects that nobody can address.
func NotThere(*Call) error { return errNoSuchPage }

// Named is an object that has nothing but texts, of a ReadOnly collection without a table of its own.
type Named struct{ texts [4]string }

// NamedResource describes Named objects with these attributes, at most four, of an extension.
func NamedResource(name, path, ext string, enabled func(string) bool, attrs ...string) *resource.Resource[Named] {
	var list []resource.Attr[Named]
	for i, attr := range attrs {
		list = append(list, resource.Field(attr, resource.String(255), 0, func(n *Named) *string { return &n.texts[i] }))
	}
	return resource.New(name, name+"s", path, resource.Table[Named]{Name: "none", OneByOne: true, ID: func(n *Named) *string { return &n.texts[0] }},
		enabled, resource.Ext(ext, list...))
}
