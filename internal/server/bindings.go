package server

import (
	"cmp"
	"context"
	"encoding/json"

	"neutrino/internal/api"
	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/service/ml2"
	"neutrino/internal/store"
)

// bindings serves the bindings of ports.
type bindings struct {
	core *ml2.Plugin
	res  *resource.Resource[model.PortBinding]
}

// mountBindings serves the bindings of ports.
func mountBindings(s *api.Server, catalog *model.Catalog, core *ml2.Plugin) {
	b := &bindings{core, catalog.PortBindings}
	const many, one = "/ports/{id}/bindings", "/ports/{id}/bindings/{host}"
	s.Handle("GET", many, api.Endpoint{Do: b.list})
	s.Handle("POST", many, api.Endpoint{Do: b.create, Write: true, Status: 201})
	s.Handle("GET", one, api.Endpoint{Do: b.show})
	// Without a host in the path upstream takes the port's id for it.
	s.Handle("PUT", many, api.Endpoint{Do: b.update})
	s.Handle("DELETE", many, api.Endpoint{Do: b.delete})
	s.Handle("GET", one+"/activate", api.Endpoint{Do: func(_ context.Context, _ *store.Tx, c *api.Call) (any, error) {
		return nil, cmp.Or(onlyFilters(c.Query), api.OnlyPut())
	}})
	s.Handle("PUT", one, api.Endpoint{Do: b.update, Write: true})
	s.Handle("DELETE", one, api.Endpoint{Do: b.delete, Write: true})
	s.Handle("PUT", one+"/activate", api.Endpoint{Do: b.activate, Write: true})
}

// visible tells whether the caller may see bindings.
func visible(c *api.Call) bool { return c.Enforce("get_port_binding", nil) == nil }

// enforce asks a rule; who may not even see bindings is told that there is none.
func (b *bindings) enforce(c *api.Call, rule string) error {
	err := c.Enforce(rule, nil)
	if err != nil && !visible(c) {
		return fault.NotFound("HTTPNotFound", "The resource could not be found.")
	}
	return err
}

func (b *bindings) list(_ context.Context, tx *store.Tx, c *api.Call) (any, error) {
	q, err := api.Query(c, b.res)
	if err != nil {
		return nil, err
	}
	list, err := b.core.PortBindings(tx, c.Caller, c.Path("id"), q)
	if err != nil {
		return nil, err
	}
	if !visible(c) {
		list = nil
	}
	return api.List(c, b.res, q, list), nil
}

func (b *bindings) show(_ context.Context, tx *store.Tx, c *api.Call) (any, error) {
	found, err := b.core.PortBinding(tx, c.Caller, c.Path("id"), c.Path("host"))
	if err != nil {
		return nil, err
	}
	if err := b.enforce(c, "get_port_binding"); err != nil {
		return nil, err
	}
	return api.One(c, b.res, found), nil
}

func (b *bindings) create(_ context.Context, tx *store.Tx, c *api.Call) (any, error) {
	bodies, _, err := b.res.Bodies(c.Body, false)
	if err != nil {
		return nil, err
	}
	want, _, err := b.res.Create(c.Caller, bodies[0])
	if err != nil {
		return nil, err
	}
	if err := c.Enforce("create_port_binding", nil); err != nil {
		return nil, err
	}
	made, err := b.core.CreatePortBinding(tx, c.Caller, c.Path("id"), want)
	if err != nil {
		return nil, err
	}
	return api.One(c, b.res, made), nil
}

func (b *bindings) update(_ context.Context, tx *store.Tx, c *api.Call) (any, error) {
	if c.Body == nil && c.Path("host") != "" {
		return nil, c.InvalidFormat()
	}
	want, named := &model.PortBinding{}, resource.Set(0)
	if _, about := c.Body[b.res.Name]; about || c.Path("host") != "" {
		bodies, _, err := b.res.Bodies(c.Body, false)
		if err != nil {
			return nil, err
		}
		if named, err = b.res.Update(c.Caller, want, bodies[0]); err != nil {
			return nil, err
		}
	}
	if _, err := b.core.PortBinding(tx, c.Caller, c.Path("id"), hostOf(c)); err != nil {
		return nil, err
	}
	if err := b.enforce(c, "update_port_binding"); err != nil {
		return nil, err
	}
	has := func(name string) bool { return named&b.res.Bit(name) != 0 }
	changed, err := b.core.UpdatePortBinding(tx, c.Caller, c.Path("id"), c.Path("host"), want, has)
	if err != nil {
		return nil, err
	}
	return api.One(c, b.res, changed), nil
}

func (b *bindings) delete(_ context.Context, tx *store.Tx, c *api.Call) (any, error) {
	if _, err := b.core.PortBinding(tx, c.Caller, c.Path("id"), hostOf(c)); err != nil {
		return nil, err
	}
	if err := b.enforce(c, "delete_port_binding"); err != nil {
		return nil, err
	}
	return nil, b.core.DeletePortBinding(tx, c.Caller, c.Path("id"), c.Path("host"))
}

func hostOf(c *api.Call) string { return cmp.Or(c.Path("host"), c.Path("id")) }

// activate answers the binding without its name around it, as upstream's member actions do.
func (b *bindings) activate(_ context.Context, tx *store.Tx, c *api.Call) (any, error) {
	if _, err := b.core.PortBinding(tx, c.Caller, c.Path("id"), c.Path("host")); err != nil {
		return nil, err
	}
	if err := b.enforce(c, "activate"); err != nil {
		return nil, err
	}
	active, err := b.core.ActivatePortBinding(tx, c.Caller, c.Path("id"), c.Path("host"))
	if err != nil {
		return nil, err
	}
	return json.RawMessage(b.res.Append(nil, active, b.res.Shown)), nil
}
