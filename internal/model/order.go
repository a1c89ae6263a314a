package model

import "strings"

// checkOrder has, for each table, the attributes in the order in which upstream checks them and asks policy about them: of
// several mistakes in a body it names the first. It is that of its attribute maps, with all extensions loaded
// (neutron_lib/api/attributes.py, neutron/api/extensions.py); in those that modules make themselves their own attributes go first.
var checkOrder = map[string][]string{
	"networks": strings.Fields(`id name subnets admin_state_up status tenant_id shared ipv4_address_scope ipv6_address_scope
		router:external l2_adjacency segments mtu availability_zones availability_zone_hints ha
		port_security_enabled provider:network_type provider:physical_network provider:segmentation_id
		qos_policy_id revision_number tags created_at updated_at is_default dns_domain description
		project_id`),
	"subnets": strings.Fields(`id name ip_version network_id subnetpool_id prefixlen cidr gateway_ip allocation_pools
		dns_nameservers host_routes tenant_id enable_dhcp ipv6_ra_mode ipv6_address_mode shared
		revision_number router:external service_types tags created_at updated_at use_default_subnetpool
		dns_publish_fixed_ip description segment_id project_id`),
	"ports": strings.Fields(`id name network_id admin_state_up mac_address fixed_ips device_id device_owner tenant_id status
		allowed_address_pairs data_plane_status extra_dhcp_opts ip_allocation device_profile
		hardware_offload_type hints numa_affinity_policy resource_request binding:vif_type
		binding:vif_details binding:vnic_type binding:host_id binding:profile port_security_enabled
		qos_policy_id qos_network_policy_id revision_number tags created_at updated_at trunk_details
		propagate_uplink_status dns_name dns_assignment dns_domain trusted description security_groups
		project_id`),
	"routers": strings.Fields(`id name admin_state_up status tenant_id external_gateway_info ha enable_ndp_proxy flavor_id
		revision_number availability_zones availability_zone_hints tags created_at updated_at distributed
		conntrack_helpers routes description project_id`),
	"floatingips": strings.Fields(`id floating_ip_address subnet_id floating_network_id router_id port_id fixed_ip_address tenant_id
		status qos_policy_id revision_number tags created_at updated_at dns_name dns_domain port_details
		port_forwardings description project_id`),
	"securitygroups": strings.Fields(`id name tenant_id security_group_rules revision_number tags created_at updated_at description
		stateful shared project_id`),
	"securitygrouprules": strings.Fields(`id security_group_id remote_group_id direction protocol port_range_min port_range_max ethertype
		remote_ip_prefix tenant_id revision_number created_at updated_at description normalized_cidr
		remote_address_group_id belongs_to_default_sg project_id`),
	"securitygroupdefaultrules": strings.Fields(`id tenant_id description remote_group_id remote_address_group_id direction protocol port_range_min
		port_range_max ethertype remote_ip_prefix used_in_default_sg used_in_non_default_sg project_id`),
	"meteringlabelrules": strings.Fields(`id metering_label_id direction excluded remote_ip_prefix tenant_id source_ip_prefix
		destination_ip_prefix project_id`),
	"subnetpools": strings.Fields(`id name tenant_id prefixes default_quota ip_version default_prefixlen min_prefixlen max_prefixlen
		is_default shared address_scope_id revision_number tags created_at updated_at description project_id`),
	"floatingip_pools": strings.Fields(`subnet_id subnet_name network_id cidr project_id tenant_id`),
	"networksegments": strings.Fields(`id tenant_id network_id physical_network network_type segmentation_id name revision_number
		created_at updated_at description project_id`),
	"network_segment_ranges": strings.Fields(`id name default shared project_id network_type physical_network minimum maximum used
		available revision_number tags created_at updated_at description tenant_id`),
	"security_groups_default_statefulness": strings.Fields(`id project_id stateful tenant_id`),
	"meteringlabels":                       strings.Fields(`id name description tenant_id shared project_id`),
	"ml2_port_bindings":                    strings.Fields(`vif_type vif_details vnic_type profile host status project_id tenant_id`),
	"address_groups":                       strings.Fields(`id name description project_id addresses shared revision_number created_at updated_at tenant_id`),
}
