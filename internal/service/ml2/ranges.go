package ml2

import (
	"fmt"
	"maps"
	"slices"

	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"

	"github.com/google/uuid"
)

// MaxSegmentationID is the highest segmentation id of a network type, 0 if its segments have none; the lowest is 1.
func MaxSegmentationID(networkType string) int { return maxIDs[networkType] }

// Supports tells whether the configuration loads the driver of a network type.
func (p *Plugin) Supports(networkType string) bool { return p.types[networkType] != nil }

// SynchroniseType brings the table of free segments of a network type into agreement with changed ranges.
func (p *Plugin) SynchroniseType(tx *store.Tx, networkType string) error {
	if err := p.types[networkType].synchronise(tx); err != nil {
		return fmt.Errorf("synchronise %s segments: %w", networkType, err)
	}
	return nil
}

// storeDefaultRanges makes the default rows of network_segment_ranges those of the configuration. Rows that are right
// already stay, so that servers which start one after the other agree.
func (p *Plugin) storeDefaultRanges(tx *store.Tx) error {
	ranges := p.catalog.NetworkSegmentRanges
	existing, err := ranges.Select(tx, &resource.Query{Set: ranges.Bits("id", "network_type", "physical_network", "minimum", "maximum"),
		Where: []resource.Cond{{SQL: "t." + tx.Dialect().Quote("default") + " = ?", Args: []any{true}}}})
	if err != nil {
		return err
	}
	key := func(networkType string, r SegmentRange) string { return fmt.Sprint(networkType, r) }
	have := map[string]*model.NetworkSegmentRange{}
	for _, r := range existing {
		have[key(r.NetworkType, SegmentRange{r.PhysicalNetwork, Range{r.Minimum, r.Maximum}})] = r
	}
	wanted := configuredRanges(p.cfg)
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		for _, r := range wanted[name] {
			k := key(name, r)
			if have[k] != nil || p.types[name] == nil {
				if p.types[name] != nil {
					delete(have, k)
				}
				continue
			}
			err := ranges.Insert(tx, &model.NetworkSegmentRange{Standard: model.Standard{ID: uuid.NewString()}, Default: true, Shared: true,
				NetworkType: name, PhysicalNetwork: r.PhysicalNetwork, Minimum: r.Min, Maximum: r.Max})
			if store.IsDuplicate(err) {
				return store.Retry(err)
			}
			if err != nil {
				return err
			}
		}
	}
	for _, r := range have {
		if err := ranges.Delete(tx, r); err != nil {
			return err
		}
	}
	_, err = tx.Exec("UPDATE network_segment_ranges SET name = NULL WHERE name = '' AND "+tx.Dialect().Quote("default")+" = ?", true)
	return err // their names are not even empty, for filters
}
