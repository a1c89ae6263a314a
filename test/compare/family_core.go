package main

import (
	"fmt"
	"sort"
	"strings"
)

// Families about ports, their bindings, and lists of networks, subnets and ports.

var (
	portOwners = []any{"", "compute:nova", "compute:az1", "network:dhcp", "network:router_interface", "network:distributed", "network:router_gateway",
		"network:floatingip_agent_gateway", "baremetal:none", "trunk:subport", "manila:share", "neutron:LOADBALANCERV2", "x"}
	portAddresses = []any{"10.0.0.2", "10.0.0.3", "10.0.0.77", "10.0.1.5", "10.0.1.15", "10.0.0.0", "10.0.0.255", "10.1.0.0", "10.1.0.1", "10.9.9.9", "2001:db8::5",
		"2001:DB8:0::6", "2001:db8::f816:3eff:fe00:1", "2001:db8:1::2", "10.0.0.02", "x", ""}
	portMACs = []any{"fa:16:3e:00:00:01", "fa:16:3e:00:00:02", "FA-16-3E-00-00-03", "fa163e000004", "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "x", nil, "01:00:5e:00:00:01"}
	hosts    = []any{"lab1", "lab2", "nowhere", "", nil}
	profiles = []any{map[string]any{}, map[string]any{"a": 1}, map[string]any{"trusted": true}, map[string]any{"capabilities": []any{"switchdev"}}, nil, map[string]any{"migrating_to": "lab2"},
		map[string]any{"big": strings.Repeat("x", 4096)}}
	vnics = []any{"normal", "normal", "normal", "direct", "macvtap", "baremetal", "direct-physical", "virtio-forwarder", "smart-nic", "vdpa", "remote-managed", "bad"}
	tags  = []any{[]any{}, []any{"red"}, []any{"red", "blue"}, []any{"red", "red"}, []any{strings.Repeat("t", 256)}, "red", nil, []any{""}}
)

// fixedIP makes up one entry of fixed_ips.
func fixedIP(w *world) any {
	switch w.Intn(8) {
	case 0, 1, 2:
		return map[string]any{"subnet_id": w.ref("subnets", "id")}
	case 3, 4:
		return map[string]any{"ip_address": pick(w, portAddresses)}
	case 5, 6:
		return map[string]any{"subnet_id": w.ref("subnets", "id"), "ip_address": pick(w, portAddresses)}
	}
	return pick(w, []any{map[string]any{}, "x", nil, map[string]any{"subnet_id": "x"}, map[string]any{"subnet_id": nil}, map[string]any{"ip_address": nil},
		map[string]any{"ip_address": "10.0.0.5", "x": 1}, map[string]any{"ip_address": "10.0.0.6", "device_id": "a"}})
}

// portOf makes up attributes of a port that fit together: an address in a subnet of its network.
func portOf(w *world) map[string]any {
	if len(w.made["subnets"]) == 0 || w.Intn(3) > 0 {
		return map[string]any{}
	}
	s := pick(w, w.made["subnets"])
	ip := map[string]any{"subnet_id": "$" + s + ".id"}
	switch w.Intn(5) {
	case 0:
		ip["ip_address"] = "$" + s + ".allocation_pools.0.end"
	case 1:
		ip["ip_address"] = "$" + s + ".gateway_ip"
	case 2:
		ip["ip_address"] = pick(w, portAddresses)
	}
	return map[string]any{"network_id": "$" + s + ".network_id", "fixed_ips": []any{ip}}
}

func init() {
	families["ports"] = &family{path: "ports", name: "port", required: []string{"network_id"}, base: portOf,
		filters: []string{"status", "tenant_id", "tags", "not-tags", "tags-any", "ip_allocation", "created_at", "updated_at", "limit", "marker"},
		attributes: map[string][]any{
			"network_id": {id("networks")}, "name": names, "description": names, "admin_state_up": bools, "device_id": {"dev1", "dev2", "", strings.Repeat("d", 256)},
			"device_owner": portOwners, "mac_address": portMACs,
			"fixed_ips": {[]any{}, func(w *world) any { return []any{fixedIP(w)} }, func(w *world) any { return []any{fixedIP(w)} }, func(w *world) any { return []any{fixedIP(w), fixedIP(w)} }, nil, "x",
				[]any{map[string]any{"ip_address": "10.0.0.5"}, map[string]any{"ip_address": "10.0.0.5"}}},
			"security_groups": {[]any{}, []any{"00000000-0000-4000-8000-000000000000"}, nil, []any{"x"}, []any{"00000000-0000-4000-8000-000000000000", "00000000-0000-4000-8000-000000000000"}, "x"},
			"allowed_address_pairs": {[]any{}, []any{map[string]any{"ip_address": "10.0.0.50"}}, []any{map[string]any{"ip_address": "10.0.0.0/24", "mac_address": "fa:16:3e:00:00:09"}},
				[]any{map[string]any{"ip_address": "10.0.0.50"}, map[string]any{"ip_address": "10.0.0.50"}}, []any{map[string]any{"mac_address": "fa:16:3e:00:00:09"}},
				[]any{map[string]any{"ip_address": "x"}}, []any{map[string]any{"ip_address": "10.0.0.50", "x": 1}}, []any{"x"}, nil, "x", []any{map[string]any{"ip_address": "2001:DB8::5"}},
				[]any{map[string]any{"ip_address": "10.0.0.50", "mac_address": "x"}}, []any{map[string]any{"ip_address": "224.0.0.1"}}, []any{map[string]any{"ip_address": "0.0.0.0/0"}}, []any{map[string]any{"ip_address": "10.0.0.5/24"}},
				[]any{map[string]any{"ip_address": "10.0.0.50", "mac_address": nil}}, []any{map[string]any{"ip_address": "10.0.0.50", "mac_address": "FA:16:3E:00:00:0A"}}, []any{map[string]any{"ip_address": "x/24"}}},
			"extra_dhcp_opts": {[]any{}, []any{map[string]any{"opt_name": "bootfile-name", "opt_value": "a"}}, []any{map[string]any{"opt_name": "bootfile-name", "opt_value": nil}},
				[]any{map[string]any{"opt_name": "bootfile-name", "opt_value": "b", "ip_version": 6}}, []any{map[string]any{"opt_name": "x", "opt_value": "y", "ip_version": 5}},
				[]any{map[string]any{"opt_name": "x"}}, []any{map[string]any{"opt_value": "x"}}, []any{map[string]any{"opt_name": "", "opt_value": "x"}}, []any{map[string]any{"opt_name": "x", "opt_value": ""}}, nil, "x", []any{"x"},
				[]any{map[string]any{"opt_name": "a", "opt_value": "1"}, map[string]any{"opt_name": "a", "opt_value": "2"}}, []any{map[string]any{"opt_name": "router", "opt_value": ""}}, []any{map[string]any{"opt_name": "a", "opt_value": "1", "x": 2}},
				[]any{map[string]any{"opt_name": "a", "opt_value": 1, "ip_version": "4"}}},
			"port_security_enabled": bools, "binding:host_id": hosts, "binding:profile": profiles, "binding:vnic_type": vnics, "binding:vif_type": {"ovs"}, "binding:vif_details": {map[string]any{}},
			"dns_name": {"host1", "Host2", "host.example.org.", "-x", "", nil, strings.Repeat("h", 64)}, "dns_domain": {"a.org.", "a.org", ""},
			"data_plane_status": {"ACTIVE", "DOWN", nil, "x"}, "propagate_uplink_status": bools, "numa_affinity_policy": {"required", "preferred", "legacy", "socket", nil, "x"},
			"device_profile": {"prof", "", nil, strings.Repeat("p", 256)}, "hints": {nil, map[string]any{}, map[string]any{"openvswitch": map[string]any{"other_config": map[string]any{"tx-steering": "hash"}}},
				map[string]any{"openvswitch": map[string]any{"other_config": map[string]any{"tx-steering": "x"}}}, map[string]any{"x": 1}, map[string]any{"openvswitch": map[string]any{}}, map[string]any{"openvswitch": 1}, "x"},
			"trusted": {true, false, "true", nil, "x"}, "hardware_offload_type": {"switchdev", nil, "x"}, "tags": tags, "ip_allocation": {"none", "immediate"}, "qos_policy_id": {nil},
			"status": {"ACTIVE"}, "project_id": {"$other.project", "$member.project"}, "tenant_id": {"$member.project"}, "mac_learning_enabled": bools, "resource_request": {nil}}}
	families["bindings"] = &family{path: "ports", name: "port", request: bindingRequest}
	families["lists"] = &family{path: "networks", name: "network", request: listRequest}
	families["bulk"] = &family{path: "networks", name: "network", request: bulkRequest}
}

// bindingRequest makes up a request about the bindings of a port.
func bindingRequest(w *world) request {
	q := request{caller: pick(w, []string{"admin", "admin", "service", "service", "service", "member", "reader", "manager"}), header: map[string]string{}}
	port := fmt.Sprint(w.ref("ports", "id"))
	host := fmt.Sprint(pick(w, []any{"lab1", "lab2", "nowhere", "x"}))
	q.path = "/ports/" + port + "/bindings"
	body := func() string {
		b := map[string]any{}
		if w.Intn(10) > 0 {
			b["host"] = pick(w, hosts)
		}
		if w.Intn(3) == 0 {
			b["vnic_type"] = pick(w, vnics)
		}
		if w.Intn(3) == 0 {
			b["profile"] = pick(w, profiles)
		}
		if w.Intn(12) == 0 {
			b[pick(w, []string{"x", "vif_type", "status", "project_id", "vif_details"})] = pick(w, absurd)
		}
		return text(map[string]any{pick(w, []string{"binding", "binding", "binding", "binding", "binding", "binding", "bindings", "x"}): b})
	}
	switch w.Intn(12) {
	case 0, 1, 2, 3:
		q.method, q.body = "POST", body()
	case 4:
		q.method = "GET"
		q.path += pick(w, []string{"", "?host=lab1", "?fields=host", "?status=ACTIVE", "?vif_type=ovs", "?x=1", "?limit=1", "?sort_key=host&sort_dir=desc", "?vnic_type=normal&fields=status&fields=host"})
	case 5:
		q.method, q.path = "GET", q.path+"/"+host
	case 6, 7:
		q.method, q.path, q.body = "PUT", q.path+"/"+host, body()
	case 8, 9:
		q.method, q.path = "PUT", q.path+"/"+host+"/activate"
	case 10:
		q.method, q.path = "DELETE", q.path+"/"+host
	default:
		q.method, q.path = pick(w, []string{"PATCH", "HEAD", "DELETE", "PUT"}), q.path+pick(w, []string{"", "/" + host, "/" + host + "/activate", "/" + host + "/x"})
	}
	return q
}

// listRequest makes up a list with filters, order, pages and fields.
func listRequest(w *world) request {
	kind := pick(w, []string{"networks", "subnets", "ports", "ports"})
	f := families[kind]
	q := request{caller: w.caller(), header: map[string]string{}, method: "GET"}
	names := append([]string{"id", "project_id", "revision_number", "shared", "tags", "tags-any", "not-tags", "not-tags-any", "changed_since", "status"}, f.filters...)
	for a := range f.attributes {
		names = append(names, a)
	}
	sort.Strings(names)
	var parts []string
	add := func(name, value string) { parts = append(parts, name+"="+escape(value)) }
	for range w.Intn(3) {
		a := pick(w, names)
		v := w.value(pick(w, append([]any{"x", "", "true", "True", "0", "null"}, f.attributes[a]...)))
		switch {
		case a == "id" || w.Intn(20) == 0:
			a, v = "id", w.ref(kind, "id")
		case a == "fixed_ips":
			v = pick(w, []any{"ip_address=10.0.0.2", "ip_address_substr=10.0", "subnet_id=" + fmt.Sprint(w.ref("subnets", "id")), "ip_address=", "x", "x=1", "ip_address_substr=%"})
		case a == "changed_since":
			v = pick(w, []any{"2020-01-01T00:00:00Z", "2040-01-01T00:00:00", "x", "2020-01-01"})
		case strings.Contains(a, "tags"):
			v = pick(w, []any{"red", "red,blue", "", ",", "x"})
		}
		if _, ok := v.(string); !ok {
			v = text(v)
		}
		add(a, fmt.Sprint(v))
		if w.Intn(6) == 0 {
			add(a, fmt.Sprint(pick(w, []any{v, "x", ""})))
		}
	}
	if w.Intn(4) == 0 {
		for range 1 + w.Intn(2) {
			add("fields", pick(w, names))
		}
	}
	if w.Intn(3) == 0 {
		for range 1 + w.Intn(2) {
			add("sort_key", pick(w, []string{"name", "id", "created_at", "admin_state_up", "status", "network_id", "x", pick(w, names)}))
			if w.Intn(15) > 0 {
				add("sort_dir", pick(w, []string{"asc", "desc", "asc", "desc", "x"}))
			}
		}
	}
	if w.Intn(4) == 0 { // with a filter on what is ours, so that the pages hold the same
		add("limit", pick(w, []string{"1", "2", "1000", "0", "-1", "x", ""}))
		add("sort_key", "name")
		add("sort_dir", "asc")
		if w.Intn(2) == 0 {
			add("marker", fmt.Sprint(w.ref(kind, "id")))
		}
		if w.Intn(3) == 0 {
			add("page_reverse", pick(w, []string{"True", "true", "False", "x"}))
		}
	}
	q.path = "/" + kind
	if w.Intn(12) == 0 && len(w.made[kind]) > 0 {
		q.path += "/$" + pick(w, w.made[kind]) + ".id"
	}
	if len(parts) > 0 {
		q.path += "?" + strings.Join(parts, "&")
	}
	return q
}

// bulkRequest makes up the creation of several objects.
func bulkRequest(w *world) request {
	kind := pick(w, []string{"networks", "subnets", "ports", "ports"})
	f := families[kind]
	var items []any
	for range 1 + w.Intn(3) {
		item := w.attributes(f, true, w.Intn(2))
		items = append(items, item)
		if w.Intn(8) == 0 {
			items = append(items, item)
		}
		if w.Intn(20) == 0 {
			items = append(items, pick(w, absurd))
		}
	}
	return request{caller: w.caller(), header: map[string]string{}, method: "POST", path: "/" + f.path, body: text(map[string]any{kind: items})}
}
