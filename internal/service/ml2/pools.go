package ml2

import (
	"fmt"
	"slices"

	"neutrino/internal/store"
)

// pools tells which segmentation ids of a network type networks get that do not ask for one.
type pools interface {
	// all are the ranges of a network type.
	all(tx *store.Tx, networkType string) ([]SegmentRange, error)
	// choices are ranges for a network of the project, to be tried in turn.
	choices(tx *store.Tx, networkType, project string) ([][]SegmentRange, error)
	// random tells whether ids are chosen at random, so that servers rarely meet, or the lowest first.
	random() bool
}

// configured are the ranges of the configuration, by network type.
type configured map[string][]SegmentRange

// maxIDs are the highest segmentation ids; the lowest is 1.
var maxIDs = map[string]int{"vlan": maxVLAN, "vxlan": 1<<24 - 1, "geneve": 1<<24 - 1, "gre": 1<<32 - 1}

const maxVLAN = 4094

// configuredRanges gives physical networks without a range all VLANs.
func configuredRanges(cfg Config) configured {
	c := configured{}
	for name, ranges := range map[string][]Range{"vxlan": cfg.VNIRanges, "gre": cfg.GREIDRanges, "geneve": cfg.GeneveVNIRanges} {
		for _, r := range ranges {
			c[name] = append(c[name], SegmentRange{Range: r})
		}
	}
	for _, r := range cfg.VLANRanges {
		if r.Range == (Range{}) {
			r.Range = Range{1, maxVLAN}
		}
		c["vlan"] = append(c["vlan"], r)
	}
	return c
}

// validate refuses ids that the network types do not have.
func (c configured) validate() error {
	for name, ranges := range c {
		for _, r := range ranges {
			if r.Min < 1 || r.Max > maxIDs[name] || r.Min > r.Max {
				return fmt.Errorf("invalid %s range %d:%d", name, r.Min, r.Max)
			}
		}
	}
	return nil
}

func (c configured) all(_ *store.Tx, networkType string) ([]SegmentRange, error) {
	return c[networkType], nil
}

func (c configured) choices(_ *store.Tx, networkType, _ string) ([][]SegmentRange, error) {
	return [][]SegmentRange{c[networkType]}, nil
}

func (configured) random() bool { return true }

// stored are the ranges of the table network_segment_ranges, which the service plug-in of that name changes.
type stored struct{}

// storedRange is a row of the table.
type storedRange struct {
	SegmentRange
	project string // "" if it belongs to none
	shared  bool
}

func (stored) read(tx *store.Tx, networkType string) ([]storedRange, error) {
	rows, err := tx.Query("SELECT physical_network, minimum, maximum, COALESCE(project_id, ''), shared FROM network_segment_ranges "+
		"WHERE network_type = ? ORDER BY physical_network, minimum", networkType)
	list, err := store.All(rows, err, func(rows *store.Rows) (r storedRange, err error) {
		return r, rows.Scan(&r.PhysicalNetwork, &r.Min, &r.Max, &r.project, &r.shared)
	})
	if err != nil {
		return nil, fmt.Errorf("read %s segment ranges: %w", networkType, err)
	}
	return list, nil
}

func (s stored) all(tx *store.Tx, networkType string) ([]SegmentRange, error) {
	rows, err := s.read(tx, networkType)
	return pick(rows, func(storedRange) bool { return true }), err
}

// choices are first the ranges of the project, then the shared ones without what other projects have.
func (s stored) choices(tx *store.Tx, networkType, project string) ([][]SegmentRange, error) {
	rows, err := s.read(tx, networkType)
	if err != nil {
		return nil, err
	}
	own := pick(rows, func(r storedRange) bool { return project != "" && r.project == project })
	shared := pick(rows, func(r storedRange) bool { return r.shared })
	for _, other := range pick(rows, func(r storedRange) bool { return r.project != "" && r.project != project }) {
		shared = subtract(shared, other)
	}
	return [][]SegmentRange{own, shared}, nil
}

func (stored) random() bool { return false }

func pick(rows []storedRange, wanted func(storedRange) bool) []SegmentRange {
	var out []SegmentRange
	for _, r := range rows {
		if wanted(r) {
			out = append(out, r.SegmentRange)
		}
	}
	return out
}

// subtract removes the ids of one range from others of the same physical network.
func subtract(ranges []SegmentRange, gone SegmentRange) []SegmentRange {
	var out []SegmentRange
	for _, r := range ranges {
		if r.PhysicalNetwork != gone.PhysicalNetwork || gone.Max < r.Min || r.Max < gone.Min {
			out = append(out, r)
			continue
		}
		if r.Min < gone.Min {
			out = append(out, SegmentRange{r.PhysicalNetwork, Range{r.Min, gone.Min - 1}})
		}
		if gone.Max < r.Max {
			out = append(out, SegmentRange{r.PhysicalNetwork, Range{gone.Max + 1, r.Max}})
		}
	}
	return out
}

// physicalNetworks are the networks that the ranges name, in their order.
func physicalNetworks(ranges []SegmentRange) []string {
	var out []string
	for _, r := range ranges {
		if !slices.Contains(out, r.PhysicalNetwork) {
			out = append(out, r.PhysicalNetwork)
		}
	}
	return out
}

// on are the ids that the ranges have on one physical network.
func on(ranges []SegmentRange, physicalNetwork string) []Range {
	var out []Range
	for _, r := range ranges {
		if r.PhysicalNetwork == physicalNetwork {
			out = append(out, r.Range)
		}
	}
	return out
}
