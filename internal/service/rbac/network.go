package rbac

import (
	"fmt"
	"slices"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"
)

// Checks of policies on networks (neutron/db/db_base_plugin_v2.py, neutron/db/external_net_db.py). Each looks only at the
// policies it is for.

func isShare(p *model.RBACPolicy) bool {
	return p.ObjectType == network && p.Action == model.AccessShared
}

func isExternal(p *model.RBACPolicy) bool {
	return p.ObjectType == network && p.Action == model.AccessExternal
}

// shareable checks that the caller sees the network and owns it.
func shareable(c *change, p *model.RBACPolicy, o *object) error {
	if o == nil {
		return noNetwork(p.ObjectID)
	}
	if owns(c, o, "") == nil {
		return nil
	}
	n, _, err := store.One[int](c.Tx.QueryRow("SELECT COUNT(*) FROM networkrbacs WHERE object_id = ? AND target_project IN (?, ?)",
		p.ObjectID, model.AllProjects, c.Caller.ProjectID))
	if err != nil {
		return fmt.Errorf("read shares of network %s: %w", p.ObjectID, err)
	}
	if n == 0 {
		return noNetwork(p.ObjectID)
	}
	return owns(c, o, "networks")
}

func noNetwork(id string) error {
	return fault.NotFound("NetworkNotFound", "Network %s could not be found.", id)
}

func networkShareable(c *change, p *model.RBACPolicy, o *object) error {
	if !isShare(p) {
		return nil
	}
	return shareable(c, p, o)
}

func networkChange(c *change, p *model.RBACPolicy, o *object) error {
	if !isShare(p) {
		return nil
	}
	if err := shareable(c, p, o); err != nil {
		return err
	}
	switch {
	case p.Target == o.owner:
		return nil
	case !c.Has("target_tenant"):
		return errNoTarget
	case p.Target == c.New.Target:
		return nil
	}
	return withoutPorts(c.Tx, p, o)
}

func networkDelete(c *change, p *model.RBACPolicy, o *object) error {
	if !isShare(p) || p.Target == o.owner {
		return nil
	}
	return withoutPorts(c.Tx, p, o)
}

// withoutPorts refuses while a project that loses the network has ports there.
func withoutPorts(tx *store.Tx, p *model.RBACPolicy, o *object) error {
	allowed, err := targets(tx, o.kind, p)
	if err != nil {
		return err
	}
	ports := resource.Cond{SQL: "project_id = ?", Args: []any{p.Target}}
	if p.Target == model.AllProjects {
		in := resource.In("project_id", append(allowed, o.owner, "")) // "": ports of routers and floating IPs
		ports = resource.Cond{SQL: "NOT (" + in.SQL + ")", Args: in.Args}
	} else if slices.Contains(allowed, model.AllProjects) {
		return nil
	}
	n, _, err := store.One[int](tx.QueryRow("SELECT COUNT(*) FROM ports WHERE network_id = ? AND "+ports.SQL, append([]any{p.ObjectID}, ports.Args...)...))
	if err != nil {
		return fmt.Errorf("count ports of network %s: %w", p.ObjectID, err)
	}
	if n > 0 {
		return fault.Conflict("InvalidSharedSetting", "Unable to reconfigure sharing settings for network %s. Multiple projects are using it.", p.ObjectID)
	}
	return nil
}

func externalShareable(c *change, p *model.RBACPolicy, o *object) error {
	if !isExternal(p) {
		return nil
	}
	return shareable(c, p, o)
}

func externalChange(c *change, p *model.RBACPolicy, o *object) error {
	switch {
	case !isExternal(p):
		return nil
	case !c.Has("target_tenant"):
		return errNoTarget
	case c.New.Target == p.Target:
		return nil
	}
	return withoutRouters(c.Tx, p, o, c.New.Target)
}

func externalDelete(c *change, p *model.RBACPolicy, o *object) error {
	if !isExternal(p) {
		return nil
	}
	return withoutRouters(c.Tx, p, o)
}

// withoutRouters refuses while a router of a project that loses the external network has its gateway there. others get
// the network at the same time.
func withoutRouters(tx *store.Tx, p *model.RBACPolicy, o *object, others ...string) error {
	allowed, err := targets(tx, o.kind, p)
	if err != nil {
		return err
	}
	routers := resource.Cond{SQL: "r.project_id = ?", Args: []any{p.Target}}
	if p.Target == model.AllProjects {
		if isDefault, _, err := store.One[bool](tx.QueryRow("SELECT is_default FROM externalnetworks WHERE network_id = ?", p.ObjectID)); err != nil {
			return fmt.Errorf("read external network %s: %w", p.ObjectID, err)
		} else if isDefault {
			return inUse(p, "Default external networks must be shared to everyone.")
		}
		in := resource.In("r.project_id", append(allowed, others...))
		routers = resource.Cond{SQL: "NOT (" + in.SQL + ")", Args: in.Args}
	} else if slices.Contains(allowed, model.AllProjects) {
		return nil
	}
	n, _, err := store.One[int](tx.QueryRow("SELECT COUNT(*) FROM routers r JOIN ports p ON p.id = r.gw_port_id WHERE p.network_id = ? AND "+routers.SQL,
		append([]any{p.ObjectID}, routers.Args...)...))
	if err != nil {
		return fmt.Errorf("count routers at network %s: %w", p.ObjectID, err)
	}
	if n > 0 {
		return inUse(p, "There are routers attached to this network that depend on this policy for access.")
	}
	return nil
}

// makeExternal makes a network external, if it is not yet, because there is a policy that needs it.
func (s *Service) makeExternal(tx *store.Tx, k model.RBACKind, id string) error {
	n, err := tx.Exec(tx.Dialect().InsertIgnore("externalnetworks", "network_id", "is_default"), id, false)
	if err != nil {
		return fmt.Errorf("make network %s external: %w", id, err)
	}
	if n == 0 {
		return nil
	}
	return s.touch(tx, k, id)
}

// makeInternal makes a network internal when it lost its last policy for external access, unless a gateway is there.
func (s *Service) makeInternal(tx *store.Tx, k model.RBACKind, id string) error {
	n, err := tx.Exec("DELETE FROM externalnetworks WHERE network_id = ? AND NOT EXISTS (SELECT 1 FROM networkrbacs r WHERE r.object_id = ? AND r.action = ?) "+
		"AND NOT EXISTS (SELECT 1 FROM ports p WHERE p.network_id = ? AND p.device_owner = ?)", id, id, model.AccessExternal, id, "network:router_gateway")
	if err != nil {
		return fmt.Errorf("make network %s internal: %w", id, err)
	}
	if n == 0 {
		return nil
	}
	return s.touch(tx, k, id)
}
