package config

import "time"

var (
	agent = neutron.Section("All agents", "agent")

	ReportInterval   = agent.Seconds("report_interval", 30*time.Second, "Time between the reports of an agent; at most half of agent_down_time.").Limit(AtLeast(100 * time.Millisecond))
	AvailabilityZone = agent.String("availability_zone", "nova", "Availability zone of this agent.")

	_ = agent.Ignore("an agent uses its own privileges", "root_helper", "root_helper_daemon", "use_helper_for_ns_read")
	_ = agent.Ignore("there are no child processes", "check_child_processes_action", "check_child_processes_interval", "kill_scripts_path")
	_ = agent.Ignore("the kernel tells what changed", "polling_interval")
	_ = agent.Ignore("filters are not made of iptables rules", "comment_iptables_rules", "debug_iptables_rules", "use_random_fully")
	_ = agent.Ignore("reports are logged at level DEBUG", "log_agent_heartbeats")

	agentDefault = neutron.Section("All agents", Default)

	InterfaceDriver = agentDefault.String("interface_driver", "openvswitch", "How the DHCP and L3 agents plug their interfaces: `openvswitch` by internal ports of [ovs] integration_bridge, found by [ovs] ovsdb_connection; `linuxbridge` by veth pairs, which the L2 agent of either kind puts into its networks. The default is linuxbridge where the files name the mechanism driver linuxbridge first, or name none and Open vSwitch is not installed.").
			Limit(OneOf("openvswitch", "linuxbridge", "neutron.agent.linux.interface.OVSInterfaceDriver", "neutron.agent.linux.interface.BridgeInterfaceDriver"))
	OVSUseVeth = agentDefault.Bool("ovs_use_veth", false, "With interface_driver openvswitch, plug by veth pairs all the same.")

	_           = agentDefault.Ignore("there are no child processes", "external_pids")
	concurrency = neutron.Section("All agents", "oslo_concurrency")
	_           = concurrency.Ignore("there are no lock files", "lock_path", "disable_process_locking")
)

var (
	linuxBridge = neutron.Section("Linux bridge agent", "linux_bridge")

	PhysicalInterfaceMappings = linuxBridge.Map("physical_interface_mappings", "Interfaces of physical networks as `physnet:interface`. The agent makes the bridge.")
	BridgeMappings            = linuxBridge.Map("bridge_mappings", "Existing bridges of physical networks as `physnet:bridge`.")

	vxlan = neutron.Section("Linux bridge agent", "vxlan")

	EnableVXLAN      = vxlan.Bool("enable_vxlan", true, "Offer VXLAN networks on this host.")
	LocalIP          = vxlan.String("local_ip", "", "Address of this host's tunnel endpoint.").Limit(Address())
	UDPDestPort      = vxlan.Int("udp_dstport", 8472, "UDP port of VXLAN, the same on all hosts. The default is the Linux kernel's; the registered port is 4789.").Limit(Port())
	UDPSourcePortMin = vxlan.Int("udp_srcport_min", 0, "First UDP source port; 0 leaves it to the kernel.").Limit(Port())
	UDPSourcePortMax = vxlan.Int("udp_srcport_max", 0, "Last UDP source port; 0 leaves it to the kernel.").Limit(Port())
	VXLANTTL         = vxlan.Int("ttl", 0, "Time to live of tunnel packets; 0 leaves it to the kernel.").Limit(Between(0, 255))
	VXLANTOS         = vxlan.Int("tos", 0, "Type of service of tunnel packets.").Limit(Between(0, 255))
	VXLANGroup       = vxlan.String("vxlan_group", "224.0.0.1", "Multicast group to flood to where l2_population is false; of a prefix, each VNI has an address of its own. Empty: flood to the endpoints that the server knows.")
	MulticastRanges  = vxlan.List("multicast_ranges", nil, "Other groups for some VNIs, as `group:first:last`.")
	L2Population     = vxlan.Bool("l2_population", true, "Take forwarding tables from the server instead of flooding to a multicast group. Upstream's default is false.")
	ARPResponder     = vxlan.Bool("arp_responder", false, "Answer ARP on the host from what the server told. Does not go together with allowed address pairs.").NoEffect()
)

