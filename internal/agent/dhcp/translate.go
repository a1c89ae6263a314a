package dhcp

import (
	"log/slog"
	"net/netip"
	"strings"

	"neutrino/internal/dhcp"
	"neutrino/internal/dns"
	"neutrino/internal/rpc"
)

var (
	metadata4 = netip.MustParsePrefix("169.254.169.254/32")
	metadata6 = netip.MustParsePrefix("fe80::a9fe:a9fe/128")
)

// translator turns what the server says into what a responder must know.
type translator struct {
	cfg    *Config
	parser *dhcp.Parser
	log    *slog.Logger
}

// settings are all of a network but its hosts; own is our port on it.
func (t *translator) settings(n *network, own *rpc.Port) dhcp.Settings {
	mac, err := dhcp.ParseMAC(own.MACAddress)
	if err != nil {
		t.log.Warn("DHCP port without usable address", "port", own.ID, "error", err)
	}
	s := dhcp.Settings{
		MAC:       mac,
		MTU:       n.MTU,
		Domain:    t.cfg.Domain,
		Lease:     t.cfg.LeaseDuration,
		Renewal:   t.cfg.RenewalTime,
		Rebinding: t.cfg.RebindingTime,
		Broadcast: t.cfg.BroadcastReply,
		Options4:  t.cfg.Options4,
		Options6:  t.cfg.Options6,
	}
	routed := n.routed()
	for _, sub := range n.allSubnets() {
		if out, ok := t.subnet(n, sub, own, routed[sub.ID]); ok {
			s.Subnets = append(s.Subnets, out)
		}
	}
	return s
}

// subnet translates one; ok is false if its instances do not ask us.
func (t *translator) subnet(n *network, s *rpc.Subnet, own *rpc.Port, routed bool) (out dhcp.Subnet, ok bool) {
	prefix, err := netip.ParsePrefix(s.CIDR)
	if err != nil {
		t.log.Warn("subnet without usable CIDR", "subnet", s.ID, "error", err)
		return out, false
	}
	mode := text(s.IPv6AddressMode)
	if !s.EnableDHCP || s.IPVersion == 6 && (mode == "slaac" || mode == "" && text(s.IPv6RAMode) != "") {
		return out, false
	}
	out = dhcp.Subnet{ID: s.ID, Prefix: prefix, Server: addressIn(own, s.ID), Stateless: mode == "dhcpv6-stateless"}
	for _, d := range s.DNSNameservers {
		if a, err := netip.ParseAddr(d); err == nil {
			out.DNS = append(out.DNS, a)
		}
	}
	switch {
	case len(out.DNS) == 1 && out.DNS[0].IsUnspecified(): // the API's way to say "announce none"
		out.DNS = nil
	case len(out.DNS) == 0:
		out.DNS = n.agentAddrs(s.ID)
	}
	if s.IPVersion == 4 {
		t.routes(&out, n, s, routed)
	}
	return out, true
}

// routes follows upstream's Dnsmasq._generate_opts_per_subnet: other subnets on the link, the subnet's own routes, the
// way to the metadata service, and the default route, which a client that gets this option takes from here only
// (RFC 3442).
func (t *translator) routes(out *dhcp.Subnet, n *network, s *rpc.Subnet, routed bool) {
	out.Gateway, _ = netip.ParseAddr(text(s.GatewayIP))
	var own []dhcp.Route
	for _, r := range s.HostRoutes {
		dst, err1 := netip.ParsePrefix(r.Destination)
		via, err2 := netip.ParseAddr(r.Nexthop)
		switch {
		case err1 != nil || err2 != nil:
		case dst.Bits() > 0:
			own = append(own, dhcp.Route{Destination: dst, Router: via})
		case !out.Gateway.IsValid():
			out.Gateway = via
		}
	}
	for _, other := range n.allSubnets() {
		if p, err := netip.ParsePrefix(other.CIDR); err == nil && other.IPVersion == 4 && other.CIDR != s.CIDR &&
			text(other.SegmentID) == text(s.SegmentID) {
			out.Routes = append([]dhcp.Route{{Destination: p, Router: netip.IPv4Unspecified()}}, out.Routes...)
		}
	}
	out.Routes = append(out.Routes, own...)
	switch {
	case t.cfg.ForceMetadata || t.cfg.IsolatedMetadata && !routed:
		if out.Server.IsValid() {
			out.Routes = append(out.Routes, dhcp.Route{Destination: metadata4, Router: out.Server})
		}
	case routed && out.Gateway.IsValid():
		out.Routes = append(out.Routes, dhcp.Route{Destination: metadata4, Router: out.Gateway})
	}
	if len(out.Routes) > 0 && out.Gateway.IsValid() {
		all := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		out.Routes = append(out.Routes, dhcp.Route{Destination: all, Router: out.Gateway})
	}
}

