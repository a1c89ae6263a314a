package server

import (
	"context"
	"maps"
	"slices"

	"neutrino/internal/api"
	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/service/agents"
	"neutrino/internal/service/quota"
	"neutrino/internal/store"
)

// Routes that are no plain resources: quotas, availability zones, and which agent serves what.

// quotaFlags are members of a quota body that are no limits.
const (
	quotaForce = "force"
	quotaCheck = "check_limit"
)

func mountQuotas(s *api.Server, q *quota.Service) {
	project := func(c *api.Call) string { return c.Path("id") }
	may := func(rule string) func(c *api.Call) error {
		return func(c *api.Call) error {
			if rule == "get_quota" && project(c) == c.Caller.ProjectID && project(c) != "" {
				return nil
			}
			return c.Enforce(rule, map[string]string{"project_id": project(c)})
		}
	}
	show := func(tx *store.Tx, id string) (any, error) {
		limits, err := q.Limits(tx, id)
		return map[string]any{"quota": limits}, err
	}
	s.Handle("GET", "/quotas", api.Endpoint{Rule: "get_quota", Do: func(_ context.Context, tx *store.Tx, _ *api.Call) (any, error) {
		all, err := q.All(tx)
		list := []map[string]any{}
		for _, id := range slices.Sorted(maps.Keys(all)) {
			entry := map[string]any{"project_id": id, "tenant_id": id}
			for name, limit := range all[id] {
				entry[name] = limit
			}
			list = append(list, entry)
		}
		return map[string]any{"quotas": list}, err
	}})
	s.Handle("POST", "/quotas", api.Endpoint{Do: func(context.Context, *store.Tx, *api.Call) (any, error) {
		return nil, fault.New(501, "HTTPNotImplemented", "POST requests are not supported on this resource.")
	}})
	s.Handle("GET", "/quotas/{id}", api.Endpoint{Do: func(_ context.Context, tx *store.Tx, c *api.Call) (any, error) {
		if id := project(c); id == "tenant" || id == "project" {
			return map[string]any{id: map[string]string{id + "_id": c.Caller.ProjectID}}, nil
		}
		if err := may("get_quota")(c); err != nil {
			return nil, err
		}
		return show(tx, project(c))
	}})
	s.Handle("GET", "/quotas/{id}/default", api.Endpoint{Do: func(_ context.Context, _ *store.Tx, c *api.Call) (any, error) {
		return map[string]any{"quota": q.Defaults()}, may("get_quota")(c)
	}})
	s.Handle("GET", "/quotas/{id}/details", api.Endpoint{Do: func(_ context.Context, tx *store.Tx, c *api.Call) (any, error) {
		if err := may("get_quota")(c); err != nil {
			return nil, err
		}
		return quotaDetails(tx, q, project(c))
	}})
	s.Handle("PUT", "/quotas/{id}", api.Endpoint{Write: true, Do: func(_ context.Context, tx *store.Tx, c *api.Call) (any, error) {
		if err := may("update_quota")(c); err != nil {
			return nil, err
		}
		limits, force, err := quotaBody(q, c.Body)
		if err != nil {
			return nil, err
		}
		if err := q.Set(tx, project(c), limits, force); err != nil {
			return nil, err
		}
		return show(tx, project(c))
	}})
	s.Handle("DELETE", "/quotas/{id}", api.Endpoint{Write: true, Do: func(_ context.Context, tx *store.Tx, c *api.Call) (any, error) {
		if err := may("delete_quota")(c); err != nil {
			return nil, err
		}
		return nil, q.Reset(tx, project(c))
	}})
}

func quotaDetails(tx *store.Tx, q *quota.Service, project string) (any, error) {
	limits, err := q.Limits(tx, project)
	if err != nil {
		return nil, err
	}
	details := map[string]map[string]int{}
	for name, limit := range limits {
		used, err := q.Used(tx, name, project)
		if err != nil {
			return nil, err
		}
		details[name] = map[string]int{"limit": limit, "used": used, "reserved": 0}
	}
	return map[string]any{"quota": details}, nil
}

func quotaBody(q *quota.Service, body map[string]any) (limits map[string]int, force bool, err error) {
	members, ok := body["quota"].(map[string]any)
	if !ok {
		return nil, false, fault.BadRequest("HTTPBadRequest", "Unable to find 'quota' in request body")
	}
	limits = map[string]int{}
	for name, v := range members {
		switch {
		case name == quotaForce:
			force, _ = v.(bool)
		case name == quotaCheck:
		case !q.Known(name):
			return nil, false, fault.BadRequest("HTTPBadRequest", "Unrecognized attribute(s) '%s'", name)
		default:
			n, err := resource.Int.Parse(v)
			if err != nil {
				return nil, false, err
			}
			if n < quota.Unlimited {
				return nil, false, fault.BadRequest("HTTPBadRequest", "Invalid input for %s. Reason: '%d' is too small - must be at least '-1'.", name, n)
			}
			if n > 1<<31-1 {
				return nil, false, fault.BadRequest("HTTPBadRequest",
					"Invalid input for %s. Reason: '%d' is too large - must be no larger than '2147483647'.", name, n)
			}
			limits[name] = n
		}
	}
	return limits, force, nil
}

