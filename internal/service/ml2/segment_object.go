package ml2

import (
	"database/sql"
	"fmt"
	"slices"
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
	hosts, err := p.hostsOf(c.Tx, s)
	if err != nil {
		return err
	}
	if s.SegmentationID != nil || len(hosts) > 0 {
		if err := p.catalog.Segments.CountUp(c.Tx, 1, o); err != nil { // upstream notes the id and the hosts in a second step
			return err
		}
	}
	return mapSegment(c.Tx, o.ID, hosts)
}

func (p *Plugin) deleteSegment(c *resource.Change[model.NetworkSegment]) error {
	o := c.Old
	if err := p.segmentUnused(c.Tx, o.ID); err != nil {
		return err
	}
	if driver := p.types[o.NetworkType]; driver != nil {
		s := model.Segment{ID: o.ID, NetworkType: o.NetworkType, PhysicalNetwork: o.PhysicalNetwork, SegmentationID: o.SegmentationID}
		if err := driver.release(c.Tx, s); err != nil {
			return fmt.Errorf("release segment %s: %w", o.ID, err)
		}
	}
	err := p.catalog.Segments.Delete(c.Tx, o)
	if store.IsForeignKey(err) {
		return store.Retry(err)
	}
	return err
}

// segmentUnused refuses to delete a segment that has subnets or bound ports, but for those of DHCP agents, which it deletes.
func (p *Plugin) segmentUnused(tx *store.Tx, id string) error {
	subnets, err := store.Strings(tx.Query("SELECT id FROM subnets WHERE segment_id = ? ORDER BY id", id))
	if err != nil {
		return fmt.Errorf("read subnets of segment %s: %w", id, err)
	}
	ports, err := p.portsWhere(tx, resource.Cond{SQL: "t.id IN (SELECT port_id FROM ml2_port_binding_levels WHERE segment_id = ?)", Args: []any{id}})
	if err != nil {
		return err
	}
	var refusals []string
	refuse := func(format string, args ...any) {
		refusals = append(refusals, fmt.Sprintf("Segment '%s' cannot be deleted: The segment is still ", id)+fmt.Sprintf(format, args...)+".")
	}
	if slices.ContainsFunc(ports, func(port *model.Port) bool { return !contains(autoDeleted, port.DeviceOwner) }) {
		refuse("bound with %d port(s)", len(ports))
	}
	if len(subnets) > 0 {
		for range 2 { // two of upstream's listeners refuse
			refuse("associated with subnet(s) %s", strings.Join(subnets, ", "))
		}
	}
	if len(refusals) > 0 {
		return fault.Conflict("SegmentInUse", "%s", strings.Join(refusals, "\n"))
	}
	return p.deletePorts(tx, ports)
}

// checkSegment keeps the rule that either all subnets of a network are on segments or none, but those for routed
// addresses (upstream neutron/db/ipam_backend_mixin.py, _validate_segment). old is nil for a new subnet; a change is checked if it names a segment, even the one of before.
func checkSegment(tx *store.Tx, old, now *model.Subnet) error {
	if now.SegmentID != nil && old == nil {
		if _, err := readSegment(tx, *now.SegmentID); err != nil {
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
		if now.SegmentID == nil {
			return nil
		}
		return segmentOf(tx, now)
	}
	without := slices.Contains(others, "")
	if without && slices.ContainsFunc(others, func(o string) bool { return o != "" }) {
		return mixed
	}
	if equal(old.SegmentID, now.SegmentID) {
		return nil
	}
	if len(others) > 1 {
		return mixed
	}
	if !without && (now.SegmentID == nil || !slices.Contains(others, *now.SegmentID)) {
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
	if now.SegmentID == nil {
		return nil
	}
	return segmentOf(tx, now)
}

// segmentOf refuses a subnet whose segment is not one of its network's own.
func segmentOf(tx *store.Tx, s *model.Subnet) error {
	segment, err := readSegment(tx, *s.SegmentID)
	switch {
	case err != nil:
		return err
	case segment.network != s.NetworkID:
		return fault.BadRequest("NetworkIdsDontMatch", "The subnet's network id, '%s', doesn't match the network_id of segment '%s'",
			s.NetworkID, *s.SegmentID)
	case segment.dynamic:
		return fault.BadRequest("SubnetCantAssociateToDynamicSegment", "A subnet cannot be associated with a dynamic segment.")
	}
	return nil
}

// segmentRow is what subnets have to know of a segment.
type segmentRow struct {
	network string
	dynamic bool
}

func readSegment(tx *store.Tx, id string) (segmentRow, error) {
	rows, err := tx.Query("SELECT network_id, is_dynamic FROM networksegments WHERE id = ?", id)
	all, err := store.All(rows, err, func(r *sql.Rows) (s segmentRow, err error) { return s, r.Scan(&s.network, &s.dynamic) })
	if err != nil {
		return segmentRow{}, fmt.Errorf("read segment %s: %w", id, err)
	}
	if len(all) == 0 {
		return segmentRow{}, fault.NotFound("SegmentNotFound", "Segment %s could not be found.", id)
	}
	return all[0], nil
}
