// Package dns answers DNS questions on the address of a DHCP port, as upstream's dnsmasq does: names of the network's
// ports from a Zone, everything else from resolvers that are asked from within the network's namespace.
//
// Answers follow from the Zone and the question, and nothing is kept between questions.
package dns

import (
	"net/netip"
	"slices"
	"strings"

	wire "github.com/miekg/dns"
)

// Zone is what a Server answers from. It does not change once it is served, but for the names.
type Zone struct {
	Local     []netip.Prefix   // who may ask
	Names     *Names           // of ports
	Resolvers []netip.AddrPort // asked for the rest, in this order; none: the rest is refused
	Text      map[string][]string
}

// Equal tells whether both answer the same; o may be nil.
func (z *Zone) Equal(o *Zone) bool {
	return o != nil && slices.Equal(z.Local, o.Local) && z.Names == o.Names && slices.Equal(z.Resolvers, o.Resolvers)
}

// ttl of our own answers: names change with their ports, and asking again costs nothing (dnsmasq's --local-ttl).
const ttl = 0

// answer returns the reply to a question that concerns the zone, else nil.
func (z *Zone) answer(req *wire.Msg) *wire.Msg {
	q := req.Question[0]
	if q.Qclass != wire.ClassINET {
		return nil
	}
	name := wire.CanonicalName(q.Name)
	reply := new(wire.Msg).SetReply(req)
	reply.Authoritative, reply.RecursionAvailable = true, true
	header := wire.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: q.Qclass, Ttl: ttl}
	addrs, known := z.Names.addrsOf(name)
	switch {
	case known:
		for _, a := range addrs {
			switch {
			case a.Is4() && (q.Qtype == wire.TypeA || q.Qtype == wire.TypeANY):
				header.Rrtype = wire.TypeA
				reply.Answer = append(reply.Answer, &wire.A{Hdr: header, A: a.AsSlice()})
			case a.Is6() && (q.Qtype == wire.TypeAAAA || q.Qtype == wire.TypeANY):
				header.Rrtype = wire.TypeAAAA
				reply.Answer = append(reply.Answer, &wire.AAAA{Hdr: header, AAAA: a.AsSlice()})
			}
		}
		return reply
	case q.Qtype == wire.TypePTR:
		if full := z.Names.nameOf(addrOfReverse(name)); full != "" {
			reply.Answer = append(reply.Answer, &wire.PTR{Hdr: header, Ptr: full})
			return reply
		}
	case q.Qtype == wire.TypeTXT && z.Text[name] != nil:
		reply.Answer = append(reply.Answer, &wire.TXT{Hdr: header, Txt: z.Text[name]})
		return reply
	}
	return nil
}

// addrOfReverse reads a name below in-addr.arpa or ip6.arpa; the zero Addr if it is none.
func addrOfReverse(name string) netip.Addr {
	if rest, ok := strings.CutSuffix(name, ".in-addr.arpa."); ok {
		labels := strings.Split(rest, ".")
		slices.Reverse(labels)
		a, _ := netip.ParseAddr(strings.Join(labels, "."))
		return a
	}
	rest, ok := strings.CutSuffix(name, ".ip6.arpa.")
	labels := strings.Split(rest, ".")
	if !ok || len(labels) != 32 {
		return netip.Addr{}
	}
	slices.Reverse(labels)
	var text strings.Builder
	for i, digit := range labels {
		if i > 0 && i%4 == 0 {
			text.WriteByte(':')
		}
		text.WriteString(digit)
	}
	a, _ := netip.ParseAddr(text.String())
	return a
}

// allows tells whether the address may ask: upstream has dnsmasq answer its own links only.
func (z *Zone) allows(a netip.Addr) bool {
	return a.IsLoopback() || a.Is6() && a.IsLinkLocalUnicast() || slices.ContainsFunc(z.Local, func(p netip.Prefix) bool { return p.Contains(a) })
}
