package ml2

import (
	"context"
	"strings"
	"testing"

	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/resource/resourcetest"
	"neutrino/internal/store/dbtest"
)

func TestCreateNetworkErrors(t *testing.T) {
	e := setUp(t)
	e.network("provider:network_type", "flat", "provider:physical_network", "physnet1")
	e.network("provider:network_type", "vlan", "provider:physical_network", "physnet2", "provider:segmentation_id", num(7))
	e.network("provider:network_type", "vxlan", "provider:segmentation_id", num(20))
	first := e.network("router:external", true, "is_default", true, "provider:network_type", "vxlan", "provider:segmentation_id", num(5000))
	external := e.count("SELECT COUNT(*) FROM externalnetworks WHERE is_default")
	if external != 1 {
		t.Fatalf("%d default external networks", external)
	}
	input := func(m string) string { return "400 InvalidInput: Invalid input for operation: " + m + "." }
	tests := []struct {
		name  string
		attrs []any
		want  string
	}{
		{"no type", []any{"provider:physical_network", "x"}, input("network_type required")},
		{"unknown type", []any{"provider:network_type", "stt"}, input("network_type value 'stt' not supported")},
		{"local with id", []any{"provider:network_type", "local", "provider:segmentation_id", num(3)},
			input("segmentation_id prohibited for local provider network")},
		{"local with physnet", []any{"provider:network_type", "local", "provider:physical_network", "x"},
			input("physical_network prohibited for local provider network")},
		{"flat without physnet", []any{"provider:network_type", "flat"}, input("physical_network required for flat provider network")},
		{"flat unknown physnet", []any{"provider:network_type", "flat", "provider:physical_network", "x"},
			input("physical_network 'x' unknown for flat provider network")},
		{"flat with id", []any{"provider:network_type", "flat", "provider:physical_network", "physnet1", "provider:segmentation_id", num(3)},
			input("segmentation_id prohibited for flat provider network")},
		{"flat in use", []any{"provider:network_type", "flat", "provider:physical_network", "physnet1"},
			"409 FlatNetworkInUse: Unable to create the flat network. Physical network physnet1 is in use."},
		{"vlan unknown physnet", []any{"provider:network_type", "vlan", "provider:physical_network", "x"},
			input("physical_network 'x' unknown for VLAN provider network")},
		{"vlan id without physnet", []any{"provider:network_type", "vlan", "provider:segmentation_id", num(3)},
			input("segmentation_id requires physical_network for VLAN provider network")},
		{"vlan out of range", []any{"provider:network_type", "vlan", "provider:physical_network", "physnet1", "provider:segmentation_id", num(4095)},
			input("segmentation_id out of range (1 through 4094)")},
		{"vlan in use", []any{"provider:network_type", "vlan", "provider:physical_network", "physnet2", "provider:segmentation_id", num(7)},
			"409 VlanIdInUse: Unable to create the network. The VLAN 7 on physical network physnet2 is in use."},
		{"vxlan with physnet", []any{"provider:network_type", "vxlan", "provider:physical_network", "x"},
			input("provider:physical_network specified for vxlan network")},
		{"vxlan in use", []any{"provider:network_type", "vxlan", "provider:segmentation_id", num(20)},
			"409 TunnelIdInUse: Unable to create the network. The tunnel ID 20 is in use."},
		{"MTU too big", []any{"mtu", num(1451)}, input("Requested MTU is too big, maximum is 1450")},
		{"zone twice", []any{"availability_zone_hints", []any{"mars", "x", "mars", "mars"}},
			"400 HTTPBadRequest: Invalid input for availability_zone_hints. Reason: Duplicate items in the list: 'mars'."},
		{"second default", []any{"is_default", true}, "409 DefaultExternalNetworkExists: A default external network already exists: " + first.ID + "."},
		{"unknown zone", []any{"availability_zone_hints", []any{"mars"}}, "404 AvailabilityZoneNotFound: AvailabilityZone mars could not be found."},
		{"unknown zone, second default", []any{"availability_zone_hints", []any{"mars"}, "is_default", true}, "404 AvailabilityZoneNotFound: AvailabilityZone mars could not be found."},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := e.tryNetwork(with(body{}, test.attrs...))
			resourcetest.Wants(t, err, test.want)
		})
	}
	_, err := e.tryNetwork(body{"router:external": true, "is_default": true})
	if err == nil || !strings.HasPrefix(resourcetest.Describe(err), "409 DefaultExternalNetworkExists:") {
		t.Errorf("second default external network: %v", err)
	}
}

