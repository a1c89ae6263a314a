package l3

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"neutrino/internal/fault"
	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/rpc"
	"neutrino/internal/store"
)

// RouterIDsOnHost lists the routers of the L3 agent on host, after it got those that nobody has (RPC get_router_ids). An
// agent that is switched off has none.
func (s *Service) RouterIDsOnHost(tx *store.Tx, host string) ([]string, error) {
	a, err := s.agentOn(tx, host)
	if err != nil || a == nil || !s.serves(a) {
		return []string{}, err
	}
	if err := s.autoSchedule(tx, a); err != nil {
		return nil, err
	}
	ours := served("b.router_id")
	ids, err := store.Strings(tx.Query("SELECT b.router_id FROM routerl3agentbindings b WHERE b.l3_agent_id = ? AND "+ours.SQL+" ORDER BY b.router_id",
		append([]any{a.ID}, ours.Args...)...))
	if err != nil {
		return nil, fmt.Errorf("read routers of agent on %s: %w", host, err)
	}
	return append([]string{}, ids...), nil
}

// serves tells whether an agent may have routers at all.
func (s *Service) serves(a *model.Agent) bool { return a.AdminStateUp || s.cfg.ServeDisabled }

// agentOn finds the L3 agent of a host; nil if there is none.
func (s *Service) agentOn(tx *store.Tx, host string) (*model.Agent, error) {
	list, err := s.catalog.Agents.Select(tx, &resource.Query{Set: s.catalog.Agents.All, Where: []resource.Cond{
		resource.In("t.agent_type", []string{rpc.AgentTypeL3}), resource.In("t.host", []string{host})}})
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return list[0], nil
}

