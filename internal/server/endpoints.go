package server

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"reflect"
	"slices"
	"strings"

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
	own := func(c *api.Call) map[string]string { return map[string]string{"project_id": c.Caller.ProjectID} }
	may := func(rule string) func(c *api.Call) error {
		return func(c *api.Call) error {
			if rule == "get_quota" && project(c) == c.Caller.ProjectID && project(c) != "" {
				return nil
			}
			return c.Enforce(rule, own(c)) // the project is not asked for, as upstream
		}
	}
	show := func(tx *store.Tx, id string) (any, error) {
		limits, err := q.Limits(tx, id)
		return map[string]any{"quota": limits}, err
	}
	s.HandleGet("/quotas", api.Endpoint{Rule: "get_quota", Target: own, Do: func(_ context.Context, tx *store.Tx, c *api.Call) (any, error) {
		all, err := q.All(tx)
		list := []map[string]any{}
		for _, id := range slices.Sorted(maps.Keys(all)) {
			if !c.Caller.SeesAll() && id != c.Caller.ProjectID {
				continue
			}
			entry := map[string]any{"project_id": id, "tenant_id": id}
			for name, limit := range all[id] {
				entry[name] = limit
			}
			list = append(list, entry)
		}
		return map[string]any{"quotas": list}, err
	}}, "HEAD", "PATCH", "DELETE")
	s.Handle("POST", "/quotas", api.Endpoint{Do: func(context.Context, *store.Tx, *api.Call) (any, error) {
		return nil, fault.New(501, "HTTPNotImplemented", "POST requests are not supported on this resource.")
	}})
	s.HandleGet("/quotas/{id}", api.Endpoint{Do: func(_ context.Context, tx *store.Tx, c *api.Call) (any, error) {
		if id := project(c); id == "tenant" || id == "project" {
			if c.Caller.ProjectID == "" {
				return nil, fault.BadRequest("QuotaMissingTenant", "Tenant-id was missing from quota request.")
			}
			return map[string]any{id: map[string]string{id + "_id": c.Caller.ProjectID}}, nil
		}
		if err := may("get_quota")(c); err != nil {
			return nil, err
		}
		return show(tx, project(c))
	}}, "HEAD", "PATCH", "POST")
	s.HandleGet("/quotas/{id}/default", api.Endpoint{Do: func(_ context.Context, _ *store.Tx, c *api.Call) (any, error) {
		return map[string]any{"quota": q.Defaults()}, may("get_quota")(c)
	}}, "HEAD", "PATCH", "PUT", "DELETE", "POST")
	s.Handle("GET", "/quotas/{id}/details", api.Endpoint{Do: func(_ context.Context, tx *store.Tx, c *api.Call) (any, error) {
		if project(c) != c.Caller.ProjectID && !c.Caller.IsAdmin {
			return nil, fault.Forbidden("AdminRequired", "User does not have admin privileges: Only admin is authorized to access quotas for another project.")
		}
		return quotaDetails(tx, q, project(c))
	}})
	for _, method := range []string{"HEAD", "PATCH", "PUT", "POST", "DELETE"} {
		s.Handle(method, "/quotas/{id}/details", api.Endpoint{Do: func(_ context.Context, _ *store.Tx, c *api.Call) (any, error) { return nil, api.NotThere(c) }})
	}
	s.Handle("PUT", "/quotas/{id}", api.Endpoint{Rule: "update_quota", Target: own, Write: true, Odd: true, Do: func(_ context.Context, tx *store.Tx, c *api.Call) (any, error) {
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
	if _, several := body["quotas"]; ok && several {
		return nil, false, fault.BadRequest("HTTPBadRequest", "Bulk operation not supported")
	}
	if !ok {
		return nil, false, fault.BadRequest("HTTPBadRequest", "Unable to find 'quota' in request body")
	}
	if tenant, ok := members["tenant_id"]; ok { // upstream copies each to the other before it looks at names
		if project, ok := members["project_id"]; ok && !reflect.DeepEqual(project, tenant) {
			return nil, false, fault.BadRequest("HTTPBadRequest", "'project_id' and 'tenant_id' do not match")
		}
		members["project_id"] = tenant
	} else if project, ok := members["project_id"]; ok {
		members["tenant_id"] = project
	}
	limits = map[string]int{}
	var unknown []string
	names := slices.Sorted(maps.Keys(members))
	for _, name := range names {
		if name != quotaForce && name != quotaCheck && !q.Known(name) {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		return nil, false, fault.BadRequest("HTTPBadRequest", "Unrecognized attribute(s) '%s'", strings.Join(unknown, ", "))
	}
	for _, name := range names {
		switch name {
		case quotaForce:
			force = members[name] == true
		case quotaCheck:
		default:
			if limits[name], err = quotaLimit(name, members[name]); err != nil {
				return nil, false, err
			}
		}
	}
	return limits, force, nil
}

// quotaLimit reads a limit from a body: a number, also as text.
func quotaLimit(name string, v any) (int, error) {
	n, err := resource.Int.Parse(v)
	if number, ok := v.(json.Number); ok && err != nil { // one that Go has no place for
		if whole, isWhole := new(big.Int).SetString(string(number), 10); isWhole {
			word, limit := "large - must be no larger than", "2147483647"
			if whole.Sign() < 0 {
				word, limit = "small - must be at least", "-1"
			}
			return 0, fault.BadRequest("HTTPBadRequest", "Invalid input for %s. Reason: '%s' is too %s '%s'.", name, whole, word, limit)
		}
	}
	if err != nil {
		return 0, err
	}
	reason := ""
	if n < quota.Unlimited {
		reason = fmt.Sprintf("'%d' is too small - must be at least '-1'", n)
	}
	if n > 1<<31-1 {
		reason = fmt.Sprintf("'%d' is too large - must be no larger than '2147483647'", n)
	}
	if reason != "" {
		return 0, fault.BadRequest("HTTPBadRequest", "Invalid input for %s. Reason: %s.", name, reason)
	}
	return n, nil
}

// mountAgents serves agents, and which networks DHCP agents serve.
func mountAgents(s *api.Server, enabled func(string) bool, catalog *model.Catalog, networks *api.Collection[model.Network], svc *agents.Service) *api.Collection[model.Agent] {
	collection := api.Mount(s, catalog.Agents, svc.Logic())
	api.ReadOnly(s, api.NamedResource("availability_zone", "availability_zones", "availability_zone", enabled, "name", "resource", "state"), false, api.Unchangeable)
	s.Handle("GET", "/availability_zones", api.Endpoint{Rule: "get_availability_zone", Refused: map[string]any{"availability_zones": []any{}}, Do: func(_ context.Context, tx *store.Tx, c *api.Call) (any, error) {
		if err := onlyFilters(c.Query, "name", "resource", "state"); err != nil {
			return nil, err
		}
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
	s.HandleList("/agents/{id}/dhcp-networks", api.Endpoint{Rule: "get_dhcp-networks", Do: func(_ context.Context, tx *store.Tx, c *api.Call) (any, error) {
		if _, err := catalog.Agents.Get(tx, nil, c.Path("id"), catalog.Agents.Bit("id")); err != nil {
			return nil, err
		}
		ids, err := store.Strings(tx.Query("SELECT network_id FROM networkdhcpagentbindings WHERE dhcp_agent_id = ? ORDER BY network_id", c.Path("id")))
		if err != nil {
			return nil, err
		}
		return networks.Whole(tx, c, ids, func(b []byte, n *model.Network) []byte {
			b = catalog.Networks.Append(b, n, catalog.Networks.Shown)
			return fmt.Appendf(b[:len(b)-1], `,"standard_attr_id":%d,"qinq":null,"vlan_transparent":null}`, n.RowID)
		})
	}})
	s.Handle("POST", "/agents/{id}/dhcp-networks", api.Endpoint{Rule: "create_dhcp-network", Write: true, Status: 201,
		Do: func(_ context.Context, tx *store.Tx, c *api.Call) (any, error) {
			network := resource.Py(c.Body["network_id"])
			if _, err := catalog.Networks.Get(tx, nil, network, catalog.Networks.Bit("id")); err != nil {
				return nil, err
			}
			return nil, svc.AddNetwork(tx, c.Path("id"), network)
		}})
	s.Handle("DELETE", "/agents/{id}/dhcp-networks/{item}", api.Endpoint{Rule: "delete_dhcp-network", Write: true, AnyBody: true,
		Do: func(_ context.Context, tx *store.Tx, c *api.Call) (any, error) {
			return nil, svc.RemoveNetwork(tx, c.Path("id"), c.Path("item"))
		}})
	s.HandleList("/networks/{id}/dhcp-agents", api.Endpoint{Rule: "get_dhcp-agents", Do: func(_ context.Context, tx *store.Tx, c *api.Call) (any, error) {
		ids, err := store.Strings(tx.Query("SELECT dhcp_agent_id FROM networkdhcpagentbindings WHERE network_id = ? ORDER BY binding_index", c.Path("id")))
		if err != nil {
			return nil, err
		}
		return collection.Whole(tx, c, ids, wholeAgent(catalog, ""))
	}})
	return collection
}

// wholeAgent writes an agent as lists of those that serve something show it; more is added.
func wholeAgent(catalog *model.Catalog, more string) func([]byte, *model.Agent) []byte {
	return func(b []byte, a *model.Agent) []byte {
		b = catalog.Agents.Append(b, a, catalog.Agents.Shown|catalog.Agents.Bit("resource_versions"))
		return append(append(b[:len(b)-1], `,"ha_chassis_priority":null`+more...), '}')
	}
}

// onlyFilters refuses filters other than these.
func onlyFilters(query map[string][]string, filters ...string) error {
	known := append(filters, "fields", "sort_key", "sort_dir", "limit", "marker", "page_reverse")
	var unknown []any
	for _, name := range slices.Sorted(maps.Keys(query)) {
		if !slices.Contains(known, name) {
			unknown = append(unknown, name)
		}
	}
	if unknown == nil {
		return nil
	}
	return fault.BadRequest("HTTPBadRequest", "%s is invalid attribute for filtering", resource.PyRepr(unknown))
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
