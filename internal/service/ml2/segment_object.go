package ml2

import (
	"fmt"
	"strings"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"
)

// Segments is what segments do beyond storing their attributes.
func (p *Plugin) Segments() resource.Logic[model.NetworkSegment] {
	return resource.Logic[model.NetworkSegment]{Create: p.createSegment, Delete: p.deleteSegment}
}

func (p *Plugin) createSegment(c *resource.Change[model.NetworkSegment]) error {
	o := c.New
	n, err := p.catalog.Networks.Get(c.Tx, c.Caller, o.NetworkID, p.catalog.Networks.Bits("id", "mtu", "project_id"))
	if err != nil {
		return err
	}
	s := model.Segment{NetworkType: o.NetworkType, PhysicalNetwork: o.PhysicalNetwork, SegmentationID: o.SegmentationID}
	if s.NetworkType == "" {
		return fault.InvalidInput("network_type value '' not supported")
	}
	if err := p.ValidateSegment(c.Tx, &s); err != nil {
		return err
	}
	if err := p.types[s.NetworkType].reserve(c.Tx, &s, ""); err != nil {
		return err
	}
	all, err := segments(c.Tx, n.ID)
	if err != nil {
		return err
	}
	if _, err := p.networkMTU(n.MTU, append(all[n.ID], s)...); err != nil {
		return err
	}
	last, _, err := store.One[int](c.Tx.QueryRow("SELECT COALESCE(MAX(segment_index), -1) FROM networksegments WHERE network_id = ?", n.ID))
	if err != nil {
		return fmt.Errorf("read segments of network %s: %w", n.ID, err)
	}
	o.PhysicalNetwork, o.SegmentationID, o.Index = s.PhysicalNetwork, s.SegmentationID, last+1
	if err := p.catalog.Segments.Insert(c.Tx, o); err != nil {
		if store.IsDuplicate(err) || store.IsForeignKey(err) {
			return store.Retry(err)
		}
		return err
	}
	if s.SegmentationID != nil {
		if err := p.catalog.Segments.CountUp(c.Tx, 1, o); err != nil { // upstream notes the id in a second step
			return err
		}
	}
	s.ID = o.ID
	return p.mapSegment(c.Tx, s)
}

func (p *Plugin) deleteSegment(c *resource.Change[model.NetworkSegment]) error {
	o := c.Old
	subnets, err := store.Strings(c.Tx.Query("SELECT id FROM subnets WHERE segment_id = ? ORDER BY id", o.ID))
	if err != nil {
		return fmt.Errorf("read subnets of segment %s: %w", o.ID, err)
	}
	if len(subnets) > 0 {
		text := fmt.Sprintf("Segment '%s' cannot be deleted: The segment is still associated with subnet(s) %s.", o.ID, strings.Join(subnets, ", "))
		return fault.Conflict("SegmentInUse", "%s\n%s", text, text) // twice, as two of upstream's listeners refuse
	}
	ports, err := store.Strings(c.Tx.Query("SELECT DISTINCT port_id FROM ml2_port_binding_levels WHERE segment_id = ?", o.ID))
	if err != nil {
		return fmt.Errorf("read ports of segment %s: %w", o.ID, err)
	}
	if len(ports) > 0 {
		return fault.Conflict("SegmentInUse", "Segment '%s' cannot be deleted: The segment is still bound with port(s) %s.", o.ID,
			strings.Join(ports, ", "))
	}
	if driver := p.types[o.NetworkType]; driver != nil {
		s := model.Segment{ID: o.ID, NetworkType: o.NetworkType, PhysicalNetwork: o.PhysicalNetwork, SegmentationID: o.SegmentationID}
		if err := driver.release(c.Tx, s); err != nil {
			return fmt.Errorf("release segment %s: %w", o.ID, err)
		}
	}
	err = p.catalog.Segments.Delete(c.Tx, o)
	if store.IsForeignKey(err) {
		return store.Retry(err)
	}
	return err
}

// checkSegment keeps the rule that either all subnets of a network are on segments or none, but those for routed
// addresses (upstream neutron/db/ipam_backend_mixin.py, _validate_segment). old is nil for a new subnet.
func checkSegment(tx *store.Tx, old, now *model.Subnet) error {
	if old != nil && equal(old.SegmentID, now.SegmentID) {
		return nil
	}
	if now.SegmentID != nil && old == nil {
		if err := segmentOf(tx, now); err != nil {
			return err
		}
	}
	own := now.ID
	if old != nil {
		own = ""
	}
	others, err := store.Strings(tx.Query("SELECT COALESCE(s.segment_id, '') FROM subnets s WHERE s.network_id = ? AND s.id <> ? AND NOT EXISTS "+
		"(SELECT 1 FROM subnet_service_types y WHERE y.subnet_id = s.id AND y.service_type = 'network:routed')", now.NetworkID, own))
	if err != nil {
		return fmt.Errorf("read segments of subnets: %w", err)
	}
	mixed := fault.BadRequest("SubnetsNotAllAssociatedWithSegments", "All of the subnets on network '%s' must either all be associated with "+
		"segments or all not associated with any segment.", now.NetworkID)
	if old == nil {
		for _, o := range others {
			if (o == "") != (now.SegmentID == nil) && !contains(now.ServiceTypes, "network:routed") {
				return mixed
			}
		}
		return nil
	}
	if len(others) > 1 {
		return mixed
	}
	if old.SegmentID != nil {
		return fault.BadRequest("SubnetSegmentAssociationChangeNotAllowed", "A subnet that is already associated with a segment cannot have "+
			"its segment association changed.")
	}
	n, _, err := store.One[int](tx.QueryRow("SELECT COUNT(*) FROM networksegments WHERE network_id = ?", now.NetworkID))
	if err != nil {
		return fmt.Errorf("count segments: %w", err)
	}
	if n > 1 {
		return fault.BadRequest("NoUpdateSubnetWhenMultipleSegmentsOnNetwork", "The network '%s' has multiple segments, it is only possible to "+
			"associate an existing subnet with a segment on networks with a single segment.", now.NetworkID)
	}
	return segmentOf(tx, now)
}

// segmentOf refuses a subnet whose segment is not one of its network's own.
func segmentOf(tx *store.Tx, s *model.Subnet) error {
	network, found, err := store.One[string](tx.QueryRow("SELECT network_id FROM networksegments WHERE id = ?", *s.SegmentID))
	switch {
	case err != nil:
		return fmt.Errorf("read segment %s: %w", *s.SegmentID, err)
	case !found:
		return fault.NotFound("SegmentNotFound", "Segment %s could not be found.", *s.SegmentID)
	case network != s.NetworkID:
		return fault.BadRequest("NetworkIdsDontMatch", "The subnet's network id, '%s', doesn't match the network_id of segment '%s'",
			s.NetworkID, *s.SegmentID)
	}
	dynamic, _, err := store.One[bool](tx.QueryRow("SELECT is_dynamic FROM networksegments WHERE id = ?", *s.SegmentID))
	if err == nil && dynamic {
		return fault.BadRequest("SubnetCantAssociateToDynamicSegment", "A subnet cannot be associated with a dynamic segment.")
	}
	return err
}
