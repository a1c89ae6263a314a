package main

import "fmt"

// Networks, subnets and ports that routers and floating IPs can use.
var (
	cidrs = []string{"10.1.0.0/24", "10.2.0.0/24", "10.2.0.128/25", "10.3.0.0/28", "10.4.0.0/24", "2001:db8:1::/64", "2001:db8:2::/64", "203.0.113.0/24",
		"198.51.100.0/29", "2001:db8:ffff:1::/64"}
)

func gatewayInfo(w *world) any {
	info := map[string]any{}
	if w.Intn(15) > 0 {
		info["network_id"] = w.ref("l3nets", "id")
		if w.Intn(5) == 0 {
			info["network_id"] = w.ref("l3outside", "id")
		}
	}
	if w.Intn(3) == 0 {
		info["enable_snat"] = pick(w, append(bools, nil, "x"))
	}
	switch w.Intn(9) {
	case 0:
		info["external_fixed_ips"] = []any{map[string]any{"subnet_id": w.ref("l3subnets", "id")}}
	case 1:
		info["external_fixed_ips"] = []any{map[string]any{"ip_address": pick(w, l3Addresses)}}
	case 2:
		info["external_fixed_ips"] = pick(w, []any{[]any{}, nil, "x", []any{map[string]any{}}, []any{"x"}, []any{map[string]any{"ip_address": "x"}},
			[]any{map[string]any{"ip_address": "10.1.0.50"}, map[string]any{"ip_address": "10.1.0.50"}}, []any{map[string]any{"subnet_id": "x"}},
			[]any{map[string]any{"ip_address": "10.1.0.50", "x": 1}}, []any{map[string]any{"ip_address": "10.1.0.50"}, map[string]any{"ip_address": "10.1.0.51"}}})
	case 3:
		info["external_fixed_ips"] = []any{map[string]any{"subnet_id": w.ref("l3subnets", "id"), "ip_address": pick(w, l3Addresses)}}
	}
	if w.Intn(40) == 0 {
		info["qos_policy_id"] = nil
	}
	return info
}

var l3Addresses = []any{"10.1.0.1", "10.1.0.50", "10.2.0.77", "10.2.0.200", "10.3.0.5", "203.0.113.9", "203.0.113.1", "198.51.100.3", "2001:db8:1::9", "172.24.0.77", "10.99.0.1", "x"}

func l3Routes(w *world) any {
	routes := []any{}
	for range w.Intn(3) {
		routes = append(routes, map[string]any{"destination": pick(w, []any{"10.8.0.0/16", "10.9.0.0/24", "0.0.0.0/0", "2001:db8:9::/48", "10.8.0.0/16", "10.8.0.1/16", "x", "127.0.0.0/8", "10.8.0.1"}),
			"nexthop": pick(w, l3Addresses)})
	}
	return pick(w, []any{routes, routes, routes, routes, []any{map[string]any{"destination": "10.8.0.0/16"}}, []any{map[string]any{"destination": "10.8.0.0/16", "nexthop": "10.1.0.50", "x": 1}},
		nil, "x", []any{"x"}, []any{map[string]any{"destination": "10.8.0.0/16", "nexthop": "10.1.0.50"}, map[string]any{"destination": "10.8.0.0/16", "nexthop": "10.1.0.50"}}})
}

func routerInterface(w *world) any {
	body := map[string]any{}
	switch w.Intn(12) {
	case 0, 1, 2, 3, 4, 5:
		body["subnet_id"] = w.ref("l3subnets", "id")
	case 6, 7, 8, 9:
		body["port_id"] = w.ref("l3ports", "id")
	case 10:
		body["subnet_id"], body["port_id"] = w.ref("l3subnets", "id"), w.ref("l3ports", "id")
	case 11:
		return pick(w, []any{body, []any{}, nil, map[string]any{"subnet_id": "x"}, map[string]any{"port_id": nil}, map[string]any{"x": 1}, map[string]any{"subnet_id": 1}, "x"})
	}
	if w.Intn(40) == 0 {
		body["x"] = 1
	}
	return body
}

func extraRoutes(w *world) any {
	if w.Intn(12) == 0 {
		return pick(w, []any{map[string]any{}, map[string]any{"router": map[string]any{}}, map[string]any{"router": nil}, map[string]any{"routes": []any{}}, nil, []any{}})
	}
	return map[string]any{"router": map[string]any{"routes": l3Routes(w)}}
}

