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
	if !first {
		s.add(http.MethodPost, "/"+res.Path+"/{id}", c.stray)
	}
}

// OnlyPut is the refusal of GET by a member action.
func OnlyPut() error { return errOnlyPut }

// NotServed is the refusal of a method.
func NotServed() error { return errMethod }

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
