package main

import (
	"context"
	"fmt"

	"github.com/vishvananda/netlink"
)

const (
	neutronAddress = "127.0.0.1:9696"
	neutronURL     = "http://" + neutronAddress
)

// neutronConfiguration is the file of the server and all agents, as an operator would write it.
const neutronConfiguration = `[DEFAULT]
auth_strategy = keystone
core_plugin = ml2
service_plugins = router,metering,segments,qos,flavors,network_segment_range
bind_host = 127.0.0.1
bind_port = 9696
host = conformance
state_path = %[1]s
dns_domain = openstackgate.local.
metadata_proxy_socket = /run/metadata_proxy
metadata_proxy_shared_secret = %[3]s
[database]
connection = %[2]s
[keystone_authtoken]
www_authenticate_uri = http://127.0.0.1:5000
auth_url = http://127.0.0.1:5000
auth_type = password
project_domain_name = Default
user_domain_name = Default
project_name = service
username = neutron
password = %[3]s
region_name = RegionOne
service_token_roles = service
service_token_roles_required = true
[ml2]
type_drivers = local,flat,vlan,vxlan
project_network_types = vxlan
mechanism_drivers = linuxbridge,l2population
extension_drivers = port_security,qos,subnet_dns_publish_fixed_ip,data_plane_status,uplink_status_propagation,uplink_status_propagation_updatable,port_device_profile,port_numa_affinity_policy,port_hints,port_hint_ovs_tx_steering,port_trusted,port_hardware_offload_type,tag_ports_during_bulk_creation
[ml2_type_flat]
flat_networks = *
[ml2_type_vlan]
network_vlan_ranges = public:2000:2999,physnet1:100:199
[ml2_type_vxlan]
vni_ranges = 1:10000
[vxlan]
local_ip = 127.0.0.1
l2_population = true
[linux_bridge]
physical_interface_mappings = public:ext0
[quotas]
quota_router = 100
quota_floatingip = 500
quota_security_group = 150
quota_security_group_rule = 1000
[neutrino]
bus_token = %[3]s
bus_listen = 127.0.0.1:4222
bus_url = nats://127.0.0.1:4222
`

// agents are the daemons whose agents the tests look for.
var agents = []string{"linuxbridge-agent", "dhcp-agent", "l3-agent", "metadata-agent"}

// startNeutron starts the server and the agents.
func startNeutron(ctx context.Context, s *system, binary, databaseURL string) error {
	file := s.path(workDir + "/neutron.conf")
	if err := writeFile(file, fmt.Sprintf(neutronConfiguration, s.path(workDir), databaseURL, password), 0o600); err != nil {
		return err
	}
	daemon := func(name string) program {
		return program{name: "neutrino-" + name, host: true, args: []string{binary, name, "--config-file", file}}
	}
	if err := s.start(ctx, daemon("server"), neutronAddress); err != nil {
		return err
	}
	for _, name := range agents {
		if err := s.start(ctx, daemon(name), ""); err != nil {
			return err
		}
	}
	return nil
}

// networkDevices sets the loopback up and makes ext0, which leads to the physical network `public`.
func networkDevices() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	ext := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "ext0"}, PeerName: "internet"}
	if err := netlink.LinkAdd(ext); err != nil {
		return fmt.Errorf("make ext0: %w", err)
	}
	for _, name := range []string{"ext0", "internet"} {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(link); err != nil {
			return fmt.Errorf("set %s up: %w", name, err)
		}
	}
	return nil
}
