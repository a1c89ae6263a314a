package l3

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"neutrino/internal/fault"
	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"
)

// checkRoutes checks r.Routes against what the router is connected to and the limit of the project.
func (s *Service) checkRoutes(tx *store.Tx, caller *identity.Caller, r *model.Router) error {
	if len(r.Routes) == 0 {
		return nil
	}
	ports, err := attachments(tx, r.ID)
	if err != nil {
		return err
	}
	if err := checkRoutesVia(r.Routes, ports, nil); err != nil {
		return err
	}
	if s.Quota != nil {
		if err := s.Quota.Check(tx, caller, "router_route", r.ProjectID, len(r.Routes)); err != nil {
			return err
		}
	}
	for _, r := range r.Routes {
		if _, err := model.CIDR.Parse(r.Destination); err != nil {
			return fault.BadRequest("AddrFormatError", "invalid IPNetwork %s", r.Destination)
		}
	}
	return nil
}

// checkRoutesVia makes sure that all next hops are on subnets of the ports, or on more subnets, and are not the ports
// themselves.
func checkRoutesVia(routes []model.Route, ports []*attachment, more []*subnet) error {
	var prefixes []netip.Prefix
	var own []string
	for _, p := range ports {
		for _, a := range p.addresses {
			prefixes, own = append(prefixes, a.cidr), append(own, a.ip)
		}
	}
	for _, n := range more {
		prefixes = append(prefixes, n.cidr)
	}
	for _, r := range routes {
		hop, err := netip.ParseAddr(r.Nexthop)
		if err != nil {
			return fault.BadRequest("AddrFormatError", "failed to detect a valid IP address from %s", resource.PyRepr(r.Nexthop))
		}
		if !slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(hop) }) {
			return invalidRoutes(routes, "the nexthop is not connected with router")
		}
		if slices.Contains(own, r.Nexthop) {
			return invalidRoutes(routes, "the nexthop is used by router")
		}
	}
	return nil
}

func invalidRoutes(routes []model.Route, reason string) error {
	list := make([]any, len(routes))
	for i, r := range routes {
		list[i] = map[string]any{"destination": r.Destination, "nexthop": r.Nexthop}
	}
	return fault.BadRequest("InvalidRoutes", "Invalid format for routes: %s, %s", resource.PyRepr(list), reason)
}

// AddExtraRoutes adds the routes in body {"router": {"routes": […]}} to those of a router. Routes that it has already are
// no error. It returns the router as JSON.
func (s *Service) AddExtraRoutes(tx *store.Tx, caller *identity.Caller, router string, body map[string]any) (json.RawMessage, error) {
	return s.editRoutes(tx, caller, router, body, func(have, given []model.Route) []model.Route {
		for _, r := range given {
			if !slices.Contains(have, r) {
				have = append(have, r)
			}
		}
		return have
	})
}

// RemoveExtraRoutes takes the routes in body away from those of a router. Routes that it does not have are no error.
func (s *Service) RemoveExtraRoutes(tx *store.Tx, caller *identity.Caller, router string, body map[string]any) (json.RawMessage, error) {
	return s.editRoutes(tx, caller, router, body, func(have, given []model.Route) []model.Route {
		return slices.DeleteFunc(have, isIn(given))
	})
}

func isIn(routes []model.Route) func(model.Route) bool {
	set := make(map[model.Route]bool, len(routes))
	for _, r := range routes {
		set[r] = true
	}
	return func(r model.Route) bool { return set[r] }
}

func (s *Service) editRoutes(tx *store.Tx, caller *identity.Caller, id string, body map[string]any,
	edit func(have, given []model.Route) []model.Route) (json.RawMessage, error) {
	given, err := routesIn(body)
	if err != nil {
		return nil, err
	}
	routers := s.catalog.Routers
	old, err := routers.Get(tx, caller, id, routers.All)
	if err != nil {
		return nil, err
	}
	now := *old
	now.Routes = edit(slices.Clone(old.Routes), given)
	err = s.updateRouter(&resource.Change[model.Router]{Resource: routers, Tx: tx, Caller: caller, Old: old, New: &now,
		Named: routers.Bit("routes")})
	if err != nil {
		return nil, err
	}
	return append(s.AppendWhole([]byte(`{"router":`), &now), '}'), nil
}

// AppendWhole writes a router as upstream shows it in some answers: with attributes that are otherwise hidden, also by
// policy.
func (s *Service) AppendWhole(b []byte, r *model.Router) []byte {
	routers := s.catalog.Routers
	b = routers.Append(b, r, routers.Shown|routers.Bits("gw_port_id", "enable_snat"))
	return append(b[:len(b)-1], `,"enable_default_route_bfd":false,"enable_default_route_ecmp":false,"ha_vr_id":0}`...)
}

// routesIn finds the routes in the body of add_extraroutes and remove_extraroutes. Upstream does not check their form: what
// is no route is not found among those to remove, and cannot be added.
func routesIn(body map[string]any) ([]model.Route, error) {
	inner, ok := body["router"].(map[string]any)
	if !ok {
		return nil, fault.BadRequest("HTTPBadRequest", "Unable to find 'router' in request body")
	}
	raw, ok := inner["routes"]
	if !ok {
		return nil, fault.BadRequest("HTTPBadRequest", "Failed to parse request. Required attribute 'routes' not specified")
	}
	if list, ok := raw.([]any); ok {
		if routes, ok := plainRoutes(list); ok {
			return routes, nil
		}
	}
	routes, err := model.Routes.Parse(raw)
	if reason, ok := errors.AsType[resource.Reason](err); ok {
		return nil, fault.BadRequest("HTTPBadRequest", "Invalid input for routes. Reason: %s.", reason)
	}
	if err != nil {
		return nil, fmt.Errorf("routes: %w", err)
	}
	return routes, nil
}

// plainRoutes takes destination and next hop of each element as they are; ok is false if one has not both.
func plainRoutes(list []any) (routes []model.Route, ok bool) {
	for _, r := range list {
		fields, _ := r.(map[string]any)
		destination, has := fields["destination"]
		hop, hasHop := fields["nexthop"]
		if !has || !hasHop {
			return nil, false
		}
		routes = append(routes, model.Route{Destination: resource.Py(destination), Nexthop: resource.Py(hop)})
	}
	return routes, true
}
