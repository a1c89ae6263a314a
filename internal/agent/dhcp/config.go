package dhcp

import (
	"net/netip"
	"time"

	"neutrino/internal/agent/plug"
	"neutrino/internal/agent/records"
	"neutrino/internal/dhcp"
	"neutrino/internal/metadata"
)

// Config are the settings of dhcp_agent.ini and neutron.conf. Start from Defaults.
type Config struct {
	Host             string // of this agent
	AvailabilityZone string
	Driver           string              // dhcp_driver; only reported
	LeaseDuration    time.Duration       // dhcp_lease_duration; negative: infinite
	RenewalTime      time.Duration       // dhcp_renewal_time; 0: half the lease
	RebindingTime    time.Duration       // dhcp_rebinding_time; 0: 7/8 of the lease
	Domain           string              // dns_domain
	Resolvers        []netip.AddrPort    // asked for names that are not of the network: dnsmasq_dns_servers, dnsmasq_local_resolv
	Text             map[string][]string // dnsmasq_txt_record
	BroadcastReply   bool                // dhcp_broadcast_reply
	Options4         []dhcp.Option       // dnsmasq_config_file
	Options6         []dhcp.Option
	IsolatedMetadata bool          // enable_isolated_metadata
	ForceMetadata    bool          // force_metadata
	MetadataNetwork  bool          // enable_metadata_network
	SyncThreads      int           // num_sync_threads: networks that are set up at the same time
	ResyncInterval   time.Duration // everything is fetched again this often even if nothing seems wrong
	InspectInterval  time.Duration // each namespace is compared with what it should be this often; 0: never
	ReportInterval   time.Duration // report_interval
	LogHeartbeats    bool          // log_agent_heartbeats
	Records          records.Dir   // dhcp_confs: what an agent answers with that is started while no server is there

	// Plug makes our interfaces; nil: by veth pairs.
	Plug plug.Driver
	// Metadata answers the requests of instances on networks where this agent serves metadata. Nil: they are refused.
	Metadata      metadata.Backend
	MetadataProxy metadata.ProxyConfig
}

// Defaults are upstream's.
func Defaults() Config {
	return Config{
		Driver:          "neutron.agent.linux.dhcp.Dnsmasq",
		LeaseDuration:   24 * time.Hour,
		Domain:          "openstacklocal",
		SyncThreads:     4,
		ResyncInterval:  10 * time.Minute,
		InspectInterval: 40 * time.Second,
		ReportInterval:  30 * time.Second,
	}
}
