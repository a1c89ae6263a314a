package server

import (
	"net/http"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/common/extensions"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/agents"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/attributestags"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/external"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/addressscopes"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/extraroutes"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/floatingips"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/routers"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/networkipavailabilities"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/portsbinding"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/quotas"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/rbacpolicies"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/addressgroups"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/groups"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/rules"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/segments"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/subnetpools"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/subnets"
	"github.com/gophercloud/gophercloud/v2/pagination"
)

// gopher ends a test with the first error.
type gopher struct{ testing.TB }

// done checks an answer without a body.
func (g gopher) done(err error) {
	g.Helper()
	if err != nil {
		g.Fatal(err)
	}
}

func made[T any](g gopher) func(T, error) T {
	return func(v T, err error) T {
		g.Helper()
		g.done(err)
		return v
	}
}

// count reads all pages of a list.
func count[T any](g gopher, p pagination.Pager, extract func(pagination.Page) ([]T, error)) int {
	g.Helper()
	page, err := p.AllPages(g.Context())
	g.done(err)
	all, err := extract(page)
	g.done(err)
	return len(all)
}

// TestGophercloudResources works with the resources that gophercloud knows, as Terraform and Kubernetes do.
func TestGophercloudResources(t *testing.T) {
	e := start(t, "[DEFAULT]", "service_plugins = router,segments")
	defer e.end()
	e.report("DHCP agent", "host1", object{})
	g, ctx := gopher{t}, t.Context()
	c := &gophercloud.ServiceClient{ProviderClient: &gophercloud.ProviderClient{}, Endpoint: e.url[:len(e.url)-len("v2.0")], ResourceBase: e.url + "/", Type: "network"}
	yes := true

	scope := made[*addressscopes.AddressScope](g)(addressscopes.Create(ctx, c, addressscopes.CreateOpts{Name: "scope", IPVersion: 4}).Extract())
	pool := made[*subnetpools.SubnetPool](g)(subnetpools.Create(ctx, c, subnetpools.CreateOpts{Name: "pool", Prefixes: []string{"10.8.0.0/16"}, DefaultPrefixLen: 24, AddressScopeID: scope.ID}).Extract())
	_ = made[[]string](g)(subnetpools.AddPrefixes(ctx, c, pool.ID, subnetpools.PrefixesOpsOpts{Prefixes: []string{"10.10.0.0/16"}}).Extract())
	network := made[*networks.Network](g)(networks.Create(ctx, c, networks.CreateOpts{Name: "inside", AdminStateUp: &yes}).Extract())
	outside := made[*networks.Network](g)(networks.Create(ctx, c, external.CreateOptsExt{CreateOptsBuilder: networks.CreateOpts{Name: "outside"}, External: &yes}).Extract())
	subnet := made[*subnets.Subnet](g)(subnets.Create(ctx, c, subnets.CreateOpts{NetworkID: network.ID, IPVersion: 4, SubnetPoolID: pool.ID}).Extract())
	_ = made[*subnets.Subnet](g)(subnets.Create(ctx, c, subnets.CreateOpts{NetworkID: outside.ID, IPVersion: 4, CIDR: "203.0.113.0/24"}).Extract())
	group := made[*groups.SecGroup](g)(groups.Create(ctx, c, groups.CreateOpts{Name: "group"}).Extract())
	_ = made[[]rules.SecGroupRule](g)(rules.CreateBulk(ctx, c, []rules.CreateOpts{{SecGroupID: group.ID, Direction: rules.DirIngress, EtherType: rules.EtherType4, Protocol: rules.ProtocolTCP, PortRangeMin: 22, PortRangeMax: 22}}).Extract())
	addresses := made[*addressgroups.AddressGroup](g)(addressgroups.Create(ctx, c, addressgroups.CreateOpts{Name: "addresses", Addresses: []string{"192.0.2.0/24"}}).Extract())
	_ = made[*addressgroups.AddressGroup](g)(addressgroups.AddAddresses(ctx, c, addresses.ID, addressgroups.UpdateAddressesOpts{Addresses: []string{"192.0.3.0/24"}}).Extract())
	port := made[*ports.Port](g)(ports.Create(ctx, c, portsbinding.CreateOptsExt{CreateOptsBuilder: ports.CreateOpts{NetworkID: network.ID, SecurityGroups: &[]string{group.ID},
		AllowedAddressPairs: []ports.AddressPair{{IPAddress: "10.8.0.200"}}}, HostID: "host1"}).Extract())
	router := made[*routers.Router](g)(routers.Create(ctx, c, routers.CreateOpts{Name: "router", GatewayInfo: &routers.GatewayInfo{NetworkID: outside.ID}}).Extract())
	_ = made[*routers.InterfaceInfo](g)(routers.AddInterface(ctx, c, router.ID, routers.AddInterfaceOpts{SubnetID: subnet.ID}).Extract())
	route := extraroutes.Opts{Routes: &[]routers.Route{{DestinationCIDR: "10.99.0.0/16", NextHop: "10.8.0.9"}}}
	if r := made[*routers.Router](g)(extraroutes.Add(ctx, c, router.ID, route).Extract()); len(r.Routes) != 1 {
		t.Errorf("routes %v", r.Routes)
	}
	_ = made[*routers.Router](g)(extraroutes.Remove(ctx, c, router.ID, route).Extract())
	ip := made[*floatingips.FloatingIP](g)(floatingips.Create(ctx, c, floatingips.CreateOpts{FloatingNetworkID: outside.ID, PortID: port.ID}).Extract())
	if ip.FixedIP != port.FixedIPs[0].IPAddress || ip.RouterID != router.ID {
		t.Errorf("floating IP %+v", ip)
	}
	policy := made[*rbacpolicies.RBACPolicy](g)(rbacpolicies.Create(ctx, c, rbacpolicies.CreateOpts{Action: rbacpolicies.ActionAccessShared, ObjectType: "network", TargetTenant: "*", ObjectID: network.ID}).Extract())
	_ = made[[]string](g)(attributestags.ReplaceAll(ctx, c, "networks", network.ID, attributestags.ReplaceAllOpts{Tags: []string{"b", "a"}}).Extract())
	g.done(attributestags.Add(ctx, c, "networks", network.ID, "c").ExtractErr())
	if tags := made[[]string](g)(attributestags.List(ctx, c, "networks", network.ID).Extract()); len(tags) != 3 {
		t.Errorf("tags %v", tags)
	}
	limit := 7
	if q := made[*quotas.Quota](g)(quotas.Update(ctx, c, "other", quotas.UpdateOpts{Network: &limit}).Extract()); q.Network != limit {
		t.Errorf("quota %+v", q)
	}
	if q := made[*quotas.QuotaDetailSet](g)(quotas.GetDetail(ctx, c, "other").Extract()); q.Network.Limit != limit {
		t.Errorf("quota details %+v", q)
	}
	if a := made[*networkipavailabilities.NetworkIPAvailability](g)(networkipavailabilities.Get(ctx, c, network.ID).Extract()); a.TotalIPs != "253" {
		t.Errorf("availability %+v", a)
	}

	for name, n := range map[string]int{
		"networks":   count(g, networks.List(c, networks.ListOpts{Limit: 1, Tags: "a,b"}), networks.ExtractNetworks),
		"segments":   count(g, segments.List(c, segments.ListOpts{NetworkID: network.ID}), segments.ExtractSegments),
		"extensions": min(1, count(g, extensions.List(c), extensions.ExtractExtensions)),
		"agents":     count(g, agents.List(c, agents.ListOpts{Host: "host1"}), agents.ExtractAgents),
		"rules":      count(g, rules.List(c, rules.ListOpts{SecGroupID: group.ID, Direction: "ingress"}), rules.ExtractRules),
		"ports":      count(g, ports.List(c, ports.ListOpts{FixedIPs: []ports.FixedIPOpts{{SubnetID: subnet.ID, IPAddress: port.FixedIPs[0].IPAddress}}}), ports.ExtractPorts),
	} {
		if n != 1 {
			t.Errorf("%d %s", n, name)
		}
	}
	if n := count(g, networks.List(c, networks.ListOpts{Limit: 1, SortKey: "name", SortDir: "asc"}), networks.ExtractNetworks); n != 2 {
		t.Errorf("%d networks on pages of one", n)
	}

	revision := port.RevisionNumber + 100
	name := "late"
	if err := ports.Update(ctx, c, port.ID, ports.UpdateOpts{Name: &name, RevisionNumber: &revision}).Err; !gophercloud.ResponseCodeIs(err, http.StatusPreconditionFailed) {
		t.Errorf("update of another revision: %v", err)
	}
	if err := networks.Delete(ctx, c, network.ID).Err; !gophercloud.ResponseCodeIs(err, http.StatusConflict) {
		t.Errorf("delete of a network in use: %v", err)
	}
	g.done(floatingips.Delete(ctx, c, ip.ID).ExtractErr())
	_ = made[*routers.InterfaceInfo](g)(routers.RemoveInterface(ctx, c, router.ID, routers.RemoveInterfaceOpts{SubnetID: subnet.ID}).Extract())
	for _, err := range []error{
		routers.Delete(ctx, c, router.ID).ExtractErr(), rbacpolicies.Delete(ctx, c, policy.ID).ExtractErr(), ports.Delete(ctx, c, port.ID).ExtractErr(),
		networks.Delete(ctx, c, network.ID).ExtractErr(), networks.Delete(ctx, c, outside.ID).ExtractErr(), groups.Delete(ctx, c, group.ID).ExtractErr(),
		subnetpools.Delete(ctx, c, pool.ID).ExtractErr(), addressscopes.Delete(ctx, c, scope.ID).ExtractErr(), addressgroups.Delete(ctx, c, addresses.ID).ExtractErr(),
		quotas.Delete(ctx, c, "other").ExtractErr(),
	} {
		g.done(err)
	}
	if err := networks.Get(ctx, c, network.ID).Err; !gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
		t.Errorf("a network that is gone: %v", err)
	}
}
