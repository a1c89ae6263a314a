package l3

import (
	"fmt"
	"slices"
	"strings"

	"neutrino/internal/fault"
	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"
)

// Kind tells what kind of router a request asks for, or a stored router is.
func (s *Service) Kind(r *model.Router) (distributed, ha bool) {
	distributed, ha = s.cfg.Distributed, s.cfg.HA
	if r.Distributed != nil {
		distributed = *r.Distributed
	}
	if r.HA != nil {
		ha = *r.HA
	}
	return distributed, ha
}

func is(flag *bool) bool { return flag != nil && *flag }

// interfaceOwner is the owner of the ports by which a router is on its subnets.
func interfaceOwner(r *model.Router) string {
	switch {
	case is(r.Distributed):
		return ownerDistributed
	case is(r.HA):
		return ownerReplicated
	}
	return ownerInterface
}

// changeKind makes a stored router distributed or not, highly available or not, as a request asks. Flags that the request
// leaves alone or sets to null stay. Routers must be switched off for it: what to become distributed is told to be, both
// before and after.
func (s *Service) changeKind(c *resource.Change[model.Router]) error {
	tx, old, now := c.Tx, c.Old, c.New
	if now.Distributed == nil {
		now.Distributed = old.Distributed
	}
	asksHA := c.Has("ha") && is(now.HA)
	if now.HA == nil {
		now.HA = old.HA
	}
	var refused []string
	if is(now.Distributed) != is(old.Distributed) && (old.AdminStateUp || now.AdminStateUp) {
		refused = append(refused, "Bad router request: Cannot change the 'distributed' attribute of active routers. Please set router "+
			"admin_state_up to False prior to upgrade.")
	}
	if is(now.HA) != is(old.HA) && now.AdminStateUp {
		refused = append(refused, "Bad router request: Cannot change HA attribute of active routers. Please set router admin_state_up to False "+
			"prior to upgrade.")
	}
	if len(refused) > 0 {
		return fault.BadRequest("BadRequest", "%s", strings.Join(refused, "\n"))
	}
	if is(now.HA) != is(old.HA) {
		if err := s.leaveHA(tx, old); err != nil {
			return err
		}
	}
	if is(now.Distributed) == is(old.Distributed) && is(now.HA) == is(old.HA) {
		return nil
	}
	if err := s.unbind(tx, old.ID); err != nil {
		return err
	}
	to := interfaceOwner(now)
	if is(old.Distributed) && !is(now.Distributed) && !asksHA {
		to = ownerInterface // upstream looks at the request only
	}
	return s.changeOwner(tx, old.ID, interfaceOwner(old), to)
}

// leaveHA takes what highly available routers have from one that is to change.
func (s *Service) leaveHA(tx *store.Tx, r *model.Router) error {
	if !is(r.HA) {
		return nil
	}
	if err := releaseVRID(tx, r.ID, r.ProjectID); err != nil {
		return err
	}
	if err := s.removeHAPorts(tx, r.ID, ""); err != nil {
		return err
	}
	return s.dropHANetwork(tx, r.ProjectID)
}

// unbind takes a router from all its agents and tells them.
func (s *Service) unbind(tx *store.Tx, router string) error {
	places, err := s.placements(tx, router)
	if err != nil || len(places) == 0 {
		return err
	}
	if _, err := tx.Exec("DELETE FROM routerl3agentbindings WHERE router_id = ?", router); err != nil {
		return fmt.Errorf("unbind router %s: %w", router, err)
	}
	hosts := make([]string, len(places))
	for i, p := range places {
		hosts[i] = p.host
	}
	s.moved(tx, router, hosts, "")
	return nil
}

// changeOwner gives the interfaces of a router another owner.
func (s *Service) changeOwner(tx *store.Tx, router, from, to string) error {
	if from == to {
		return nil
	}
	ports, err := store.Strings(tx.Query("SELECT port_id FROM routerports WHERE router_id = ? AND port_type = ?", router, from))
	if err != nil {
		return fmt.Errorf("read interfaces of router %s: %w", router, err)
	}
	for _, id := range ports {
		if _, err := s.core.UpdatePort(tx, identity.System(), id, []string{"device_owner"}, func(p *model.Port) { p.DeviceOwner = to }); err != nil {
			return err
		}
	}
	if _, err := tx.Exec("UPDATE routerports SET port_type = ? WHERE router_id = ? AND port_type = ?", to, router, from); err != nil {
		return fmt.Errorf("change interfaces of router %s: %w", router, err)
	}
	return nil
}

