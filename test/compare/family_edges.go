package main

import (
	"fmt"
	"strings"
)

// Families about what is at the edge: odd prefixes, IPv6 modes, odd texts and numbers, tags, order, pages and revisions of every kind of object.

var (
	prefixes4 = []string{"10.0.0.0/24", "10.0.1.0/30", "10.0.2.0/31", "10.0.3.1/32", "10.0.4.7/24", "0.0.0.0/0", "0.0.0.0/8", "127.0.0.0/8", "127.0.0.1/32", "169.254.0.0/16", "224.0.0.0/4", "239.1.1.0/24", "240.0.0.0/4",
		"255.255.255.255/32", "10.0.5.0", "10.0.6.0/255.255.255.0", "10.7/16", "10.0.8.0/024", "010.0.9.0/24", " 10.0.10.0/24", "10.0.11.0/33", "10.0.12.0/-1", "10.0.13.0/", "/24", "0x0a.0.0.0/8", "10.0.14.0/24 "}
	prefixes6 = []string{"2001:db8::/64", "2001:DB8:1::/64", "2001:db8:2::/127", "2001:db8:3::1/128", "2001:db8:4::7/64", "::/0", "::1/128", "fe80::/64", "ff02::/16", "ff05::1/128", "::ffff:10.0.0.0/120", "::10.0.0.0/120",
		"2001:db8:5:0:0:0:0:0/64", "2001:db8:6::%eth0/64", "2001:db8:7::/129", "2001:0db8:0008:0000::/64", "fd00::/8", "2001:db8:9::/48", "2001:db8:a::/65", "2001:db8:b::/126", "2001:db8:c::"}
	ends4 = []any{"10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.100", "10.0.0.254", "10.0.0.255", "10.0.1.1", "10.0.1.3", "10.0.2.0", "10.0.2.1", "10.0.3.1", "10.0.4.0", "10.0.4.255", "0.0.0.0", "127.0.0.1", "169.254.0.1", "224.0.0.1",
		"255.255.255.255", "010.0.0.1", "10.0.0.1 ", "10.0.0", "::ffff:10.0.0.1", ""}
	ends6 = []any{"2001:db8::", "2001:db8::1", "2001:DB8::2", "2001:db8:0:0:ffff:ffff:ffff:ffff", "2001:db8:2::", "2001:db8:2::1", "2001:db8:3::1", "2001:db8:4::1", "fe80::1", "fe80::1%eth0", "::", "::1", "ff02::1", "::ffff:10.0.0.1",
		"2001:0db8:0000:0000:0000:0000:0000:0003", "2001:db8::10.0.0.1", "2001:db8:::1", "fe80::", "2001:db8:1::1"}
	modes = []any{"slaac", "dhcpv6-stateful", "dhcpv6-stateless", nil}
)

// end makes up an address at or beyond the edge of a prefix.
func end(w *world) any { return pick(w, pick(w, [][]any{ends4, ends4, ends6})) }

// oddPools makes up allocation pools: in any order, turned around, overlapping.
func oddPools(w *world) any {
	pools := []any{}
	for range w.Intn(4) {
		pool := map[string]any{"start": end(w), "end": end(w)}
		if w.Intn(3) > 0 {
			n := w.Intn(200)
			pool = map[string]any{"start": fmt.Sprint("10.0.0.", n), "end": fmt.Sprint("10.0.0.", n+w.Intn(60))}
		}
		if w.Intn(25) == 0 {
			pool[pick(w, []string{"x", "start", "end"})] = pick(w, absurd)
		}
		pools = append(pools, pool)
	}
	return pools
}

// oddRoutes makes up host routes.
func oddRoutes(w *world) any {
	routes := []any{}
	for range w.Intn(3) {
		route := map[string]any{"destination": pick(w, pick(w, [][]string{prefixes4, prefixes4, prefixes6})), "nexthop": end(w)}
		if w.Intn(20) == 0 {
			route[pick(w, []string{"x", "destination", "nexthop"})] = pick(w, absurd)
		}
		routes = append(routes, route)
		if w.Intn(6) == 0 {
			routes = append(routes, route)
		}
	}
	return routes
}

