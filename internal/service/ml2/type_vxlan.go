package ml2

import (
	"fmt"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/store"
)

// vxlan networks are overlays told apart by their VNI (RFC 7348).
type vxlan struct {
	cfg Config
	ids ids
}

const (
	maxVNI        = 1<<24 - 1
	vxlanOverhead = 30 // inner Ethernet header, VXLAN, UDP; without the outer IP header
)

func newVXLAN(cfg Config) *vxlan {
	return &vxlan{cfg: cfg, ids: ids{table: "ml2_vxlan_allocations", column: "vxlan_vni"}}
}

func (d *vxlan) validate(s *model.Segment) error {
	if s.PhysicalNetwork != nil && *s.PhysicalNetwork != "" {
		return fault.InvalidInput("provider:physical_network specified for vxlan network")
	}
	if id := s.SegmentationID; id != nil && (*id < 1 || *id > maxVNI) {
		return fault.InvalidInput("segmentation_id out of range (1 through %d)", maxVNI)
	}
	s.PhysicalNetwork = nil
	return nil
}

func (d *vxlan) reserve(tx *store.Tx, s *model.Segment) error {
	if s.SegmentationID != nil {
		ok, err := d.ids.take(tx, "", *s.SegmentationID)
		if err == nil && !ok {
			return fault.Conflict("TunnelIdInUse", "Unable to create the network. The tunnel ID %d is in use.", *s.SegmentationID)
		}
		return err
	}
	ok, err := d.allocate(tx, s)
	if err == nil && !ok {
		return noNetworkAvailable()
	}
	return err
}

func (d *vxlan) allocate(tx *store.Tx, s *model.Segment) (bool, error) {
	id, ok, err := d.ids.takeAny(tx, "", d.cfg.VNIRanges)
	if err == nil && ok {
		s.SegmentationID = &id
	}
	return ok, err
}

func (d *vxlan) release(tx *store.Tx, s model.Segment) error {
	return d.ids.release(tx, "", *s.SegmentationID, d.cfg.VNIRanges)
}

func (d *vxlan) mtu(string) int {
	mtu := d.cfg.GlobalPhysnetMTU
	if d.cfg.PathMTU > 0 && (mtu <= 0 || d.cfg.PathMTU < mtu) {
		mtu = d.cfg.PathMTU
	}
	if mtu <= 0 {
		return 0
	}
	ipHeader := 20
	if d.cfg.OverlayIPVersion == 6 {
		ipHeader = 40
	}
	return mtu - ipHeader - vxlanOverhead
}

func (d *vxlan) synchronise(tx *store.Tx) error {
	for _, r := range d.cfg.VNIRanges {
		if r.Min < 1 || r.Max > maxVNI || r.Min > r.Max {
			return fmt.Errorf("invalid VNI range %d:%d", r.Min, r.Max)
		}
	}
	return d.ids.synchronise(tx, "", d.cfg.VNIRanges)
}
