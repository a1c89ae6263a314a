package server

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// TestOddRequests: what Python makes of values and requests that are not meant that way.
func TestOddRequests(t *testing.T) {
	e := start(t, "[ml2]", "extension_drivers = port_security,dns_domain_ports,port_hints", "[ml2_type_vlan]", "network_vlan_ranges = physnet1:1:9")
	defer e.end()
	network := e.post("/networks", "network", object{"name": "n"})["id"].(string)
	e.post("/networks", "network", object{"name": "m"})
	subnet := e.post("/subnets", "subnet", object{"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/24"})["id"].(string)
	group := e.post("/address-groups", "address_group", object{"name": "g"})["id"].(string)
	flavor := e.post("/flavors", "flavor", object{"name": "f", "service_type": "L3_ROUTER_NAT"})["id"].(string)
	port := func(attr string, value any) object { return object{"port": object{"network_id": network, attr: value}} }
	router := e.post("/routers", "router", object{"name": "r"})["id"].(string)
	if status, answer := e.do("PUT", "/routers/"+router+"/add_router_interface", object{"subnet_id": subnet}, "admin"); status != 200 {
		t.Fatal(status, answer)
	}
	pool := e.post("/subnetpools", "subnetpool", object{"name": "p", "prefixes": []any{"10.20.0.0/24"}})["id"].(string)
	vlan := e.post("/networks", "network", object{"name": "v", "provider:network_type": "vlan", "provider:physical_network": "physnet1", "provider:segmentation_id": 7})["id"].(string)
	paired := e.post("/ports", "port", object{"network_id": network, "allowed_address_pairs": []any{object{"ip_address": "10.1.1.1"}}})["id"].(string)
	hidden := e.post("/networks", "network", object{"name": "h", "project_id": "q"})["id"].(string)
	foreign := e.post("/ports", "port", object{"network_id": hidden})["id"].(string)
	external := e.post("/networks", "network", object{"name": "e", "project_id": "q", "router:external": true})["id"].(string)
	own := e.post("/networks", "network", object{"name": "o"})["id"].(string)
	guest := e.post("/subnets", "subnet", object{"network_id": own, "ip_version": 4, "cidr": "10.2.0.0/24", "project_id": "q"})["id"].(string)
	shared := e.post("/address-groups", "address_group", object{"name": "s", "project_id": "q"})["id"].(string)
	e.post("/rbac-policies", "rbac_policy", object{"object_type": "address_group", "object_id": shared, "target_tenant": "*", "action": "access_as_shared"})
	secGroup := e.post("/security-groups", "security_group", object{"name": "g"})["id"].(string)
	rule := e.post("/security-group-rules", "security_group_rule", object{"security_group_id": secGroup, "direction": "ingress", "remote_ip_prefix": "10.0.0.1/24"})["id"].(string)
	long := strings.Repeat("n", 256)
	var many []any
	for i := range 50 {
		many = append(many, fmt.Sprint("t", i))
	}
	var pairs []any
	for i := range 11 {
		pairs = append(pairs, object{"ip_address": fmt.Sprint("10.7.0.", i)})
	}
	const notAllowed = "HTTPMethodNotAllowed The server could not comply with the request since it is either malformed or otherwise incorrect."
	extra := func(destination, hop string) object {
		return object{"router": object{"routes": []any{object{"destination": destination, "nexthop": hop}}}}
	}
	newSubnet := func(attr string, value any) object {
		return object{"subnet": object{"network_id": network, "ip_version": 4, "cidr": "10.1.0.0/24", attr: value}}
	}
	for _, c := range []struct {
		role, method, path string
		body               any
		status             int
		want               string // type and message of an error, or what the answer holds
	}{
		{"admin", "PUT", "/networks", object{"networks": []any{}}, 400, "HTTPBadRequest Bulk operation not supported"},
		{"admin", "PUT", "/networks", object{}, 404, "NetworkNotFound Network None could not be found."},
		{"admin", "PUT", "/networks/nope", object{}, 404, "NetworkNotFound Network nope could not be found."},
		{"admin", "PUT", "/networks/" + network, object{}, 400, "HTTPBadRequest Unable to find 'network' in request body"},
		{"admin", "POST", "/routers", object{"router": object{"external_gateway_info": ""}}, 201, "router external_gateway_info <nil>"},
		{"admin", "POST", "/subnets", newSubnet("allocation_pools", "x"), 400, "InvalidInput Invalid input for operation: Invalid data format for allocation pools."},
		{"admin", "POST", "/subnets", newSubnet("dns_nameservers", "8.8"), 400, "HTTPBadRequest Invalid input for dns_nameservers. Reason: '8' is not a valid nameserver. '8' is not a valid IP address."},
		{"admin", "POST", "/subnets", newSubnet("ip_version", object{}), 400, "InvalidInput Invalid input for operation: '{}' is not an integer."},
		{"admin", "POST", "/ports", port("mac_address", true), 201, "port mac_address 00:00:00:00:00:01"},
		{"admin", "POST", "/ports", port("mac_address", "2"), 201, "port mac_address 00:00:00:00:00:02"},
		{"admin", "POST", "/ports", port("mac_address", 0), 400, "HTTPBadRequest Invalid input for mac_address. Reason: '00:00:00:00:00:00' is not a valid MAC address."},
		{"admin", "POST", "/ports", port("binding:host_id", 0), 201, "port binding:host_id "},
		{"admin", "GET", "/networks?is_default=x", nil, 400, "InvalidInput Invalid input for operation: 'x' cannot be converted to boolean."},
		{"admin", "GET", "/subnets?ipv6_ra_mode=", nil, 200, "subnets 0"},
		{"admin", "GET", "/subnets?sort_key=ipv6_ra_mode&sort_dir=desc&fields=id&network_id=" + network, nil, 200, "subnets 1"},
		{"admin", "GET", "/ports?fixed_ips=ip_address_substr=%25.%25&fixed_ips=subnet_id=" + subnet, nil, 200, "ports 5"},
		{"admin", "GET", "/networks?limit=1&limit=2", nil, 200, "networks 2"},
		{"admin", "PUT", "/quotas/p", object{"quota": object{"tenant_id": "x"}}, 400, "HTTPBadRequest Unrecognized attribute(s) 'project_id, tenant_id'"},
		{"admin", "PUT", "/quotas/p", object{"quota": object{"tenant_id": []any{}, "project_id": object{}}}, 400, "HTTPBadRequest 'project_id' and 'tenant_id' do not match"},
		{"admin", "POST", "/flavors", object{"flavor": object{"service_type": "CORE", "tenant_id": "x"}}, 400, "HTTPBadRequest Unrecognized attribute(s) 'project_id, tenant_id'"},
		{"member", "POST", "/flavors/" + flavor + "/service_profiles", object{}, 400, "HTTPBadRequest Resource body required"},
		{"member", "POST", "/flavors/" + flavor + "/service_profiles", object{"service_profile": object{"id": flavor}}, 403, "PolicyNotAuthorized rule:create_flavor_service_profile is disallowed by policy"},
		{"admin", "GET", "/address-groups/" + group + "?fields=id", nil, 200, "address_group tenant_id p"},
		{"admin", "PUT", "/address-groups/" + group, object{"address_group": object{"description": long}}, 400, "HTTPBadRequest Invalid input for description. Reason: '" + long + "' exceeds maximum length of 255."},
		{"admin", "POST", "/address-groups", object{"address_group": object{"description": long}}, 400, "HTTPBadRequest Invalid input for description. Reason: '" + long + "' exceeds maximum length of 255."},
		{"admin", "POST", "/address-groups", object{"address_group": object{"description": long, "addresses": []any{"x"}}}, 400, "HTTPBadRequest Invalid input for addresses. Reason: 'x' is not a valid IP subnet."},
		{"admin", "POST", "/address-groups", object{"address_group": object{"description": strings.Repeat(long, 5), "addresses": []any{"x"}}}, 400, "HTTPBadRequest Invalid input for description. Reason: '" + strings.Repeat(long, 5) + "' exceeds maximum length of 1024."},
		{"admin", "GET", "/flavors/x/next_providers?a=1", nil, 400, "HTTPBadRequest ['a'] is invalid attribute for filtering"},
		{"admin", "GET", "/flavors/x/next_providers?limit=1", nil, 404, "FlavorNotFound Flavor x could not be found."},
		{"admin", "PUT", "/address-groups/" + group + "/remove_addresses", object{"addresses": object{"b": 1, "a": 1}}, 400, "AddrFormatError invalid IPNetwork a"},
		{"admin", "POST", "/networks/" + network, object{"network": object{"x": 1}}, 400, "HTTPBadRequest Unrecognized attribute(s) 'x'"},
		{"reader", "POST", "/networks/" + network, object{"network": object{"name": "x"}}, 403, "PolicyNotAuthorized rule:create_network is disallowed by policy"},
		{"admin", "POST", "/networks/" + network, object{"network": object{"name": "x"}}, 405, notAllowed},
		{"admin", "POST", "/networks/" + network, []any{}, 400, "HTTPBadRequest Body contains invalid data"},
		{"member", "POST", "/networks", object{"network": object{"segments": []any{object{}}}}, 403, "PolicyNotAuthorized (rule:create_network and (rule:create_network:segments and (rule:create_network:segments:provider:network_type and rule:create_network:segments:provider:physical_network and rule:create_network:segments:provider:segmentation_id))) is disallowed by policy"},
		{"admin", "POST", "/networks", object{"networks": []any{object{"name": 1}, "x"}}, 400, "HTTPBadRequest Invalid input for name. Reason: '1' is not a valid string."},
		{"admin", "POST", "/networks", object{"networks": []any{object{"name": "x"}, "x"}}, 400, "HTTPBadRequest Object 'network' contains invalid data"},
		{"admin", "POST", "/floatingip_pools", object{"floatingip_pool": object{}}, 400, "HTTPBadRequest Attribute 'project_id' not allowed in POST"},
		{"admin", "POST", "/floatingip_pools", object{"floatingip_pool": object{"cidr": "x", "network_id": "x"}}, 400, "HTTPBadRequest Attribute 'network_id' not allowed in POST"},
		{"admin", "PUT", "/ports/" + paired, object{"port": object{"fixed_ips": []any{object{"ip_address": "1.1.1.1"}}, "allowed_address_pairs": pairs}}, 400, "AllowedAddressPairExhausted The number of allowed address pair exceeds the maximum 10."},
		{"admin", "PUT", "/floatingip_pools/x", object{"floatingip_pool": object{"cidr": "x"}}, 400, "HTTPBadRequest Cannot update read-only attribute cidr"},
		{"admin", "POST", "/service-providers", object{"service_provider": object{"name": "x"}}, 400, "HTTPBadRequest Attribute 'name' not allowed in POST"},
		{"admin", "PUT", "/service-providers/x", nil, 400, "BadRequest Bad body request: Invalid format: b''."},
		{"admin", "GET", "/service-providers?fields=", nil, 200, "service_providers 4"},
		{"admin", "POST", "/auto-allocated-topology", object{}, 400, "HTTPBadRequest Resource body required"},
		{"admin", "POST", "/auto-allocated-topology", object{"auto_allocated_topology": object{}}, 400, "HTTPBadRequest Attribute 'tenant_id' not allowed in POST"},
		{"admin", "PUT", "/auto-allocated-topology/p", object{"auto_allocated_topology": object{}}, 400, "BadRequest Bad auto_allocate request: Unrecognized field."},
		{"member", "PUT", "/auto-allocated-topology/x", object{"auto_allocated_topology": object{}}, 403, "NotAuthorized Not authorized."},
		{"admin", "GET", "/auto-allocated-topology?limit=1&b=1&a=1", nil, 400, "HTTPBadRequest ['a', 'b'] is invalid attribute for filtering"},
		{"admin", "PUT", "/flavors/" + flavor + "/service_profiles/x", object{"service_profile": object{}}, 404, "FlavorServiceProfileBindingNotFound Service Profile x is not associated with flavor " + flavor + "."},
		{"member", "GET", "/flavors/" + flavor + "/service_profiles/x", nil, 404, "FlavorServiceProfileBindingNotFound Service Profile x is not associated with flavor " + flavor + "."},
		{"admin", "POST", "/flavors/" + flavor + "/service_profiles", object{"service_profile": "x"}, 400, "HTTPBadRequest Object 'service_profile' contains invalid data"},
		{"admin", "GET", "/service-providers?default=False", nil, 200, "service_providers 0"},
		{"admin", "PUT", "/subnetpools/" + pool + "/add_prefixes", object{"prefixes": []any{"10.30.0.0/24"}}, 200, "prefixes 2"},
		{"admin", "GET", "/subnetpools/" + pool, nil, 200, "subnetpool revision_number 0"},
		{"admin", "PUT", "/networks/" + vlan, object{"network": object{"provider:segmentation_id": 8}}, 200, "network revision_number 1"},
		{"admin", "PUT", "/ports/" + paired, object{"port": object{"allowed_address_pairs": []any{object{"ip_address": "10.1.1.1"}}}}, 200, "port revision_number 2"},
		{"admin", "POST", "/ports", object{"port": object{"network_id": network, "port_security_enabled": false, "fixed_ips": []any{object{"ip_address": "10.99.0.1"}}, "allowed_address_pairs": []any{object{"ip_address": "10.1.1.1"}}}}, 400, "InvalidIpForNetwork IP address 10.99.0.1 is not a valid IP for any of the subnets on the specified network."},
		{"member", "PUT", "/ports/" + foreign, object{"port": object{"name": "x"}}, 404, "NetworkNotFound Network " + hidden + " could not be found."},
		{"member", "DELETE", "/ports/" + foreign, nil, 404, "NetworkNotFound Network " + hidden + " could not be found."},
		{"admin", "PATCH", "/quotas/p", object{}, 200, "quota network 100"},
		{"admin", "PATCH", "/quotas/p/details", nil, 404, "HTTPNotFound The resource could not be found."},
		{"admin", "PUT", "/quotas/p", object{"quota": object{"x": 1, "network": "x"}}, 400, "HTTPBadRequest Unrecognized attribute(s) 'x'"},
		{"admin", "PUT", "/quotas/p", object{"quota": object{"network": json.Number("-9223372036854775809")}}, 400, "HTTPBadRequest Invalid input for network. Reason: '-9223372036854775809' is too small - must be at least '-1'."},
		{"admin", "PUT", "/security-group-rules/x", object{"security_group_rule": object{"description": "x"}}, 404, "SecurityGroupRuleNotFound Security group rule x does not exist"},
		{"admin", "POST", "/rbac-policies", object{"rbac_policys": []any{}}, 400, "HTTPBadRequest Resources required"},
		{"admin", "POST", "/rbac-policies", object{"rbac_policy": object{"object_type": "address_scope", "object_id": network, "target_tenant": "*", "action": "access_as_external"}}, 400, "InvalidActionForType Invalid action 'access_as_external' for object type 'address_scope'. Valid actions: ('access_as_shared',)"},
		{"admin", "PUT", "/agents/x/l3-routers/y", object{}, 501, "NotImplementedError message Updating a router in an L3 agent is not supported for this backend"},
		{"admin", "PUT", "/routers/" + router + "/add_extraroutes", extra("x", "10.0.0.9"), 400, "AddrFormatError invalid IPNetwork x"},
		{"admin", "PUT", "/routers/" + router + "/add_extraroutes", extra("10.8.0.1", "x"), 400, "AddrFormatError failed to detect a valid IP address from 'x'"},
		{"admin", "PUT", "/routers/" + router + "/add_extraroutes", extra("10.8.0.1", "10.0.0.9"), 200, "router routes [map[destination:10.8.0.1 nexthop:10.0.0.9]]"},
		{"admin", "PUT", "/routers/" + router + "/remove_extraroutes", extra("x", "y"), 200, "router routes [map[destination:10.8.0.1 nexthop:10.0.0.9]]"},
		{"admin", "PUT", "/routers/" + router + "/remove_extraroutes", extra("10.8.0.1", "10.0.0.9"), 200, "router routes []"},
		{"admin", "PUT", "/networks/" + network + "/tags", object{"tags": []any{"a"}, "b": object{"c": 1}}, 200, "b c 1"},
		{"admin", "POST", "/networks/" + network + "/tags", object{"tags": many}, 200, "tags 50"},
		{"admin", "PUT", "/networks/" + network + "/tags", object{"tags": append(many, "more")}, 400, "BadRequest Bad networks request: The number of tags exceed the per-resource limit of 50."},
		{"admin", "PUT", "/networks/" + network + "/tags", object{"tags": []any{"a", "A", "a "}}, 200, "tags 3"}, // also on MariaDB
		{"admin", "GET", "/security-groups?project_id=" + long, nil, 200, "security_groups 0"},
		{"admin", "GET", "/subnetpools?sort_key=shared&sort_dir=asc", nil, 400, "BadRequest Bad subnetpools request: 'shared' is an invalid attribute for sort key."},
		{"admin", "GET", "/security-group-rules?sort_key=normalized_cidr&sort_dir=asc", nil, 400, "BadRequest Bad securitygrouprules request: 'normalized_cidr' is an invalid attribute for sort key."},
		{"admin", "GET", "/security-group-rules/" + rule + "?fields=normalized_cidr", nil, 200, "security_group_rule normalized_cidr 10.0.0.0/24"},
		{"reader", "GET", "/networks/" + external + "/tags", nil, 403, "PolicyNotAuthorized rule:get_network:tags is disallowed by policy"},
		{"member", "PUT", "/subnets/" + guest + "/tags/a", nil, 404, "TagResourceNotFound Resource subnets " + guest + " could not be found."},
		{"admin", "DELETE", "/networks/" + network + "/dhcp-agents", nil, 200, "agents 0"},
		{"member", "PATCH", "/routers/" + router + "/l3-agents", nil, 403, "PolicyNotAuthorized rule:get_l3-agents is disallowed by policy"},
		{"admin", "PATCH", "/networks/" + network + "/dhcp-agents/x", nil, 405, notAllowed},
		{"admin", "POST", "/agents/x/dhcp-networks", object{"network_id": 1}, 404, "NetworkNotFound Network 1 could not be found."},
		{"member", "POST", "/agents/x/dhcp-networks", "x", 403, "PolicyNotAuthorized rule:create_dhcp-network is disallowed by policy"},
		{"admin", "PUT", "/extensions", object{}, 404, "HTTPNotFound The resource could not be found."},
		{"admin", "POST", "/extensions/agent", object{}, 404, "HTTPNotFound The resource could not be found."},
		{"admin", "POST", "/", "x", 405, notAllowed},
		{"admin", "GET", "/network-ip-availabilities/" + network + "?fields=tenant_id", nil, 200, "network_ip_availability project_id p"},
		{"member", "GET", "/address-groups/" + shared, nil, 200, "address_group name s"},
		{"member", "GET", "/address-groups/" + shared + "?fields=name", nil, 404, "HTTPNotFound The resource could not be found."},
		{"admin", "PUT", "/subnetpools/x/add_prefixes", "x", 404, "SubnetPoolNotFound Subnet pool x could not be found."},
		{"admin", "POST", "/subnetpools", object{"subnetpool": object{"name": long, "prefixes": []any{"x"}}}, 400, "HTTPBadRequest Invalid input for prefixes. Reason: 'x' is not a valid IP subnet."},
		{"admin", "POST", "/subnetpools", object{"subnetpool": object{"name": long, "prefixes": []any{"10.40.0.0/24"}}}, 400, "HTTPBadRequest Invalid input for name. Reason: '" + long + "' exceeds maximum length of 255."},
		{"admin", "POST", "/networks", object{"network": object{"mtu": "١٤_00"}}, 201, "network mtu 1400"},
		{"admin", "POST", "/networks", object{"network": object{"mtu": "14__00"}}, 400, "InvalidInput Invalid input for operation: '14__00' is not an integer."},
		{"admin", "GET", "/networks?provider:segmentation_id=99999999999", nil, 200, "networks 0"},
		{"admin", "GET", "/networks?limit=x&sort_key=name", nil, 400, "BadRequest Bad limit request: Limit must be an integer 0 or greater and not 'x'."},
		{"admin", "GET", "/routers?limit=x&sort_key=name", nil, 400, "HTTPBadRequest The number of sort_keys and sort_dirs must be same"},
		{"admin", "GET", "/routers?limit=99999999999999999999&fields=id", nil, 200, "routers 2"},
		{"member", "POST", "/ports", port("hints", object{}), 403, "PolicyNotAuthorized (rule:create_port and (rule:create_port:hints and ())) is disallowed by policy"},
		{"admin", "POST", "/ports", port("binding:host_id", long), 400, "HTTPBadRequest Invalid input for binding:host_id. Reason: '" + long + "' exceeds maximum length of 255."},
		{"admin", "PUT", "/ports/" + paired, object{"port": object{"allowed_address_pairs": []any{object{"ip_address": "10.1.1.1", "mac_address": "00:00:00:00:00:07"}}}}, 200, "port revision_number 3"},
		{"admin", "PUT", "/ports/" + paired, object{"port": object{"allowed_address_pairs": []any{object{"ip_address": "10.1.1.1", "mac_address": "00:00:00:00:00:07"}}}}, 200, "port revision_number 3"},
		{"member", "DELETE", "/address-groups/" + shared, nil, 403, "PolicyNotAuthorized rule:delete_address_group is disallowed by policy"},
		{"member", "GET", "/subnetpools/" + pool + "/add_prefixes", nil, 404, "HTTPNotFound The resource could not be found."},
		{"admin", "POST", "/subnetpools/" + pool + "/onboard_network_subnets", object{}, 404, "HTTPNotFound The resource could not be found."},
		{"member", "DELETE", "/network-ip-availabilities/" + hidden, nil, 404, "HTTPNotFound The resource could not be found."},
		{"member", "DELETE", "/network-ip-availabilities/x", nil, 404, "NetworkNotFound Network x could not be found."},
		{"admin", "DELETE", "/network-ip-availabilities/" + hidden, nil, 405, notAllowed},
		{"admin", "PUT", "/ports/x/bindings/h", nil, 400, "BadRequest Bad body request: Invalid format: b''."},
		{"admin", "PUT", "/networks/" + hidden, object{"network": object{"is_default": true}}, 200, "network revision_number 1"}, // without effect
		{"admin", "GET", "/networks/" + hidden, nil, 200, "network revision_number 1"},
		{"admin", "PUT", "/networks/" + external, object{"network": object{"is_default": true}}, 200, "network revision_number 1"},
		{"admin", "GET", "/networks/" + external, nil, 200, "network revision_number 2"},
		{"admin", "POST", "/networks", object{"network": object{"project_id": "d1", "provider:network_type": "bad"}}, 400, "InvalidInput Invalid input for operation: network_type value 'bad' not supported."},
		{"admin", "GET", "/quotas/d1/details", nil, 200, "quota security_group map[limit:10 reserved:0 used:1]"}, // the default group stays
		{"admin", "POST", "/ports", object{"port": object{"network_id": "x", "project_id": "d2"}}, 400, "HTTPBadRequest Invalid input for network_id. Reason: 'x' is not a valid UUID."},
		{"admin", "GET", "/quotas/d2/details", nil, 200, "quota security_group map[limit:10 reserved:0 used:0]"},
		{"admin", "POST", "/ports", object{"port": object{"network_id": group, "project_id": "d2"}}, 404, "NetworkNotFound Network " + group + " could not be found."},
		{"admin", "GET", "/quotas/d2/details", nil, 200, "quota security_group map[limit:10 reserved:0 used:1]"},
		{"admin", "POST", "/ports", object{"port": object{"network_id": network, "project_id": "d3", "device_owner": "network:dhcp"}}, 201, "port security_groups []"},
		{"admin", "GET", "/quotas/d3/details", nil, 200, "quota security_group map[limit:10 reserved:0 used:1]"},
		{"admin", "GET", "/routers/" + router, plain("x"), 400, "MalformedRequestBody Malformed request body: Cannot understand JSON."},
		{"admin", "GET", "/routers", plain("[]"), 200, "routers 2"},
		{"admin", "GET", "/availability_zones/x", plain("x"), 400, "MalformedRequestBody Malformed request body: Cannot understand JSON."},
		{"admin", "DELETE", "/availability_zones/x", object{}, 400, "HTTPBadRequest Request body is not supported in DELETE."},
		{"admin", "GET", "/routers/ä", nil, 404, "RouterNotFound Router Ã¤ could not be found"},
		{"admin", "PUT", "/routers/x/add_external_gateways", object{}, 404, "RouterNotFound Router x could not be found"},
		{"admin", "PUT", "/routers/" + router + "/add_external_gateways", object{}, 404, "HTTPNotFound The resource could not be found."},
		{"admin", "PUT", "/routers/" + router + "?fields=name", object{"router": object{"description": "d"}}, 200, "router description d"},
		{"admin", "POST", "/address-groups?fields=name", object{"address_group": object{}}, 201, "address_group revision_number 0"},
		{"admin", "POST", "/flavors", object{"flavor": object{"service_type": "CORE", "service_profiles": 1, "enabled": "x"}}, 400, "HTTPBadRequest Invalid input for service_profiles. Reason: '1' is not a list."},
		{"admin", "PUT", "/default-security-group-rules/x", object{"default_security_group_rule": object{"description": "x", "direction": "x"}}, 400, "HTTPBadRequest Cannot update read-only attribute description"},
		{"admin", "PUT", "/agents/x", object{"agent": object{"availability_zone": "x", "resources_synced": "x"}}, 400, "HTTPBadRequest Cannot update read-only attribute resources_synced"},
		{"admin", "POST", "/ports/x/bindings", object{"binding": object{"host": 1, "vnic_type": "x"}}, 400, "HTTPBadRequest Invalid input for vnic_type. Reason: x is not in valid_values."},
		{"admin", "POST", "/security-groups-default-statefulness", object{"security_groups_default_statefulness": object{"project_id": 1}}, 400, "HTTPBadRequest Invalid input for project_id. Reason: '1' is not a valid string."},
		{"admin", "GET", "/networks/ä", nil, 404, "NetworkNotFound Network ä could not be found."},
		{"admin", "GET", "/networks/" + network + "/tags/ä", nil, 404, "TagNotFound Tag Ã¤ could not be found."},
		{"admin", "GET", "/networks/" + network, plain("x"), 200, "network name n"},
		{"admin", "GET", "/quotas/p", plain("x"), 400, "MalformedRequestBody Malformed request body: Cannot understand JSON."},
		{"member", "DELETE", "/quotas", plain("x"), 403, "PolicyNotAuthorized rule:get_quota is disallowed by policy"},
		{"member", "PUT", "/quotas/p", []any{}, 403, "PolicyNotAuthorized rule:update_quota is disallowed by policy"},
		{"admin", "PUT", "/quotas/p", plain(`{"quota": {"network": NaN}}`), 400, "InvalidInput Invalid input for operation: 'nan' is not an integer."},
		{"admin", "PUT", "/quotas/p", plain(`{"quota": {"network": 100, "force": NaN}}`), 200, "quota network 100"},
		{"admin", "PUT", "/quotas/p", object{"quota": object{}, "quotas": object{}}, 400, "HTTPBadRequest Bulk operation not supported"},
		{"admin", "PUT", "/networks", object{"network": object{"x": 1}}, 400, "HTTPBadRequest Unrecognized attribute(s) 'x'"},
		{"admin", "PUT", "/routers", object{"router": object{"name": 1}}, 400, "HTTPBadRequest Invalid input for name. Reason: '1' is not a valid string."},
		{"admin", "PUT", "/rbac-policies", object{"rbac_policies": []any{}}, 400, "HTTPBadRequest Unable to find 'rbac_policy' in request body"},
		{"admin", "PUT", "/rbac-policies", object{"rbac_policys": []any{}}, 404, "RbacPolicyNotFound RBAC policy of type unknown with ID None not found"},
		{"admin", "PUT", "/availability_zones", object{"availability_zones": []any{}}, 400, "HTTPBadRequest Bulk operation not supported"},
		{"admin", "PUT", "/availability_zones", object{"x": []any{}}, 405, notAllowed},
		{"admin", "PUT", "/security-groups-default-statefulness", object{}, 405, notAllowed},
		{"admin", "DELETE", "/security-groups-default-statefulness", nil, 405, notAllowed},
		{"admin", "PUT", "/security-groups/" + secGroup, object{"security_groups": object{"x": 1}}, 400, "HTTPBadRequest Object 'security_group' contains invalid data"},
		{"admin", "PUT", "/security-groups/" + secGroup, object{"security_groups": []any{object{"x": 1}}}, 400, "HTTPBadRequest Unrecognized attribute(s) 'x'"},
		{"admin", "PUT", "/security-groups/x", object{"security_groups": []any{object{"name": "x"}}}, 404, "SecurityGroupNotFound Security group x does not exist"},
		{"admin", "GET", "/routers/" + router + "/add_router_interface?x=1", nil, 400, "HTTPBadRequest ['x'] is invalid attribute for filtering"},
		{"admin", "GET", "/networks?a%00b=1", nil, 400, `HTTPBadRequest ['a\x00b'] is invalid attribute for filtering`},
		{"admin", "GET", "/security-group-rules?port_range_min=-1", nil, 400, "SecurityGroupInvalidPortValue Invalid value for port -1"},
		{"admin", "POST", "/security-group-rules", object{"security_group_rule": object{"security_group_id": group, "direction": "ingress", "protocol": " 6 "}}, 404, "SecurityGroupNotFound Security group " + group + " does not exist"},
		{"admin", "PUT", "/subnetpools/" + pool + "/remove_prefixes", object{"prefixes": []any{1, true}}, 200, "prefixes 2"},
		{"admin", "PUT", "/subnetpools/" + pool + "/remove_prefixes", object{"prefixes": []any{-1}}, 400, "AddrFormatError failed to detect a valid IP address from -1"},
		{"admin", "PUT", "/subnetpools/" + pool + "/remove_prefixes", object{"prefixes": []any{"10.30.0.0/255.255.255.0"}}, 200, "prefixes 1"},
		{"admin", "POST", "/routers", plain(`{"router": {"admin_state_up": -0}}`), 201, "router admin_state_up false"},
		{"admin", "POST", "/networks", plain(`{"network": {"name": -0}}`), 400, "HTTPBadRequest Invalid input for name. Reason: '0' is not a valid string."},
		{"admin", "POST", "/subnetpools", plain(`{"subnetpool": {"name": "b", "prefixes": ["10.8.0.0/16"], "default_prefixlen": 123456789012345678901234567890}}`), 400, "IllegalSubnetPoolPrefixBounds Illegal prefix bounds: default_prefixlen=123456789012345678901234567890, max_prefixlen=32."},
		{"admin", "POST", "/networks", plain(`{"network": {"mtu": -18446744073709551616}}`), 400, "HTTPBadRequest Invalid input for mtu. Reason: '-18446744073709551616' should be non-negative."},
		{"admin", "GET", "/networks?mtu=123456789012345678901234567890", nil, 200, "networks 0"},
		{"admin", "POST", "/service_profiles", object{"service_profile": object{"metainfo": object{}}}, 400, "ServiceProfileEmpty Service Profile needs either a driver or metainfo."},
		{"admin", "PUT", "/service_profiles/x", object{"service_profile": object{"metainfo": object{"a": 1}}}, 404, "ServiceProfileNotFound Service Profile x could not be found."},
		{"admin", "PUT", "/subnetpools/" + pool + "/add_prefixes", plain(`{"prefixes": ["10.31.0.0/24"], "a": NaN}`), 200, "prefixes 2"},
		{"admin", "PUT", "/subnetpools/" + pool + "/add_prefixes", plain(`{"prefixes": NaN}`), 400, "HTTPBadRequest Request body contains invalid data"},
		{"admin", "PUT", "/subnetpools/" + pool + "/onboard_network_subnets", object{"network_id": []any{"x"}}, 404, "NetworkNotFound Network ['x'] could not be found."},
		{"admin", "GET", "/networks/%2e", nil, 404, "NetworkNotFound Network . could not be found."},
		{"admin", "DELETE", "/agents/x/l3-routers/y", object{"router_id": "y"}, 404, "AgentNotFound Agent x could not be found."},
		{"admin", "DELETE", "/agents/x/dhcp-networks/y", object{"network_id": "y"}, 404, "AgentNotFound Agent x could not be found."},
		{"admin", "DELETE", "/quotas/%2E%2e", nil, 404, "TenantQuotaNotFound Quota for project .. could not be found."},
		{"admin", "POST", "/routers/%2e", object{}, 405, notAllowed},
		{"admin", "GET", "/security-groups/x.JSON", nil, 404, "SecurityGroupNotFound Security group x.JSON does not exist"},
		{"admin", "GET", "/security-groups/x.json", nil, 404, "SecurityGroupNotFound Security group x does not exist"},
		{"admin", "GET", "/networks/x.JSON", nil, 404, "NetworkNotFound Network x could not be found."},
		{"admin", "GET", "/routers/x/edit", nil, 404, "RouterNotFound Router x could not be found"},
		{"admin", "PUT", "/address-groups/x/edit", object{}, 405, notAllowed},
		{"admin", "POST", "/routers/", object{}, 400, "HTTPBadRequest Unable to find 'router' in request body"},
		{"admin", "PUT", "/routers/x/", plain("x"), 400, "HTTPBadRequest Body contains invalid data"},
	} {
		status, answer := e.do(c.method, c.path, c.body, c.role)
		if status != c.status || !holds(answer, c.want) {
			t.Errorf("%s %s %v: %d %v, want %d %s", c.method, c.path, c.body, status, answer, c.status, c.want)
		}
	}
}

