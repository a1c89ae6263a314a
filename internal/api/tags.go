package api

import (
	"cmp"
	"fmt"
	"net/http"
	"path"
	"slices"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/policy"
	"neutrino/internal/resource"
	"neutrino/internal/store"
)

// taggable are the resources whose tags have an API of their own (neutron/extensions/tagging.py).
var taggable = []string{"port", "subnet", "subnetpool", "network", "router", "floatingip", "policy", "network_segment_range",
	"security_group", "trunk"}

const maxTags = 50

// tagRoute is one route of the tags API.
type tagRoute struct {
	method string
	verb   policy.Verb
	one    bool // about the tag in the path, not the list in the body
	status int
	// change makes the new tags of an object from those it has and those of the request; nil leaves them alone.
	change func(now, given []string) []string
}

var tagRoutes = []tagRoute{
	{http.MethodGet, policy.Get, false, http.StatusOK, nil},
	{http.MethodPost, policy.Create, false, http.StatusOK, union},
	{http.MethodPut, policy.Update, false, http.StatusOK, func(_, given []string) []string { return given }},
	{http.MethodDelete, policy.Delete, false, http.StatusNoContent, func(_, _ []string) []string { return nil }},
	{http.MethodGet, policy.Get, true, http.StatusNoContent, nil},
	{http.MethodPut, policy.Update, true, http.StatusCreated, union},
	{http.MethodDelete, policy.Delete, true, http.StatusNoContent, without},
}

func union(now, given []string) []string { return append(slices.Clone(now), without(given, now)...) }

func without(now, gone []string) []string {
	return slices.DeleteFunc(slices.Clone(now), func(tag string) bool { return slices.Contains(gone, tag) })
}

// tagsCollection is the collection in paths of tags: without the prefix of qos/policies, and network_segment_ranges, though ranges
// themselves are network-segment-ranges to upstream's second framework.
func (c *Collection[R]) tagsCollection() string {
	if c.res.Name == "network_segment_range" {
		return c.res.Collection
	}
	return path.Base(c.res.Path)
}

func (c *Collection[R]) mountTags() {
	for _, route := range tagRoutes {
		path := "/" + c.tagsCollection() + "/{id}/tags"
		if route.one {
			path += "/{tag}"
		}
		methods := []string{route.method}
		if route.method == http.MethodGet { // upstream's first framework takes what it does not know for GET
			methods = append(methods, http.MethodHead, http.MethodPatch)
			if route.one {
				methods = append(methods, http.MethodPost)
			}
		}
		for _, method := range methods {
			c.s.add(method, path, func(call *Call) (*reply, error) { return c.tags(call, route) })
		}
	}
}

// tags serves the tags API. The object is looked up without regard to who asks; policy decides, with 403 where other
// requests would get 404, as upstream. Whom policy lets pass may still not see it.
func (c *Collection[R]) tags(call *Call, route tagRoute) (*reply, error) {
	body, err := call.tagsBody(route)
	if err != nil {
		return nil, err
	}
	given, err := route.given(call, body)
	if err != nil {
		return nil, err
	}
	rule := string(route.verb) + "_" + c.res.Name + ":tags"
	run := c.s.db.Read
	if route.change != nil {
		run = c.s.db.Write
	}
	var now []string
	err = run(call.Request.Context(), func(tx *store.Tx) error {
		obj, err := c.res.Get(tx, call.Caller.Elevated(), call.Path("id"),
			c.res.Needed|c.res.Bits(call.judge.NeedsAttrs(rule)...)|c.res.Bits("tags", "revision_number", "description"))
		if err != nil {
			return err
		}
		if err := call.judge.enforce(rule, tagTarget[R]{target[R]{c.res, obj, newParents(tx)}}); err != nil {
			return err
		}
		if _, err := c.res.Get(tx, call.Caller, call.Path("id"), c.res.Bit("id")); err != nil && fault.As(err).Status == http.StatusNotFound {
			return fault.NotFound("TagResourceNotFound", "Resource %s %s could not be found.", c.res.Collection, call.Path("id"))
		} else if err != nil {
			return err
		}
		now = c.res.Standard(obj).Tags
		if route.one && route.method != http.MethodPut && !slices.Contains(now, given[0]) {
			return fault.NotFound("TagNotFound", "Tag %s could not be found.", given[0])
		}
		if route.change == nil {
			return nil
		}
		want := route.change(now, given)
		checked := given // not those that the object has besides, as upstream
		if route.one {
			checked = want
		}
		if len(checked) > maxTags {
			return fault.BadRequest("BadRequest", "Bad %s request: The number of tags exceed the per-resource limit of %d.", c.res.Collection, maxTags)
		}
		return c.setTags(tx, obj, want)
	})
	if err != nil || route.status == http.StatusNoContent {
		return &reply{status: route.status}, err
	}
	var answer any // null for a single tag
	switch {
	case route.change == nil:
		answer = map[string]any{"tags": append([]string{}, now...)}
	case !route.one:
		answer = body
	}
	return jsonReply(route.status, answer)
}

