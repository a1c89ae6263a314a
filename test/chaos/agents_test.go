package chaos

import (
	"fmt"
	"maps"
	"slices"

	"neutrino/test/lab"
)

// What administrators do with agents, and what agents of routers count.

func addLabel(w *world, s *snapshot) string {
	if len(s.labels) >= mostLabels {
		return ""
	}
	label, what := w.create("metering/metering-labels", "metering_label", lab.Object{})
	if label == nil {
		return what
	}
	_, rule := w.create("metering/metering-label-rules", "metering_label_rule", lab.Object{"metering_label_id": label.ID(),
		"direction": []string{"ingress", "egress"}[w.random.IntN(2)], "destination_ip_prefix": lab.PublicCIDR})
	return what + ", " + rule
}

// toggleAgent has the agent of DHCP or of routers give up all that it has, or take it again.
func toggleAgent(w *world, s *snapshot) string {
	kind := []string{dhcpAgent, l3Agent}[w.random.IntN(2)]
	a, ok := s.agents[kind]
	if !ok {
		return ""
	}
	w.upsetAll = true
	return kind + ": " + w.change("agents", "agent", a.id, lab.Object{"admin_state_up": !a.up})
}

// enableAgents lets agents that are disabled have what they are given.
func (w *world) enableAgents() {
	w.t.Helper()
	for kind, a := range w.look().agents {
		if !a.up {
			w.upsetAll = true
			w.note("%s: %s", kind, w.change("agents", "agent", a.id, lab.Object{"admin_state_up": true}))
		}
	}
}

// reschedule takes a network or router from its agent, or gives it back.
func reschedule(w *world, s *snapshot) string {
	kind, all, name := dhcpAgent, slices.Collect(maps.Keys(s.networks)), "network_id"
	if w.chance(2) {
		kind, all, name = l3Agent, slices.Collect(maps.Keys(s.routers)), "router_id"
	}
	a, ok := s.agents[kind]
	id, found := w.pick(all)
	if !ok || !found {
		return ""
	}
	w.upsetAll = true
	path := fmt.Sprintf("/agents/%s/%s", a.id, given[kind])
	if a.hosts[id] {
		_, what := w.try("DELETE", path+"/"+id, nil)
		return what
	}
	_, what := w.try("POST", path, lab.Object{name: id})
	return what
}
