package api

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"slices"

	"neutrino/internal/fault"
	"neutrino/internal/policy"
	"neutrino/internal/resource"
	"neutrino/internal/store"

	"github.com/google/uuid"
)

// Collection is a resource that the API serves.
type Collection[R any] struct {
	s     *Server
	res   *resource.Resource[R]
	logic resource.Logic[R]
	core  bool // upstream serves it by its first framework, see Call.body
}

// Mount serves a resource: list, show, create (also several at once), update, delete, and tags where upstream has them.
// With methods only those HTTP methods are served (GET, POST, PUT, DELETE).
func Mount[R any](s *Server, res *resource.Resource[R], logic resource.Logic[R], only ...string) *Collection[R] {
	c := &Collection[R]{s: s, res: res, logic: logic, core: slices.Contains(coreResources, res.Name)}
	if c.core {
		c.core = res.Name != "subnetpool" // because of an extension that adds member actions
		s.core = append(s.core, coreResource{res.Name, res.Path})
	}
	many, one := "/"+res.Path, "/"+res.Path+"/{id}"
	for _, route := range []struct {
		method, path string
		h            handler
	}{
		{http.MethodGet, many, c.list}, {http.MethodPost, many, c.create},
		{http.MethodGet, one, c.show}, {http.MethodPut, one, c.update}, {http.MethodDelete, one, c.delete},
	} {
		if len(only) == 0 || slices.Contains(only, route.method) {
			s.add(route.method, route.path, c.negotiated(route.h))
		}
	}
	s.add(http.MethodPost, one, c.stray)
	s.add(http.MethodPut, many, c.updateNone)
	s.add(http.MethodDelete, many, func(call *Call) (*reply, error) { return nil, cmp.Or(call.checkIfMatch(), c.withoutID()) })
	if slices.Contains(taggable, res.Name) && s.exts.Enabled("standard-attr-tag") {
		c.mountTags()
	}
	return c
}

// first tells whether upstream serves this request by its first framework (see Call.body).
func (c *Collection[R]) first(call *Call) bool { return c.core || call.first }

// negotiated refuses clients that do not want JSON, which upstream's framework of the core resources does, and garbled
// If-Match headers; that framework looks at the body first.
func (c *Collection[R]) negotiated(h handler) handler {
	return func(call *Call) (*reply, error) {
		call.core = c.core
		if c.first(call) && !wantsJSON(call.Request) {
			return nil, errAccept
		}
		if call.Request.Method == http.MethodGet && !c.first(call) {
			if err := call.readable(); err != nil {
				return nil, err
			}
		}
		if writes := call.Request.Method == http.MethodPost || call.Request.Method == http.MethodPut; !writes || !c.first(call) {
			if err := call.checkIfMatch(); err != nil {
				return nil, err
			}
		}
		return h(call)
	}
}

// fields are the attributes that the client wants. A blank name counts only for core resources, as one that does not exist, and
// answers to changes of others are whole.
func (c *Collection[R]) fields(call *Call, list bool) resource.Set {
	writes := call.Request.Method == http.MethodPost || call.Request.Method == http.MethodPut
	if !c.first(call) && (writes || !slices.ContainsFunc(call.Query["fields"], func(name string) bool { return name != "" })) {
		return c.res.Shown
	}
	if call.first {
		return c.res.NamedFields(call.Query)
	}
	return c.res.ParseFields(call.Query, list)
}

func (c *Collection[R]) list(call *Call) (*reply, error) {
	q, err := c.res.ParseQuery(call.Query, c.s.cfg.MaxPage, c.first(call), call.params()...)
	if err != nil {
		return nil, err
	}
	if q.Limit == 0 || q.Limit > shortPage {
		made, err := c.s.limits.list(call.Request.Context())
		if err != nil {
			return nil, err
		}
		defer made()
	}
	wanted := c.fields(call, true)
	if !call.first { // where the other framework serves lists that are whole otherwise, it leaves out what is not wanted
		wanted = c.res.ListFields(wanted)
	}
	v := viewOf(c.res, call.judge, wanted)
	q.Set, q.Caller = v.read, call.Caller
	var objs []*R
	if v.verdict != policy.No {
		if c.logic.BeforeList != nil {
			if err := c.logic.BeforeList(call.Request.Context(), call.Caller, call.Query); err != nil {
				return nil, err
			}
		}
		err = c.s.db.Read(call.Request.Context(), func(tx *store.Tx) error {
			if objs, err = c.res.Select(tx, q); err != nil {
				return err
			}
			if objs, err = v.visible(tx, objs); err != nil || len(objs) == 0 {
				return err
			}
			if err := c.load(tx, call, v.read, objs); err != nil {
				return err
			}
			if c.logic.AfterList != nil {
				c.logic.AfterList(call.Query, objs)
			}
			return v.decide(tx, objs[0])
		})
	}
	if err != nil {
		return nil, err
	}
	a := newReply(http.StatusOK)
	a.body = c.appendMany(a.body, v.show, objs)
	if q.Limit > 0 {
		a.body = call.appendLinks(a.body, c.res.Collection, pageOf(c.res, q, objs))
	}
	a.body = append(a.body, '}')
	return a, nil
}

