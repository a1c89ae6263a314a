package l3

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"

	"neutrino/internal/fault"
	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"
)

// Highly available routers (upstream neutron/db/l3_hamode_db.py): several agents have the router and elect one by VRRP,
// over a network of the router's project that users do not see.

// lastVRID is the greatest virtual router identifier of VRRP that upstream gives out; the least is 1.
const lastVRID = 254

// haNetwork finds the HA network of a project, "" if there is none.
func haNetwork(tx *store.Tx, project string) (string, error) {
	id, _, err := store.One[string](tx.QueryRow("SELECT network_id FROM ha_router_networks WHERE project_id = ?", project))
	if err != nil {
		return "", fmt.Errorf("read HA network of project %s: %w", project, err)
	}
	return id, nil
}

// ensureHANetwork finds or makes the HA network of a project.
func (s *Service) ensureHANetwork(tx *store.Tx, project string) (string, error) {
	id, err := haNetwork(tx, project)
	if err != nil {
		return "", err
	}
	if id == "" {
		body := map[string]any{"name": "HA network project " + project, "project_id": ""}
		if s.cfg.HANetworkType != "" {
			body["provider:network_type"] = s.cfg.HANetworkType
		}
		if s.cfg.HAPhysicalNetwork != "" {
			body["provider:physical_network"] = s.cfg.HAPhysicalNetwork
		}
		n, err := resource.Make(tx, identity.System(), s.catalog.Networks, s.core.Networks(), body)
		if err != nil {
			return "", err
		}
		if err := noteHANetwork(tx, project, n.ID); err != nil {
			return "", store.Retry(err) // another server was quicker
		}
		id = n.ID
	}
	return id, s.ensureHASubnet(tx, id, project)
}

func (s *Service) ensureHASubnet(tx *store.Tx, network, project string) error {
	has, err := exists(tx, "FROM subnets WHERE network_id = ?", network)
	if err != nil || has {
		return err
	}
	_, err = resource.Make(tx, identity.System(), s.catalog.Subnets, s.core.Subnets(), map[string]any{"network_id": network, "project_id": "",
		"name": "HA subnet project " + project, "ip_version": "4", "cidr": s.cfg.HANetworkCIDR, "enable_dhcp": false, "gateway_ip": nil})
	return err
}

// noteHANetwork makes a network the one of a project.
func noteHANetwork(tx *store.Tx, project, network string) error {
	_, err := tx.Exec("INSERT INTO ha_router_networks (project_id, network_id) VALUES (?, ?)", project, network)
	if store.IsDuplicate(err) {
		return fault.Conflict("DuplicatedHANetwork", "Project %s already has a HA network.", project)
	}
	return err
}

// WithHA adds to the logic of networks that a request may make the HA network of a project (extension network_ha).
func (s *Service) WithHA(networks resource.Logic[model.Network]) resource.Logic[model.Network] {
	create := networks.Create
	networks.Create = func(c *resource.Change[model.Network]) error {
		if err := create(c); err != nil || !c.New.HA {
			return err
		}
		return noteHANetwork(c.Tx, c.Caller.ProjectID, c.New.ID)
	}
	return networks
}

// dropHANetwork removes the HA network of a project if no router uses it any more.
func (s *Service) dropHANetwork(tx *store.Tx, project string) error {
	id, err := haNetwork(tx, project)
	if err != nil || id == "" {
		return err
	}
	used, err := exists(tx, "FROM ports WHERE network_id = ?", id)
	if err != nil || used {
		return err
	}
	networks := s.catalog.Networks
	n, err := networks.Get(tx, nil, id, networks.All)
	if err != nil {
		return err
	}
	return s.core.Networks().Delete(&resource.Change[model.Network]{Resource: networks, Tx: tx, Caller: identity.System(), Old: n})
}

// ensureVRID gives a router an identifier that is unique on its HA network. found is false if all are taken.
func ensureVRID(tx *store.Tx, router, network string) (found bool, err error) {
	_, has, err := store.One[int](tx.QueryRow("SELECT ha_vr_id FROM router_extra_attributes WHERE router_id = ? AND ha_vr_id IS NOT NULL", router))
	if err != nil || has {
		return has, err
	}
	rows, err := tx.Query("SELECT vr_id FROM ha_router_vrid_allocations WHERE network_id = ?", network)
	taken, err := store.All(rows, err, func(rows *store.Rows) (n int, err error) { return n, rows.Scan(&n) })
	if err != nil {
		return false, fmt.Errorf("read VRIDs of network %s: %w", network, err)
	}
	free := make([]int, 0, lastVRID)
	for id := 1; id <= lastVRID; id++ {
		if !slices.Contains(taken, id) {
			free = append(free, id)
		}
	}
	if len(free) == 0 {
		return false, nil
	}
	id := free[rand.IntN(len(free))]
	_, err = tx.Exec("INSERT INTO ha_router_vrid_allocations (network_id, vr_id) VALUES (?, ?)", network, id)
	if store.IsDuplicate(err) {
		return false, store.Retry(err)
	}
	if err == nil {
		_, err = tx.Exec("UPDATE router_extra_attributes SET ha_vr_id = ? WHERE router_id = ?", id, router)
	}
	if err != nil {
		return false, fmt.Errorf("give router %s a VRID: %w", router, err)
	}
	return true, nil
}

