package dhcp

import (
	"cmp"
	"maps"
	"net"
	"net/netip"
	"slices"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
)

// Reply4 returns the answer to a DHCPv4 request, or nil if there is none. It does not keep req.
//
// Clients that are not ports of the network get no answer at all, so that a server of somebody else may have them. A
// known client that asks for an address that is not its own is refused (DHCPNAK) and starts again.
func (n *Network) Reply4(req *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
	mac, ok := macOf(req.ClientHWAddr)
	if !ok || req.OpCode != dhcpv4.OpcodeBootRequest || req.HWType != iana.HWTypeEthernet {
		return nil
	}
	host := n.find(req.GetOneOption(dhcpv4.OptionClientIdentifier), mac)
	if host == nil || !n.has4(host) {
		return nil
	}
	leases := n.leases(host, true, n.link4(req))
	if n.Broadcast { // as if the client had asked for it, so that relays do it too
		flagged := *req
		flagged.SetBroadcast()
		req = &flagged
	}
	switch req.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		return n.offer(req, host, leases)
	case dhcpv4.MessageTypeRequest:
		return n.acknowledge(req, host, leases)
	case dhcpv4.MessageTypeInform:
		return n.inform(req, host, leases)
	case dhcpv4.MessageTypeNone:
		return n.bootp(req, host, leases)
	default: // DHCPRELEASE and DHCPDECLINE change nothing: the address stays the port's
		return nil
	}
}

func (n *Network) offer(req *dhcpv4.DHCPv4, host *Host, leases []lease) *dhcpv4.DHCPv4 {
	if len(leases) == 0 {
		return nil
	}
	chosen := leases[0]
	if l := withAddr(leases, addr4(req.RequestedIPAddress())); l != nil {
		chosen = *l
	}
	return n.grant(req, dhcpv4.MessageTypeOffer, host, chosen)
}

func (n *Network) acknowledge(req *dhcpv4.DHCPv4, host *Host, leases []lease) *dhcpv4.DHCPv4 {
	if id := addr4(req.ServerIdentifier()); id.IsValid() && !n.isServer(id) && id != relayed(req, subServerOverride) {
		return nil // the client took another server's offer
	}
	want := addr4(req.RequestedIPAddress())
	if !want.IsValid() || want.IsUnspecified() {
		want = addr4(req.ClientIPAddr)
	}
	if !want.IsValid() || want.IsUnspecified() {
		return nil
	}
	if l := withAddr(leases, want); l != nil {
		return n.grant(req, dhcpv4.MessageTypeAck, host, *l)
	}
	server := n.address(nil, true)
	if !server.IsValid() {
		return nil
	}
	nak := answer(req, dhcpv4.MessageTypeNak, server)
	nak.UpdateOption(dhcpv4.OptMessage("wrong address"))
	nak.ServerIPAddr = net.IPv4zero
	nak.SetBroadcast() // RFC 2131 section 4.3.2; through a relay the flag makes the relay broadcast
	nak.ClientIPAddr = net.IPv4zero
	return nak
}

func (n *Network) inform(req *dhcpv4.DHCPv4, host *Host, leases []lease) *dhcpv4.DHCPv4 {
	l := withAddr(leases, addr4(req.ClientIPAddr))
	if l == nil {
		return nil
	}
	ack := answer(req, dhcpv4.MessageTypeAck, n.address(l.Subnet, true))
	n.options4(req, ack, host, *l)
	return ack
}

// grant is an offer or acknowledgement of a lease.
func (n *Network) grant(req *dhcpv4.DHCPv4, t dhcpv4.MessageType, host *Host, l lease) *dhcpv4.DHCPv4 {
	reply := answer(req, t, n.address(l.Subnet, true))
	reply.YourIPAddr = l.Addr.AsSlice()
	life, t1, t2 := n.times4(req, host)
	reply.UpdateOption(dhcpv4.OptIPAddressLeaseTime(life))
	if life != infinite {
		reply.UpdateOption(dhcpv4.OptRenewTimeValue(t1))
		reply.UpdateOption(dhcpv4.OptRebindingTimeValue(t2))
	}
	n.options4(req, reply, host, l)
	return reply
}

// answer makes the frame of a reply. Client identifier, relay information and the choice of a subnet are returned as they came (RFC 6842,
// RFC 3046, RFC 3011). A relay that stands in for the server is named instead of it (RFC 5107).
func answer(req *dhcpv4.DHCPv4, t dhcpv4.MessageType, server netip.Addr) *dhcpv4.DHCPv4 {
	reply := &dhcpv4.DHCPv4{
		OpCode:        dhcpv4.OpcodeBootReply,
		HWType:        req.HWType,
		TransactionID: req.TransactionID,
		Flags:         req.Flags,
		ClientIPAddr:  req.ClientIPAddr,
		YourIPAddr:    net.IPv4zero,
		ServerIPAddr:  server.AsSlice(),
		GatewayIPAddr: req.GatewayIPAddr,
		ClientHWAddr:  req.ClientHWAddr,
		Options:       dhcpv4.OptionsFromList(dhcpv4.OptMessageType(t), dhcpv4.OptServerIdentifier(server.AsSlice())),
	}
	if override := relayed(req, subServerOverride); override.IsValid() {
		reply.UpdateOption(dhcpv4.OptServerIdentifier(override.AsSlice()))
	}
	for _, code := range []dhcpv4.OptionCode{dhcpv4.OptionClientIdentifier, dhcpv4.OptionRelayAgentInformation, dhcpv4.OptionSubnetSelection} {
		if v := req.GetOneOption(code); v != nil {
			reply.UpdateOption(dhcpv4.OptGeneric(code, v))
		}
	}
	return reply
}

