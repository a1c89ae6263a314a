package ml2

import (
	"fmt"
	"net/netip"
	"strings"

	"neutrino/internal/fault"
	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/service/ipam"
	"neutrino/internal/store"

	"github.com/google/uuid"
)

func hasAnyPrefix(s string, prefixes ...string) bool {
	for _, x := range prefixes {
		if strings.HasPrefix(s, x) {
			return true
		}
	}
	return false
}

func (p *Plugin) createSubnet(c *resource.Change[model.Subnet]) error {
	s := c.New
	if s.ID == "" {
		s.ID = uuid.NewString()
	}
	delegated, err := p.choosePool(c)
	if err != nil {
		return err
	}
	if !isProvisional(s) {
		if err := p.checkNewSubnet(s, delegated); err != nil {
			return err
		}
	}
	n, err := p.catalog.Networks.Get(c.Tx, c.Caller, s.NetworkID, p.catalog.Networks.Bits("mtu", "project_id", "shared", "router:external"))
	if err != nil {
		return err
	}
	if n.MTU > 0 {
		if err := fitsSubnets(n, s.IPVersion); err != nil {
			return err
		}
	}
	if err := p.placeSubnet(c); err != nil {
		return err
	}
	if err := checkSegment(c.Tx, nil, s); err != nil {
		return err
	}
	if gatewayGiven(c) { // else the routes come after the answer, see answerSubnet
		if err := p.routePeers(c.Tx, s, nil); err != nil {
			return err
		}
	}
	s.Shared, s.External = n.Shared, n.External
	orEmpty(&s.DNSNameservers)
	orEmpty(&s.HostRoutes)
	orEmpty(&s.ServiceTypes)
	if err := before(p.Hooks.BeforeSubnet, c); err != nil {
		return err
	}
	if err := p.touchNetwork(c, n); err != nil {
		return err
	}
	if err := p.catalog.Subnets.Insert(c.Tx, s); err != nil {
		return err
	}
	if len(s.ServiceTypes) > 0 { // rows that count the revision up, even for a new subnet
		if err := p.catalog.Subnets.Touch(c.Tx, s); err != nil {
			return err
		}
	}
	if err := ipam.CreateSubnet(c.Tx, s); err != nil {
		return err
	}
	after(c.Tx, p.Hooks.AfterSubnet, nil, s)
	if err := p.renewPeers(c, s, false); err != nil {
		return err
	}
	if ipam.IsAuto(s) {
		return p.addAutoAddresses(c.Tx, s)
	}
	return nil
}

func orEmpty[T any](list *[]T) {
	if *list == nil {
		*list = []T{}
	}
}

// placeSubnet settles the prefix, the gateway and the allocation pools.
func (p *Plugin) placeSubnet(c *resource.Change[model.Subnet]) error {
	s := c.New
	place := func() error {
		cidr, err := netip.ParsePrefix(s.CIDR)
		if err != nil {
			return fault.InvalidInput("%s is not in a CIDR format", s.CIDR)
		}
		return setPools(c, cidr)
	}
	named := s.CIDR != ""
	if named {
		if err := place(); err != nil {
			return err
		}
	}
	if s.SubnetpoolID != nil && !isProvisional(s) {
		if err := p.Hooks.SubnetFromPool(c); err != nil {
			return err
		}
	}
	if !named {
		if err := place(); err != nil {
			return err
		}
	}
	return checkNeighbours(c.Tx, s)
}

