package model

import (
	"math/big"
	"strings"
	"unicode/utf8"

	"neutrino/internal/fault"
	"neutrino/internal/resource"
)

// Subnet is a block of addresses on a network.
type Subnet struct {
	Standard
	NetworkID       string
	IPVersion       int
	CIDR            string
	GatewayIP       *string
	EnableDHCP      bool
	IPv6RAMode      *string
	IPv6AddressMode *string
	SubnetpoolID    *string
	Prefixlen       *int // of a request to a pool
	UseDefaultPool  bool // of a request: from the default pool of the IP version
	AllocationPools []Pool
	DNSNameservers  []string
	HostRoutes      []Route
	ServiceTypes    []string
	Shared          bool
	External        bool
	SegmentID       *string

	DNSPublishFixedIP bool
}

var ipVersion = func() resource.Type[int] {
	t := resource.Int.Named("4 or 6").Checked(func(n int) error {
		if n != 4 && n != 6 {
			return resource.Reasonf("%d is not in valid_values", n)
		}
		return nil
	})
	small := t.Parse
	t.Parse = func(v any) (int, error) {
		n, err := small(v)
		if big, ok := new(big.Int).SetString(resource.Py(v), 10); err != nil && ok { // also one that fits no machine word
			err = resource.Reasonf("%d is not in valid_values", big)
		}
		return n, err
	}
	return t
}()

// poolID is the id of a subnet pool or PrefixDelegation.
var poolID = func() resource.Type[*string] {
	t := resource.Nullable(resource.UUID)
	parse := t.Parse
	t.Parse = func(v any) (*string, error) {
		if s, ok := v.(string); ok && s == PrefixDelegation {
			return &s, nil
		}
		return parse(v)
	}
	return t
}()

var ipv6Mode = resource.OneOf("dhcpv6-stateful", "dhcpv6-stateless", "slaac")

