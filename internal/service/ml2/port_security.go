package ml2

import (
	"encoding/json"
	"slices"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/resource"
)

// maxProfile is the size of the column for binding:profile.
const maxProfile = 4095

func (p *Plugin) hasPortSecurity() bool { return p.catalog.Ports.Bit("port_security_enabled") != 0 }

// secureNew settles the port security of a new port: services' ports have none, others what the request says or else
// the network.
func (p *Plugin) secureNew(c *resource.Change[model.Port], n *model.Network) error {
	port := c.New
	switch {
	case trusted(port):
		port.PortSecurity = false
	case !p.hasPortSecurity():
		port.PortSecurity = true
	case !c.Has("port_security_enabled"):
		port.PortSecurity = n.PortSecurity
	}
	return p.completePairs(port)
}

// insecureNew refuses security groups and allowed address pairs without port security, as upstream once addresses are allocated.
func insecureNew(c *resource.Change[model.Port]) error {
	port := c.New
	if port.PortSecurity {
		return nil
	}
	if len(port.AddressPairs) > 0 {
		return pairsNeedPortSecurity()
	}
	if c.Has("security_groups") && len(port.SecurityGroups) > 0 {
		return groupsNeedPortSecurity()
	}
	port.SecurityGroups = []string{}
	return nil
}

// secureUpdated checks that an update leaves no security groups or address pairs without port security.
func (p *Plugin) secureUpdated(c *resource.Change[model.Port]) error {
	port := c.New
	if c.Has("allowed_address_pairs") {
		if err := p.completePairs(port); err != nil {
			return err
		}
	}
	if port.PortSecurity {
		return nil
	}
	switch {
	case len(port.AddressPairs) > 0:
		return pairsNeedPortSecurity()
	case c.Has("security_groups") && len(port.SecurityGroups) > 0:
		return groupsNeedPortSecurity()
	case len(port.SecurityGroups) > 0:
		return fault.Conflict("PortSecurityPortHasSecurityGroup", "Port has security group associated. Cannot disable port security "+
			"or IP address until security group is removed.")
	}
	return nil
}

func pairsNeedPortSecurity() error {
	return fault.Conflict("AddressPairAndPortSecurityRequired", "Port Security must be enabled in order to have allowed address pairs "+
		"on a port.")
}

func groupsNeedPortSecurity() error {
	return fault.BadRequest("PortSecurityAndIPRequiredForSecurityGroups", "Port security must be enabled and port must have an IP "+
		"address in order to use security groups.")
}

// countPairs refuses more address pairs than the configuration allows.
func (p *Plugin) countPairs(port *model.Port) error {
	if len(port.AddressPairs) > p.cfg.MaxAllowedAddressPairs {
		return fault.BadRequest("AllowedAddressPairExhausted", "The number of allowed address pair exceeds the maximum %d.",
			p.cfg.MaxAllowedAddressPairs)
	}
	return nil
}

// completePairs gives address pairs without MAC address the port's own.
func (p *Plugin) completePairs(port *model.Port) error {
	orEmpty(&port.AddressPairs)
	seen := map[model.AddressPair]bool{}
	for i := range port.AddressPairs {
		pair := &port.AddressPairs[i]
		if pair.MACAddress == "" {
			pair.MACAddress = port.MACAddress
		}
		if seen[*pair] {
			return fault.BadRequest("DuplicateAddressPairInRequest", "Request contains duplicate address pair: mac_address %s ip_address %s.",
				pair.MACAddress, pair.IPAddress)
		}
		seen[*pair] = true
	}
	return nil
}

func checkProfile(port *model.Port) error {
	if len(port.Profile) == 0 {
		return nil
	}
	if raw, err := json.Marshal(port.Profile); err != nil || len(raw) > maxProfile {
		return fault.InvalidInput("binding:profile value too large")
	}
	return nil
}

// mergeDHCPOpts applies the options of a request to those that a port has: a new value replaces, none removes, and
// what is not named stays.
func mergeDHCPOpts(have, asked []model.DHCPOpt) []model.DHCPOpt {
	type option struct {
		name    string
		version int
	}
	out, at, gone := append([]model.DHCPOpt{}, have...), map[option]int{}, map[option]bool{}
	for i, h := range out {
		at[option{h.Name, h.IPVersion}] = i
	}
	for _, a := range asked {
		k := option{a.Name, a.IPVersion}
		i, there := at[k]
		gone[k] = a.Value == nil
		switch {
		case !there:
			at[k], out = len(out), append(out, a)
		case a.Value != nil:
			out[i] = a
		}
	}
	return slices.DeleteFunc(out, func(o model.DHCPOpt) bool { return gone[option{o.Name, o.IPVersion}] })
}
