package rpc

// L2 agent to server (upstream ml2/rpc.py RpcCallbacks 1.9) and server to L2 agents (AgentNotifierApi).

// DevicesArgs name devices of a host. A device is a port id or "tap" and the first eleven characters of one.
type DevicesArgs struct {
	Devices []string `json:"devices"`
	AgentID string   `json:"agent_id"`
	Host    string   `json:"host"`
}

// DeviceDetails says how a device is to be wired. Without NetworkID the port is unknown or not bound to the host.
type DeviceDetails struct {
	Device          string         `json:"device"`
	PortID          string         `json:"port_id,omitempty"`
	NetworkID       string         `json:"network_id,omitempty"`
	MACAddress      string         `json:"mac_address,omitempty"`
	AdminStateUp    bool           `json:"admin_state_up"`
	NetworkType     string         `json:"network_type,omitempty"` // local, flat, vlan, vxlan
	SegmentationID  *int           `json:"segmentation_id,omitempty"`
	PhysicalNetwork *string        `json:"physical_network,omitempty"`
	MTU             int            `json:"mtu,omitempty"`
	FixedIPs        []FixedIP      `json:"fixed_ips,omitempty"`
	DeviceOwner     string         `json:"device_owner,omitempty"`
	AddressPairs    []AddressPair  `json:"allowed_address_pairs,omitempty"`
	PortSecurity    bool           `json:"port_security_enabled"`
	Profile         map[string]any `json:"profile,omitempty"`
	NoActiveBinding bool           `json:"no_active_binding,omitempty"`
}

// DevicesDetails is the result of GetDevicesDetails.
type DevicesDetails struct {
	Devices       []DeviceDetails `json:"devices"`
	FailedDevices []string        `json:"failed_devices"`
}

// DeviceListArgs report devices that were wired and that vanished.
type DeviceListArgs struct {
	DevicesUp      []string `json:"devices_up"`
	DevicesDown    []string `json:"devices_down"`
	RefreshTunnels bool     `json:"refresh_tunnels,omitempty"` // ask for the whole FDB again (after a restart)
	AgentID        string   `json:"agent_id"`
	Host           string   `json:"host"`
}

// DeviceListResult says which devices the server could not process; the agent reports these again.
type DeviceListResult struct {
	DevicesUp         []string     `json:"devices_up"`
	FailedDevicesUp   []string     `json:"failed_devices_up"`
	DevicesDown       []DeviceGone `json:"devices_down"`
	FailedDevicesDown []string     `json:"failed_devices_down"`
}

// DeviceGone tells whether a port that went down still exists.
type DeviceGone struct {
	Device string `json:"device"`
	Exists bool   `json:"exists"`
}

// TunnelSyncArgs announce the tunnel endpoint of a host.
type TunnelSyncArgs struct {
	TunnelIP   string `json:"tunnel_ip"`
	TunnelType string `json:"tunnel_type"`
	Host       string `json:"host"`
}

// Tunnels are the known tunnel endpoints.
type Tunnels struct {
	Tunnels []TunnelEndpoint `json:"tunnels"`
}

// TunnelEndpoint is the VTEP of one host.
type TunnelEndpoint struct {
	IPAddress string `json:"ip_address"`
	Host      string `json:"host"`
	UDPPort   int    `json:"udp_port,omitempty"`
}

// PortUpdateArgs tell that a port changed; agents then fetch its details.
type PortUpdateArgs struct {
	Port            Port    `json:"port"`
	NetworkType     string  `json:"network_type"`
	SegmentationID  *int    `json:"segmentation_id"`
	PhysicalNetwork *string `json:"physical_network"`
}

// PortDeleteArgs name a deleted port.
type PortDeleteArgs struct {
	PortID string `json:"port_id"`
}

// NetworkArgs name a network that changed; only its id and MTU are of use to agents.
type NetworkArgs struct {
	Network struct {
		ID           string `json:"id"`
		MTU          int    `json:"mtu,omitempty"`
		AdminStateUp bool   `json:"admin_state_up"`
	} `json:"network"`
}

// NetworkDeleteArgs name a deleted network.
type NetworkDeleteArgs struct {
	NetworkID string `json:"network_id"`
}

// TunnelArgs name a tunnel endpoint that came or went.
type TunnelArgs struct {
	TunnelIP   string `json:"tunnel_ip"`
	TunnelType string `json:"tunnel_type"`
}

// Methods of the L2 interfaces.
var (
	// GetDevicesDetails tells how to wire devices, and moves their ports to BUILD.
	GetDevicesDetails = Method[DevicesArgs, DevicesDetails]{TopicPlugin, "get_devices_details_list_and_failed_devices", "1.5"}
	// UpdateDeviceList reports wired and vanished devices; it completes the L2 part of port provisioning.
	UpdateDeviceList = Method[DeviceListArgs, DeviceListResult]{TopicPlugin, "update_device_list", "1.5"}
	// TunnelSync announces this host's endpoint and returns all.
	TunnelSync = Method[TunnelSyncArgs, Tunnels]{TopicPlugin, "tunnel_sync", "1.4"}

	PortUpdate    = Method[PortUpdateArgs, None]{TopicPortUpdate, "port_update", "1.4"}
	PortDelete    = Method[PortDeleteArgs, None]{TopicPortDelete, "port_delete", "1.3"}
	NetworkUpdate = Method[NetworkArgs, None]{TopicNetworkUpdate, "network_update", "1.4"}
	NetworkDelete = Method[NetworkDeleteArgs, None]{TopicNetworkDelete, "network_delete", "1.0"}
	TunnelUpdate  = Method[TunnelArgs, None]{TopicTunnelUpdate, "tunnel_update", "1.1"}
	TunnelDelete  = Method[TunnelArgs, None]{TopicTunnelDelete, "tunnel_delete", "1.1"}
)
