package main

import "fmt"

// Values that many tables share.
var (
	projects = []any{"$other.project", "$member.project", "nobody", ""}
	targets  = []any{"*", "$other.project", "$member.project", "$otheradmin.project", "x", "00000000-0000-4000-8000-000000000000", ""}
	lengths  = []any{8, 16, 24, 26, 28, 32, 33, 64, 128, 129, 0, -1, "24", "x", nil}
	tagLists = []any{[]any{}, []any{"red"}, []any{"red", "blue"}, []any{"red", "red"}, []any{"a,b"}, []any{""}, []any{1}, []any{"green", "blue", "ü"}, "red", nil, map[string]any{"a": 1}, []any{[]any{"a"}}}
)

func init() {
	pools := [][]any{{"10.10.0.0/16"}, {"10.20.0.0/24", "10.20.1.0/24"}, {"10.10.0.0/17"}, {"2001:db8::/48"}, {"10.0.0.0/8", "2001:db8::/32"}, {}, {"10.30.0.1/24"},
		{"10.40.0.0/24", "10.40.0.0/24"}, {"x"}, {"0.0.0.0/0"}, {"10.40.0.0/24", "10.40.0.0/26"}, {"192.168.0.0/16"}, {"10.50.0.0"}}
	prefixes := make([]any, len(pools))
	for i, p := range pools {
		prefixes[i] = p
	}
	families["subnetpools"] = &family{path: "subnetpools", name: "subnetpool", required: []string{"name", "prefixes"},
		filters: []string{"ip_version", "tags", "tenant_id", "revision_number"},
		attributes: map[string][]any{"name": append([]any{" "}, names...), "description": names, "prefixes": prefixes, "default_quota": {nil, 0, 1, 256, -1, "5"},
			"default_prefixlen": lengths, "min_prefixlen": lengths, "max_prefixlen": lengths, "is_default": bools, "shared": bools,
			"address_scope_id": {id("address-scopes"), nil}, "project_id": projects},
		actions: []action{
			{"PUT", "add_prefixes", func(w *world) any { return map[string]any{"prefixes": pick(w, prefixes)} }},
			{"PUT", "remove_prefixes", func(w *world) any { return map[string]any{"prefixes": pick(w, prefixes)} }},
			{"PUT", "add_prefixes", func(w *world) any { return pick(w, absurd) }},
			{"PUT", "remove_prefixes", func(w *world) any { return map[string]any{"prefixes": pick(w, absurd)} }},
			{"PUT", "onboard_network_subnets", func(w *world) any { return map[string]any{"network_id": w.ref("networks", "id")} }},
			{"PUT", "onboard_network_subnets", func(w *world) any { return map[string]any{"network_id": pick(w, absurd)} }},
		}}
	families["poolsubnets"] = &family{path: "subnets", name: "subnet", required: []string{"network_id", "ip_version"},
		attributes: map[string][]any{"network_id": {id("networks")}, "ip_version": {4, 4, 4, 6}, "subnetpool_id": {id("subnetpools"), id("subnetpools"), nil, "prefix_delegation"},
			"prefixlen": lengths, "cidr": {"10.10.5.0/24", "10.20.0.0/26", "10.99.0.0/24", "2001:db8:0:1::/64", nil}, "use_default_subnetpool": bools,
			"name": {"a"}, "segment_id": {id("segments"), nil}, "gateway_ip": {nil, "10.10.5.9"}, "allocation_pools": {[]any{}},
			"enable_dhcp": bools, "project_id": projects}}
	families["address-scopes"] = &family{path: "address-scopes", name: "address_scope", required: []string{"name", "ip_version"},
		attributes: map[string][]any{"name": names, "ip_version": {4, 6, 4, 6, "4", 5}, "shared": bools, "project_id": projects}}
	families["address-groups"] = &family{path: "address-groups", name: "address_group", required: []string{"name"},
		attributes: map[string][]any{"name": names, "description": names, "project_id": projects, "shared": bools,
			"addresses": {[]any{}, []any{"10.0.0.0/24"}, []any{"10.0.0.1", "::1"}, []any{"10.0.0.1-10.0.0.9"}, []any{"x"}, "10.0.0.0/24", nil}},
		actions: []action{
			{"PUT", "add_addresses", func(w *world) any {
				return map[string]any{"addresses": pick(w, []any{[]any{"10.0.0.0/24"}, []any{"1.1.1.1"}, []any{}, []any{"x"}, nil})}
			}},
			{"PUT", "remove_addresses", func(w *world) any {
				return map[string]any{"addresses": pick(w, []any{[]any{"10.0.0.0/24"}, []any{"1.1.1.1"}, []any{}, []any{"x"}, nil})}
			}}}}
	families["sgroups"] = &family{path: "security-groups", name: "security_group", required: []string{"name"},
		attributes: map[string][]any{"name": {"a", "b"}, "description": {"x"}}}
	families["rbac"] = &family{path: "rbac-policies", name: "rbac_policy", required: []string{"object_type", "object_id", "target_tenant", "action"},
		filters: []string{"tenant_id", "target_project"},
		attributes: map[string][]any{"object_type": {"network", "network", "subnetpool", "address_scope", "address_group", "security_group", "qos_policy", "port", " Network"},
			"object_id":     {id("networks"), id("networks"), id("subnetpools"), id("address-scopes"), id("address-groups"), id("sgroups")},
			"target_tenant": targets, "action": {"access_as_shared", "access_as_shared", "access_as_external", "access_as_nothing"}, "project_id": projects}}
	// Policies that fit their objects, which the table above seldom makes.
	for kind, objects := range map[string]string{"network": "networks", "subnetpool": "subnetpools", "address_scope": "address-scopes", "address_group": "address-groups", "security_group": "sgroups"} {
		actions := []any{"access_as_shared"}
		if kind == "network" {
			actions = append(actions, "access_as_external")
		}
		families["rbac-"+objects] = &family{path: "rbac-policies", name: "rbac_policy", required: families["rbac"].required, filters: families["rbac"].filters,
			attributes: map[string][]any{"object_type": {kind}, "object_id": {id(objects)}, "action": actions, "target_tenant": targets[:4], "project_id": {"$member.project"}}}
	}
	families["segments"] = &family{path: "segments", name: "segment", required: []string{"network_id", "network_type", "physical_network", "segmentation_id"},
		attributes: map[string][]any{"network_id": {id("networks")}, "network_type": {"vlan", "vxlan", "flat", "vlan", "geneve", "local", "bad"},
			"physical_network": {"public", "physnet1", "nope", nil}, "segmentation_id": {100, 101, 102, 2000, 5, 4095, 70000000, "7", nil}, "name": names, "description": names, "project_id": projects}}
	families["segment-ranges"] = &family{path: "network_segment_ranges", name: "network_segment_range", required: []string{"minimum", "maximum", "network_type"},
		filters: []string{"tags"},
		attributes: map[string][]any{"name": names, "description": names, "shared": bools, "project_id": projects, "network_type": {"vlan", "vxlan", "vlan", "geneve", "gre", "flat", "bad"},
			"physical_network": {"physnet1", "public", "nope", "physnet1"}, "minimum": {100, 150, 200, 300, 0, 4094, 5000}, "maximum": {120, 160, 250, 400, 4094, 4095, 6000, 1 << 33}}}
	families["flavors"] = &family{path: "flavors", name: "flavor", required: []string{"name", "service_type"},
		attributes: map[string][]any{"name": names, "description": append([]any{nil}, names...), "service_type": {"L3_ROUTER_NAT", "DUMMY", "", "QOS"}, "enabled": bools, "service_profiles": {[]any{}, []any{"x"}}},
		actions: []action{
			{"POST", "service_profiles", func(w *world) any {
				return map[string]any{"service_profile": map[string]any{"id": w.ref("service-profiles", "id")}}
			}},
			{"POST", "service_profiles", func(w *world) any { return pick(w, absurd) }},
			{"POST", "service_profiles", func(w *world) any { return map[string]any{"service_profile": pick(w, absurd)} }},
			{"GET", "next_providers", nil}, {"GET", "service_profiles", nil}, {"GET", "next_provider", nil},
			{"DELETE", "service_profiles/x", nil}, {"PUT", "service_profiles/x", nil}, {"GET", "service_profiles/x", nil}}}
	families["service-profiles"] = &family{path: "service_profiles", name: "service_profile",
		attributes: map[string][]any{"description": append([]any{nil}, names...), "driver": {"neutron.services.l3_router.service_providers.single_node.SingleNodeDriver", "x", "", nil}, "metainfo": {"{'ha': True}", "x", "", nil, 1}, "enabled": bools}}
	families["metering-labels"] = &family{path: "metering/metering-labels", name: "metering_label", required: []string{"name"},
		attributes: map[string][]any{"name": names, "description": names, "shared": bools, "project_id": projects}}
	families["metering-rules"] = &family{path: "metering/metering-label-rules", name: "metering_label_rule", required: []string{"metering_label_id", "remote_ip_prefix", "direction"},
		attributes: map[string][]any{"metering_label_id": {id("metering-labels")}, "remote_ip_prefix": {"10.0.0.0/24", "0.0.0.0/0", "10.0.0.1", "x", nil, "2001:db8::/64"},
			"source_ip_prefix": {"10.1.0.0/24", "0.0.0.0/0", "x", nil}, "destination_ip_prefix": {"10.2.0.0/24", "0.0.0.0/0", "x", nil}, "direction": {"ingress", "egress", "ingress", "both"}, "excluded": bools, "project_id": projects}}
	for _, f := range []struct{ kind, path string }{{"networks", "networks"}, {"subnetpools", "subnetpools"}, {"sgroups", "security-groups"}, {"segment-ranges", "network_segment_ranges"}, {"routers", "routers"}, {"address-groups", "address-groups"}} {
		families["tags-"+f.kind] = &family{request: tagRequest(f.kind, f.path)}
	}
	families["derived"] = &family{request: derivedRequest}
}

