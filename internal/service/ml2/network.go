package ml2

import (
	"database/sql"
	"fmt"

	"neutrino/internal/fault"
	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"

	"github.com/google/uuid"
)

// Least MTUs of networks with subnets: neutron-lib wants more for IPv4 than RFC 791 does; IPv6 is as in RFC 8200.
const (
	minIPv4MTU = 500
	minIPv6MTU = 1280
)

func (p *Plugin) createNetwork(c *resource.Change[model.Network]) error {
	n := c.New
	if n.ID == "" {
		n.ID = uuid.NewString()
	}
	n.Status, n.SubnetIDs, n.AvailabilityZones = "ACTIVE", []string{}, []string{}
	if p.catalog.Networks.Bit("port_security_enabled") == 0 {
		n.PortSecurity = true
	}
	if err := before(p.Hooks.PrepareNetwork, c); err != nil {
		return err
	}
	taken, err := p.takeSegments(c.Tx, n)
	if err != nil {
		return err
	}
	first := taken[0]
	n.NetworkType, n.PhysicalNetwork, n.SegmentationID = &first.NetworkType, first.PhysicalNetwork, first.SegmentationID
	n.Segments, n.L2Adjacency = several(taken), true
	if n.MTU, err = p.networkMTU(n.MTU, taken...); err != nil {
		return err
	}
	if err := before(p.Hooks.BeforeNetwork, c); err != nil {
		return err
	}
	if err := p.catalog.Networks.Insert(c.Tx, n); err != nil {
		return err
	}
	for i := range taken {
		hosts, err := p.hostsOf(c.Tx, taken[i])
		if err != nil {
			return err
		}
		if err := insertSegment(c.Tx, n.ID, &taken[i], i, len(hosts) > 0); err != nil {
			return err
		}
		if err := mapSegment(c.Tx, taken[i].ID, hosts); err != nil {
			return err
		}
	}
	if err := share(c.Tx, nil, n); err != nil {
		return err
	}
	if err := checkZones(c.Tx, n.ZoneHints); err != nil { // as late as upstream, but before another default network is looked for
		return err
	}
	if err := p.makeExternal(c.Tx, &model.Network{}, n); err != nil {
		return err
	}
	after(c.Tx, p.Hooks.AfterNetwork, nil, n)
	return nil
}

// several are the segments of a network that has more than one; those of others are in the provider attributes.
func several(all []model.Segment) []model.Segment {
	if len(all) < 2 {
		return nil
	}
	return all
}

// networkMTU is the largest MTU that all segments carry, or the requested one if they can.
func (p *Plugin) networkMTU(requested int, segments ...model.Segment) (int, error) {
	most := 0
	for _, s := range segments {
		driver := p.types[s.NetworkType]
		if driver == nil {
			continue
		}
		physnet := ""
		if s.PhysicalNetwork != nil {
			physnet = *s.PhysicalNetwork
		}
		if mtu := driver.mtu(physnet); mtu > 0 && (most == 0 || mtu < most) {
			most = mtu
		}
	}
	if most == 0 {
		most = p.cfg.GlobalPhysnetMTU
	}
	if requested == 0 {
		return most, nil
	}
	if most > 0 && requested > most {
		return 0, fault.InvalidInput("Requested MTU is too big, maximum is %d", most)
	}
	return requested, nil
}

// checkZones refuses availability zones in which no DHCP agent ever was.
func checkZones(tx *store.Tx, hints []string) error {
	if len(hints) == 0 {
		return nil
	}
	in := resource.In("availability_zone", hints)
	known, err := store.Strings(tx.Query("SELECT DISTINCT availability_zone FROM agents WHERE agent_type = 'DHCP agent' AND "+in.SQL, in.Args...))
	if err != nil {
		return fmt.Errorf("read availability zones: %w", err)
	}
	for _, z := range hints {
		if !contains(known, z) {
			return fault.NotFound("AvailabilityZoneNotFound", "AvailabilityZone %s could not be found.", z)
		}
	}
	return nil
}

