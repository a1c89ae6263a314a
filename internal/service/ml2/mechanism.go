package ml2

import (
	"fmt"
	"maps"
	"slices"

	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"

	"github.com/google/uuid"
)

// Values of binding:vif_type and binding:vnic_type that are no driver's own.
const (
	vifUnbound       = "unbound"
	vifBindingFailed = "binding_failed"
	vnicNormal       = "normal"
	vnicDirect       = "direct"
	vnicSmartNIC     = "smart-nic"
)

// Mechanism is a driver that connects ports where its agents run.
type Mechanism interface {
	// Name is how the configuration calls it.
	Name() string
	// AgentType is the agent that reports when it has connected a port; "" if the driver has none.
	AgentType() string
	// Takes tells whether the driver has to do with ports of a binding:vnic_type.
	Takes(vnicType string) bool
	// Follows is the vif_type of ports on an agent's host that follow when their network gets another segmentation id; ""
	// if they do not.
	Follows(agent *model.Agent) string
	// Responsible tells whether the agents, those of AgentType on the port's host, report the resource providers of which
	// Placement allocated something for the port: binding:profile has these by group.
	Responsible(allocation map[string]any, agents []*model.Agent) bool
	// Bind chooses one of the network's segments for the port on its host. agents are those of AgentType there. false
	// means that it cannot.
	Bind(port *model.Port, segments []model.Segment, agents []*model.Agent) (Bound, bool)
}

// Bound is the result of binding a port.
type Bound struct {
	SegmentID  string
	VIFType    string
	VIFDetails model.Dict
}

// MechanismNames are the mechanism drivers that the configuration can name.
func MechanismNames() []string {
	var names []string
	for _, m := range builtinMechanisms(Config{}) {
		names = append(names, m.Name())
	}
	return names
}

func builtinMechanisms(cfg Config) []Mechanism {
	return []Mechanism{
		openvswitch(cfg),
		&agentMechanism{name: "linuxbridge", agentType: "Linux bridge agent", vnicTypes: []string{vnicNormal},
			mappings: []string{"interface_mappings", "bridge_mappings"},
			vif: func(*model.Port, *model.Agent) (string, model.Dict) {
				return "bridge", model.Dict{"port_filter": !cfg.NoSecurityGroups, "connectivity": "l2"}
			}},
		helperMechanism("l2population"),
	}
}

// agentMechanism binds ports to hosts with a living agent that reaches one of the segments.
type agentMechanism struct {
	name, agentType string
	vnicTypes       []string
	mappings        []string // of the agent's configurations: physical networks that it reaches
	// vif is what Nova has to know to plug the port.
	vif       func(port *model.Port, a *model.Agent) (vifType string, details model.Dict)
	follows   func(a *model.Agent) string // nil: no port follows
	providers uuid.UUID                   // namespace of the agents' resource providers; zero: they have none
}

func (m *agentMechanism) Name() string               { return m.name }
func (m *agentMechanism) AgentType() string          { return m.agentType }
func (m *agentMechanism) Takes(vnicType string) bool { return contains(m.vnicTypes, vnicType) }

func (m *agentMechanism) Follows(a *model.Agent) string {
	if m.follows == nil {
		return ""
	}
	return m.follows(a)
}

func (m *agentMechanism) Bind(port *model.Port, segments []model.Segment, agents []*model.Agent) (Bound, bool) {
	if !m.Takes(port.VNICType) {
		return Bound{}, false
	}
	for _, a := range agents {
		if smart, _ := a.Configurations["baremetal_smartnic"].(bool); !a.Alive || port.VNICType == vnicSmartNIC && !smart {
			continue
		}
		for _, s := range segments {
			if m.reaches(a, s) {
				vifType, details := m.vif(port, a)
				return Bound{SegmentID: s.ID, VIFType: vifType, VIFDetails: details}, true
			}
		}
	}
	return Bound{}, false
}

