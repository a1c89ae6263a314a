package ml2

import "time"

// Config are the options of neutron.conf and ml2_conf.ini that the plug-in needs.
type Config struct {
	TypeDrivers         []string       // network types that exist; default all
	TenantNetworkTypes  []string       // types of networks without provider attributes, in order of preference; default local
	ExternalNetworkType string         // type of external networks without provider attributes; "" as others
	MechanismDrivers    []string       // in the order in which they try to bind a port
	FlatNetworks        []string       // physical networks that may carry a flat one; "*" any; default "*"
	VLANRanges          []SegmentRange // physical networks with VLANs; a zero Range means all VLANs
	VNIRanges           []Range        // VXLAN
	GREIDRanges         []Range        // keys of GRE tunnels
	GeneveVNIRanges     []Range        // Geneve
	GeneveHeaderSize    int            // bytes of its encapsulation, options included; default 30
	StoredRanges        bool           // ids come from the table network_segment_ranges, which has the configured ones as defaults
	PathMTU             int            // of the network under the overlays; 0: unknown
	GlobalPhysnetMTU    int            // default 1500
	PhysicalNetworkMTUs map[string]int // where it differs
	OverlayIPVersion    int            // default 4
	BaseMAC             string         // first three octets, and the fourth unless it is 00; default fa:16:3e:00:00:00
	Mechanisms          []Mechanism    // more drivers that MechanismDrivers may name
	AgentDownTime       time.Duration  // an agent silent for longer is dead; default 75 s

	NoSecurityGroups       bool     // nothing filters ports
	OVSProhibitedVNICTypes []string // binding:vnic_type values that the driver openvswitch must not bind
	OVSKeepTap             bool     // Nova must not make the tap devices of ports on kernel datapaths

	DNSDomain   string // of the names of ports; "" none
	TagNewPorts bool   // new ports get the tags of their request; otherwise these are ignored

	MaxDNSNameservers      int // of a subnet, default 5
	MaxSubnetHostRoutes    int // default 20
	MaxAllowedAddressPairs int // of a port, default 10
}

// Range is a range of segmentation ids; both ends belong to it.
type Range struct{ Min, Max int }

// SegmentRange is a range of segmentation ids on a physical network; tunnels have none, "".
type SegmentRange struct {
	PhysicalNetwork string
	Range
}

func (c Config) withDefaults() Config {
	orList := func(v *[]string, def ...string) {
		if *v == nil {
			*v = def
		}
	}
	orInt := func(v *int, def int) {
		if *v == 0 {
			*v = def
		}
	}
	orList(&c.TypeDrivers, "local", "flat", "vlan", "gre", "vxlan", "geneve")
	orList(&c.TenantNetworkTypes, "local")
	orList(&c.FlatNetworks, "*")
	orInt(&c.GlobalPhysnetMTU, 1500)
	orInt(&c.OverlayIPVersion, 4)
	orInt(&c.GeneveHeaderSize, geneveOverhead)
	orInt(&c.MaxDNSNameservers, 5)
	orInt(&c.MaxSubnetHostRoutes, 20)
	orInt(&c.MaxAllowedAddressPairs, 10)
	if c.BaseMAC == "" {
		c.BaseMAC = "fa:16:3e:00:00:00"
	}
	if c.AgentDownTime == 0 {
		c.AgentDownTime = 75 * time.Second
	}
	return c
}
