// Package firewall filters the ports of a host: anti-spoofing and security groups, as nftables tables of our own.
//
// What a frame passes is drawn in chains.go. Everything that belongs to one port is an element of a shared set or map,
// the rules of a group are one chain per direction, and members of a remote group are elements of one set: so a new
// port, a changed group or a new member costs the same however many other ports there are.
package firewall

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
)

// Pair is a source address that a port may use. A prefix of a single address is an address.
type Pair struct {
	MAC    string
	Prefix netip.Prefix
}

// ManyMembers is how many members of a group are many: so many that it is worth telling the server that they are known.
const ManyMembers = 50

// Mode says what happens to the frames of a port.
type Mode int

const (
	// Closed ports can neither send nor receive: nothing is known of them yet.
	Closed Mode = iota
	// Filtered ports obey their security groups.
	Filtered
	// Open ports are not filtered: services, port_security_enabled=false, uplinks.
	Open
)

// Port is a port of one of our bridges.
type Port struct {
	Device string
	Bridge string // gives the conntrack zone: addresses of different networks may overlap
	Mode   Mode

	// Of Filtered ports:
	MAC        string
	Pairs      []Pair   // fixed addresses and allowed address pairs
	AnyAddress bool     // may use every address with its MAC: upstream's reading of a port without fixed addresses
	Groups     []string // security group ids
	Stateless  bool     // not tracked: rules must allow both directions
}

// profile is the name of the chains for a combination of groups: ports with the same groups share them.
func (p *Port) profile() string {
	groups := slices.Clone(p.Groups)
	slices.Sort(groups)
	sum := sha256.Sum256([]byte(strings.Join(groups, " ")))
	return "groups-" + hex.EncodeToString(sum[:8])
}

// macs are all MAC addresses that the port may send from.
func (p *Port) macs() []string {
	all := []string{p.MAC}
	for _, pair := range p.Pairs {
		if !slices.Contains(all, pair.MAC) {
			all = append(all, pair.MAC)
		}
	}
	return all
}

// hasV6 tells whether the port may use IPv6 with the MAC. Then it may use the link-local address of the MAC as well.
func (p *Port) hasV6(mac string) bool {
	return slices.ContainsFunc(p.Pairs, func(x Pair) bool { return x.MAC == mac && x.Prefix.Addr().Is6() })
}

// linkLocal is the address that EUI-64 makes of a MAC (RFC 4291, appendix A).
func linkLocal(mac string) (netip.Addr, bool) {
	b, err := hex.DecodeString(strings.ReplaceAll(mac, ":", ""))
	if err != nil || len(b) != 6 {
		return netip.Addr{}, false
	}
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: b[0] ^ 2, 9: b[1], 10: b[2], 11: 0xff, 12: 0xfe,
		13: b[3], 14: b[4], 15: b[5]}), true
}
