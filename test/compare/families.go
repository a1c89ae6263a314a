package main

import (
	"net/url"
	"strings"
)

// escape makes a value fit for a query, leaving references as they are.
func escape(s string) string {
	if strings.HasPrefix(s, "$") {
		return s
	}
	return url.QueryEscape(s)
}

var (
	bools = []any{true, false, "true", "False", 1, 0}
	names = []any{"a", "b", "c", "", strings.Repeat("n", 255), strings.Repeat("n", 256), "ü"}
)

func init() {
	families["networks"] = &family{path: "networks", name: "network", filters: []string{"status", "tenant_id", "tags", "router:external"},
		required: []string{"name"},
		attributes: map[string][]any{
			"name": names, "description": names, "admin_state_up": bools, "shared": bools, "router:external": bools,
			"port_security_enabled": bools, "mtu": {1400, 1500, 68, 67, 9000, "1400", 0},
			"provider:network_type":     {"vxlan", "vlan", "flat", "local", "gre", "geneve", "bad"},
			"provider:physical_network": {"public", "physnet1", "nope"}, "provider:segmentation_id": {100, 101, 2000, 5, 4095, 70000000, "7"},
			"dns_domain": {"a.org.", "a.org", "-x.", "."}, "availability_zone_hints": {[]any{}, []any{"nova"}, []any{"nowhere"}},
			"is_default": bools, "vlan_transparent": bools, "project_id": {"$other.project", "$member.project"}, "qinq": bools}}
	families["subnets"] = &family{path: "subnets", name: "subnet", filters: []string{"enable_dhcp", "ip_version"},
		required: []string{"network_id", "ip_version", "cidr"},
		attributes: map[string][]any{
			"network_id": {id("networks")}, "ip_version": {4, 4, 4, 6, "4", 5}, "cidr": {"10.0.0.0/24", "10.0.1.0/28", "10.0.2.1/30", "10.0.0.0/16", "2001:db8::/64", "2001:db8:1::/120", "10.1.0.0/31", "10.1.0.0/32", "0.0.0.0/0", "10.0.0.0"},
			"name": names, "description": names, "enable_dhcp": bools, "gateway_ip": {nil, "10.0.0.1", "10.0.0.254", "10.0.0.0", "10.0.0.255", "2001:db8::1", "fe80::1", "bad"},
			"allocation_pools": {[]any{}, []any{map[string]any{"start": "10.0.0.2", "end": "10.0.0.9"}}, []any{map[string]any{"start": "10.0.0.9", "end": "10.0.0.2"}},
				[]any{map[string]any{"start": "10.0.0.2", "end": "10.0.0.9"}, map[string]any{"start": "10.0.0.5", "end": "10.0.0.19"}}, []any{map[string]any{"start": "10.9.0.2", "end": "10.9.0.9"}}},
			"dns_nameservers":   {[]any{}, []any{"8.8.8.8"}, []any{"8.8.8.8", "8.8.8.8"}, []any{"1.1.1.1", "2001:db8::53", "9.9.9.9"}, []any{"bad"}, []any{"1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.1.4", "1.1.1.5", "1.1.1.6"}},
			"host_routes":       {[]any{}, []any{map[string]any{"destination": "10.7.0.0/16", "nexthop": "10.0.0.7"}}, []any{map[string]any{"destination": "bad", "nexthop": "10.0.0.7"}}, []any{map[string]any{"destination": "2001:db8::/64", "nexthop": "10.0.0.7"}}},
			"ipv6_ra_mode":      {"slaac", "dhcpv6-stateful", "dhcpv6-stateless", nil, "bad"},
			"ipv6_address_mode": {"slaac", "dhcpv6-stateful", "dhcpv6-stateless", nil, "bad"},
			"service_types":     {[]any{}, []any{"compute:foo"}, []any{"network:floatingip", "x"}, []any{"bad type"}}, "segment_id": {nil, "00000000-0000-4000-8000-000000000000"},
			"subnetpool_id": {nil, "00000000-0000-4000-8000-000000000000"}, "prefixlen": {24, 28, 33}, "use_default_subnetpool": bools,
			"router:external": bools, "dns_publish_fixed_ip": bools, "project_id": {"$other.project"}}}
}
