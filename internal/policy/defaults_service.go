package policy

func agentRules() []row {
	return []row{
		{"create_agent", admin, ""},
		{"get_agent", admin, ""},
		{"update_agent", admin, ""},
		{"delete_agent", admin, ""},
		{"create_dhcp-network", admin, ""},
		{"get_dhcp-networks", admin, ""},
		{"delete_dhcp-network", admin, ""},
		{"create_l3-router", admin, ""},
		{"get_l3-routers", admin, ""},
		{"update_l3-router", admin, ""},
		{"delete_l3-router", admin, ""},
		{"get_dhcp-agents", admin, ""},
		{"get_l3-agents", admin, ""},
	}
}

func autoAllocatedTopologyRules() []row {
	return []row{
		{"get_auto_allocated_topology", adminOrReader, adminOrOwner},
		{"delete_auto_allocated_topology", adminOrMember, adminOrOwner},
	}
}

func availabilityZoneRules() []row {
	return []row{
		{"get_availability_zone", reader, anyone},
	}
}

func flavorRules() []row {
	return []row{
		{"create_flavor", admin, ""},
		{"get_flavor", reader, anyone},
		{"update_flavor", admin, ""},
		{"delete_flavor", admin, ""},
		{"create_service_profile", admin, ""},
		{"get_service_profile", admin, ""},
		{"update_service_profile", admin, ""},
		{"delete_service_profile", admin, ""},
		{"get_flavor_service_profile", adminOrReader, anyone},
		{"create_flavor_service_profile", admin, ""},
		{"delete_flavor_service_profile", admin, ""},
	}
}

func logRules() []row {
	return []row{
		{"get_loggable_resource", adminOrManager, admin},
		{"create_log", adminOrManager, admin},
		{"get_log", adminOrManager, admin},
		{"update_log", adminOrManager, admin},
		{"delete_log", adminOrManager, admin},
	}
}

func meteringRules() []row {
	return []row{
		{"create_metering_label", adminOrManager, admin},
		{"get_metering_label", adminOrReader, admin},
		{"delete_metering_label", adminOrManager, admin},
		{"create_metering_label_rule", adminOrManager, admin},
		{"get_metering_label_rule", adminOrReader, admin},
		{"delete_metering_label_rule", adminOrManager, admin},
	}
}

func quotaRules() []row {
	return []row{
		{"get_quota", adminOrManager, admin},
		{"update_quota", admin, ""},
		{"delete_quota", admin, ""},
	}
}

func serviceTypeRules() []row {
	return []row{
		{"get_service_provider", reader, anyone},
	}
}

func trunkRules() []row {
	return []row{
		{"create_trunk", adminOrMember, anyone},
		{"get_trunk", adminOrReader, adminOrOwner},
		{"update_trunk", adminOrMember, adminOrOwner},
		{"delete_trunk", adminOrMember, adminOrOwner},
		{"get_subports", adminOrReader, anyone},
		{"add_subports", adminOrMember, adminOrOwner},
		{"remove_subports", adminOrMember, adminOrOwner},
	}
}