// setPools fills the gateway and the allocation pools that the request leaves open and checks those it names.
func setPools(c *resource.Change[model.Subnet], cidr netip.Prefix) error {
	s := c.New
	if !c.Has("gateway_ip") && s.GatewayIP == nil {
		gw := ipam.DefaultGateway(cidr).String()
		s.GatewayIP = &gw
	}
	var gateway netip.Addr
	if s.GatewayIP != nil {
		gateway, _ = netip.ParseAddr(*s.GatewayIP) // checked before
	}
	named := len(s.AllocationPools) > 0 // upstream takes null and the empty list for "not specified"
	if !named {
		s.AllocationPools = ipam.DefaultPools(cidr, gateway)
	} else if err := ipam.CheckPools(cidr, s.AllocationPools); err != nil {
		return err
	}
	if s.GatewayIP == nil {
		return nil
	}
	if named {
		if err := ipam.CheckGatewayOutside(gateway, s.AllocationPools); err != nil {
			return err
		}
	}
	if !ipam.GatewayValid(cidr, gateway) {
		return fault.Conflict("IpamValueInvalid", "Gateway IP %s cannot be the network or broadcast IP address %s", gateway, cidr)
	}
	return nil
}

func (p *Plugin) updateSubnet(c *resource.Change[model.Subnet]) error {
	old, s := c.Old, c.New
	cidr, err := netip.ParsePrefix(s.CIDR)
	if err != nil {
		return fmt.Errorf("subnet %s: %w", s.ID, err)
	}
	if err := p.checkSubnet(s, cidr, isProvisional(s), old.EnableDHCP, s.ID); err != nil {
		return err
	}
	if c.Has("enable_dhcp") && !s.EnableDHCP && (s.IPv6RAMode != nil || s.IPv6AddressMode != nil) {
		return fault.InvalidInput("Cannot disable enable_dhcp with ipv6 attributes set")
	}
	newGateway, newPools := !samePointed(old.GatewayIP, s.GatewayIP), c.Has("allocation_pools")
	if newGateway && !isProvisional(s) {
		if err := gatewayFree(c.Tx, old); err != nil {
			return err
		}
	}
	if newPools {
		if err := ipam.CheckPools(cidr, s.AllocationPools); err != nil {
			return err
		}
	}
	if (newGateway || newPools) && s.GatewayIP != nil {
		gateway, _ := netip.ParseAddr(*s.GatewayIP) // checked before
		if err := ipam.CheckGatewayOutside(gateway, s.AllocationPools); err != nil {
			return err
		}
	}
	if c.Has("segment_id") {
		if err := checkSegment(c.Tx, old, s); err != nil {
			return err
		}
	}
	if newGateway || c.Has("host_routes") {
		if err := p.routePeers(c.Tx, s, old.GatewayIP); err != nil {
			return err
		}
	}
	if err := before(p.Hooks.BeforeSubnet, c); err != nil {
		return err
	}
	changed, err := p.catalog.Subnets.Save(c.Tx, old, s)
	if err != nil {
		return err
	}
	if newPools {
		if err := ipam.UpdatePools(c.Tx, s); err != nil {
			return err
		}
	}
	if old.EnableDHCP && !s.EnableDHCP {
		if err := p.dropDHCPBlocks(c.Tx, s.ID); err != nil {
			return err
		}
	}
	described := p.catalog.Subnets.Bit("description")                                  // which is no part of the subnet's own row
	retyped := c.Has("service_types") && len(old.ServiceTypes)+len(s.ServiceTypes) > 0 // upstream writes them anew
	if retyped && changed&^described == 0 {
		if err := p.catalog.Subnets.Touch(c.Tx, s); err != nil {
			return err
		}
	}
	if s.Revision != old.Revision && (retyped || changed != described) {
		n, err := p.GetNetwork(c.Tx, s.NetworkID)
		if err != nil {
			return err
		}
		if err := p.touchNetwork(c, n); err != nil {
			return err
		}
	}
	after(c.Tx, p.Hooks.AfterSubnet, old, s)
	return nil
}

