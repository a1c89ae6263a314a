package rpc

// Metadata agent to server (upstream MetadataRpcCallback 1.0).

// PortFilters choose ports: several values of one filter are alternatives. Keys used: network_id, device_id,
// device_owner; fixed_ips has its own form.
type PortFilters struct {
	Filters struct {
		NetworkID   []string            `json:"network_id,omitempty"`
		DeviceID    []string            `json:"device_id,omitempty"`
		DeviceOwner []string            `json:"device_owner,omitempty"`
		MACAddress  []string            `json:"mac_address,omitempty"`
		FixedIPs    map[string][]string `json:"fixed_ips,omitempty"` // ip_address, subnet_id
	} `json:"filters"`
}

// GetPorts returns the ports that match.
var GetPorts = Method[PortFilters, []Port]{TopicPlugin, "get_ports", "1.0"}
