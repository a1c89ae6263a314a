package dhcp

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"neutrino/internal/rpc"
)

// Device owners and ids that matter here (neutron_lib/constants.py).
const (
	ownerDHCP        = "network:dhcp"
	reservedDeviceID = rpc.ReservedDHCPPort
	pdPool           = "prefix_delegation" // of subnets whose prefix comes from another router
)

func isRouterInterface(owner string) bool {
	switch owner {
	case "network:router_interface", "network:ha_router_replicated_interface", "network:router_interface_distributed":
		return true
	}
	return false
}

// needsDHCP tells whether a port with this owner may ask for its address.
func needsDHCP(owner string) bool {
	switch owner {
	case "network:router_ha_interface", "network:floatingip", ownerDHCP, "network:distributed":
		return false
	}
	return true
}

// concernsAll tells whether what others on the network are told depends on the port: those of routers and DHCP agents.
func concernsAll(p *rpc.Port) bool {
	return isRouterInterface(p.DeviceOwner) || p.DeviceOwner == ownerDHCP || strings.HasPrefix(p.DeviceID, "dhcp") ||
		p.DeviceID == reservedDeviceID
}

// network is what the server said of a network. A change makes a new one, which shares the ports: there may be thousands,
// and a change of one must not cost a look at the others.
type network struct {
	rpc.DHCPNetwork             // its Ports are nil
	infra           []*rpc.Port // the ports that concern all; not changed once made
	ports           *ports      // all ports; guarded by Agent.mu
}

// newNetwork makes a network of a full answer. The ports of old, which may be nil, are brought in line; if there was
// nothing to do, it is old that is returned.
func newNetwork(info rpc.DHCPNetwork, old *network) *network {
	n := &network{DHCPNetwork: info}
	n.Ports = nil
	if old == nil {
		n.ports = &ports{byID: make(map[string]*rpc.Port, len(info.Ports))}
	} else {
		n.ports = old.ports
	}
	same := n.ports.replace(info.Ports)
	if old != nil && same && reflect.DeepEqual(old.DHCPNetwork, n.DHCPNetwork) {
		return old
	}
	for _, p := range n.ports.byID {
		if concernsAll(p) {
			n.infra = append(n.infra, p)
		}
	}
	return n
}

// concern makes p the port of the id that concerns all; nil if it does not, or is gone.
func (n *network) concern(id string, p *rpc.Port) {
	others := make([]*rpc.Port, 0, len(n.infra)+1)
	for _, o := range n.infra {
		if o.ID != id {
			others = append(others, o)
		}
	}
	if p != nil {
		others = append(others, p)
	}
	n.infra = others
}

func (n *network) concerned(id string) bool {
	return slices.ContainsFunc(n.infra, func(p *rpc.Port) bool { return p.ID == id })
}

// with makes the port one of the network's.
func (n *network) with(p *rpc.Port) *network {
	n.ports.put(p)
	c := *n
	switch {
	case concernsAll(p):
		c.concern(p.ID, p)
	case n.concerned(p.ID):
		c.concern(p.ID, nil)
	}
	return &c
}

func (n *network) without(portID string) *network {
	n.ports.remove(portID)
	c := *n
	if n.concerned(portID) {
		c.concern(portID, nil)
	}
	return &c
}

// port finds the port with the device id, which is that of a DHCP agent.
func (n *network) port(deviceID string) *rpc.Port {
	for _, p := range n.infra {
		if p.DeviceID == deviceID {
			return p
		}
	}
	return nil
}

// served tells whether the network gets DHCP at all.
func (n *network) served() bool { return n.AdminStateUp && len(n.dhcpSubnets()) > 0 }

// dhcpSubnets are the subnets on this host's segments that have DHCP, by id.
func (n *network) dhcpSubnets() map[string]*rpc.Subnet {
	out := map[string]*rpc.Subnet{}
	for i := range n.Subnets {
		if s := &n.Subnets[i]; s.EnableDHCP {
			out[s.ID] = s
		}
	}
	return out
}

func (n *network) allSubnets() []*rpc.Subnet {
	var out []*rpc.Subnet
	for i := range n.Subnets {
		out = append(out, &n.Subnets[i])
	}
	for i := range n.NonLocalSubnets {
		out = append(out, &n.NonLocalSubnets[i])
	}
	return out
}

// agentAddrs are the addresses of all DHCP agents in the subnet, in an order that is the same for all of them.
func (n *network) agentAddrs(subnetID string) []netip.Addr {
	var out []netip.Addr
	for _, p := range n.infra {
		if p.DeviceOwner != ownerDHCP || p.DeviceID == reservedDeviceID {
			continue
		}
		for _, ip := range p.FixedIPs {
			if a, err := netip.ParseAddr(ip.IPAddress); err == nil && ip.SubnetID == subnetID {
				out = append(out, a)
			}
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}

// routed are the ids of the subnets that have a router at their gateway address; the others are isolated.
func (n *network) routed() map[string]bool {
	gateways := map[string]string{}
	for _, s := range n.allSubnets() {
		if s.GatewayIP != nil {
			gateways[s.ID] = *s.GatewayIP
		}
	}
	out := map[string]bool{}
	for _, p := range n.infra {
		if !isRouterInterface(p.DeviceOwner) {
			continue
		}
		for _, ip := range p.FixedIPs {
			if ip.IPAddress == gateways[ip.SubnetID] {
				out[ip.SubnetID] = true
			}
		}
	}
	return out
}

// servesMetadata tells whether instances on the network get their metadata from this agent (upstream
// Dnsmasq.should_enable_metadata).
func (n *network) servesMetadata(cfg *Config) bool {
	if cfg.ForceMetadata || !cfg.IsolatedMetadata {
		return cfg.ForceMetadata
	}
	if cfg.MetadataNetwork && n.metadataRouter() != "" {
		return true
	}
	routed := n.routed()
	for _, s := range n.allSubnets() {
		if s.EnableDHCP && !routed[s.ID] {
			return true
		}
	}
	return false
}

// metadataRouter is the router that sends metadata requests here over a network made for that: one with a subnet in
// 169.254.0.0/16.
func (n *network) metadataRouter() string {
	linkLocal := netip.MustParsePrefix("169.254.0.0/16")
	for _, s := range n.allSubnets() {
		p, err := netip.ParsePrefix(s.CIDR)
		if err != nil || !linkLocal.Contains(p.Addr()) || p.Bits() < linkLocal.Bits() {
			continue
		}
		for _, port := range n.infra {
			if isRouterInterface(port.DeviceOwner) {
				return port.DeviceID
			}
		}
	}
	return ""
}

func text(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}