// addAutoAddresses gives the ports that are there already an address in a new subnet where hosts make their own.
func (p *Plugin) addAutoAddresses(tx *store.Tx, s *model.Subnet) error {
	networks, err := ipam.Load(tx, s.NetworkID)
	if err != nil {
		return err
	}
	old, err := p.portsWhere(tx, resource.Cond{SQL: "t.network_id = ?", Args: []any{s.NetworkID}})
	if err != nil || len(old) == 0 {
		return err
	}
	now := make([]*model.Port, len(old))
	before := map[string]*model.Port{}
	for i, o := range old {
		now[i] = clonePort(o)
		before[o.ID] = o
	}
	got, err := networks[s.NetworkID].AddAuto(tx, s.ID, now)
	if err != nil {
		return err
	}
	for _, port := range got {
		if err := p.catalog.Ports.Touch(tx, port); err != nil {
			return err
		}
		after(tx, p.Hooks.AfterPort, before[port.ID], port)
	}
	return nil
}

func (p *Plugin) deleteSubnet(c *resource.Change[model.Subnet]) error {
	if err := lockSubnet(c.Tx, c.Old.ID); err != nil {
		return err
	}
	if err := p.detachPorts(c.Tx, c.Old); err != nil {
		return err
	}
	n, err := p.GetNetwork(c.Tx, c.Old.NetworkID)
	if err != nil {
		return err
	}
	if err := p.touchNetwork(c, n); err != nil {
		return err
	}
	if err := p.removeSubnet(c); err != nil {
		return err
	}
	return p.renewPeers(c, c.Old, true)
}

// lockSubnet keeps ports from getting addresses in the subnet until the transaction ends: their rows refer to it.
func lockSubnet(tx *store.Tx, id string) error {
	_, found, err := store.One[string](tx.QueryRow("SELECT id FROM subnets WHERE id = ?"+tx.Dialect().ForUpdate(), id))
	if err != nil {
		return fmt.Errorf("lock subnet %s: %w", id, err)
	}
	if !found {
		return fault.NotFound("SubnetNotFound", "Subnet %s could not be found.", id)
	}
	return nil
}

// removeSubnet deletes a subnet that no port uses.
func (p *Plugin) removeSubnet(c *resource.Change[model.Subnet]) error {
	if err := before(p.Hooks.BeforeSubnet, c); err != nil {
		return err
	}
	if err := ipam.DeleteSubnets(c.Tx, c.Old.ID); err != nil {
		return err
	}
	if err := p.catalog.Subnets.Delete(c.Tx, c.Old); err != nil {
		return err
	}
	after(c.Tx, p.Hooks.AfterSubnet, c.Old, nil)
	return nil
}

// detachPorts takes the subnet's addresses from the ports that services made and, where hosts make their own, from all
// but routers' ports. Any other port is in the way.
func (p *Plugin) detachPorts(tx *store.Tx, s *model.Subnet) error {
	old, err := p.portsWhere(tx, resource.Cond{SQL: "t.id IN (SELECT port_id FROM ipallocations WHERE subnet_id = ?)", Args: []any{s.ID}})
	if err != nil {
		return err
	}
	for _, o := range old {
		if contains(routerInterfaceOwners, o.DeviceOwner) || !ipam.IsAuto(s) && !contains(autoDeleted, o.DeviceOwner) {
			return subnetInUse(s.ID)
		}
	}
	for _, o := range old {
		now := clonePort(o)
		now.FixedIPs = []model.FixedIP{}
		for _, f := range o.FixedIPs {
			if f.SubnetID != s.ID {
				now.FixedIPs = append(now.FixedIPs, f)
			}
		}
		if err := p.catalog.Ports.Touch(tx, now); err != nil {
			return err
		}
		after(tx, p.Hooks.AfterPort, o, now)
	}
	return nil
}

// GetSubnets reads the subnets of a network.
func (p *Plugin) GetSubnets(tx *store.Tx, networkID string) ([]*model.Subnet, error) {
	return p.catalog.Subnets.Select(tx, &resource.Query{Set: p.catalog.Subnets.All,
		Where: []resource.Cond{{SQL: "t.network_id = ?", Args: []any{networkID}}}})
}

// GetNetwork reads a network. It is NetworkNotFound if there is none.
func (p *Plugin) GetNetwork(tx *store.Tx, id string) (*model.Network, error) {
	return p.catalog.Networks.Get(tx, identity.System(), id, p.catalog.Networks.All)
}