// reaches tells whether the agent's configurations say that it can connect to the segment.
func (m *agentMechanism) reaches(a *model.Agent, s model.Segment) bool {
	switch s.NetworkType {
	case "local":
		return true
	case "flat", "vlan":
		for _, name := range m.mappings {
			mapping, _ := a.Configurations[name].(map[string]any)
			if _, ok := mapping[*s.PhysicalNetwork]; ok {
				return true
			}
		}
		return false
	}
	return listed(a.Configurations["tunnel_types"], s.NetworkType)
}

// reacher is a mechanism that knows which segments its agents reach.
type reacher interface {
	AgentType() string
	reaches(a *model.Agent, s model.Segment) bool
}

// HostsWithAccess are those of the hosts whose L2 agents reach a segment of the network; all of them where no mechanism is
// loaded. Mechanisms that connect nothing, such as l2population, leave it to the others (upstream
// filter_hosts_with_segment_access in managers.py and l2pop/mech_driver.py).
func (p *Plugin) HostsWithAccess(tx *store.Tx, network string, hosts []string) ([]string, error) {
	types := map[string]reacher{}
	for _, m := range p.mechanisms {
		if r, ok := m.(reacher); ok {
			types[r.AgentType()] = r
		}
	}
	if len(p.mechanisms) == 0 {
		return hosts, nil
	}
	byNetwork, err := segments(tx, network)
	if err != nil {
		return nil, err
	}
	agents, err := p.catalog.Agents.Select(tx, &resource.Query{Set: p.catalog.Agents.Bits("host", "agent_type", "configurations"),
		Where: []resource.Cond{resource.In("t.agent_type", slices.Sorted(maps.Keys(types))), resource.In("t.host", hosts)}})
	if err != nil {
		return nil, err
	}
	var reached []string
	for _, a := range agents {
		if slices.ContainsFunc(byNetwork[network], func(s model.Segment) bool { return types[a.AgentType].reaches(a, s) }) {
			reached = append(reached, a.Host)
		}
	}
	return reached, nil
}

// Responsible compares with the names that neutron_lib.placement.utils gives to providers: the host's, or the host's and
// a device's.
func (m *agentMechanism) Responsible(allocation map[string]any, agents []*model.Agent) bool {
	reporting := map[string]int{} // by group
	for _, a := range agents {
		var names []string
		devices, _ := a.Configurations["resource_provider_bandwidths"].(map[string]any)
		for device := range devices {
			names = append(names, a.Host+":"+device)
		}
		for _, c := range []string{"resource_provider_packet_processing_without_direction", "resource_provider_packet_processing_with_direction"} {
			if _, ok := a.Configurations[c]; ok {
				names = append(names, a.Host)
				break
			}
		}
		for group, provider := range allocation {
			id, err := uuid.Parse(fmt.Sprint(provider))
			if err != nil {
				return false
			}
			for _, name := range names {
				if uuid.NewSHA1(m.providers, []byte(name)) == id {
					reporting[group]++
				}
			}
		}
	}
	for _, n := range reporting {
		if n != 1 {
			return false
		}
	}
	return m.providers != uuid.UUID{} && len(reporting) > 0 && len(reporting) == len(allocation)
}

// listed tells whether one of an agent's configurations is a list with the word.
func listed(configuration any, words ...string) bool {
	list, _ := configuration.([]any)
	for _, w := range words {
		if contains(list, any(w)) {
			return true
		}
	}
	return false
}

// helperMechanism is a driver that binds nothing: what it does hangs on other hooks.
type helperMechanism string

func (m helperMechanism) Name() string                                  { return string(m) }
func (helperMechanism) AgentType() string                               { return "" }
func (helperMechanism) Takes(string) bool                               { return false }
func (helperMechanism) Follows(*model.Agent) string                     { return "" }
func (helperMechanism) Responsible(map[string]any, []*model.Agent) bool { return false }
func (helperMechanism) Bind(*model.Port, []model.Segment, []*model.Agent) (Bound, bool) {
	return Bound{}, false
}
