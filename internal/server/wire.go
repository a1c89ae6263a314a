package server

import (
	"fmt"
	"strconv"
	"strings"

	"neutrino/internal/api"
	"neutrino/internal/config"
	"neutrino/internal/model"
	"neutrino/internal/service/agentrpc"
	"neutrino/internal/service/agents"
	"neutrino/internal/service/l3"
	"neutrino/internal/service/metering"
	"neutrino/internal/service/ml2"
	"neutrino/internal/service/quota"
	"neutrino/internal/service/secgroup"
	"neutrino/internal/service/subnetpool"
)

// services are the parts of a server.
type services struct {
	core     *ml2.Plugin
	routers  *l3.Service
	agents   *agents.Service
	agentRPC *agentrpc.Server
	meters   *metering.Service // nil without the plug-in
	api      *api.Server
}

// wire makes the services and connects them. The order of the hooks is the order in which they run.
func wire(s *Server) (*services, error) {
	f, log := s.d.File, s.d.Logger
	extensions := s.extensions()
	catalog := model.NewCatalog(extensions.Enabled)
	quotas := quota.New(quotaLimits(s))

	core, err := newCore(s, catalog)
	if err != nil {
		return nil, err
	}
	agentService := agents.New(agents.Config{AgentDownTime: config.AgentDownTime.Get(f), DHCPAgentsPerNetwork: config.DHCPAgentsPerNetwork.Get(f),
		NetworkAutoSchedule: config.NetworkAutoSchedule.Get(f), DefaultZones: config.DefaultAvailabilityZones.Get(f),
		EnableNewAgents: config.EnableNewAgents.Get(f), DHCPLoadType: config.DHCPLoadType.Get(f),
		AutomaticFailover: config.AllowAutomaticDHCPFailover.Get(f), Scheduler: dhcpScheduler(config.NetworkSchedulerDriver.Get(f)),
		ServeDisabled: config.EnableServicesOnAgentsWithAdminDown.Get(f)}, s.db, catalog, log("agents"))
	groups := secgroup.New(s.db, catalog, quotas, log("secgroup"))
	routers := l3.New(l3.Config{AgentDownTime: config.AgentDownTime.Get(f), EnableSNATByDefault: config.EnableSNATByDefault.Get(f),
		ByChance:      strings.HasSuffix(config.RouterSchedulerDriver.Get(f), ".ChanceScheduler"),
		ServeDisabled: config.EnableServicesOnAgentsWithAdminDown.Get(f), DefaultZones: routerZones(f), RouterAutoSchedule: config.RouterAutoSchedule.Get(f), AutomaticFailover: config.AllowAutomaticL3Failover.Get(f),
		Distributed: config.RouterDistributed.Get(f), HA: config.L3HA.Get(f), HAAgents: config.MaxL3AgentsPerRouter.Get(f),
		HANetworkCIDR: config.HANetworkCIDR.Get(f), HANetworkType: config.HANetworkType.Get(f), HAPhysicalNetwork: config.HAPhysicalNetwork.Get(f)},
		s.db, catalog, core, log("l3"))
	routers.Quota = quotas
	agentRPC := agentrpc.New(s.db, catalog, core, agentService, s.bus, log("agentrpc"))

	h := &core.Hooks
	h.PrepareNetwork = append(h.PrepareNetwork, groups.PrepareNetwork)
	h.PreparePorts = append(h.PreparePorts, groups.PreparePorts)
	h.BeforeSubnet = append(h.BeforeSubnet, agentRPC.BeforeSubnet)
	h.BeforePort = append(h.BeforePort, groups.BeforePort)
	h.AfterNetwork = append(h.AfterNetwork, agentRPC.AfterNetwork)
	h.AfterSubnet = append(h.AfterSubnet, agentRPC.AfterSubnet)
	h.AfterPort = append(h.AfterPort, agentRPC.AfterPort, groups.AfterPort)
	if extensions.Enabled("router") {
		h.BeforeNetwork = append(h.BeforeNetwork, routers.BeforeNetwork)
		h.BeforePort = append(h.BeforePort, routers.BeforePort)
		h.GuardPortDelete = append(h.GuardPortDelete, routers.GuardPortDelete)
		h.GuardFixedIPs = append(h.GuardFixedIPs, routers.GuardFixedIPs)
		h.AfterNetwork = append(h.AfterNetwork, routers.AfterNetwork)
		h.AfterSubnet = append(h.AfterSubnet, routers.AfterSubnet)
		h.AfterPort = append(h.AfterPort, routers.AfterPort)
	}
	h.BeforePort = append(h.BeforePort, agentRPC.BeforePort)
	groups.Hooks.RulesChanged = append(groups.Hooks.RulesChanged, agentRPC.RulesChanged)
	groups.Hooks.MembersChanged = append(groups.Hooks.MembersChanged, agentRPC.MembersChangedAt)
	agentService.Notifier, agentService.Core = agentRPC, core
	routers.Notifier = agentRPC
	quality := qosUse{}
	if s.loads(qosPlugin) {
		quality.service = newQos(s, catalog)
		h.BeforeNetwork = append(h.BeforeNetwork, quality.service.BeforeNetwork)
		h.BeforePort = append(h.BeforePort, quality.service.BeforePort)
	}
	pools := subnetpool.New(catalog, config.IPv6PDEnabled.Get(f))
	connectPools(pools, core)
	if extensions.Enabled("router") {
		pools.Hooks.ScopeChanged = append(pools.Hooks.ScopeChanged, routers.ScopeChanged)
	}

	rules, err := s.rules()
	if err != nil {
		return nil, err
	}
	auth, err := s.authenticator()
	if err != nil {
		return nil, err
	}
	listeners, err := s.listeners(h)
	if err != nil {
		return nil, err
	}
	a := api.New(api.Config{MaxPage: max(config.PaginationMaxLimit.Get(f), 0), LinkPrefix: config.NetworkLinkPrefix.Get(f), Metrics: true,
		TrustProxy: config.EnableProxyHeaders.Get(f), CORS: api.CORS{Origins: config.CORSOrigins.Get(f), Credentials: config.CORSCredentials.Get(f),
			Expose: config.CORSExpose.Get(f), MaxAge: config.CORSMaxAge.Get(f), Methods: config.CORSMethods.Get(f), Headers: config.CORSHeaders.Get(f)}},
		api.Deps{DB: s.db, Log: log("api"), Auth: auth, Rules: rules, Quota: quotas, Extensions: extensions, Listeners: listeners})
	networks := api.Mount(a, catalog.Networks, routers.WithHA(core.Networks()))
	api.Mount(a, catalog.Subnets, core.Subnets())
	api.Mount(a, catalog.Ports, quality.ports(core.Ports()))
	mountBindings(a, catalog, core)
	api.Mount(a, catalog.SecurityGroups, groups.Groups())
	api.Mount(a, catalog.SecurityGroupRules, groups.Rules())
	flavors := mountFlavors(a, catalog, extensions)
	api.Mount(a, catalog.DefaultSecurityGroupRules, groups.DefaultRules())
	api.Mount(a, catalog.DefaultStatefulnesses, groups.DefaultStatefulness())
	agentCollection := mountAgents(a, extensions.Enabled, catalog, networks, agentService)
	if extensions.Enabled("router") {
		mountTopologies(a, extensions.Enabled, catalog, core, routers)
		mountRouters(a, catalog, routers, quality, flavors, agentCollection)
	}
	meters := mountMetering(a, s, catalog, agentRPC)
	if quality.service != nil {
		mountQos(a, catalog, quality.service)
	}
	mountPools(a, catalog, pools)
	mountSegments(a, s, catalog, core, agentService)
	mountSegmentRanges(a, s, catalog, core)
	mountQuotas(a, quotas)
	mountRBAC(a, catalog)
	mountAddressGroups(a, catalog, agentRPC.MembersChanged)
	return &services{core, routers, agentService, agentRPC, meters, a}, nil
}