var (
	ovs      = neutron.Section("Open vSwitch agent", "ovs")
	ovsAgent = neutron.Section("Open vSwitch agent", "agent")

	OVSIntegrationBridge = ovs.String("integration_bridge", "br-int", "Bridge that ports are plugged into. The agent makes it.")
	OVSTunnelBridge      = ovs.String("tunnel_bridge", "br-tun", "Bridge with the tunnels. The agent makes it.")
	OVSIntPatchPort      = ovs.String("int_peer_patch_port", "patch-tun", "Port of integration_bridge that leads to tunnel_bridge.")
	OVSTunPatchPort      = ovs.String("tun_peer_patch_port", "patch-int", "Port of tunnel_bridge that leads to integration_bridge.")
	OVSLocalIP           = ovs.String("local_ip", "", "Address of this host's tunnel endpoint.").Limit(Address())
	OVSBridgeMappings    = ovs.Map("bridge_mappings", "Bridges of physical networks as `physnet:bridge`. They must exist.")
	OVSDatapathType      = ovs.String("datapath_type", "system", "Datapath of the bridges that the agent makes: `system` is the kernel's, `netdev` that of ovs-vswitchd.").Limit(OneOf("system", "netdev"))
	OVSVHostSocketDir    = ovs.String("vhostuser_socket_dir", "/var/run/openvswitch", "Directory of the sockets of virtual machines that share memory with Open vSwitch.")
	OVSDBConnection      = ovs.String("ovsdb_connection", "unix:/var/run/openvswitch/db.sock", "Open vSwitch's database: unix:path or tcp:address:port. The bridges' sockets are in the same directory, or in /var/run/openvswitch. Upstream's default is tcp:127.0.0.1:6640.")

	_ = ovs.Ignore("flows are sent to the bridges' own sockets", "of_listen_address", "of_listen_port", "of_connect_timeout", "of_request_timeout", "of_inactivity_probe", "ovsdb_timeout", "ovsdb_debug")

	TunnelTypes     = ovsAgent.List("tunnel_types", nil, "Types of tunnel networks on this host: of `vxlan`, `gre` and `geneve`.")
	VXLANUDPPort    = ovsAgent.Int("vxlan_udp_port", 4789, "UDP port of VXLAN, the same on all hosts.").Limit(Port())
	OVSL2Population = ovsAgent.Bool("l2_population", false, "Take forwarding tables from the server instead of learning addresses from traffic and flooding to all endpoints.")
	OVSARPResponder = ovsAgent.Bool("arp_responder", false, "Answer ARP and neighbour solicitations on the host from what the server told.")
	DontFragment    = ovsAgent.Bool("dont_fragment", true, "Outer packets of tunnels must not be fragmented.")
	TunnelChecksum  = ovsAgent.Bool("tunnel_csum", false, "Outer packets of tunnels have UDP checksums.")
)

