// Package segmentrange lets administrators say which segmentation ids networks get: network segment ranges, shared or of
// one project. Choosing an id from them is the type drivers' matter (package ml2).
package segmentrange

import (
	"fmt"
	"net/http"
	"strings"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"
)

// Core is the part of the core plug-in that knows network types.
type Core interface {
	Supports(networkType string) bool
	// SynchroniseType makes ids of changed ranges available.
	SynchroniseType(tx *store.Tx, networkType string) error
}

// Service is the service plug-in network_segment_range.
type Service struct {
	catalog *model.Catalog
	core    Core
}

// New makes the service.
func New(catalog *model.Catalog, core Core) *Service { return &Service{catalog, core} }

// Logic is what ranges do beyond storing their attributes.
func (s *Service) Logic() resource.Logic[model.NetworkSegmentRange] {
	return resource.Logic[model.NetworkSegmentRange]{Create: s.create, Update: s.update, Delete: s.delete, Load: s.load,
		Answer: func(c *resource.Change[model.NetworkSegmentRange], r *model.NetworkSegmentRange) {
			if c.Old == nil {
				r.ForCreateAnswer()
			}
		}}
}

func (s *Service) create(c *resource.Change[model.NetworkSegmentRange]) error {
	r := c.New
	if !s.core.Supports(r.NetworkType) {
		return fault.BadRequest("NetworkSegmentRangeNetTypeNotSupported", "Network type %s does not support network segment ranges.", r.NetworkType)
	}
	if err := checkBounds(r); err != nil {
		return err
	}
	if r.NetworkType != "vlan" {
		r.PhysicalNetwork = ""
	} else if !c.Has("physical_network") {
		return fault.BadRequest("BadRequest", "Bad network_segment_range request: Network type vlan requires 'physical_network' to be "+
			"specified while creating new range.")
	}
	if r.Shared {
		r.Project = nil
	}
	if err := s.checkOverlap(c.Tx, r); err != nil {
		return err
	}
	if !r.Shared && (r.Project == nil || *r.Project == "") {
		return fault.New(http.StatusInternalServerError, "ObjectActionError",
			"Object action create failed because: if NetworkSegmentRange is not shared, it must have a project_id.")
	}
	if err := s.catalog.NetworkSegmentRanges.Insert(c.Tx, r); err != nil {
		return err
	}
	return s.core.SynchroniseType(c.Tx, r.NetworkType)
}

func (s *Service) update(c *resource.Change[model.NetworkSegmentRange]) error {
	if c.Old.Default {
		return readOnly(c.Old.ID)
	}
	if err := s.checkReduced(c); err != nil {
		return err
	}
	if err := checkBounds(c.New); err != nil {
		return err
	}
	if err := s.checkOverlap(c.Tx, c.New); err != nil {
		return err
	}
	if _, err := s.catalog.NetworkSegmentRanges.Save(c.Tx, c.Old, c.New); err != nil {
		return err
	}
	return s.core.SynchroniseType(c.Tx, c.New.NetworkType)
}

func (s *Service) delete(c *resource.Change[model.NetworkSegmentRange]) error {
	if c.Old.Default {
		return readOnly(c.Old.ID)
	}
	_, _, used, err := usedBounds(c.Tx, c.Old)
	if err != nil {
		return err
	}
	if used {
		return referenced(c.Old.ID)
	}
	if err := s.catalog.NetworkSegmentRanges.Delete(c.Tx, c.Old); err != nil {
		return err
	}
	return s.core.SynchroniseType(c.Tx, c.Old.NetworkType)
}

// checkReduced refuses new bounds that leave out an id in use.
func (s *Service) checkReduced(c *resource.Change[model.NetworkSegmentRange]) error {
	low, high, used, err := usedBounds(c.Tx, c.Old)
	if err != nil {
		return err
	}
	if used && (c.New.Minimum > low || c.New.Maximum < high) {
		return referenced(c.Old.ID)
	}
	return nil
}

// usedBounds are the lowest and the highest id of the range that a network has; used tells whether there is any.
func usedBounds(tx *store.Tx, r *model.NetworkSegmentRange) (low, high int, used bool, err error) {
	where, args := segmentsIn(r)
	err = tx.QueryRow("SELECT COALESCE(MIN(s.segmentation_id), 0), COALESCE(MAX(s.segmentation_id), 0) FROM networksegments s WHERE "+
		where, args...).Scan(&low, &high)
	if err != nil {
		return 0, 0, false, fmt.Errorf("read segments in range %s: %w", r.ID, err)
	}
	return low, high, low > 0, nil
}

// segmentsIn is the condition for the segments of networks, called s, that are in a range.
func segmentsIn(r *model.NetworkSegmentRange) (string, []any) {
	return "s.network_type = ? AND COALESCE(s.physical_network, '') = ? AND s.segmentation_id BETWEEN ? AND ?",
		[]any{r.NetworkType, r.PhysicalNetwork, r.Minimum, r.Maximum}
}

// checkOverlap refuses a range that shares ids with another one; defaults from the configuration do not count.
func (s *Service) checkOverlap(tx *store.Tx, r *model.NetworkSegmentRange) error {
	ids, err := store.Strings(tx.Query("SELECT id FROM network_segment_ranges WHERE "+tx.Dialect().Quote("default")+" = ? AND network_type = ? "+
		"AND physical_network = ? AND id <> ? AND minimum <= ? AND maximum >= ? ORDER BY id", false, r.NetworkType, r.PhysicalNetwork, r.ID,
		r.Maximum, r.Minimum))
	if err != nil {
		return fmt.Errorf("read overlapping ranges: %w", err)
	}
	if len(ids) > 0 {
		return fault.Conflict("NetworkSegmentRangeOverlaps", "Network segment range overlaps with range(s) with id %s", strings.Join(ids, ", "))
	}
	return nil
}

func readOnly(id string) error {
	return fault.BadRequest("NetworkSegmentRangeDefaultReadOnly",
		"Network Segment Range %s is a default segment range which could not be updated or deleted.", id)
}

func referenced(id string) error {
	return fault.Conflict("NetworkSegmentRangeReferencedByProject", "Network Segment Range %s is referenced by one or more project networks.", id)
}
