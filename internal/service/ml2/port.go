package ml2

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"

	"neutrino/internal/fault"
	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/service/ipam"
	"neutrino/internal/store"

	"github.com/google/uuid"
)

// Device owners that are treated in a special way (neutron_lib/constants.py).
const ownerRouterGateway = "network:router_gateway"

var (
	// autoDeleted ports go with their network.
	autoDeleted = []string{"network:dhcp", "network:distributed", "network:floatingip_agent_gateway"}
	// routerInterfaceOwners are the owners of routers' ports inside.
	routerInterfaceOwners = []string{"network:router_interface", "network:ha_router_replicated_interface", "network:router_interface_distributed"}
)

// trusted tells whether a service owns the port: then it has neither port security nor security groups.
func trusted(p *model.Port) bool { return hasAnyPrefix(p.DeviceOwner, "network:") }

// createPorts creates ports together: what has to be read is read once for all.
func (p *Plugin) createPorts(cs []*resource.Change[model.Port]) error {
	if len(cs) == 0 {
		return nil
	}
	tx := cs[0].Tx
	if err := p.preparePorts(cs...); err != nil {
		return err
	}
	networks, err := p.visibleNetworks(cs)
	if err != nil {
		return err
	}
	given, err := chosenMACs(cs)
	if err != nil {
		return err
	}
	for _, c := range cs {
		if err := p.prepare(c, networks[c.New.NetworkID]); err != nil {
			return err
		}
	}
	if err := p.allocate(tx, cs); err != nil {
		return err
	}
	ports := make([]*model.Port, len(cs))
	for i, c := range cs {
		if err := insecureNew(c); err != nil {
			return err
		}
		ports[i] = c.New
	}
	b, err := p.newBinder(tx, ports)
	if err != nil {
		return err
	}
	for i, c := range cs {
		b.bind(c.New)
		if err := before(p.Hooks.BeforePort, c); err != nil {
			return err
		}
		if err := p.insertPort(c, given[i]); err != nil {
			return err
		}
	}
	if err := ipam.Record(tx, ports...); err != nil {
		return err
	}
	for _, port := range ports {
		if len(port.Tags) > 0 { // upstream writes them afterwards
			if err := p.catalog.Ports.Touch(tx, port); err != nil {
				return err
			}
		}
	}
	if err := b.countUp(true, ports...); err != nil {
		return err
	}
	if err := p.insertNames(tx, ports); err != nil {
		return err
	}
	if err := b.insert(tx, ports, bindingActive); err != nil {
		return err
	}
	if err := p.addBlocks(tx, b, ports); err != nil {
		return err
	}
	for _, port := range ports {
		after(tx, p.Hooks.AfterPort, nil, port)
	}
	return nil
}

// visibleNetworks reads the networks of new ports. One that the caller does not see does not exist.
func (p *Plugin) visibleNetworks(cs []*resource.Change[model.Port]) (map[string]*model.Network, error) {
	r := p.catalog.Networks
	var ids []string
	for _, c := range cs {
		if !contains(ids, c.New.NetworkID) {
			ids = append(ids, c.New.NetworkID)
		}
	}
	found, err := r.Select(cs[0].Tx, &resource.Query{Set: r.Bits("project_id", "port_security_enabled"), Caller: cs[0].Caller,
		Where: []resource.Cond{r.ByID(ids...)}})
	if err != nil {
		return nil, err
	}
	networks := map[string]*model.Network{}
	for _, n := range found {
		networks[n.ID] = n
	}
	for _, id := range ids {
		if networks[id] == nil {
			return nil, r.NotFound(id)
		}
	}
	return networks, nil
}

// prepare fills what the request leaves open and checks what it says, before anything is allocated.
func (p *Plugin) prepare(c *resource.Change[model.Port], n *model.Network) error {
	port := c.New
	if port.ID == "" {
		port.ID = uuid.NewString()
	}
	if port.Status == "" {
		port.Status = "DOWN"
	}
	if port.VNICType == "" {
		port.VNICType = vnicNormal
	}
	if err := p.checkRouterDevice(c); err != nil {
		return err
	}
	if port.MACAddress == "" {
		port.MACAddress = p.randomMAC()
	}
	if err := p.secureNew(c, n); err != nil {
		return err
	}
	p.extraNew(port)
	port.ExtraDHCPOpts = mergeDHCPOpts(nil, port.ExtraDHCPOpts)
	orEmpty(&port.SecurityGroups)
	orEmpty(&port.Tags)
	return checkProfile(port)
}

// chosenMACs tells which of the new ports' MAC addresses the caller chose, and refuses those that are in use.
func chosenMACs(cs []*resource.Change[model.Port]) ([]bool, error) {
	given := make([]bool, len(cs))
	var networks, macs []string
	for i, c := range cs {
		if given[i] = c.New.MACAddress != ""; given[i] {
			networks, macs = append(networks, c.New.NetworkID), append(macs, c.New.MACAddress)
		}
	}
	if len(macs) == 0 {
		return given, nil
	}
	on, with := resource.In("network_id", networks), resource.In("mac_address", macs)
	rows, err := cs[0].Tx.Query("SELECT network_id, mac_address FROM ports WHERE "+on.SQL+" AND "+with.SQL, append(on.Args, with.Args...)...)
	used, err := store.All(rows, err, func(r *sql.Rows) (p model.Port, err error) {
		err = r.Scan(&p.NetworkID, &p.MACAddress)
		return p, err
	})
	if err != nil {
		return nil, fmt.Errorf("read MAC addresses: %w", err)
	}
	for i, c := range cs {
		if given[i] && slices.ContainsFunc(used, func(p model.Port) bool {
			return p.NetworkID == c.New.NetworkID && p.MACAddress == c.New.MACAddress
		}) {
			return nil, macInUse(c.New)
		}
	}
	return given, nil
}

