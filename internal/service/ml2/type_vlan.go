package ml2

import (
	"slices"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"
)

// vlan networks use a tag on a physical network.
type vlan struct {
	cfg   Config
	ids   ids
	pools pools
}

func (d *vlan) validate(tx *store.Tx, s *model.Segment) error {
	if s.PhysicalNetwork == nil || *s.PhysicalNetwork == "" {
		if s.SegmentationID != nil {
			return fault.InvalidInput("segmentation_id requires physical_network for VLAN provider network")
		}
		return nil
	}
	ranges, err := d.pools.all(tx, "vlan")
	if err != nil {
		return err
	}
	if !slices.Contains(physicalNetworks(ranges), *s.PhysicalNetwork) {
		return fault.InvalidInput("physical_network '%s' unknown for VLAN provider network", *s.PhysicalNetwork)
	}
	if id := s.SegmentationID; id != nil && (*id < 1 || *id > maxVLAN) {
		return fault.InvalidInput("segmentation_id out of range (1 through %d)", maxVLAN)
	}
	return nil
}

func (d *vlan) reserve(tx *store.Tx, s *model.Segment, project string) error {
	if s.SegmentationID != nil {
		ok, err := d.ids.take(tx, *s.PhysicalNetwork, *s.SegmentationID)
		if err == nil && !ok {
			return fault.Conflict("VlanIdInUse", "Unable to create the network. The VLAN %d on physical network %s is in use.",
				*s.SegmentationID, *s.PhysicalNetwork)
		}
		return err
	}
	ok, err := d.allocate(tx, s, project)
	if err == nil && !ok {
		return noNetworkAvailable()
	}
	return err
}

func (d *vlan) allocate(tx *store.Tx, s *model.Segment, project string) (bool, error) {
	choices, err := d.pools.choices(tx, "vlan", project)
	if err != nil {
		return false, err
	}
	for _, ranges := range choices {
		for _, name := range physicalNetworks(ranges) {
			if s.PhysicalNetwork != nil && *s.PhysicalNetwork != name {
				continue
			}
			id, ok, err := d.ids.takeAny(tx, name, on(ranges, name), d.pools.random())
			if err != nil {
				return false, err
			}
			if ok {
				s.PhysicalNetwork, s.SegmentationID = &name, &id
				return true, nil
			}
		}
	}
	return false, nil
}

func (d *vlan) release(tx *store.Tx, s model.Segment) error {
	ranges, err := d.pools.all(tx, "vlan")
	if err != nil {
		return err
	}
	return d.ids.release(tx, *s.PhysicalNetwork, *s.SegmentationID, on(ranges, *s.PhysicalNetwork))
}

func (d *vlan) mtu(physicalNetwork string) int { return d.cfg.physnetMTU(physicalNetwork) }

func (d *vlan) synchronise(tx *store.Tx) error {
	ranges, err := d.pools.all(tx, "vlan")
	if err != nil {
		return err
	}
	names := physicalNetworks(ranges)
	for _, name := range names {
		if err := d.ids.synchronise(tx, name, on(ranges, name)); err != nil {
			return err
		}
	}
	// Free tags of physical networks that nothing names any more.
	gone := "1 = 1"
	var args []any
	if len(names) > 0 {
		in := resource.In("physical_network", names)
		gone, args = "NOT ("+in.SQL+")", in.Args
	}
	_, err = tx.Exec("DELETE FROM ml2_vlan_allocations WHERE allocated = ? AND "+gone, append([]any{false}, args...)...)
	return err
}
