package config

import (
	"os"
	"time"
)

// neutron is every option of Neutrino. Names and defaults are upstream's (neutron/conf and the oslo libraries) unless
// the help says otherwise. Declarations add to it while the package is initialised; it does not change afterwards.
var neutron = NewSet()

// Check looks at all that the files set; see Set.Check.
func Check(f *File) (warnings []string, err error) { return neutron.Check(f) }

// Reference describes all options in Markdown.
func Reference() string { return neutron.Reference() }

var (
	common = neutron.Section("All daemons", Default)

	Host = common.String("host", "", "Name of this machine among agents and servers. All daemons of a machine must agree on it.").
		Computed("the machine's host name", hostname)
	StatePath          = common.String("state_path", "/var/lib/neutron", "Directory of what must survive a restart.")
	Debug              = common.Bool("debug", false, "Log at level DEBUG instead of INFO.")
	UseJSON            = common.Bool("use_json", false, "Log one JSON object per line.")
	LogFile            = common.String("log_file", "", "File to log to, relative to log_dir. Without both the log goes to standard error.").Was("logfile")
	LogDir             = common.String("log_dir", "", "Directory of log files. Without log_file the file has the daemon's name.").Was("logdir")
	RPCResponseTimeout = common.Seconds("rpc_response_timeout", 60*time.Second, "How long a call to another daemon may take.").
				Limit(AtLeast(time.Second)).NoEffect()
	TransportURL = common.String("transport_url", "", "Message broker. Empty means the embedded bus, see [neutrino].").Secret().NoEffect()

	_ = common.Ignore("there are no worker processes and no Python modules to tune",
		"default_log_levels", "use_stderr", "executor_thread_pool_size", "rpc_conn_pool_size", "setproctitle")
)

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return name
}