// bootp answers a client from before DHCP, which keeps its address for ever. Options that its field has no room for are left out, as
// dnsmasq does, the least important first.
func (n *Network) bootp(req *dhcpv4.DHCPv4, host *Host, leases []lease) *dhcpv4.DHCPv4 {
	if len(leases) == 0 {
		return nil
	}
	reply := answer(req, dhcpv4.MessageTypeNone, n.address(leases[0].Subnet, true))
	reply.YourIPAddr = leases[0].Addr.AsSlice()
	reply.Options = dhcpv4.Options{}
	n.options4(req, reply, host, leases[0])
	const most = 64 - 4 - 1 // RFC 951, without the cookie and the end
	left, all := most, reply.Options
	reply.Options = dhcpv4.Options{}
	for _, code := range slices.SortedFunc(maps.Keys(all), func(a, b uint8) int { return cmp.Or(bootpRank(a)-bootpRank(b), int(a)-int(b)) }) {
		if need := 2 + len(all[code]); need <= left {
			left -= need
			reply.Options[code] = all[code]
		}
	}
	return reply
}

// bootpRank is smaller for options that a client needs more.
func bootpRank(code uint8) int {
	first := []uint8{dhcpv4.OptionSubnetMask.Code(), dhcpv4.OptionRouter.Code(), dhcpv4.OptionDomainNameServer.Code(), dhcpv4.OptionBroadcastAddress.Code(),
		dhcpv4.OptionInterfaceMTU.Code(), dhcpv4.OptionHostName.Code(), dhcpv4.OptionDomainName.Code()}
	if at := slices.Index(first, code); at >= 0 {
		return at
	}
	return len(first)
}

// Suboptions of relays that hold an address: RFC 3527 and RFC 5107.
var (
	subLinkSelection  = dhcpv4.LinkSelectionSubOption
	subServerOverride = dhcpv4.ServerIdentifierOverrideSubOption
)

// relayed is the address in a relay's suboption; the zero Addr if there is none.
func relayed(req *dhcpv4.DHCPv4, code dhcpv4.OptionCode) netip.Addr {
	if info := req.RelayAgentInfo(); info != nil {
		return addr4(dhcpv4.GetIP(code, info.Options))
	}
	return netip.Addr{}
}

// link4 is an address on the link that the request comes from, as the relay says or the client; else of a client that renews its lease by
// way of a router, its own. The zero Addr is the server's own link.
func (n *Network) link4(req *dhcpv4.DHCPv4) netip.Addr {
	for _, a := range []netip.Addr{relayed(req, subLinkSelection), addr4(dhcpv4.GetIP(dhcpv4.OptionSubnetSelection, req.Options)), addr4(req.GatewayIPAddr)} {
		if a.IsValid() && !a.IsUnspecified() {
			return a
		}
	}
	if a := addr4(req.ClientIPAddr); n.elsewhere(a) {
		return a
	}
	return netip.Addr{}
}

// elsewhere tells whether an address is in a subnet that the server has no address in: that of another segment.
func (n *Network) elsewhere(a netip.Addr) bool {
	return slices.ContainsFunc(n.Subnets, func(s Subnet) bool { return !s.Server.IsValid() && s.Prefix.Contains(a) })
}

// has4 tells whether the host has any address by DHCPv4; one without is as unknown as a stranger.
func (n *Network) has4(h *Host) bool {
	return slices.ContainsFunc(h.Addrs, func(a Assignment) bool { return a.Addr.Is4() && n.subnet(a.SubnetID) != nil })
}

func (n *Network) isServer(a netip.Addr) bool {
	for _, s := range n.Subnets {
		if s.Server == a {
			return true
		}
	}
	return false
}

func withAddr(leases []lease, a netip.Addr) *lease {
	for i := range leases {
		if leases[i].Addr == a {
			return &leases[i]
		}
	}
	return nil
}

// addr4 converts; the result is the zero Addr if ip is no IPv4 address.
func addr4(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip.To4())
	return a
}

// destination4 says where a reply goes (RFC 2131 section 4.1). A relay gets it at its server port, a client on another link by way of
// routers; on the own link the
// client is addressed directly even before it has its address, unless it asked for a broadcast.
func (n *Network) destination4(reply *dhcpv4.DHCPv4) (to netip.AddrPort, routed, broadcast bool) {
	if relay := addr4(reply.GatewayIPAddr); relay.IsValid() && !relay.IsUnspecified() {
		return netip.AddrPortFrom(relay, dhcpv4.ServerPort), true, false
	}
	client := addr4(reply.ClientIPAddr)
	switch {
	case reply.MessageType() == dhcpv4.MessageTypeNak:
		broadcast = true
	case client.IsValid() && !client.IsUnspecified():
	case n.Broadcast || reply.IsBroadcast():
		broadcast = true
	default:
		client = addr4(reply.YourIPAddr)
	}
	if broadcast {
		client = netip.AddrFrom4([4]byte{255, 255, 255, 255})
	}
	return netip.AddrPortFrom(client, dhcpv4.ClientPort), n.elsewhere(client), broadcast
}
