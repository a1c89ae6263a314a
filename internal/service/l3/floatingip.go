package l3

import (
	"fmt"
	"net/netip"
	"slices"

	"neutrino/internal/fault"
	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"

	"github.com/google/uuid"
)

// FloatingIPs is what floating IPs do beyond being stored.
func (s *Service) FloatingIPs() resource.Logic[model.FloatingIP] {
	return resource.Logic[model.FloatingIP]{Create: s.createFloatingIP, Update: s.updateFloatingIP, Delete: s.deleteFloatingIP,
		Load: s.loadFloatingIPs}
}

func (s *Service) createFloatingIP(c *resource.Change[model.FloatingIP]) error {
	tx, f := c.Tx, c.New
	if f.ID == "" {
		f.ID = uuid.NewString()
	}
	if err := s.checkFloatingNetwork(tx, c.Caller, f.FloatingNetworkID); err != nil {
		return err
	}
	if err := s.takeAddress(tx, f); err != nil {
		return err
	}
	f.Status = statusDown
	port, fixed, router := f.PortID, f.FixedIPAddress, f.RouterID
	f.PortID, f.FixedIPAddress, f.RouterID = nil, nil, nil
	if err := needsPort(fixed, port); err != nil {
		return err
	}
	if port != nil {
		if err := s.associate(tx, c.Caller, f, *port, fixed, router); err != nil {
			return err
		}
	}
	err := s.catalog.FloatingIPs.Insert(tx, f)
	if store.IsDuplicate(err) { // the address of the port has just got another floating IP
		return store.Retry(err)
	}
	if err != nil || f.RouterID == nil {
		return err
	}
	return s.floatingUpdated(tx, f.ID, *f.RouterID)
}

func (s *Service) checkFloatingNetwork(tx *store.Tx, caller *identity.Caller, id string) error {
	network, err := s.catalog.Networks.Get(tx, caller, id, s.catalog.Networks.Bits("id", "router:external"))
	if err != nil {
		return err
	}
	if !network.External {
		return badRequest("floatingip", "Network %s is not a valid external network", id)
	}
	v4, err := exists(tx, "FROM subnets WHERE network_id = ? AND ip_version = 4", id)
	if err != nil {
		return fmt.Errorf("read subnets of network %s: %w", id, err)
	}
	if !v4 {
		return badRequest("floatingip", "Network %s does not contain any IPv4 subnet", id)
	}
	return nil
}

// takeAddress makes the port that holds the floating address. It belongs to no project, so that users do not see it.
func (s *Service) takeAddress(tx *store.Tx, f *model.FloatingIP) error {
	port := &model.Port{NetworkID: f.FloatingNetworkID, AdminStateUp: true, Status: statusNone, DeviceID: f.ID, DeviceOwner: ownerFloatingIP}
	named := []string{"network_id", "admin_state_up", "status", "device_id", "device_owner"}
	var wanted model.FixedIP
	if f.SubnetID != nil {
		wanted.SubnetID = *f.SubnetID
	}
	if f.FloatingIPAddress != nil {
		wanted.IPAddress = *f.FloatingIPAddress
	}
	if wanted != (model.FixedIP{}) {
		port.FixedIPs, named = []model.FixedIP{wanted}, append(named, "fixed_ips")
	}
	if err := s.core.CreatePort(tx, identity.System(), port, named...); err != nil {
		return err
	}
	v4 := ipv4(port.FixedIPs)
	if len(v4) == 0 {
		return fault.BadRequest("ExternalIpAddressExhausted", "Unable to find any IP address on external network %s.", f.FloatingNetworkID)
	}
	f.FloatingIPAddress, f.FloatingPortID = &v4[0].IPAddress, port.ID
	return s.catalog.Ports.CountUp(tx, 1, port) // upstream writes the floating IP's id into the port afterwards
}

func ipv4(ips []model.FixedIP) []model.FixedIP {
	return slices.DeleteFunc(slices.Clone(ips), func(f model.FixedIP) bool {
		a, err := netip.ParseAddr(f.IPAddress)
		return err != nil || !a.Is4()
	})
}

