package secgroup

import (
	"neutrino/internal/fault"
	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"

	"github.com/google/uuid"
)

// DefaultRules is what templates of rules do beyond being stored.
func (s *Service) DefaultRules() resource.Logic[model.DefaultSecurityGroupRule] {
	return resource.Logic[model.DefaultSecurityGroupRule]{Create: s.createDefaultRule, Update: unchangeable[model.DefaultSecurityGroupRule]}
}

func (s *Service) createDefaultRule(c *resource.Change[model.DefaultSecurityGroupRule]) error {
	r := &c.New.SecurityGroupRule
	if r.ID == "" {
		r.ID = uuid.NewString()
	}
	if err := checkRule(r); err != nil {
		return err
	}
	if r.Protocol != nil {
		if err := model.CheckProtocol(*r.Protocol); err != nil {
			return err
		}
	}
	// Upstream compares every new template with those of other than default groups only.
	rules := s.catalog.DefaultSecurityGroupRules
	known, err := rules.Select(c.Tx, &resource.Query{Set: rules.All, Where: []resource.Cond{{SQL: "t.used_in_non_default_sg = ?", Args: []any{true}}}})
	if err != nil {
		return err
	}
	for _, k := range known {
		if ruleKey(&k.SecurityGroupRule) == ruleKey(r) {
			return fault.Conflict("DefaultSecurityGroupRuleExists", "Default Security group rule already exists. Rule id is %s.", k.ID)
		}
	}
	return rules.Insert(c.Tx, c.New)
}

// templates reads the rules that new groups get: the templates that column selects. One that names a group which does not exist, or no
// longer, gives no rule; in upstream no project could get its default group then.
func (s *Service) templates(tx *store.Tx, column string) ([]*model.SecurityGroupRule, error) {
	rules := s.catalog.DefaultSecurityGroupRules
	all, err := rules.Select(tx, &resource.Query{Set: rules.All, Where: []resource.Cond{
		{SQL: "t." + column + " = ?", Args: []any{true}},
		{SQL: "(t.remote_group_id IS NULL OR t.remote_group_id = ? OR t.remote_group_id IN (SELECT id FROM securitygroups))", Args: []any{model.ParentGroup}},
		{SQL: "(t.remote_address_group_id IS NULL OR t.remote_address_group_id IN (SELECT id FROM address_groups))"}}})
	if err != nil {
		return nil, err
	}
	out := make([]*model.SecurityGroupRule, len(all))
	for i, t := range all {
		r := t.SecurityGroupRule
		r.Standard = model.Standard{} // the template's own
		out[i] = &r
	}
	return out, nil
}

// DefaultStatefulness is what the settings for new groups do beyond being stored.
func (s *Service) DefaultStatefulness() resource.Logic[model.DefaultStatefulness] {
	return resource.Logic[model.DefaultStatefulness]{Create: s.createStatefulness}
}

func (s *Service) createStatefulness(c *resource.Change[model.DefaultStatefulness]) error {
	if c.New.ID == "" {
		c.New.ID = uuid.NewString()
	}
	project, where := "system-wide", resource.Cond{SQL: "project_id IS NULL"}
	if p := c.New.ProjectID; p != nil {
		project, where = *p, resource.Cond{SQL: "project_id = ?", Args: []any{*p}}
	}
	exists := fault.Conflict("SecurityGroupDefaultStatefulnessAlreadyExists",
		"A security group default statefulness setting already exists for project '%s'.", project)
	// The database would allow several for all projects: NULL is never equal.
	n, _, err := store.One[int](c.Tx.QueryRow("SELECT COUNT(*) FROM security_groups_default_statefulness WHERE "+where.SQL, where.Args...))
	if err != nil {
		return err
	}
	if n > 0 {
		return exists
	}
	err = s.catalog.DefaultStatefulnesses.Insert(c.Tx, c.New)
	if store.IsDuplicate(err) {
		return exists
	}
	return err
}

// defaultStateful is whether a new group of the project is stateful.
func (s *Service) defaultStateful(tx *store.Tx, project string) (bool, error) {
	settings := s.catalog.DefaultStatefulnesses
	all, err := settings.Select(tx, &resource.Query{Set: settings.All, Caller: identity.System(),
		Where: []resource.Cond{{SQL: "(t.project_id = ? OR t.project_id IS NULL)", Args: []any{project}}}})
	stateful := true
	for _, d := range all {
		if d.ProjectID != nil {
			return d.Stateful, err
		}
		stateful = d.Stateful
	}
	return stateful, err
}
