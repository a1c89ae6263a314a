package server

import (
	"cmp"
	"context"
	"net/url"
	"slices"

	"neutrino/internal/api"
	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/service/flavor"
	"neutrino/internal/store"
)

// flavorTypes are the service types of upstream's plug-ins that are always there.
var flavorTypes = []string{"CORE", flavor.RouterType, "FLAVORS", "METERING", "NETWORK_SEGMENT_RANGE", "SEGMENTS", "TAG", "TIMESTAMP",
	"REVISIONS", "AUTO_ALLOCATED_TOPOLOGY", "NETWORK_IP_AVAILABILITY"}

// mountFlavors serves flavors, service profiles, what joins them, and service providers.
func mountFlavors(a *api.Server, catalog *model.Catalog, exts api.Extensions) *flavor.Service {
	types := flavorTypes
	if exts.Enabled("qos") {
		types = append(slices.Clip(types), "QOS")
	}
	s := flavor.New(catalog, types, exts.Enabled("router"))
	api.Mount(a, catalog.Flavors, s.Flavors())
	api.Mount(a, catalog.ServiceProfiles, s.Profiles())
	api.ReadOnly(a, api.NamedResource("service_provider", "service-providers", "flavors", exts.Enabled, "service_type", "name", "default"), false, api.Unchangeable)
	a.Handle("GET", "/service-providers", api.Endpoint{Rule: "get_service_provider", Refused: map[string]any{"service_providers": []any{}}, Do: func(_ context.Context, _ *store.Tx, c *api.Call) (any, error) {
		return listProviders(s.Providers(), c.Query), nil
	}})
	a.Handle("GET", "/flavors/{id}/next_providers", api.Endpoint{Rule: "get_flavor", Do: func(_ context.Context, tx *store.Tx, c *api.Call) (any, error) {
		if err := onlyFilters(c.Query); err != nil {
			return nil, err
		}
		p, err := s.NextProvider(tx, c.Path("id"))
		if err != nil {
			return nil, err
		}
		return map[string]any{"next_providers": []any{map[string]string{"provider": p.Name, "driver": p.Driver()}}}, nil
	}})
	a.Handle("POST", "/flavors/{id}/service_profiles", api.Endpoint{Write: true, Status: 201,
		Do: func(_ context.Context, tx *store.Tx, c *api.Call) (any, error) {
			profile, err := boundProfile(c.Body)
			if err == nil {
				err = c.Enforce("create_flavor_service_profile", nil)
			}
			if err != nil {
				return nil, err
			}
			// Upstream answers with the flavor's id.
			return map[string]any{"service_profile": map[string]string{"id": c.Path("id")}}, s.Bind(tx, c.Path("id"), profile)
		}})
	// There is nothing to change about what joins them; without a profile in the path upstream takes the flavor's id for it.
	profileOf := func(c *api.Call) string { return cmp.Or(c.Path("profile"), c.Path("id")) }
	for _, path := range []string{"/flavors/{id}/service_profiles", "/flavors/{id}/service_profiles/{profile}"} {
		a.Handle("PUT", path, api.Endpoint{Do: func(_ context.Context, tx *store.Tx, c *api.Call) (any, error) {
			if err := unchanged(c); err != nil {
				return nil, err
			}
			return nil, cmp.Or(s.Bound(tx, c.Path("id"), profileOf(c)), api.NotServed())
		}})
	}
	a.Handle("DELETE", "/flavors/{id}/service_profiles", api.Endpoint{Do: func(_ context.Context, tx *store.Tx, c *api.Call) (any, error) {
		return nil, cmp.Or(s.Bound(tx, c.Path("id"), c.Path("id")), api.NotServed())
	}})
	a.Handle("GET", "/flavors/{id}/service_profiles/{profile}", api.Endpoint{Do: func(_ context.Context, tx *store.Tx, c *api.Call) (any, error) {
		return map[string]any{"service_profile": struct{}{}}, cmp.Or(s.Bound(tx, c.Path("id"), c.Path("profile")), c.Enforce("get_flavor_service_profile", nil))
	}})
	a.Handle("DELETE", "/flavors/{id}/service_profiles/{profile}", api.Endpoint{Write: true,
		Do: func(_ context.Context, tx *store.Tx, c *api.Call) (any, error) {
			if err := cmp.Or(s.Bound(tx, c.Path("id"), c.Path("profile")), c.Enforce("delete_flavor_service_profile", nil)); err != nil {
				return nil, err
			}
			return nil, s.Unbind(tx, c.Path("id"), c.Path("profile"))
		}})
	return s
}

// unchanged looks at the body of a change of what joins a flavor and a profile.
func unchanged(c *api.Call) error {
	if c.Path("profile") == "" {
		return nil
	}
	if c.Body == nil {
		return fault.BadRequest("BadRequest", "Bad body request: Invalid format: b''.")
	}
	if len(c.Body) == 0 {
		return fault.BadRequest("HTTPBadRequest", "Resource body required")
	}
	given, ok := c.Body["service_profile"].(map[string]any)
	if !ok {
		return fault.BadRequest("HTTPBadRequest", "Unable to find 'service_profile' in request body")
	}
	for name := range given {
		if name != "id" {
			return fault.BadRequest("HTTPBadRequest", "Unrecognized attribute(s) '%s'", name)
		}
		return fault.BadRequest("HTTPBadRequest", "Cannot update read-only attribute id")
	}
	return nil
}

// boundProfile is the id in the body {"service_profile": {"id": …}}.
func boundProfile(body map[string]any) (string, error) {
	if len(body) == 0 {
		return "", fault.BadRequest("HTTPBadRequest", "Resource body required")
	}
	given, ok := body["service_profile"].(map[string]any)
	if other := body["service_profile"]; !ok && other != nil {
		return "", fault.BadRequest("HTTPBadRequest", "Object 'service_profile' contains invalid data")
	}
	if list, _ := body["service_profiles"].([]any); !ok && len(list) == 1 {
		given, ok = list[0].(map[string]any)
	}
	if !ok {
		return "", fault.BadRequest("HTTPBadRequest", "Unable to find 'service_profile' in request body")
	}
	for name := range given {
		if name != "id" {
			return "", fault.BadRequest("HTTPBadRequest", "Unrecognized attribute(s) '%s'", name)
		}
	}
	id, ok := given["id"]
	if !ok {
		return "", fault.BadRequest("HTTPBadRequest", "Failed to parse request. Required attribute 'id' not specified")
	}
	text, err := resource.UUID.Parse(id)
	if err != nil {
		return "", fault.BadRequest("HTTPBadRequest", "Invalid input for id. Reason: %s.", err)
	}
	return text, nil
}

// listProviders filters providers by service_type and name and keeps the wanted fields.
func listProviders(all []flavor.Provider, query url.Values) any {
	list := []map[string]any{}
	fields := slices.DeleteFunc(slices.Clone(query["fields"]), func(f string) bool { return f == "" })
	for _, p := range all {
		row := map[string]any{"service_type": p.ServiceType, "name": p.Name, "default": p.Default}
		if !passes(query["service_type"], p.ServiceType) || !passes(query["name"], p.Name) || query.Has("default") { // no text is Python's True or False
			continue
		}
		for name := range row {
			if len(fields) > 0 && !slices.Contains(fields, name) {
				delete(row, name)
			}
		}
		list = append(list, row)
	}
	return map[string]any{"service_providers": list}
}

func passes(wanted []string, value string) bool {
	return len(wanted) == 0 || slices.Contains(wanted, value)
}