// releaseVRID gives a router's identifier back.
func releaseVRID(tx *store.Tx, router, project string) error {
	_, err := tx.Exec("DELETE FROM ha_router_vrid_allocations WHERE network_id IN (SELECT network_id FROM ha_router_networks WHERE project_id = ?) "+
		"AND vr_id IN (SELECT ha_vr_id FROM router_extra_attributes WHERE router_id = ?)", project, router)
	if err == nil {
		_, err = tx.Exec("UPDATE router_extra_attributes SET ha_vr_id = NULL WHERE router_id = ?", router)
	}
	if err != nil {
		return fmt.Errorf("release VRID of router %s: %w", router, err)
	}
	return nil
}

// addHAPorts connects the agents that got a highly available router with its HA network. Where no identifier is left,
// the router is in ERROR and has no ports, as upstream's.
func (s *Service) addHAPorts(tx *store.Tx, r unplaced, places []placement) error {
	if len(places) == 0 {
		return nil
	}
	network, err := s.ensureHANetwork(tx, r.project)
	if err != nil {
		return err
	}
	found, err := ensureVRID(tx, r.id, network)
	if err != nil {
		return err
	}
	if !found {
		s.log.Warn("no VRID is left for a router", "router", r.id, "network", network)
		_, err := tx.Exec("UPDATE routers SET status = ? WHERE id = ?", statusError, r.id)
		return err
	}
	for _, p := range places {
		// A router that became distributed, or no longer is, is scheduled anew and keeps the ports that it has.
		has, err := exists(tx, "FROM ha_router_agent_port_bindings WHERE router_id = ? AND l3_agent_id = ?", r.id, p.agent)
		if err != nil {
			return err
		}
		if has {
			continue
		}
		port := &model.Port{NetworkID: network, AdminStateUp: true, DeviceID: r.id, DeviceOwner: ownerHAInterface}
		port.Name = "HA port project " + r.project
		if err := s.core.CreatePort(tx, identity.System(), port, "network_id", "name", "admin_state_up", "device_id", "device_owner"); err != nil {
			return err
		}
		if err := attach(tx, r.id, port.ID, ownerHAInterface); err != nil {
			return err
		}
		if _, err := tx.Exec("INSERT INTO ha_router_agent_port_bindings (port_id, router_id, l3_agent_id, state) VALUES (?, ?, ?, ?)",
			port.ID, r.id, p.agent, "standby"); err != nil {
			return fmt.Errorf("bind HA port of router %s: %w", r.id, err)
		}
	}
	return nil
}

// removeHAPorts removes a router's HA ports: that of one agent, or of all if agent is "".
func (s *Service) removeHAPorts(tx *store.Tx, router, agent string) error {
	query, args := "SELECT port_id FROM ha_router_agent_port_bindings WHERE router_id = ?", []any{router}
	if agent != "" {
		query, args = query+" AND l3_agent_id = ?", append(args, agent)
	}
	ports, err := store.Strings(tx.Query(query, args...))
	if err != nil {
		return fmt.Errorf("read HA ports of router %s: %w", router, err)
	}
	for _, id := range ports {
		if err := s.core.DeletePort(tx, identity.System(), id); err != nil {
			return err
		}
	}
	return nil
}

// AgentState is what an agent is for a router.
type AgentState struct {
	HA       *string         // active, standby or unknown; nil if the router is not highly available
	Versions json.RawMessage // of the objects that it understands, by kind
}

// AgentStates tells about the agents that have a router.
func (s *Service) AgentStates(tx *store.Tx, router string) (map[string]AgentState, error) {
	states := map[string]AgentState{}
	rows, err := tx.Query("SELECT a.id, h.state, COALESCE(a.resource_versions, '') FROM routerl3agentbindings b JOIN agents a ON a.id = b.l3_agent_id "+
		"LEFT JOIN ha_router_agent_port_bindings h ON h.router_id = b.router_id AND h.l3_agent_id = b.l3_agent_id WHERE b.router_id = ?", router)
	_, err = store.All(rows, err, func(rows *store.Rows) (struct{}, error) {
		var agent, versions string
		var x AgentState
		err := rows.Scan(&agent, &x.HA, &versions)
		if x.Versions = json.RawMessage(versions); !json.Valid(x.Versions) {
			x.Versions = json.RawMessage("{}")
		}
		states[agent] = x
		return struct{}{}, err
	})
	if err != nil {
		return nil, fmt.Errorf("read agents of router %s: %w", router, err)
	}
	return states, nil
}
