package model

import (
	"encoding/binary"
	"encoding/json"
	"net"
	"strconv"
	"strings"

	"neutrino/internal/resource"
)

// Port is where a device meets a network.
type Port struct {
	Standard
	NetworkID      string
	MACAddress     string
	AdminStateUp   bool
	Status         string // ACTIVE, DOWN, BUILD, ERROR
	DeviceID       string
	DeviceOwner    string
	FixedIPs       []FixedIP
	SecurityGroups []string
	AddressPairs   []AddressPair
	ExtraDHCPOpts  []DHCPOpt
	PortSecurity   bool

	// The active binding.
	HostID     string
	VNICType   string
	Profile    Dict
	VIFType    string
	VIFDetails Dict
	NoBinding  bool // no host has it active

	IPAllocation string // immediate, deferred or none; "" as immediate

	QosPolicyID        *string
	QosNetworkPolicyID *string          // of the network
	ResourceRequest    *ResourceRequest // filled by the service

	PortExtras
	PortNames
}

var vnicType = resource.OneOf("normal", "direct", "macvtap", "baremetal", "direct-physical", "virtio-forwarder", "smart-nic", "vdpa",
	"accelerator-direct", "accelerator-direct-physical", "remote-managed")

// binding is the expression for a column of the active binding.
func binding(column, absent string) resource.Option {
	return resource.Derived("COALESCE(ml2_port_bindings." + column + ", " + absent + ")")
}

// withBinding finds the ports that have a binding to one of the hosts, be it the active one or one that is prepared or left:
// after a live migration Nova asks for those of the host that an instance left.
func withBinding(hosts []string) (resource.Cond, error) {
	in := resource.In("host", hosts)
	return resource.Cond{SQL: "t.id IN (SELECT port_id FROM ml2_port_bindings WHERE " + in.SQL + ")", Args: in.Args}, nil
}

// Ports describes ports. The rows of fixed_ips and of the binding are written by the ML2 plug-in.
func Ports(enabled func(string) bool) *resource.Resource[Port] {
	std := func(p *Port) *Standard { return &p.Standard }
	t := table("ports", std)
	t.StrictMarker = true
	t.Blank = func(p *Port) { p.PortSecurity = !enabled("port-security") }
	t.Sides = map[string]resource.SideTable{
		"portsecuritybindings":     {Key: "port_id"},
		"qos_port_policy_bindings": {Key: "port_id"},
		"ml2_port_bindings":        {Key: "port_id", And: "ml2_port_bindings.status = 'ACTIVE'"},
	}
	t.Visible = "t.project_id = :project OR t.network_id IN (SELECT n.id FROM networks n WHERE n.project_id = :project)"
	t.Sides[dnsTable] = resource.SideTable{Key: "port_id"}
	for _, name := range extraTables {
		t.Sides[name] = resource.SideTable{Key: "port_id"}
	}
	return resource.New("port", "ports", "ports", t, enabled,
		owned(std), named(std), standard("ports", std), []resource.Attr[Port]{
			resource.Field("network_id", resource.UUID, post|filter|sort|needed|must, func(p *Port) *string { return &p.NetworkID }),
			// In upstream's order: the messages of policy follow it.
			resource.Field("admin_state_up", resource.Bool, post|put|filter|sort, func(p *Port) *bool { return &p.AdminStateUp }, resource.Default(true)),
			resource.Field("mac_address", portMAC, post|put|filter|sort|policy, func(p *Port) *string { return &p.MACAddress }),
			resource.List("fixed_ips", FixedIPs, post|put|filter|policy, func(p *Port) *[]FixedIP { return &p.FixedIPs }, resource.Children[FixedIP]{
				Table: "ipallocations", Parent: "port_id", ReadOnly: true, Order: "ip_address", Columns: []resource.Col[FixedIP]{
					{Name: "subnet_id", Ref: func(e *FixedIP) any { return &e.SubnetID }, Key: true},
					{Name: "ip_address", Ref: func(e *FixedIP) any { return &e.IPAddress }, Key: true}}}),
			resource.Field("status", resource.String(16), filter|sort, func(p *Port) *string { return &p.Status }),
			resource.Field("device_id", resource.String(255), post|put|filter|sort|policy, func(p *Port) *string { return &p.DeviceID }, resource.Default("")),
			resource.Field("device_owner", resource.String(255), post|put|filter|sort|policy, func(p *Port) *string { return &p.DeviceOwner }, resource.Default("")),
		},
		resource.Ext("security-group",
			resource.List("security_groups", UUIDs, post|put|filter, func(p *Port) *[]string { return &p.SecurityGroups }, resource.Children[string]{
				Table: "securitygroupportbindings", Parent: "port_id", Columns: []resource.Col[string]{
					{Name: "security_group_id", Ref: func(e *string) any { return e }, Key: true}}})),
		resource.Ext("port-security",
			resource.Field("port_security_enabled", resource.Bool, post|put|policy, func(p *Port) *bool { return &p.PortSecurity },
				resource.Side("portsecuritybindings", "port_security_enabled", "true"))),
		resource.Ext("allowed-address-pairs",
			resource.List("allowed_address_pairs", AddressPairs, post|put|policy, func(p *Port) *[]AddressPair { return &p.AddressPairs }, resource.Children[AddressPair]{
				Table: "allowedaddresspairs", Parent: "port_id", Columns: []resource.Col[AddressPair]{
					{Name: "mac_address", Ref: func(e *AddressPair) any { return &e.MACAddress }},
					{Name: "ip_address", Ref: func(e *AddressPair) any { return &e.IPAddress }}}})),
		resource.Ext("extra_dhcp_opt",
			resource.List("extra_dhcp_opts", DHCPOpts, post|put, func(p *Port) *[]DHCPOpt { return &p.ExtraDHCPOpts }, resource.Children[DHCPOpt]{
				Table: "extradhcpopts", Parent: "port_id", NewID: "id", Columns: []resource.Col[DHCPOpt]{
					{Name: "opt_name", Ref: func(e *DHCPOpt) any { return &e.Name }}, {Name: "opt_value", Ref: func(e *DHCPOpt) any { return &e.Value }},
					{Name: "ip_version", Ref: func(e *DHCPOpt) any { return &e.IPVersion }}}}, resource.Default([]DHCPOpt{}))),
		resource.Ext("binding", unlessUnbound(
			resource.Field("binding:host_id", hostID, post|put|filter|policy, func(p *Port) *string { return &p.HostID }, binding("host", "''"),
				resource.Matching(withBinding)),
			resource.Field("binding:vnic_type", vnicType, post|put|policy, func(p *Port) *string { return &p.VNICType }, binding("vnic_type", "'normal'"), resource.Default("normal")),
			resource.ShownAs(resource.Field("binding:profile", Dictionary, post|put|policy, func(p *Port) *Dict { return &p.Profile },
				binding("profile", "''")), Dictionary, (*Port).BindingProfile, "trusted"),
			resource.ShownAs(resource.Field("binding:vif_type", resource.String(64), policy, func(p *Port) *string { return &p.VIFType },
				binding("vif_type", "'unbound'")), resource.String(64), (*Port).shownVIFType, "device_owner"),
			resource.Field("binding:vif_details", Dictionary, policy, func(p *Port) *Dict { return &p.VIFDetails }, binding("vif_details", "''")))...),
		resource.Ext("ip_allocation",
			resource.Field("ip_allocation", ipAllocation, filter|sort, func(p *Port) *string { return &p.IPAllocation })),
		portQos(), portExtras(enabled), portNames(),
	)
}

