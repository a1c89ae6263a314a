package server

import (
	"fmt"
	"testing"
)

// TestOddRequests: what Python makes of values and requests that are not meant that way.
func TestOddRequests(t *testing.T) {
	e := start(t, "[ml2]", "extension_drivers = port_security,dns_domain_ports")
	defer e.end()
	network := e.post("/networks", "network", object{"name": "n"})["id"].(string)
	e.post("/networks", "network", object{"name": "m"})
	subnet := e.post("/subnets", "subnet", object{"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/24"})["id"].(string)
	group := e.post("/address-groups", "address_group", object{"name": "g"})["id"].(string)
	flavor := e.post("/flavors", "flavor", object{"name": "f", "service_type": "L3_ROUTER_NAT"})["id"].(string)
	port := func(attr string, value any) object { return object{"port": object{"network_id": network, attr: value}} }
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
		{"admin", "GET", "/subnets?sort_key=ipv6_ra_mode&sort_dir=desc&fields=id", nil, 200, "subnets 1"},
		{"admin", "GET", "/ports?fixed_ips=ip_address_substr=%25.%25&fixed_ips=subnet_id=" + subnet, nil, 200, "ports 3"},
		{"admin", "GET", "/networks?limit=1&limit=2", nil, 200, "networks 2"},
		{"admin", "PUT", "/quotas/p", object{"quota": object{"tenant_id": "x"}}, 400, "HTTPBadRequest Unrecognized attribute(s) 'project_id, tenant_id'"},
		{"admin", "PUT", "/quotas/p", object{"quota": object{"tenant_id": []any{}, "project_id": object{}}}, 400, "HTTPBadRequest 'project_id' and 'tenant_id' do not match"},
		{"admin", "POST", "/flavors", object{"flavor": object{"service_type": "CORE", "tenant_id": "x"}}, 400, "HTTPBadRequest Unrecognized attribute(s) 'project_id, tenant_id'"},
		{"member", "POST", "/flavors/" + flavor + "/service_profiles", object{}, 400, "HTTPBadRequest Resource body required"},
		{"member", "POST", "/flavors/" + flavor + "/service_profiles", object{"service_profile": object{"id": flavor}}, 403, "PolicyNotAuthorized rule:create_flavor_service_profile is disallowed by policy"},
		{"admin", "GET", "/address-groups/" + group + "?fields=id", nil, 200, "address_group tenant_id p"},
	} {
		status, answer := e.do(c.method, c.path, c.body, c.role)
		if status != c.status || !holds(answer, c.want) {
			t.Errorf("%s %s %v: %d %v, want %d %s", c.method, c.path, c.body, status, answer, c.status, c.want)
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
