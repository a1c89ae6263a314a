package ml2

import (
	"fmt"
	"maps"
	"slices"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"
)

// vlan networks use a tag on a physical network.
type vlan struct {
	cfg    Config
	ids    ids
	order  []string           // physical networks as configured
	ranges map[string][]Range // of tags for tenants; a physical network may have none
}

const maxVLAN = 4094

func newVLAN(cfg Config) *vlan {
	d := &vlan{cfg: cfg, ranges: map[string][]Range{},
		ids: ids{table: "ml2_vlan_allocations", column: "vlan_id", physnet: "physical_network"}}
	for _, r := range cfg.VLANRanges {
		if _, ok := d.ranges[r.PhysicalNetwork]; !ok {
			d.order = append(d.order, r.PhysicalNetwork)
			d.ranges[r.PhysicalNetwork] = nil
		}
		if r.Max > 0 {
			d.ranges[r.PhysicalNetwork] = append(d.ranges[r.PhysicalNetwork], r.Range)
		}
	}
	return d
}

func (d *vlan) validate(s *model.Segment) error {
	if s.PhysicalNetwork == nil || *s.PhysicalNetwork == "" {
		if s.SegmentationID != nil {
			return fault.InvalidInput("segmentation_id requires physical_network for VLAN provider network")
		}
		return nil
	}
	if _, ok := d.ranges[*s.PhysicalNetwork]; !ok {
		return fault.InvalidInput("physical_network '%s' unknown for VLAN provider network", *s.PhysicalNetwork)
	}
	if id := s.SegmentationID; id != nil && (*id < 1 || *id > maxVLAN) {
		return fault.InvalidInput("segmentation_id out of range (1 through %d)", maxVLAN)
	}
	return nil
}

func (d *vlan) reserve(tx *store.Tx, s *model.Segment) error {
	if s.SegmentationID != nil {
		ok, err := d.ids.take(tx, *s.PhysicalNetwork, *s.SegmentationID)
		if err == nil && !ok {
			return fault.Conflict("VlanIdInUse", "Unable to create the network. The VLAN %d on physical network %s is in use.",
				*s.SegmentationID, *s.PhysicalNetwork)
		}
		return err
	}
	ok, err := d.allocate(tx, s)
	if err == nil && !ok {
		return noNetworkAvailable()
	}
	return err
}

func (d *vlan) allocate(tx *store.Tx, s *model.Segment) (bool, error) {
	for _, name := range d.order {
		if s.PhysicalNetwork != nil && *s.PhysicalNetwork != "" && *s.PhysicalNetwork != name {
			continue
		}
		id, ok, err := d.ids.takeAny(tx, name, d.ranges[name])
		if err != nil {
			return false, err
		}
		if ok {
			s.PhysicalNetwork, s.SegmentationID = &name, &id
			return true, nil
		}
	}
	return false, nil
}

func (d *vlan) release(tx *store.Tx, s model.Segment) error {
	return d.ids.release(tx, *s.PhysicalNetwork, *s.SegmentationID, d.ranges[*s.PhysicalNetwork])
}

func (d *vlan) mtu(physicalNetwork string) int { return d.cfg.physnetMTU(physicalNetwork) }

func (d *vlan) synchronise(tx *store.Tx) error {
	for _, name := range d.order {
		for _, r := range d.ranges[name] {
			if r.Min < 1 || r.Max > maxVLAN || r.Min > r.Max {
				return fmt.Errorf("invalid network VLAN range %s:%d:%d", name, r.Min, r.Max)
			}
		}
		if err := d.ids.synchronise(tx, name, d.ranges[name]); err != nil {
			return err
		}
	}
	// Free tags of physical networks that are not configured any more.
	gone := "1 = 1"
	var args []any
	if len(d.ranges) > 0 {
		in := resource.In("physical_network", slices.Collect(maps.Keys(d.ranges)))
		gone, args = "NOT ("+in.SQL+")", in.Args
	}
	_, err := tx.Exec("DELETE FROM ml2_vlan_allocations WHERE allocated = ? AND "+gone, append([]any{false}, args...)...)
	return err
}
