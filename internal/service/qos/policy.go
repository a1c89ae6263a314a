// Package qos is the service plug-in of that name: policies, their rules, who uses them, and what ports need of Placement
// because of them. Enforcing rules is the agents' matter.
package qos

import (
	"fmt"
	"slices"

	"neutrino/internal/fault"
	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"

	"github.com/google/uuid"
)

// Service is the plug-in.
type Service struct {
	catalog *model.Catalog
	drivers []Driver
}

// New makes the plug-in. drivers are the mechanism drivers that carry rules out.
func New(catalog *model.Catalog, drivers []Driver) *Service { return &Service{catalog, drivers} }

// Policies is what policies do beyond being stored.
func (s *Service) Policies() resource.Logic[model.QosPolicy] {
	return resource.Logic[model.QosPolicy]{Create: s.createPolicy, Update: s.updatePolicy, Delete: s.deletePolicy, Load: s.loadPolicies}
}

func (s *Service) createPolicy(c *resource.Change[model.QosPolicy]) error {
	p := c.New
	if p.ID == "" {
		p.ID = uuid.NewString()
	}
	if p.ProjectID == "" {
		return fault.BadRequest("BadRequest", `Bad QoS policy request: Must have "policy_id".`)
	}
	if err := s.catalog.QosPolicies.Insert(c.Tx, p); err != nil {
		return err
	}
	if p.Shared {
		if err := share(c.Tx, p.ID, p.ProjectID); err != nil {
			return err
		}
	}
	return setDefault(c.Tx, p, p.IsDefault)
}

func (s *Service) updatePolicy(c *resource.Change[model.QosPolicy]) error {
	if c.Old.IsDefault != c.New.IsDefault {
		if err := setDefault(c.Tx, c.New, c.New.IsDefault); err != nil {
			return err
		}
	}
	if c.Has("shared") {
		if err := s.changeSharing(c.Tx, c.Caller, c.New); err != nil {
			return err
		}
	}
	_, err := s.catalog.QosPolicies.Save(c.Tx, c.Old, c.New)
	return err
}

// share lets all projects use a policy.
func share(tx *store.Tx, policy, project string) error {
	_, err := tx.Exec("INSERT INTO qospolicyrbacs (id, project_id, object_id, target_project, action) VALUES (?, ?, ?, ?, ?)",
		uuid.NewString(), project, policy, model.AllProjects, model.AccessShared)
	if err != nil {
		return fmt.Errorf("share QoS policy %s: %w", policy, err)
	}
	return nil
}

// changeSharing makes a policy shared with all projects or not (neutron/objects/rbac_db.py, update_shared).
func (s *Service) changeSharing(tx *store.Tx, caller *identity.Caller, p *model.QosPolicy) error {
	targets, err := store.Strings(tx.Query("SELECT target_project FROM qospolicyrbacs WHERE object_id = ? AND action = ?", p.ID, model.AccessShared))
	if err != nil {
		return fmt.Errorf("read RBAC policies of QoS policy %s: %w", p.ID, err)
	}
	was := slices.Contains(targets, model.AllProjects)
	switch {
	case was == p.Shared:
		return nil
	case p.Shared:
		return share(tx, p.ID, caller.ProjectID)
	}
	users, err := usersOf(tx, p.ID)
	if err != nil {
		return err
	}
	for _, u := range users {
		if !slices.Contains(targets, u) {
			return fault.Conflict("RbacPolicyInUse", "RBAC policy on object %s cannot be removed because other objects depend on it.\n"+
				"Details: project_id=*", p.ID)
		}
	}
	_, err = tx.Exec("DELETE FROM qospolicyrbacs WHERE object_id = ? AND target_project = ? AND action = ?", p.ID, model.AllProjects, model.AccessShared)
	return err
}

// user is a kind of object that uses policies.
type user struct{ name, bindings, key, table string }

// users are these kinds in the order in which upstream looks for them (neutron/objects/qos/policy.py, binding_models).
var users = []user{
	{"port", "qos_port_policy_bindings", "port_id", "ports"},
	{"network", "qos_network_policy_bindings", "network_id", "networks"},
	{"fip", "qos_fip_policy_bindings", "fip_id", "floatingips"},
	{"router", "qos_router_gw_policy_bindings", "router_id", "routers"},
}

