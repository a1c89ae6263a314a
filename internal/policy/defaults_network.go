package policy

func networkRules() []row {
	return []row{
		{"create_network", adminOrMember, anyone},
		{"create_network:shared", admin, ""},
		{"create_network:router:external", admin, ""},
		{"create_network:is_default", admin, ""},
		{"create_network:port_security_enabled", adminOrMember, anyone},
		{"create_network:segments", admin, ""},
		{"create_network:provider:network_type", admin, ""},
		{"create_network:provider:physical_network", admin, ""},
		{"create_network:provider:segmentation_id", admin, ""},
		{"get_network",
			adminOrReader + or + service + or + shared + or + external + or + advsvc,
			adminOrOwner + or + shared + or + external + or + advsvc},
		{"get_network:segments", admin, ""},
		{"get_network:provider:network_type", admin, ""},
		{"get_network:provider:physical_network", admin, ""},
		{"get_network:provider:segmentation_id", admin, ""},
		{"update_network", adminOrMember, adminOrOwner},
		{"update_network:segments", admin, ""},
		{"update_network:shared", admin, ""},
		{"update_network:provider:network_type", admin, ""},
		{"update_network:provider:physical_network", admin, ""},
		{"update_network:provider:segmentation_id", admin, ""},
		{"update_network:router:external", admin, ""},
		{"update_network:is_default", admin, ""},
		{"update_network:port_security_enabled", adminOrMember, adminOrOwner},
		{"delete_network", adminOrMember, adminOrOwner},
	}
}

func ipAvailabilityRules() []row {
	return []row{
		{"get_network_ip_availability", adminOrService, admin},
	}
}

func segmentRangeRules() []row {
	return []row{
		{"create_network_segment_range", admin, ""},
		{"get_network_segment_range", admin, ""},
		{"update_network_segment_range", admin, ""},
		{"delete_network_segment_range", admin, ""},
	}
}

func segmentRules() []row {
	return []row{
		{"create_segment", admin, ""},
		{"create_segments_tags", admin, ""},
		{"get_segment", admin, ""},
		{"get_segments_tags", admin, ""},
		{"update_segment", admin, ""},
		{"update_segments_tags", admin, ""},
		{"delete_segment", admin, ""},
		{"delete_segments_tags", admin, ""},
	}
}

func subnetRules() []row {
	return []row{
		{"create_subnet", admin + or + networkMember, adminOrNetworkOwner},
		{"create_subnet:segment_id", admin, ""},
		{"create_subnet:service_types", admin, ""},
		{"get_subnet",
			projectReader + or + shared + or + externalNetwork + or + admin + or + networkReader + or + service,
			shared + or + externalNetwork + or + adminOrOwner},
		{"get_subnet:segment_id", admin, ""},
		{"update_subnet", projectMember + or + admin + or + networkMember, adminOrNetworkOwner},
		{"update_subnet:segment_id", admin, ""},
		{"update_subnet:service_types", admin, ""},
		{"update_subnet:leak_routes", admin, ""},
		{"delete_subnet", projectMember + or + admin + or + networkMember, adminOrNetworkOwner},
	}
}

func subnetpoolRules() []row {
	return []row{
		{"create_subnetpool", adminOrMember, anyone},
		{"create_subnetpool:shared", admin, ""},
		{"create_subnetpool:is_default", admin, ""},
		{"get_subnetpool", adminOrReader + or + "rule:shared_subnetpools", adminOrOwner + or + "rule:shared_subnetpools"},
		{"update_subnetpool", adminOrMember, adminOrOwner},
		{"update_subnetpool:is_default", admin, ""},
		{"delete_subnetpool", adminOrMember, adminOrOwner},
		{"onboard_network_subnets", adminOrMember, adminOrOwner},
		{"add_prefixes", adminOrMember, adminOrOwner},
		{"remove_prefixes", adminOrMember, adminOrOwner},
	}
}

func addressScopeRules() []row {
	return []row{
		{"create_address_scope", adminOrMember, anyone},
		{"create_address_scope:shared", admin, ""},
		{"get_address_scope", adminOrReader + or + "rule:shared_address_scopes", adminOrOwner + or + "rule:shared_address_scopes"},
		{"update_address_scope", adminOrMember, adminOrOwner},
		{"update_address_scope:shared", admin, ""},
		{"delete_address_scope", adminOrMember, adminOrOwner},
	}
}
