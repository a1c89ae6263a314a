package main

var (
	ruleProtocols = []any{"tcp", "tcp", "udp", "icmp", "icmpv6", "ipv6-icmp", "sctp", "dccp", "udplite", "TCP", "any", "", nil, "6", 6, 17, "17", 1, "1", 58, "58", 0, "0", 255, "255", 256, "256",
		-1, "-1", "nope", "ah", "egp", "esp", "gre", "hopopt", "igmp", "ip", "ipip", "ipv6-encap", "ipv6-frag", "ipv6-nonxt", "ipv6-opts", "ipv6-route", "ospf", "pgm", "rsvp", "vrrp", "4", 41, 1.5, true, false, "06", " 6", "6.0"}
	rulePorts    = []any{nil, 22, 22, 80, "80", "443", 0, "0", 1, 65535, 65536, -1, "x", 8, 3, 255, 256, 1.5, true, ""}
	rulePrefixes = []any{nil, "10.0.0.0/8", "10.0.0.1", "10.0.0.1/8", "0.0.0.0/0", "::/0", "2001:db8::/32", "2001:db8::1/32", "2001:DB8::1", "::ffff:10.0.0.1", "x", "", 1, 0, "10.0.0.0/33", "10.0.0.0/255.255.0.0",
		"10", "10/8", "fe80::1%eth0", " 10.0.0.0/8", "10.0.0.0/08", true, "1.2.3.4/0"}
)

func ruleAttributes() map[string][]any {
	return map[string][]any{"direction": {"ingress", "egress", "ingress", "egress", "Ingress", "x"}, "ethertype": {"IPv4", "IPv6", "IPv4", "IPv6", "ipv4", "IPV6", nil, "x", ""},
		"protocol": ruleProtocols, "port_range_min": rulePorts, "port_range_max": rulePorts, "remote_ip_prefix": rulePrefixes,
		"remote_group_id": {id("security-groups"), id("security-groups"), nil, "", "x"}, "remote_address_group_id": {id("address-groups"), id("address-groups"), nil, "", "x"},
		"description": names}
}

func addressesBody(w *world) any {
	if w.Intn(8) == 0 {
		return pick(w, []any{map[string]any{}, map[string]any{"addresses": nil}, map[string]any{"addresses": "x"}, map[string]any{"address_group": map[string]any{"addresses": []any{"10.0.0.0/8"}}}, []any{}, nil,
			map[string]any{"addresses": []any{}}, map[string]any{"addresses": []any{"x"}}, map[string]any{"addresses": []any{1}}, map[string]any{"addresses": []any{"10.0.0.0/8"}, "x": 1}, map[string]any{"addresses": map[string]any{"a": 1}}})
	}
	return map[string]any{"addresses": someAddresses(w)}
}

var groupAddresses = []any{"10.0.0.0/8", "10.1.0.0/16", "10.0.0.1", "10.0.0.1/32", "10.0.0.1/8", "2001:db8::/32", "2001:db8::1", "2001:DB8::1/128", "::/0", "0.0.0.0/0", "10.5.0.0/24"}

func someAddresses(w *world) any {
	out := []any{}
	for range w.Intn(4) {
		out = append(out, pick(w, groupAddresses))
	}
	return out
}

func init() {
	families["security-groups"] = &family{path: "security-groups", name: "security_group", filters: []string{"tags", "shared", "id", "security_group_rules"},
		attributes: map[string][]any{"name": append([]any{"default", "Default", "DEFAULT"}, names...), "description": names, "stateful": append([]any{nil}, bools...),
			"project_id": {"$other.project", "$member.project"}, "tenant_id": {"$other.project"}, "shared": bools},
		actions: []action{{"GET", "tags", nil}, {"PUT", "tags", func(*world) any { return map[string]any{"tags": []any{"a", "b"}} }}, {"GET", "x", nil}}}
	rules := &family{path: "security-group-rules", name: "security_group_rule", filters: []string{"id", "belongs_to_default_sg", "normalized_cidr"},
		required: []string{"security_group_id", "direction"}, attributes: ruleAttributes()}
	rules.attributes["security_group_id"] = []any{id("security-groups")}
	rules.attributes["project_id"] = []any{"$other.project", "$member.project"}
	families["security-group-rules"] = rules
	templates := &family{path: "default-security-group-rules", name: "default_security_group_rule", filters: []string{"id", "standard_attr_id"},
		required: []string{"direction"}, attributes: ruleAttributes()}
	templates.attributes["used_in_default_sg"], templates.attributes["used_in_non_default_sg"] = bools, bools
	templates.attributes["remote_group_id"] = []any{"PARENT", nil, "x", id("security-groups")}
	families["default-security-group-rules"] = templates
	families["security-groups-default-statefulness"] = &family{path: "security-groups-default-statefulness", name: "security_groups_default_statefulness", filters: []string{"id"},
		attributes: map[string][]any{"stateful": bools, "project_id": {"$other.project", "$member.project", nil, "x"}, "tenant_id": {"$other.project"}}}
	families["address-groups"] = &family{path: "address-groups", name: "address_group", filters: []string{"id", "shared", "tags"},
		attributes: map[string][]any{"name": names, "description": names, "project_id": {"$other.project", "$member.project"}, "shared": bools,
			"addresses": {func(w *world) any { return someAddresses(w) }, func(w *world) any { return someAddresses(w) }, []any{"x"}, []any{1}, "x", nil}},
		actions: []action{{"PUT", "add_addresses", addressesBody}, {"PUT", "add_addresses", addressesBody}, {"PUT", "remove_addresses", addressesBody}, {"GET", "tags", nil}, {"POST", "add_addresses", addressesBody}}}
}