func (p *Plugin) updateNetwork(c *resource.Change[model.Network]) error {
	if err := p.checkProviderUpdate(c); err != nil {
		return err
	}
	if c.Has("shared") {
		if err := share(c.Tx, c.Old, c.New); err != nil {
			return err
		}
	}
	mostMTU := c.Has("mtu") && c.New.MTU == 0
	if c.Has("mtu") {
		if err := p.updateMTU(c); err != nil {
			return err
		}
	}
	if err := before(p.Hooks.BeforeNetwork, c); err != nil {
		return err
	}
	if err := p.makeExternal(c.Tx, c.Old, c.New); err != nil {
		return err
	}
	stored := *c.Old
	stored.SegmentationID = c.New.SegmentationID // it is the segment's, which is changed already
	if !c.New.External {
		stored.IsDefault = c.New.IsDefault // which has no effect
	}
	if mostMTU {
		stored.MTU = 0 // upstream counts it as a change even if the MTU stays what it was
	}
	if _, err := p.catalog.Networks.Save(c.Tx, &stored, c.New); err != nil {
		return err
	}
	after(c.Tx, p.Hooks.AfterNetwork, c.Old, c.New)
	return nil
}

func (p *Plugin) checkProviderUpdate(c *resource.Change[model.Network]) error {
	old, now := c.Old, c.New
	differs := func(a, b *string) bool { return b != nil && (a == nil || *a != *b) }
	if differs(old.NetworkType, now.NetworkType) || differs(old.PhysicalNetwork, now.PhysicalNetwork) {
		return fault.InvalidInput("Plugin does not support updating the following provider network attributes: " +
			"provider:network_type, provider:physical_network")
	}
	now.NetworkType, now.PhysicalNetwork = old.NetworkType, old.PhysicalNetwork
	now.Segments = old.Segments // upstream takes them and changes nothing
	if !c.Has("provider:segmentation_id") || now.SegmentationID == nil || *now.SegmentationID == 0 {
		now.SegmentationID = old.SegmentationID
		return nil
	}
	return p.changeSegmentationID(c.Tx, now)
}

func (p *Plugin) updateMTU(c *resource.Change[model.Network]) error {
	n := c.New
	if n.MTU < minIPv6MTU {
		families, err := ipVersions(c.Tx, n.ID)
		if err != nil {
			return err
		}
		if err := fitsSubnets(n, families...); err != nil {
			return err
		}
	}
	all, err := segments(c.Tx, n.ID)
	if err != nil {
		return err
	}
	n.MTU, err = p.networkMTU(n.MTU, all[n.ID]...)
	return err
}

// ipVersions reads the IP versions of the network's subnets.
func ipVersions(tx *store.Tx, networkID string) ([]int, error) {
	rows, err := tx.Query("SELECT DISTINCT ip_version FROM subnets WHERE network_id = ?", networkID)
	return store.All(rows, err, func(r *sql.Rows) (v int, err error) { err = r.Scan(&v); return v, err })
}

// fitsSubnets refuses an MTU below what IP demands.
func fitsSubnets(n *model.Network, versions ...int) error {
	switch {
	case len(versions) == 0:
		return nil
	case n.MTU < minIPv4MTU:
		return mtuConflict(n.ID, minIPv4MTU)
	case n.MTU < minIPv6MTU && contains(versions, 6):
		return mtuConflict(n.ID, minIPv6MTU)
	}
	return nil
}

// loadNetworks fills the segments of networks that have several.
func (p *Plugin) loadNetworks(tx *store.Tx, _ *identity.Caller, set resource.Set, objs []*model.Network) error {
	if set&p.catalog.Networks.Bits("segments", "provider:network_type", "provider:physical_network", "provider:segmentation_id") == 0 || len(objs) == 0 {
		return nil
	}
	split, err := store.Strings(tx.Query("SELECT network_id FROM networksegments WHERE segment_index > 0 AND is_dynamic = ? GROUP BY network_id", false))
	if err != nil || len(split) == 0 {
		return err
	}
	all, err := segments(tx, split...)
	if err != nil {
		return err
	}
	for _, n := range objs {
		n.Segments = all[n.ID]
	}
	return nil
}

// showDefault shows is_default in the answer as upstream does: after a create always, after an update that made or left
// the network internal if the request named both attributes and changed the first.
func showDefault(c *resource.Change[model.Network], n *model.Network) {
	same := c.Old != nil && c.Old.External && c.Old.IsDefault == c.New.IsDefault
	if c.Old == nil || c.Has("is_default") && c.Has("router:external") && !same {
		n.IsDefault, n.ShowDefault = c.New.IsDefault, true
	}
	if c.Old != nil && c.Has("is_default") && c.Old.IsDefault != c.New.IsDefault && c.Old.External && c.New.External {
		n.Revision-- // upstream counts the change of the default only after it has made the answer
	}
}
