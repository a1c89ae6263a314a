package resource

import (
	"encoding/json"
	"slices"
	"strings"

	"neutrino/internal/fault"
	"neutrino/internal/identity"
)

// badRequest is the type of upstream's body errors.
func badRequest(format string, args ...any) error {
	return fault.BadRequest("HTTPBadRequest", format, args...)
}

// Create makes an object from the attributes of a POST body, with defaults and checks. It returns the attributes that
// the body named.
func (r *engine[P]) Create(caller *identity.Caller, body map[string]any) (obj P, named Set, err error) {
	if err = r.owner(caller, body, true); err != nil {
		return obj, 0, err
	}
	if err = r.known(body); err != nil {
		return obj, 0, err
	}
	obj = r.create()
	for _, i := range r.checks {
		a := &r.Attrs[i]
		_, given := body[a.Name]
		switch {
		case given && a.Flags&Post == 0:
			return obj, 0, badRequest("Attribute '%s' not allowed in POST", a.Name)
		case given:
			named |= 1 << i
		case a.Flags&Required != 0:
			return obj, 0, badRequest("Failed to parse request. Required attribute '%s' not specified", a.Name)
		case a.def != nil:
			a.def(obj)
		}
	}
	return obj, named, r.assign(obj, body, named)
}

// Update changes obj by the attributes of a PUT body, after checks. It returns the attributes that the body named.
func (r *engine[P]) Update(caller *identity.Caller, obj P, body map[string]any) (Set, error) {
	if err := r.owner(caller, body, false); err != nil {
		return 0, err
	}
	if err := r.known(body); err != nil {
		return 0, err
	}
	var named Set
	for _, i := range r.checks {
		a := &r.Attrs[i]
		if _, given := body[a.Name]; !given {
			continue
		}
		if a.Flags&Put == 0 {
			return 0, badRequest("Cannot update read-only attribute %s", a.Name)
		}
		named |= 1 << i
	}
	return named, r.assign(obj, body, named)
}

func (r *engine[P]) assign(obj P, body map[string]any, named Set) error {
	for _, i := range r.InOrder(named) {
		a := &r.Attrs[i]
		if err := a.dec(obj, body[a.Name]); err != nil {
			if reason, ok := err.(Reason); ok {
				return badRequest("Invalid input for %s. Reason: %s.", a.Name, reason)
			}
			return err
		}
	}
	return nil
}

// owner makes project_id and tenant_id agree and, on create, present. Objects without an owner have neither, which is told
// of both.
func (r *engine[P]) owner(caller *identity.Caller, body map[string]any, create bool) error {
	project, p := body["project_id"]
	tenant, t := body["tenant_id"]
	switch {
	case p && t && Py(project) != Py(tenant):
		return badRequest("'project_id' and 'tenant_id' do not match")
	case t && !p:
		project, p = tenant, true
	}
	if p && Py(project) != caller.ProjectID && !caller.MaySetProject() {
		return badRequest("Specifying 'project_id' other than the authenticated project in request is not allowed " +
			"for the current user.")
	}
	if !p && create && r.Bit("project_id") != 0 {
		if caller.ProjectID == "" {
			return badRequest("Running without keystone AuthN requires that project_id is specified")
		}
		project, p = caller.ProjectID, true
	}
	if p {
		body["project_id"], body["tenant_id"] = project, project
	}
	return nil
}

func (r *engine[P]) known(body map[string]any) error {
	var unknown []string
	for name := range body {
		if i, ok := r.byName[name]; !ok || r.Attrs[i].Flags&Internal != 0 {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	slices.Sort(unknown)
	return badRequest("Unrecognized attribute(s) '%s'", strings.Join(unknown, ", "))
}

// Bodies finds the attributes of one object, or of each of several in a bulk request, in a decoded request body. If one of
// several is no object, bodies are those before it: upstream decodes each before it looks at the next.
func (r *engine[P]) Bodies(body map[string]any, bulkAllowed bool) (bodies []map[string]any, bulk bool, err error) {
	if len(body) == 0 {
		return nil, false, badRequest("Resource body required")
	}
	many, ok := body[r.Name+"s"] // what upstream takes for the plural
	if !ok {
		one, err := r.one(body)
		if err != nil {
			return nil, false, err
		}
		return []map[string]any{one}, false, nil
	}
	if !bulkAllowed || r.table.OneByOne {
		return nil, false, badRequest("Bulk operation not supported")
	}
	if Falsy(many) {
		return nil, true, badRequest("Resources required")
	}
	list, ok := many.([]any)
	if !ok {
		return nil, true, r.noList(many)
	}
	for _, item := range list {
		m, ok := item.(map[string]any)
		if !ok {
			return bodies, true, r.noObject(item)
		}
		if _, wrapped := m[r.Name]; wrapped {
			if m, err = r.one(m); err != nil {
				return bodies, true, err
			}
		}
		bodies = append(bodies, m)
	}
	return bodies, true, nil
}

// noList is the error for a body whose list of objects is none. Upstream takes the characters of text and the keys of an
// object for its elements.
func (r *engine[P]) noList(v any) error {
	switch v.(type) {
	case string, map[string]any:
		return badRequest("Object '%s' contains invalid data", r.Name)
	}
	return badRequest("Body contains invalid data")
}

// noObject is the error for an element of a list that is no object.
func (r *engine[P]) noObject(v any) error {
	inside := false // upstream looks for the name of the resource in the element
	switch v := v.(type) {
	case string:
		inside = strings.Contains(v, r.Name)
	case []any:
		inside = slices.Contains(v, any(r.Name))
	default:
		inside = true
	}
	if inside {
		return badRequest("Body contains invalid data")
	}
	return badRequest("Object '%s' contains invalid data", r.Name)
}

// Falsy tells whether Python takes a decoded JSON value for false.
func Falsy(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case bool:
		return !v
	case string:
		return v == ""
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	case json.Number:
		f, err := v.Float64()
		return err == nil && f == 0
	}
	return false
}

func (r *engine[P]) one(body map[string]any) (map[string]any, error) {
	v, ok := body[r.Name]
	if !ok || v == nil {
		return nil, badRequest("Unable to find '%s' in request body", r.Name)
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, badRequest("Object '%s' contains invalid data", r.Name)
	}
	return m, nil
}

// IsDefault tells whether attribute i of obj has the value that it gets when a POST body does not name it. Policy
// ignores such attributes.
func (r *engine[P]) IsDefault(obj P, i int) bool {
	a := &r.Attrs[i]
	if a.def == nil {
		return false
	}
	plain := r.create()
	a.def(plain)
	return a.equal(obj, plain)
}

// NotFound is the error for an object that is not there or not visible.
func (r *engine[P]) NotFound(id string) error {
	if r.table.Missing != nil {
		return r.table.Missing(id)
	}
	words := strings.Split(r.Name, "_")
	var class strings.Builder
	for _, w := range words {
		class.WriteString(strings.ToUpper(w[:1]) + w[1:])
	}
	name := strings.Join(words, " ")
	return fault.NotFound(class.String()+"NotFound", "%s %s could not be found.", strings.ToUpper(name[:1])+name[1:], id)
}
