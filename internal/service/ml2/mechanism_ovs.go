package ml2

import (
	"fmt"
	"path"
	"slices"

	"neutrino/internal/model"

	"github.com/google/uuid"
)

// The driver for Open vSwitch (neutron/plugins/ml2/drivers/openvswitch/mech_driver).

// ovsVNICTypes are the binding:vnic_type values that it takes, unless the configuration prohibits them.
var ovsVNICTypes = []string{vnicNormal, vnicDirect, vnicSmartNIC, "vdpa"}

// ovsProviders is the namespace of its agents' resource providers.
var ovsProviders = uuid.MustParse("87ee7d5c-73bb-11e8-9008-c4d987b2a692")

// ovsMechanism refuses direct ports unless the card forwards as Open vSwitch tells it.
type ovsMechanism struct{ agentMechanism }

func openvswitch(cfg Config) Mechanism {
	return &ovsMechanism{agentMechanism{name: "openvswitch", agentType: "Open vSwitch agent", mappings: []string{"bridge_mappings"},
		vnicTypes: slices.DeleteFunc(slices.Clone(ovsVNICTypes), func(t string) bool { return contains(cfg.OVSProhibitedVNICTypes, t) }),
		vif:       func(p *model.Port, a *model.Agent) (string, model.Dict) { return ovsVIF(cfg, p, a) },
		follows:   ovsVIFType, providers: ovsProviders}}
}

// checkProhibited refuses vnic_type_prohibit_list as upstream does at start.
func checkProhibited(prohibited []string) error {
	for _, t := range prohibited {
		if !contains(ovsVNICTypes, t) {
			return fmt.Errorf("[ovs_driver] vnic_type_prohibit_list: the driver has no vnic_type %q but %v", t, ovsVNICTypes)
		}
	}
	if left := openvswitch(Config{OVSProhibitedVNICTypes: prohibited}).(*ovsMechanism).vnicTypes; len(left) == 0 {
		return fmt.Errorf("[ovs_driver] vnic_type_prohibit_list leaves no vnic_type")
	}
	return nil
}

func (m *ovsMechanism) Bind(port *model.Port, segments []model.Segment, agents []*model.Agent) (Bound, bool) {
	if port.VNICType == vnicDirect && !listed(port.Profile["capabilities"], "switchdev") {
		return Bound{}, false
	}
	return m.agentMechanism.Bind(port, segments, agents)
}

// Types of interfaces by which a virtual machine's memory is shared with Open vSwitch.
const (
	vhostUser       = "dpdkvhostuser"       // Open vSwitch has the socket
	vhostUserClient = "dpdkvhostuserclient" // the virtual machine has it
)

func ovsInterfaceTypes(a *model.Agent) any {
	caps, _ := a.Configurations["ovs_capabilities"].(map[string]any)
	return caps["iface_types"]
}

// ovsVIFType is how ports are plugged on the agent's host.
func ovsVIFType(a *model.Agent) string {
	if a.Configurations["datapath_type"] == "netdev" && listed(ovsInterfaceTypes(a), vhostUser, vhostUserClient) {
		return "vhostuser"
	}
	return "ovs"
}

// ovsVIF is binding:vif_type and binding:vif_details of a port on the agent's host.
func ovsVIF(cfg Config, port *model.Port, a *model.Agent) (string, model.Dict) {
	c := a.Configurations
	setting := func(name string, def any) any {
		if v, ok := c[name]; ok {
			return v
		}
		return def
	}
	datapath := setting("datapath_type", "system")
	vifType := "ovs"
	if port.VNICType != vnicDirect {
		vifType = ovsVIFType(a)
	}
	var details model.Dict
	if vifType == "vhostuser" {
		mode := "client"
		if listed(ovsInterfaceTypes(a), vhostUserClient) {
			mode = "server"
		}
		directory, _ := setting("vhostuser_socket_dir", "/var/run/openvswitch").(string)
		socket := ("vhu" + port.ID)[:14]
		if directory != "" {
			socket = path.Join(directory, socket)
		}
		details = model.Dict{"port_filter": false, "ovs_hybrid_plug": false, "vhostuser_mode": mode, "vhostuser_ovs_plug": true,
			"vhostuser_socket": socket}
	} else {
		hybrid := c["ovs_hybrid_plug"]
		details = model.Dict{"port_filter": !cfg.NoSecurityGroups, "connectivity": "l2", "ovs_hybrid_plug": hybrid}
		if !cfg.OVSKeepTap && datapath == "system" && port.VNICType != vnicDirect && (hybrid == nil || hybrid == false) {
			details["ovs_create_tap"] = true
		}
	}
	details["datapath_type"] = datapath
	if bridge, _ := c["integration_bridge"].(string); bridge != "" {
		details["bridge_name"] = bridge
	}
	return vifType, details
}