// load fills the attributes without a column.
func (c *Collection[R]) load(tx *store.Tx, call *Call, set resource.Set, objs []*R) error {
	if c.logic.Load == nil || len(objs) == 0 {
		return nil
	}
	return c.logic.Load(tx, call.Caller, set, objs)
}

// appendMany writes the JSON of a list, without the closing brace.
func (c *Collection[R]) appendMany(b []byte, show resource.Set, objs []*R) []byte {
	b = resource.AppendString(append(b, '{'), c.res.Collection)
	b = append(b, ':', '[')
	for i, obj := range objs {
		if i == 1 { // the others will be about as long as the first
			b = slices.Grow(b, len(b)*len(objs)+len(b)*len(objs)/8)
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = c.res.Append(b, obj, show)
	}
	return append(b, ']')
}

func (c *Collection[R]) appendOne(b []byte, show resource.Set, obj *R) []byte {
	b = resource.AppendString(append(b, '{'), c.res.Name)
	return append(c.res.Append(append(b, ':'), obj, show), '}')
}

func (c *Collection[R]) show(call *Call) (*reply, error) {
	if c.first(call) { // upstream's framework of the core resources reads filters here too, without effect
		if _, err := c.res.ParseQuery(call.Query, 0, true, call.params()...); err != nil {
			return nil, err
		}
	}
	v := viewOf(c.res, call.judge, c.fields(call, false))
	var obj *R
	hidden := false
	err := c.s.db.Read(call.Request.Context(), func(tx *store.Tx) (err error) {
		if obj, err = c.res.Get(tx, call.Caller, call.Path("id"), v.read); err != nil {
			return err
		}
		seen, err := v.visible(tx, []*R{obj})
		if err != nil {
			return err
		}
		if hidden = len(seen) == 0; hidden {
			return nil
		}
		if err := c.load(tx, call, v.read, seen); err != nil {
			return err
		}
		return v.decide(tx, obj)
	})
	switch {
	case err != nil:
		return nil, err
	case hidden && c.first(call): // the error comes too late for its usual form
		return jsonReply(http.StatusNotFound, map[string]string{"type": errNoSuchPage.Type, "message": errNoSuchPage.Message, "detail": ""})
	case hidden:
		return nil, errNoSuchPage
	}
	a := newReply(http.StatusOK)
	a.body = c.appendOne(a.body, v.show, obj)
	return a, nil
}

// bodies finds the objects in a body.
func (c *Collection[R]) bodies(call *Call, body map[string]any, bulkAllowed bool) ([]map[string]any, bool, error) {
	if c.first(call) && len(body) == 0 { // upstream's framework of the core resources does not tell no body from a wrong one
		return nil, false, fault.BadRequest("HTTPBadRequest", "Unable to find '%s' in request body", c.res.Name)
	}
	bodies, bulk, err := c.res.Bodies(body, bulkAllowed && (c.first(call) || c.res.Bulk()))
	if len(bodies) > maxBulk {
		err = fault.New(http.StatusRequestEntityTooLarge, "HTTPRequestEntityTooLarge", "Request is too large. More than %d objects.", maxBulk)
	}
	return bodies, bulk, err
}

// draft is one object of a create request, decoded and checked.
type draft[R any] struct {
	obj   *R
	named resource.Set
	given []policy.Given
}

// drafts decodes the objects of a create request. It is done anew for each try of the transaction, which may change them.
func (c *Collection[R]) drafts(call *Call, bodies []map[string]any) ([]draft[R], error) {
	all := make([]draft[R], len(bodies))
	for i, body := range bodies {
		obj, named, err := c.res.Create(call.Caller, body)
		if err != nil {
			return nil, err
		}
		c.res.SetID(obj, uuid.NewString())
		differs := func(attr int) bool { return !c.res.IsDefault(obj, attr) }
		all[i] = draft[R]{obj, named, given(c.res, named, body, differs)}
	}
	return all, nil
}

// given lists the attributes under policy that a body sets.
func given[R any](res *resource.Resource[R], named resource.Set, body map[string]any, counts func(attr int) bool) []policy.Given {
	var all []policy.Given
	for _, i := range res.InOrder(named) {
		a := &res.Attrs[i]
		if a.Flags&resource.Policy == 0 || !counts(i) {
			continue
		}
		g := policy.Given{Name: a.Name}
		switch v := body[a.Name].(type) {
		case map[string]any:
			g.Keys = keys([]string{}, v)
		case []any:
			for _, item := range v {
				if m, ok := item.(map[string]any); ok {
					g.Items = keys(g.Items, m)
					for _, key := range policy.ItemKeys(res.Name, a.Name) {
						if _, has := m[key]; !has {
							g.Items = append(g.Items, key)
						}
					}
				}
			}
		}
		all = append(all, g)
	}
	return all
}

// keys appends the keys of m in a stable order.
func keys(all []string, m map[string]any) []string {
	n := len(all)
	for k := range m {
		all = append(all, k)
	}
	slices.Sort(all[n:])
	return all
}

func (c *Collection[R]) create(call *Call) (*reply, error) {
	body, err := call.body(c.first(call))
	if err != nil {
		return nil, err
	}
	bodies, bulk, wrong := c.bodies(call, body, true)
	drafts, err := c.drafts(call, bodies) // if an element is wrong, of those before it
	if err := cmp.Or(err, wrong); err != nil {
		return nil, err
	}
	if err := call.checkIfMatch(); err != nil {
		return nil, err
	}
	event, odd := c.event(call, "create", body)
	var a *reply
	err = c.s.db.Write(call.Request.Context(), func(tx *store.Tx) (err error) {
		if drafts == nil {
			if drafts, err = c.drafts(call, bodies); err != nil {
				return err
			}
		}
		objs := drafts
		drafts = nil // used up
		if err := cmp.Or(c.allowed(tx, call, objs), odd); err != nil {
			return err
		}
		changes, err := c.insert(tx, call, objs)
		if err != nil {
			return err
		}
		ids := make([]string, len(objs))
		for i, d := range objs {
			ids[i] = c.res.ID(d.obj)
		}
		a, err = c.answer(tx, call, http.StatusCreated, ids, bulk, changes...)
		return err
	})
	return c.s.done(call, event, a, err)
}

// allowed asks policy about new objects.
func (c *Collection[R]) allowed(tx *store.Tx, call *Call, drafts []draft[R]) error {
	parents := newParents(tx)
	for _, d := range drafts {
		demand := policy.NewDemand(policy.Create, c.res.Name, d.given)
		if err := call.judge.Enforce(demand, target[R]{c.res, d.obj, parents}); err != nil {
			if c.logic.Refused != nil {
				err = cmp.Or(c.logic.Refused(&resource.Change[R]{Resource: c.res, Tx: tx, Caller: call.Caller, New: d.obj, Named: d.named}), err)
			}
			return err
		}
	}
	return nil
}

// checkQuota makes sure that each project may have its part of the objects besides those that it has.
func (c *Collection[R]) checkQuota(tx *store.Tx, call *Call, drafts []draft[R]) error {
	if c.s.quota == nil {
		return nil
	}
	perProject := map[string]int{}
	for _, d := range drafts {
		project, _ := c.res.Text(d.obj, "project_id")
		perProject[project]++
	}
	for _, project := range slices.Sorted(maps.Keys(perProject)) {
		if err := c.s.quota.Check(tx, call.Caller, c.res.Name, project, perProject[project]); err != nil {
			return err
		}
	}
	return nil
}

// insert checks quota for all objects, then creates them.
func (c *Collection[R]) insert(tx *store.Tx, call *Call, drafts []draft[R]) ([]*resource.Change[R], error) {
	if err := c.checkQuota(tx, call, drafts); err != nil {
		return nil, err
	}
	changes := make([]*resource.Change[R], len(drafts))
	for i, d := range drafts {
		changes[i] = &resource.Change[R]{Resource: c.res, Tx: tx, Caller: call.Caller, New: d.obj, Named: d.named}
	}
	if c.logic.CreateMany != nil && len(changes) > 1 {
		return changes, c.logic.CreateMany(changes)
	}
	for _, change := range changes {
		if err := c.createOne(change); err != nil {
			return nil, err
		}
	}
	return changes, nil
}

func (c *Collection[R]) createOne(change *resource.Change[R]) error {
	if c.logic.Create != nil {
		return c.logic.Create(change)
	}
	return c.res.Insert(change.Tx, change.New)
}

// answer reads objects as they are now and encodes them; changes are what the request did to them, none if it only
// looks at them.
func (c *Collection[R]) answer(tx *store.Tx, call *Call, status int, ids []string, bulk bool, changes ...*resource.Change[R]) (*reply, error) {
	v := viewOf(c.res, call.judge, c.fields(call, bulk))
	// Elevated: a caller may create what they cannot list.
	objs, err := c.res.Select(tx, &resource.Query{Set: v.read, Caller: call.Caller.Elevated(), Where: []resource.Cond{c.res.ByID(ids...)}})
	if err != nil {
		return nil, err
	}
	at := make(map[string]int, len(ids))
	for i, id := range ids {
		at[id] = i
	}
	slices.SortFunc(objs, func(a, b *R) int { return at[c.res.ID(a)] - at[c.res.ID(b)] })
	if len(objs) > 0 {
		if err := c.load(tx, call, v.read, objs); err != nil {
			return nil, err
		}
		if err := v.decide(tx, objs[0]); err != nil {
			return nil, err
		}
		if c.logic.Answer != nil {
			for _, change := range changes {
				c.logic.Answer(change, objs[at[c.res.ID(change.New)]])
			}
		}
	} else if !bulk {
		return nil, c.res.NotFound(ids[0])
	}
	a := newReply(status)
	if bulk {
		a.body = append(c.appendMany(a.body, v.show, objs), '}')
	} else {
		a.body = c.appendOne(a.body, v.show, objs[0])
	}
	return a, nil
}

// Objects is the JSON of the objects with these ids, in their order, for the answer of an Endpoint:
// {"networks": [...]}. Which objects the caller may see is the caller's business.
func (c *Collection[R]) Objects(tx *store.Tx, call *Call, ids []string) (json.RawMessage, error) {
	a, err := c.answer(tx, call, http.StatusOK, ids, true)
	if err != nil {
		return nil, err
	}
	return a.body, nil
}

// Whole is the JSON of the objects with these ids, each written by encode, whatever policy says about their attributes:
// upstream answers some questions of agent schedulers that way.
func (c *Collection[R]) Whole(tx *store.Tx, call *Call, ids []string, encode func([]byte, *R) []byte) (json.RawMessage, error) {
	objs, err := c.res.Select(tx, &resource.Query{Set: c.res.All, Caller: call.Caller.Elevated(), Where: []resource.Cond{c.res.ByID(ids...)}})
	if err != nil {
		return nil, err
	}
	if err := c.load(tx, call, c.res.All, objs); err != nil {
		return nil, err
	}
	b := append(resource.AppendString([]byte{'{'}, c.res.Collection), ":["...)
	for i, obj := range objs {
		if i > 0 {
			b = append(b, ',')
		}
		b = encode(b, obj)
	}
	return append(b, "]}"...), nil
}

// whole reads everything about an object that the caller may look up.
func (c *Collection[R]) whole(tx *store.Tx, call *Call) (*R, error) {
	obj, err := c.res.Get(tx, call.Caller, call.Path("id"), c.res.All)
	if err != nil {
		return nil, err
	}
	return obj, c.load(tx, call, c.res.All, []*R{obj})
}

// enforce checks a demand on an existing object. Who may not even see it is told that it does not exist.
func (c *Collection[R]) enforce(call *Call, d policy.Demand, t target[R]) error {
	refused := call.judge.Enforce(d, t)
	if refused == nil || fault.As(refused).Status != http.StatusForbidden {
		return refused
	}
	var shown policy.Target = asFetched[R]{t}
	if call.Request.Method == http.MethodDelete { // for which upstream reads everything
		shown = t
	}
	seen, err := call.judge.Allows(readRule(c.res.Name), shown)
	if err != nil {
		return err
	}
	if !seen {
		return errNoSuchPage
	}
	return refused
}

// revisionIfChanged is revision for an object that may have been changed since it was read: upstream compares when it writes.
func (c *Collection[R]) revisionIfChanged(tx *store.Tx, call *Call, obj *R) error {
	_, given, err := ifMatch(call.Request.Header)
	std := c.res.Standard(obj)
	if err != nil || !given || std == nil {
		return c.revision(call, obj)
	}
	now, err := c.res.Get(tx, call.Caller.Elevated(), c.res.ID(obj), c.res.Bits("revision_number"))
	if err != nil || c.res.Standard(now).Revision == std.Revision {
		return err
	}
	return c.revision(call, obj)
}

// revision checks the If-Match header against the object.
func (c *Collection[R]) revision(call *Call, obj *R) error {
	want, given, err := ifMatch(call.Request.Header)
	if err != nil || !given {
		return err
	}
	std := c.res.Standard(obj)
	if std == nil {
		return fault.BadRequest("BadRequest", "Bad %s request: Revision matching not supported for this resource.", c.res.Collection)
	}
	if std.Revision != want {
		return fault.New(http.StatusPreconditionFailed, "RevisionNumberConstraintFailed",
			"Constrained to %d, but current revision is %d", want, std.Revision)
	}
	return nil
}

// alwaysWritten are resources that upstream writes even if a request to update them names nothing.
var alwaysWritten = []string{"subnet", "router", "subnetpool", "network_segment_range"}

// written tells whether upstream writes an object though these attributes have the values that they had.
func (c *Collection[R]) written(named resource.Set) bool {
	return named&(c.res.Columns()|c.res.Bit("description")) != 0 || slices.Contains(alwaysWritten, c.res.Name)
}

// named tells whether a body has the resource, as upstream's first framework finds it.
func (c *Collection[R]) named(body map[string]any) bool {
	_, one := body[c.res.Name]
	_, many := body[c.res.Collection]
	return one || many
}

// strayBody looks at the body of a POST where nothing can be created, as upstream's first framework does before it says so.
func (c *Collection[R]) strayBody(call *Call) (*reply, error) {
	_, err := c.strayDrafts(call)
	return nil, cmp.Or(err, call.checkIfMatch(), error(errMethod))
}

// stray is strayBody for the path of an object, where quota is counted and policy asked, too.
func (c *Collection[R]) stray(call *Call) (*reply, error) {
	drafts, err := c.strayDrafts(call)
	if err == nil && drafts != nil {
		err = c.s.db.Write(call.Request.Context(), func(tx *store.Tx) error {
			if err := c.checkQuota(tx, call, drafts); err != nil {
				return err
			}
			if err := cmp.Or(call.checkIfMatch(), c.strayRevision(tx, call)); err != nil {
				return err
			}
			return c.allowed(tx, call, drafts)
		})
	}
	return nil, cmp.Or(err, call.checkIfMatch(), error(errMethod))
}

// strayRevision is how upstream refuses a stale If-Match header though nothing will be changed: when it removes the reservation
// of quota, after the forms of its errors have been made.
func (c *Collection[R]) strayRevision(tx *store.Tx, call *Call) error {
	if c.s.quota == nil || !c.s.quota.Known(c.res.Name) {
		return nil
	}
	obj, err := c.res.Get(tx, call.Caller.Elevated(), call.Path("id"), c.res.Bits("revision_number"))
	if err == nil {
		err = c.revision(call, obj)
	}
	if f := fault.As(err); err != nil && f.Status == http.StatusPreconditionFailed {
		return &webPage{status: f.Status, explanation: "Request precondition failed.", detail: f.Message}
	}
	return nil
}

func (c *Collection[R]) strayDrafts(call *Call) ([]draft[R], error) {
	body, err := call.body(true)
	if err != nil || !c.named(body) {
		return nil, err
	}
	bodies, _, wrong := c.res.Bodies(body, true)
	drafts, err := c.drafts(call, bodies)
	return drafts, cmp.Or(err, wrong)
}

// withoutID is the outcome of a change of an object without id: upstream's first framework looks for one, unless its name is
// that of the list.
func (c *Collection[R]) withoutID() error {
	if c.res.Name == c.res.Collection {
		return errMethod
	}
	return c.res.NotFound("None")
}

// updateNone is an update without an id, which upstream's first framework serves.
func (c *Collection[R]) updateNone(call *Call) (*reply, error) {
	return nil, cmp.Or(c.strayUpdate(call), call.checkIfMatch(), c.withoutID())
}

// strayUpdate looks at the body of a PUT where nothing can be changed, as upstream's first framework does.
func (c *Collection[R]) strayUpdate(call *Call) error {
	body, err := call.updateBody(true)
	if err != nil || !c.named(body) {
		return err
	}
	bodies, _, err := c.bodies(call, body, false)
	if err == nil {
		_, err = c.res.Update(call.Caller, new(R), bodies[0])
	}
	return err
}

func (c *Collection[R]) update(call *Call) (*reply, error) {
	body, err := call.updateBody(c.first(call))
	if err != nil {
		return nil, err
	}
	bodies, bulk, err := c.bodies(call, body, !c.first(call))
	if bulk {
		return nil, c.updateMany(call, bodies, err)
	}
	if err != nil {
		if c.first(call) && !c.named(body) { // which upstream sees once it has the object
			err = cmp.Or(call.checkIfMatch(), c.s.db.Read(call.Request.Context(), func(tx *store.Tx) error {
				_, err := c.whole(tx, call)
				return err
			}), err)
		}
		return nil, err
	}
	if _, err := c.res.Update(call.Caller, new(R), bodies[0]); err != nil {
		return nil, err // before anything is looked up, as upstream
	}
	if err := call.checkIfMatch(); err != nil {
		return nil, err
	}
	event, odd := c.event(call, "update", body)
	var a *reply
	err = c.s.db.Write(call.Request.Context(), func(tx *store.Tx) error {
		old, err := c.whole(tx, call)
		if err != nil {
			return err
		}
		now := *old
		named, err := c.res.Update(call.Caller, &now, bodies[0])
		if err != nil {
			return err
		}
		always := func(int) bool { return true }
		demand := policy.NewDemand(policy.Update, c.res.Name, given(c.res, named, bodies[0], always))
		if err := cmp.Or(c.enforce(call, demand, target[R]{c.res, &now, newParents(tx)}), odd); err != nil {
			return err
		}
		change := &resource.Change[R]{Resource: c.res, Tx: tx, Caller: call.Caller, Old: old, New: &now, Named: named}
		if c.logic.Update != nil {
			err = c.logic.Update(change)
		} else {
			_, err = c.res.Save(tx, old, &now)
		}
		if err != nil {
			return err
		}
		if c.res.Changed(old, &now) != 0 || c.res.Standard(old) != nil && c.written(named) { // upstream compares when it writes, after all other checks
			if err := c.revision(call, old); err != nil {
				return err
			}
		}
		c.original(event, old)
		a, err = c.answer(tx, call, http.StatusOK, []string{c.res.ID(old)}, false, change)
		return err
	})
	return c.s.done(call, event, a, err)
}

// updateMany refuses to update several objects. Upstream's second framework checks each before it fails.
func (c *Collection[R]) updateMany(call *Call, bodies []map[string]any, wrong error) error {
	for _, body := range bodies {
		if _, err := c.res.Update(call.Caller, new(R), body); err != nil {
			return err
		}
	}
	if wrong != nil {
		return wrong
	}
	return cmp.Or(c.s.db.Read(call.Request.Context(), func(tx *store.Tx) error {
		_, err := c.whole(tx, call)
		return err
	}), error(fault.BadRequest("HTTPBadRequest", "Bulk operation not supported")))
}

func (c *Collection[R]) delete(call *Call) (*reply, error) {
	body := call.noBody(c.first(call))
	if body != nil && !c.first(call) {
		return nil, body
	}
	if err := call.checkIfMatch(); err != nil {
		return nil, err
	}
	event, _ := c.event(call, "delete", nil)
	err := c.s.db.Write(call.Request.Context(), func(tx *store.Tx) error {
		obj, err := c.whole(tx, call)
		if err != nil {
			return err
		}
		c.original(event, obj)
		demand := policy.NewDemand(policy.Delete, c.res.Name, nil)
		if err := cmp.Or(c.enforce(call, demand, target[R]{c.res, obj, newParents(tx)}), body); err != nil {
			return err
		}
		had := *obj
		if c.logic.Delete != nil {
			err = c.logic.Delete(&resource.Change[R]{Resource: c.res, Tx: tx, Caller: call.Caller, Old: obj})
		} else {
			err = c.res.Delete(tx, obj)
		}
		if err != nil {
			return err
		}
		return c.revision(call, &had)
	})
	return c.s.done(call, event, &reply{status: http.StatusNoContent}, err)
}
