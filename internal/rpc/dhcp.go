package rpc

import (
	"strings"

	"github.com/google/uuid"
)

// DHCP agent to server (upstream DhcpRpcCallback 1.10) and server to DHCP agent (DhcpAgentNotifyAPI 1.0).

// ReservedDHCPPort is the device_id of a DHCP port that no agent uses; its address waits for the next agent.
const ReservedDHCPPort = "reserved_dhcp_port"

// DHCPDeviceID is the device_id of the port that the DHCP agent on host has on a network. Only the first label of the
// host's name counts (upstream get_dhcp_agent_device_id).
func DHCPDeviceID(host, networkID string) string {
	short, _, _ := strings.Cut(host, ".")
	return "dhcp" + uuid.NewSHA1(uuid.NameSpaceDNS, []byte(short)).String() + "-" + networkID
}

// DHCPNetwork is a network with all that its DHCP service needs. Subnets are those with DHCP enabled, sorted by id.
type DHCPNetwork struct {
	ID              string   `json:"id"`
	ProjectID       string   `json:"project_id"`
	AdminStateUp    bool     `json:"admin_state_up"`
	MTU             int      `json:"mtu"`
	Subnets         []Subnet `json:"subnets"`
	NonLocalSubnets []Subnet `json:"non_local_subnets"`
	Ports           []Port   `json:"ports"`
}

// HostArgs name the asking host. EnableDHCPFilter false asks for subnets without DHCP too; nil means true.
type HostArgs struct {
	Host             string `json:"host"`
	EnableDHCPFilter *bool  `json:"enable_dhcp_filter,omitempty"`
}

// NetworkInfoArgs ask for one network.
type NetworkInfoArgs struct {
	NetworkID string `json:"network_id"`
	Host      string `json:"host"`
}

// DHCPPortBody is the port that a DHCP agent wants for itself.
type DHCPPortBody struct {
	Port DHCPPort `json:"port"`
}

// DHCPPort are the attributes that the agent chooses; nil ones stay as they are.
type DHCPPort struct {
	Name         *string           `json:"name,omitempty"`
	AdminStateUp *bool             `json:"admin_state_up,omitempty"`
	DeviceID     *string           `json:"device_id,omitempty"`
	NetworkID    string            `json:"network_id"`
	ProjectID    *string           `json:"project_id,omitempty"`
	FixedIPs     *[]FixedIPRequest `json:"fixed_ips,omitempty"`
}

// FixedIPRequest asks for an address of a subnet; without an address for any.
type FixedIPRequest struct {
	SubnetID  string `json:"subnet_id"`
	IPAddress string `json:"ip_address,omitempty"`
}

// CreateDHCPPortArgs ask for a port with device owner network:dhcp, bound to the host.
type CreateDHCPPortArgs struct {
	Port DHCPPortBody `json:"port"`
	Host string       `json:"host"`
}

// UpdateDHCPPortArgs change such a port.
type UpdateDHCPPortArgs struct {
	PortID string       `json:"port_id"`
	Port   DHCPPortBody `json:"port"`
	Host   string       `json:"host"`
}

// ReleaseDHCPPortArgs give it back.
type ReleaseDHCPPortArgs struct {
	NetworkID string `json:"network_id"`
	DeviceID  string `json:"device_id"`
	Host      string `json:"host"`
}

// PortIDsArgs name ports that DHCP now serves.
type PortIDsArgs struct {
	PortIDs []string `json:"port_ids"`
}

// DHCPPayload is the argument of all notifications; each uses some fields.
type DHCPPayload struct {
	Priority  int       `json:"priority,omitempty"`
	NetworkID string    `json:"network_id,omitempty"`
	SubnetID  string    `json:"subnet_id,omitempty"`
	PortID    string    `json:"port_id,omitempty"`
	FixedIPs  []FixedIP `json:"fixed_ips,omitempty"`
	Network   *struct {
		ID           string `json:"id"`
		AdminStateUp *bool  `json:"admin_state_up,omitempty"`
	} `json:"network,omitempty"`
	Subnet *Subnet `json:"subnet,omitempty"`
	Port   *Port   `json:"port,omitempty"`
}

// DHCPNotification wraps the payload as the wire has it.
type DHCPNotification struct {
	Payload DHCPPayload `json:"payload"`
}

// AgentUpdatedArgs tell an agent that an administrator switched it on or off.
type AgentUpdatedArgs struct {
	Payload struct {
		AdminStateUp bool `json:"admin_state_up"`
	} `json:"payload"`
}

var (
	// GetActiveNetworksInfo returns all networks that the host's agent serves (scheduling unserved ones to it).
	GetActiveNetworksInfo = Method[HostArgs, []DHCPNetwork]{TopicPlugin, "get_active_networks_info", "1.3"}
	// GetNetworkInfo returns one network, or nil if it is gone.
	GetNetworkInfo = Method[NetworkInfoArgs, *DHCPNetwork]{TopicPlugin, "get_network_info", "1.9"}
	// CreateDHCPPort returns the new port, or nil if network or subnet are gone.
	CreateDHCPPort = Method[CreateDHCPPortArgs, *Port]{TopicPlugin, "create_dhcp_port", "1.1"}
	// UpdateDHCPPort returns the port, or nil if it is gone. NetworkNotFound: the agent does not host the network.
	UpdateDHCPPort = Method[UpdateDHCPPortArgs, *Port]{TopicPlugin, "update_dhcp_port", "1.1"}
	// ReleaseDHCPPort deletes the agent's port.
	ReleaseDHCPPort = Method[ReleaseDHCPPortArgs, None]{TopicPlugin, "release_dhcp_port", "1.1"}
	// DHCPReadyOnPorts completes the DHCP part of port provisioning; at most 64 ports a call.
	DHCPReadyOnPorts = Method[PortIDsArgs, None]{TopicPlugin, "dhcp_ready_on_ports", "1.5"}

	DHCPNetworkCreateEnd = Method[DHCPNotification, None]{TopicDHCPAgent, "network_create_end", "1.0"}
	DHCPNetworkUpdateEnd = Method[DHCPNotification, None]{TopicDHCPAgent, "network_update_end", "1.0"}
	DHCPNetworkDeleteEnd = Method[DHCPNotification, None]{TopicDHCPAgent, "network_delete_end", "1.0"}
	DHCPSubnetCreateEnd  = Method[DHCPNotification, None]{TopicDHCPAgent, "subnet_create_end", "1.0"}
	DHCPSubnetUpdateEnd  = Method[DHCPNotification, None]{TopicDHCPAgent, "subnet_update_end", "1.0"}
	DHCPSubnetDeleteEnd  = Method[DHCPNotification, None]{TopicDHCPAgent, "subnet_delete_end", "1.0"}
	DHCPPortCreateEnd    = Method[DHCPNotification, None]{TopicDHCPAgent, "port_create_end", "1.0"}
	DHCPPortUpdateEnd    = Method[DHCPNotification, None]{TopicDHCPAgent, "port_update_end", "1.0"}
	DHCPPortDeleteEnd    = Method[DHCPNotification, None]{TopicDHCPAgent, "port_delete_end", "1.0"}
	DHCPAgentUpdated     = Method[AgentUpdatedArgs, None]{TopicDHCPAgent, "agent_updated", "1.0"}
)
