package dhcp

import (
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
)

// Client6 is what is known of the sender of a DHCPv6 message besides the message.
type Client6 struct {
	MAC  MAC        // the zero MAC if it could not be found out
	Link netip.Addr // an address of the client's link if a relay named one
}

// Reply6 returns the answer to a DHCPv6 message (without its relay envelopes), or nil if there is none.
//
// Only ports of the network get addresses. Information without addresses is for anybody on the link.
func (n *Network) Reply6(req *dhcpv6.Message, from Client6) *dhcpv6.Message {
	if !n.concerns(req) {
		return nil
	}
	host := n.find(clientID6(req), from.MAC)
	if req.MessageType == dhcpv6.MessageTypeInformationRequest {
		return n.inform6(req, host, from)
	}
	if host == nil {
		return nil
	}
	leases := n.leases(host, false, from.Link)
	switch req.MessageType {
	case dhcpv6.MessageTypeSolicit:
		t := dhcpv6.MessageTypeAdvertise
		if req.GetOneOption(dhcpv6.OptionRapidCommit) != nil {
			t = dhcpv6.MessageTypeReply
		}
		return n.assign6(req, t, host, leases, from)
	case dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRenew, dhcpv6.MessageTypeRebind:
		return n.assign6(req, dhcpv6.MessageTypeReply, host, leases, from)
	case dhcpv6.MessageTypeConfirm:
		return n.confirm6(req, from)
	case dhcpv6.MessageTypeRelease, dhcpv6.MessageTypeDecline: // the address stays the port's
		reply := n.answer6(req, dhcpv6.MessageTypeReply)
		reply.AddOption(status6(iana.StatusSuccess, "done"))
		return reply
	default:
		return nil
	}
}

// concerns applies the rules of RFC 8415 section 16 about client and server identifiers.
func (n *Network) concerns(req *dhcpv6.Message) bool {
	server := req.Options.ServerID()
	if server != nil && !server.Equal(n.duid()) {
		return false
	}
	switch req.MessageType {
	case dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRenew, dhcpv6.MessageTypeRelease, dhcpv6.MessageTypeDecline:
		return server != nil && req.Options.ClientID() != nil
	case dhcpv6.MessageTypeSolicit, dhcpv6.MessageTypeConfirm, dhcpv6.MessageTypeRebind:
		return server == nil && req.Options.ClientID() != nil
	default:
		return true
	}
}

func clientID6(req *dhcpv6.Message) []byte {
	if id := req.Options.ClientID(); id != nil {
		return id.ToBytes()
	}
	return nil
}

func (n *Network) answer6(req *dhcpv6.Message, t dhcpv6.MessageType) *dhcpv6.Message {
	reply := &dhcpv6.Message{MessageType: t, TransactionID: req.TransactionID}
	if id := req.Options.ClientID(); id != nil {
		reply.AddOption(dhcpv6.OptClientID(id))
	}
	reply.AddOption(dhcpv6.OptServerID(n.duid()))
	return reply
}

func status6(code iana.StatusCode, message string) *dhcpv6.OptStatusCode {
	return &dhcpv6.OptStatusCode{StatusCode: code, StatusMessage: message}
}

// assign6 answers all identity associations of a message. A port has one set of addresses: the first IA_NA gets it.
func (n *Network) assign6(req *dhcpv6.Message, t dhcpv6.MessageType, host *Host, leases []lease, from Client6) *dhcpv6.Message {
	reply := n.answer6(req, t)
	if t == dhcpv6.MessageTypeReply && req.MessageType == dhcpv6.MessageTypeSolicit {
		reply.AddOption(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionRapidCommit})
	}
	if len(leases) > 0 && (req.MessageType == dhcpv6.MessageTypeSolicit || req.MessageType == dhcpv6.MessageTypeRequest) {
		reply.AddOption(status6(iana.StatusSuccess, "success"))
	}
	left := leases
	for _, ia := range req.Options.IANA() {
		reply.AddOption(n.identity6(req, ia, left))
		left = nil
	}
	for _, ta := range req.Options.IATA() {
		reply.AddOption(&dhcpv6.OptIATA{IaId: ta.IaId, Options: dhcpv6.IdentityOptions{Options: dhcpv6.Options{
			status6(iana.StatusNoAddrsAvail, "no temporary addresses")}}})
	}
	for _, pd := range req.Options.IAPD() {
		reply.AddOption(&dhcpv6.OptIAPD{IaId: pd.IaId, Options: dhcpv6.PDOptions{Options: dhcpv6.Options{
			status6(iana.StatusNoPrefixAvail, "no prefixes")}}})
	}
	n.options6(req, reply, host, n.context6(host, leases, from))
	return reply
}

// identity6 grants the leases. Addresses that the client holds and that are not its own get lifetimes of zero, so that
// it drops them (RFC 8415 section 18.3.4).
func (n *Network) identity6(req *dhcpv6.Message, asked *dhcpv6.OptIANA, leases []lease) *dhcpv6.OptIANA {
	life, t1, t2 := n.times()
	ia := &dhcpv6.OptIANA{IaId: asked.IaId, T1: t1, T2: t2}
	for _, l := range leases {
		ia.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: l.Addr.AsSlice(), PreferredLifetime: life, ValidLifetime: life})
	}
	if req.MessageType != dhcpv6.MessageTypeSolicit {
		for _, old := range asked.Options.Addresses() {
			a, _ := netip.AddrFromSlice(old.IPv6Addr)
			if !slices.ContainsFunc(leases, func(l lease) bool { return l.Addr == a }) {
				ia.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: old.IPv6Addr})
			}
		}
	}
	if len(leases) == 0 {
		ia.T1, ia.T2 = 0, 0
		ia.Options.Add(status6(iana.StatusNoAddrsAvail, "no addresses available"))
	}
	return ia
}

