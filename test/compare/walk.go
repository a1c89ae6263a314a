package main

import (
	"fmt"
	"slices"
	"strings"
)

// collections are all lists of the API, with what hangs on each of their objects.
var collections = []struct {
	path   string
	nested []string
	list   bool // there are no single objects
}{
	{path: "/networks", nested: []string{"/dhcp-agents", "/tags"}},
	{path: "/subnets", nested: []string{"/tags"}},
	{path: "/ports", nested: []string{"/bindings", "/tags"}},
	{path: "/subnetpools", nested: []string{"/tags"}},
	{path: "/address-scopes"},
	{path: "/address-groups"},
	{path: "/routers", nested: []string{"/l3-agents", "/tags", "/conntrack_helpers"}},
	{path: "/floatingips", nested: []string{"/tags", "/port_forwardings"}},
	{path: "/floatingip_pools", list: true},
	{path: "/security-groups", nested: []string{"/tags"}},
	{path: "/security-group-rules"},
	{path: "/default-security-group-rules"},
	{path: "/rbac-policies"},
	{path: "/agents", nested: []string{"/dhcp-networks", "/l3-routers"}},
	{path: "/availability_zones", list: true},
	{path: "/network-ip-availabilities"},
	{path: "/segments"},
	{path: "/network_segment_ranges", nested: []string{"/tags"}},
	{path: "/metering/metering-labels"},
	{path: "/metering/metering-label-rules"},
	{path: "/flavors"},
	{path: "/service_profiles"},
	{path: "/service-providers", list: true},
	{path: "/quotas", list: true},
	{path: "/qos/policies", nested: []string{"/tags", "/bandwidth_limit_rules", "/dscp_marking_rules", "/minimum_bandwidth_rules",
		"/minimum_packet_rate_rules", "/packet_rate_limit_rules"}},
	{path: "/qos/rule-types", list: true},
	{path: "/trunks", nested: []string{"/get_subports", "/tags"}},
	{path: "/local_ips", nested: []string{"/port_associations"}},
	{path: "/ndp_proxies"},
	{path: "/log/logs"},
}

// walk compares every list and every object of two servers on one database, as the callers see them.
func (r *runner) walk(callers []string) error {
	for _, caller := range callers {
		for _, c := range collections {
			q := request{caller: caller, method: "GET", path: c.path}
			a, b, err := r.both(q)
			if err != nil {
				return err
			}
			if a.status == 404 && b.status == 404 {
				continue
			}
			if a.status == 404 || b.status == 404 {
				r.absent(c.path, a.status, b.status)
				continue
			}
			r.account(q, a, b, r.differ.answers(a, b))
			if c.list {
				continue
			}
			for _, id := range ids(a.value) {
				for _, path := range slices.Concat([]string{""}, c.nested) {
					if _, err := r.run(request{caller: caller, method: "GET", path: c.path + "/" + id + path}); err != nil {
						return err
					}
				}
			}
		}
		for _, path := range []string{"/quotas/$member.project", "/quotas/$member.project/details", "/quotas/$member.project/default"} {
			if _, err := r.run(request{caller: caller, method: "GET", path: path}); err != nil {
				return err
			}
		}
	}
	return nil
}

// absent notes that only one of the servers has a collection.
func (r *runner) absent(path string, a, b int) {
	if !slices.Contains(r.lacking, path) {
		r.lacking = append(r.lacking, path)
		fmt.Printf("not compared: %s has status %d at a, %d at b\n", path, a, b)
	}
}

// ids are the identifiers of the objects in a list.
func ids(value any) []string {
	var out []string
	top, _ := value.(map[string]any)
	for _, v := range top {
		list, _ := v.([]any)
		for _, x := range list {
			o, _ := x.(map[string]any)
			for _, key := range []string{"id", "network_id"} {
				if id, ok := o[key].(string); ok {
					out = append(out, id)
					break
				}
			}
		}
	}
	return out
}

// runShared lets one of the servers, in turn, answer a request that changes something, and then compares how both show the
// object.
func (r *runner) runShared(q request) (int, error) {
	writer, watcher := r.a, r.b
	if r.write == "b" || r.write == "both" && r.sent%2 == 1 {
		writer, watcher = r.b, r.a
	}
	w, err := writer.send(q, r.keystone.tokens[q.caller])
	if err != nil {
		return 0, err
	}
	r.sent++
	r.statuses[w.status]++
	if r.verbose {
		fmt.Printf("%d  %s\n", w.status, q)
		if w.status >= 400 {
			fmt.Printf("     %s\n", cut(string(w.text), 300))
		}
	}
	if w.status >= 500 {
		fmt.Printf("--- %d from %s: %s\n", w.status, writer.base, cut(q.String(), 600))
		r.differed++
	}
	if q.name != "" && w.status < 300 {
		watcher.learn(q.name, w.value)
	}
	if w.status >= 300 {
		return w.status, nil
	}
	return w.status, r.show(q, w)
}

// show compares the object that a request was about.
func (r *runner) show(q request, w answer) error {
	path := q.path
	if q.method == "POST" {
		top, _ := w.value.(map[string]any)
		for _, v := range top {
			if o, ok := v.(map[string]any); ok && o["id"] != nil {
				path = fmt.Sprint(path, "/", o["id"])
			}
		}
	}
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	first := 2
	if slices.Contains([]string{"qos", "metering", "log"}, parts[0]) {
		first = 3
	}
	for i := first; i <= len(parts) && i <= first+1; i++ { // the object, and what belongs to it
		if i > first && !slices.Contains([]string{"tags", "bindings", "dhcp-networks", "l3-routers"}, parts[i-1]) {
			break
		}
		for _, caller := range []string{"admin", q.caller} {
			seen := request{caller: caller, method: "GET", path: "/" + strings.Join(parts[:i], "/")}
			a, b, err := r.both(seen)
			if err != nil {
				return err
			}
			if found := r.differ.answers(a, b); len(found) > 0 {
				r.account(q, a, b, found)
			}
		}
	}
	return nil
}