// oddServers makes up name servers.
func oddServers(w *world) any {
	out := []any{}
	for range w.Intn(4) {
		out = append(out, pick(w, []any{end(w), end(w), "8.8.8.8", "8.8.8.8", "2001:db8::53", "2001:DB8::53", 8, nil, "8.8.8.8/32", "dns.example.org"}))
	}
	return out
}

// oddSubnet makes up what belongs together, but for the edges.
func oddSubnet(w *world) map[string]any {
	s := map[string]any{"network_id": w.ref("networks", "id"), "cidr": pick(w, prefixes4), "ip_version": 4}
	if w.Intn(3) == 0 {
		s["cidr"] = "10.0.0.0/24"
	}
	if w.Intn(5) < 2 {
		s["cidr"], s["ip_version"] = pick(w, prefixes6), 6
	}
	return s
}

// modeSubnet makes up an IPv6 subnet with modes.
func modeSubnet(w *world) map[string]any {
	s := map[string]any{"network_id": w.ref("networks", "id"), "ip_version": 6, "cidr": fmt.Sprintf("2001:db8:%x::/%d", w.Intn(40), pick(w, []int{64, 64, 64, 64, 64, 65, 63, 120, 48}))}
	for _, mode := range []string{"ipv6_ra_mode", "ipv6_address_mode"} {
		if w.Intn(4) > 0 {
			s[mode] = pick(w, modes)
		}
	}
	if w.Intn(3) == 0 {
		s["enable_dhcp"] = pick(w, bools)
	}
	if w.Intn(4) == 0 {
		s["gateway_ip"] = pick(w, []any{nil, "fe80::1", "2001:db8:1::1", "2001:db8::"})
	}
	return s
}

// modeIP makes up an entry of fixed_ips in an IPv6 subnet with modes.
func modeIP(w *world) any {
	subnet := w.ref("modesubnets", "id")
	switch w.Intn(5) {
	case 0, 1, 2:
		return map[string]any{"subnet_id": subnet}
	case 3:
		return map[string]any{"subnet_id": subnet, "ip_address": fmt.Sprintf("2001:db8:%x::%x", w.Intn(40), w.Intn(9))}
	}
	return pick(w, []any{map[string]any{"ip_address": fmt.Sprintf("2001:db8:%x::5", w.Intn(40))}, map[string]any{"ip_address": fmt.Sprintf("2001:DB8:%x:0::5", w.Intn(40))},
		map[string]any{"subnet_id": subnet, "ip_address": "2001:db8:1::f816:3eff:fe00:1"}, map[string]any{"subnet_id": subnet, "delete_subnet": true}, map[string]any{"subnet_id": subnet, "ip_address": nil}})
}

func modePort(w *world) map[string]any {
	made := w.made["modesubnets"]
	if len(made) == 0 {
		return map[string]any{"network_id": w.ref("networks", "id")}
	}
	s := pick(w, made)
	p := map[string]any{"network_id": "$" + s + ".network_id"}
	switch w.Intn(4) {
	case 0:
		p["fixed_ips"] = []any{map[string]any{"subnet_id": "$" + s + ".id"}}
	case 1:
		p["fixed_ips"] = []any{map[string]any{"subnet_id": "$" + s + ".id"}, modeIP(w)}
	}
	return p
}

