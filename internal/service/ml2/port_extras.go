package ml2

import (
	"slices"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/resource"
)

// vnicDirectPhysical is a network card that a virtual machine has for itself: its MAC address is the card's own.
const vnicDirectPhysical = "direct-physical"

// extraNew completes the extension drivers' attributes of a new port.
func (p *Plugin) extraNew(port *model.Port) {
	if !p.cfg.TagNewPorts {
		port.Tags = nil
	}
	dropHints(port)
	if port.OffloadType == nil {
		return
	}
	if port.Profile == nil {
		port.Profile = model.Dict{}
	}
	capabilities, _ := port.Profile["capabilities"].([]any)
	if !slices.Contains(capabilities, any(*port.OffloadType)) {
		port.Profile["capabilities"] = append(capabilities, *port.OffloadType)
	}
}

// dropHints makes empty hints none, which is what they count as.
func dropHints(port *model.Port) {
	if len(port.Hints) == 0 {
		port.Hints = nil
	}
}

// checkExtras refuses to change how the memory of a running machine is placed.
func checkExtras(c *resource.Change[model.Port]) error {
	if !c.Has("numa_affinity_policy") || unplugged(c.Old) {
		return nil
	}
	policy := "None"
	if c.New.NUMAPolicy != nil {
		policy = *c.New.NUMAPolicy
	}
	return fault.Conflict("PortBoundNUMAAffinityPolicy", "Unable to complete operation on port %s, port is already bound to host %s, "+
		"numa_affinity_policy value given %s.", c.Old.ID, c.Old.HostID, policy)
}

// adoptMAC gives a port that is bound to a physical network card the card's address, which Nova puts into the profile
// (extension port-mac-override). Without one the port gets a new address, so that another may be bound to the card.
func (p *Plugin) adoptMAC(port *model.Port) {
	if port.VNICType != vnicDirectPhysical || unplugged(port) {
		return
	}
	if mac, ok := port.Profile["device_mac_address"].(string); ok && mac != "" {
		port.MACAddress = mac
		return
	}
	port.MACAddress = p.randomMAC()
}

// leavesCard tells whether an update takes the port away from the machine that used a physical network card.
func leavesCard(old, now *model.Port) bool {
	return old.VNICType == vnicDirectPhysical && old.DeviceID != "" && now.DeviceID == "" && now.DeviceOwner == ""
}
