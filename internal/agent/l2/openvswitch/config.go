// Package openvswitch wires networks with Open vSwitch: ports are plugged into the integration bridge, which has a VLAN of
// its own for each network of the host; tunnels are in the tunnel bridge, physical networks in bridges of the operator.
// Names, tables, priorities and what is noted of ports are upstream's (neutron/plugins/ml2/drivers/openvswitch/agent and
// neutron/agent/linux/openvswitch_firewall), so that its tools understand what they see.
package openvswitch

import "net/netip"

// Config is what the driver must know of the host.
type Config struct {
	Endpoint          string            // of the database, such as unix:/run/openvswitch/db.sock
	RunDir            string            // where bridges have their sockets
	IntegrationBridge string            // default br-int
	TunnelBridge      string            // default br-tun
	PatchToTunnels    string            // the integration bridge's port to the tunnel bridge; default patch-tun
	PatchFromTunnels  string            // its peer; default patch-int
	DatapathType      string            // system or netdev; default system
	TunnelTypes       []string          // vxlan, gre, geneve
	VXLANPort         int               // default 4789
	SkipFragment      bool              // outer packets may be fragmented
	TunnelChecksum    bool              // outer packets have UDP checksums
	ARPResponder      bool              // answer for addresses of which the server told
	VHostSocketDir    string            // default /var/run/openvswitch
	BridgeMappings    map[string]string // physical network → bridge
	LocalIP           netip.Addr        // tunnel endpoint; invalid: no tunnels
	L2Population      bool
	Unfiltered        bool // no firewall

	PermittedEthertypes []uint16 // that filtered ports may use beside IP and ARP
}

func (c Config) withDefaults() Config {
	for _, x := range []struct {
		field *string
		value string
	}{
		{&c.Endpoint, "unix:/var/run/openvswitch/db.sock"}, {&c.RunDir, "/var/run/openvswitch"}, {&c.IntegrationBridge, "br-int"},
		{&c.TunnelBridge, "br-tun"}, {&c.PatchToTunnels, "patch-tun"}, {&c.PatchFromTunnels, "patch-int"}, {&c.DatapathType, "system"},
		{&c.VHostSocketDir, "/var/run/openvswitch"},
	} {
		if *x.field == "" {
			*x.field = x.value
		}
	}
	if c.VXLANPort == 0 {
		c.VXLANPort = 4789
	}
	return c
}

// Tables of the integration bridge (neutron_lib/plugins/ml2/ovs_constants.py).
const (
	tableLocal         = 0
	tableCanary        = 23 // has one flow by which a restarted ovs-vswitchd is told from one that has our flows
	tableTransient     = 60
	tableBaseEgress    = 71
	tableRulesEgress   = 72
	tableAcceptOrLocal = 73 // what left a port: to another one here, or on
	tableBaseIngress   = 81
	tableRulesIngress  = 82
	tableAcceptedAgain = 83 // what rules let in of established connections; not upstream's
	tableAcceptedOut   = 91
	tableAcceptedIn    = 92
	tableDropped       = 93
	tableNormal        = 94
)

// Tables of the tunnel bridge.
const (
	tableFromLocal = 2
	tableLearn     = 10
	tableUnicast   = 20
	tableARP       = 21
	tableFlood     = 22
)

var tunnelTables = map[string]int{"gre": 3, "vxlan": 4, "geneve": 6}

// deadVLAN is the tag of ports that are not to be reached.
const deadVLAN = 4095

// Tables that upstream's agents use, in the integration bridge, in the tunnel bridge and in those of physical networks. In
// these, flows that are not ours are removed, as its agent does.
var (
	integrationTables = []int{0, 1, 2, 23, 24, 25, 30, 31, 58, 59, 60, 61, 62, 71, 72, 73, 77, 78, 81, 82, 91, 92, 93, 94}
	tunnelAllTables   = []int{0, 1, 2, 3, 4, 6, 9, 10, 20, 21, 22}
	physicalTables    = []int{0, 1, 2, 3, 80, 87, 90, 91}
)
