package model

import (
	"neutrino/internal/fault"
	"neutrino/internal/resource"
)

// DefaultSecurityGroupRule is a template of rules that new security groups get. RemoteGroupID may be ParentGroup.
type DefaultSecurityGroupRule struct {
	SecurityGroupRule
	UsedInDefault bool // in the default groups of projects
	UsedInOthers  bool
}

// ParentGroup stands in templates for the group that gets the rule.
const ParentGroup = "PARENT"

// DefaultSecurityGroupRules describes the templates of rules.
func DefaultSecurityGroupRules(enabled func(string) bool) *resource.Resource[DefaultSecurityGroupRule] {
	std := func(r *DefaultSecurityGroupRule) *Standard { return &r.Standard }
	t := table("securitygroupdefaultrules", std)
	t.Visible, t.OneByOne = "", true
	t.Missing = func(id string) error {
		return fault.NotFound("DefaultSecurityGroupRuleNotFound", "Default Security Group rule %s does not exist", id)
	}
	const ext = "security-groups-default-rules"
	project := func(r *DefaultSecurityGroupRule) *string { return &r.ProjectID }
	return resource.New("default_security_group_rule", "default_security_group_rules", "default-security-group-rules", t, enabled,
		resource.Ext(ext,
			resource.Field("id", resource.UUID, filter|sort, func(r *DefaultSecurityGroupRule) *string { return &r.ID }),
			// Policy wants an owner, but templates belong to nobody.
			resource.Field("tenant_id", resource.String(255), post|hidden, project, resource.Unstored()),
			resource.Field("project_id", resource.String(255), post|hidden, project, resource.Unstored())),
		resource.Ext(ext, traffic(func(r *DefaultSecurityGroupRule) *SecurityGroupRule { return &r.SecurityGroupRule })...),
		resource.Ext(ext,
			resource.Field("used_in_default_sg", resource.Bool, post|filter|must, func(r *DefaultSecurityGroupRule) *bool { return &r.UsedInDefault }),
			resource.Field("used_in_non_default_sg", resource.Bool, post|filter|must, func(r *DefaultSecurityGroupRule) *bool { return &r.UsedInOthers })),
		resource.Ext(ext, ruleDescription(0, func(r *DefaultSecurityGroupRule) *SecurityGroupRule { return &r.SecurityGroupRule })))
}

// DefaultStatefulness is what new security groups of a project are that do not say.
type DefaultStatefulness struct {
	ID        string
	ProjectID *string // nil: of projects without a setting of their own
	Stateful  bool
}

// DefaultStatefulnesses describes the settings.
func DefaultStatefulnesses(enabled func(string) bool) *resource.Resource[DefaultStatefulness] {
	t := resource.Table[DefaultStatefulness]{Name: "security_groups_default_statefulness", Order: checkOrder["security_groups_default_statefulness"], Visible: "t.project_id = :project", OneByOne: true,
		ID: func(d *DefaultStatefulness) *string { return &d.ID },
		Missing: func(id string) error {
			return fault.NotFound("SecurityGroupDefaultStatefulnessNotFound", "Security group default statefulness %s could not be found.", id)
		}}
	project := func(d *DefaultStatefulness) **string { return &d.ProjectID }
	owner := resource.Nullable(resource.String(255))
	const name = "security_groups_default_statefulness"
	return resource.New(name, name, "security-groups-default-statefulness", t, enabled, resource.Ext("security-groups-default-statefulness",
		resource.Field("id", resource.UUID, filter|sort, func(d *DefaultStatefulness) *string { return &d.ID }),
		resource.Field("tenant_id", owner, post|filter|sort, project, resource.Derived("t.project_id")),
		resource.Field("project_id", owner, post|filter|sort|needed, project),
		resource.Field("stateful", resource.Bool, post|put|filter|sort, func(d *DefaultStatefulness) *bool { return &d.Stateful }, resource.Default(true))))
}
