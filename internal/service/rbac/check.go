package rbac

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"
)

type change = resource.Change[model.RBACPolicy]

const network = "network"

// Upstream lets several parts of itself object to a change of a policy (neutron_lib/callbacks), and tells the caller all
// their objections with the names of the parts and a number that changes with every start of its process.
const (
	callbackNetwork        = "neutron.plugins.ml2.plugin.NeutronDbPluginV2.validate_network_rbac_policy_change-0"
	callbackExternalCreate = "neutron.plugins.ml2.plugin.External_net_db_mixin._process_ext_policy_create-0"
	callbackExternalInUse  = "neutron.plugins.ml2.plugin.External_net_db_mixin._validate_ext_not_in_use_by_project-0"
)

// callback is the part that speaks for the objects of a kind.
func callback(k model.RBACKind) string {
	module := strings.NewReplacer("security_group", "securitygroup", "qos_policy", "qos.policy").Replace(k.Name)
	return "neutron.objects." + module + ".RbacNeutronDbObjectMixin.validate_rbac_policy_change-0"
}

// step is one part's check of a change. Its faults are objections.
type step struct {
	callback string
	check    func(c *change, p *model.RBACPolicy, o *object) error
}

// object is what a policy is about; nil if it does not exist.
type object struct {
	kind  model.RBACKind
	owner string
	scope *string // address scope of a subnet pool
}

// Objections of upstream that come from Python itself.
var (
	errNoObject = errors.New("'NoneType' object is not subscriptable")
	errNoTarget = errors.New("'target_project'") // a KeyError
)

// check lets all parts object: to a new policy as invalid input, to the change of an existing one as use of it.
func (s *Service) check(c *change, k model.RBACKind, p *model.RBACPolicy, steps []step) error {
	o, err := readObject(c.Tx, k, p.ObjectID)
	if err != nil {
		return err
	}
	var objections []string
	for _, x := range steps {
		err := x.check(c, p, o)
		if err == nil {
			continue
		}
		text, isObjection := objection(err)
		if !isObjection {
			return err
		}
		objections = append(objections, fmt.Sprintf(`Callback %s failed with "%s"`, x.callback, text))
	}
	switch {
	case len(objections) == 0:
		return nil
	case c.Old == nil:
		return fault.InvalidInput("%s", strings.Join(objections, ","))
	}
	return inUse(p, strings.Join(objections, ","))
}

// objection is the text of an error that the caller may see.
func objection(err error) (string, bool) {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f.Message, true
	}
	return err.Error(), err == errNoObject || err == errNoTarget
}

func inUse(p *model.RBACPolicy, details string) error {
	return fault.Conflict("RbacPolicyInUse", "RBAC policy on object %s cannot be removed because other objects depend on it.\nDetails: %s",
		p.ObjectID, details)
}

func readObject(tx *store.Tx, k model.RBACKind, id string) (*object, error) {
	columns := "project_id, NULL"
	if k.Name == "subnetpool" {
		columns = "project_id, address_scope_id"
	}
	rows, err := tx.Query("SELECT "+columns+" FROM "+k.Objects+" WHERE id = ?", id)
	found, err := store.All(rows, err, func(rows *store.Rows) (*object, error) {
		o := &object{kind: k}
		var owner *string
		err := rows.Scan(&owner, &o.scope)
		if owner != nil {
			o.owner = *owner
		}
		return o, err
	})
	if err != nil {
		return nil, fmt.Errorf("read %s %s: %w", k.Name, id, err)
	}
	if len(found) == 0 {
		return nil, nil
	}
	return found[0], nil
}

// owns tells whether the caller may share the object.
func owns(c *change, o *object, kinds string) error {
	if !c.Caller.IsAdmin && o.owner != c.Caller.ProjectID {
		return fault.InvalidInput("Only admins can manipulate policies on %s they do not own", kinds)
	}
	return nil
}

