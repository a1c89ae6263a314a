package model

import "neutrino/internal/resource"

// Catalog are the resources as compiled for a set of enabled extensions.
type Catalog struct {
	Networks             *resource.Resource[Network]
	Subnets              *resource.Resource[Subnet]
	Ports                *resource.Resource[Port]
	SecurityGroups       *resource.Resource[SecurityGroup]
	SecurityGroupRules   *resource.Resource[SecurityGroupRule]
	Routers              *resource.Resource[Router]
	FloatingIPs          *resource.Resource[FloatingIP]
	Agents               *resource.Resource[Agent]
	Subnetpools          *resource.Resource[Subnetpool]
	AddressScopes        *resource.Resource[AddressScope]
	RBACPolicies         *resource.Resource[RBACPolicy]
	NetworkSegmentRanges *resource.Resource[NetworkSegmentRange]
}

// NewCatalog compiles the tables; enabled tells which extensions are loaded.
func NewCatalog(enabled func(alias string) bool) *Catalog {
	rules := SecurityGroupRules(enabled)
	return &Catalog{
		Networks:             Networks(enabled),
		Subnets:              Subnets(enabled),
		Ports:                Ports(enabled),
		SecurityGroups:       SecurityGroups(enabled, rules),
		SecurityGroupRules:   rules,
		Routers:              Routers(enabled),
		FloatingIPs:          FloatingIPs(enabled),
		Agents:               Agents(enabled),
		Subnetpools:          Subnetpools(enabled),
		AddressScopes:        AddressScopes(enabled),
		RBACPolicies:         RBACPolicies(enabled),
		NetworkSegmentRanges: NetworkSegmentRanges(enabled),
	}
}
