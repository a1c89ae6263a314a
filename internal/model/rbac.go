package model

import (
	"encoding/hex"
	"strings"

	"neutrino/internal/fault"
	"neutrino/internal/resource"
)

// What an RBAC policy lets its target do.
const (
	AccessShared   = "access_as_shared"
	AccessExternal = "access_as_external"
)

// AllProjects is the target of policies for everybody.
const AllProjects = "*"

// RBACPolicy lets a project use an object of another one.
type RBACPolicy struct {
	ID         string
	ProjectID  string
	ObjectType string
	ObjectID   string
	Target     string // a project or AllProjects
	Action     string
}

// RBACKind is a kind of object that can be shared.
type RBACKind struct {
	Name    string // object_type
	Ext     string // alias of the extension that brings it
	Table   string // of the policies
	Objects string // table of the objects
	Actions []string
}

// RBACKinds are the kinds of objects that can be shared, in upstream's order (neutron/db/rbac_db_models.py).
func RBACKinds() []RBACKind {
	shared := []string{AccessShared}
	return []RBACKind{
		{"network", "rbac-policies", "networkrbacs", "networks", []string{AccessShared, AccessExternal}},
		{"qos_policy", "rbac-policies", "qospolicyrbacs", "qos_policies", shared},
		{"security_group", "rbac-security-groups", "securitygrouprbacs", "securitygroups", shared},
		{"address_scope", "rbac-address-scope", "addressscoperbacs", "address_scopes", shared},
		{"subnetpool", "rbac-subnetpool", "subnetpoolrbacs", "subnetpools", shared},
		{"address_group", "rbac-address-group", "addressgrouprbacs", "address_groups", shared},
	}
}

// RBACTable is the SQL of a table of all policies, each with its object_type.
func RBACTable() string {
	var parts []string
	for _, k := range RBACKinds() {
		parts = append(parts, "SELECT id, project_id, object_id, target_project, action, '"+k.Name+"' AS object_type FROM "+k.Table)
	}
	return "(" + strings.Join(parts, " UNION ALL ") + ")"
}

// RBACPolicies describes RBAC policies. They are spread over the tables of their kinds, so the service writes them.
func RBACPolicies(enabled func(string) bool) *resource.Resource[RBACPolicy] {
	t := resource.Table[RBACPolicy]{Name: RBACTable(), OnePage: true, Visible: "t.project_id = :project",
		ID: func(p *RBACPolicy) *string { return &p.ID },
		Missing: func(id string) error {
			return fault.NotFound("RbacPolicyNotFound", "RBAC policy of type unknown with ID %s not found", id)
		}}
	project := func(p *RBACPolicy) *string { return &p.ProjectID }
	return resource.New("rbac_policy", "rbac_policies", "rbac-policies", t, enabled, resource.Ext("rbac-policies",
		resource.Field("id", resource.UUID, filter, func(p *RBACPolicy) *string { return &p.ID }),
		resource.Field("object_type", rbacObjectType(enabled), post|filter|policy, func(p *RBACPolicy) *string { return &p.ObjectType }),
		resource.Field("object_id", resource.UUID, post|filter|policy|must, func(p *RBACPolicy) *string { return &p.ObjectID }),
		resource.Field("target_tenant", rbacTarget, post|put|filter|policy|must, func(p *RBACPolicy) *string { return &p.Target },
			resource.Column("target_project")),
		resource.Field("tenant_id", resource.String(255), post|filter|needed, project, resource.Column("project_id")),
		resource.Field("project_id", resource.String(255), post|filter|needed, project),
		resource.Field("action", resource.String(255), post|filter|policy|must, func(p *RBACPolicy) *string { return &p.Action })))
}

func rbacObjectType(enabled func(string) bool) resource.Type[string] {
	parse := func(v any) (string, error) {
		name := strings.ToLower(strings.TrimSpace(resource.Py(v)))
		for _, k := range RBACKinds() {
			if k.Name == name && enabled(k.Ext) {
				return name, nil
			}
		}
		return "", fault.InvalidInput("'%s' is not a valid RBAC object type", resource.Py(v))
	}
	return resource.Type[string]{Name: "kind of object", Append: resource.AppendString, Parse: parse,
		FromQuery: func(s string) (any, error) { return parse(s) }}
}

var rbacTarget = resource.Type[string]{Name: "project or *", Append: resource.AppendString, Parse: func(v any) (string, error) {
	s, ok := v.(string)
	if !ok || s != AllProjects && !uuidLike(s) {
		return "", fault.InvalidInput("'%s' is not a valid target project ID; expected a UUID or '*'", resource.Py(v))
	}
	return s, nil
}}

// uuidLike accepts what oslo.utils' is_uuid_like does: 32 hexadecimal digits with hyphens, braces and prefixes anywhere.
func uuidLike(s string) bool {
	digits := strings.NewReplacer("urn:", "", "uuid:", "", "-", "").Replace(strings.ToLower(s))
	raw, err := hex.DecodeString(strings.Trim(digits, "{}"))
	return err == nil && len(raw) == 16
}
