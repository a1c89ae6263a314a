package model

import "neutrino/internal/resource"

// Catalog are the resources as compiled for a set of enabled extensions.
type Catalog struct {
	Networks                  *resource.Resource[Network]
	Subnets                   *resource.Resource[Subnet]
	Ports                     *resource.Resource[Port]
	PortBindings              *resource.Resource[PortBinding]
	SecurityGroups            *resource.Resource[SecurityGroup]
	SecurityGroupRules        *resource.Resource[SecurityGroupRule]
	Routers                   *resource.Resource[Router]
	FloatingIPs               *resource.Resource[FloatingIP]
	FloatingIPPools           *resource.Resource[FloatingIPPool]
	Agents                    *resource.Resource[Agent]
	MeteringLabels            *resource.Resource[MeteringLabel]
	MeteringLabelRules        *resource.Resource[MeteringLabelRule]
	Flavors                   *resource.Resource[Flavor]
	ServiceProfiles           *resource.Resource[ServiceProfile]
	Subnetpools               *resource.Resource[Subnetpool]
	AddressScopes             *resource.Resource[AddressScope]
	IPAvailabilities          *resource.Resource[IPAvailability]
	RBACPolicies              *resource.Resource[RBACPolicy]
	Segments                  *resource.Resource[NetworkSegment]
	NetworkSegmentRanges      *resource.Resource[NetworkSegmentRange]
	AddressGroups             *resource.Resource[AddressGroup]
	DefaultSecurityGroupRules *resource.Resource[DefaultSecurityGroupRule]
	DefaultStatefulnesses     *resource.Resource[DefaultStatefulness]
	QosPolicies               *resource.Resource[QosPolicy]
	QosRules                  map[string]*resource.Resource[QosRule] // by kind
	QosAliasRules             map[string]*resource.Resource[QosRule] // the same under a URL without the policy
}

// NewCatalog compiles the tables; enabled tells which extensions are loaded.
func NewCatalog(enabled func(alias string) bool) *Catalog {
	rules := SecurityGroupRules(enabled)
	return &Catalog{
		Networks:                  Networks(enabled),
		Subnets:                   Subnets(enabled),
		Ports:                     Ports(enabled),
		PortBindings:              PortBindings(enabled),
		SecurityGroups:            SecurityGroups(enabled, rules),
		SecurityGroupRules:        rules,
		Routers:                   Routers(enabled),
		FloatingIPs:               FloatingIPs(enabled),
		FloatingIPPools:           FloatingIPPools(enabled),
		Agents:                    Agents(enabled),
		MeteringLabels:            MeteringLabels(enabled),
		MeteringLabelRules:        MeteringLabelRules(enabled),
		Flavors:                   Flavors(enabled),
		ServiceProfiles:           ServiceProfiles(enabled),
		Subnetpools:               Subnetpools(enabled),
		AddressScopes:             AddressScopes(enabled),
		IPAvailabilities:          IPAvailabilities(enabled),
		RBACPolicies:              RBACPolicies(enabled),
		Segments:                  Segments(enabled),
		NetworkSegmentRanges:      NetworkSegmentRanges(enabled),
		AddressGroups:             AddressGroups(enabled),
		DefaultSecurityGroupRules: DefaultSecurityGroupRules(enabled),
		DefaultStatefulnesses:     DefaultStatefulnesses(enabled),
		QosPolicies:               QosPolicies(enabled),
		QosRules:                  qosRuleSets(enabled, false),
		QosAliasRules:             qosRuleSets(enabled, true),
	}
}

func qosRuleSets(enabled func(alias string) bool, alias bool) map[string]*resource.Resource[QosRule] {
	sets := map[string]*resource.Resource[QosRule]{}
	for _, k := range QosRuleKinds() {
		sets[k.Type] = QosRules(enabled, k, alias)
	}
	return sets
}