var (
	dhcp = neutron.Section("DHCP agent", Default)

	ResyncInterval         = dhcp.Seconds("resync_interval", 5*time.Second, "Longest time until what failed is tried again.").Limit(AtLeast(time.Second)).NoEffect()
	ResyncThrottle         = dhcp.Seconds("resync_throttle", time.Second, "Shortest time between two full syncs.").Limit(AtLeast(time.Duration(0))).NoEffect()
	EnableIsolatedMetadata = dhcp.Bool("enable_isolated_metadata", false, "Serve metadata in networks without a router, by a host route to the DHCP port.")
	ForceMetadata          = dhcp.Bool("force_metadata", false, "Serve metadata in all networks so.")
	EnableMetadataNetwork  = dhcp.Bool("enable_metadata_network", false, "Serve metadata also in networks with a subnet within 169.254.0.0/16.")
	DNSServers             = dhcp.List("dnsmasq_dns_servers", nil, "DNS servers that questions are forwarded to: ADDRESS or ADDRESS#PORT.")
	DnsmasqConfigFile      = dhcp.String("dnsmasq_config_file", "", "File of dnsmasq of which dhcp-option, dhcp-option-force and server count; other lines are named in the log.")
	DNSLocalResolv         = dhcp.Bool("dnsmasq_local_resolv", false, "Forward questions to the resolvers of this host, unless dnsmasq_dns_servers names some.")
	DNSTextRecord          = dhcp.String("dnsmasq_txt_record", "", "A TXT record that is answered: a name and texts with commas between.")
	DHCPBroadcastReply     = dhcp.Bool("dhcp_broadcast_reply", false, "Send all DHCP answers as broadcasts.")
	DHCPRenewalTime        = dhcp.Int("dhcp_renewal_time", 0, "Renewal time T1 in seconds; 0 means half of the lease.").Limit(AtLeast(0))
	DHCPConfs              = dhcp.String("dhcp_confs", "$state_path/dhcp", "Directory of what an agent answers with that is started while no server is there; empty keeps nothing.")
	DHCPRebindingTime      = dhcp.Int("dhcp_rebinding_time", 0, "Rebinding time T2 in seconds; 0 means 7/8 of the lease.").Limit(AtLeast(0))

	_ = dhcp.Ignore("DHCP is served by the agent itself", "dhcp_driver", "dnsmasq_lease_max",
		"dnsmasq_base_log_dir", "dnsmasq_enable_addr6_list", "num_sync_threads", "bulk_reload_interval")
)

var (
	l3 = neutron.Section("L3 agent", Default)

	AgentMode                 = l3.String("agent_mode", "legacy", "Which part of distributed routers this host has; `legacy` means whole routers.").Limit(OneOf("legacy", "dvr", "dvr_snat", "dvr_no_external")).NoEffect()
	HandleInternalOnlyRouters = l3.Bool("handle_internal_only_routers", true, "Serve routers without an external gateway too.")
	EnableMetadataProxy       = l3.Bool("enable_metadata_proxy", true, "Serve metadata in routers.")
	MetadataPort              = l3.Int("metadata_port", 9697, "Port of the metadata proxy within a router.").Limit(Port())
	MetadataAccessMark        = l3.String("metadata_access_mark", "0x1", "Packet mark of metadata requests; the lower 16 bits count.").NoEffect()
	ExternalIngressMark       = l3.String("external_ingress_mark", "0x2", "Packet mark of what comes from an external network; the lower 16 bits count.").NoEffect()
	IPv6Gateway               = l3.String("ipv6_gateway", "", "Link-local address of the next router outside; empty means to learn it from its advertisements.").Limit(Address())
	CleanupOnShutdown         = l3.Bool("cleanup_on_shutdown", false, "Delete all routers when the agent stops.")
	RAConfs                   = l3.String("ra_confs", "$state_path/ra", "Directory of what an agent advertises and answers that is started while no server is there; empty keeps nothing.")
	MinRtrAdvInterval         = l3.Seconds("min_rtr_adv_interval", 30*time.Second, "Shortest time between router advertisements.").Limit(AtLeast(3 * time.Second))
	MaxRtrAdvInterval         = l3.Seconds("max_rtr_adv_interval", 100*time.Second, "Longest time between router advertisements.").Limit(AtLeast(4 * time.Second))

	_ = l3.Ignore("routers are served by the agent itself", "radvd_user", "per_router_log_files", "router_log_files_in_ha_confs", "ha_confs_path")
)

