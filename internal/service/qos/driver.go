package qos

import (
	"slices"

	"neutrino/internal/model"
)

// Driver carries rules out for the ports of a mechanism driver (upstream neutron/services/qos/drivers). It takes any value
// that the API takes.
type Driver struct {
	Name      string   `json:"name"`
	VIFTypes  []string `json:"-"`
	VNICTypes []string `json:"-"`
	Kinds     []string `json:"-"` // of rules
}

// Drivers are those of the mechanism drivers that are loaded.
func Drivers(mechanisms []string) []Driver {
	all := []string{"bandwidth_limit", "packet_rate_limit", "dscp_marking", "minimum_bandwidth", "minimum_packet_rate"}
	known := []Driver{
		{"openvswitch", []string{"ovs", "vhostuser"}, []string{"normal", "direct"}, all},
		{"linuxbridge", []string{"bridge", "tap"}, []string{"normal"}, all}, // upstream's is gone; it had the first and the third
	}
	return slices.DeleteFunc(known, func(d Driver) bool { return !slices.Contains(mechanisms, d.Name) })
}

// binding is what decides which driver a port is for.
type binding struct{ port, vifType, vnicType string }

// supports tells whether a driver carries a rule out for a port: by its VIF type once it is bound, until then by what it
// is to be.
func (s *Service) supports(kind string, b binding) bool {
	return slices.ContainsFunc(s.drivers, func(d Driver) bool {
		fits := slices.Contains(d.VIFTypes, b.vifType)
		if b.vifType == "unbound" || b.vifType == "binding_failed" {
			fits = slices.Contains(d.VNICTypes, b.vnicType)
		}
		return fits && slices.Contains(d.Kinds, kind)
	})
}

// supportsAny tells whether any driver carries rules of a kind out.
func (s *Service) supportsAny(kind string) bool {
	return slices.ContainsFunc(s.drivers, func(d Driver) bool { return slices.Contains(d.Kinds, kind) })
}

// Kinds lists kinds of rules: those that all drivers support, those that any does, or all that there are.
func (s *Service) Kinds(anyDriver, all bool) []string {
	var kinds []string
	for _, k := range model.QosRuleKinds() {
		by := 0
		for _, d := range s.drivers {
			if slices.Contains(d.Kinds, k.Type) {
				by++
			}
		}
		if all || anyDriver && by > 0 || by > 0 && by == len(s.drivers) {
			kinds = append(kinds, k.Type)
		}
	}
	return kinds
}

// Parameter is what a driver takes for an attribute of a rule.
type Parameter struct {
	Name   string `json:"parameter_name"`
	Values any    `json:"parameter_values"`
	Type   string `json:"parameter_type"`
}

// DriverDetails is a driver and what it takes for rules of a kind.
type DriverDetails struct {
	Name       string      `json:"name"`
	Parameters []Parameter `json:"supported_parameters"`
}

// Details tells which drivers support rules of a kind, and how; k is nil for a kind that does not exist.
func (s *Service) Details(kind string) []DriverDetails {
	details := []DriverDetails{}
	i := slices.IndexFunc(model.QosRuleKinds(), func(k *model.QosRuleKind) bool { return k.Type == kind })
	if i < 0 {
		return details
	}
	k := model.QosRuleKinds()[i]
	number := map[string]int{"start": 0, "end": 1<<31 - 1}
	parameters := []Parameter{{k.Value, number, "range"}}
	if k.Values != nil {
		parameters[0] = Parameter{k.Value, k.Values, "choices"}
	}
	if k.Burst != "" {
		parameters = append(parameters, Parameter{k.Burst, number, "range"})
	}
	if k.Directions != nil {
		parameters = append(parameters, Parameter{"direction", k.Directions, "choices"})
	}
	for _, d := range s.drivers {
		if slices.Contains(d.Kinds, kind) {
			details = append(details, DriverDetails{d.Name, parameters})
		}
	}
	return details
}
