package server

import (
	"context"
	"encoding/json"

	"neutrino/internal/api"
	"neutrino/internal/fault"
	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/service/flavor"
	"neutrino/internal/service/l3"
	"neutrino/internal/store"
)

// mountRouters serves routers, floating IPs and their member actions.
func mountRouters(s *api.Server, catalog *model.Catalog, routers *l3.Service, qos qosUse, flavors *flavor.Service, agents *api.Collection[model.Agent]) {
	api.Mount(s, catalog.FloatingIPs, qos.floatingIPs(routers.FloatingIPs()))
	mountFloatingIPPools(s, catalog)
	r := api.Mount(s, catalog.Routers, flavors.WithProviders(qos.routers(routers.Routers()), routers.Kind))
	for name, do := range map[string]func(*store.Tx, *identity.Caller, string, map[string]any) (map[string]any, error){
		"add_router_interface": routers.AddRouterInterface, "remove_router_interface": routers.RemoveRouterInterface,
	} {
		r.Action(name, func(_ context.Context, tx *store.Tx, caller *identity.Caller, id string, body map[string]any) (any, error) {
			return do(tx, caller, id, body)
		})
	}
	for name, do := range map[string]func(*store.Tx, *identity.Caller, string, map[string]any) (json.RawMessage, error){
		"add_extraroutes": routers.AddExtraRoutes, "remove_extraroutes": routers.RemoveExtraRoutes,
	} {
		r.Action(name, func(_ context.Context, tx *store.Tx, caller *identity.Caller, id string, body map[string]any) (any, error) {
			return do(tx, caller, id, body)
		})
	}
	// Several gateways, which neither upstream's router service nor ours has: it finds that out last.
	for _, name := range []string{"add_external_gateways", "update_external_gateways", "remove_external_gateways"} {
		r.Action(name, func(context.Context, *store.Tx, *identity.Caller, string, map[string]any) (any, error) {
			return nil, api.NotThere(nil)
		})
	}
	s.HandleList("/agents/{id}/l3-routers", api.Endpoint{Rule: "get_l3-routers", Do: func(_ context.Context, tx *store.Tx, c *api.Call) (any, error) {
		list, err := routers.RoutersOnAgent(tx, c.Path("id"))
		if err != nil {
			return nil, err
		}
		return r.Whole(tx, c, ids(catalog.Routers, list), routers.AppendWhole)
	}})
	s.Handle("POST", "/agents/{id}/l3-routers", api.Endpoint{Rule: "create_l3-router", Write: true, Status: 201,
		Do: func(_ context.Context, tx *store.Tx, c *api.Call) (any, error) {
			router := resource.Py(c.Body["router_id"])
			return nil, routers.AddRouterToAgent(tx, c.Path("id"), router)
		}})
	s.Handle("PUT", "/agents/{id}/l3-routers/{item}", api.Endpoint{Rule: "update_l3-router", Do: func(context.Context, *store.Tx, *api.Call) (any, error) {
		return nil, fault.New(501, "NotImplementedError", "Updating a router in an L3 agent is not supported for this backend")
	}})
	s.Handle("DELETE", "/agents/{id}/l3-routers/{item}", api.Endpoint{Rule: "delete_l3-router", Write: true, AnyBody: true,
		Do: func(_ context.Context, tx *store.Tx, c *api.Call) (any, error) {
			return nil, routers.RemoveRouterFromAgent(tx, c.Path("id"), c.Path("item"))
		}})
	s.HandleList("/routers/{id}/l3-agents", api.Endpoint{Rule: "get_l3-agents", Do: func(_ context.Context, tx *store.Tx, c *api.Call) (any, error) {
		list, err := routers.AgentsHostingRouter(tx, c.Caller, c.Path("id"))
		if err != nil {
			return nil, err
		}
		states, err := routers.AgentStates(tx, c.Path("id"))
		if err != nil {
			return nil, err
		}
		return withStates(catalog, agents, tx, c, ids(catalog.Agents, list), states)
	}})
}

// withStates are agents with what upstream shows of them only where it lists those of a router.
func withStates(catalog *model.Catalog, agents *api.Collection[model.Agent], tx *store.Tx, c *api.Call, ids []string, states map[string]l3.AgentState) (any, error) {
	more := map[string][]byte{}
	for _, id := range ids {
		x := states[id]
		text, err := json.Marshal(map[string]any{"ha_state": x.HA, "resource_versions": x.Versions, "ha_chassis_priority": nil}) // the last is of OVN
		if err != nil {
			return nil, err
		}
		more[id] = text[1:]
	}
	return agents.Whole(tx, c, ids, func(b []byte, a *model.Agent) []byte {
		b = catalog.Agents.Append(b, a, catalog.Agents.Shown)
		return append(append(b[:len(b)-1], ','), more[a.ID]...)
	})
}

// mountFloatingIPPools lists the IPv4 subnets of external networks from which the caller may take floating IPs.
func mountFloatingIPPools(s *api.Server, catalog *model.Catalog) {
	api.ReadOnly(s, catalog.FloatingIPPools, true, api.Unchangeable)
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