var (
	server = neutron.Section("Server", Default)

	BindHost = server.String("bind_host", "127.0.0.1", "Address of the API. Upstream's default is every address; here that must be written.")
	BindPort = server.Int("bind_port", 9696, "Port of the API.").Limit(Port())

	AuthStrategy = server.String("auth_strategy", "keystone", "Who checks the callers of the API. `noauth` believes what they say and is refused on other than loopback addresses, see force_noauth. `http_basic` asks for names and passwords, see http_basic_auth_user_file.").
			Limit(OneOf("keystone", "noauth", "http_basic"))
	CorePlugin     = server.String("core_plugin", "ml2", "Upstream has no default; ml2 is the only core plug-in.").Limit(OneOf("ml2", "neutron.plugins.ml2.plugin.Ml2Plugin"))
	ServicePlugins = server.List("service_plugins", nil, "Service plug-ins to load, for example `router,qos`.")

	BaseMAC               = server.String("base_mac", "fa:16:3e:00:00:00", "Start of generated MAC addresses: the first three octets are kept, and the fourth if it is not 00.")
	GlobalPhysnetMTU      = server.Int("global_physnet_mtu", 1500, "MTU of the physical network in bytes. Tunnel networks get what the encapsulation leaves of it.").Limit(AtLeast(68))
	DNSDomain             = server.String("dns_domain", "openstacklocal", "Domain of the names of ports.")
	_                     = server.String("external_dns_driver", "", "Driver that tells another DNS service, such as Designate, the names of ports and floating IPs.").NoEffect()
	DHCPLeaseDuration     = server.Int("dhcp_lease_duration", 86400, "Length of DHCP leases in seconds; -1 means infinite.").Limit(AtLeast(-1))
	MaxAllowedAddressPair = server.Int("max_allowed_address_pair", 10, "Allowed address pairs of one port.").Limit(AtLeast(0))
	MaxDNSNameservers     = server.Int("max_dns_nameservers", 5, "DNS servers of one subnet.").Limit(AtLeast(0))
	MaxSubnetHostRoutes   = server.Int("max_subnet_host_routes", 20, "Host routes of one subnet.").Limit(AtLeast(0))
	IPv6PDEnabled         = server.Bool("ipv6_pd_enabled", false, "IPv6 subnets of the default subnet pool wait for a prefix that the provider's router delegates.")
	PaginationMaxLimit    = add(server, "pagination_max_limit", "integer or `infinite`", -1, "-1", "Most items in one answer of the API; negative or `infinite` means no limit.", parsePagination)
	NetworkLinkPrefix     = server.String("network_link_prefix", "", "Replaces scheme, host and port of the links in answers.")
	FilterValidation      = server.Bool("filter_validation", true, "Refuse lists with filters that the resource does not have.").NoEffect()
	AllowBulk             = server.Bool("allow_bulk", true, "Allow to create several resources in one request.").NoEffect()
	EnableSNATByDefault   = server.Bool("enable_snat_by_default", true, "enable_snat of routers whose gateway does not say it.")

	AgentDownTime = server.Seconds("agent_down_time", 75*time.Second, "An agent that did not report for so long counts as down; at least twice report_interval.").
			Limit(Between(time.Second, 2147483*time.Second))
	DHCPLoadType                        = server.String("dhcp_load_type", "networks", "What an agent's load is counted in.").Limit(OneOf("networks", "subnets", "ports"))
	EnableNewAgents                     = server.Bool("enable_new_agents", true, "Schedule to new agents at once. Otherwise they start with admin_state_up false.")
	NetworkAutoSchedule                 = server.Bool("network_auto_schedule", true, "Give networks without a DHCP agent to one that asks.")
	RouterAutoSchedule                  = server.Bool("router_auto_schedule", true, "Give routers without an L3 agent to one that asks.")
	DHCPAgentsPerNetwork                = server.Int("dhcp_agents_per_network", 1, "DHCP agents of each network.").Limit(AtLeast(1))
	AllowAutomaticDHCPFailover          = server.Bool("allow_automatic_dhcp_failover", true, "Move networks away from DHCP agents that are down.")
	AllowAutomaticL3Failover            = server.Bool("allow_automatic_l3agent_failover", false, "Move routers away from L3 agents that are down.")
	EnableServicesOnAgentsWithAdminDown = server.Bool("enable_services_on_agents_with_admin_state_down", false, "Keep what an agent serves when its admin_state_up becomes false.")
	DefaultAvailabilityZones            = server.List("default_availability_zones", nil, "Availability zones of resources that name none.")
	RouterDistributed                   = server.Bool("router_distributed", false, "distributed of routers whose request does not say it.")
	EnableDVR                           = server.Bool("enable_dvr", true, "Routers have the attribute distributed.")
	HostDVRForDHCP                      = server.Bool("host_dvr_for_dhcp", true, "Distributed routers are also on hosts that have only DHCP ports.").NoEffect()
	L3HA                                = server.Bool("l3_ha", false, "ha of routers whose request does not say it.")
	MaxL3AgentsPerRouter                = server.Int("max_l3_agents_per_router", 3, "L3 agents of a highly available router; 0 means all.").Limit(AtLeast(0))
	HANetworkCIDR                       = server.String("l3_ha_net_cidr", "169.254.192.0/18", "Subnet of the networks between the agents of highly available routers.")
	HANetworkType                       = server.String("l3_ha_network_type", "", "Type of these networks; as project networks if empty.")
	HAPhysicalNetwork                   = server.String("l3_ha_network_physical_name", "", "Physical network of these networks.")
	RPCResourcesProcessingStep          = server.Int("rpc_resources_processing_step", 20, "Resources in one answer to an agent's full sync.").Limit(AtLeast(1)).NoEffect()
	_                                   = server.Ignore("one process serves API, RPC and periodic work", "api_workers", "rpc_workers", "rpc_state_report_workers", "api_paste_config", "api_extensions_path", "wsgi_default_pool_size", "wsgi_keep_alive", "client_socket_timeout", "tcp_keepidle", "backlog", "periodic_interval", "periodic_fuzzy_delay", "max_header_line")
	_                                   = server.Ignore("always allowed", "allow_overlapping_ips")
	NetworkSchedulerDriver              = server.String("network_scheduler_driver", dhcpSchedulers+"WeightScheduler", "How DHCP agents are chosen for networks: the least loaded (`WeightScheduler`), spread over availability zones (`AZAwareWeightScheduler`), or by chance (`ChanceScheduler`).").Limit(OneOf(dhcpSchedulers+"WeightScheduler", dhcpSchedulers+"AZAwareWeightScheduler", dhcpSchedulers+"ChanceScheduler"))
	RouterSchedulerDriver               = server.String("router_scheduler_driver", l3Schedulers+"LeastRoutersScheduler", "How L3 agents are chosen for routers: that with the fewest routers (`LeastRoutersScheduler`), the same within default_availability_zones (`AZLeastRoutersScheduler`), or by chance (`ChanceScheduler`). Zones that a router names are kept with all of them.").Limit(OneOf(l3Schedulers+"LeastRoutersScheduler", l3Schedulers+"AZLeastRoutersScheduler", l3Schedulers+"ChanceScheduler"))
	_                                   = server.Ignore("there is one driver, the internal one", "ipam_driver")
)

// Python's names of the modules with the schedulers.
const (
	dhcpSchedulers = "neutron.scheduler.dhcp_agent_scheduler."
	l3Schedulers   = "neutron.scheduler.l3_agent_scheduler."
)

