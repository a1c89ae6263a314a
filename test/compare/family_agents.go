package main

import "fmt"

// agentIDs are those of the agents that both servers have from the start (on hosts lab1 and lab2: Open vSwitch, DHCP, L3,
// metering and metadata), of which DHCP and L3 agents are the interesting ones.
func agentID(w *world) string {
	return fmt.Sprintf("a0000000-0000-4000-8000-%012d", pick(w, []int{1, 2, 2, 2, 3, 3, 3, 4, 5, 7, 7, 7, 8, 8, 8, 11}))
}

func aboutQuotas(w *world) request {
	q := request{caller: w.caller(), header: map[string]string{}, method: "GET"}
	one := "/quotas/" + pick(w, []string{"$member.project", "$member.project", "$member.project", "$other.project", "nobody", "default", "details"})
	switch w.Intn(12) {
	case 0:
		q.path = "/quotas" + pick(w, []string{"", "?fields=network", "?fields=project_id", "?project_id=$member.project", "?network=5", "?limit=1", "?sort_key=project_id", "?x=1"})
	case 1, 2:
		q.path = one
		if w.Intn(4) == 0 {
			q.path += "?fields=network&fields=x"
		}
	case 3:
		q.path = one + "/default"
	case 4:
		q.path = one + "/details" + pick(w, []string{"", "", "", ".json"})
	case 5:
		q.method, q.path = "DELETE", one
	case 6:
		q.method, q.path = pick(w, []string{"POST", "PATCH", "PUT", "DELETE", "HEAD"}), pick(w, []string{"/quotas", one, one + "/default", one + "/details", one + "/x", "/quotas/tenant"})
		if q.method != "HEAD" && q.method != "DELETE" {
			q.body = `{"quota":{"network":5}}`
		}
	case 7:
		q.path = pick(w, []string{"/quotas/tenant", "/quotas/tenant.json", "/quotas/project", one + "/x", one + ".json"})
	default:
		limits := map[string]any{}
		for range 1 + w.Intn(3) {
			limits[pick(w, []string{"network", "subnet", "port", "router", "floatingip", "security_group", "security_group_rule", "rbac_policy", "subnetpool", "router_route", "x", "trunk",
				"force", "check_limit", "project_id", "tenant_id", "address_group"})] = pick(w, []any{0, 1, 5, 100, -1, -2, "5", "-1", 1.5, "x", nil, true, false, "", 1 << 31, 1 << 40, []any{}, map[string]any{}, 2147483647, "$member.project"})
		}
		q.method, q.path, q.body = "PUT", one, text(map[string]any{"quota": limits})
		if w.Intn(15) == 0 {
			q.body = pick(w, []string{`{}`, `{"quota":null}`, `{"quota":{}}`, `{"quota":[]}`, `[]`, `{"quotas":{"network":1}}`, `{"network":1}`, `{"quota":{"network":1},"x":1}`, ``, `x`})
		}
	}
	return q
}

func aboutAgents(w *world) request {
	q := request{caller: pick(w, []string{"admin", "admin", "admin", "admin", "admin", "otheradmin", "member", "reader", "manager", "service"}), header: map[string]string{}, method: "GET"}
	agent := "/agents/" + agentID(w)
	if w.Intn(20) == 0 {
		agent = "/agents/" + pick(w, []string{"x", "00000000-0000-4000-8000-000000000000"})
	}
	network, router := fmt.Sprint(w.ref("l3nets", "id")), fmt.Sprint(w.ref("routers", "id"))
	switch w.Intn(20) {
	case 0:
		q.path = "/agents" + pick(w, []string{"", "?agent_type=L3+agent", "?host=lab1", "?alive=true", "?alive=x", "?binary=neutron-l3-agent", "?fields=id&fields=alive", "?sort_key=host&sort_dir=desc", "?admin_state_up=false",
			"?topic=l3_agent", "?availability_zone=nova", "?x=1", "?limit=2&sort_key=id", "?description=x", "?limit=2&sort_key=id&marker=a0000000-0000-4000-8000-000000000002", "?configurations=x", "?resources_synced=true", "?sort_key=alive", "?sort_key=configurations"})
	case 1:
		q.path = agent + pick(w, []string{"", "", "?fields=id", "?fields=configurations"})
	case 2, 3:
		q.method, q.path = "PUT", agent
		q.body = text(map[string]any{"agent": pick(w, []any{map[string]any{"admin_state_up": false}, map[string]any{"admin_state_up": true}, map[string]any{"admin_state_up": "x"}, map[string]any{"description": "d"}, map[string]any{"description": nil},
			map[string]any{"host": "x"}, map[string]any{"x": 1}, map[string]any{}, nil, map[string]any{"admin_state_up": true, "description": ""}})})
	case 4:
		q.path = agent + "/dhcp-networks"
	case 5, 6:
		q.method, q.path, q.body = "POST", agent+"/dhcp-networks", text(map[string]any{"network_id": network})
	case 7, 8:
		q.method, q.path = "DELETE", agent+"/dhcp-networks/"+network
	case 9:
		q.path = "/networks/" + network + "/dhcp-agents" + pick(w, []string{"", "", "?fields=id", "?agent_type=x"})
	case 10:
		q.path = agent + "/l3-routers" + pick(w, []string{"", "", "?fields=id", "?name=x"})
	case 11, 12:
		q.method, q.path, q.body = "POST", agent+"/l3-routers", text(map[string]any{"router_id": router})
	case 13, 14:
		q.method, q.path = "DELETE", agent+"/l3-routers/"+router
	case 15:
		q.path = "/routers/" + router + "/l3-agents" + pick(w, []string{"", "", "?fields=id"})
	case 16:
		q.path = "/availability_zones" + pick(w, []string{"", "?resource=router", "?state=available", "?name=nova", "?fields=name", "?state=unavailable", "?x=1", "?sort_key=name", "?limit=1", "/nova", "?resource=x", "?state=x"})
		q.caller = w.caller()
	case 17:
		q.method, q.path = pick(w, []string{"POST", "PUT", "DELETE", "PATCH", "GET"}), pick(w, []string{"/agents", "/availability_zones", agent + "/dhcp-networks", agent + "/l3-routers", agent + "/l3-routers/" + router, agent + "/dhcp-networks/" + network,
			"/networks/" + network + "/dhcp-agents", "/routers/" + router + "/l3-agents", agent + "/x", agent + "/bgp-drinstances"})
		if q.method == "POST" || q.method == "PUT" {
			q.body = pick(w, []string{`{}`, `{"network_id":null}`, `{"router_id":"x"}`, `{"network_id":"x"}`, `[]`, `{"agent":{}}`, ``, `x`})
		}
	case 18:
		q.method, q.path, q.body = "POST", agent+pick(w, []string{"/l3-routers", "/dhcp-networks"}), pick(w, []string{`{}`, `{"network_id":null}`, `{"router_id":null}`, `{"router_id":"x"}`, `{"network_id":"x"}`, `[]`, `{"agent":{}}`, ``, `x`, `{"router_id":1}`})
	default:
		q.path = pick(w, []string{"/agents/x", "/agents/" + network, agent + "/l3-routers/" + router, agent + "/dhcp-networks/" + network})
	}
	return q
}

func init() {
	families["quotas"] = &family{path: "quotas", name: "quota", request: aboutQuotas}
	families["agents"] = &family{path: "agents", name: "agent", request: aboutAgents}
}
