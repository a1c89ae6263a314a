package rpc

// Security group data for L2 agents (upstream SecurityGroupServerRpcCallback 1.3, SecurityGroupAgentRpcCallback 1.3).

// SecurityGroupArgs name the devices of an agent.
type SecurityGroupArgs struct {
	Devices []string `json:"devices"`
	// KnownMembers are ethertypes by remote group of whose members the agent needs not be told. Upstream's servers ignore it.
	KnownMembers map[string][]string `json:"known_members,omitempty"`
}

// SecurityGroupInfo is all that a host needs to filter for some devices. Trusted ports (network:*) and ports without
// port security are absent from Devices.
type SecurityGroupInfo struct {
	// SecurityGroups are the rules by group id.
	SecurityGroups map[string][]SecurityGroupRule `json:"security_groups"`
	// MemberIPs are [ip or cidr, mac] pairs by remote group (or address group) id and ethertype ("IPv4", "IPv6"), but for those
	// that are known.
	MemberIPs map[string]map[string][][2]*string `json:"sg_member_ips"`
	// Devices by port id.
	Devices map[string]FilteredDevice `json:"devices"`
}

// SecurityGroupRule is one rule of a group. Absent fields match everything.
type SecurityGroupRule struct {
	Direction            string `json:"direction"` // ingress (to the instance) or egress
	Ethertype            string `json:"ethertype"` // IPv4 or IPv6
	Protocol             string `json:"protocol,omitempty"`
	PortRangeMin         *int   `json:"port_range_min,omitempty"`   // ICMP type for ICMP
	PortRangeMax         *int   `json:"port_range_max,omitempty"`   // ICMP code for ICMP
	SourceIPPrefix       string `json:"source_ip_prefix,omitempty"` // ingress
	DestIPPrefix         string `json:"dest_ip_prefix,omitempty"`   // egress
	RemoteGroupID        string `json:"remote_group_id,omitempty"`
	RemoteAddressGroupID string `json:"remote_address_group_id,omitempty"`
	Stateful             bool   `json:"stateful"`
}

// FilteredDevice is a port that is filtered.
type FilteredDevice struct {
	Device         string        `json:"device"`
	NetworkID      string        `json:"network_id"`
	MACAddress     string        `json:"mac_address"`
	FixedIPs       []string      `json:"fixed_ips"`
	AddressPairs   []AddressPair `json:"allowed_address_pairs"`
	SecurityGroups []string      `json:"security_groups"`
	PortSecurity   bool          `json:"port_security_enabled"`
}

// SecurityGroupsArgs name changed groups.
type SecurityGroupsArgs struct {
	SecurityGroups []string `json:"security_groups"`
	// Addresses are by group the only addresses that may have become members or may be none any more. Groups without may have
	// changed altogether. Upstream's servers do not tell that, and its agents ignore it.
	Addresses map[string][]string `json:"addresses,omitempty"`
}

// Addresses are addresses by security group.
type Addresses struct {
	Addresses map[string][]string `json:"addresses"`
}

// MostAddresses is how many addresses of a group are named at most, in a message and in a request. Beyond that it is cheaper
// to ask for all members.
const MostAddresses = 200

var (
	// SecurityGroupInfoForDevices returns rules and members for the devices of a host.
	SecurityGroupInfoForDevices = Method[SecurityGroupArgs, SecurityGroupInfo]{TopicPlugin, "security_group_info_for_devices", "1.2"}

	// SecurityGroupMembersAmong returns those of the addresses that are members of their groups. Upstream has no such method.
	SecurityGroupMembersAmong = Method[Addresses, Addresses]{TopicPlugin, "security_group_members_among", "1.2"}

	SecurityGroupsRuleUpdated   = Method[SecurityGroupsArgs, None]{TopicSecurityGroupUpdate, "security_groups_rule_updated", "1.1"}
	SecurityGroupsMemberUpdated = Method[SecurityGroupsArgs, None]{TopicSecurityGroupUpdate, "security_groups_member_updated", "1.1"}
)