var (
	database = neutron.Section("Server", "database")

	DatabaseConnection = database.String("connection", "sqlite:///$state_path/neutron.sqlite", "SQLAlchemy URL of the database: sqlite, mysql or postgresql. Upstream has no default.").
				Was("sql_connection", "DEFAULT.sql_connection").Secret()
	DatabaseMaxRetries    = database.Int("max_retries", 10, "Further attempts to reach the database at start; -1 means no limit.").Limit(AtLeast(-1))
	DatabaseRetryInterval = database.Seconds("retry_interval", 10*time.Second, "Time between these attempts.").Limit(AtLeast(time.Duration(0)))
	DatabaseMaxPoolSize   = database.Int("max_pool_size", 5, "Connections that are kept open; 0 means any number. SQLite has a pool of its own.").Limit(AtLeast(0))
	DatabaseMaxOverflow   = database.Int("max_overflow", 50, "Connections that may be opened beyond max_pool_size; -1 means any number.").Limit(AtLeast(-1))
	DatabaseRecycleTime   = database.Seconds("connection_recycle_time", time.Hour, "Age at which a connection is replaced.").Was("idle_timeout").Limit(AtLeast(time.Duration(0)))
	DatabasePoolTimeout   = database.Seconds("pool_timeout", 30*time.Second, "How long a request waits for a connection when all are in use. 30 is SQLAlchemy's default.").Limit(AtLeast(time.Duration(0)))

	_ = database.Ignore("decided by the driver", "backend", "mysql_sql_mode", "sqlite_synchronous", "use_db_reconnect", "db_retry_interval",
		"db_inc_retry_interval", "db_max_retry_interval", "db_max_retries", "min_pool_size", "connection_debug", "connection_trace")
	_ = database.Ignore("all reading is done where the writing is", "slave_connection")
)

var (
	quotas = neutron.Section("Server", "QUOTAS")

	DefaultQuota           = quotas.Int("default_quota", -1, "Limit per project of resources without an option of their own; negative means none, as with all quotas.").NoEffect()
	QuotaNetwork           = quotas.Int("quota_network", 100, "Networks per project.")
	QuotaSubnet            = quotas.Int("quota_subnet", 100, "Subnets per project.")
	QuotaPort              = quotas.Int("quota_port", 500, "Ports per project.")
	QuotaSecurityGroup     = quotas.Int("quota_security_group", 10, "Security groups per project.")
	QuotaSecurityGroupRule = quotas.Int("quota_security_group_rule", 100, "Security group rules per project.")
	QuotaRouter            = quotas.Int("quota_router", 10, "Routers per project.")
	QuotaFloatingIP        = quotas.Int("quota_floatingip", 50, "Floating IPs per project.")
	QuotaRouterRoute       = quotas.Int("quota_router_route", 30, "Routes per router.").Was("DEFAULT.max_routes")
	QuotaRBACPolicy        = quotas.Int("quota_rbac_policy", 10, "RBAC policies per project.")

	_ = quotas.Ignore("limits are kept in the database and counted there", "quota_driver", "track_quota_usage")
)

var (
	oslopolicy = neutron.Section("Server", "oslo_policy")

	PolicyFile         = oslopolicy.String("policy_file", "policy.yaml", "Rules that differ from the default ones, as YAML or JSON. A relative name is looked for in the --config-dir directories, beside the --config-file files and in /etc/neutron. Changes are seen within a second.")
	PolicyDirs         = oslopolicy.Multi("policy_dirs", "Directories of further policy files, looked for likewise; what is set here takes the place of policy.d.")
	PolicyDefaultRule  = oslopolicy.String("policy_default_rule", "default", "The rule that stands for unknown ones.")
	EnforceNewDefaults = oslopolicy.Bool("enforce_new_defaults", true, "Only the current default rules count. Otherwise those from before the roles manager, member and reader grant too.")

	_ = oslopolicy.Ignore("the scope of tokens is always enforced", "enforce_scope")
)

