package dhcp

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// codeServerIPAddress is dnsmasq's "server-ip-address": not an option on the wire but the next-server field.
const codeServerIPAddress = 255

// options4 adds what the host gets: what all clients get, in place of that the subnet's values, and in place of these the
// port's own.
func (n *Network) options4(req, reply *dhcpv4.DHCPv4, host *Host, l lease) {
	wanted, tags := wantedOptions(req), tags4(req)
	values, always := map[uint8][]byte{}, map[uint8]bool{}
	add := func(o Option) {
		switch code := uint8(o.Code); {
		case !o.appliesTo(tags):
		case code == codeServerIPAddress && len(o.Data) == 4:
			reply.ServerIPAddr = o.Data
		case code == codeServerIPAddress || code == dhcpv4.OptionRenewTimeValue.Code() || code == dhcpv4.OptionRebindingTimeValue.Code(): // see times4
		case code == dhcpv4.OptionBootfileName.Code() && !wanted.named(code):
			reply.BootFileName = string(o.Data)
		case code == dhcpv4.OptionTFTPServerName.Code() && !wanted.named(code):
			reply.ServerHostName = string(o.Data)
		default:
			values[code], always[code] = o.Data, o.Force
		}
	}
	for _, o := range n.Options4 {
		add(o)
	}
	for code, data := range n.subnetOptions4(l) {
		if len(data) > 0 {
			values[code], always[code] = data, always4(code)
		}
	}
	for _, o := range host.Options4 {
		add(o)
	}
	for code, data := range values {
		if len(data) == 0 || !wanted.has(code) && !always[code] {
			continue
		}
		if code == dhcpv4.OptionTFTPServerName.Code() || code == dhcpv4.OptionBootfileName.Code() {
			data = append(slices.Clip(data), 0) // boot programs want the end marked, as dnsmasq does for these two only
		}
		reply.UpdateOption(dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(code), data))
	}
	if v := fqdn4(req.GetOneOption(dhcpv4.OptionFQDN), l.Name, n.Domain); v != nil {
		reply.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionFQDN, v))
	}
}

// times4 are lease time, T1 and T2 of a client: a port's options 58 and 59 count if they are shorter than the lease, and T1
// stays below T2.
func (n *Network) times4(req *dhcpv4.DHCPv4, host *Host) (life, t1, t2 time.Duration) {
	life, t1, t2 = n.times()
	if asked := req.IPAddressLeaseTime(0); asked > 0 && asked < life { // a client may have less, but not less than two minutes
		shorter := *n
		shorter.Lease = min(max(asked, 2*time.Minute), life)
		life, t1, t2 = shorter.times()
	}
	if life == infinite {
		return life, t1, t2
	}
	for _, o := range host.Options4 {
		if !o.appliesTo(tags4(req)) || len(o.Data) != 4 {
			continue
		}
		d := time.Duration(binary.BigEndian.Uint32(o.Data)) * time.Second
		switch {
		case d == 0 || d >= life:
		case o.Code == uint16(dhcpv4.OptionRenewTimeValue.Code()):
			t1 = d
		case o.Code == uint16(dhcpv4.OptionRebindingTimeValue.Code()):
			t2 = d
		}
	}
	if t1 >= t2 && t2 > time.Second {
		t1 = t2 - time.Second
	}
	return life, t1, t2
}

// always4 are the options of subnets that are sent whether the client lists them or not.
func always4(code uint8) bool {
	return code == dhcpv4.OptionInterfaceMTU.Code() || code == dhcpv4.OptionSubnetMask.Code() || code == dhcpv4.OptionBroadcastAddress.Code()
}

func (n *Network) subnetOptions4(l lease) map[uint8][]byte {
	values := map[uint8][]byte{
		dhcpv4.OptionSubnetMask.Code():           mask4(l.Prefix),
		dhcpv4.OptionBroadcastAddress.Code():     broadcast4(l.Prefix),
		dhcpv4.OptionDomainNameServer.Code():     addresses(l.Subnet.servers()),
		dhcpv4.OptionHostName.Code():             []byte(l.Name),
		dhcpv4.OptionDomainName.Code():           []byte(n.Domain),
		dhcpv4.OptionClasslessStaticRoute.Code(): routes4(l.Routes),
		codeMicrosoftRoutes:                      routes4(l.Routes),
	}
	if l.Gateway.IsValid() {
		values[dhcpv4.OptionRouter.Code()] = l.Gateway.AsSlice()
	}
	if n.MTU > 0 {
		values[dhcpv4.OptionInterfaceMTU.Code()] = binary.BigEndian.AppendUint16(nil, uint16(n.MTU))
	}
	return values
}

// codeMicrosoftRoutes carries the same value as option 121 for old Windows.
const codeMicrosoftRoutes = 249

func mask4(p netip.Prefix) []byte {
	return binary.BigEndian.AppendUint32(nil, ^uint32(0)<<(32-p.Bits()))
}

func broadcast4(p netip.Prefix) []byte {
	base := p.Masked().Addr().As4()
	host := ^(^uint32(0) << (32 - p.Bits()))
	return binary.BigEndian.AppendUint32(nil, binary.BigEndian.Uint32(base[:])|host)
}

func addresses(list []netip.Addr) []byte {
	var out []byte
	for _, a := range list {
		out = append(out, a.AsSlice()...)
	}
	return out
}

// routes4 encodes as RFC 3442 says: prefix length, the significant octets of the destination, router.
func routes4(list []Route) []byte {
	var out []byte
	for _, r := range list {
		if !r.Destination.Addr().Is4() || !r.Router.Is4() {
			continue
		}
		bits := r.Destination.Bits()
		out = append(out, byte(bits))
		out = append(out, r.Destination.Masked().Addr().AsSlice()[:(bits+7)/8]...)
		out = append(out, r.Router.AsSlice()...)
	}
	return out
}

// optionSet is a client's parameter request list; nil means that it sent none and gets everything.
type optionSet map[uint8]bool

func wantedOptions(req *dhcpv4.DHCPv4) optionSet {
	list := req.GetOneOption(dhcpv4.OptionParameterRequestList)
	if len(list) == 0 {
		return nil
	}
	set := optionSet{}
	for _, code := range list {
		set[code] = true
	}
	return set
}

func (s optionSet) has(code uint8) bool   { return s == nil || s[code] }
func (s optionSet) named(code uint8) bool { return s[code] }

// tags4 are the tags that upstream has dnsmasq set: "ipxe" for clients that send option 175.
func tags4(req *dhcpv4.DHCPv4) map[string]bool {
	return map[string]bool{"ipxe": req.Options.Has(dhcpv4.GenericOptionCode(175))}
}

// fqdn4 answers a Client FQDN option (RFC 4702) with the host's name; the server claims the DNS updates.
func fqdn4(asked []byte, name, domain string) []byte {
	const serverUpdates, override, encoded, noUpdates = 1, 2, 4, 8
	if len(asked) < 3 || name == "" {
		return nil
	}
	flags := asked[0] & 0x0f &^ noUpdates
	if flags&serverUpdates == 0 {
		flags |= serverUpdates | override
	}
	full := name
	if domain != "" {
		full += "." + domain
	}
	out := []byte{flags, 255, 255}
	if flags&encoded == 0 {
		return append(out, full...)
	}
	wire, err := encodeNames([]string{full})
	if err != nil {
		return nil
	}
	return append(out, wire...)
}
