package model

import (
	"neutrino/internal/fault"
	"neutrino/internal/resource"
)

// Router connects subnets with each other and with an external network.
type Router struct {
	Standard
	AdminStateUp      bool
	Status            string
	GatewayPortID     *string
	EnableSNAT        bool
	Gateway           *GatewayInfo // filled by the service
	Routes            []Route
	ZoneHints         ZoneHints
	AvailabilityZones []string
	FlavorID          *string
	// Distributed and HA are what kind of router it is; nil in requests that leave that to the configuration.
	Distributed, HA *bool
}

// Routers describes routers. The gateway and the rows of router_extra_attributes are written by the L3 plug-in.
func Routers(enabled func(string) bool) *resource.Resource[Router] {
	std := func(r *Router) *Standard { return &r.Standard }
	t := table("routers", std)
	t.StrictMarker, t.OneByOne = true, true
	t.Missing = func(id string) error { return fault.NotFound("RouterNotFound", "Router %s could not be found", id) }
	t.Sides = map[string]resource.SideTable{"router_extra_attributes": {Key: "router_id"}}
	return resource.New("router", "routers", "routers", t, enabled,
		resource.Ext("router", owned(std)...), resource.Ext("router", named(std)...), standard("routers", std),
		resource.Ext("router",
			resource.Field("admin_state_up", resource.Bool, post|put|filter|sort, func(r *Router) *bool { return &r.AdminStateUp }, resource.Default(true)),
			resource.Field("status", resource.String(16), sort, func(r *Router) *string { return &r.Status }),
			resource.Field("external_gateway_info", gateway(enabled("qos-gateway-ip")), post|put|policy, func(r *Router) **GatewayInfo { return &r.Gateway }, resource.Unstored(), resource.Default((*GatewayInfo)(nil))),
			resource.Field("gw_port_id", resource.Nullable(resource.UUID), inner, func(r *Router) **string { return &r.GatewayPortID })),
		resource.Ext("ext-gw-mode",
			resource.Field("enable_snat", resource.Bool, inner, func(r *Router) *bool { return &r.EnableSNAT })),
		resource.Ext("extraroute",
			resource.List("routes", Routes, put, func(r *Router) *[]Route { return &r.Routes }, resource.Children[Route]{
				Table: "routerroutes", Parent: "router_id", Columns: routeColumns})),
		resource.Ext("l3-ha",
			resource.Field("ha", resource.Nullable(resource.Bool), post|put|policy, func(r *Router) **bool { return &r.HA },
				resource.Side("router_extra_attributes", "ha", "false"))),
		resource.Ext("dvr",
			resource.Field("distributed", resource.Nullable(resource.Bool), post|put|policy, func(r *Router) **bool { return &r.Distributed },
				resource.Side("router_extra_attributes", "distributed", "false"))),
		resource.Ext("l3-flavors",
			resource.Field("flavor_id", anyText, post|sort|policy, func(r *Router) **string { return &r.FlavorID })),
		resource.Ext("router_availability_zone",
			resource.Field("availability_zone_hints", AvailabilityZoneHints, post, func(r *Router) *ZoneHints { return &r.ZoneHints },
				resource.Side("router_extra_attributes", "availability_zone_hints", "''"), resource.Default(ZoneHints{})),
			resource.List("availability_zones", Strings, 0, func(r *Router) *[]string { return &r.AvailabilityZones }, resource.Children[string]{
				Table: "(SELECT DISTINCT b.router_id AS router_id, a.availability_zone AS zone FROM routerl3agentbindings b " +
					"JOIN agents a ON a.id = b.l3_agent_id WHERE a.availability_zone IS NOT NULL)",
				Source: "routerl3agentbindings", Parent: "router_id", ReadOnly: true,
				Columns: []resource.Col[string]{{Name: "zone", Ref: func(e *string) any { return e }}}})),
	)
}

// FloatingIP is an external address that stands for a port's fixed address.
type FloatingIP struct {
	Standard
	FloatingNetworkID string
	FloatingIPAddress *string
	FloatingPortID    string
	SubnetID          *string // of the request
	PortID            *string
	FixedIPAddress    *string
	RouterID          *string
	LastKnownRouterID *string
	Status            string
	PortDetails       *PortDetails // filled by the service
	QosPolicyID       *string
	DNSName           string
	DNSDomain         string
}

// FloatingIPPool is a subnet of an external network, from which floating IPs may be taken.
type FloatingIPPool struct {
	SubnetID   string
	SubnetName string
	ProjectID  string // of who asks
	NetworkID  string
	CIDR       string
}