// kinds are the collections of the API and the attributes that their objects have, for requests that each of them takes.
var kinds = []struct {
	family, path, name string
	keys               []string
}{
	{"networks", "networks", "network", []string{"name", "status", "admin_state_up", "shared", "mtu", "subnets", "router:external", "provider:segmentation_id", "provider:network_type", "is_default", "availability_zones", "dns_domain", "l2_adjacency",
		"port_security_enabled", "qos_policy_id", "vlan_transparent", "ipv4_address_scope"}},
	{"subnets", "subnets", "subnet", []string{"name", "network_id", "ip_version", "cidr", "gateway_ip", "enable_dhcp", "ipv6_ra_mode", "subnetpool_id", "segment_id", "allocation_pools", "dns_nameservers", "host_routes", "service_types", "router:external", "dns_publish_fixed_ip", "shared"}},
	{"ports", "ports", "port", []string{"name", "network_id", "mac_address", "device_id", "device_owner", "status", "admin_state_up", "fixed_ips", "security_groups", "binding:host_id", "binding:vnic_type", "binding:vif_type", "ip_allocation", "dns_name", "data_plane_status",
		"allowed_address_pairs", "extra_dhcp_opts", "resource_request", "hints", "trusted", "numa_affinity_policy", "propagate_uplink_status", "device_profile"}},
	{"subnetpools", "subnetpools", "subnetpool", []string{"name", "prefixes", "default_quota", "ip_version", "is_default", "shared", "address_scope_id", "min_prefixlen", "default_prefixlen"}},
	{"address-scopes", "address-scopes", "address_scope", []string{"name", "ip_version", "shared"}},
	{"address-groups", "address-groups", "address_group", []string{"name", "addresses", "shared"}},
	{"sgroups", "security-groups", "security_group", []string{"name", "stateful", "shared", "security_group_rules"}},
	{"security-group-rules", "security-group-rules", "security_group_rule", []string{"direction", "ethertype", "protocol", "port_range_min", "remote_ip_prefix", "remote_group_id", "security_group_id", "normalized_cidr", "belongs_to_default_sg"}},
	{"default-security-group-rules", "default-security-group-rules", "default_security_group_rule", []string{"direction", "protocol", "used_in_default_sg", "remote_group_id"}},
	{"routers", "routers", "router", []string{"name", "status", "admin_state_up", "external_gateway_info", "routes", "flavor_id", "availability_zones", "availability_zone_hints", "enable_snat", "distributed", "ha"}},
	{"floatingips", "floatingips", "floatingip", []string{"floating_ip_address", "fixed_ip_address", "port_id", "router_id", "status", "floating_network_id", "port_details", "dns_name", "qos_policy_id"}},
	{"rbac", "rbac-policies", "rbac_policy", []string{"object_type", "object_id", "target_tenant", "target_project", "action"}},
	{"segments", "segments", "segment", []string{"name", "network_id", "network_type", "physical_network", "segmentation_id"}},
	{"segment-ranges", "network_segment_ranges", "network_segment_range", []string{"name", "default", "shared", "minimum", "maximum", "network_type", "physical_network", "used", "available"}},
	{"flavors", "flavors", "flavor", []string{"name", "service_type", "enabled", "service_profiles"}},
	{"service-profiles", "service_profiles", "service_profile", []string{"driver", "enabled", "metainfo"}},
	{"metering-labels", "metering/metering-labels", "metering_label", []string{"name", "shared"}},
	{"metering-rules", "metering/metering-label-rules", "metering_label_rule", []string{"metering_label_id", "direction", "excluded", "remote_ip_prefix", "source_ip_prefix"}},
	{"policies", "qos/policies", "policy", []string{"name", "shared", "is_default", "rules"}},
}

var (
	commonKeys = []string{"id", "project_id", "tenant_id", "description", "revision_number", "created_at", "updated_at", "tags", "standard_attr_id", "x", "Name", "name ", ""}
	oddTexts   = []any{"😀", strings.Repeat("😀", 255), strings.Repeat("😀", 256), strings.Repeat("é", 255), strings.Repeat("a", 255), strings.Repeat("a", 256), strings.Repeat("a", 1024), strings.Repeat("a", 1025), strings.Repeat("é", 4000), " a", "a ", "\t", "a\nb",
		"\u0000", "a\u0000b", "\u200b", "\ufeff", "\uffff", "Å", "A\u030a", "ﬀ", "İ", "ß", "'\"\\%_;--", "%", "$(id)", "null", "1", 1, 1.0, 1e3, true, nil, []any{}, map[string]any{}, []any{"a"}}
	oddNumbers = []any{0, 1, -1, 2147483647, 2147483648, -2147483648, -2147483649, 4294967295, 4294967296, 9223372036854775807, 1e19, 1e400 / 1e390, 1.0, 1.5, "1", "1.0", " 1", "1 ", "+1", "-0", "0x10", "1_0", "١", "1e3", "", "x", true, nil, []any{1}}
	filterOdd  = []string{"", "true", "True", "TRUE", "t", "yes", "1", "0", "false", "off", "null", "None", "x", "%25", "_", "a", "a,b", "[]", "{}", "😀", "4", "6", "04", "4.0", "2020-01-01T00:00:00Z", "00000000-0000-4000-8000-000000000000", "10.0.0.0/24"}
)

