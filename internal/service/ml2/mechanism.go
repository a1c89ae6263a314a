package ml2

import (
	"neutrino/internal/model"
)

// Values of binding:vif_type and binding:vnic_type that are no driver's own.
const (
	vifUnbound       = "unbound"
	vifBindingFailed = "binding_failed"
	vnicNormal       = "normal"
)

// Mechanism is a driver that connects ports where its agents run.
type Mechanism interface {
	// Name is how the configuration calls it.
	Name() string
	// AgentType is the agent that reports when it has connected a port; "" if the driver has none.
	AgentType() string
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
	for _, m := range builtinMechanisms() {
		names = append(names, m.Name())
	}
	return names
}

func builtinMechanisms() []Mechanism {
	return []Mechanism{
		&agentMechanism{name: "linuxbridge", agentType: "Linux bridge agent", vifType: "bridge",
			mappings: []string{"interface_mappings", "bridge_mappings"}, details: map[string]any{"port_filter": true}},
		helperMechanism("l2population"),
	}
}

// agentMechanism binds ports to hosts with a living agent that reaches one of the segments.
type agentMechanism struct {
	name, agentType, vifType string
	mappings                 []string // of the agent's configurations: physical networks that it reaches
	details                  map[string]any
}

func (m *agentMechanism) Name() string      { return m.name }
func (m *agentMechanism) AgentType() string { return m.agentType }

func (m *agentMechanism) Bind(port *model.Port, segments []model.Segment, agents []*model.Agent) (Bound, bool) {
	if port.VNICType != vnicNormal {
		return Bound{}, false
	}
	for _, a := range agents {
		for _, s := range segments {
			if a.Alive && m.reaches(a, s) {
				details := model.Dict{"connectivity": "l2"}
				for k, v := range m.details {
					details[k] = v
				}
				return Bound{SegmentID: s.ID, VIFType: m.vifType, VIFDetails: details}, true
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
	types, _ := a.Configurations["tunnel_types"].([]any)
	return contains(types, any(s.NetworkType))
}

// helperMechanism is a driver that binds nothing: what it does hangs on other hooks.
type helperMechanism string

func (m helperMechanism) Name() string    { return string(m) }
func (helperMechanism) AgentType() string { return "" }
func (helperMechanism) Bind(*model.Port, []model.Segment, []*model.Agent) (Bound, bool) {
	return Bound{}, false
}