// FloatingIPPools describes the pools that the caller may use.
func FloatingIPPools(enabled func(string) bool) *resource.Resource[FloatingIPPool] {
	project := func(p *FloatingIPPool) *string { return &p.ProjectID }
	t := resource.Table[FloatingIPPool]{Name: "subnets", Order: checkOrder["floatingip_pools"], ID: func(p *FloatingIPPool) *string { return &p.SubnetID },
		Visible: reachableBy("networkrbacs", "t.network_id") + " OR t.network_id IN (SELECT n.id FROM networks n WHERE n.project_id = :project)"}
	t.Fields = func(r *resource.Resource[FloatingIPPool], wanted resource.Set, _ bool) resource.Set {
		return wanted &^ r.Bit("tenant_id")
	}
	return resource.New("floatingip_pool", "floatingip_pools", "floatingip_pools", t, enabled, resource.Ext("floatingip-pools",
		resource.Field("subnet_id", resource.UUID, 0, func(p *FloatingIPPool) *string { return &p.SubnetID }, resource.Column("id")),
		resource.Field("subnet_name", resource.Name, 0, func(p *FloatingIPPool) *string { return &p.SubnetName }, resource.Column("name")),
		resource.Field("project_id", resource.String(255), 0, project, resource.Derived(":project")),
		resource.Field("tenant_id", resource.String(255), 0, project, resource.Derived(":project")),
		resource.Field("network_id", resource.UUID, 0, func(p *FloatingIPPool) *string { return &p.NetworkID }),
		resource.Field("cidr", CIDR, 0, func(p *FloatingIPPool) *string { return &p.CIDR })))
}

// PortDetails tells about the port of a floating IP (extension fip-port-details).
type PortDetails struct {
	Name         string `json:"name"`
	NetworkID    string `json:"network_id"`
	MACAddress   string `json:"mac_address"`
	AdminStateUp bool   `json:"admin_state_up"`
	Status       string `json:"status"`
	DeviceID     string `json:"device_id"`
	DeviceOwner  string `json:"device_owner"`
}

var portDetails = resource.Type[*PortDetails]{Name: "port attributes or null", Append: resource.AppendJSON[*PortDetails],
	Parse: func(v any) (*PortDetails, error) { return nil, resource.Reasonf("'%s' cannot be set", resource.Py(v)) }}

// FloatingIPs describes floating IPs.
func FloatingIPs(enabled func(string) bool) *resource.Resource[FloatingIP] {
	std := func(f *FloatingIP) *Standard { return &f.Standard }
	nullString := resource.Default((*string)(nil))
	t := table("floatingips", std)
	t.FromZero, t.OneByOne = true, true
	t.Missing = func(id string) error {
		return fault.NotFound("FloatingIPNotFound", "Floating IP %s could not be found", id)
	}
	t.Sides = map[string]resource.SideTable{"floatingipdnses": {Key: "floatingip_id"}, "qos_fip_policy_bindings": {Key: "fip_id"}}
	var choose resource.Flags
	if enabled("floating-ip-router-writable") {
		choose = post | put
	}
	return resource.New("floatingip", "floatingips", "floatingips", t, enabled,
		resource.Ext("router", owned(std)...), standard("floatingips", std),
		resource.Ext("router",
			resource.Field("floating_network_id", resource.UUID, post|filter|sort|must, func(f *FloatingIP) *string { return &f.FloatingNetworkID }),
			resource.Field("floating_ip_address", resource.Nullable(IP), post|filter|sort|policy, func(f *FloatingIP) **string { return &f.FloatingIPAddress }, nullString),
			resource.Field("floating_port_id", resource.UUID, inner, func(f *FloatingIP) *string { return &f.FloatingPortID }),
			resource.Field("subnet_id", resource.Nullable(resource.UUID), post|hidden, func(f *FloatingIP) **string { return &f.SubnetID }, resource.Unstored(), nullString),
			resource.Field("port_id", resource.Nullable(resource.UUID), post|put|filter|needed, func(f *FloatingIP) **string { return &f.PortID }, resource.Column("fixed_port_id"), nullString),
			resource.Field("fixed_ip_address", resource.Nullable(IP), post|put|filter|sort, func(f *FloatingIP) **string { return &f.FixedIPAddress }, nullString),
			resource.Field("router_id", resource.Nullable(resource.UUID), filter|sort|choose, func(f *FloatingIP) **string { return &f.RouterID }, nullString),
			resource.Field("last_known_router_id", resource.Nullable(resource.UUID), inner, func(f *FloatingIP) **string { return &f.LastKnownRouterID }),
			resource.Field("status", resource.String(16), filter|sort, func(f *FloatingIP) *string { return &f.Status })),
		resource.Ext("fip-port-details",
			resource.Field("port_details", portDetails, 0, func(f *FloatingIP) **PortDetails { return &f.PortDetails }, resource.Unstored(),
				resource.From("port_id"))),
		resource.Ext("qos-fip",
			resource.Field("qos_policy_id", resource.Nullable(resource.UUID), post|put|policy, func(f *FloatingIP) **string { return &f.QosPolicyID },
				resource.Side("qos_fip_policy_bindings", "policy_id", "NULL"), nullString)),
		floatingNames(),
	)
}
