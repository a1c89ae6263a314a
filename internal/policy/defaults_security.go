package policy

// noWildcard refuses to share with every project.
const noWildcard = "(not field:rbac_policy:target_tenant=* and not field:rbac_policy:target_project=*)"

func securityGroupRules() []row {
	return []row{
		{"create_default_security_group", adminOrService + or + projectReader, ""},
		{"create_security_group", adminOrMember, adminOrOwner},
		{"get_security_group", adminOrReader + or + "rule:shared_security_group", anyone},
		{"update_security_group", adminOrMember, adminOrOwner},
		{"delete_security_group", adminOrMember, adminOrOwner},
		{"create_security_group_rule", admin + or + groupMember, adminOrOwner},
		{"get_security_group_rule", admin + or + groupReader, "rule:admin_owner_or_sg_owner"},
		{"delete_security_group_rule", admin + or + groupMember, adminOrOwner},
	}
}

func defaultSecurityGroupRules() []row {
	return []row{
		{"create_default_security_group_rule", admin, ""},
		{"get_default_security_group_rule", reader, anyone},
		{"delete_default_security_group_rule", admin, ""},
	}
}

func defaultStatefulnessRules() []row {
	return []row{
		{"create_security_groups_default_statefulness", adminOrManager, ""},
		{"get_security_groups_default_statefulness", adminOrReader, ""},
		{"update_security_groups_default_statefulness", adminOrManager, ""},
		{"delete_security_groups_default_statefulness", adminOrManager, ""},
	}
}

func addressGroupRules() []row {
	return []row{
		{"create_address_group", adminOrMember, anyone},
		{"get_address_group", adminOrReader + or + "rule:shared_address_groups", adminOrOwner + or + "rule:shared_address_groups"},
		{"update_address_group", adminOrMember, adminOrOwner},
		{"delete_address_group", adminOrMember, adminOrOwner},
		{"add_addresses", adminOrMember, adminOrOwner},
		{"remove_addresses", adminOrMember, adminOrOwner},
	}
}

func rbacRules() []row {
	return []row{
		{"create_rbac_policy", adminOrMember, anyone},
		{"create_rbac_policy:target_tenant", admin + or + noWildcard, "rule:restrict_wildcard"},
		{"create_rbac_policy:target_project", admin + or + "not field:rbac_policy:target_project=*", ""},
		{"update_rbac_policy", adminOrMember, adminOrOwner},
		{"update_rbac_policy:target_tenant", admin + or + noWildcard, "rule:restrict_wildcard and rule:admin_or_owner"},
		{"update_rbac_policy:target_project", admin + or + "not field:rbac_policy:target_project=*", ""},
		{"get_rbac_policy", adminOrReader, adminOrOwner},
		{"delete_rbac_policy", adminOrMember, adminOrOwner},
	}
}
