package rpc

// The API dictionaries as agents see them. Only what agents read is declared; unknown keys are ignored.

// FixedIP is an address of a port. Prefixlen is set in router data only.
type FixedIP struct {
	SubnetID  string `json:"subnet_id"`
	IPAddress string `json:"ip_address"`
	Prefixlen int    `json:"prefixlen,omitempty"`
}

// AddressPair is an additional source address that a port may use. IPAddress may be a CIDR.
type AddressPair struct {
	MACAddress string `json:"mac_address"`
	IPAddress  string `json:"ip_address"`
}

// DHCPOption is an extra_dhcp_opts entry. Name is a dnsmasq option name or a number as text; a nil value removes.
type DHCPOption struct {
	Name      string  `json:"opt_name"`
	Value     *string `json:"opt_value"`
	IPVersion int     `json:"ip_version"`
}

// DNSAssignment is the name of one address of a port.
type DNSAssignment struct {
	IPAddress string `json:"ip_address"`
	Hostname  string `json:"hostname"`
	FQDN      string `json:"fqdn"`
}

// Port is the port dictionary.
type Port struct {
	ID             string          `json:"id"`
	Name           string          `json:"name"`
	ProjectID      string          `json:"project_id"`
	NetworkID      string          `json:"network_id"`
	MACAddress     string          `json:"mac_address"`
	AdminStateUp   bool            `json:"admin_state_up"`
	Status         string          `json:"status"`
	DeviceID       string          `json:"device_id"`
	DeviceOwner    string          `json:"device_owner"`
	FixedIPs       []FixedIP       `json:"fixed_ips"`
	AddressPairs   []AddressPair   `json:"allowed_address_pairs"`
	ExtraDHCPOpts  []DHCPOption    `json:"extra_dhcp_opts"`
	DNSAssignment  []DNSAssignment `json:"dns_assignment,omitempty"`
	PortSecurity   bool            `json:"port_security_enabled"`
	SecurityGroups []string        `json:"security_groups"`
	HostID         string          `json:"binding:host_id"`
	VIFType        string          `json:"binding:vif_type"`
	Revision       int64           `json:"revision_number"`
	UpdatedAt      string          `json:"updated_at"`

	// Router data only (sync_routers).
	MTU           int                `json:"mtu,omitempty"`
	Subnets       []RouterSubnet     `json:"subnets,omitempty"`
	ExtraSubnets  []RouterSubnet     `json:"extra_subnets,omitempty"`
	AddressScopes map[string]*string `json:"address_scopes,omitempty"` // "4" and "6"
}

// RouterSubnet is what a router must know of a subnet.
type RouterSubnet struct {
	ID             string   `json:"id"`
	CIDR           string   `json:"cidr"`
	GatewayIP      *string  `json:"gateway_ip"`
	DNSNameservers []string `json:"dns_nameservers,omitempty"`
	IPv6RAMode     *string  `json:"ipv6_ra_mode"`
	SubnetpoolID   *string  `json:"subnetpool_id"`
}

// Route is a host route or an extra route.
type Route struct {
	Destination string `json:"destination"`
	Nexthop     string `json:"nexthop"`
}

// Pool is an allocation pool.
type Pool struct {
	Start string `json:"start"`
	End   string `json:"end"`
}

// Subnet is the subnet dictionary.
type Subnet struct {
	ID              string   `json:"id"`
	NetworkID       string   `json:"network_id"`
	IPVersion       int      `json:"ip_version"`
	CIDR            string   `json:"cidr"`
	GatewayIP       *string  `json:"gateway_ip"`
	EnableDHCP      bool     `json:"enable_dhcp"`
	IPv6RAMode      *string  `json:"ipv6_ra_mode"`
	IPv6AddressMode *string  `json:"ipv6_address_mode"`
	DNSNameservers  []string `json:"dns_nameservers"`
	HostRoutes      []Route  `json:"host_routes"`
	AllocationPools []Pool   `json:"allocation_pools"`
	SegmentID       *string  `json:"segment_id,omitempty"`
	SubnetpoolID    *string  `json:"subnetpool_id,omitempty"`
	Revision        int64    `json:"revision_number"`
}
