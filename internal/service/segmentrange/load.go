package segmentrange

import (
	"fmt"

	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"
)

// pool is where the type driver of a network type keeps its free ids.
type pool struct{ table, id, physnet string }

func pools() map[string]pool {
	return map[string]pool{
		"vlan":   {"ml2_vlan_allocations", "vlan_id", "physical_network"},
		"vxlan":  {"ml2_vxlan_allocations", "vxlan_vni", "''"},
		"gre":    {"ml2_gre_allocations", "gre_id", "''"},
		"geneve": {"ml2_geneve_allocations", "geneve_vni", "''"},
	}
}

// load fills which ids of the ranges are free and who has the others: a query of each kind for every network type.
func (s *Service) load(tx *store.Tx, _ *identity.Caller, set resource.Set, objs []*model.NetworkSegmentRange) error {
	ranges := s.catalog.NetworkSegmentRanges
	if set&ranges.Bits("used", "available") == 0 {
		return nil
	}
	if err := s.complete(tx, objs); err != nil {
		return err
	}
	byType := map[string][]*model.NetworkSegmentRange{}
	for _, r := range objs {
		r.Used, r.Available = model.UsedIDs{}, []int{}
		byType[r.NetworkType] = append(byType[r.NetworkType], r)
	}
	for networkType, list := range byType {
		if err := loadAvailable(tx, pools()[networkType], list); err != nil {
			return fmt.Errorf("read free %s segments: %w", networkType, err)
		}
		if err := loadUsed(tx, networkType, list); err != nil {
			return fmt.Errorf("read used %s segments: %w", networkType, err)
		}
	}
	return nil
}

// complete reads the bounds of ranges of which a request wants only other attributes.
func (s *Service) complete(tx *store.Tx, objs []*model.NetworkSegmentRange) error {
	byID := map[string]*model.NetworkSegmentRange{}
	var ids []string
	for _, r := range objs {
		byID[r.ID] = r
		ids = append(ids, r.ID)
	}
	ranges := s.catalog.NetworkSegmentRanges
	full, err := ranges.Select(tx, &resource.Query{Set: ranges.Bits("network_type", "physical_network", "minimum", "maximum"),
		Where: []resource.Cond{ranges.ByID(ids...)}})
	for _, r := range full {
		o := byID[r.ID]
		o.NetworkType, o.PhysicalNetwork, o.Minimum, o.Maximum = r.NetworkType, r.PhysicalNetwork, r.Minimum, r.Maximum
	}
	return err
}

// scanIDs calls f for the rows (id, physical network, text) of a query.
func scanIDs(rows *store.Rows, err error, f func(id int, physnet, text string)) error {
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id int
		var physnet, text string
		if err := rows.Scan(&id, &physnet, &text); err != nil {
			return err
		}
		f(id, physnet, text)
	}
	return rows.Err()
}

func has(r *model.NetworkSegmentRange, id int, physnet string) bool {
	return r.PhysicalNetwork == physnet && r.Minimum <= id && id <= r.Maximum
}

func loadAvailable(tx *store.Tx, p pool, list []*model.NetworkSegmentRange) error {
	rows, err := tx.Query("SELECT "+p.id+", "+p.physnet+", '' FROM "+p.table+" WHERE allocated = ? ORDER BY 1", false)
	return scanIDs(rows, err, func(id int, physnet, _ string) {
		for _, r := range list {
			if has(r, id, physnet) {
				r.Available = append(r.Available, id)
			}
		}
	})
}

func loadUsed(tx *store.Tx, networkType string, list []*model.NetworkSegmentRange) error {
	rows, err := tx.Query("SELECT s.segmentation_id, COALESCE(s.physical_network, ''), COALESCE(n.project_id, '') FROM networksegments s "+
		"JOIN networks n ON n.id = s.network_id WHERE s.network_type = ? AND s.segmentation_id IS NOT NULL", networkType)
	return scanIDs(rows, err, func(id int, physnet, project string) {
		for _, r := range list {
			if has(r, id, physnet) {
				r.Used[id] = project
			}
		}
	})
}