// newCore makes the ML2 plug-in from the configuration.
func newCore(s *Server, catalog *model.Catalog) (*ml2.Plugin, error) {
	f := s.d.File
	cfg := ml2.Config{TypeDrivers: known(config.TypeDrivers.Get(f), "local", "flat", "vlan", "gre", "vxlan", "geneve"),
		GeneveHeaderSize: config.GeneveHeaderSize.Get(f), StoredRanges: s.loads(segmentRangePlugin), TenantNetworkTypes: config.ProjectNetworkTypes.Get(f),
		ExternalNetworkType: config.ExternalNetworkType.Get(f), MechanismDrivers: known(config.MechanismDrivers.Get(f), ml2.MechanismNames()...), FlatNetworks: config.FlatNetworks.Get(f),
		PathMTU: config.PathMTU.Get(f), GlobalPhysnetMTU: config.GlobalPhysnetMTU.Get(f), PhysicalNetworkMTUs: map[string]int{},
		OverlayIPVersion: config.OverlayIPVersion.Get(f), BaseMAC: config.BaseMAC.Get(f), AgentDownTime: config.AgentDownTime.Get(f),
		MaxDNSNameservers: config.MaxDNSNameservers.Get(f), MaxSubnetHostRoutes: config.MaxSubnetHostRoutes.Get(f),
		MaxAllowedAddressPairs: config.MaxAllowedAddressPair.Get(f), DNSDomain: config.DNSDomain.Get(f),
		NoSecurityGroups: !config.EnableSecurityGroup.Get(f), OVSProhibitedVNICTypes: config.OVSProhibitedVNICTypes.Get(f),
		OVSKeepTap:  !config.OVSCreateTap.Get(f),
		TagNewPorts: contains(config.ExtensionDrivers.Get(f), "tag_ports_during_bulk_creation")}
	for net, mtu := range config.PhysicalNetworkMTUs.Get(f) {
		n, err := strconv.Atoi(mtu)
		if err != nil {
			return nil, fmt.Errorf("[ml2] physical_network_mtus: MTU %q of %s is no number", mtu, net)
		}
		cfg.PhysicalNetworkMTUs[net] = n
	}
	for _, x := range []struct {
		option string
		texts  []string
		ranges *[]ml2.Range
	}{
		{"[ml2_type_vxlan] vni_ranges", config.VNIRanges.Get(f), &cfg.VNIRanges},
		{"[ml2_type_gre] tunnel_id_ranges", config.GREIDRanges.Get(f), &cfg.GREIDRanges},
		{"[ml2_type_geneve] vni_ranges", config.GeneveVNIRanges.Get(f), &cfg.GeneveVNIRanges},
	} {
		for _, text := range x.texts {
			r, err := parseRange(text)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", x.option, err)
			}
			*x.ranges = append(*x.ranges, r)
		}
	}
	for _, text := range config.NetworkVLANRanges.Get(f) {
		physnet, ids, ranged := strings.Cut(text, ":")
		v := ml2.SegmentRange{PhysicalNetwork: physnet}
		if ranged {
			r, err := parseRange(ids)
			if err != nil {
				return nil, fmt.Errorf("[ml2_type_vlan] network_vlan_ranges: %w", err)
			}
			v.Range = r
		}
		cfg.VLANRanges = append(cfg.VLANRanges, v)
	}
	return ml2.New(cfg, s.db, catalog, s.d.Logger("ml2")), nil
}

