package main

func init() {
	numbers := []any{0, 1, 100, 1000, 5000, "200", -1, 2147483647, 2147483648}
	directions := []any{"egress", "ingress", "any", "both"}
	policy := id("policies")
	families["policies"] = &family{path: "qos/policies", name: "policy", filters: []string{"name", "shared", "is_default", "tenant_id"},
		required: []string{"name"},
		attributes: map[string][]any{"name": names, "description": names, "shared": bools, "is_default": bools, "rules": {[]any{}},
			"project_id": {"$other.project", "$member.project"}},
		actions: ruleActions(map[string]func(*world) any{
			"bandwidth_limit": func(w *world) any {
				return map[string]any{"max_kbps": pick(w, numbers), "max_burst_kbps": pick(w, numbers), "direction": pick(w, directions)}
			},
			"dscp_marking": func(w *world) any {
				return map[string]any{"dscp_mark": pick(w, []any{0, 8, 10, 46, 44, 42, 3, "12", nil})}
			},
			"minimum_bandwidth": func(w *world) any {
				return map[string]any{"min_kbps": pick(w, numbers), "direction": pick(w, directions)}
			},
			"minimum_packet_rate": func(w *world) any {
				return map[string]any{"min_kpps": pick(w, numbers), "direction": pick(w, directions)}
			},
			"packet_rate_limit": func(w *world) any {
				return map[string]any{"max_kpps": pick(w, numbers), "max_burst_kpps": pick(w, numbers), "direction": pick(w, directions)}
			},
		})}
	families["qosports"] = &family{path: "ports", name: "port", required: []string{"network_id"},
		attributes: map[string][]any{"network_id": {id("qosnetworks")}, "qos_policy_id": {policy, nil}, "qos_network_policy_id": {policy},
			"binding:vnic_type": {"normal", "direct", "macvtap"}, "device_owner": {"", "compute:a"}, "resource_request": {nil}}}
	families["qosnetworks"] = &family{path: "networks", name: "network", required: []string{"name"},
		attributes: map[string][]any{"name": names, "qos_policy_id": {policy, policy, nil}, "shared": bools}}
	families["routerkinds"] = &family{path: "routers", name: "router", required: []string{"name"},
		attributes: map[string][]any{"name": names, "distributed": append(bools, nil), "ha": append(bools, nil), "admin_state_up": bools}}
}

// ruleActions are requests that add rules to a policy, by kind, and lists of them.
func ruleActions(kinds map[string]func(*world) any) []action {
	var all []action
	for _, kind := range []string{"bandwidth_limit", "dscp_marking", "minimum_bandwidth", "minimum_packet_rate", "packet_rate_limit"} {
		values := kinds[kind]
		all = append(all, action{"POST", kind + "_rules", func(w *world) any { return map[string]any{kind + "_rule": values(w)} }},
			action{"GET", kind + "_rules", nil})
	}
	return all
}