// mayShare checks a new policy on an object of any kind (neutron/objects/rbac_db.py).
func (s *Service) mayShare(c *change, p *model.RBACPolicy, o *object) error {
	if o == nil {
		if c.Caller.IsAdmin && p.ObjectType == network {
			return nil // the check of networks says it better
		}
		if c.Caller.IsAdmin && p.ObjectType != "subnetpool" && !slices.Contains(s.kinds[p.ObjectType].Actions, p.Action) {
			return nil // upstream does not look at the object then, and finds the action wrong
		}
		return errNoObject
	}
	if err := owns(c, o, "objects"); err != nil {
		return err
	}
	if o.scope == nil || *o.scope == "" {
		return nil
	}
	query, args := "SELECT COUNT(*) FROM addressscoperbacs WHERE object_id = ? AND target_project IN (?, ?)", []any{*o.scope, model.AllProjects, p.Target}
	if !c.Caller.IsAdmin {
		query, args = query+" AND project_id = ?", append(args, c.Caller.ProjectID)
	}
	n, _, err := store.One[int](c.Tx.QueryRow(query, args...))
	if err == nil && n == 0 {
		// A policy on the scope does not follow from one on the pool.
		return fault.BadRequest("RbacPolicyInitError", "Failed to create RBAC policy on object %s because %s.", p.ObjectID,
			"target project doesn't have access to associated address scope.")
	}
	return err
}

// mayChange checks a policy that gets another target.
func (s *Service) mayChange(c *change, p *model.RBACPolicy, o *object) error {
	if err := owns(c, o, "objects"); err != nil {
		return err
	}
	switch {
	case !c.Has("target_tenant"):
		return errNoTarget
	case c.New.Target == p.Target, c.New.Target == model.AllProjects:
		return nil
	}
	return s.unshareable(c, p, o)
}

// bound are the queries of the projects that use an object. What uses networks is checked elsewhere.
var bound = map[string]string{
	"security_group": "SELECT DISTINCT p.project_id FROM ports p JOIN securitygroupportbindings b ON b.port_id = p.id WHERE b.security_group_id = ?",
	"address_scope":  "SELECT DISTINCT project_id FROM subnetpools WHERE address_scope_id = ?",
	"subnetpool":     "SELECT DISTINCT project_id FROM subnets WHERE subnetpool_id = ?",
	"qos_policy": "SELECT u.project_id FROM (SELECT b.policy_id, n.project_id FROM networks n JOIN qos_network_policy_bindings b ON b.network_id = n.id " +
		"UNION SELECT b.policy_id, p.project_id FROM ports p JOIN qos_port_policy_bindings b ON b.port_id = p.id " +
		"UNION SELECT b.policy_id, f.project_id FROM floatingips f JOIN qos_fip_policy_bindings b ON b.fip_id = f.id " +
		"UNION SELECT b.policy_id, r.project_id FROM routers r JOIN qos_router_gw_policy_bindings b ON b.router_id = r.id) u WHERE u.policy_id = ?",
	"address_group": "SELECT DISTINCT project_id FROM securitygrouprules WHERE remote_address_group_id = ?",
}

// unshareable refuses to take an object away from projects that use it. Like upstream it counts the owner among them when
// the policy for everybody goes.
func (s *Service) unshareable(c *change, p *model.RBACPolicy, o *object) error {
	query, checked := bound[p.ObjectType]
	if !checked || p.Action != model.AccessShared || o.owner == p.Target {
		return nil
	}
	targets, err := targets(c.Tx, o.kind, p)
	if err != nil {
		return err
	}
	if p.Target != model.AllProjects && slices.Contains(targets, model.AllProjects) {
		return nil
	}
	users, err := store.Strings(c.Tx.Query(query, p.ObjectID))
	if err != nil {
		return fmt.Errorf("read users of %s %s: %w", p.ObjectType, p.ObjectID, err)
	}
	for _, u := range users {
		if u == p.Target || p.Target == model.AllProjects && !slices.Contains(targets, u) {
			return inUse(p, "project_id="+p.Target)
		}
	}
	return nil
}

// targets are the targets of all policies on the object with the same action.
func targets(tx *store.Tx, k model.RBACKind, p *model.RBACPolicy) ([]string, error) {
	all, err := store.Strings(tx.Query("SELECT target_project FROM "+k.Table+" WHERE object_id = ? AND action = ?", p.ObjectID, p.Action))
	if err != nil {
		return nil, fmt.Errorf("read RBAC policies of %s: %w", p.ObjectID, err)
	}
	return all, nil
}