// Subnets describes subnets.
func Subnets(enabled func(string) bool) *resource.Resource[Subnet] {
	std := func(s *Subnet) *Standard { return &s.Standard }
	t := table("subnets", std)
	t.Sides = map[string]resource.SideTable{"subnet_dns_publish_fixed_ips": {Key: "subnet_id"}}
	t.FromZero = true
	t.Visible = "t.project_id = :project OR " + reachableBy("networkrbacs", "t.network_id")
	return resource.New("subnet", "subnets", "subnets", t, enabled,
		owned(std), named(std), standard("subnets", std), []resource.Attr[Subnet]{
			resource.Field("network_id", resource.UUID, post|filter|sort|needed|must, func(s *Subnet) *string { return &s.NetworkID }),
			resource.Field("ip_version", ipVersion, post|filter|sort|must, func(s *Subnet) *int { return &s.IPVersion }),
			resource.Field("subnetpool_id", poolID, post|filter|sort, func(s *Subnet) **string { return &s.SubnetpoolID }),
			resource.Field("prefixlen", givenOrAbsent(resource.NonNegative), post|hidden, func(s *Subnet) **int { return &s.Prefixlen }, resource.Unstored()),
			resource.Field("cidr", CIDR, post|filter|sort, func(s *Subnet) *string { return &s.CIDR }),
			resource.Field("gateway_ip", resource.Nullable(IP), post|put|filter|sort, func(s *Subnet) **string { return &s.GatewayIP }),
			resource.Field("enable_dhcp", resource.Bool, post|put|filter|sort, func(s *Subnet) *bool { return &s.EnableDHCP }, resource.Default(true)),
			resource.Field("ipv6_ra_mode", resource.Nullable(ipv6Mode), post|filter|sort, func(s *Subnet) **string { return &s.IPv6RAMode }, resource.Enum()),
			resource.Field("ipv6_address_mode", resource.Nullable(ipv6Mode), post|filter|sort, func(s *Subnet) **string { return &s.IPv6AddressMode }, resource.Enum()),
			resource.List("allocation_pools", Pools, post|put, func(s *Subnet) *[]Pool { return &s.AllocationPools }, resource.Children[Pool]{
				Table: "ipallocationpools", Parent: "subnet_id", NewID: "id", Columns: []resource.Col[Pool]{
					{Name: "first_ip", Ref: func(e *Pool) any { return &e.Start }}, {Name: "last_ip", Ref: func(e *Pool) any { return &e.End }}}}, resource.Quiet()),
			resource.List("dns_nameservers", Nameservers, post|put, func(s *Subnet) *[]string { return &s.DNSNameservers }, resource.Children[string]{
				Table: "dnsnameservers", Parent: "subnet_id", Position: "order", Columns: []resource.Col[string]{
					{Name: "address", Ref: func(e *string) any { return e }}}}, resource.Quiet()),
			resource.List("host_routes", Routes, post|put, func(s *Subnet) *[]Route { return &s.HostRoutes }, resource.Children[Route]{
				Table: "subnetroutes", Parent: "subnet_id", Columns: routeColumns}, resource.Quiet()),
			resource.Field("shared", resource.Bool, hidden|filter|policy|needed, func(s *Subnet) *bool { return &s.Shared },
				resource.Derived(sharedBy("networkrbacs", "t.network_id"))),
		},
		resource.Ext("default-subnetpools",
			resource.Field("use_default_subnetpool", resource.Bool, post|hidden, func(s *Subnet) *bool { return &s.UseDefaultPool },
				resource.Unstored(), resource.Default(false))),
		resource.Ext("subnet-service-types",
			resource.List("service_types", serviceTypes, post|put, func(s *Subnet) *[]string { return &s.ServiceTypes }, resource.Children[string]{
				Table: "subnet_service_types", Parent: "subnet_id", Columns: []resource.Col[string]{
					{Name: "service_type", Ref: func(e *string) any { return e }}}})),
		resource.Ext("segment",
			resource.Field("segment_id", resource.Nullable(resource.UUID), post|put|filter|sort, func(s *Subnet) **string { return &s.SegmentID })),
		resource.Ext("subnet-external-network",
			resource.Field("router:external", resource.Bool, filter|policy|needed, func(s *Subnet) *bool { return &s.External },
				resource.Derived("EXISTS (SELECT 1 FROM externalnetworks x WHERE x.network_id = t.network_id)"))),
		publishFixedIP(),
	)
}

var routeColumns = []resource.Col[Route]{
	{Name: "destination", Ref: func(e *Route) any { return &e.Destination }}, {Name: "nexthop", Ref: func(e *Route) any { return &e.Nexthop }}}

// serviceTypes are device owners that the subnet serves (neutron_lib/api/validators, validate_subnet_service_types).
var serviceTypes = resource.Type[[]string]{Name: "list of device owners", Append: resource.AppendList(resource.AppendString), Parse: func(v any) ([]string, error) {
	if falsy(v) {
		return []string{}, nil
	}
	list, ok := v.([]any)
	if !ok {
		return nil, fault.BadRequest("HTTPBadRequest", "Subnet service types must be a list.")
	}
	types := make([]string, len(list))
	for i, e := range list {
		t, ok := e.(string)
		if !ok {
			return nil, fault.BadRequest("InvalidInputSubnetServiceType", "Subnet service type %s is not a string.", resource.Py(e))
		}
		if !isServiceType(t) {
			return nil, fault.BadRequest("InvalidSubnetServiceType", "Subnet service type %s does not correspond to a valid device owner.", t)
		}
		types[i] = t
	}
	return types, nil
}}

// isServiceType lets everything pass that begins with a letter of "compute:", "trunk:subport" for one: upstream adds that
// text letter by letter to its list of prefixes.
func isServiceType(s string) bool {
	first, _ := utf8.DecodeRuneInString(s)
	return strings.HasPrefix(s, "network:") || strings.HasPrefix(s, "neutron:") || strings.ContainsRune("compute:", first)
}