func needsPort(fixed, port *string) error {
	if fixed != nil && *fixed != "" && port == nil {
		return badRequest("floatingip", "fixed_ip_address cannot be specified without a port_id")
	}
	return nil
}

func (s *Service) updateFloatingIP(c *resource.Change[model.FloatingIP]) error {
	tx, old, f := c.Tx, c.Old, c.New
	var port, fixed, router *string
	if c.Has("router_id") {
		router = f.RouterID
	}
	if c.Has("port_id") {
		port = f.PortID
	}
	if c.Has("fixed_ip_address") {
		fixed = f.FixedIPAddress
	}
	if err := needsPort(fixed, port); err != nil {
		return err
	}
	if c.Named != 0 && !c.Has("port_id") { // upstream looks again for address and router
		port = old.PortID
	}
	f.PortID, f.FixedIPAddress, f.RouterID = old.PortID, old.FixedIPAddress, old.RouterID
	switch {
	case port != nil:
		if err := s.associate(tx, c.Caller, f, *port, fixed, router); err != nil {
			return err
		}
	case old.PortID != nil: // also for a request without attributes
		f.PortID, f.FixedIPAddress, f.RouterID = nil, nil, nil
	}
	moved := !same(old.RouterID, f.RouterID)
	if moved {
		f.LastKnownRouterID = old.RouterID
	}
	_, err := s.catalog.FloatingIPs.Save(tx, old, f)
	if store.IsDuplicate(err) {
		return store.Retry(err)
	}
	if err != nil || !moved && same(old.PortID, f.PortID) && same(old.FixedIPAddress, f.FixedIPAddress) {
		return err
	}
	return s.floatingUpdated(tx, f.ID, present(old.RouterID, f.RouterID)...)
}

func same(a, b *string) bool { return a == nil && b == nil || a != nil && b != nil && *a == *b }

// present are the distinct values that are there.
func present(values ...*string) []string {
	var out []string
	for _, v := range values {
		if v != nil && !slices.Contains(out, *v) {
			out = append(out, *v)
		}
	}
	return out
}

func (s *Service) deleteFloatingIP(c *resource.Change[model.FloatingIP]) error {
	return s.removeFloatingIP(c.Tx, c.Old)
}

func (s *Service) removeFloatingIP(tx *store.Tx, f *model.FloatingIP) error {
	if err := s.catalog.FloatingIPs.Delete(tx, f); err != nil {
		return err
	}
	if err := s.core.DeletePort(tx, identity.System(), f.FloatingPortID); err != nil {
		return err
	}
	return s.floatingUpdated(tx, f.ID, present(f.RouterID)...)
}

// loadFloatingIPs fills port_details.
func (s *Service) loadFloatingIPs(tx *store.Tx, _ *identity.Caller, set resource.Set, list []*model.FloatingIP) error {
	if set&s.catalog.FloatingIPs.Bit("port_details") == 0 {
		return nil
	}
	var ports []string
	for _, f := range list {
		f.PortDetails = nil
		ports = append(ports, present(f.PortID)...)
	}
	details := map[string]*model.PortDetails{}
	for some := range slices.Chunk(ports, chunk) {
		in := resource.In("id", some)
		rows, err := tx.Query("SELECT id, COALESCE(name, ''), network_id, mac_address, admin_state_up, status, device_id, device_owner "+
			"FROM ports WHERE "+in.SQL, in.Args...)
		_, err = store.All(rows, err, func(rows *store.Rows) (struct{}, error) {
			var id string
			var d model.PortDetails
			err := rows.Scan(&id, &d.Name, &d.NetworkID, &d.MACAddress, &d.AdminStateUp, &d.Status, &d.DeviceID, &d.DeviceOwner)
			details[id] = &d
			return struct{}{}, err
		})
		if err != nil {
			return fmt.Errorf("read ports of floating IPs: %w", err)
		}
	}
	for _, f := range list {
		if f.PortID != nil {
			f.PortDetails = details[*f.PortID]
		}
	}
	return nil
}