// tagRequest makes up requests about the tags of objects of a family.
func tagRequest(kind, path string) func(*world) request {
	names := []string{"red", "blue", "green", "a,b", "a%20b", "%C3%BC", "x.json", "ä", "%ff", "a%2Fb", "n"}
	return func(w *world) request {
		q := request{caller: w.caller(), header: map[string]string{}, path: fmt.Sprintf("/%s/%s/tags", path, w.ref(kind, "id"))}
		switch w.Intn(10) {
		case 0, 1, 2:
			q.method, q.body = pick(w, []string{"PUT", "POST"}), text(map[string]any{"tags": pick(w, tagLists)})
		case 3:
			q.method, q.body = pick(w, []string{"PUT", "POST"}), text(pick(w, append([]any{map[string]any{"tags": []any{"red"}, "x": 1}, map[string]any{"tag": []any{"red"}}}, absurd...)))
		case 4:
			q.method = pick(w, []string{"GET", "GET", "DELETE", "PATCH", "HEAD"})
		case 5, 6:
			q.method, q.path = pick(w, []string{"GET", "PUT", "DELETE", "PUT", "PUT", "POST"}), q.path+"/"+pick(w, names)
		default:
			q.method, q.path = "GET", "/"+path+"?fields=tags&fields=name"
			for range 1 + w.Intn(2) {
				q.path += "&" + pick(w, []string{"tags", "tags-any", "not-tags", "not-tags-any", "tags_any"}) + "=" + pick(w, []string{"red", "blue", "red,blue", "", "ü", "red,red", ","})
			}
		}
		return q
	}
}

