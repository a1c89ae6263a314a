package metering

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/rpc"
	"neutrino/internal/store"
)

// Notifier sends messages to metering agents.
type Notifier interface {
	// Metering tells the agent on host by one of the methods of MeteringAgentNotifyAPI.
	Metering(ctx context.Context, method rpc.Method[rpc.MeteredRoutersArgs, rpc.None], host string, routers []rpc.MeteredRouter)
}

// hosted is a router on the host of an L3 agent.
type hosted struct {
	host   string
	router rpc.MeteredRouter
}

// SyncData returns the routers of the L3 agent on host that labels count (RPC get_sync_data_metering).
func (s *Service) SyncData(tx *store.Tx, host string) ([]rpc.MeteredRouter, error) {
	list, err := routers(tx, resource.In("a.host", []string{host}), resource.In("r.admin_state_up", []bool{true}))
	if err != nil {
		return nil, err
	}
	byHost, err := s.labelled(tx, list)
	return append([]rpc.MeteredRouter{}, byHost[host]...), err
}

// routers reads routers with the hosts that have them.
func routers(tx *store.Tx, where ...resource.Cond) ([]hosted, error) {
	query := "SELECT a.host, r.id, COALESCE(r.name, ''), COALESCE(r.project_id, ''), r.admin_state_up, COALESCE(r.status, ''), r.gw_port_id, " +
		"COALESCE(x.distributed, ?) FROM routers r JOIN routerl3agentbindings b ON b.router_id = r.id JOIN agents a ON a.id = b.l3_agent_id " +
		"LEFT JOIN router_extra_attributes x ON x.router_id = r.id WHERE 1 = 1"
	args := []any{false}
	for _, w := range where {
		query, args = query+" AND "+w.SQL, append(args, w.Args...)
	}
	rows, err := tx.Query(query+" ORDER BY a.host, r.id", args...)
	list, err := store.All(rows, err, func(rows *store.Rows) (h hosted, err error) {
		r := &h.router
		return h, rows.Scan(&h.host, &r.ID, &r.Name, &r.ProjectID, &r.AdminStateUp, &r.Status, &r.GatewayPortID, &r.Distributed)
	})
	if err != nil {
		return nil, fmt.Errorf("read metered routers: %w", err)
	}
	return list, nil
}

// labelled gives routers their labels and leaves out those that have none.
func (s *Service) labelled(tx *store.Tx, list []hosted) (map[string][]rpc.MeteredRouter, error) {
	if len(list) == 0 {
		return nil, nil
	}
	res := s.catalog.MeteringLabels
	projects := map[string]bool{}
	for _, h := range list {
		projects[h.router.ProjectID] = true
	}
	own := resource.In("t.project_id", slices.Sorted(maps.Keys(projects)))
	labels, err := res.Select(tx, &resource.Query{Set: res.Bits("id", "name", "shared", "project_id"),
		Where: []resource.Cond{{SQL: "(t.shared = ? OR " + own.SQL + ")", Args: append([]any{true}, own.Args...)}}})
	if err != nil || len(labels) == 0 {
		return nil, err
	}
	slices.SortFunc(labels, func(a, b *model.MeteringLabel) int { return cmp.Compare(a.ID, b.ID) })
	rules, err := s.rules(tx, labels)
	if err != nil {
		return nil, err
	}
	byHost := map[string][]rpc.MeteredRouter{}
	for _, h := range list {
		for _, l := range labels {
			if l.Shared || l.ProjectID == h.router.ProjectID {
				h.router.Labels = append(h.router.Labels, rpc.MeteringLabel{ID: l.ID, Name: l.Name, Shared: l.Shared,
					Rules: append([]rpc.MeteringRule{}, rules[l.ID]...)})
			}
		}
		if len(h.router.Labels) > 0 {
			byHost[h.host] = append(byHost[h.host], h.router)
		}
	}
	return byHost, nil
}