// unlessUnbound leaves the attributes of the active binding out of a port that has none: somebody deleted it.
func unlessUnbound(attrs ...resource.Attr[Port]) []resource.Attr[Port] {
	for i, a := range attrs {
		attrs[i] = a.OmitWhen(func(p *Port) bool { return p.NoBinding }, "no_binding")
	}
	return append(attrs, resource.Field("no_binding", resource.Bool, inner, func(p *Port) *bool { return &p.NoBinding },
		resource.Derived("ml2_port_bindings.port_id IS NULL")))
}

// hostID: null takes the port away from its host; Nova sends that when it detaches an interface. Upstream takes
// numbers, too.
var hostID = resource.Type[string]{Name: "string", Append: resource.AppendString, Parse: func(v any) (string, error) {
	if resource.Falsy(v) {
		return "", nil
	}
	switch v.(type) {
	case []any, map[string]any:
		return "", resource.Reasonf("'%s' is not a valid string", resource.Py(v))
	}
	return resource.String(255).Parse(resource.Py(v)) // upstream leaves the length to the database
}}

// decimal reads a number of 48 bits.
func decimal(s string) (uint64, bool) {
	n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 48)
	return n, err == nil
}

// portMAC: null asks for a new random address (extension port-mac-address-regenerate). A number is an address, too.
var portMAC = func() resource.Type[string] {
	t := MAC
	t.Parse = func(v any) (string, error) {
		if v == nil {
			return "", nil
		}
		mac, err := MAC.Parse(v)
		if err == nil {
			return mac, nil
		}
		x, isNumber := uint64(0), true
		switch v := v.(type) {
		case bool:
			if v {
				x = 1
			}
		case json.Number:
			x, isNumber = decimal(v.String())
		case string:
			x, isNumber = decimal(v)
		default:
			isNumber = false
		}
		if isNumber {
			return MAC.Parse(net.HardwareAddr(binary.BigEndian.AppendUint64(nil, x)[2:]).String())
		}
		return "", err
	}
	return t
}()

// shownVIFType: an interface of a distributed router is on many hosts, each with a binding of its own.
func (p *Port) shownVIFType() string {
	if p.DeviceOwner == "network:router_interface_distributed" {
		return "distributed"
	}
	return p.VIFType
}
