package api

import (
	"encoding/json"

	"neutrino/internal/resource"
)

// Query reads the filters and the page of a list request about objects of res.
func Query[R any](c *Call, res *resource.Resource[R]) (*resource.Query, error) {
	return res.ParseQuery(c.Query, c.server.cfg.MaxPage, c.first, c.params()...)
}

// List is the JSON of the objects that a query found, for the answer of an Endpoint: {"bindings": [...]}, with links to
// other pages if q has a limit.
func List[R any](c *Call, res *resource.Resource[R], q *resource.Query, objs []*R) json.RawMessage {
	l := &Collection[R]{s: c.server, res: res}
	b := l.appendMany(nil, res.ParseFields(c.Query, true), objs)
	if q.Limit > 0 {
		b = c.appendLinks(b, res.Collection, pageOf(res, q, objs))
	}
	return append(b, '}')
}

// One is the JSON of an object, for the answer of an Endpoint: {"binding": {...}}.
func One[R any](c *Call, res *resource.Resource[R], obj *R) json.RawMessage {
	l := &Collection[R]{s: c.server, res: res}
	return l.appendOne(nil, res.ParseFields(c.Query, false), obj)
}