// rules reads the rules of labels.
func (s *Service) rules(tx *store.Tx, labels []*model.MeteringLabel) (map[string][]rpc.MeteringRule, error) {
	ids := make([]string, len(labels))
	for i, l := range labels {
		ids[i] = l.ID
	}
	res := s.catalog.MeteringLabelRules
	list, err := res.Select(tx, &resource.Query{Where: []resource.Cond{resource.In("t.metering_label_id", ids)}, Set: res.Bits("id", "metering_label_id", "direction", "excluded", "remote_ip_prefix", "source_ip_prefix",
		"destination_ip_prefix")})
	byLabel := map[string][]rpc.MeteringRule{}
	for _, r := range list {
		byLabel[r.LabelID] = append(byLabel[r.LabelID], forAgent(r))
	}
	return byLabel, err
}

func forAgent(r *model.MeteringLabelRule) rpc.MeteringRule {
	return rpc.MeteringRule{ID: r.ID, LabelID: r.LabelID, Direction: r.Direction, Remote: r.RemotePrefix, Source: r.SourcePrefix,
		Destination: r.DestPrefix, Excluded: r.Excluded}
}

// countedBy reads the routers that a label counts.
func countedBy(tx *store.Tx, l *model.MeteringLabel) ([]hosted, error) {
	enabled := resource.In("a.admin_state_up", []bool{true})
	if l.Shared {
		return routers(tx, enabled)
	}
	return routers(tx, enabled, resource.In("r.project_id", []string{l.ProjectID}))
}

func (s *Service) createLabel(c *resource.Change[model.MeteringLabel]) error {
	if err := s.catalog.MeteringLabels.Insert(c.Tx, c.New); err != nil {
		return err
	}
	list, err := countedBy(c.Tx, c.New)
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(h hosted) bool { return !h.router.AdminStateUp })
	byHost, err := s.labelled(c.Tx, list) // upstream's agents forget what is not in the message
	s.tell(c.Tx, rpc.AddMeteringLabel, byHost)
	return err
}

func (s *Service) deleteLabel(c *resource.Change[model.MeteringLabel]) error {
	list, err := countedBy(c.Tx, c.Old)
	if err != nil {
		return err
	}
	if err := s.catalog.MeteringLabels.Delete(c.Tx, c.Old); err != nil {
		return err
	}
	gone := rpc.MeteringLabel{ID: c.Old.ID, Name: c.Old.Name, Shared: c.Old.Shared, Rules: []rpc.MeteringRule{}}
	s.tell(c.Tx, rpc.RemoveMeteringLabel, with(list, gone))
	return nil
}

// ruleChanged tells of a rule that came or goes.
func (s *Service) ruleChanged(tx *store.Tx, method rpc.Method[rpc.MeteredRoutersArgs, rpc.None], r *model.MeteringLabelRule) error {
	labels := s.catalog.MeteringLabels
	l, err := labels.Get(tx, nil, r.LabelID, labels.Bits("id", "project_id", "shared"))
	if err != nil {
		return err
	}
	list, err := countedBy(tx, l)
	if err != nil {
		return err
	}
	rule := forAgent(r)
	s.tell(tx, method, with(list, rpc.MeteringLabel{ID: l.ID, Shared: l.Shared, Rule: &rule}))
	return nil
}

// with gives all routers one label.
func with(list []hosted, l rpc.MeteringLabel) map[string][]rpc.MeteredRouter {
	byHost := map[string][]rpc.MeteredRouter{}
	for _, h := range list {
		h.router.Labels = []rpc.MeteringLabel{l}
		byHost[h.host] = append(byHost[h.host], h.router)
	}
	return byHost
}

func (s *Service) tell(tx *store.Tx, method rpc.Method[rpc.MeteredRoutersArgs, rpc.None], byHost map[string][]rpc.MeteredRouter) {
	if s.Notifier == nil || len(byHost) == 0 {
		return
	}
	tx.OnCommit(func(ctx context.Context) {
		for _, host := range slices.Sorted(maps.Keys(byHost)) {
			s.Notifier.Metering(ctx, method, host, byHost[host])
		}
	})
}
