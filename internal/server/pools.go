package server

import (
	"context"

	"neutrino/internal/api"
	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/service/ipavailability"
	"neutrino/internal/service/ml2"
	"neutrino/internal/service/subnetpool"
	"neutrino/internal/store"
)

// connectPools lets subnets come from pools.
func connectPools(pools *subnetpool.Service, core *ml2.Plugin) {
	core.Hooks.ChoosePool, core.Hooks.SubnetFromPool = pools.Choose, pools.Allocate
}

// mountPools serves subnet pools, their member actions, address scopes and how many addresses networks have.
func mountPools(s *api.Server, catalog *model.Catalog, pools *subnetpool.Service) {
	api.Mount(s, catalog.IPAvailabilities, ipavailability.Logic(catalog), "GET", "POST", "PUT").Undeletable() // POST and PUT say which attribute is wrong
	api.Mount(s, catalog.AddressScopes, pools.Scopes())
	collection := api.Mount(s, catalog.Subnetpools, pools.Pools())
	for name, do := range map[string]func(*store.Tx, *identity.Caller, string, map[string]any) (any, error){
		"add_prefixes": pools.AddPrefixes, "remove_prefixes": pools.RemovePrefixes, "onboard_network_subnets": pools.Onboard,
	} {
		collection.Action(name, func(_ context.Context, tx *store.Tx, caller *identity.Caller, id string, body map[string]any) (any, error) {
			return do(tx, caller, id, body)
		})
	}
}
