package server

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"neutrino/internal/store"
)

type object = map[string]any

// populations make the i-th of many objects of each collection, out of what setUpCost made. Those of nil come by
// themselves; what a request cannot make is written by SQL.
func populations(network, external, group, label string) map[string]func(i int) object {
	named := func(i int) object { return object{"name": fmt.Sprint("n", i)} }
	return map[string]func(i int) object{
		"networks":                  named,
		"network-ip-availabilities": nil, // of networks
		"subnets": func(i int) object {
			return object{"network_id": network, "ip_version": 4, "cidr": fmt.Sprintf("10.%d.%d.0/28", 100+i/256, i%256), "enable_dhcp": false}
		},
		"ports":           func(i int) object { return object{"network_id": network, "fixed_ips": []any{}} },
		"routers":         named,
		"security-groups": named,
		"security-group-rules": func(i int) object {
			return object{"security_group_id": group, "direction": "ingress", "protocol": "tcp", "port_range_min": i + 1, "port_range_max": i + 1}
		},
		"default-security-group-rules": func(i int) object {
			return object{"direction": "ingress", "protocol": "tcp", "port_range_min": i + 1, "port_range_max": i + 1,
				"used_in_default_sg": true, "used_in_non_default_sg": false}
		},
		"security-groups-default-statefulness": func(i int) object { return object{"project_id": fmt.Sprint("project", i), "stateful": false} },
		"floatingips":                          func(int) object { return object{"floating_network_id": external} },
		"subnetpools": func(i int) object {
			return object{"name": fmt.Sprint(i), "prefixes": []any{fmt.Sprintf("10.%d.%d.0/24", i/256, i%256)}}
		},
		"address-scopes": func(i int) object { return object{"name": fmt.Sprint(i), "ip_version": 4} },
		"address-groups": func(i int) object {
			return object{"name": fmt.Sprint(i), "addresses": []any{fmt.Sprintf("10.%d.%d.1/32", i/256, i%256)}}
		},
		"rbac-policies": func(i int) object {
			return object{"object_type": "network", "object_id": network, "action": "access_as_shared", "target_tenant": fmt.Sprintf("%08d-0000-4000-8000-000000000000", i)}
		},
		"segments": func(i int) object {
			return object{"network_id": network, "network_type": "vxlan", "segmentation_id": 20001 + i}
		},
		"network-segment-ranges": func(i int) object {
			return object{"network_type": "vxlan", "minimum": 100000 + 10*i, "maximum": 100000 + 10*i, "shared": true, "name": fmt.Sprint(i)}
		},
		"metering/metering-labels": named,
		"metering/metering-label-rules": func(i int) object {
			return object{"metering_label_id": label, "direction": "ingress", "remote_ip_prefix": fmt.Sprintf("10.%d.%d.0/24", i/256, i%256)}
		},
		"flavors": func(i int) object { return object{"name": fmt.Sprint(i), "service_type": "L3_ROUTER_NAT"} },
		"service_profiles": func(i int) object {
			return object{"description": fmt.Sprint(i), "driver": "", "metainfo": fmt.Sprint("x", i)}
		},
		"qos/policies": named,
		"agents":       nil, // written by SQL
	}
}

// For somebody who may not see all, the owner of the network or policy of the object that comes first, by chance, may have to
// be looked up: so a list may differ by ownerCost statements. A page may even be empty; pageCost bounds it.
const (
	ownerCost = 2
	pageCost  = 14
)

// limits are for collections whose objects take long to make: each new range goes through all network ids.
var limits = map[string]int{"network-segment-ranges": 60}

// TestListsCostAFixedNumberOfStatements: a list of more than a thousand objects takes no more statements than one of
// ten, in every collection that the reference names, for whoever asks for whatever. Of what belongs to one object, such as
// the rules of a policy, there cannot be that many.
func TestListsCostAFixedNumberOfStatements(t *testing.T) {
	e := start(t, "[DEFAULT]", "service_plugins = router,metering,segments,network_segment_range,qos",
		"[ml2_type_vxlan]", "vni_ranges = 1:50000")
	defer e.end()
	quota := object{}
	for _, name := range []string{"network", "subnet", "port", "router", "security_group", "security_group_rule", "floatingip", "subnetpool", "rbac_policy"} {
		quota[name] = -1
	}
	e.do("PUT", "/quotas/p", object{"quota": quota})
	id := func(path, name string, attributes object) string {
		return e.post(path, name, attributes)["id"].(string)
	}
	network := id("/networks", "network", object{"provider:network_type": "vxlan", "provider:segmentation_id": 7})
	external := id("/networks", "network", object{"router:external": true})
	e.post("/subnets", "subnet", object{"network_id": external, "ip_version": 4, "cidr": "172.24.0.0/16", "enable_dhcp": false})
	group := id("/security-groups", "security_group", object{"name": "g"})
	label := id("/metering/metering-labels", "metering_label", object{"name": "l"})
	all := populations(network, external, group, label)
	reference, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	headings := regexp.MustCompile(`(?m)^## (\w+): /v2.0/([^{\n]+)$`).FindAllStringSubmatch(string(reference), -1)
	if len(headings) != len(all) {
		t.Errorf("%d collections in the reference, %d here", len(headings), len(all))
	}
	// First the agents, which later objects are scheduled to.
	agents := slices.IndexFunc(headings, func(h []string) bool { return h[2] == "agents" })
	headings[0], headings[agents] = headings[agents], headings[0]
	const few, many = 10, 1010
	costs := map[string]int64{}
	for _, n := range []int{few, many} {
		for _, h := range headings {
			name, path := h[1], h[2]
			make, known := all[path]
			if !known {
				t.Errorf("collection %s is not here", path)
				continue
			}
			e.populate(name, path, make, min(n, cmp.Or(limits[path], n)))
		}
		for _, h := range headings {
			e.costs(h[2], n, n == few, costs)
		}
	}
}

