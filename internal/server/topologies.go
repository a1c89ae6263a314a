package server

import (
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
func mountTopologies(s *api.Server, catalog *model.Catalog, core *ml2.Plugin, routers *l3.Service) {
	topologies := autoallocate.New(catalog, autoallocate.Parts{Networks: core.Networks(), Subnets: core.Subnets(), Routers: routers.Routers(),
		AddInterface: routers.AddRouterInterface, RemoveInterface: routers.RemoveRouterInterface})
	const path = "/auto-allocated-topology/{project}"
	get := func(tx *store.Tx, c *api.Call) (project, network string, err error) {
		if project, err = topologies.Project(c.Caller, c.Path("project")); err != nil {
			return "", "", err
		}
		fields := slices.DeleteFunc(slices.Clone(c.Query["fields"]), func(f string) bool { return f == "" })
		switch {
		case slices.Contains(fields, "dry-run"):
			network, err = passed, topologies.Check(tx, c.Caller)
		case len(fields) > 0:
			err = fault.BadRequest("BadRequest", "Bad auto_allocate request: Unrecognized field.")
		default:
			network, err = topologies.Get(tx, c.Caller, project)
		}
		if err == nil && c.Enforce("get_auto_allocated_topology", owner(project)) != nil {
			err = fault.NotFound("HTTPNotFound", "The resource could not be found.")
		}
		return project, network, err
	}
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
