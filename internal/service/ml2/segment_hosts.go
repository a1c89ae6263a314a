package ml2

import (
	"database/sql"
	"fmt"

	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"
)

// Which hosts reach which segments is in the table segmenthostmappings, which a host's L2 agent fills by the physical
// networks of its configuration (upstream neutron/services/segments/db.py).

// mapsSegments tells whether the plug-in segments is loaded.
func (p *Plugin) mapsSegments() bool { return p.catalog.Segments.Bit("network_id") != 0 }

// physnetsOf are the physical networks that an agent's configurations connect to.
func physnetsOf(configurations map[string]any) []string {
	var out []string
	for _, name := range []string{"bridge_mappings", "interface_mappings", "device_mappings"} {
		mapping, _ := configurations[name].(map[string]any)
		for physnet := range mapping {
			if !contains(out, physnet) {
				out = append(out, physnet)
			}
		}
	}
	return out
}

// MapHost stores which segments a host reaches, as an agent there says when it starts, and returns them.
func (p *Plugin) MapHost(tx *store.Tx, host string, configurations map[string]any) ([]string, error) {
	physnets := physnetsOf(configurations)
	if len(physnets) == 0 || !p.mapsSegments() {
		return nil, nil
	}
	in := resource.In("s.physical_network", physnets)
	_, err := tx.Exec("DELETE FROM segmenthostmappings WHERE host = ? AND segment_id NOT IN (SELECT s.id FROM networksegments s WHERE "+
		in.SQL+")", append([]any{host}, in.Args...)...)
	if err != nil {
		return nil, fmt.Errorf("forget segments of host %s: %w", host, err)
	}
	ids, err := store.Strings(tx.Query("SELECT s.id FROM networksegments s WHERE "+in.SQL+" AND NOT EXISTS (SELECT 1 FROM segmenthostmappings m "+
		"WHERE m.segment_id = s.id AND m.host = ?)", append(in.Args, host)...))
	if err != nil {
		return nil, fmt.Errorf("read segments of host %s: %w", host, err)
	}
	rows := make([][]any, len(ids))
	for i, id := range ids {
		rows[i] = []any{id, host}
	}
	if err := insertMappings(tx, rows); err != nil {
		return nil, err
	}
	return store.Strings(tx.Query("SELECT segment_id FROM segmenthostmappings WHERE host = ?", host))
}

// hostsOf are the hosts that reach a new segment.
func (p *Plugin) hostsOf(tx *store.Tx, s model.Segment) ([]string, error) {
	if s.PhysicalNetwork == nil || !p.mapsSegments() {
		return nil, nil
	}
	rows, err := tx.Query("SELECT host, configurations FROM agents")
	agents, err := store.All(rows, err, func(r *sql.Rows) (*model.Agent, error) {
		a := &model.Agent{}
		return a, r.Scan(&a.Host, &a.Configurations)
	})
	if err != nil {
		return nil, fmt.Errorf("read agents: %w", err)
	}
	var hosts []string
	for _, a := range agents {
		if contains(physnetsOf(a.Configurations), *s.PhysicalNetwork) && !contains(hosts, a.Host) {
			hosts = append(hosts, a.Host)
		}
	}
	return hosts, nil
}

// mapSegment stores which hosts reach a new segment.
func mapSegment(tx *store.Tx, id string, hosts []string) error {
	rows := make([][]any, len(hosts))
	for i, host := range hosts {
		rows[i] = []any{id, host}
	}
	return insertMappings(tx, rows)
}

func insertMappings(tx *store.Tx, rows [][]any) error {
	err := tx.InsertRows("segmenthostmappings", []string{"segment_id", "host"}, rows)
	if store.IsDuplicate(err) {
		return store.Retry(err)
	}
	return err
}