// populate makes objects until there are n.
func (e *env) populate(name, path string, make func(i int) object, n int) {
	e.Helper()
	list, _ := e.get("/"+path+"?fields=id", collectionKey(path)).([]any)
	if path == "agents" {
		e.agents(len(list), n)
		return
	}
	if make == nil {
		return
	}
	const bulk = 200
	for i := len(list); i < n; {
		var objects []any
		for ; i < n && len(objects) < bulk; i++ {
			objects = append(objects, make(i))
		}
		status, body := e.do("POST", "/"+path, object{collectionKey(path): objects})
		if status == 400 { // some collections take one at a time
			for _, o := range objects {
				e.post("/"+path, name, o.(object))
			}
		} else if status != 201 {
			e.Errorf("POST %s: %d %v", path, status, body)
		}
	}
}

func collectionKey(path string) string {
	return strings.ReplaceAll(path[strings.LastIndex(path, "/")+1:], "-", "_")
}

func (e *env) agents(from, to int) {
	err := e.server.db.Write(context.Background(), func(tx *store.Tx) error {
		for i := from; i < to; i++ {
			now := store.Now()
			_, err := tx.Exec("INSERT INTO agents (id, agent_type, "+tx.Dialect().Quote("binary")+", topic, host, admin_state_up, created_at, started_at, "+
				"heartbeat_timestamp, configurations, "+tx.Dialect().Quote("load")+") VALUES (?, 'DHCP agent', 'b', 't', ?, ?, ?, ?, ?, '{}', 0)",
				fmt.Sprintf("00000000-0000-4000-8000-%012d", i), fmt.Sprint("host", i), true, now, now, now)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		e.Fatal(err)
	}
}

// costs counts the statements of lists, and compares with those of the first time.
func (e *env) costs(path string, n int, first bool, costs map[string]int64) {
	e.Helper()
	queries := []string{"", "?fields=id", "?fields=id&fields=name", "?limit=5", "?limit=2000", "?project_id=p", "?fields=id&project_id=p"}
	if marker := e.marker(path); marker != "" {
		queries = append(queries, "?limit=5&marker="+marker, "?limit=5&page_reverse=True&marker="+marker)
	}
	for _, roles := range []string{"admin", "member,reader"} {
		for _, query := range queries {
			key := fmt.Sprintf("GET %s%s as %s", path, regexp.MustCompile("marker=.*").ReplaceAllString(query, "marker=M"), roles)
			cost := e.cost(path+query, roles)
			may := int64(0)
			if roles != "admin" {
				may = ownerCost
			}
			if first {
				costs[key] = cost
			} else if page := roles != "admin" && strings.Contains(query, "limit"); page && cost <= pageCost {
				continue
			} else if max(cost-costs[key], costs[key]-cost) > may {
				e.Errorf("%s: %d statements for few objects, %d for %d", key, costs[key], cost, n)
			}
		}
	}
}

// marker is an object of a collection.
func (e *env) marker(path string) string {
	list, _ := e.get("/"+path+"?fields=id&limit=1", collectionKey(path)).([]any)
	if len(list) == 0 {
		return ""
	}
	id, _ := list[0].(object)["id"].(string)
	return id
}

// cost is the least of several tries, each in a quiet moment, as the server has other things to do, too.
func (e *env) cost(path, roles string) int64 {
	e.Helper()
	least := int64(1 << 62)
	for range 3 {
		e.quiet()
		before := e.server.db.Statements()
		switch status, body := e.do("GET", "/"+path, nil, roles); {
		case status == 400 && strings.Contains(path, "project_id"): // objects of this kind have no owner
			return 0
		case status != 200:
			e.Fatalf("GET %s: %d %v", path, status, body)
		}
		least = min(least, e.server.db.Statements()-before)
	}
	return least
}

// quiet waits until nothing has been asked of the database for some milliseconds.
func (e *env) quiet() {
	e.Helper()
	for last := int64(-1); e.Context().Err() == nil; time.Sleep(3 * time.Millisecond) {
		now := e.server.db.Statements()
		if now == last {
			return
		}
		last = now
	}
}
