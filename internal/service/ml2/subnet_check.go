package ml2

import (
	"fmt"
	"net/netip"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/service/ipam"
	"neutrino/internal/store"
)

// sameFamily refuses an address or prefix of the other IP version.
func sameFamily(version int, addr, name string) error {
	is6 := false
	for i := range addr {
		is6 = is6 || addr[i] == ':'
	}
	if is6 != (version == 6) {
		return fault.InvalidInput("%s '%s' does not match the ip_version '%d'", name, addr, version)
	}
	return nil
}

// checkNewSubnet checks a request whose prefix, if it has one, is not delegated.
func (p *Plugin) checkNewSubnet(s *model.Subnet, delegated bool) error {
	var cidr netip.Prefix
	if s.CIDR != "" {
		var err error
		if cidr, err = netip.ParsePrefix(s.CIDR); err != nil {
			return fault.InvalidInput("%s is not in a CIDR format", s.CIDR)
		}
	}
	if err := p.checkSubnet(s, cidr, delegated, false, "new subnet"); err != nil {
		return err
	}
	return checkModes(s, cidr)
}

// checkSubnet checks what create and update have in common. cidr is not valid if a pool is to give it; delegated tells
// whether it is the provider's, dhcpWas whether DHCP is on already.
func (p *Plugin) checkSubnet(s *model.Subnet, cidr netip.Prefix, delegated, dhcpWas bool, id string) error {
	if cidr.IsValid() {
		if err := checkPrefix(s, cidr, delegated, dhcpWas); err != nil {
			return err
		}
	}
	if s.GatewayIP != nil {
		if err := sameFamily(s.IPVersion, *s.GatewayIP, "gateway_ip"); err != nil {
			return err
		}
		if gw, err := netip.ParseAddr(*s.GatewayIP); err != nil || cidr.IsValid() && !ipam.GatewayValid(cidr, gw) {
			return fault.InvalidInput("Gateway is not valid on subnet")
		}
	}
	if len(s.DNSNameservers) > p.cfg.MaxDNSNameservers {
		return fault.BadRequest("DNSNameServersExhausted", "Unable to complete operation for %s. The number of DNS nameservers exceeds "+
			"the limit %d.", id, p.cfg.MaxDNSNameservers)
	}
	for _, a := range s.DNSNameservers {
		if err := sameFamily(s.IPVersion, a, "dns_nameserver"); err != nil {
			return err
		}
	}
	if len(s.HostRoutes) > p.cfg.MaxSubnetHostRoutes {
		return fault.BadRequest("HostRoutesExhausted", "Unable to complete operation for %s. The number of host routes exceeds the "+
			"limit %d.", id, p.cfg.MaxSubnetHostRoutes)
	}
	for _, r := range s.HostRoutes {
		if err := sameFamily(s.IPVersion, r.Nexthop, "nexthop"); err != nil {
			return err
		}
		if err := sameFamily(s.IPVersion, r.Destination, "destination"); err != nil {
			return err
		}
	}
	return nil
}

func checkPrefix(s *model.Subnet, cidr netip.Prefix, delegated, dhcpWas bool) error {
	if err := sameFamily(s.IPVersion, s.CIDR, "cidr"); err != nil {
		return err
	}
	if s.IPVersion == 6 && cidr.Addr() == netip.IPv6Unspecified() && !delegated {
		return fault.InvalidInput("IPv6 subnet '::' is not supported")
	}
	if s.EnableDHCP && !dhcpWas {
		return fitsDHCP(cidr)
	}
	return nil
}

// fitsDHCP refuses subnets in which DHCP cannot work.
func fitsDHCP(cidr netip.Prefix) error {
	a := cidr.Addr()
	switch {
	case a.Is4() && cidr.Bits() > 30 || a.Is6() && cidr.Bits() > 126:
		return fault.InvalidInput("Subnet has a prefix length that is incompatible with DHCP service enabled")
	case a.IsMulticast():
		return fault.InvalidInput("Multicast IP subnet is not supported if enable_dhcp is True")
	case a.IsLoopback():
		return fault.InvalidInput("Loopback IP subnet is not supported if enable_dhcp is True")
	case a == netip.IPv4Unspecified():
		return fault.InvalidInput("First IP '0.0.0.0' of network is not supported if enable_dhcp is True.")
	}
	return nil
}

// checkModes checks the IPv6 modes of a new subnet.
func checkModes(s *model.Subnet, cidr netip.Prefix) error {
	ra, address := s.IPv6RAMode, s.IPv6AddressMode
	switch {
	case s.IPVersion == 4 && ra != nil:
		return fault.InvalidInput("ipv6_ra_mode is not valid when ip_version is 4")
	case s.IPVersion == 4 && address != nil:
		return fault.InvalidInput("ipv6_address_mode is not valid when ip_version is 4")
	case (ra != nil || address != nil) && !s.EnableDHCP:
		return fault.InvalidInput("ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to False")
	case ra != nil && address != nil && *ra != *address:
		return fault.InvalidInput("ipv6_ra_mode set to '%s' with ipv6_address_mode set to '%s' is not valid. If both attributes are "+
			"set, they must be the same value", *ra, *address)
	case ipam.IsAuto(s) && cidr.IsValid() && cidr.Bits() != 64:
		return fault.InvalidInput("Invalid CIDR %s for IPv6 address mode. OpenStack uses the EUI-64 address format, which requires the "+
			"prefix to be /64", s.CIDR)
	}
	return nil
}

func samePointed[T comparable](a, b *T) bool {
	return a == nil && b == nil || a != nil && b != nil && *a == *b
}

// gatewayFree refuses to change a gateway that a router has.
func gatewayFree(tx *store.Tx, s *model.Subnet) error {
	if s.GatewayIP == nil {
		return nil
	}
	port, found, err := store.One[string](tx.QueryRow("SELECT a.port_id FROM ipallocations a JOIN routerports r ON r.port_id = a.port_id "+
		"WHERE a.subnet_id = ? AND a.ip_address = ? LIMIT 1", s.ID, *s.GatewayIP))
	if err != nil {
		return fmt.Errorf("read router ports of subnet %s: %w", s.ID, err)
	}
	if found {
		return fault.Conflict("GatewayIpInUse", "Current gateway ip %s already in use by port %s. Unable to update.", *s.GatewayIP, port)
	}
	return nil
}

// touchNetwork counts the network's revision up, because its subnets belong to it. That also makes two changes of one
// network's subnets exclude each other: the later one starts again.
func (p *Plugin) touchNetwork(c *resource.Change[model.Subnet], n *model.Network) error {
	return p.catalog.Networks.Touch(c.Tx, n)
}
