package policy

import "slices"

// The checks that most default rules are made of (neutron-lib policy/rules.py, neutron conf/policies/base.py).
const (
	or = " or "

	admin      = "rule:admin_only"
	service    = "rule:service_api"
	advsvc     = "rule:context_is_advsvc"
	integrator = "role:data_plane_integrator"
	reader     = "role:reader"
	anyone     = "rule:regular_user"

	projectManager = "role:manager and project_id:%(project_id)s"
	projectMember  = "role:member and project_id:%(project_id)s"
	projectReader  = "role:reader and project_id:%(project_id)s"
	parentManager  = "role:manager and rule:ext_parent_owner"
	parentMember   = "role:member and rule:ext_parent_owner"
	parentReader   = "role:reader and rule:ext_parent_owner"
	networkManager = "role:manager and rule:network_owner"
	networkMember  = "role:member and rule:network_owner"
	networkReader  = "role:reader and rule:network_owner"
	groupMember    = "role:member and rule:sg_owner"
	groupReader    = "role:reader and rule:sg_owner"

	adminOrService       = admin + or + service
	adminOrManager       = admin + or + projectManager
	adminOrMember        = admin + or + projectMember
	adminOrReader        = admin + or + projectReader
	adminOrParentManager = admin + or + parentManager
	adminOrParentMember  = admin + or + parentMember
	adminOrParentReader  = admin + or + parentReader

	shared          = "rule:shared"
	external        = "rule:external"
	externalNetwork = "rule:external_network"

	// Checks that only legacy rules and aliases are made of.
	contextIsAdmin           = "rule:context_is_admin"
	owner                    = "rule:owner"
	adminOrOwner             = "rule:admin_or_owner"
	adminOrNetworkOwner      = "rule:admin_or_network_owner"
	adminOwnerOrNetworkOwner = "rule:admin_owner_or_network_owner"
	adminOrParentOwner       = "rule:admin_or_ext_parent_owner"
)

// row is a default rule in short: its name, its check, and its legacy check if that was another one.
type row struct{ name, check, legacy string }

// Defaults gives the default rules of Neutron 29.0.0 (2026.2) and, as upstream has it in neutron-lib,
// context_can_set_project_id.
func Defaults() []Default {
	var all []Default
	for _, r := range aliases() {
		all = append(all, Default{Name: r.name, Check: r.check, Alias: true})
	}
	for _, r := range slices.Concat(
		networkRules(), ipAvailabilityRules(), segmentRangeRules(), segmentRules(),
		subnetRules(), subnetpoolRules(), addressScopeRules(),
		portRules(), portBindingRules(), pvlanRules(),
		routerRules(), evpnRules(), floatingIPRules(), floatingIPPoolRules(), portForwardingRules(),
		conntrackHelperRules(), localIPRules(), localIPAssociationRules(), ndpProxyRules(),
		securityGroupRules(), defaultSecurityGroupRules(), defaultStatefulnessRules(), addressGroupRules(), rbacRules(),
		qosRules(),
		agentRules(), autoAllocatedTopologyRules(), availabilityZoneRules(), flavorRules(), logRules(), meteringRules(),
		quotaRules(), serviceTypeRules(), trunkRules(),
	) {
		all = append(all, Default{Name: r.name, Check: r.check, Legacy: r.legacy})
	}
	return append(all, tagRules()...)
}

// aliases are checks under a name. They are no actions, so they have no scope.
func aliases() []row {
	return []row{
		{RuleAdmin, "role:admin", ""},
		{RuleGlobalAccess, "!", ""},
		{RuleSetProject, "!", ""},
		{RuleAdvsvc, "role:advsvc", ""},
		{RuleService, "role:service", ""},
		{"default", adminOrOwner, ""},
		{"admin_only", contextIsAdmin, ""},
		{"regular_user", "", ""},

		{"owner", "project_id:%(project_id)s", ""},
		{"admin_or_owner", contextIsAdmin + or + owner, ""},
		{"network_owner", "project_id:%(network:project_id)s", ""},
		{"admin_or_network_owner", contextIsAdmin + or + "project_id:%(network:project_id)s", ""},
		{"admin_owner_or_network_owner", owner + or + adminOrNetworkOwner, ""},
		{"ext_parent_owner", "project_id:%(ext_parent:project_id)s", ""},
		{"admin_or_ext_parent_owner", contextIsAdmin + or + "project_id:%(ext_parent:project_id)s", ""},
		{"sg_owner", "project_id:%(security_group:project_id)s", ""},
		{"admin_or_sg_owner", contextIsAdmin + or + "project_id:%(security_group:project_id)s", ""},
		{"admin_owner_or_sg_owner", owner + or + "rule:admin_or_sg_owner", ""},
		{"admin_or_data_plane_int", contextIsAdmin + or + integrator, ""},

		{"shared", "field:networks:shared=True", ""},
		{"external", "field:networks:router:external=True", ""},
		{"external_network", "field:subnets:router:external=True", ""},
		{"shared_subnetpools", "field:subnetpools:shared=True", ""},
		{"shared_address_scopes", "field:address_scopes:shared=True", ""},
		{"shared_address_groups", "field:address_groups:shared=True", ""},
		{"shared_qos_policy", "field:policies:shared=True", ""},
		{"shared_security_group", "field:security_groups:shared=True", ""},
		{"rule_default_sg", "field:security_group_rules:belongs_to_default_sg=True", ""},
		{"restrict_wildcard", noWildcard + or + admin, ""},

		{"network_device", "field:port:device_owner=~^network:", ""},
		{"compute_device", "field:port:device_owner=~^compute:", ""},
		{"baremetal_device", "field:port:device_owner=~^baremetal:", ""},
		{"manila_device", "field:port:device_owner=~^manila:", ""},
	}
}