// Distributed routers with a gateway have a second port on each subnet, for the one place that translates the addresses
// of instances without a floating IP (upstream neutron/db/l3_dvr_db.py).

// snatPorts adds or removes these ports of a router that was changed.
func (s *Service) snatPorts(tx *store.Tx, old, now *model.Router) error {
	had := is(old.Distributed) && old.GatewayPortID != nil
	wants := is(now.Distributed) && now.GatewayPortID != nil
	if had == wants {
		return nil
	}
	ports, err := attachments(tx, now.ID)
	if err != nil {
		return err
	}
	if had {
		return s.removeSNATPorts(tx, ports, "")
	}
	if slices.ContainsFunc(ports, func(p *attachment) bool { return p.owner == ownerSNAT }) {
		return nil
	}
	var v6 []model.FixedIP
	var network string
	for _, p := range ports {
		if p.owner != ownerDistributed {
			continue
		}
		for _, a := range p.addresses {
			if a.cidr.Addr().Is6() {
				v6, network = append(v6, model.FixedIP{SubnetID: a.subnet}), p.network
			} else if err := s.addSNATPort(tx, now.ID, p.network, model.FixedIP{SubnetID: a.subnet}); err != nil {
				return err
			}
		}
	}
	if len(v6) == 0 {
		return nil
	}
	return s.addSNATPort(tx, now.ID, network, v6...)
}

func (s *Service) addSNATPort(tx *store.Tx, router, network string, on ...model.FixedIP) error {
	port := &model.Port{NetworkID: network, AdminStateUp: true, DeviceID: router, DeviceOwner: ownerSNAT, FixedIPs: on}
	if err := s.core.CreatePort(tx, identity.System(), port, "network_id", "admin_state_up", "device_id", "device_owner", "fixed_ips"); err != nil {
		return err
	}
	return attach(tx, router, port.ID, ownerSNAT)
}

// removeSNATPorts removes those ports whose first address is on a subnet, or all if it is "".
func (s *Service) removeSNATPorts(tx *store.Tx, ports []*attachment, subnet string) error {
	for _, p := range ports {
		if p.owner != ownerSNAT || subnet != "" && len(p.addresses) > 0 && p.addresses[0].subnet != subnet {
			continue
		}
		if err := s.core.DeletePort(tx, identity.System(), p.port); err != nil {
			return err
		}
	}
	return nil
}

// snatOnSubnet gives a distributed router the second port for a subnet that it has just been connected with: a new
// interface gets a new one, a prefix more of one of IPv6 an address more.
func (s *Service) snatOnSubnet(tx *store.Tx, r *model.Router, ports []*attachment, port *model.Port, subnet string) error {
	if !is(r.Distributed) || r.GatewayPortID == nil {
		return nil
	}
	on := model.FixedIP{SubnetID: subnet}
	if !slices.ContainsFunc(ports, func(p *attachment) bool { return p.port == port.ID }) {
		return s.addSNATPort(tx, r.ID, port.NetworkID, on)
	}
	for _, p := range ports {
		if p.owner == ownerSNAT && p.network == port.NetworkID && p.hasIPv6() {
			_, err := s.core.UpdatePort(tx, identity.System(), p.port, []string{"fixed_ips"},
				func(p *model.Port) { p.FixedIPs = append(slices.Clone(p.FixedIPs), on) })
			return err
		}
	}
	return nil
}

// snatOffSubnet is the reverse of it.
func (s *Service) snatOffSubnet(tx *store.Tx, r *model.Router, ports []*attachment, network, subnet string) error {
	if !is(r.Distributed) {
		return nil
	}
	for _, p := range ports {
		if p.owner != ownerSNAT || p.network != network || !p.hasIPv6() || !p.onSubnet(subnet) || len(p.addresses) < 2 || r.GatewayPortID == nil {
			continue
		}
		_, err := s.core.UpdatePort(tx, identity.System(), p.port, []string{"fixed_ips"}, func(p *model.Port) {
			p.FixedIPs = slices.DeleteFunc(slices.Clone(p.FixedIPs), func(f model.FixedIP) bool { return f.SubnetID == subnet })
		})
		return err
	}
	return s.removeSNATPorts(tx, ports, subnet)
}

// served is a condition on the router whose id is expr: that an agent of this version can serve it.
func served(expr string) resource.Cond {
	return resource.Cond{SQL: "NOT EXISTS (SELECT 1 FROM router_extra_attributes x WHERE x.router_id = " + expr + " AND (x.ha = ? OR x.distributed = ?))",
		Args: []any{true, true}}
}
