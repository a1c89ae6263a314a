package api

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"unicode/utf8"

	"neutrino/internal/fault"
	"neutrino/internal/identity"
	"neutrino/internal/policy"
	"neutrino/internal/store"
)

// Call is one authenticated request.
type Call struct {
	Caller  *identity.Caller
	Query   url.Values
	Body    map[string]any // nil without one; for functions of Handle
	Request *http.Request

	first   bool   // upstream serves the path by its first framework, whatever the collection
	core    bool   // and because of the collection
	raw     []byte // the body as it came
	odd     bool   // it may have what databases and others' JSON have not, see storable
	release func() // ends the work on a long body, nil without one
	server  *Server
	judge   *judge
}

// Path is the value of a wildcard of the route, such as "id". Upstream's second framework takes its bytes for characters of
// ISO 8859-1, as WSGI hands them on (PEP 3333).
func (c *Call) Path(name string) string {
	value := c.Request.PathValue(name)
	if c.first || c.core {
		return value
	}
	for i := range len(value) {
		if value[i] >= utf8.RuneSelf {
			return latin1(value)
		}
	}
	return value
}

func latin1(s string) string {
	runes := make([]rune, len(s))
	for i := range len(s) {
		runes[i] = rune(s[i])
	}
	return string(runes)
}

// Enforce asks a policy rule about a target with the given attributes; the error is the 403 for the caller.
func (c *Call) Enforce(rule string, target map[string]string) error {
	return c.judge.enforce(rule, attributes(target))
}

// ActionFunc does a member action on the object called id, which the caller may see and policy lets them act on. Its
// result becomes the answer; nil means the object as it is afterwards.
type ActionFunc func(ctx context.Context, tx *store.Tx, caller *identity.Caller, id string, body map[string]any) (any, error)

// Action adds PUT /<collection>/{id}/<name>. The policy rule has the same name.
func (c *Collection[R]) Action(name string, do ActionFunc) {
	path := "/" + c.res.Path + "/{id}/" + name
	if slices.Contains(coreResources, c.res.Name) { // whose actions upstream routes by method
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPatch, http.MethodDelete} {
			c.s.add(method, path, func(*Call) (*reply, error) { return nil, errNoSuchPage })
		}
	} else {
		c.editForm()
		c.s.add(http.MethodGet, path, func(call *Call) (*reply, error) {
			_, err := c.res.ParseQuery(call.Query, 0, true, call.params()...)
			return nil, cmp.Or(err, error(errOnlyPut))
		})
		c.s.add(http.MethodPost, path, c.strayBody)
	}
	c.s.add(http.MethodPut, path, func(call *Call) (*reply, error) {
		if err := call.checkIfMatch(); err != nil {
			return nil, err
		}
		body, wrong := call.body(false)
		if wrong != nil && wrong != errInvalidBody {
			return nil, wrong
		}
		if call.odd && !storable(body, true) { // odd numbers are no names of anything
			wrong = cmp.Or(wrong, error(errInvalidBody))
		}
		var a *reply
		err := c.s.db.Write(call.Request.Context(), func(tx *store.Tx) error {
			obj, err := c.whole(tx, call)
			if err != nil {
				return err
			}
			t := target[R]{c.res, obj, newParents(tx)}
			if seen, err := call.judge.Allows(readRule(c.res.Name), t); err != nil {
				return err
			} else if !seen {
				return errNoSuchPage
			}
			if err := cmp.Or(call.judge.Enforce(c.actionDemand(name, obj, body), t), wrong); err != nil {
				return err
			}
			result, err := do(tx.Context(), tx, call.Caller, c.res.ID(obj), body)
			if err != nil {
				return err
			}
			if err := c.revisionIfChanged(tx, call, obj); err != nil {
				return err
			}
			if result == nil {
				a, err = c.answer(tx, call, http.StatusOK, []string{c.res.ID(obj)}, false)
			} else {
				a, err = jsonReply(http.StatusOK, result)
			}
			return err
		})
		return a, err
	})
}

// editForm adds the path of a form to edit an object, which nobody serves: upstream's router knows it for resources with member
// actions, looks for the object, and allows no other method.
func (c *Collection[R]) editForm() {
	path := "/" + c.res.Path + "/{id}/edit"
	if c.s.routes["/v2.0"+path] != nil {
		return
	}
	c.s.add(http.MethodGet, path, func(call *Call) (*reply, error) {
		err := c.s.db.Read(call.Request.Context(), func(tx *store.Tx) error {
			_, err := c.whole(tx, call)
			return err
		})
		return nil, cmp.Or(err, error(errNoSuchPage))
	})
}

