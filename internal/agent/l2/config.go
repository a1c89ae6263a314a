// Package l2 is the agent that wires the ports of a host: it finds the devices of instances and services, asks the
// server what they are, and keeps bridges, tunnels, forwarding entries and filters as they should be.
package l2

import (
	"net/netip"
	"time"

	"neutrino/internal/agent/l2/linuxbridge"
	"neutrino/internal/agent/l2/openvswitch"
)

// Config says what the agent must know of its host. Zero values mean the defaults.
type Config struct {
	Host string // as the server knows it

	// PhysicalInterfaceMappings are interfaces, BridgeMappings existing bridges, by physical network.
	PhysicalInterfaceMappings map[string]string
	BridgeMappings            map[string]string

	// OpenVSwitch makes the agent use Open vSwitch instead of Linux bridges.
	OpenVSwitch *openvswitch.Config

	LocalIP             netip.Addr // tunnel endpoint; invalid: no tunnel networks
	UDPPort             int        // of VXLAN; default 4789
	Tunnels             linuxbridge.Tunnels
	DisableL2Population bool          // learn addresses from traffic, and flood to all endpoints
	DisableFirewall     bool          // no anti-spoofing, no security groups
	PermittedEthertypes []uint16      // that filtered ports may use beside IP and ARP
	ReportInterval      time.Duration // default 30 s
	Coalesce            time.Duration // least time between two passes: what arrives meanwhile is done together; default 5 ms
	VerifyInterval      time.Duration // within this time the kernel is compared although nothing happened; default 60 s
	// StaleAfter is how long forwarding entries that were there before are kept after a resync although the server has
	// not repeated them yet; default 10 s.
	StaleAfter time.Duration
}

func (c Config) withDefaults() Config {
	setDefault(&c.UDPPort, 4789)
	setDefault(&c.ReportInterval, 30*time.Second)
	setDefault(&c.Coalesce, 5*time.Millisecond)
	setDefault(&c.VerifyInterval, time.Minute)
	setDefault(&c.StaleAfter, 10*time.Second)
	return c
}

// idPrefix is how upstream's agents begin their names.
func (c Config) idPrefix() string {
	if c.OpenVSwitch != nil {
		return "ovs-agent-"
	}
	return "lb-agent-"
}

func setDefault[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}