func addressIn(p *rpc.Port, subnetID string) netip.Addr {
	for _, ip := range p.FixedIPs {
		if ip.SubnetID == subnetID {
			a, _ := netip.ParseAddr(ip.IPAddress)
			return a
		}
	}
	return netip.Addr{}
}

// host translates a port; nil if it never asks.
func (t *translator) host(p *rpc.Port) *dhcp.Host {
	if !needsDHCP(p.DeviceOwner) || len(p.FixedIPs) == 0 {
		return nil
	}
	mac, err := dhcp.ParseMAC(p.MACAddress)
	if err != nil {
		t.log.Debug("port cannot use DHCP", "port", p.ID, "error", err)
		return nil
	}
	h := &dhcp.Host{MAC: mac}
	var has4, has6 bool
	for _, ip := range p.FixedIPs {
		a, err := netip.ParseAddr(ip.IPAddress)
		if err != nil {
			continue
		}
		has4, has6 = has4 || a.Is4(), has6 || a.Is6()
		name, _ := t.hostName(p, ip.IPAddress)
		h.Addrs = append(h.Addrs, dhcp.Assignment{Addr: a, SubnetID: ip.SubnetID, Name: name})
	}
	for _, o := range p.ExtraDHCPOpts {
		is4 := o.IPVersion != 6
		switch {
		case o.Name == "client-id" || o.Name == "61":
			h.ClientID = dhcp.ParseClientID(text(o.Value))
			continue
		case o.Value == nil || is4 && !has4 || !is4 && !has6:
			continue
		}
		parsed, err := t.parser.Parse(is4, o.Name, *o.Value)
		if err != nil {
			t.log.Warn("extra DHCP option ignored", "port", p.ID, "error", err)
			continue
		}
		if is4 {
			h.Options4 = append(h.Options4, parsed)
		} else {
			h.Options6 = append(h.Options6, parsed)
		}
	}
	return h
}

// names are what DNS answers for a port, whether it may ask for DHCP or not has nothing to do with that.
func (t *translator) names(p *rpc.Port) []dns.Name {
	if !needsDHCP(p.DeviceOwner) {
		return nil
	}
	var out []dns.Name
	for _, ip := range p.FixedIPs {
		if a, err := netip.ParseAddr(ip.IPAddress); err == nil {
			short, full := t.hostName(p, ip.IPAddress)
			out = append(out, dns.Name{Addr: a, Short: short, FQDN: full})
		}
	}
	return out
}

// hostName is the server's name for the address, or one made of the address.
func (t *translator) hostName(p *rpc.Port, address string) (name, full string) {
	for _, d := range p.DNSAssignment {
		if d.IPAddress == address && d.Hostname != "" {
			return d.Hostname, d.FQDN
		}
	}
	name = "host-" + strings.NewReplacer(".", "-", ":", "-").Replace(address)
	if t.cfg.Domain == "" {
		return name, name
	}
	return name, name + "." + t.cfg.Domain
}
