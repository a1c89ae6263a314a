package ml2

import (
	"fmt"
	"strings"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"

	"github.com/google/uuid"
)

// wantedSegments are what the provider attributes or the segments of a request ask for; none if it names neither.
func (p *Plugin) wantedSegments(tx *store.Tx, n *model.Network) ([]model.Segment, error) {
	wanted := n.Segments
	if n.NetworkType != nil || n.PhysicalNetwork != nil || n.SegmentationID != nil {
		if wanted != nil {
			return nil, fault.BadRequest("SegmentsSetInConjunctionWithProviders", "Segments and provider values cannot both be set.")
		}
		s := model.Segment{PhysicalNetwork: n.PhysicalNetwork, SegmentationID: n.SegmentationID}
		if n.NetworkType != nil {
			s.NetworkType = *n.NetworkType
			if s.NetworkType == "" {
				return nil, fault.InvalidInput("network_type value '' not supported")
			}
		}
		wanted = []model.Segment{s}
	}
	for i := range wanted {
		if err := p.ValidateSegment(tx, &wanted[i]); err != nil {
			return nil, err
		}
		for _, other := range wanted[:i] {
			if sameSegment(wanted[i], other) {
				return nil, fault.BadRequest("SegmentsContainDuplicateEntry", "Duplicate segment entry in request.")
			}
		}
	}
	return wanted, nil
}

// sameSegment tells whether two requests mean one segment; those that leave the id open do not.
func sameSegment(a, b model.Segment) bool {
	numbered := a.NetworkType != "flat" && a.NetworkType != "local"
	return a.NetworkType == b.NetworkType && equal(a.PhysicalNetwork, b.PhysicalNetwork) && equal(a.SegmentationID, b.SegmentationID) &&
		(a.SegmentationID != nil || !numbered)
}

func equal[T comparable](a, b *T) bool { return a == b || a != nil && b != nil && *a == *b }

// ValidateSegment refuses what the driver of the segment's type cannot have.
func (p *Plugin) ValidateSegment(tx *store.Tx, s *model.Segment) error {
	if s.NetworkType == "" {
		return fault.InvalidInput("network_type required")
	}
	driver := p.types[s.NetworkType]
	if driver == nil {
		return fault.InvalidInput("network_type value '%s' not supported", s.NetworkType)
	}
	return driver.validate(tx, s)
}

// takeSegments gives a new network its segments: those asked for, or any of the first type that has one left.
func (p *Plugin) takeSegments(tx *store.Tx, n *model.Network) ([]model.Segment, error) {
	wanted, err := p.wantedSegments(tx, n)
	if err != nil {
		return nil, err
	}
	for i := range wanted {
		if err := p.types[wanted[i].NetworkType].reserve(tx, &wanted[i], n.ProjectID); err != nil {
			return nil, err
		}
	}
	if len(wanted) > 0 {
		return wanted, nil
	}
	types := p.cfg.TenantNetworkTypes
	if n.External && p.cfg.ExternalNetworkType != "" {
		types = []string{p.cfg.ExternalNetworkType}
	}
	for _, name := range types {
		s := model.Segment{NetworkType: name}
		ok, err := p.types[name].allocate(tx, &s, n.ProjectID)
		if err != nil {
			return nil, fmt.Errorf("allocate %s segment: %w", name, err)
		}
		if ok {
			return []model.Segment{s}, nil
		}
	}
	return nil, noNetworkAvailable()
}

// insertSegment stores a segment of a network. mapped says that hosts are known to reach it.
func insertSegment(tx *store.Tx, networkID string, s *model.Segment, index int, mapped bool) error {
	now, revision := resource.Now(), 0
	if mapped {
		revision = 1 // upstream counts the hosts as a change
	}
	row, err := tx.Insert("INSERT INTO standardattributes (resource_type, revision_number, created_at, updated_at) VALUES (?, ?, ?, ?)",
		"networksegments", revision, now, now)
	if err != nil {
		return fmt.Errorf("create segment: %w", err)
	}
	s.ID = uuid.NewString()
	_, err = tx.Exec("INSERT INTO networksegments (id, network_id, network_type, physical_network, segmentation_id, is_dynamic, "+
		"segment_index, standard_attr_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
		s.ID, networkID, s.NetworkType, s.PhysicalNetwork, s.SegmentationID, false, index, row)
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

// followers are the vif_type values of ports that do not keep a network from getting another segmentation id: those that
// are not bound, and for each agent that follows such a change those on its host.
func (p *Plugin) followers(tx *store.Tx) ([]string, error) {
	out := []string{vifUnbound, vifBindingFailed}
	for _, m := range p.mechanisms {
		if m.AgentType() == "" {
			continue
		}
		rows, err := tx.Query("SELECT configurations FROM agents WHERE agent_type = ?", m.AgentType())
		agents, err := store.All(rows, err, func(r *store.Rows) (*model.Agent, error) {
			a := &model.Agent{}
			return a, r.Scan(&a.Configurations)
		})
		if err != nil {
			return nil, fmt.Errorf("read agents: %w", err)
		}
		for _, a := range agents {
			if vifType := m.Follows(a); vifType != "" {
				out = append(out, vifType)
			}
		}
	}
	return out, nil
}

// changeSegmentationID moves a network to another VLAN. Its bound ports must all be ones that follow.
func (p *Plugin) changeSegmentationID(tx *store.Tx, n *model.Network) error {
	all, err := segments(tx, n.ID)
	if err != nil {
		return err
	}
	if len(all[n.ID]) != 1 {
		return fault.InvalidInput("Provider network attributes can be updated only in provider networks with a single segment.")
	}
	follow, err := p.followers(tx)
	if err != nil {
		return err
	}
	in := resource.In("b.vif_type", follow)
	bound, _, err := store.One[int](tx.QueryRow("SELECT COUNT(*) FROM ml2_port_bindings b JOIN ports p ON p.id = b.port_id "+
		"WHERE p.network_id = ? AND NOT ("+in.SQL+")", append([]any{n.ID}, in.Args...)...))
	if err != nil {
		return fmt.Errorf("count bound ports: %w", err)
	}
	if bound > 0 {
		return fault.InvalidInput("Provider network attribute provider:segmentation_id cannot be updated if any port in the network "+
			"has not the following binding:vif_type: %s", strings.Join(follow, ", "))
	}
	old := all[n.ID][0]
	driver := p.types[old.NetworkType]
	if old.NetworkType != "vlan" || driver == nil {
		return fault.InvalidInput("Only VLAN type networks can be updated.")
	}
	moved := old
	moved.SegmentationID = n.SegmentationID
	if err := driver.validate(tx, &moved); err != nil {
		return err
	}
	if err := driver.reserve(tx, &moved, n.ProjectID); err != nil {
		return err
	}
	if _, err := tx.Exec("UPDATE networksegments SET segmentation_id = ? WHERE id = ?", moved.SegmentationID, old.ID); err != nil {
		return fmt.Errorf("update segment %s: %w", old.ID, err)
	}
	// By hand: without the plug-in for segments they are no resource.
	if _, err := tx.Exec("UPDATE standardattributes SET revision_number = revision_number + 1, updated_at = ? WHERE id = "+
		"(SELECT standard_attr_id FROM networksegments WHERE id = ?)", store.Now(), old.ID); err != nil {
		return fmt.Errorf("count up segment %s: %w", old.ID, err)
	}
	return driver.release(tx, old)
}