// randomMAC makes a MAC address. That it is unique in its network is the database's constraint.
func (p *Plugin) randomMAC() string {
	mac := slices.Clone(p.baseMAC)
	fixed := 3
	if mac[3] != 0 {
		fixed = 4
	}
	for i := fixed; i < len(mac); i++ {
		mac[i] = byte(rand.IntN(256))
	}
	return net.HardwareAddr(mac).String()
}

// checkRouterDevice keeps users from naming another project's router as device of a router port.
func (p *Plugin) checkRouterDevice(c *resource.Change[model.Port]) error {
	port := c.New
	if !contains(routerInterfaceOwners, port.DeviceOwner) || c.Caller.IsAdmin || port.DeviceID == "" {
		return nil
	}
	project, found, err := store.One[*string](c.Tx.QueryRow("SELECT project_id FROM routers WHERE id = ?", port.DeviceID))
	if err != nil {
		return fmt.Errorf("read router %s: %w", port.DeviceID, err)
	}
	if found && (project == nil || *project != port.ProjectID) {
		return fault.Conflict("DeviceIDNotOwnedByTenant", "The following device_id %s is not owned by your project or matches another "+
			"project router.", port.DeviceID)
	}
	return nil
}

// onlySeen leaves out the subnets that the caller does not see: ports get no addresses there, though the network may be the
// caller's own.
func (p *Plugin) onlySeen(tx *store.Tx, caller *identity.Caller, networks map[string]*ipam.Network) error {
	if caller == nil || caller.SeesAll() {
		return nil
	}
	var foreign []string
	for _, n := range networks {
		for _, s := range n.Subnets {
			if s.ProjectID != caller.ProjectID {
				foreign = append(foreign, s.ID)
			}
		}
	}
	if len(foreign) == 0 {
		return nil
	}
	subnets := p.catalog.Subnets
	seen, err := subnets.Select(tx, &resource.Query{Set: subnets.Bit("id"), Caller: caller, Where: []resource.Cond{subnets.ByID(foreign...)}})
	if err != nil {
		return err
	}
	for _, n := range networks {
		n.Subnets = slices.DeleteFunc(n.Subnets, func(s *ipam.Subnet) bool {
			return s.ProjectID != caller.ProjectID && !slices.ContainsFunc(seen, func(o *model.Subnet) bool { return o.ID == s.ID })
		})
	}
	return nil
}

// allocate gives all new ports their addresses.
func (p *Plugin) allocate(tx *store.Tx, cs []*resource.Change[model.Port]) error {
	wants := map[string][]*ipam.Want{}
	var order []string
	for _, c := range cs {
		id := c.New.NetworkID
		if wants[id] == nil {
			order = append(order, id)
		}
		wants[id] = append(wants[id], &ipam.Want{Port: c.New, Unspecified: !c.Has("fixed_ips")})
	}
	networks, err := ipam.Load(tx, order...)
	if err != nil {
		return err
	}
	if err := p.onlySeen(tx, cs[0].Caller, networks); err != nil {
		return err
	}
	for _, id := range order {
		if err := networks[id].Allocate(tx, wants[id]...); err != nil {
			return err
		}
	}
	return nil
}

// insertPort stores a port. Its MAC address may be taken by now: if we chose it, the transaction starts again with
// another.
func (p *Plugin) insertPort(c *resource.Change[model.Port], givenMAC bool) error {
	err := p.catalog.Ports.Insert(c.Tx, c.New)
	switch {
	case store.IsDuplicate(err) && (givenMAC || c.New.VNICType == vnicDirectPhysical):
		return macInUse(c.New)
	case store.IsDuplicate(err), store.IsForeignKey(err):
		return store.Retry(err)
	}
	return err
}

func macInUse(p *model.Port) error {
	return fault.Conflict("MacAddressInUse", "Unable to complete operation for network %s. The mac address %s is in use.",
		p.NetworkID, p.MACAddress)
}

// clonePort copies a port so that the copy's lists can be changed.
func clonePort(p *model.Port) *model.Port {
	c := *p
	c.FixedIPs, c.SecurityGroups = slices.Clone(p.FixedIPs), slices.Clone(p.SecurityGroups)
	c.AddressPairs, c.ExtraDHCPOpts = slices.Clone(p.AddressPairs), slices.Clone(p.ExtraDHCPOpts)
	return &c
}

// portsWhere reads complete ports.
func (p *Plugin) portsWhere(tx *store.Tx, where resource.Cond) ([]*model.Port, error) {
	return p.catalog.Ports.Select(tx, &resource.Query{Set: p.catalog.Ports.All, Where: []resource.Cond{where}})
}

// GetPort reads a port. It is PortNotFound if there is none.
func (p *Plugin) GetPort(tx *store.Tx, id string) (*model.Port, error) {
	return p.catalog.Ports.Get(tx, identity.System(), id, p.catalog.Ports.All)
}