func init() {
	families["l3nets"] = &family{path: "networks", name: "network",
		attributes: map[string][]any{"name": names, "router:external": {true, true, false}, "shared": {false, false, true}, "admin_state_up": bools}}
	families["l3outside"] = &family{path: "networks", name: "network",
		base: func(*world) map[string]any { return map[string]any{"router:external": true} }, attributes: map[string][]any{"name": names}}
	families["l3subnets"] = &family{path: "subnets", name: "subnet",
		base: func(w *world) map[string]any {
			cidr := pick(w, cidrs)
			if w.Intn(3) == 0 {
				cidr = fmt.Sprintf("10.%d.%d.0/24", 20+w.Intn(5), w.Intn(250))
			}
			version := 4
			if cidr[0] == '2' && cidr[4] == ':' {
				version = 6
			}
			network := w.ref("l3nets", "id")
			if w.Intn(4) == 0 {
				network = w.ref("l3outside", "id")
			}
			return map[string]any{"network_id": network, "cidr": cidr, "ip_version": version}
		},
		attributes: map[string][]any{"gateway_ip": {nil, "10.1.0.254", "10.2.0.1"}, "name": names, "enable_dhcp": {true, false, false},
			"ipv6_ra_mode": {"slaac", "dhcpv6-stateful"}, "ipv6_address_mode": {"slaac", "dhcpv6-stateful"}}}
	families["l3ports"] = &family{path: "ports", name: "port",
		base: func(w *world) map[string]any { return map[string]any{"network_id": w.ref("l3nets", "id")} },
		attributes: map[string][]any{"name": names, "admin_state_up": bools, "device_id": {"x", "", "vm1", id("routers")},
			"device_owner": {"compute:nova", "network:dhcp", "", "network:router_interface", "network:router_gateway", "network:floatingip"},
			"fixed_ips": {func(w *world) any {
				return []any{map[string]any{"subnet_id": w.ref("l3subnets", "id")}}
			}, func(w *world) any {
				return []any{map[string]any{"subnet_id": w.ref("l3subnets", "id")}, map[string]any{"subnet_id": w.ref("l3subnets", "id")}}
			}, func(w *world) any { return []any{map[string]any{"ip_address": pick(w, l3Addresses)}} }, []any{}}}}
	families["routers"] = &family{path: "routers", name: "router", filters: []string{"status", "tags", "id", "external_gateway_info"},
		attributes: map[string][]any{"name": names, "description": names, "admin_state_up": bools, "external_gateway_info": {gatewayInfo, gatewayInfo, gatewayInfo, gatewayInfo, nil, map[string]any{}},
			"routes": {func(w *world) any { return l3Routes(w) }}, "availability_zone_hints": {[]any{}, []any{"nova"}, []any{"nova", "nova"}, []any{"nowhere"}},
			"flavor_id": {nil, id("flavors"), "x"}, "project_id": {"$other.project", "$member.project"}, "tenant_id": {"$other.project"}, "enable_snat": bools},
		actions: []action{
			{"PUT", "add_router_interface", routerInterface}, {"PUT", "add_router_interface", routerInterface}, {"PUT", "add_router_interface", routerInterface},
			{"PUT", "remove_router_interface", routerInterface}, {"PUT", "remove_router_interface", routerInterface},
			{"PUT", "add_extraroutes", extraRoutes}, {"PUT", "remove_extraroutes", extraRoutes},
			{"GET", "l3-agents", nil}, {"GET", "tags", nil}, {"POST", "add_router_interface", routerInterface}, {"GET", "add_router_interface", nil}, {"PUT", "x", extraRoutes}}}
	families["floatingips"] = &family{path: "floatingips", name: "floatingip", filters: []string{"status", "router_id", "port_details", "id"},
		required: []string{"floating_network_id"},
		attributes: map[string][]any{"floating_network_id": {id("l3outside"), id("l3outside"), id("l3nets")}, "port_id": {id("l3ports"), id("l3ports"), id("l3ports"), nil},
			"fixed_ip_address": append([]any{nil, ""}, l3Addresses...), "floating_ip_address": append([]any{nil}, l3Addresses...),
			"subnet_id": {id("l3subnets"), nil, "x"}, "description": names, "dns_name": {"", "a", "a.b", "-"}, "dns_domain": {"", "a.org.", "a.org"},
			"project_id": {"$other.project", "$member.project"}, "router_id": {id("routers"), nil}, "status": {"ACTIVE", "DOWN"}}}
	families["floatingip_pools"] = &family{path: "floatingip_pools", name: "floatingip_pool", filters: []string{"id", "status"},
		attributes: map[string][]any{"subnet_id": {id("l3subnets")}, "subnet_name": names, "network_id": {id("l3outside")}, "cidr": {"10.1.0.0/24", "203.0.113.0/24"}}}
}
