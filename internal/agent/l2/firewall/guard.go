package firewall

import (
	"fmt"
	"math/big"
	"net/netip"
)

// element is one element of a set or map.
type element struct {
	object
	Key string
}

// portElements are the elements that belong to a port, with the value if it is a map's.
func portElements(p *Port) map[element]string {
	all := map[element]string{}
	add := func(o object, key, value string) { all[element{o, key}] = value }
	switch p.Mode {
	case Closed:
		add(mapGuard, p.Device, "drop")
		add(mapIngress, p.Device, "drop")
	case Open:
		add(setPorts, p.Device, "")
	case Filtered:
		add(setPorts, p.Device, "")
		add(mapGuard, p.Device, "jump guard")
		add(mapEgress, p.Device, "jump "+p.profile()+"-out")
		add(mapIngress, p.Device, "goto "+p.profile()+"-in")
		of := setTracked
		if p.Stateless {
			of = setStateless
			add(setLoose, p.Device, "")
		}
		for _, mac := range p.macs() {
			add(setMACs, p.Device+" . "+mac, "")
			add(of, p.Bridge+" . "+mac, "")
		}
		if len(wideChain(p).Rules) > 0 {
			add(mapWide, p.Device, "jump "+wideName(p.Device).Name)
		}
		addPairs(p, add)
	}
	return all
}

func addPairs(p *Port, add func(o object, key, value string)) {
	add6 := func(mac string, a netip.Addr) {
		add(setPairs6, fmt.Sprintf("%s . %s . %s", p.Device, mac, a), "")
		add(setTargets, fmt.Sprintf("%s . %s . %s", p.Device, mac, number(a)), "")
	}
	for _, pair := range p.Pairs {
		switch a := pair.Prefix.Addr(); {
		case !pair.Prefix.IsSingleIP():
		case a.Is4():
			add(setPairs4, fmt.Sprintf("%s . %s . %s", p.Device, pair.MAC, a), "")
		default:
			add6(pair.MAC, a)
		}
	}
	for _, mac := range p.macs() {
		if a, ok := linkLocal(mac); ok && p.hasV6(mac) {
			add6(mac, a)
		}
	}
}

// number is how nft lists an address that it knows only as 128 bits.
func number(a netip.Addr) string { return fmt.Sprintf("%#x", new(big.Int).SetBytes(a.AsSlice())) }

func wideName(device string) object { return inBridge("wide-" + device) }

// wideChain checks what cannot be an element of an exact set: prefixes in address pairs, and ports that may use any
// address. guard has checked the MAC addresses, guard_arp and guard_advert sent the rest here.
func wideChain(p *Port) chain {
	var c chain
	if p.AnyAddress {
		c.Rules = append(c.Rules, fmt.Sprintf("ether saddr %s accept", p.MAC))
	}
	advert := false
	for _, pair := range p.Pairs {
		if pair.Prefix.IsSingleIP() {
			continue
		}
		frame := "ether saddr " + pair.MAC
		if pair.Prefix.Addr().Is4() {
			c.Rules = append(c.Rules, frame+" ether type ip"+within(" ip saddr ", pair.Prefix)+" accept",
				frame+" arp saddr ether "+pair.MAC+within(" arp saddr ip ", pair.Prefix)+" accept")
			continue
		}
		advert = true
		c.Rules = append(c.Rules, frame+" icmpv6 type nd-neighbor-advert"+target(pair.Prefix)+" accept")
	}
	if advert {
		c.Rules = append(c.Rules, "icmpv6 type nd-neighbor-advert drop")
	}
	for _, pair := range p.Pairs {
		if !pair.Prefix.IsSingleIP() && pair.Prefix.Addr().Is6() {
			c.Rules = append(c.Rules, "ether saddr "+pair.MAC+" ether type ip6"+within(" ip6 saddr ", pair.Prefix)+" accept")
		}
	}
	return c
}

func within(field string, p netip.Prefix) string {
	if p.Bits() == 0 {
		return ""
	}
	return field + prefixText(p)
}

// target matches the first bits of the target address, which follows the first eight bytes (RFC 4861, 4.4).
func target(p netip.Prefix) string {
	if p.Bits() == 0 {
		return ""
	}
	n := new(big.Int).SetBytes(p.Addr().AsSlice())
	return fmt.Sprintf(" @th,64,%d %#x", p.Bits(), n.Rsh(n, uint(128-p.Bits())))
}