// tagTarget is an object as the policy of its tags sees it: upstream reads it without what makes a network external
// (neutron/extensions/tagging.py, _get_resource_info).
type tagTarget[R any] struct{ target[R] }

// Attr implements policy.Target.
func (t tagTarget[R]) Attr(name string) (string, bool) {
	if name == "router:external" {
		return "", false
	}
	return t.target.Attr(name)
}

// tagsBody decodes the body of a request, whether it needs one or not, and checks its headers. Upstream's first framework knows no
// bodies of tags.
func (c *Call) tagsBody(route tagRoute) (any, error) {
	raw, err := c.readBody()
	if err != nil || len(raw) == 0 || c.first || c.Request.Method != route.method {
		return nil, cmp.Or(err, c.checkIfMatch())
	}
	body, odd, err := decode(raw)
	if err != nil {
		return nil, errJSON
	}
	c.odd = odd
	return body, c.checkIfMatch()
}

// given are the tags of a request.
func (route *tagRoute) given(call *Call, body any) ([]string, error) {
	if route.one {
		tag, err := resource.String(model.MaxTagLen).Parse(call.Path("tag"))
		if err != nil {
			return nil, fault.InvalidInput("%s", err.Error())
		}
		return []string{tag}, nil
	}
	if route.method == http.MethodGet || route.method == http.MethodDelete {
		return nil, nil
	}
	object, _ := body.(map[string]any)
	v, ok := object["tags"]
	if !ok {
		return nil, fault.InvalidInput("Invalid tags body")
	}
	tags, err := model.Tags.Parse(v)
	if err != nil {
		return nil, fault.InvalidInput("%s", err.Error())
	}
	if call.odd && !storable(object, false) {
		return nil, fault.InvalidInput("Invalid tags body")
	}
	return tags, nil
}

// setTags writes the difference and counts the revision up.
func (c *Collection[R]) setTags(tx *store.Tx, obj *R, want []string) error {
	std := c.res.Standard(obj)
	added, removed := without(want, std.Tags), without(std.Tags, want)
	if len(added)+len(removed) == 0 {
		return nil
	}
	if len(removed) > 0 {
		in := resource.In("tag", removed)
		if _, err := tx.Exec("DELETE FROM tags WHERE standard_attr_id = ? AND "+in.SQL, append([]any{std.RowID}, in.Args...)...); err != nil {
			return fmt.Errorf("remove tags: %w", err)
		}
	}
	for _, tag := range added {
		// One may be there though it is another text: MariaDB does not see spaces at the end.
		if _, err := tx.Exec(tx.Dialect().InsertIgnore("tags", "standard_attr_id", "tag"), std.RowID, tag); err != nil {
			return fmt.Errorf("add tag: %w", err)
		}
	}
	return c.res.Touch(tx, obj)
}