var (
	metadata = neutron.Section("Metadata agent", Default)

	NovaMetadataHost     = metadata.String("nova_metadata_host", "127.0.0.1", "Address or name of Nova's metadata service.").Was("nova_metadata_ip")
	NovaMetadataPort     = metadata.Int("nova_metadata_port", 8775, "Port of Nova's metadata service.").Limit(Port())
	NovaMetadataProtocol = metadata.String("nova_metadata_protocol", "http", "Protocol of Nova's metadata service.").Limit(OneOf("http", "https"))
	NovaMetadataInsecure = metadata.Bool("nova_metadata_insecure", false, "Do not verify the certificate of Nova's metadata service.")
	NovaMetadataCACert   = metadata.String("auth_ca_cert", "", "PEM file of the authority that signed that certificate.")
	NovaClientCert       = metadata.String("nova_client_cert", "", "PEM file of the agent's certificate towards Nova.")
	NovaClientKey        = metadata.String("nova_client_priv_key", "", "PEM file of its key.")
	MetadataSharedSecret = metadata.String("metadata_proxy_shared_secret", "", "What requests are signed with; the same as in Nova's [neutron] section.").Secret()

	MetadataProxySocket     = metadata.String("metadata_proxy_socket", "$state_path/metadata_proxy", "Unix socket on which the metadata agent takes requests of proxies in other processes.")
	MetadataProxySocketMode = metadata.String("metadata_proxy_socket_mode", "deduce", "Who may use the socket; `deduce` follows metadata_proxy_user and metadata_proxy_group.").
				Limit(OneOf("deduce", "user", "group", "all"))
	MetadataProxyUser  = metadata.String("metadata_proxy_user", "", "User of the proxies; empty means the agent's.")
	MetadataProxyGroup = metadata.String("metadata_proxy_group", "", "Group of the proxies; empty means the agent's.")

	_ = metadata.Ignore("one process answers all", "metadata_workers", "metadata_backlog")
)

var (
	metering = neutron.Section("Metering agent", Default)

	MeteringDriver         = metering.String("driver", "neutron.services.metering.drivers.noop.noop_driver.NoopMeteringDriver", "What counts: `iptables` (nftables do it), or `noop` for nothing. Upstream's class names are taken too. all-in-one counts without being told.")
	MeteringInterval       = metering.Seconds("measure_interval", 30*time.Second, "Time between two readings of the counters.").Limit(AtLeast(time.Second))
	MeteringReportInterval = metering.Seconds("report_interval", 300*time.Second, "Time between two notifications l3.meter.").Limit(AtLeast(time.Second))
	GranularTrafficData    = metering.Bool("granular_traffic_data", false, "Publish traffic of routers, projects and labels each on their own (l3.meter.router, …), not only that of labels.")

	metadataLimit = neutron.Section("Limits of metadata requests", "metadata_rate_limiting")

	MetadataLimit         = metadataLimit.Bool("rate_limit_enabled", false, "Refuse an instance that asks for metadata too often (429).")
	MetadataLimitVersions = metadataLimit.List("ip_versions", []string{"4"}, "IP version of the requests that are counted: 4, or 6 for both.")
	MetadataBaseWindow    = metadataLimit.Seconds("base_window_duration", 10*time.Second, "Length of the base window.").Limit(AtLeast(time.Second))
	MetadataBaseLimit     = metadataLimit.Int("base_query_rate_limit", 10, "Requests of an instance within the base window.").Limit(AtLeast(1))
	MetadataBurstWindow   = metadataLimit.Seconds("burst_window_duration", 10*time.Second, "Length of the burst window.").Limit(AtLeast(time.Second))
	MetadataBurstLimit    = metadataLimit.Int("burst_query_rate_limit", 10, "Requests of an instance within the burst window.").Limit(AtLeast(1))

	metadataProxy = neutron.Section("Metadata proxy", "metadata_haproxy")

	MetadataClientTimeout  = metadataProxy.Seconds("timeout_client", 32*time.Second, "Longest silence of an instance while it sends a request or takes an answer.").Limit(AtLeast(time.Second))
	MetadataServerTimeout  = metadataProxy.Seconds("timeout_server", 32*time.Second, "Longest wait for the beginning of Nova's answer.").Limit(AtLeast(time.Second))
	MetadataRequestTimeout = metadataProxy.Seconds("timeout_http_request", 30*time.Second, "Longest wait for the headers of a request.").Limit(AtLeast(time.Second))
	MetadataKeepAlive      = metadataProxy.Seconds("timeout_http_keep_alive", 30*time.Second, "Longest wait for the next request on a connection.").Limit(AtLeast(time.Second))
	_                      = metadataProxy.Ignore("the agents of one process need no connection to each other", "timeout_connect")
)
