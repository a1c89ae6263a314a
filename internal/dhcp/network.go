// Package dhcp answers DHCPv4 (RFC 2131) and DHCPv6 (RFC 8415) for networks whose addresses are assigned elsewhere.
//
// A Network says which port has which addresses and options. Replies follow from it and the packet alone, so that there is no lease database, nothing to restore after a restart, and any number of servers may serve
// one network. A Server speaks for one Network inside one network namespace.
//
// Options are those that upstream Neutron's dnsmasq gives, with dnsmasq's rules of who gets which: a client that sends
// a list of wanted options gets those only, besides the few that are always sent.
package dhcp

import (
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
)

// MAC is an Ethernet address that can be a map key.
type MAC [6]byte

// ParseMAC reads the usual notations of an Ethernet address.
func ParseMAC(s string) (MAC, error) {
	hw, err := net.ParseMAC(s)
	if err != nil {
		return MAC{}, err
	}
	m, ok := macOf(hw)
	if !ok {
		return MAC{}, &net.AddrError{Err: "not an Ethernet address", Addr: s}
	}
	return m, nil
}

func macOf(hw net.HardwareAddr) (m MAC, ok bool) {
	return m, copy(m[:], hw) == len(m) && len(hw) == len(m)
}

func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// Settings are the same for all clients of a network.
type Settings struct {
	MAC       MAC           // of the server's own port; its DUID follows from it
	MTU       int           // 0: not announced
	Domain    string        // of all hosts, as dnsmasq has it; may be empty
	Lease     time.Duration // negative: infinite
	Renewal   time.Duration // T1; 0: half of Lease
	Rebinding time.Duration // T2; 0: 7/8 of Lease
	Broadcast bool          // always broadcast DHCPv4 replies
	Subnets   []Subnet      // those with DHCP
	Options4  []Option      // for all clients, where neither subnet nor port say otherwise
	Options6  []Option
}

// Subnet is what clients of a subnet are told.
type Subnet struct {
	ID        string
	Prefix    netip.Prefix
	Server    netip.Addr // our address; the zero Addr in a subnet that is only reached through relays
	Stateless bool       // IPv6: options only, addresses come from router advertisements
	Gateway   netip.Addr // IPv4 default router; may be the zero Addr
	DNS       []netip.Addr
	Routes    []Route // classless static routes (RFC 3442), in this order
}

// Route is a destination and the router to it; router 0.0.0.0 means on the link.
type Route struct {
	Destination netip.Prefix
	Router      netip.Addr
}

// Host is a port that is served.
type Host struct {
	MAC      MAC
	ClientID []byte // if set, a client with this identifier is the host too
	Addrs    []Assignment
	Options4 []Option // override what the subnet says
	Options6 []Option
}

// Assignment is an address of a host.
type Assignment struct {
	Addr     netip.Addr
	SubnetID string
	Name     string // host name without domain
}

// Network is all that a Server must know. Its settings do not change once made; its hosts may come and go.
type Network struct {
	Settings
	*Hosts
}

// NewNetwork makes a Network that serves hosts.
func NewNetwork(s Settings, hosts *Hosts) *Network { return &Network{s, hosts} }

func (n *Network) subnet(id string) *Subnet {
	for i := range n.Subnets {
		if n.Subnets[i].ID == id {
			return &n.Subnets[i]
		}
	}
	return nil
}

// lease is an address that a client may have, with its subnet. Without a valid address it stands for options only.
type lease struct {
	Assignment
	*Subnet
}

// leases lists the addresses of one family that the host may have on the link. The zero link is the server's own; a
// relay names another by an address in it.
func (n *Network) leases(h *Host, is4 bool, link netip.Addr) []lease {
	var out []lease
	for _, a := range h.Addrs {
		s := n.subnet(a.SubnetID)
		if s != nil && !s.Stateless && a.Addr.Is4() == is4 && s.on(link) {
			out = append(out, lease{a, s})
		}
	}
	return out
}

func (s *Subnet) on(link netip.Addr) bool {
	if !link.IsValid() || link.IsUnspecified() {
		return s.Server.IsValid()
	}
	return s.Prefix.Contains(link)
}

// hasFamily tells whether a subnet of the family is served.
func (n *Network) hasFamily(is4 bool) bool {
	for _, s := range n.Subnets {
		if s.Prefix.Addr().Is4() == is4 {
			return true
		}
	}
	return false
}

// address is the server's own address of the family for clients of subnet s.
func (n *Network) address(s *Subnet, is4 bool) netip.Addr {
	if s != nil && s.Server.IsValid() {
		return s.Server
	}
	for _, s := range n.Subnets {
		if s.Server.IsValid() && s.Server.Is4() == is4 {
			return s.Server
		}
	}
	return netip.Addr{}
}

func (s *Subnet) servers() []netip.Addr {
	var out []netip.Addr
	for _, a := range s.DNS {
		if a.Is4() == s.Prefix.Addr().Is4() {
			out = append(out, a)
		}
	}
	return out
}

// infinite is the lifetime that never ends, in both protocols.
const infinite = time.Duration(0xffffffff) * time.Second

// times returns lease time, T1 and T2.
func (n *Network) times() (lease, t1, t2 time.Duration) {
	if n.Lease < 0 {
		return infinite, infinite, infinite
	}
	t1, t2 = n.Lease/2, n.Lease*7/8
	if n.Renewal > 0 {
		t1 = min(n.Renewal, n.Lease)
	}
	if n.Rebinding > 0 {
		t2 = min(n.Rebinding, n.Lease)
	}
	return n.Lease, min(t1, t2), t2
}

func (n *Network) duid() dhcpv6.DUID {
	return &dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: n.MAC[:]}
}
