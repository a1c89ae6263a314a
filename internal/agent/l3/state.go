package l3

import (
	"net"
	"net/netip"

	"neutrino/internal/ra"
)

// Prefixes of names, as upstream's (neutron/agent/l3/namespaces.py).
const (
	namespacePrefix = "qrouter-"
	internalPrefix  = "qr-"
	externalPrefix  = "qg-"
)

// metadataV6 is where instances find metadata on an IPv6 link (neutron_lib.constants.METADATA_V6_IP).
var metadataV6 = netip.MustParsePrefix("fe80::a9fe:a9fe/64")

// State is what one router looks like in the kernel. Everything in it is sorted: equal routers have equal States.
type State struct {
	ID         string
	Interfaces []Interface
	Routes     []Route
	NAT        NAT
}

// Interface is a port of the router.
type Interface struct {
	Name      string // qr-… or qg-…
	PortID    string
	Network   string
	MAC       net.HardwareAddr
	MTU       int            // 0: leave it as it is
	Addresses []netip.Prefix // with the link-local one
	External  bool
	AcceptRA  bool // learn the IPv6 gateway from router advertisements
	Advertise ra.Config
	Metadata  bool // instances find metadata at metadataV6 here
}

// Route is a route of the router; several Hops share the load.
type Route struct {
	Dst  netip.Prefix
	Hops []Hop
}

// Hop is a next hop; without Via the destination is on the link itself.
type Hop struct {
	Via netip.Addr
	Dev string
}

// NAT is the address translation of a router.
type NAT struct {
	Gateway      string     // the external interface; "" = none
	Source       netip.Addr // of translated connections; invalid = the gateway has no IPv4 address
	EnableSNAT   bool       // translate connections of addresses without floating IP
	MetadataPort int        // of the metadata proxy in the namespace; 0 = none
	FloatingIPs  []Pair     // by Floating
	SameScope    []string   // interfaces of the gateway's address scope, whose addresses go out as they are
	Scopes4      [][]string // interfaces by address scope; nil = all may talk to all
	Scopes6      [][]string
}

// Pair is a floating IP and the address behind it.
type Pair struct{ Floating, Fixed netip.Addr }

func namespaceOf(routerID string) string { return namespacePrefix + routerID }

// linkLocal is the address that IPv6 stacks derive from a MAC (modified EUI-64, RFC 4291 appendix A).
func linkLocal(mac net.HardwareAddr) netip.Prefix {
	a := [16]byte{0: 0xfe, 1: 0x80, 8: mac[0] ^ 2, 9: mac[1], 10: mac[2], 11: 0xff, 12: 0xfe, 13: mac[3], 14: mac[4], 15: mac[5]}
	return netip.PrefixFrom(netip.AddrFrom16(a), 64)
}