// key picks an attribute of the objects of a collection.
func key(w *world, own []string) string {
	if w.Intn(3) == 0 {
		return pick(w, commonKeys)
	}
	return pick(w, own)
}

// orderRequest makes up a list of any kind: filters, order, pages, fields.
func orderRequest(w *world) request {
	k := pick(w, kinds)
	var parts []string
	add := func(name, value string) { parts = append(parts, escape(name)+"="+escape(value)) }
	for range w.Intn(3) {
		name := key(w, k.keys)
		add(name, pick(w, filterOdd))
		if w.Intn(4) == 0 {
			add(name, pick(w, filterOdd))
		}
	}
	if w.Intn(5) == 0 {
		add("changed_since", pick(w, []string{"2020-01-01T00:00:00", "2020-01-01T00:00:00Z", "2040-01-01T00:00:00Z", "2020-01-01", "2020-01-01 00:00:00", "2020-01-01T00:00:00+01:00", "2020-13-01T00:00:00Z", "", "x", "0"}))
	}
	for range w.Intn(3) {
		add("sort_key", key(w, k.keys))
		if w.Intn(12) > 0 {
			add("sort_dir", pick(w, []string{"asc", "desc", "asc", "desc", "ASC", ""}))
		}
	}
	for range w.Intn(2) * w.Intn(4) {
		add("fields", key(w, k.keys))
	}
	if w.Intn(3) == 0 { // by id of what only one object has, or by what is alike: pages hold the same on both servers
		add("limit", pick(w, []string{"1", "2", "1000", "1001", "0", "-1", "1.5", "x", "", "99999999999999999999"}))
		add("sort_key", pick(w, []string{"id", "id", k.keys[0]}))
		add("sort_dir", "asc")
		if w.Intn(2) == 0 {
			add("id", fmt.Sprint(w.ref(k.family, "id")))
		}
		if w.Intn(2) == 0 {
			add("marker", pick(w, []string{fmt.Sprint(w.ref(k.family, "id")), fmt.Sprint(w.ref(pick(w, kinds).family, "id")), "00000000-0000-4000-8000-000000000000", "x", ""}))
		}
		if w.Intn(3) == 0 {
			add("page_reverse", pick(w, []string{"True", "true", "False", "1", "x", ""}))
		}
	}
	path := "/" + k.path
	if w.Intn(8) == 0 {
		path += "/" + fmt.Sprint(w.ref(k.family, "id"))
	}
	return request{caller: w.caller(), header: map[string]string{}, method: "GET", path: path + "?" + strings.Join(parts, "&")}
}

