package ml2

import (
	"fmt"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"

	"github.com/google/uuid"
)

// wantedSegment is what the provider attributes of a request ask for; nil means that none is set.
func (p *Plugin) wantedSegment(n *model.Network) (*model.Segment, error) {
	if n.NetworkType == nil && n.PhysicalNetwork == nil && n.SegmentationID == nil {
		return nil, nil
	}
	if n.NetworkType == nil {
		return nil, fault.InvalidInput("network_type required")
	}
	s := &model.Segment{NetworkType: *n.NetworkType, PhysicalNetwork: n.PhysicalNetwork, SegmentationID: n.SegmentationID}
	driver := p.types[s.NetworkType]
	if driver == nil {
		return nil, fault.InvalidInput("network_type value '%s' not supported", s.NetworkType)
	}
	return s, driver.validate(s)
}

// takeSegment gives a new network its segment: the one asked for, or any of the first type that has one left.
func (p *Plugin) takeSegment(tx *store.Tx, n *model.Network) (*model.Segment, error) {
	wanted, err := p.wantedSegment(n)
	if err != nil {
		return nil, err
	}
	if wanted != nil {
		return wanted, p.types[wanted.NetworkType].reserve(tx, wanted)
	}
	types := p.cfg.TenantNetworkTypes
	if n.External && p.cfg.ExternalNetworkType != "" {
		types = []string{p.cfg.ExternalNetworkType}
	}
	for _, name := range types {
		s := &model.Segment{NetworkType: name}
		ok, err := p.types[name].allocate(tx, s)
		if err != nil {
			return nil, fmt.Errorf("allocate %s segment: %w", name, err)
		}
		if ok {
			return s, nil
		}
	}
	return nil, noNetworkAvailable()
}

// insertSegment stores the segment of a network.
func insertSegment(tx *store.Tx, networkID string, s *model.Segment) error {
	now := resource.Now()
	row, err := tx.Insert("INSERT INTO standardattributes (resource_type, revision_number, created_at, updated_at) VALUES (?, ?, ?, ?)",
		"networksegments", 0, now, now)
	if err != nil {
		return fmt.Errorf("create segment: %w", err)
	}
	s.ID = uuid.NewString()
	_, err = tx.Exec("INSERT INTO networksegments (id, network_id, network_type, physical_network, segmentation_id, is_dynamic, "+
		"segment_index, standard_attr_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
		s.ID, networkID, s.NetworkType, s.PhysicalNetwork, s.SegmentationID, false, 0, row)
	if err != nil {
		return fmt.Errorf("create segment: %w", err)
	}
	return nil
}

// segments reads the segments of networks, in their order.
func segments(tx *store.Tx, networkIDs ...string) (map[string][]model.Segment, error) {
	in := resource.In("network_id", networkIDs)
	rows, err := tx.Query("SELECT network_id, id, network_type, physical_network, segmentation_id FROM networksegments WHERE "+
		in.SQL+" ORDER BY is_dynamic, segment_index", in.Args...)
	if err != nil {
		return nil, fmt.Errorf("read segments: %w", err)
	}
	defer rows.Close()
	out := map[string][]model.Segment{}
	for rows.Next() {
		var network string
		var s model.Segment
		if err := rows.Scan(&network, &s.ID, &s.NetworkType, &s.PhysicalNetwork, &s.SegmentationID); err != nil {
			return nil, fmt.Errorf("read segments: %w", err)
		}
		out[network] = append(out[network], s)
	}
	return out, rows.Err()
}

// releaseSegments gives the segments of a network back and removes their rows.
func (p *Plugin) releaseSegments(tx *store.Tx, networkID string) error {
	all, err := segments(tx, networkID)
	if err != nil {
		return err
	}
	for _, s := range all[networkID] {
		driver := p.types[s.NetworkType]
		if driver == nil {
			p.log.WarnContext(tx.Context(), "segment of a type without driver is not released", "segment", s.ID, "type", s.NetworkType)
			continue
		}
		if err := driver.release(tx, s); err != nil {
			return fmt.Errorf("release segment %s: %w", s.ID, err)
		}
	}
	_, err = tx.Exec("DELETE FROM standardattributes WHERE id IN (SELECT standard_attr_id FROM networksegments WHERE network_id = ?)", networkID)
	if err != nil {
		return fmt.Errorf("delete segments: %w", err)
	}
	return nil
}

// changeSegmentationID moves a network to another VLAN. No agent follows such a change, so no port may be bound.
func (p *Plugin) changeSegmentationID(tx *store.Tx, n *model.Network) error {
	all, err := segments(tx, n.ID)
	if err != nil {
		return err
	}
	if len(all[n.ID]) != 1 {
		return fault.InvalidInput("Provider network attributes can be updated only in provider networks with a single segment.")
	}
	bound, _, err := store.One[int](tx.QueryRow("SELECT COUNT(*) FROM ml2_port_bindings b JOIN ports p ON p.id = b.port_id "+
		"WHERE p.network_id = ? AND b.vif_type NOT IN (?, ?)", n.ID, vifUnbound, vifBindingFailed))
	if err != nil {
		return fmt.Errorf("count bound ports: %w", err)
	}
	if bound > 0 {
		return fault.InvalidInput("Provider network attribute provider:segmentation_id cannot be updated if any port in the network "+
			"has not the following binding:vif_type: %s, %s", vifUnbound, vifBindingFailed)
	}
	old := all[n.ID][0]
	driver := p.types[old.NetworkType]
	if old.NetworkType != "vlan" || driver == nil {
		return fault.InvalidInput("Only VLAN type networks can be updated.")
	}
	moved := old
	moved.SegmentationID = n.SegmentationID
	if err := driver.validate(&moved); err != nil {
		return err
	}
	if err := driver.reserve(tx, &moved); err != nil {
		return err
	}
	if _, err := tx.Exec("UPDATE networksegments SET segmentation_id = ? WHERE id = ?", moved.SegmentationID, old.ID); err != nil {
		return fmt.Errorf("update segment %s: %w", old.ID, err)
	}
	return driver.release(tx, old)
}