// SyncRouters returns everything that the agent on host must know of its routers, all or those in ids, and binds their
// ports to the host (RPC sync_routers). Routers that are switched off or not the agent's are left out, and
// so are those that are distributed or highly available, as long as no agent of ours serves such. With floating, the other
// floating IPs are left out.
//
// Reading is a transaction of its own: a full sync of many routers must not keep others from writing. The ports that are
// not yet bound to the host are bound after that.
func (s *Service) SyncRouters(ctx context.Context, host string, ids, floating []string) ([]rpc.Router, error) {
	var data *syncData
	err := s.db.Read(ctx, func(tx *store.Tx) (err error) {
		data, err = s.readSync(tx, host, ids, floating)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("sync routers of %s: %w", host, err)
	}
	if err := s.bindPorts(ctx, host, data.ports); err != nil {
		return nil, fmt.Errorf("bind router ports to %s: %w", host, err)
	}
	return data.assemble(), nil
}

// syncData is what SyncRouters reads.
type syncData struct {
	routers  []*model.Router
	ports    []*model.Port // gateways and interfaces
	router   map[string]string
	floating []*model.FloatingIP
	networks map[string]*syncNetwork
	scopes   map[string]string // of the fixed addresses of floating IPs, by port
}

func (s *Service) readSync(tx *store.Tx, host string, ids, floating []string) (*syncData, error) {
	d := &syncData{}
	a, err := s.agentOn(tx, host)
	if err != nil {
		return nil, err
	}
	if a == nil {
		return nil, fault.NotFound("AgentNotFoundByTypeHost", "Agent with agent_type=%s and host=%s could not be found.", rpc.AgentTypeL3, host)
	}
	if !s.serves(a) {
		return d, nil
	}
	where := []resource.Cond{resource.In("t.admin_state_up", []bool{true}), served("t.id"),
		{SQL: "t.id IN (SELECT router_id FROM routerl3agentbindings WHERE l3_agent_id = ?)", Args: []any{a.ID}}}
	if len(ids) > 0 {
		where = append(where, s.catalog.Routers.ByID(ids...))
	}
	d.routers, err = s.catalog.Routers.Select(tx, &resource.Query{Where: where, Set: s.catalog.Routers.Bits("id", "name", "project_id",
		"admin_state_up", "status", "gw_port_id", "enable_snat", "routes", "revision_number")})
	if err != nil || len(d.routers) == 0 {
		return d, err
	}
	if err := s.readPorts(tx, d); err != nil {
		return nil, err
	}
	return d, s.readFloating(tx, d, floating)
}

func (d *syncData) ids() []string {
	ids := make([]string, len(d.routers))
	for i, r := range d.routers {
		ids[i] = r.ID
	}
	return ids
}

func (s *Service) readPorts(tx *store.Tx, d *syncData) error {
	in := resource.In("router_id", d.ids())
	kinds := resource.In("port_type", []string{ownerGateway, ownerInterface})
	which := resource.Cond{SQL: in.SQL + " AND " + kinds.SQL, Args: slices.Concat(in.Args, kinds.Args)}
	rows, err := tx.Query("SELECT port_id, router_id FROM routerports WHERE "+which.SQL, which.Args...)
	d.router = map[string]string{}
	_, err = store.All(rows, err, func(rows *store.Rows) (struct{}, error) {
		var port, router string
		err := rows.Scan(&port, &router)
		d.router[port] = router
		return struct{}{}, err
	})
	if err != nil {
		return fmt.Errorf("read ports of routers: %w", err)
	}
	ports := s.catalog.Ports
	d.ports, err = ports.Select(tx, &resource.Query{
		Where: []resource.Cond{{SQL: "t.id IN (SELECT port_id FROM routerports WHERE " + which.SQL + ")", Args: which.Args}},
		Set: ports.Bits("id", "name", "project_id", "network_id", "mac_address", "admin_state_up", "status", "device_id", "device_owner",
			"fixed_ips", "binding:host_id", "binding:vif_type", "revision_number", "updated_at")})
	if err != nil {
		return err
	}
	d.networks, err = readNetworks(tx, d.ports)
	return err
}

func (s *Service) readFloating(tx *store.Tx, d *syncData, only []string) (err error) {
	d.scopes = map[string]string{}
	floating := s.catalog.FloatingIPs
	where := []resource.Cond{resource.In("t.router_id", d.ids()), {SQL: "t.fixed_port_id IS NOT NULL"}}
	if len(only) > 0 {
		where = append(where, floating.ByID(only...))
	}
	d.floating, err = floating.Select(tx, &resource.Query{
		Where: where,
		Set:   floating.Bits("id", "floating_network_id", "floating_ip_address", "fixed_ip_address", "port_id", "router_id", "status")})
	if err != nil {
		return err
	}
	ports := make([]string, len(d.floating))
	for i, f := range d.floating {
		ports[i] = *f.PortID
	}
	for some := range slices.Chunk(ports, chunk) {
		found, err := scopesOf(tx, some)
		if err != nil {
			return err
		}
		maps.Copy(d.scopes, found)
	}
	return nil
}

// bindChunk is how many ports one transaction binds.
const bindChunk = 50

// bindPorts binds the ports that are not bound to host. A router that came from another host brings its ports along.
func (s *Service) bindPorts(ctx context.Context, host string, ports []*model.Port) error {
	elsewhere := slices.DeleteFunc(slices.Clone(ports), func(p *model.Port) bool {
		return p.HostID == host && p.VIFType != "unbound" && p.VIFType != "binding_failed"
	})
	for some := range slices.Chunk(elsewhere, bindChunk) {
		bound := make([]*model.Port, len(some))
		err := s.db.Write(ctx, func(tx *store.Tx) error {
			for i, p := range some {
				now, err := s.core.UpdatePort(tx, identity.System(), p.ID, []string{"binding:host_id"}, func(p *model.Port) { p.HostID = host })
				if fault.Is(err, "PortNotFound") { // deleted in the meantime: the agent will be told
					continue
				}
				if err != nil {
					return err
				}
				bound[i] = now
			}
			return nil
		})
		if err != nil {
			return err
		}
		for i, now := range bound {
			if now != nil {
				some[i].HostID, some[i].VIFType, some[i].Status = now.HostID, now.VIFType, now.Status
			}
		}
	}
	return nil
}

// UpdateFloatingIPStatuses stores what the agent of a router reports: ACTIVE, DOWN or ERROR by floating IP. Those that
// the router had before and that nobody has now are down.
func (s *Service) UpdateFloatingIPStatuses(tx *store.Tx, router string, statuses map[string]string) error {
	byStatus := map[string][]string{}
	for id, status := range statuses {
		byStatus[status] = append(byStatus[status], id)
	}
	for status := range byStatus {
		if status != statusActive && status != statusDown && status != statusError {
			return fault.InvalidInput("'%s' is not a status of a floating IP", status)
		}
	}
	for _, status := range []string{statusActive, statusError, statusDown} {
		for some := range slices.Chunk(byStatus[status], chunk) {
			if err := setStatus(tx, status, resource.In("id", some)); err != nil {
				return err
			}
		}
	}
	if err := setStatus(tx, statusDown, resource.Cond{SQL: "last_known_router_id = ? AND router_id IS NULL", Args: []any{router}}); err != nil {
		return err
	}
	return s.askAgain(tx, byStatus[statusDown])
}

// askAgain has the agents of floating IPs that somebody reported down look at their routers again, and report what is
// true: when a router or a floating IP moves, the last word of the agent that lost it may come after the first word of the
// agent that has it now.
func (s *Service) askAgain(tx *store.Tx, floating []string) error {
	for some := range slices.Chunk(floating, chunk) {
		in := resource.In("id", some)
		routers, err := store.Strings(tx.Query("SELECT DISTINCT router_id FROM floatingips WHERE router_id IS NOT NULL AND "+in.SQL, in.Args...))
		if err != nil {
			return fmt.Errorf("read routers of floating IPs: %w", err)
		}
		places, err := s.placements(tx, routers...)
		if err != nil {
			return err
		}
		if len(places) > 0 {
			tx.OnCommit(func(ctx context.Context) { s.tell(ctx, places, "") })
		}
	}
	return nil
}

// setStatus changes the status, and counts up the revision, of the floating IPs that have another one.
func setStatus(tx *store.Tx, status string, where resource.Cond) error {
	filter, args := where.SQL+" AND (status IS NULL OR status <> ?)", append(slices.Clone(where.Args), status)
	n, err := tx.Exec("UPDATE standardattributes SET revision_number = revision_number + 1, updated_at = ? WHERE id IN "+
		"(SELECT standard_attr_id FROM floatingips WHERE "+filter+")", append([]any{store.Now()}, args...)...)
	if err == nil && n > 0 {
		_, err = tx.Exec("UPDATE floatingips SET status = ? WHERE "+filter, append([]any{status}, args...)...)
	}
	if err != nil {
		return fmt.Errorf("set status of floating IPs: %w", err)
	}
	return nil
}
