package server

import (
	"cmp"
	"context"
	"slices"

	"neutrino/internal/api"
	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/service/autoallocate"
	"neutrino/internal/service/l3"
	"neutrino/internal/service/ml2"
	"neutrino/internal/store"
)

// passed stands for the network in the answer to a dry run.
const passed = "dry-run=pass"

// mountTopologies serves the topologies that projects get when they ask for one.
func mountTopologies(s *api.Server, enabled func(string) bool, catalog *model.Catalog, core *ml2.Plugin, routers *l3.Service) {
	topologies := autoallocate.New(catalog, autoallocate.Parts{Networks: core.Networks(), Subnets: core.Subnets(), Routers: routers.Routers(),
		AddInterface: routers.AddRouterInterface, RemoveInterface: routers.RemoveRouterInterface})
	const collection, path = "/auto-allocated-topology", "/auto-allocated-topology/{id}"
	unrecognized := fault.BadRequest("BadRequest", "Bad auto_allocate request: Unrecognized field.")
	get := func(tx *store.Tx, c *api.Call) (project, network string, err error) {
		if project, err = topologies.Project(c.Caller, c.Path("id")); err != nil {
			return "", "", err
		}
		fields := slices.DeleteFunc(slices.Clone(c.Query["fields"]), func(f string) bool { return f == "" })
		switch {
		case slices.Contains(fields, "dry-run"):
			network, err = passed, topologies.Check(tx, c.Caller)
		case len(fields) > 0:
			err = unrecognized
		default:
			network, err = topologies.Get(tx, c.Caller, project)
		}
		if err == nil && c.Enforce("get_auto_allocated_topology", owner(project)) != nil {
			err = fault.NotFound("HTTPNotFound", "The resource could not be found.")
		}
		return project, network, err
	}
	// Upstream looks a topology up, with fields that it does not have, before it finds that it cannot be changed.
	unable := func(c *api.Call) error {
		_, err := topologies.Project(c.Caller, c.Path("id"))
		return cmp.Or(err, error(unrecognized))
	}
	api.ReadOnly(s, api.NamedResource("auto_allocated_topology", "auto-allocated-topology", "auto-allocated-topology", enabled, "id", "tenant_id", "project_id"), false, unable)
	s.Handle("GET", collection, api.Endpoint{Do: func(_ context.Context, _ *store.Tx, c *api.Call) (any, error) {
		return nil, cmp.Or(onlyFilters(c.Query), api.NotThere(c)) // there is no list, of which upstream dies
	}})
	s.Handle("DELETE", collection, api.Endpoint{Do: func(_ context.Context, tx *store.Tx, c *api.Call) (any, error) {
		_, err := topologies.Project(c.Caller, "")
		return nil, cmp.Or(err, topologies.Check(tx, c.Caller), api.NotServed())
	}})
	s.Handle("GET", path, api.Endpoint{Write: true, Do: func(_ context.Context, tx *store.Tx, c *api.Call) (any, error) {
		project, network, err := get(tx, c)
		answer := map[string]string{"id": network, "project_id": project}
		if network != passed { // that answer is one to a request for certain fields
			answer["tenant_id"] = project
		}
		return map[string]any{"auto_allocated_topology": answer}, err
	}})
	s.Handle("DELETE", path, api.Endpoint{Write: true, Do: func(_ context.Context, tx *store.Tx, c *api.Call) (any, error) {
		project, _, err := get(tx, c) // upstream looks a topology up before it deletes it, which makes it if need be
		if err == nil {
			err = c.Enforce("delete_auto_allocated_topology", owner(project))
		}
		if err != nil {
			return nil, err
		}
		return nil, topologies.Delete(tx, c.Caller, project)
	}})
}

// owner is a policy target of which nothing but the owner is known.
func owner(project string) map[string]string {
	return map[string]string{"project_id": project, "tenant_id": project}
}
