package policy

// deletePort keeps users from deleting the ports of instances under Nova's, Ironic's and Manila's feet: these services
// send the user's token together with their own (service_roles), or use their own alone.
const deletePort = adminOrService +
	" or (service_roles:service and (" + networkMember + or + projectMember + "))" +
	" or (not rule:compute_device and not rule:baremetal_device and not rule:manila_device and (" +
	networkMember + or + projectMember + "))"

func portRules() []row {
	return []row{
		{"create_port", adminOrService + or + networkMember + or + shared, anyone},
		{"create_port:device_id", adminOrMember + or + service, anyone},
		{"create_port:device_owner",
			"not rule:network_device" + or + admin + or + service + or + networkMember,
			"not rule:network_device" + or + advsvc + or + adminOrNetworkOwner},
		{"create_port:mac_address", adminOrService + or + networkMember, advsvc + or + adminOrNetworkOwner},
		{"create_port:fixed_ips", adminOrService + or + networkMember + or + shared, advsvc + or + adminOrNetworkOwner + or + shared},
		{"create_port:fixed_ips:ip_address", adminOrService + or + networkMember, advsvc + or + adminOrNetworkOwner},
		{"create_port:fixed_ips:subnet_id", adminOrService + or + networkMember + or + shared, advsvc + or + adminOrNetworkOwner + or + shared},
		{"create_port:port_security_enabled", adminOrService + or + networkMember, advsvc + or + adminOrNetworkOwner},
		{"create_port:binding:host_id", adminOrService, admin},
		{"create_port:binding:profile", service, admin},
		{"create_port:binding:vnic_type", adminOrMember + or + service, anyone},
		{"create_port:allowed_address_pairs", admin + or + networkMember + or + service, adminOrNetworkOwner},
		{"create_port:allowed_address_pairs:mac_address", admin + or + networkMember + or + service, adminOrNetworkOwner},
		{"create_port:allowed_address_pairs:ip_address", admin + or + networkMember + or + service, adminOrNetworkOwner},
		{"create_port:hints", admin, ""},
		{"create_port:trusted", admin, ""},
		{"get_port", adminOrService + or + networkReader + or + projectReader, advsvc + or + adminOwnerOrNetworkOwner},
		{"get_port:binding:vif_type", adminOrService, admin},
		{"get_port:binding:vif_details", adminOrService, admin},
		{"get_port:binding:host_id", adminOrService, admin},
		{"get_port:binding:profile", adminOrService, admin},
		{"get_port:resource_request", admin, ""},
		{"get_port:hints", admin, ""},
		{"get_port:trusted", admin, ""},
		{"update_port", adminOrService + or + projectMember, adminOrOwner + or + advsvc},
		{"update_port:device_id", adminOrMember + or + service, anyone},
		{"update_port:device_owner",
			"not rule:network_device" + or + admin + or + service + or + networkMember,
			"not rule:network_device" + or + advsvc + or + adminOrNetworkOwner},
		{"update_port:mac_address", adminOrService + or + networkManager, admin + or + advsvc},
		{"update_port:fixed_ips", adminOrService + or + networkMember, advsvc + or + adminOrNetworkOwner},
		{"update_port:fixed_ips:ip_address", adminOrService + or + networkMember, advsvc + or + adminOrNetworkOwner},
		{"update_port:fixed_ips:subnet_id", adminOrService + or + networkMember + or + shared, advsvc + or + adminOrNetworkOwner + or + shared},
		{"update_port:port_security_enabled", adminOrService + or + networkMember, advsvc + or + adminOrNetworkOwner},
		{"update_port:binding:host_id", adminOrService, admin},
		{"update_port:binding:profile", service, admin},
		{"update_port:binding:vnic_type", adminOrService + or + projectMember, adminOrOwner + or + advsvc},
		{"update_port:allowed_address_pairs", admin + or + networkMember + or + service, adminOrNetworkOwner},
		{"update_port:allowed_address_pairs:mac_address", admin + or + networkMember + or + service, adminOrNetworkOwner},
		{"update_port:allowed_address_pairs:ip_address", admin + or + networkMember + or + service, adminOrNetworkOwner},
		{"update_port:data_plane_status", admin + or + integrator, "rule:admin_or_data_plane_int"},
		{"update_port:hints", admin, ""},
		{"update_port:trusted", admin, ""},
		{"delete_port", deletePort, advsvc + or + adminOwnerOrNetworkOwner},
	}
}

func portBindingRules() []row {
	return []row{
		{"get_port_binding", adminOrService, ""},
		{"create_port_binding", service, ""},
		{"delete_port_binding", service, ""},
		{"activate", service, ""},
	}
}

func pvlanRules() []row {
	return []row{
		{"create_port:pvlan_type", adminOrMember, ""},
		{"create_port:pvlan_community", adminOrMember, ""},
		{"update_port:pvlan_type", adminOrMember, ""},
		{"update_port:pvlan_community", adminOrMember, ""},
		{"get_port:pvlan_type", adminOrReader, ""},
		{"get_port:pvlan_community", adminOrReader, ""},
		{"create_network:pvlan", adminOrMember, ""},
		{"update_network:pvlan", adminOrMember, ""},
		{"get_network:pvlan", adminOrReader, ""},
	}
}
