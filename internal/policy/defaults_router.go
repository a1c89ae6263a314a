package policy

func routerRules() []row {
	return []row{
		{"create_router", adminOrMember, anyone},
		{"create_router:distributed", admin, ""},
		{"create_router:ha", admin, ""},
		{"create_router:external_gateway_info", adminOrMember, adminOrOwner},
		{"create_router:external_gateway_info:network_id", adminOrMember, adminOrOwner},
		{"create_router:external_gateway_info:enable_snat", admin, ""},
		{"create_router:external_gateway_info:external_fixed_ips", admin, ""},
		{"create_router:enable_default_route_bfd", admin, ""},
		{"create_router:enable_default_route_ecmp", admin, ""},
		{"get_router", adminOrReader, adminOrOwner},
		{"get_router:distributed", admin, ""},
		{"get_router:ha", admin, ""},
		{"update_router", adminOrMember, adminOrOwner},
		{"update_router:distributed", admin, ""},
		{"update_router:ha", admin, ""},
		{"update_router:external_gateway_info", adminOrMember, adminOrOwner},
		{"update_router:external_gateway_info:network_id", adminOrMember, adminOrOwner},
		{"update_router:external_gateway_info:enable_snat", admin, ""},
		{"update_router:external_gateway_info:external_fixed_ips", admin, ""},
		{"update_router:enable_default_route_bfd", admin, ""},
		{"update_router:enable_default_route_ecmp", admin, ""},
		{"delete_router", adminOrMember, adminOrOwner},
		{"add_router_interface", adminOrMember, adminOrOwner},
		{"remove_router_interface", adminOrMember, adminOrOwner},
		{"add_extraroutes", adminOrMember, adminOrOwner},
		{"remove_extraroutes", adminOrMember, adminOrOwner},
		{"add_external_gateways", adminOrMember, ""},
		{"add_external_gateways:external_gateways", adminOrMember, ""},
		{"add_external_gateways:external_gateways:network_id", adminOrMember, ""},
		{"add_external_gateways:external_gateways:enable_snat", admin, ""},
		{"add_external_gateways:external_gateways:external_fixed_ips", admin, ""},
		{"update_external_gateways", adminOrMember, ""},
		{"update_external_gateways:external_gateways", adminOrMember, ""},
		{"update_external_gateways:external_gateways:network_id", adminOrMember, ""},
		{"update_external_gateways:external_gateways:enable_snat", admin, ""},
		{"update_external_gateways:external_gateways:external_fixed_ips", admin, ""},
		{"remove_external_gateways", adminOrMember, ""},
		{"remove_external_gateways:external_gateways", adminOrMember, ""},
	}
}

func evpnRules() []row {
	return []row{
		{"create_router:evpn_vni", admin, ""},
		{"get_router:evpn_vni", adminOrReader, ""},
	}
}

func floatingIPRules() []row {
	return []row{
		{"create_floatingip", adminOrMember, anyone},
		{"create_floatingip:floating_ip_address", adminOrManager, admin},
		{"create_floatingip:router_id", adminOrMember, ""},
		{"get_floatingip", adminOrReader, adminOrOwner},
		{"update_floatingip", adminOrMember, adminOrOwner},
		{"update_floatingip:router_id", adminOrMember, ""},
		{"delete_floatingip", adminOrMember, adminOrOwner},
	}
}

func floatingIPPoolRules() []row {
	return []row{
		{"get_floatingip_pool", adminOrReader, anyone},
	}
}

func portForwardingRules() []row {
	return []row{
		{"create_floatingip_port_forwarding", adminOrParentMember, adminOrParentOwner},
		{"get_floatingip_port_forwarding", adminOrParentReader, adminOrParentOwner},
		{"update_floatingip_port_forwarding", adminOrParentMember, adminOrParentOwner},
		{"delete_floatingip_port_forwarding", adminOrParentMember, adminOrParentOwner},
	}
}

func conntrackHelperRules() []row {
	return []row{
		{"create_router_conntrack_helper", adminOrParentMember, adminOrParentOwner},
		{"get_router_conntrack_helper", adminOrParentReader, adminOrParentOwner},
		{"update_router_conntrack_helper", adminOrParentMember, adminOrParentOwner},
		{"delete_router_conntrack_helper", adminOrParentMember, adminOrParentOwner},
	}
}

func localIPRules() []row {
	return []row{
		{"create_local_ip", adminOrMember, anyone},
		{"get_local_ip", adminOrReader, adminOrOwner},
		{"update_local_ip", adminOrMember, adminOrOwner},
		{"delete_local_ip", adminOrMember, adminOrOwner},
	}
}

func localIPAssociationRules() []row {
	return []row{
		{"create_local_ip_port_association", adminOrParentMember, adminOrParentOwner},
		{"get_local_ip_port_association", adminOrParentReader, adminOrParentOwner},
		{"delete_local_ip_port_association", adminOrParentMember, adminOrParentOwner},
	}
}

func ndpProxyRules() []row {
	return []row{
		{"create_ndp_proxy", adminOrMember, anyone},
		{"get_ndp_proxy", adminOrReader, adminOrOwner},
		{"update_ndp_proxy", adminOrMember, adminOrOwner},
		{"delete_ndp_proxy", adminOrMember, adminOrOwner},
	}
}