// confirm6 tells whether the client's addresses fit the link (RFC 8415 section 18.3.3).
func (n *Network) confirm6(req *dhcpv6.Message, from Client6) *dhcpv6.Message {
	asked, fits := false, true
	for _, ia := range req.Options.IANA() {
		for _, o := range ia.Options.Addresses() {
			a, _ := netip.AddrFromSlice(o.IPv6Addr)
			asked = true
			fits = fits && slices.ContainsFunc(n.Subnets, func(s Subnet) bool { return s.Prefix.Contains(a) && s.on(from.Link) })
		}
	}
	if !asked {
		return nil
	}
	reply := n.answer6(req, dhcpv6.MessageTypeReply)
	if fits {
		reply.AddOption(status6(iana.StatusSuccess, "all addresses are on the link"))
	} else {
		reply.AddOption(status6(iana.StatusNotOnLink, "an address is not on the link"))
	}
	return reply
}

func (n *Network) inform6(req *dhcpv6.Message, host *Host, from Client6) *dhcpv6.Message {
	if len(req.Options.IANA())+len(req.Options.IATA())+len(req.Options.IAPD()) > 0 {
		return nil // RFC 8415 section 16.12
	}
	l := n.context6(host, nil, from)
	if l.Subnet == nil {
		return nil
	}
	reply := n.answer6(req, dhcpv6.MessageTypeReply)
	n.options6(req, reply, host, l)
	return reply
}

// context6 is the lease whose subnet's options count: the first one granted, else the first of the host's subnets,
// else the first one of the link.
func (n *Network) context6(host *Host, leases []lease, from Client6) lease {
	if len(leases) > 0 {
		return leases[0]
	}
	if host != nil {
		for _, a := range host.Addrs {
			if s := n.subnet(a.SubnetID); s != nil && a.Addr.Is6() && s.on(from.Link) {
				return lease{a, s}
			}
		}
	}
	for i := range n.Subnets {
		if s := &n.Subnets[i]; s.Prefix.Addr().Is6() && s.on(from.Link) {
			return lease{Subnet: s}
		}
	}
	return lease{}
}

// options6 adds what the client asked for: the subnet's values, then the port's own in place of them.
func (n *Network) options6(req, reply *dhcpv6.Message, host *Host, l lease) {
	values, forced := map[dhcpv6.OptionCode][]byte{}, map[dhcpv6.OptionCode]bool{}
	for _, o := range n.Options6 {
		if o.appliesTo(tags6(req)) {
			values[dhcpv6.OptionCode(o.Code)], forced[dhcpv6.OptionCode(o.Code)] = o.Data, o.Force
		}
	}
	if l.Subnet != nil {
		if servers := l.Subnet.servers(); len(servers) > 0 {
			values[dhcpv6.OptionDNSRecursiveNameServer] = addresses(servers)
		}
		if search, err := encodeNames([]string{n.Domain}); err == nil && n.Domain != "" {
			values[dhcpv6.OptionDomainSearchList] = search
		}
	}
	if req.MessageType == dhcpv6.MessageTypeInformationRequest {
		life, _, _ := n.times()
		values[dhcpv6.OptionInformationRefreshTime] = seconds32(life)
	}
	if host != nil {
		for _, o := range host.Options6 {
			if o.appliesTo(tags6(req)) {
				values[dhcpv6.OptionCode(o.Code)] = o.Data
			}
		}
	}
	wanted := req.Options.RequestedOptions()
	for _, code := range sortedCodes(values) {
		if data := values[code]; len(data) > 0 && (len(wanted) == 0 || forced[code] || slices.Contains(wanted, code)) {
			reply.AddOption(&dhcpv6.OptionGeneric{OptionCode: code, OptionData: data})
		}
	}
	if o := n.fqdn6(req, l); o != nil {
		reply.AddOption(o)
	}
}

func seconds32(d time.Duration) []byte {
	s := uint32(d / time.Second)
	return []byte{byte(s >> 24), byte(s >> 16), byte(s >> 8), byte(s)}
}

func sortedCodes(values map[dhcpv6.OptionCode][]byte) []dhcpv6.OptionCode {
	codes := make([]dhcpv6.OptionCode, 0, len(values))
	for c := range values {
		codes = append(codes, c)
	}
	slices.Sort(codes)
	return codes
}

// tags6 are the tags that upstream has dnsmasq set: "ipxe6" for clients whose user class says iPXE.
func tags6(req *dhcpv6.Message) map[string]bool {
	ipxe := slices.ContainsFunc(req.Options.UserClasses(), func(c []byte) bool { return string(c) == "iPXE" })
	return map[string]bool{"ipxe6": ipxe}
}

// fqdn6 answers a Client FQDN option (RFC 4704) with the host's name; the server claims the DNS updates.
func (n *Network) fqdn6(req *dhcpv6.Message, l lease) dhcpv6.Option {
	const serverUpdates, override = 1, 2
	if l.Name == "" || len(l.Name) > 63 {
		return nil
	}
	asked := req.Options.FQDN()
	if asked == nil && req.MessageType == dhcpv6.MessageTypeSolicit { // told nevertheless, as dnsmasq does: the bare name, which has no end
		return &dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionFQDN, OptionData: append([]byte{serverUpdates, byte(len(l.Name))}, l.Name...)}
	}
	full := l.Name
	if n.Domain != "" {
		full += "." + n.Domain
	}
	wire, err := encodeNames([]string{full})
	if err != nil {
		return nil
	}
	flags := byte(serverUpdates)
	if asked != nil && asked.Flags&serverUpdates == 0 {
		flags |= override
	}
	return &dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionFQDN, OptionData: append([]byte{flags}, wire...)}
}