// usersOf are the projects whose objects use a policy.
func usersOf(tx *store.Tx, policy string) ([]string, error) {
	var all []string
	for _, u := range users {
		projects, err := store.Strings(tx.Query("SELECT DISTINCT COALESCE(o.project_id, '') FROM "+u.table+" o JOIN "+u.bindings+" b ON b."+u.key+" = o.id "+
			"WHERE b.policy_id = ?", policy))
		if err != nil {
			return nil, fmt.Errorf("read users of QoS policy %s: %w", policy, err)
		}
		all = append(all, projects...)
	}
	return all, nil
}

// setDefault makes a policy the one that new networks of its project get, or no longer.
func setDefault(tx *store.Tx, p *model.QosPolicy, on bool) error {
	if !on {
		_, err := tx.Exec("DELETE FROM qos_policies_default WHERE qos_policy_id = ?", p.ID)
		return err
	}
	_, err := tx.Exec("INSERT INTO qos_policies_default (project_id, qos_policy_id) VALUES (?, ?)", p.ProjectID, p.ID)
	if store.IsDuplicate(err) {
		return fault.Conflict("QoSPolicyDefaultAlreadyExists", "A default QoS policy exists for project %s.", p.ProjectID)
	}
	return err
}

func (s *Service) deletePolicy(c *resource.Change[model.QosPolicy]) error {
	for _, u := range users {
		id, found, err := store.One[string](c.Tx.QueryRow("SELECT "+u.key+" FROM "+u.bindings+" WHERE policy_id = ? ORDER BY "+u.key+" LIMIT 1", c.Old.ID))
		if err != nil {
			return fmt.Errorf("read users of QoS policy %s: %w", c.Old.ID, err)
		}
		if found {
			return fault.Conflict("QosPolicyInUse", "QoS Policy %s is used by %s %s.", c.Old.ID, u.name, id)
		}
	}
	return s.catalog.QosPolicies.Delete(c.Tx, c.Old)
}

func (s *Service) loadPolicies(tx *store.Tx, _ *identity.Caller, set resource.Set, policies []*model.QosPolicy) error {
	if set&s.catalog.QosPolicies.Bit("rules") == 0 {
		return nil
	}
	ids := make([]string, len(policies))
	for i, p := range policies {
		ids[i] = p.ID
	}
	rules, err := readRules(tx, model.QosRuleKinds(), ids...)
	for _, p := range policies {
		p.Rules = rules[p.ID]
	}
	return err
}

// chunk is how many ids go into one query.
const chunk = 5000

// readRules reads the rules of some kinds, by policy, in the order of the kinds.
func readRules(tx *store.Tx, kinds []*model.QosRuleKind, policies ...string) (map[string][]model.QosRule, error) {
	all := map[string][]model.QosRule{}
	for some := range slices.Chunk(policies, chunk) {
		in := resource.In("qos_policy_id", some)
		for _, k := range kinds {
			columns, order := "id, qos_policy_id, COALESCE("+k.Value+", 0)", "id"
			if k.Burst != "" {
				columns += ", COALESCE(" + k.Burst + ", 0)"
			} else {
				columns += ", 0"
			}
			if k.Directions != nil {
				columns, order = columns+", direction", "direction, id" // as upstream's index has them
			} else {
				columns += ", ''"
			}
			rows, err := tx.Query("SELECT "+columns+" FROM "+k.Table()+" WHERE "+in.SQL+" ORDER BY "+order, in.Args...)
			_, err = store.All(rows, err, func(rows *store.Rows) (struct{}, error) {
				r := model.QosRule{Kind: k}
				err := rows.Scan(&r.ID, &r.PolicyID, &r.Value, &r.Burst, &r.Direction)
				all[r.PolicyID] = append(all[r.PolicyID], r)
				return struct{}{}, err
			})
			if err != nil {
				return nil, fmt.Errorf("read QoS rules: %w", err)
			}
		}
	}
	return all, nil
}

// Policy reads a policy that the caller may use.
func (s *Service) Policy(tx *store.Tx, caller *identity.Caller, id string) (*model.QosPolicy, error) {
	policies := s.catalog.QosPolicies
	return policies.Get(tx, caller, id, policies.Bits("id", "project_id"))
}
