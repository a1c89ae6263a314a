package server

import (
	"context"

	"neutrino/internal/api"
	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/service/flavor"
	"neutrino/internal/service/l3"
	"neutrino/internal/store"
)

// mountRouters serves routers, floating IPs and their member actions.
func mountRouters(s *api.Server, catalog *model.Catalog, routers *l3.Service, flavors *flavor.Service, agents *api.Collection[model.Agent]) {
	api.Mount(s, catalog.FloatingIPs, routers.FloatingIPs())
	mountFloatingIPPools(s, catalog)
	r := api.Mount(s, catalog.Routers, flavors.WithProviders(routers.Routers()))
	for name, do := range map[string]func(*store.Tx, *identity.Caller, string, map[string]any) (map[string]any, error){
		"add_router_interface": routers.AddRouterInterface, "remove_router_interface": routers.RemoveRouterInterface,
	} {
		r.Action(name, func(_ context.Context, tx *store.Tx, caller *identity.Caller, id string, body map[string]any) (any, error) {
			return do(tx, caller, id, body)
		})
	}
	for name, do := range map[string]func(*store.Tx, *identity.Caller, string, map[string]any) (*model.Router, error){
		"add_extraroutes": routers.AddExtraRoutes, "remove_extraroutes": routers.RemoveExtraRoutes,
	} {
		r.Action(name, func(_ context.Context, tx *store.Tx, caller *identity.Caller, id string, body map[string]any) (any, error) {
			_, err := do(tx, caller, id, body)
			return nil, err
		})
	}
	s.Handle("GET", "/agents/{id}/l3-routers", api.Endpoint{Rule: "get_l3-routers", Do: func(_ context.Context, tx *store.Tx, c *api.Call) (any, error) {
		list, err := routers.RoutersOnAgent(tx, c.Path("id"))
		if err != nil {
			return nil, err
		}
		return r.Objects(tx, c, ids(catalog.Routers, list))
	}})
	s.Handle("POST", "/agents/{id}/l3-routers", api.Endpoint{Rule: "create_l3-router", Write: true, Status: 201,
		Do: func(_ context.Context, tx *store.Tx, c *api.Call) (any, error) {
			router, _ := c.Body["router_id"].(string)
			return nil, routers.AddRouterToAgent(tx, c.Path("id"), router)
		}})
	s.Handle("DELETE", "/agents/{id}/l3-routers/{router}", api.Endpoint{Rule: "delete_l3-router", Write: true,
		Do: func(_ context.Context, tx *store.Tx, c *api.Call) (any, error) {
			return nil, routers.RemoveRouterFromAgent(tx, c.Path("id"), c.Path("router"))
		}})
	s.Handle("GET", "/routers/{id}/l3-agents", api.Endpoint{Rule: "get_l3-agents", Do: func(_ context.Context, tx *store.Tx, c *api.Call) (any, error) {
		list, err := routers.AgentsHostingRouter(tx, c.Caller, c.Path("id"))
		if err != nil {
			return nil, err
		}
		return agents.Objects(tx, c, ids(catalog.Agents, list))
	}})
}

// mountFloatingIPPools lists the IPv4 subnets of external networks from which the caller may take floating IPs.
func mountFloatingIPPools(s *api.Server, catalog *model.Catalog) {
	s.Handle("GET", "/floatingip_pools", api.Endpoint{Do: func(_ context.Context, tx *store.Tx, c *api.Call) (any, error) {
		res := catalog.FloatingIPPools
		q, err := api.Query(c, res)
		if err != nil {
			return nil, err
		}
		q.Set, q.Caller = res.All, c.Caller
		q.Where = append(q.Where, resource.Cond{SQL: "t.ip_version = 4 AND t.network_id IN (SELECT network_id FROM externalnetworks)"})
		list, err := res.Select(tx, q)
		if err != nil {
			return nil, err
		}
		if c.Enforce("get_floatingip_pool", map[string]string{"project_id": c.Caller.ProjectID}) != nil {
			list = nil
		}
		return api.List(c, res, q, list), nil
	}})
}

func ids[R any](res *resource.Resource[R], list []*R) []string {
	out := make([]string, len(list))
	for i, r := range list {
		out[i] = res.ID(r)
	}
	return out
}
