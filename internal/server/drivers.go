package server

import (
	"neutrino/internal/api"
)

// extensionDriver is a driver that [ml2] extension_drivers may name, with the extensions that it brings.
type extensionDriver struct {
	name    string
	aliases []string
}

// extensionDrivers are those of ML2 (upstream's neutron.ml2.extension_drivers). Several may bring the same extension.
func extensionDrivers() []extensionDriver {
	dns := []string{"dns-integration"}
	ports := append(dns, "dns-domain-ports")
	publish := append(ports, "subnet-dns-publish-fixed-ip")
	return []extensionDriver{
		{"port_security", []string{"port-security"}},
		{"qos", nil}, // what it brings depends on the service plug-in
		{"data_plane_status", []string{"data-plane-status"}},
		{"uplink_status_propagation", []string{"uplink-status-propagation"}},
		{"uplink_status_propagation_updatable", []string{"uplink-status-propagation-updatable"}},
		{"port_device_profile", []string{"port-device-profile"}},
		{"port_numa_affinity_policy", []string{"port-numa-affinity-policy", "port-numa-affinity-policy-socket"}},
		{"port_hints", []string{"port-hints"}},
		{"port_hint_ovs_tx_steering", []string{"port-hint-ovs-tx-steering"}},
		{"port_trusted", []string{"port-trusted-vif"}},
		{"port_hardware_offload_type", []string{"port-hardware-offload-type"}},
		{"tag_ports_during_bulk_creation", []string{"tag-ports-during-bulk-creation"}},
		{"dns", dns},
		{"dns_domain_ports", ports},
		{"subnet_dns_publish_fixed_ip", publish},
		{"dns_domain_keywords", append(publish, "dns-integration-domain-keywords")},
	}
}

// withoutDrivers leaves out the extensions whose drivers the configuration does not name.
func withoutDrivers(all api.Extensions, loaded []string) api.Extensions {
	brought := map[string]bool{}
	for _, d := range extensionDrivers() {
		for _, alias := range d.aliases {
			brought[alias] = brought[alias] || contains(loaded, d.name)
		}
	}
	for alias, on := range brought {
		if !on {
			all = all.Without(alias)
		}
	}
	return all
}

// driverNames are the drivers that this version has.
func driverNames() []string {
	var names []string
	for _, d := range extensionDrivers() {
		names = append(names, d.name)
	}
	return names
}