func TestSegmentsAreExhaustedAndReturn(t *testing.T) {
	cfg := testConfig()
	cfg.VNIRanges = []Range{{1, 3}}
	e := newEnv(t, dbtest.Open(t), cfg)
	seen := map[int]bool{}
	var last *model.Network
	for range 3 {
		last = e.network()
		seen[*last.SegmentationID] = true
	}
	if len(seen) != 3 || last.MTU != 1450 {
		t.Errorf("VNIs %v, MTU %d", seen, last.MTU)
	}
	_, err := e.tryNetwork(body{})
	resourcetest.Wants(t, err, "503 NoNetworkAvailable: Unable to create the network. No project network is available for allocation.")
	resourcetest.Wants(t, resourcetest.Delete(e.db, e.catalog.Networks, e.plugin.Networks(), admin, last.ID), "")
	if again := e.network(); *again.SegmentationID != *last.SegmentationID {
		t.Errorf("VNI %d instead of the released %d", *again.SegmentationID, *last.SegmentationID)
	}
}

func TestUpdateNetwork(t *testing.T) {
	e := setUp(t)
	set := func(n *model.Network, kv ...any) error {
		_, err := resourcetest.Update(e.db, e.catalog.Networks, e.plugin.Networks(), admin, n.ID, with(body{}, kv...))
		return err
	}
	n := e.network("name", "blue")
	resourcetest.Wants(t, set(n, "shared", true, "mtu", num(1300), "router:external", true), "")
	got := reread(e, e.catalog.Networks, n.ID)
	if !got.Shared || !got.External || got.MTU != 1300 || got.Revision != 2 {
		t.Errorf("shared %t, external %t, MTU %d, revision %d", got.Shared, got.External, got.MTU, got.Revision)
	}
	resourcetest.Wants(t, set(n, "mtu", num(0)), "")
	resourcetest.Wants(t, set(n, "mtu", num(1450)), "")
	resourcetest.Wants(t, set(n, "mtu", num(0)), "")
	if got := reread(e, e.catalog.Networks, n.ID); got.MTU != 1450 || got.Revision != 4 {
		t.Errorf("MTU %d instead of the largest possible, revision %d instead of 4: 0 is a change, the MTU that was is none", got.MTU, got.Revision)
	}
	e.subnet(n, "2001:db8::/64")
	resourcetest.Wants(t, set(n, "mtu", num(1279)), "409 NetworkMTUSubnetConflict: MTU of "+n.ID+" is not valid, subnet requires a minimum of 1280")
	resourcetest.Wants(t, set(n, "mtu", num(499)), "409 NetworkMTUSubnetConflict: MTU of "+n.ID+" is not valid, subnet requires a minimum of 500")
	foreign := e.port(n, "project_id", "other")
	resourcetest.Wants(t, set(n, "shared", false), "409 InvalidSharedSetting: Unable to reconfigure sharing settings for network blue. "+
		"Multiple projects are using it.")
	resourcetest.Wants(t, resourcetest.Delete(e.db, e.catalog.Ports, e.plugin.Ports(), admin, foreign.ID), "")
	e.port(n, "device_owner", "network:router_gateway")
	resourcetest.Wants(t, set(n, "router:external", false), "409 ExternalNetworkInUse: External network "+n.ID+" cannot be updated to be made "+
		"non-external, since it has existing gateway ports.")
	resourcetest.Wants(t, set(n, "shared", false), "")
	if left := e.count("SELECT COUNT(*) FROM networkrbacs"); left != 1 {
		t.Errorf("%d RBAC entries", left)
	}
	resourcetest.Wants(t, set(n, "provider:network_type", "vlan"), "400 InvalidInput: Invalid input for operation: Plugin does not support updating "+
		"the following provider network attributes: provider:network_type, provider:physical_network.")
	resourcetest.Wants(t, set(n, "provider:segmentation_id", num(3)), "400 InvalidInput: Invalid input for operation: Only VLAN type networks can be updated..")
}

func TestMoveToOtherVLAN(t *testing.T) {
	e := setUp(t)
	n := e.network("provider:network_type", "vlan", "provider:physical_network", "physnet1", "provider:segmentation_id", num(100))
	_, err := resourcetest.Update(e.db, e.catalog.Networks, e.plugin.Networks(), admin, n.ID, body{"provider:segmentation_id": num(102)})
	resourcetest.Wants(t, err, "")
	if got := reread(e, e.catalog.Networks, n.ID); *got.SegmentationID != 102 {
		t.Errorf("VLAN %d", *got.SegmentationID)
	}
	if e.count("SELECT COUNT(*) FROM ml2_vlan_allocations WHERE allocated AND vlan_id = 102") != 1 ||
		e.count("SELECT COUNT(*) FROM ml2_vlan_allocations WHERE allocated") != 1 {
		t.Error("the old VLAN was not released, or the new one not taken")
	}
	e.agent("h1", "Linux bridge agent", `{"interface_mappings": {"physnet1": "eth1"}}`)
	e.port(n, "binding:host_id", "h1")
	_, err = resourcetest.Update(e.db, e.catalog.Networks, e.plugin.Networks(), admin, n.ID, body{"provider:segmentation_id": num(101)})
	resourcetest.Wants(t, err, "400 InvalidInput: Invalid input for operation: Provider network attribute provider:segmentation_id cannot be updated if "+
		"any port in the network has not the following binding:vif_type: unbound, binding_failed.")
}

