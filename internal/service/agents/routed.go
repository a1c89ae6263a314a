package agents

import (
	"slices"

	"neutrino/internal/resource"
	"neutrino/internal/rpc"
	"neutrino/internal/store"
)

// A routed network has subnets that are bound to segments. A DHCP agent serves those of the segments that its host reaches,
// so each segment needs agents of its own.

// routed tells of each routed network whether the host reaches one of its segments with DHCP.
func (s *Service) routed(tx *store.Tx, host string) (map[string]bool, error) {
	out := map[string]bool{}
	rows, err := tx.Query("SELECT s.network_id, (SELECT COUNT(*) FROM segmenthostmappings m WHERE m.segment_id = s.segment_id AND m.host = ?) "+
		"FROM subnets s WHERE s.segment_id IS NOT NULL AND s.enable_dhcp = ?", host, true)
	_, err = store.All(rows, err, func(rows *store.Rows) (struct{}, error) {
		var network string
		var reached int
		err := rows.Scan(&network, &reached)
		out[network] = out[network] || reached > 0
		return struct{}{}, err
	})
	return out, err
}

// ScheduleSegments gives the segments that a host newly reaches the DHCP agents that they lack, among those whose hosts
// reach them (upstream auto_schedule_new_network_segments).
func (s *Service) ScheduleSegments(tx *store.Tx, segments []string) error {
	if !s.cfg.NetworkAutoSchedule || len(segments) == 0 {
		return nil
	}
	type segment struct{ id, network string }
	in := resource.In("s.segment_id", segments)
	rows, err := tx.Query("SELECT DISTINCT s.segment_id, s.network_id FROM subnets s WHERE "+in.SQL+" ORDER BY s.segment_id", in.Args...)
	list, err := store.All(rows, err, func(rows *store.Rows) (x segment, err error) { return x, rows.Scan(&x.id, &x.network) })
	if err != nil {
		return err
	}
	for _, x := range list {
		hosts, err := store.Strings(tx.Query("SELECT host FROM segmenthostmappings WHERE segment_id = ?", x.id))
		if err != nil {
			return err
		}
		bound, err := s.bindings(tx, x.network)
		if err != nil {
			return err
		}
		agents, err := s.OnHost(tx, rpc.AgentTypeDHCP, "")
		if err != nil {
			return err
		}
		missing := s.cfg.DHCPAgentsPerNetwork
		for _, a := range agents {
			if slices.Contains(hosts, a.Host) && slices.ContainsFunc(bound, func(b binding) bool { return b.agent == a.ID }) {
				missing--
			}
		}
		if missing > 0 {
			if err := s.give(tx, x.network, bound, missing, append([]string{}, hosts...)); err != nil {
				return err
			}
		}
	}
	return nil
}