// actionDemand is what policy must allow of a member action. Upstream lays the resource in the body over the object and asks
// about what it names; without one about every attribute of the object that is not as by default (_handle_action in
// neutron/api/v2/base.py).
func (c *Collection[R]) actionDemand(name string, obj *R, body map[string]any) policy.Demand {
	about, named := body[c.res.Name].(map[string]any)
	if !named {
		_ = json.Unmarshal(c.res.Append(nil, obj, c.res.All), &about) // what is written here can be read
	}
	set := c.res.Bits()
	for attr := range about {
		set |= c.res.Bit(attr)
	}
	return policy.NewAction(name).About(c.res.Name, given(c.res, set, about, func(i int) bool { return named || !c.res.IsDefault(obj, i) }))
}

// Endpoint is the behaviour of a route that is no part of a plain resource: a sub-collection, quotas, a derived list.
type Endpoint struct {
	Rule string // policy rule that is asked first, "" = Do asks
	// Refused is the answer to those whom the rule refuses: a list, of which they do not see the elements. Nil: the refusal.
	Refused any
	// Target gives the attributes that the rule may look at; nil = none.
	Target  func(c *Call) map[string]string
	Write   bool // the transaction may write
	Odd     bool // it stores nothing that it could not: a body may have what only Python's JSON has
	AnyBody bool // DELETE reads a body and does not look at it: openstacksdk sends one to the agents' lists
	Status  int  // 0 = 200, or 204 if Do returns nil
	Do      func(ctx context.Context, tx *store.Tx, c *Call) (any, error)
}

// HandleList adds a list below an object, such as "/networks/{id}/dhcp-agents". Upstream answers with it whatever it has no other
// meaning for, and refuses most methods of its elements.
func (s *Server) HandleList(path string, e Endpoint) {
	s.HandleGet(path, e, http.MethodHead, http.MethodPatch, http.MethodDelete)
	for _, method := range []string{http.MethodHead, http.MethodPatch, http.MethodPost} {
		s.add(method, path+"/{item}", func(*Call) (*reply, error) { return nil, errAllow("DELETE, PUT") })
	}
}

// HandleGet adds a route that serves GET, and answers other methods in the same way, as upstream's first framework does where it
// has no other meaning for them. It does not look at their bodies.
func (s *Server) HandleGet(path string, e Endpoint, others ...string) {
	for _, method := range append([]string{http.MethodGet}, others...) {
		s.add(method, path, s.handler(http.MethodGet, e))
	}
}

// Handle adds a route below /v2.0, such as "/agents/{id}/dhcp-networks".
func (s *Server) Handle(method, path string, e Endpoint) { s.add(method, path, s.handler(method, e)) }

func (s *Server) handler(method string, e Endpoint) handler {
	run := s.db.Read
	if e.Write {
		run = s.db.Write
	}
	return func(call *Call) (a *reply, err error) {
		if method != http.MethodGet || call.Request.Method == method {
			err = call.readable()
		}
		if err := cmp.Or(err, call.checkIfMatch()); err != nil {
			return nil, err
		}
		switch method {
		case http.MethodGet:
		case http.MethodDelete:
			if !e.AnyBody {
				err = call.noBody(false)
			}
		default:
			call.Body, err = call.body(false)
		}
		if err != nil && err != errInvalidBody {
			return nil, err
		}
		wrong := err
		if !e.Odd {
			wrong = cmp.Or(err, call.storable(call.Body))
		}
		if e.Rule != "" {
			var t map[string]string
			if e.Target != nil {
				t = e.Target(call)
			}
			switch err := call.Enforce(e.Rule, t); {
			case err != nil && e.Refused != nil && fault.As(err).Status == http.StatusForbidden:
				return jsonReply(http.StatusOK, e.Refused)
			case err != nil:
				return nil, err
			}
		}
		if wrong != nil {
			return nil, wrong
		}
		var result any
		err = run(call.Request.Context(), func(tx *store.Tx) (err error) {
			result, err = e.Do(tx.Context(), tx, call)
			return err
		})
		if err != nil {
			return nil, err
		}
		status := e.Status
		switch {
		case status == 0 && result == nil:
			status = http.StatusNoContent
		case status == 0:
			status = http.StatusOK
		}
		return jsonReply(status, result)
	}
}
