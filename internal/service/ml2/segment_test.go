package ml2

import (
	"strings"
	"testing"

	"neutrino/internal/model"
	"neutrino/internal/resource/resourcetest"
	"neutrino/internal/service/ipam"
	"neutrino/internal/store"
	"neutrino/internal/store/dbtest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestSubtractRanges(t *testing.T) {
	on := func(physnet string, low, high int) SegmentRange { return SegmentRange{physnet, Range{low, high}} }
	for name, test := range map[string]struct {
		gone SegmentRange
		want []SegmentRange
	}{
		"inside":        {on("a", 3, 5), []SegmentRange{on("a", 1, 2), on("a", 6, 9)}},
		"low end":       {on("a", 1, 5), []SegmentRange{on("a", 6, 9)}},
		"high end":      {on("a", 5, 20), []SegmentRange{on("a", 1, 4)}},
		"all":           {on("a", 1, 9), nil},
		"beside":        {on("a", 10, 20), []SegmentRange{on("a", 1, 9)}},
		"other network": {on("b", 1, 9), []SegmentRange{on("a", 1, 9)}},
	} {
		if diff := cmp.Diff(test.want, subtract([]SegmentRange{on("a", 1, 9)}, test.gone)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestOverlaysOfOtherTypes(t *testing.T) {
	cfg := testConfig()
	cfg.GREIDRanges, cfg.GeneveVNIRanges, cfg.GeneveHeaderSize = []Range{{7, 7}}, []Range{{8, 8}}, 50
	e := newEnv(t, dbtest.Open(t), cfg)
	for _, test := range []struct {
		name    string
		id, mtu int
	}{{"gre", 7, 1500 - 20 - 22}, {"geneve", 8, 1500 - 20 - 50}} {
		n := e.network("provider:network_type", test.name)
		if *n.SegmentationID != test.id || n.MTU != test.mtu {
			t.Errorf("%s: id %d, MTU %d", test.name, *n.SegmentationID, n.MTU)
		}
		_, err := e.tryNetwork(body{"provider:network_type": test.name})
		resourcetest.Wants(t, err, "503 NoNetworkAvailable: Unable to create the network. No project network is available for allocation.")
	}
}

func segmentsOf(list ...[3]any) []any {
	var out []any
	for _, s := range list {
		m := map[string]any{}
		for i, name := range []string{"provider:network_type", "provider:physical_network", "provider:segmentation_id"} {
			if s[i] != nil {
				m[name] = s[i]
			}
		}
		out = append(out, m)
	}
	return out
}

func TestNetworkOfSeveralSegments(t *testing.T) {
	e := setUp(t)
	n := e.network("segments", segmentsOf([3]any{"vlan", "physnet1", num(100)}, [3]any{"vxlan"}))
	if n.MTU != 1450 {
		t.Errorf("MTU %d", n.MTU)
	}
	read := reread(e, e.catalog.Networks, n.ID)
	err := e.db.Read(ctx, func(tx *store.Tx) error {
		return e.plugin.Networks().Load(tx, admin, e.catalog.Networks.All, []*model.Network{read})
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(n.Segments, read.Segments, cmpopts.IgnoreFields(model.Segment{}, "ID")); diff != "" || len(read.Segments) != 2 {
		t.Errorf("segments (-created +read):\n%s", diff)
	}
	twice := [3]any{"vlan", "physnet1", num(101)}
	for name, test := range map[string]struct {
		attrs body
		want  string
	}{
		"both":     {body{"provider:network_type": "vxlan", "segments": []any{}}, "400 SegmentsSetInConjunctionWithProviders: Segments and provider values cannot both be set."},
		"twice":    {body{"segments": segmentsOf(twice, twice)}, "400 SegmentsContainDuplicateEntry: Duplicate segment entry in request."},
		"no type":  {body{"segments": segmentsOf([3]any{nil, "physnet1"})}, "400 InvalidInput: Invalid input for operation: network_type required."},
		"occupied": {body{"segments": segmentsOf([3]any{"vlan", "physnet1", num(100)})}, "409 VlanIdInUse: Unable to create the network. The VLAN 100 on physical network physnet1 is in use."},
		"unknown":  {body{"segments": []any{map[string]any{"foo": num(1)}}}, "400 HTTPBadRequest: Unrecognized attribute(s) 'foo'"},
	} {
		_, err := e.tryNetwork(test.attrs)
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		resourcetest.Wants(t, err, test.want)
	}
	if err := resourcetest.Delete(e.db, e.catalog.Networks, e.plugin.Networks(), admin, n.ID); err != nil {
		t.Fatal(err)
	}
	if left := e.count("SELECT COUNT(*) FROM ml2_vlan_allocations WHERE allocated"); left != 0 {
		t.Errorf("%d VLANs are still taken", left)
	}
}

func TestStoredRanges(t *testing.T) {
	cfg := testConfig()
	cfg.StoredRanges, cfg.VNIRanges = true, []Range{{1, 4}}
	e := newEnv(t, dbtest.Open(t), cfg)
	err := e.db.Write(ctx, func(tx *store.Tx) error {
		other := "other"
		for _, r := range []model.NetworkSegmentRange{{Minimum: 1, Maximum: 2, Project: &other}, {Minimum: 10, Maximum: 10, Project: &admin.ProjectID}} {
			r.ID, r.NetworkType = other+string(rune('0'+r.Minimum)), "vxlan"
			if err := e.catalog.NetworkSegmentRanges.Insert(tx, &r); err != nil {
				return err
			}
		}
		return e.plugin.SynchroniseType(tx, "vxlan")
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []int
	for range 3 {
		got = append(got, *e.network().SegmentationID)
	}
	// Its own range first, then the shared one without what the other project has.
	if diff := cmp.Diff([]int{10, 3, 4}, got); diff != "" {
		t.Errorf("ids (-want +got):\n%s", diff)
	}
	_, err = e.tryNetwork(body{})
	resourcetest.Wants(t, err, "503 NoNetworkAvailable: Unable to create the network. No project network is available for allocation.")
	defaults := "SELECT COUNT(*) FROM network_segment_ranges WHERE " + e.db.Dialect().Quote("default")
	before := e.count(defaults)
	if named := e.count(defaults + " AND name IS NOT NULL"); named != 0 {
		t.Errorf("%d default ranges have names, which filters find", named)
	}
	cfg.VLANRanges = nil
	newEnv(t, e.db, cfg)
	if after := e.count(defaults); after != before-2 {
		t.Errorf("%d default ranges, then %d", before, after)
	}
}

// routedNetwork makes a network of two segments with a subnet on each; host h1 reaches the first.
func routedNetwork(e *env) (*model.Network, []*model.Subnet) {
	e.agent("h1", "Linux bridge agent", `{"bridge_mappings": {"physnet1": "br1"}}`)
	n := e.network("segments", segmentsOf([3]any{"vlan", "physnet1", num(100)}, [3]any{"vlan", "physnet2", num(100)}))
	var subnets []*model.Subnet
	for i, cidr := range []string{"10.1.0.0/24", "10.2.0.0/24"} {
		subnets = append(subnets, e.subnet(n, cidr, "segment_id", n.Segments[i].ID))
	}
	return n, subnets
}

func TestAddressesOnRoutedNetworks(t *testing.T) {
	e := setUp(t)
	n, subnets := routedNetwork(e)
	there := e.port(n, "binding:host_id", "h1")
	if len(there.FixedIPs) != 1 || there.FixedIPs[0].SubnetID != subnets[0].ID || there.IPAllocation != ipam.Immediate {
		t.Errorf("port on h1 has %v, %s", there.FixedIPs, there.IPAllocation)
	}
	_, err := e.tryPort(body{"network_id": n.ID, "binding:host_id": "h2"})
	resourcetest.Wants(t, err, "409 HostNotConnectedToAnySegment: Host h2 is not connected to any segments on routed provider network '"+n.ID+
		"'.  It should be connected to one.")
	_, err = e.tryPort(body{"network_id": n.ID, "fixed_ips": []any{body{"ip_address": "10.1.0.9"}, body{"ip_address": "10.2.0.9"}}})
	resourcetest.Wants(t, err, "400 FixedIpsSubnetsNotOnSameSegment: Cannot allocate addresses from different segments.")
	if none := e.port(n, "fixed_ips", []any{}); none.IPAllocation != ipam.None {
		t.Errorf("port without addresses: %s", none.IPAllocation)
	}
	later := e.port(n)
	if len(later.FixedIPs) != 0 || later.IPAllocation != ipam.Deferred {
		t.Fatalf("port without host has %v, %s", later.FixedIPs, later.IPAllocation)
	}
	if _, err := resourcetest.Update(e.db, e.catalog.Ports, e.plugin.Ports(), admin, later.ID, body{"binding:host_id": "h1"}); err != nil {
		t.Fatal(err)
	}
	if ips := reread(e, e.catalog.Ports, later.ID).FixedIPs; len(ips) != 1 || ips[0].SubnetID != subnets[0].ID {
		t.Errorf("with its host the port has %v", ips)
	}
	elsewhere := e.port(n, "fixed_ips", []any{body{"ip_address": "10.2.0.9"}})
	_, err = resourcetest.Update(e.db, e.catalog.Ports, e.plugin.Ports(), admin, elsewhere.ID, body{"binding:host_id": "h1"})
	resourcetest.Wants(t, err, "409 HostNotCompatibleWithFixedIps: Host h1 is not connected to a segment where the existing fixed_ips on port "+
		elsewhere.ID+" will function given the routed network topology.")
}

func TestSubnetsOnSegments(t *testing.T) {
	e := setUp(t)
	n, subnets := routedNetwork(e)
	if reread(e, e.catalog.Networks, n.ID).L2Adjacency {
		t.Error("a routed network counts as one layer-2 domain")
	}
	mixed := "400 SubnetsNotAllAssociatedWithSegments: All of the subnets on network '" + n.ID +
		"' must either all be associated with segments or all not associated with any segment."
	_, err := e.trySubnet(body{"network_id": n.ID, "cidr": "10.3.0.0/24", "ip_version": num(4)})
	resourcetest.Wants(t, err, mixed)
	single := e.network()
	plain := e.subnet(single, "10.4.0.0/24")
	logic := e.plugin.Subnets()
	_, err = resourcetest.Update(e.db, e.catalog.Subnets, logic, admin, plain.ID, body{"segment_id": n.Segments[0].ID})
	resourcetest.Wants(t, err, "400 NetworkIdsDontMatch: The subnet's network id, '"+single.ID+"', doesn't match the network_id of segment '"+n.Segments[0].ID+"'")
	segment := remaining(e, single.ID)[0]
	if _, err = resourcetest.Update(e.db, e.catalog.Subnets, logic, admin, plain.ID, body{"segment_id": segment}); err != nil {
		t.Fatal(err)
	}
	_, err = resourcetest.Update(e.db, e.catalog.Subnets, logic, admin, plain.ID, body{"segment_id": nil})
	resourcetest.Wants(t, err, "400 SubnetSegmentAssociationChangeNotAllowed: A subnet that is already associated with a segment cannot have its segment "+
		"association changed.")
	half := e.network("segments", segmentsOf([3]any{"vlan", "physnet1", num(101)}, [3]any{"vlan", "physnet2", num(101)}))
	routed := e.subnet(half, "10.5.0.0/24", "segment_id", half.Segments[0].ID, "service_types", []any{"network:routed"})
	on := e.subnet(half, "10.6.0.0/24")
	for _, step := range []struct {
		id, want string
		body     body
	}{
		{on.ID, "", body{"segment_id": nil}},
		{routed.ID, "", body{"service_types": []any{}}},
		{on.ID, strings.ReplaceAll(mixed, n.ID, half.ID), body{"segment_id": nil}},
		{on.ID, "", body{"name": "x"}},
	} {
		_, err = resourcetest.Update(e.db, e.catalog.Subnets, logic, admin, step.id, step.body)
		resourcetest.Wants(t, err, step.want)
	}
	text := "Segment '" + n.Segments[1].ID + "' cannot be deleted: The segment is still associated with subnet(s) " + subnets[1].ID + "."
	err = resourcetest.Delete(e.db, e.catalog.Segments, e.plugin.Segments(), admin, n.Segments[1].ID)
	resourcetest.Wants(t, err, "409 SegmentInUse: "+text+"\n"+text)
}

// remaining are the ids of a network's segments.
func remaining(e *env, network string) (ids []string) {
	err := e.db.Read(ctx, func(tx *store.Tx) (err error) {
		ids, err = store.Strings(tx.Query("SELECT id FROM networksegments WHERE network_id = ? ORDER BY segment_index", network))
		return err
	})
	if err != nil {
		e.t.Fatal(err)
	}
	return ids
}

func TestSegmentObjects(t *testing.T) {
	e := setUp(t)
	n := e.network("provider:network_type", "vlan", "provider:physical_network", "physnet1", "provider:segmentation_id", num(100))
	try := func(attrs body) (*model.NetworkSegment, error) {
		return resourcetest.Create(e.db, e.catalog.Segments, e.plugin.Segments(), admin, attrs)
	}
	s, err := try(body{"network_id": n.ID, "network_type": "vlan", "physical_network": "physnet2"})
	if err != nil || s.Index != 1 || s.SegmentationID == nil {
		t.Fatalf("segment %+v: %v", s, err)
	}
	_, err = try(body{"network_id": n.ID, "network_type": "vxlan"})
	resourcetest.Wants(t, err, "400 InvalidInput: Invalid input for operation: Requested MTU is too big, maximum is 1450.")
	_, err = try(body{"network_id": n.ID, "network_type": "vlan", "physical_network": "physnet1", "segmentation_id": num(100)})
	resourcetest.Wants(t, err, "409 VlanIdInUse: Unable to create the network. The VLAN 100 on physical network physnet1 is in use.")
	if err := resourcetest.Delete(e.db, e.catalog.Segments, e.plugin.Segments(), admin, s.ID); err != nil {
		t.Fatal(err)
	}
	if left := remaining(e, n.ID); len(left) != 1 {
		t.Errorf("%d segments left", len(left))
	}
}

func TestRoutesBetweenSubnetsOnSegments(t *testing.T) {
	e := setUp(t)
	n, subnets := routedNetwork(e)
	routes := func(s *model.Subnet) []model.Route { return reread(e, e.catalog.Subnets, s.ID).HostRoutes }
	logic := e.plugin.Subnets()
	step := func(name string, first, second []model.Route) {
		t.Helper()
		got := [][]model.Route{routes(subnets[0]), routes(subnets[1])}
		if diff := cmp.Diff([][]model.Route{first, second}, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	toSecond := model.Route{Destination: "10.2.0.0/24", Nexthop: "10.1.0.1"}
	toFirst := model.Route{Destination: "10.1.0.0/24", Nexthop: "10.2.0.1"}
	step("new", []model.Route{toSecond}, []model.Route{toFirst})
	third := e.subnet(n, "10.3.0.0/24", "segment_id", n.Segments[1].ID)
	toThird := model.Route{Destination: "10.3.0.0/24", Nexthop: "10.1.0.1"}
	step("a third one", []model.Route{toSecond, toThird}, []model.Route{toFirst})
	if err := resourcetest.Delete(e.db, e.catalog.Subnets, logic, admin, third.ID); err != nil {
		t.Fatal(err)
	}
	step("without it", []model.Route{toSecond}, []model.Route{toFirst})
	if _, err := resourcetest.Update(e.db, e.catalog.Subnets, logic, admin, subnets[1].ID, body{"gateway_ip": "10.2.0.254",
		"allocation_pools": []any{body{"start": "10.2.0.10", "end": "10.2.0.20"}}}); err != nil {
		t.Fatal(err)
	}
	step("another gateway", []model.Route{toSecond}, []model.Route{{Destination: "10.1.0.0/24", Nexthop: "10.2.0.254"}})
	wide := []any{body{"destination": "10.0.0.0/8", "nexthop": "10.1.0.9"}}
	if _, err := resourcetest.Update(e.db, e.catalog.Subnets, logic, admin, subnets[0].ID, body{"host_routes": wide}); err != nil {
		t.Fatal(err)
	}
	step("a wider route", []model.Route{{Destination: "10.0.0.0/8", Nexthop: "10.1.0.9"}}, []model.Route{{Destination: "10.1.0.0/24", Nexthop: "10.2.0.254"}})
}

// TestSegmentInUse: ports that are bound keep a segment, but not those of DHCP agents alone, which go with it.
func TestSegmentInUse(t *testing.T) {
	e := setUp(t)
	e.agent("h1", "Linux bridge agent", `{"bridge_mappings": {"physnet1": "br1"}}`)
	n := e.network("provider:network_type", "vlan", "provider:physical_network", "physnet1", "provider:segmentation_id", num(100))
	segment := remaining(e, n.ID)[0]
	dhcp := e.port(n, "binding:host_id", "h1", "device_owner", "network:dhcp")
	machine := e.port(n, "binding:host_id", "h1")
	gone := func() error {
		return resourcetest.Delete(e.db, e.catalog.Segments, e.plugin.Segments(), admin, segment)
	}
	resourcetest.Wants(t, gone(), "409 SegmentInUse: Segment '"+segment+"' cannot be deleted: The segment is still bound with 2 port(s).")
	if err := resourcetest.Delete(e.db, e.catalog.Ports, e.plugin.Ports(), admin, machine.ID); err != nil {
		t.Fatal(err)
	}
	resourcetest.Wants(t, gone(), "")
	err := e.db.Read(ctx, func(tx *store.Tx) error {
		_, err := e.plugin.GetPort(tx, dhcp.ID)
		return err
	})
	resourcetest.Wants(t, err, "404 PortNotFound: Port "+dhcp.ID+" could not be found.")
}

// TestSegmentRevisions: hosts that reach a new segment count as a change of it.
func TestSegmentRevisions(t *testing.T) {
	e := setUp(t)
	e.agent("h1", "Linux bridge agent", `{"bridge_mappings": {"physnet1": "br1"}}`)
	for _, c := range []struct {
		kind, physnet string
		revision      int64
	}{{"flat", "physnet1", 1}, {"vlan", "physnet1", 1}, {"vlan", "physnet2", 0}} {
		n := e.network("provider:network_type", c.kind, "provider:physical_network", c.physnet)
		if got := reread(e, e.catalog.Segments, remaining(e, n.ID)[0]).Revision; got != c.revision {
			t.Errorf("%s on %s: revision %d, want %d", c.kind, c.physnet, got, c.revision)
		}
	}
}

// TestAnswersOfRoutedSubnets: the answer tells of routes to other segments only if the request named the gateway.
func TestAnswersOfRoutedSubnets(t *testing.T) {
	e := setUp(t)
	n, subnets := routedNetwork(e)
	for _, c := range []struct {
		attrs body
		want  int
	}{{body{"cidr": "10.3.0.0/24"}, 0}, {body{"cidr": "10.4.0.0/24", "gateway_ip": "10.4.0.1"}, 1}} {
		c.attrs["network_id"], c.attrs["ip_version"], c.attrs["segment_id"] = n.ID, num(4), n.Segments[0].ID
		made, err := e.trySubnet(c.attrs)
		if err != nil {
			t.Fatal(err)
		}
		if len(made.HostRoutes) != c.want {
			t.Errorf("answer for %v has routes %v", c.attrs, made.HostRoutes)
		}
		if got := reread(e, e.catalog.Subnets, made.ID).HostRoutes; len(got) != 1 || got[0].Destination != subnets[1].CIDR {
			t.Errorf("subnet %v has routes %v", c.attrs, got)
		}
	}
}