// The ranges of the configuration may change; two servers may start at the same time.
func TestStartSynchronises(t *testing.T) {
	url := dbtest.SharedURL(t)
	db := dbtest.OpenURL(t, url)
	cfg := testConfig()
	cfg.VNIRanges = []Range{{1, 100_000}}
	e := newEnv(t, db, cfg)
	newEnv(t, dbtest.OpenURL(t, url), cfg)
	if n := e.count("SELECT COUNT(*) FROM ml2_vxlan_allocations"); n != 100_000 {
		t.Fatalf("%d VNIs", n)
	}
	e.exec("UPDATE ml2_vxlan_allocations SET allocated = ? WHERE vxlan_vni = ?", true, 77_000)
	cfg.VNIRanges = []Range{{50, 60}, {55, 70}, {200_000, 200_000}}
	cfg.VLANRanges = []SegmentRange{{"physnet1", Range{101, 103}}}
	e = newEnv(t, dbtest.OpenURL(t, url), cfg)
	if n := e.count("SELECT COUNT(*) FROM ml2_vxlan_allocations"); n != 21+1+1 {
		t.Errorf("%d VNIs after the ranges changed", n)
	}
	if n := e.count("SELECT SUM(vlan_id) FROM ml2_vlan_allocations"); n != 101+102+103 {
		t.Errorf("VLANs add up to %d", n)
	}
}

func TestConfigurationIsChecked(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"tenant type": func(c *Config) { c.TenantNetworkTypes = []string{"stt"} },
		"type driver": func(c *Config) { c.TypeDrivers = []string{"vxlan", "avian"} },
		"mechanism":   func(c *Config) { c.MechanismDrivers = []string{"pigeon"} },
		"base MAC":    func(c *Config) { c.BaseMAC = "fa:16" },
		"VNI range":   func(c *Config) { c.VNIRanges = []Range{{0, 3}} },
		"VLAN range":  func(c *Config) { c.VLANRanges = []SegmentRange{{"x", Range{1, 5000}}} },
	} {
		cfg := testConfig()
		change(&cfg)
		db := dbtest.Open(t)
		if err := New(cfg, db, model.NewCatalog(func(string) bool { return true }), nil).Start(ctx); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestHooks(t *testing.T) {
	e := setUp(t)
	var log []string
	note := func(s string) { log = append(log, s) }
	e.plugin.Hooks.AfterPort = append(e.plugin.Hooks.AfterPort, func(_ context.Context, old, now *model.Port) {
		note("port " + map[bool]string{true: "new", false: "old"}[old == nil] + map[bool]string{true: " gone", false: ""}[now == nil])
	})
	e.plugin.Hooks.AfterSubnet = append(e.plugin.Hooks.AfterSubnet, func(_ context.Context, old, now *model.Subnet) {
		note(map[bool]string{true: "subnet gone", false: "subnet"}[now == nil])
	})
	e.plugin.Hooks.AfterNetwork = append(e.plugin.Hooks.AfterNetwork, func(_ context.Context, old, now *model.Network) {
		note(map[bool]string{true: "network gone", false: "network"}[now == nil])
	})
	e.plugin.Hooks.BeforePort = append(e.plugin.Hooks.BeforePort, func(c *resource.Change[model.Port]) error {
		if c.New != nil {
			c.New.Name = "hooked"
		}
		return nil
	})
	n := e.network()
	e.subnet(n, "10.0.0.0/24")
	if p := e.port(n, "device_owner", "network:dhcp"); reread(e, e.catalog.Ports, p.ID).Name != "hooked" {
		t.Error("the hook's change was not stored")
	}
	resourcetest.Wants(t, resourcetest.Delete(e.db, e.catalog.Networks, e.plugin.Networks(), admin, n.ID), "")
	want := []string{"network", "subnet", "port new", "port old gone", "subnet gone", "network gone"}
	if len(log) != len(want) {
		t.Fatalf("got %q, want %q", log, want)
	}
	for i := range want {
		if log[i] != want[i] {
			t.Fatalf("got %q, want %q", log, want)
		}
	}
}

// TestNetworkDeletedWhilePortsAreReleased: an agent may delete its port between the moments when the deletion of the
// network reads it and deletes it.
func TestNetworkDeletedWhilePortsAreReleased(t *testing.T) {
	e := setUp(t)
	n := e.network()
	e.subnet(n, "10.0.0.0/24")
	e.port(n, "device_owner", "network:dhcp")
	tries := 0
	e.plugin.Hooks.BeforePort = append(e.plugin.Hooks.BeforePort, func(c *resource.Change[model.Port]) error {
		if tries++; tries > 1 {
			return nil
		}
		_, err := c.Tx.Exec("DELETE FROM ports WHERE id = ?", c.Old.ID) // in place of the agent, which has a transaction of its own
		return err
	})
	resourcetest.Wants(t, resourcetest.Delete(e.db, e.catalog.Networks, e.plugin.Networks(), admin, n.ID), "")
	if tries != 2 {
		t.Errorf("%d tries", tries)
	}
}