// TestPathsOfSegmentRanges: ranges are network-segment-ranges to upstream's second framework, their tags are below
// network_segment_ranges; each with the other separator is the first framework's.
func TestPathsOfSegmentRanges(t *testing.T) {
	e := start(t, "[DEFAULT]", "service_plugins = router,network_segment_range")
	defer e.end()
	id := e.post("/network_segment_ranges", "network_segment_range", object{"name": "r", "network_type": "vxlan", "minimum": 1000, "maximum": 2000, "shared": true})["id"].(string)
	tags := object{"tags": []any{"red", "blue"}}
	for _, c := range []struct {
		role, method, path string
		body               any
		status             int
		want               string
	}{
		{"admin", "PUT", "/network_segment_ranges/" + id + "/tags", tags, 200, "tags 2"},
		{"admin", "POST", "/network_segment_ranges/" + id + "/tags", object{"tags": []any{"green", "green"}}, 400,
			"InvalidInput Invalid input for operation: Duplicate items in the list: 'green'."},
		{"member", "PUT", "/network_segment_ranges/" + id + "/tags", tags, 403, "PolicyNotAuthorized rule:update_network_segment_range:tags is disallowed by policy"},
		{"admin", "PUT", "/network-segment-ranges/" + id + "/tags", tags, 400, "InvalidInput Invalid input for operation: Invalid tags body."},
		{"admin", "GET", "/network_segment_ranges/" + id + "/tags", nil, 200, "tags 2"},
	} {
		status, answer := e.do(c.method, c.path, c.body, c.role)
		if status != c.status || !holds(answer, c.want) {
			t.Errorf("%s %s %v: %d %v, want %d %s", c.method, c.path, c.body, status, answer, c.status, c.want)
		}
	}
	for path, want := range map[string]string{"/network_segment_ranges/": "name", "/network-segment-ranges/": "created_at description name revision_number tags updated_at"} {
		_, answer := e.do("GET", path+id+"?fields=name", nil, "admin")
		one, _ := answer["network_segment_range"].(map[string]any)
		if got := strings.Join(slices.Sorted(maps.Keys(one)), " "); got != want {
			t.Errorf("%s: fields %q, want %q", path, got, want)
		}
	}
}

// holds tells whether an answer has an error ("type message"), an attribute ("name attribute value") or a list
// ("name length").
func holds(answer map[string]any, want string) bool {
	for name, value := range answer {
		switch value := value.(type) {
		case []any:
			if fmt.Sprint(name, " ", len(value)) == want {
				return true
			}
		case map[string]any:
			if name == "NeutronError" {
				return fmt.Sprint(value["type"], " ", value["message"]) == want
			}
			for attr, v := range value {
				if fmt.Sprint(name, " ", attr, " ", v) == want {
					return true
				}
			}
		}
	}
	return false
}