// dhcpScheduler is the scheduler of a name of Python's class.
func dhcpScheduler(name string) agents.Scheduler {
	switch name[strings.LastIndexByte(name, '.')+1:] {
	case "AZAwareWeightScheduler":
		return agents.AZAwareWeight
	case "ChanceScheduler":
		return agents.Chance
	}
	return agents.Weight
}

// routerZones are the zones of routers that name none; only one of upstream's schedulers looks at them.
func routerZones(f *config.File) []string {
	if strings.HasSuffix(config.RouterSchedulerDriver.Get(f), ".AZLeastRoutersScheduler") {
		return config.DefaultAvailabilityZones.Get(f)
	}
	return nil
}

// known keeps the entries of list that are implemented.
func known(list []string, implemented ...string) []string {
	out := []string{}
	for _, x := range list {
		if contains(implemented, x) {
			out = append(out, x)
		}
	}
	return out
}

func parseRange(text string) (ml2.Range, error) {
	low, high, found := strings.Cut(text, ":")
	a, errA := strconv.Atoi(strings.TrimSpace(low))
	b, errB := strconv.Atoi(strings.TrimSpace(high))
	if !found || errA != nil || errB != nil || a > b {
		return ml2.Range{}, fmt.Errorf("%q is not first:last", text)
	}
	return ml2.Range{Min: a, Max: b}, nil
}

// quotaLimits are the limits of the configuration.
func quotaLimits(s *Server) map[string]int {
	f := s.d.File
	return map[string]int{"network": config.QuotaNetwork.Get(f), "subnet": config.QuotaSubnet.Get(f), "port": config.QuotaPort.Get(f),
		"security_group": config.QuotaSecurityGroup.Get(f), "security_group_rule": config.QuotaSecurityGroupRule.Get(f),
		"router": config.QuotaRouter.Get(f), "floatingip": config.QuotaFloatingIP.Get(f), "router_route": config.QuotaRouterRoute.Get(f),
		"rbac_policy": config.QuotaRBACPolicy.Get(f)}
}
