package ml2

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"neutrino/internal/fault"
	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/service/ipam"
	"neutrino/internal/store"
)

func (p *Plugin) updatePort(c *resource.Change[model.Port]) error {
	old, now := c.Old, c.New
	if err := p.preparePorts(c); err != nil {
		return err
	}
	if old.NoBinding {
		return p.catalog.Ports.NotFound(old.ID) // as upstream, until somebody makes a binding active
	}
	if c.Has("fixed_ips") {
		if err := before(p.Hooks.GuardFixedIPs, c); err != nil {
			return err
		}
	}
	givenMAC := now.MACAddress != ""
	givenPairs := c.Has("allowed_address_pairs") && !slices.Equal(now.AddressPairs, old.AddressPairs)
	if err := p.checkPortUpdate(c); err != nil {
		return err
	}
	if c.Has("extra_dhcp_opts") {
		now.ExtraDHCPOpts = mergeDHCPOpts(old.ExtraDHCPOpts, now.ExtraDHCPOpts)
	}
	newMAC := old.MACAddress != now.MACAddress
	newHost := now.HostID != "" && now.HostID != old.HostID
	if c.Has("fixed_ips") || newMAC && len(old.FixedIPs) > 0 || newHost {
		networks, err := ipam.Load(c.Tx, now.NetworkID)
		if err != nil {
			return err
		}
		if c.Has("fixed_ips") {
			if err := p.onlySeen(c.Tx, c.Caller, networks); err != nil {
				return err
			}
		}
		if err := readdress(c, networks[now.NetworkID], newMAC, newHost); err != nil {
			return err
		}
	}
	if err := p.secureUpdated(c); err != nil {
		return err
	}
	b, rebound, err := p.rebind(c)
	if err != nil {
		return err
	}
	if err := before(p.Hooks.BeforePort, c); err != nil {
		return err
	}
	named, err := p.updateNames(c)
	if err != nil {
		return err
	}
	changed, err := p.catalog.Ports.Save(c.Tx, old, now)
	switch {
	case store.IsDuplicate(err) && givenMAC:
		return macInUse(now)
	case store.IsDuplicate(err):
		return store.Retry(err)
	case err != nil:
		return err
	}
	if (givenPairs || named) && changed == 0 { // upstream writes pairs anew, though they only left out MAC addresses
		if err := p.catalog.Ports.Touch(c.Tx, now); err != nil {
			return err
		}
	}
	if rebound {
		if err := b.replace(c.Tx, old, now); err != nil {
			return err
		}
	}
	if b != nil {
		if err := b.countUp(rebound, now); err != nil {
			return err
		}
	}
	if err := p.renewBlocks(c.Tx, b, old, now); err != nil {
		return err
	}
	after(c.Tx, p.Hooks.AfterPort, old, now)
	return nil
}

// answerPort makes the answer to a change what upstream's is: the names of the drivers are in it only after an attempt to
// bind, and the revision of a port of which nothing but the binding was changed, without a host to bind it to, is that of before.
func (p *Plugin) answerPort(c *resource.Change[model.Port], answer *model.Port) {
	if c.Old == nil {
		return
	}
	switch inputs, attempt := bindsAnew(c.Old, c.New); {
	case !attempt:
		delete(answer.VIFDetails, "bound_drivers")
	case inputs && c.New.HostID == "":
		binding := p.catalog.Ports.Bits("binding:host_id", "binding:vnic_type", "binding:profile", "binding:vif_type", "binding:vif_details", "status",
			"revision_number", "updated_at")
		if p.catalog.Ports.Changed(c.Old, c.New)&^binding == 0 {
			answer.Revision, answer.UpdatedAt = c.Old.Revision, c.Old.UpdatedAt
		}
	}
}

// readdress changes a port's addresses as asked for, gives a port its first ones when its host becomes known, and refuses
// a host that does not reach those that stay.
func readdress(c *resource.Change[model.Port], n *ipam.Network, newMAC, newHost bool) error {
	old, now := c.Old, c.New
	switch {
	case !c.Has("fixed_ips") && newHost && old.HostID == "" && old.IPAllocation == ipam.Deferred && len(old.FixedIPs) == 0:
		if err := n.Allocate(c.Tx, &ipam.Want{Port: now, Unspecified: true}); err != nil {
			return err
		}
		now.IPAllocation = ipam.Deferred // as the port was created
		return ipam.Record(c.Tx, now)
	case !c.Has("fixed_ips") && newHost && len(old.FixedIPs) > 0:
		if err := n.Suits(now); err != nil {
			return err
		}
	}
	if c.Has("fixed_ips") || newMAC && len(old.FixedIPs) > 0 {
		return n.Update(c.Tx, old, now)
	}
	return nil
}

// checkPortUpdate refuses what a port in use cannot change.
func (p *Plugin) checkPortUpdate(c *resource.Change[model.Port]) error {
	old, now := c.Old, c.New
	if old.VNICType != now.VNICType && old.VIFType != vifUnbound {
		return fault.Conflict("PortInUse", "Unable to complete operation on port %s for network %s. Port already has an attached device %s.",
			old.ID, old.NetworkID, old.DeviceID)
	}
	if c.Has("device_owner") || c.Has("device_id") {
		if err := p.checkRouterDevice(c); err != nil {
			return err
		}
	}
	if now.MACAddress == "" {
		now.MACAddress = p.randomMAC()
	}
	if now.MACAddress != old.MACAddress {
		switch {
		case !unplugged(old):
			return fault.Conflict("PortBound", "Unable to complete operation on port %s, port is already bound, port type: %s, old_mac %s, "+
				"new_mac %s.", old.ID, old.VIFType, old.MACAddress, now.MACAddress)
		case trusted(now):
			return fault.Conflict("UnsupportedPortDeviceOwner", "Operation mac address update is not supported for device_owner %s on port "+
				"<built-in function id>.", now.DeviceOwner) // upstream's text, down to its mistake
		}
	}
	if leavesCard(old, now) {
		now.MACAddress = p.randomMAC()
	}
	dropHints(now)
	if err := checkExtras(c); err != nil {
		return err
	}
	return checkProfile(now)
}

