package server

import (
	"context"
	"encoding/json"

	"neutrino/internal/api"
	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/service/addressgroup"
	"neutrino/internal/store"
)

// mountAddressGroups serves address groups; changed is told which of them have other addresses.
func mountAddressGroups(s *api.Server, catalog *model.Catalog, changed func(context.Context, []string)) {
	svc := addressgroup.New(catalog, changed)
	groups := api.Mount(s, catalog.AddressGroups, svc.Groups())
	for name, do := range map[string]func(*store.Tx, *identity.Caller, string, map[string]any) (json.RawMessage, error){
		"add_addresses": svc.Add, "remove_addresses": svc.Remove,
	} {
		groups.Action(name, func(_ context.Context, tx *store.Tx, caller *identity.Caller, id string, body map[string]any) (any, error) {
			return do(tx, caller, id, body)
		})
	}
}