func mountAgents(s *api.Server, catalog *model.Catalog, svc *agents.Service) {
	api.Mount(s, catalog.Agents, svc.Logic(), "GET", "PUT", "DELETE")
	s.Handle("GET", "/availability_zones", api.Endpoint{Rule: "get_availability_zone", Do: func(_ context.Context, tx *store.Tx, c *api.Call) (any, error) {
		zones, err := svc.Zones(tx)
		list := []map[string]string{}
		for _, z := range zones {
			entry := map[string]string{"name": z.Name, "resource": z.Resource, "state": z.State}
			if matches(entry, c.Query) {
				list = append(list, entry)
			}
		}
		return map[string]any{"availability_zones": list}, err
	}})
	s.Handle("GET", "/agents/{id}/dhcp-networks", api.Endpoint{Rule: "get_dhcp-networks", Do: func(_ context.Context, tx *store.Tx, c *api.Call) (any, error) {
		return objectsWhere(tx, catalog.Networks, "t.id IN (SELECT network_id FROM networkdhcpagentbindings WHERE dhcp_agent_id = ?)", c.Path("id"))
	}})
	s.Handle("POST", "/agents/{id}/dhcp-networks", api.Endpoint{Rule: "create_dhcp-network", Write: true, Status: 201,
		Do: func(_ context.Context, tx *store.Tx, c *api.Call) (any, error) {
			network, _ := c.Body["network_id"].(string)
			if _, err := catalog.Networks.Get(tx, nil, network, catalog.Networks.Bit("id")); err != nil {
				return nil, err
			}
			return nil, svc.AddNetwork(tx, c.Path("id"), network)
		}})
	s.Handle("DELETE", "/agents/{id}/dhcp-networks/{network}", api.Endpoint{Rule: "delete_dhcp-network", Write: true,
		Do: func(_ context.Context, tx *store.Tx, c *api.Call) (any, error) {
			return nil, svc.RemoveNetwork(tx, c.Path("id"), c.Path("network"))
		}})
	s.Handle("GET", "/networks/{id}/dhcp-agents", api.Endpoint{Rule: "get_dhcp-agents", Do: func(_ context.Context, tx *store.Tx, c *api.Call) (any, error) {
		return agentsWhere(tx, catalog, svc, "t.id IN (SELECT dhcp_agent_id FROM networkdhcpagentbindings WHERE network_id = ?)", c.Path("id"))
	}})
}

// matches tells whether all query parameters that name a member of the entry have its value.
func matches(entry map[string]string, query map[string][]string) bool {
	for name, wanted := range query {
		if v, ok := entry[name]; ok && !slices.Contains(wanted, v) {
			return false
		}
	}
	return true
}

// objectsWhere reads and encodes the objects that match, as a list answer.
func objectsWhere[R any](tx *store.Tx, res *resource.Resource[R], where string, args ...any) (any, error) {
	list, err := res.Select(tx, &resource.Query{Set: res.Shown, Where: []resource.Cond{{SQL: where, Args: args}}})
	if err != nil {
		return nil, err
	}
	return encodeList(res, list), nil
}

func agentsWhere(tx *store.Tx, catalog *model.Catalog, svc *agents.Service, where string, args ...any) (any, error) {
	list, err := catalog.Agents.Select(tx, &resource.Query{Set: catalog.Agents.Shown, Where: []resource.Cond{{SQL: where, Args: args}}})
	if err != nil {
		return nil, err
	}
	for _, a := range list {
		a.Alive = svc.Alive(a)
	}
	return encodeList(catalog.Agents, list), nil
}

func encodeList[R any](res *resource.Resource[R], list []*R) any {
	b := append([]byte(`{"`+res.Collection+`":`), resource.AppendList(func(b []byte, r *R) []byte { return res.Append(b, r, res.Shown) })(nil, list)...)
	return rawJSON(append(b, '}'))
}

// rawJSON is an answer that is encoded already.
type rawJSON []byte

// MarshalJSON gives the text as it is.
func (r rawJSON) MarshalJSON() ([]byte, error) { return r, nil }