// changeRequest makes up a change or deletion of any kind of object: odd texts and numbers, conditions on the revision.
func changeRequest(w *world) request {
	k := pick(w, kinds)
	q := request{caller: w.caller(), header: map[string]string{}, method: "PUT", path: "/" + k.path + "/" + fmt.Sprint(w.ref(k.family, "id"))}
	body := map[string]any{}
	for range 1 + w.Intn(2) {
		switch w.Intn(4) {
		case 0, 1:
			body[pick(w, []string{"name", "description"})] = pick(w, oddTexts)
		case 2:
			body[key(w, k.keys)] = pick(w, oddNumbers)
		default:
			body[key(w, k.keys)] = pick(w, oddTexts)
		}
	}
	if w.Intn(5) == 0 {
		body = map[string]any{"description": pick(w, []any{"a", "b"})}
	}
	q.body = text(map[string]any{k.name: body})
	switch w.Intn(20) {
	case 0:
		q.method, q.body = "DELETE", ""
	case 1:
		q.body = pick(w, []string{"", "{}", "[]", "null", "{", text(map[string]any{k.name: nil}), text(map[string]any{k.name: []any{body}}), text(map[string]any{k.name + "s": []any{body}}), text(map[string]any{k.name: body, "x": 1})})
	}
	if made := w.made[k.family]; w.Intn(2) == 0 && len(made) > 0 {
		revision := "$" + pick(w, made) + ".revision_number"
		q.header["If-Match"] = pick(w, []string{"revision_number=" + revision, "revision_number=" + revision, "revision_number=0", "revision_number=1", "revision_number=99", "revision_number= 1", "revision_number=01", "revision_number=-1", "revision_number=",
			"revision_number", "Revision_number=1", "\"revision_number=1\"", "*", "", "revision_number=1,revision_number=2", "x=1", "revision_number=1.0"})
	}
	return q
}

// makeRequest makes up new objects of any kind with odd texts and numbers, alone or several of which one may be bad.
func makeRequest(w *world) request {
	k := pick(w, kinds)
	f := families[k.family]
	q := request{caller: w.caller(), header: map[string]string{}, method: "POST", path: "/" + k.path}
	item := func() map[string]any {
		b := w.attributes(f, true, w.Intn(2))
		for range w.Intn(2) {
			switch w.Intn(3) {
			case 0:
				b[pick(w, []string{"name", "description"})] = pick(w, oddTexts)
			case 1:
				b[key(w, k.keys)] = pick(w, oddNumbers)
			default:
				b["project_id"] = pick(w, oddTexts)
			}
		}
		return b
	}
	if w.Intn(2) == 0 {
		q.body = text(map[string]any{k.name: item()})
		return q
	}
	var items []any
	for range 1 + w.Intn(3) {
		items = append(items, item())
		if w.Intn(12) == 0 {
			items = append(items, pick(w, absurd))
		}
	}
	plural := k.path[strings.LastIndex(k.path, "/")+1:]
	q.body = text(map[string]any{strings.ReplaceAll(plural, "-", "_"): items})
	return q
}

func init() {
	families["oddsubnets"] = &family{path: "subnets", name: "subnet", base: oddSubnet,
		attributes: map[string][]any{"gateway_ip": {end, end, end, nil}, "allocation_pools": {oddPools, oddPools, oddPools}, "host_routes": {oddRoutes, oddRoutes}, "dns_nameservers": {oddServers, oddServers}, "enable_dhcp": bools,
			"ip_version": {4, 6, "4", " 6", 4.0, "6.0", 46}}}
	families["modesubnets"] = &family{path: "subnets", name: "subnet", base: modeSubnet,
		attributes: map[string][]any{"ipv6_ra_mode": modes, "ipv6_address_mode": modes, "enable_dhcp": bools, "gateway_ip": {nil, "fe80::1", "2001:db8:1::1", "2001:db8:1::2"}, "name": {"a", "b"}, "dns_nameservers": {[]any{"2001:db8::53"}, []any{"8.8.8.8"}}}}
	families["modeports"] = &family{path: "ports", name: "port", base: modePort,
		attributes: map[string][]any{"fixed_ips": {func(w *world) any { return []any{modeIP(w)} }, func(w *world) any { return []any{modeIP(w), modeIP(w)} }, []any{}}, "mac_address": {"fa:16:3e:00:00:01", "fa:16:3e:00:00:02"},
			"device_owner": {"", "compute:nova", "network:router_interface", "network:dhcp", "network:router_gateway"}, "device_id": {"a", "b"}}}
	families["order"] = &family{request: orderRequest}
	families["change"] = &family{request: changeRequest}
	families["make"] = &family{request: makeRequest}
	for _, k := range kinds {
		if families["tags-"+k.family] == nil {
			families["tags-"+k.family] = &family{request: tagRequest(k.family, k.path)}
		}
	}
}