// keepsRouterIPs refuses requests that change the IPv4 addresses of routers' ports: only the router's own API does that.
func keepsRouterIPs(c *resource.Change[model.Port]) error {
	if !contains(routerFixedOwners, c.Old.DeviceOwner) || slices.Equal(ipv4(c.Old.FixedIPs), ipv4(c.New.FixedIPs)) {
		return nil
	}
	return badRequest("ports", "IP updates for port %s are not allowed", c.Old.ID)
}

// routerFixedOwners are the owners of ports whose addresses routers rely on (IP_UPDATE_NOT_ALLOWED_LIST in
// neutron/db/l3_db.py).
var routerFixedOwners = append([]string{"network:router_ha_interface", "network:router_centralized_snat"}, routerInterfaceOwners...)

// ipv4 are the IPv4 addresses among those of a port, in order.
func ipv4(ips []model.FixedIP) []string {
	var out []string
	for _, f := range ips {
		if !strings.Contains(f.IPAddress, ":") {
			out = append(out, f.IPAddress)
		}
	}
	slices.Sort(out)
	return out
}

// bindsAnew tells whether what the binding of a port depends on has changed, and whether the port is bound for that reason
// or because that failed before.
func bindsAnew(old, now *model.Port) (inputs, attempt bool) {
	inputs = old.HostID != now.HostID || old.VNICType != now.VNICType || !sameProfile(old.Profile, now.Profile)
	return inputs, inputs || now.HostID != "" && unplugged(old)
}

// rebind binds a port anew where that is due. If its binding depends on something else than before, all agents start over, so
// the port is down.
func (p *Plugin) rebind(c *resource.Change[model.Port]) (*binder, bool, error) {
	old, now := c.Old, c.New
	inputs, attempt := bindsAnew(old, now)
	if inputs {
		now.Status = "DOWN"
	}
	if !attempt {
		return nil, false, nil
	}
	b, err := p.newBinder(c.Tx, []*model.Port{now})
	if err != nil {
		return nil, false, err
	}
	b.bind(now)
	return b, inputs || old.VIFType != now.VIFType, nil
}

func sameProfile(a, b model.Dict) bool {
	return len(a) == 0 && len(b) == 0 || maps.EqualFunc(a, b, func(x, y any) bool { return reflect.DeepEqual(x, y) })
}

// renewBlocks makes the port wait for the agents that a change concerns.
func (p *Plugin) renewBlocks(tx *store.Tx, b *binder, old, now *model.Port) error {
	if b != nil && old.HostID != now.HostID && b.awaitsL2(now) {
		if err := p.AddProvisioningBlock(tx, now, EntityL2); err != nil {
			return err
		}
	}
	if old.MACAddress == now.MACAddress && reflect.DeepEqual(old.FixedIPs, now.FixedIPs) {
		return nil
	}
	return p.renewDHCPBlock(tx, now)
}

// deletePort removes a port and gives its addresses back.
func (p *Plugin) deletePort(c *resource.Change[model.Port]) error {
	if err := before(p.Hooks.BeforePort, c); err != nil {
		return err
	}
	if err := p.catalog.Ports.Delete(c.Tx, c.Old); err != nil {
		return err
	}
	if err := ipam.Release(c.Tx, c.Old.FixedIPs); err != nil {
		return err
	}
	after(c.Tx, p.Hooks.AfterPort, c.Old, nil)
	return nil
}

// CreatePort makes a port of a service inside the service's transaction. named are the attributes that are set on
// purpose, as in a request: without "fixed_ips" the port gets addresses of all kinds that the network has.
func (p *Plugin) CreatePort(tx *store.Tx, caller *identity.Caller, port *model.Port, named ...string) error {
	return p.CreatePorts(tx, caller, []*model.Port{port}, named...)
}

// CreatePorts is CreatePort for several ports, with a bounded number of reading queries.
func (p *Plugin) CreatePorts(tx *store.Tx, caller *identity.Caller, ports []*model.Port, named ...string) error {
	cs := make([]*resource.Change[model.Port], len(ports))
	for i, port := range ports {
		port.PropagateUplinkStatus, port.Description = true, new(string) // the defaults of the API
		cs[i] = &resource.Change[model.Port]{Resource: p.catalog.Ports, Tx: tx, Caller: caller, New: port, Named: p.catalog.Ports.Bits(named...)}
	}
	return p.createPorts(cs)
}

// UpdatePort changes a port inside the service's transaction; named are the attributes that change sets.
func (p *Plugin) UpdatePort(tx *store.Tx, caller *identity.Caller, id string, named []string, change func(*model.Port)) (*model.Port, error) {
	old, err := p.GetPort(tx, id)
	if err != nil {
		return nil, err
	}
	now := clonePort(old)
	change(now)
	c := &resource.Change[model.Port]{Resource: p.catalog.Ports, Tx: tx, Caller: caller, Old: old, New: now, Named: p.catalog.Ports.Bits(named...)}
	return now, p.updatePort(c)
}

// DeletePort removes a port of a service inside the service's transaction, without asking the guards of the API.
func (p *Plugin) DeletePort(tx *store.Tx, caller *identity.Caller, id string) error {
	old, err := p.GetPort(tx, id)
	if err != nil {
		return err
	}
	return p.deletePort(&resource.Change[model.Port]{Resource: p.catalog.Ports, Tx: tx, Caller: caller, Old: old})
}
