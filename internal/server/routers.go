package server

import (
	"context"

	"neutrino/internal/api"
	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/service/agents"
	"neutrino/internal/service/l3"
	"neutrino/internal/store"
)

// mountRouters serves routers, floating IPs and their member actions.
func mountRouters(s *api.Server, catalog *model.Catalog, routers *l3.Service, agentService *agents.Service) {
	api.Mount(s, catalog.FloatingIPs, routers.FloatingIPs())
	r := api.Mount(s, catalog.Routers, routers.Routers())
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
}