// derivedRequest makes up requests about what the server works out or knows by itself.
func derivedRequest(w *world) request {
	network := fmt.Sprint(w.ref("networks", "id"))
	project := pick(w, []string{"$member.project", "$other.project", "$admin.project", "nobody", ""})
	query := pick(w, []string{"", "", "?fields=network_id", "?fields=subnet_ip_availability", "?network_name=a", "?ip_version=4", "?ip_version=6", "?ip_version=5", "?x=1", "?network_id=" + network, "?project_id=" + project,
		"?tenant_id=" + project, "?sort_key=network_id&sort_dir=asc", "?limit=1", "?fields=id", "?dry_run=True", "?service_type=L3_ROUTER_NAT", "?name=ha", "?default=True", "?fields=name", "?alias=agent", "?total_ips=0"})
	path := pick(w, []string{"/network-ip-availabilities", "/network-ip-availabilities/" + network, "/network-ip-availabilities/x", "/auto-allocated-topology/" + project, "/auto-allocated-topology",
		"/service-providers", "/service-providers/x", "/extensions", "/extensions/agent", "/extensions/qos", "/availability_zones", "/network_ip_availabilities", "/address_scopes", "/network-segment-ranges", "/service-profiles",
		"/rbac_policies", "/metering/metering_labels", "/metering-labels", "/metering", "/subnet-pools"})
	return request{caller: w.caller(), header: map[string]string{}, method: pick(w, []string{"GET", "GET", "GET", "GET", "GET", "GET", "GET", "GET", "GET", "DELETE", "POST", "PUT"}), path: path + query}
}