var (
	ml2 = neutron.Section("ML2", "ml2")

	TypeDrivers         = ml2.List("type_drivers", []string{"local", "flat", "vlan", "gre", "vxlan", "geneve"}, "Network types that may be used.")
	ProjectNetworkTypes = ml2.List("project_network_types", []string{"local"}, "Network types that projects get, the first with free segments.").Was("tenant_network_types")
	MechanismDrivers    = ml2.List("mechanism_drivers", nil, "Mechanism drivers, in the order they are asked to bind a port.")
	ExtensionDrivers    = ml2.List("extension_drivers", nil, "Extension drivers, for example `port_security,qos`.")
	PathMTU             = ml2.Int("path_mtu", 0, "Largest IP packet in bytes that tunnel endpoints can exchange; 0 means global_physnet_mtu.").Limit(AtLeast(0))
	PhysicalNetworkMTUs = ml2.Map("physical_network_mtus", "MTU of physical networks that differ from global_physnet_mtu, as `physnet:bytes`.")
	ExternalNetworkType = ml2.String("external_network_type", "", "Type of external networks that name none; empty means that of project networks.")
	OverlayIPVersion    = ml2.Int("overlay_ip_version", 4, "IP version of tunnel endpoints.").Limit(OneOf(4, 6))
	ml2Flat             = neutron.Section("ML2", "ml2_type_flat")
	FlatNetworks        = ml2Flat.List("flat_networks", []string{"*"}, "Physical networks that may carry a flat network; `*` means any, nothing means none.")
	ml2VLAN             = neutron.Section("ML2", "ml2_type_vlan")
	NetworkVLANRanges   = ml2VLAN.List("network_vlan_ranges", nil, "Physical networks for VLANs as `physnet:first:last`, the range being for project networks, or `physnet` for all VLANs.")
	ml2VXLAN            = neutron.Section("ML2", "ml2_type_vxlan")
	VNIRanges           = ml2VXLAN.List("vni_ranges", nil, "VXLAN network identifiers for project networks as `first:last`.")
	ml2GRE              = neutron.Section("ML2", "ml2_type_gre")
	GREIDRanges         = ml2GRE.List("tunnel_id_ranges", nil, "Keys of GRE tunnels for project networks as `first:last`.")
	ml2Geneve           = neutron.Section("ML2", "ml2_type_geneve")
	GeneveVNIRanges     = ml2Geneve.List("vni_ranges", nil, "Geneve network identifiers for project networks as `first:last`.")
	GeneveHeaderSize    = ml2Geneve.Int("max_header_size", 30, "Bytes of Geneve encapsulation, options included, that the MTU of networks leaves free.").Limit(AtLeast(0))
	VXLANMulticastGroup = ml2VXLAN.String("vxlan_group", "", "Multicast group that the server tells agents to flood to; empty means none.").Limit(Address()).NoEffect()
	ovsDriver           = neutron.Section("ML2", "ovs_driver")

	OVSProhibitedVNICTypes = ovsDriver.List("vnic_type_prohibit_list", nil, "Values of binding:vnic_type that the driver `openvswitch` must not bind: of `normal`, `direct`, `smart-nic` and `vdpa`.")
	OVSCreateTap           = ovsDriver.Bool("ovs_create_tap", true, "Nova makes the tap devices of ports on kernel datapaths.")

	securityGroup       = neutron.Section("Server and L2 agent", "securitygroup")
	EnableSecurityGroup = securityGroup.Bool("enable_security_group", true, "Offer and enforce security groups.")
	FirewallDriver      = securityGroup.String("firewall_driver", "", "`noop` lets everything through; with any other value the L2 agent's own filter is used.")
	PermittedEthertypes = securityGroup.List("permitted_ethertypes", nil, "Further Ethernet types that ports may use, such as `0x4008`.")
	_                   = securityGroup.Ignore("addresses of groups are always kept in sets", "enable_ipset")
)

var (
	neutrino = neutron.Section("Neutrino's own", "neutrino")

	BusListen        = neutrino.String("bus_listen", "", "host:port where the server's bus takes agents of other processes and hosts; empty means the server's own process only.")
	BusURL           = neutrino.String("bus_url", "nats://127.0.0.1:4222", "Where agents find the bus: nats:// or tls://, several separated by commas.").Secret()
	BusToken         = neutrino.String("bus_token", "", "What agents and servers authenticate with. Needed where bus_listen is no loopback address.").Secret()
	BusCertFile      = neutrino.String("bus_cert_file", "", "PEM file of this daemon's certificate on the bus. On the server it turns TLS on.")
	BusKeyFile       = neutrino.String("bus_key_file", "", "PEM file of its key.")
	BusCAFile        = neutrino.String("bus_ca_file", "", "PEM file of the authority that signed the other side's certificate. A server that has it demands certificates of agents.")
	BusClusterListen = neutrino.String("bus_cluster_listen", "", "host:port for the buses of other servers; empty means a single server.")
	BusRoutes        = neutrino.List("bus_routes", nil, "bus_cluster_listen of other servers.")
	BasicAuthRoles   = neutrino.String("http_basic_auth_roles_file", "", "Lines `user:project id:role,role` for `auth_strategy = http_basic`. Without it every user is an administrator; with it those who are not there have no rights.")
	HealthListen     = neutrino.String("health_listen", "", "host:port for /healthcheck and /metrics of this daemon, to be set in its own file; empty means none.")
	ForceNoAuth      = neutrino.Bool("force_noauth", false, "Allow `auth_strategy = noauth` on other than loopback addresses.")
)
