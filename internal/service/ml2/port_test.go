package ml2

import (
	"maps"
	"strings"
	"testing"
	"time"

	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/resource/resourcetest"
	"neutrino/internal/store"

	"github.com/google/go-cmp/cmp"
)

func fixed(kv ...string) []any {
	var out []any
	for i := 0; i+1 < len(kv); i += 2 {
		f := body{}
		if kv[i] != "" {
			f["subnet_id"] = kv[i]
		}
		if kv[i+1] != "" {
			f["ip_address"] = kv[i+1]
		}
		out = append(out, f)
	}
	return out
}

func TestPortDefaults(t *testing.T) {
	e := setUp(t)
	n := e.network()
	e.subnet(n, "10.0.0.0/24")
	p := e.port(n)
	if p.Status != "DOWN" || !p.AdminStateUp || p.VNICType != "normal" || p.VIFType != "unbound" || !p.PortSecurity ||
		!strings.HasPrefix(p.MACAddress, "fa:16:3e:") || len(p.FixedIPs) != 1 {
		t.Errorf("%+v", p)
	}
	lowest := "10.0.0.2"
	if p.FixedIPs[0].IPAddress == lowest {
		lowest = "10.0.0.3"
	}
	if p := e.port(n, "device_owner", "network:dhcp"); p.PortSecurity || p.FixedIPs[0].IPAddress != lowest {
		t.Errorf("DHCP port: port security %t, %v", p.PortSecurity, p.FixedIPs)
	}
	open := e.network("port_security_enabled", false)
	if p := e.port(open); p.PortSecurity || len(p.FixedIPs) != 0 {
		t.Errorf("port security %t, %v", p.PortSecurity, p.FixedIPs)
	}
	if p := e.port(open, "port_security_enabled", true); !p.PortSecurity {
		t.Error("the request's port security does not count")
	}
}

// Which addresses a port gets: spec, chapter 10, number 15.
func TestAddressesOfNewPorts(t *testing.T) {
	const mac = "fa:16:3e:01:02:03"
	e := setUp(t)
	n := e.network()
	v4 := e.subnet(n, "10.0.0.0/24")
	stateful := e.subnet(n, "2001:db8:1::/64", "ipv6_ra_mode", "dhcpv6-stateful", "ipv6_address_mode", "dhcpv6-stateful")
	slaac := e.subnet(n, "2001:db8:2::/64", "ipv6_ra_mode", "slaac", "ipv6_address_mode", "slaac")
	stateless := e.subnet(n, "2001:db8:3::/64", "ipv6_address_mode", "dhcpv6-stateless")
	floating := e.subnet(n, "10.1.0.0/24", "service_types", []any{"network:floatingip"})
	tests := []struct {
		name  string
		attrs []any
		want  []string // subnets, or addresses where they are certain
	}{
		{"unspecified", nil, []string{v4.ID, stateful.ID, "2001:db8:2:0:f816:3eff:fe01:203", "2001:db8:3:0:f816:3eff:fe01:203"}},
		{"router port", []any{"device_owner", "network:router_interface"}, []string{v4.ID, stateful.ID}},
		{"service type first", []any{"device_owner", "network:floatingip"},
			[]string{floating.ID, stateful.ID, "2001:db8:2:0:f816:3eff:fe01:203", "2001:db8:3:0:f816:3eff:fe01:203"}},
		{"subnet", []any{"fixed_ips", fixed(v4.ID, "")}, []string{v4.ID, "2001:db8:2:0:f816:3eff:fe01:203", "2001:db8:3:0:f816:3eff:fe01:203"}},
		{"address", []any{"fixed_ips", fixed("", "10.0.0.77"), "device_owner", "network:router_interface"}, []string{"10.0.0.77"}},
		{"two of a subnet", []any{"fixed_ips", fixed(v4.ID, "", v4.ID, ""), "device_owner", "network:router_interface"}, []string{v4.ID, v4.ID}},
		{"gateway", []any{"fixed_ips", fixed("", "10.0.0.1"), "device_owner", "network:router_interface"}, []string{"10.0.0.1"}},
		{"automatic by name", []any{"fixed_ips", fixed(slaac.ID, "2001:db8:2:0:f816:3eff:fe01:203", stateless.ID, "")},
			[]string{"2001:db8:2:0:f816:3eff:fe01:203", "2001:db8:3:0:f816:3eff:fe01:203"}},
		{"router's own in SLAAC", []any{"fixed_ips", fixed(slaac.ID, "2001:db8:2::9"), "device_owner", "network:router_interface"},
			[]string{"2001:db8:2::9"}},
		{"routers' anycast", []any{"fixed_ips", fixed("", "2001:db8:1::"), "device_owner", "network:router_interface"}, []string{"2001:db8:1::"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := e.port(n, append([]any{"mac_address", mac}, test.attrs...)...)
			left := p.FixedIPs
			for _, w := range test.want {
				at := -1
				for i, f := range left {
					if f.SubnetID == w || f.IPAddress == w {
						at = i
					}
				}
				if at < 0 {
					t.Fatalf("nothing of %s in %v", w, p.FixedIPs)
				}
				left = append(append([]model.FixedIP{}, left[:at]...), left[at+1:]...)
			}
			if len(left) > 0 {
				t.Errorf("too much: %v", left)
			}
			resourcetest.Wants(t, resourcetest.Delete(e.db, e.catalog.Ports, e.plugin.Ports(), admin, p.ID), "")
		})
	}
}

func TestCreatePortErrors(t *testing.T) {
	e := setUp(t)
	n := e.network()
	s := e.subnet(n, "10.0.0.0/24")
	slaac := e.subnet(n, "2001:db8::/64", "ipv6_ra_mode", "slaac", "ipv6_address_mode", "slaac")
	e.port(n, "mac_address", "fa:16:3e:00:00:01", "fixed_ips", fixed("", "10.0.0.9"))
	elsewhere := e.subnet(e.network(), "10.0.0.0/24")
	served := e.network()
	e.subnet(served, "10.0.0.0/24", "service_types", []any{"compute:nova"})
	empty := e.network()
	pairs := func(n int) (out []any) {
		for i := range n {
			out = append(out, body{"ip_address": "10.0.0." + num(i+1).String()})
		}
		return out
	}
	input := func(m string) string { return "400 InvalidInput: Invalid input for operation: " + m + "." }
	tests := []struct {
		name  string
		attrs []any
		want  string
	}{
		{"unknown network", []any{"network_id", id0}, "404 NetworkNotFound: Network " + id0 + " could not be found."},
		{"MAC in use", []any{"mac_address", "FA-16-3E-00-00-01"},
			"409 MacAddressInUse: Unable to complete operation for network " + n.ID + ". The mac address fa:16:3e:00:00:01 is in use."},
		{"address in use", []any{"fixed_ips", fixed("", "10.0.0.9")},
			"409 IpAddressAlreadyAllocated: IP address 10.0.0.9 already allocated in subnet " + s.ID},
		{"address outside network", []any{"fixed_ips", fixed("", "10.2.0.9")},
			"400 InvalidIpForNetwork: IP address 10.2.0.9 is not a valid IP for any of the subnets on the specified network."},
		{"address outside subnet", []any{"fixed_ips", fixed(s.ID, "10.2.0.9")},
			"400 InvalidIpForSubnet: IP address 10.2.0.9 is not a valid IP for the specified subnet."},
		{"broadcast address", []any{"fixed_ips", fixed(s.ID, "10.0.0.255")},
			"400 InvalidIpForSubnet: IP address 10.0.0.255 is not a valid IP for the specified subnet."},
		{"unknown subnet", []any{"fixed_ips", fixed(id0, "")}, "404 SubnetNotFound: Subnet " + id0 + " could not be found."},
		{"foreign subnet", []any{"fixed_ips", fixed(elsewhere.ID, "")},
			input("Failed to create port on network " + n.ID + ", because fixed_ips included invalid subnet " + elsewhere.ID)},
		{"nothing", []any{"fixed_ips", []any{body{}}}, input("IP allocation requires subnet_id or ip_address")},
		{"no subnets", []any{"network_id", empty.ID, "fixed_ips", fixed("", "10.0.0.9")}, input("IP allocation requires subnets for network")},
		{"not automatic", []any{"fixed_ips", fixed(slaac.ID, "2001:db8::9"), "mac_address", "fa:16:3e:01:02:03"},
			"400 AllocationOnAutoAddressSubnet: IPv6 address 2001:db8::9 cannot be directly assigned to a port on subnet " + slaac.ID +
				" as the subnet is configured for automatic addresses"},
		{"no service subnet", []any{"network_id", served.ID},
			"409 IpAddressGenerationFailureNoMatchingSubnet: No valid service subnet for the given device owner, network " + served.ID +
				", service type ."},
		{"pairs without port security", []any{"port_security_enabled", false, "allowed_address_pairs", pairs(1)},
			"409 AddressPairAndPortSecurityRequired: Port Security must be enabled in order to have allowed address pairs on a port."},
		{"groups without port security", []any{"port_security_enabled", false, "security_groups", []any{id0}},
			"400 PortSecurityAndIPRequiredForSecurityGroups: Port security must be enabled and port must have an IP address in order to use " +
				"security groups."},
		{"pair with a bad address", []any{"allowed_address_pairs", []any{body{"ip_address": "x"}}}, "400 HTTPBadRequest: 'x' is not a valid IP address"},
		{"pair with a bad subnet", []any{"allowed_address_pairs", []any{body{"ip_address": "1.1.1.1/33"}}}, "400 HTTPBadRequest: '1.1.1.1/33' is not a valid IP subnet"},
		{"pair with a bad MAC", []any{"allowed_address_pairs", []any{body{"ip_address": "1.1.1.1", "mac_address": "x"}}}, "400 HTTPBadRequest: 'x' is not a valid MAC address"},
		{"pair without MAC", []any{"allowed_address_pairs", []any{body{"ip_address": "1.1.1.1", "mac_address": nil}}}, "400 HTTPBadRequest: 'None' is not a valid MAC address"},
		{"pair with more", []any{"allowed_address_pairs", []any{body{"ip_address": "1.1.1.1", "foo": 1}}}, "400 HTTPBadRequest: Unrecognized attribute(s) 'foo'"},
		{"pairs", []any{"allowed_address_pairs", pairs(11)},
			"400 AllowedAddressPairExhausted: The number of allowed address pair exceeds the maximum 10."},
		{"same pair", []any{"mac_address", "fa:16:3e:00:00:07",
			"allowed_address_pairs", []any{body{"ip_address": "10.0.0.8"}, body{"ip_address": "10.0.0.8", "mac_address": "fa:16:3e:00:00:07"}}},
			"400 DuplicateAddressPairInRequest: Request contains duplicate address pair: mac_address fa:16:3e:00:00:07 ip_address 10.0.0.8."},
		{"profile", []any{"binding:profile", body{"x": strings.Repeat("x", 4096)}}, input("binding:profile value too large")},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := e.tryPort(with(body{"network_id": n.ID}, test.attrs...))
			resourcetest.Wants(t, err, test.want)
		})
	}
	if _, err := resourcetest.Create(e.db, e.catalog.Ports, e.plugin.Ports(), &identity.Caller{ProjectID: "q"}, body{"network_id": n.ID}); err == nil {
		t.Error("a port on a network that the caller does not see")
	}
}

func (e *env) setPort(p *model.Port, kv ...any) error {
	_, err := resourcetest.Update(e.db, e.catalog.Ports, e.plugin.Ports(), admin, p.ID, with(body{}, kv...))
	return err
}

func TestUpdateAddresses(t *testing.T) {
	e := setUp(t)
	n := e.network()
	s := e.subnet(n, "10.0.0.0/24")
	slaac := e.subnet(n, "2001:db8::/64", "ipv6_ra_mode", "slaac", "ipv6_address_mode", "slaac")
	p := e.port(n, "mac_address", "fa:16:3e:01:02:03", "fixed_ips", fixed("", "10.0.0.9"))
	auto := model.FixedIP{SubnetID: slaac.ID, IPAddress: "2001:db8::f816:3eff:fe01:203"}
	check := func(want ...model.FixedIP) {
		t.Helper()
		if diff := cmp.Diff(want, reread(e, e.catalog.Ports, p.ID).FixedIPs); diff != "" {
			t.Error(diff)
		}
		if rows := e.count("SELECT COUNT(*) FROM ipamallocations"); rows != len(want) {
			t.Errorf("%d addresses allocated", rows)
		}
	}
	nine, ten := model.FixedIP{SubnetID: s.ID, IPAddress: "10.0.0.9"}, model.FixedIP{SubnetID: s.ID, IPAddress: "10.0.0.10"}
	check(nine, auto)
	resourcetest.Wants(t, e.setPort(p, "fixed_ips", fixed(s.ID, "")), "") // any of the subnet: it has one
	check(nine, auto)
	resourcetest.Wants(t, e.setPort(p, "fixed_ips", fixed("", "10.0.0.10", "", "10.0.0.9")), "")
	check(ten, nine, auto)
	resourcetest.Wants(t, e.setPort(p, "fixed_ips", fixed("", "10.0.0.10")), "")
	check(ten, auto)
	resourcetest.Wants(t, e.setPort(p, "mac_address", "fa:16:3e:01:02:04"), "")
	auto.IPAddress = "2001:db8::f816:3eff:fe01:204"
	check(ten, auto)
	resourcetest.Wants(t, e.setPort(p, "fixed_ips", []any{}), "")
	check(auto)
	resourcetest.Wants(t, e.setPort(p, "fixed_ips", fixed("", "10.0.0.300"[:9])), "")
	router := e.port(n, "device_owner", "network:router_interface")
	resourcetest.Wants(t, e.setPort(router, "fixed_ips", fixed("", "10.0.0.55")), "400 BadRequest: Bad ports request: IP updates for port "+router.ID+
		" are not allowed.")
}

func TestUpdatePortErrors(t *testing.T) {
	e := setUp(t)
	n := e.network("provider:network_type", "flat", "provider:physical_network", "physnet1")
	e.subnet(n, "10.0.0.0/24")
	e.agent("h1", "Linux bridge agent", `{"interface_mappings": {"physnet1": "eth1"}}`)
	other := e.port(n, "mac_address", "fa:16:3e:00:00:01")
	p := e.port(n, "mac_address", "fa:16:3e:00:00:02", "allowed_address_pairs", []any{body{"ip_address": "10.0.0.8"}})
	resourcetest.Wants(t, e.setPort(p, "mac_address", other.MACAddress), "409 MacAddressInUse: Unable to complete operation for network "+n.ID+
		". The mac address fa:16:3e:00:00:01 is in use.")
	resourcetest.Wants(t, e.setPort(p, "port_security_enabled", false), "409 AddressPairAndPortSecurityRequired: Port Security must be enabled in order "+
		"to have allowed address pairs on a port.")
	resourcetest.Wants(t, e.setPort(p, "port_security_enabled", false, "allowed_address_pairs", []any{}), "")
	resourcetest.Wants(t, e.setPort(p, "binding:host_id", "h1"), "")
	resourcetest.Wants(t, e.setPort(p, "mac_address", "fa:16:3e:00:00:03"), "409 PortBound: Unable to complete operation on port "+p.ID+", port is "+
		"already bound, port type: bridge, old_mac fa:16:3e:00:00:02, new_mac fa:16:3e:00:00:03.")
	resourcetest.Wants(t, e.setPort(p, "binding:vnic_type", "direct"), "409 PortInUse: Unable to complete operation on port "+p.ID+" for network "+n.ID+
		". Port already has an attached device .")
	dhcp := e.port(n, "device_owner", "network:dhcp")
	resourcetest.Wants(t, e.setPort(dhcp, "mac_address", "fa:16:3e:00:00:03"), "409 UnsupportedPortDeviceOwner: Operation mac address update is not "+
		"supported for device_owner network:dhcp on port <built-in function id>.")
	e.exec("INSERT INTO routers (id, project_id, standard_attr_id, enable_snat) VALUES ('r', 'q', (SELECT MAX(standard_attr_id) FROM ports), ?)", true)
	_, err := resourcetest.Create(e.db, e.catalog.Ports, e.plugin.Ports(), member, body{"network_id": n.ID, "device_owner": "network:router_interface", "device_id": "r"})
	resourcetest.Wants(t, err, "409 DeviceIDNotOwnedByTenant: The following device_id r is not owned by your project or matches another project router.")
	e.exec("INSERT INTO securitygroups (id, project_id, name, stateful, standard_attr_id) VALUES (?, 'p', 'g', ?, (SELECT MIN(standard_attr_id) FROM ports))", id0, true)
	resourcetest.Wants(t, e.setPort(other, "security_groups", []any{id0}), "")
	resourcetest.Wants(t, e.setPort(other, "port_security_enabled", false), "409 PortSecurityPortHasSecurityGroup: Port has security group associated. "+
		"Cannot disable port security or IP address until security group is removed.")
}

func TestDHCPOptsAreMerged(t *testing.T) {
	e := setUp(t)
	p := e.port(e.network(), "extra_dhcp_opts", []any{body{"opt_name": "mtu", "opt_value": "1400"}, body{"opt_name": "x", "opt_value": nil}})
	text := func() (s string) {
		for _, o := range reread(e, e.catalog.Ports, p.ID).ExtraDHCPOpts {
			s += o.Name + "=" + *o.Value + " "
		}
		return s
	}
	for _, step := range []struct {
		opts []any
		want string
	}{
		{[]any{}, "mtu=1400 "},
		{[]any{body{"opt_name": "tftp", "opt_value": "a"}}, "mtu=1400 tftp=a "},
		{[]any{body{"opt_name": "mtu", "opt_value": "1300"}}, "mtu=1300 tftp=a "},
		{[]any{body{"opt_name": "mtu", "opt_value": nil}}, "tftp=a "},
	} {
		resourcetest.Wants(t, e.setPort(p, "extra_dhcp_opts", step.opts), "")
		if got := text(); got != step.want {
			t.Errorf("after %v: %q instead of %q", step.opts, got, step.want)
		}
	}
}

func TestBinding(t *testing.T) {
	e := setUp(t)
	flat := e.network("provider:network_type", "flat", "provider:physical_network", "physnet1")
	overlay := e.network()
	e.agent("h1", "Linux bridge agent", `{"interface_mappings": {"physnet1": "eth1"}}`)
	e.agent("h2", "Linux bridge agent", `{"tunnel_types": ["vxlan"], "bridge_mappings": {"physnet1": "br1"}}`)
	dead := e.agent("h3", "Linux bridge agent", `{"tunnel_types": ["vxlan"]}`)
	e.exec("UPDATE agents SET heartbeat_timestamp = ? WHERE id = ?", store.Time{Time: time.Now().UTC().Add(-time.Hour)}, dead)
	e.agent("h4", "DHCP agent", `{}`)
	for _, test := range []struct {
		name string
		on   *model.Network
		kv   []any
		want string
	}{
		{"flat", flat, []any{"binding:host_id", "h1"}, "bridge"},
		{"flat by bridge", flat, []any{"binding:host_id", "h2"}, "bridge"},
		{"overlay", overlay, []any{"binding:host_id", "h2"}, "bridge"},
		{"no tunnels", overlay, []any{"binding:host_id", "h1"}, "binding_failed"},
		{"dead agent", overlay, []any{"binding:host_id", "h3"}, "binding_failed"},
		{"no such agent", overlay, []any{"binding:host_id", "h4"}, "binding_failed"},
		{"other VNIC", overlay, []any{"binding:host_id", "h2", "binding:vnic_type", "direct"}, "binding_failed"},
		{"no host", overlay, nil, "unbound"},
	} {
		p := e.port(test.on, test.kv...)
		got := reread(e, e.catalog.Ports, p.ID)
		levels := e.count("SELECT COUNT(*) FROM ml2_port_binding_levels WHERE port_id = ? AND driver = 'linuxbridge'", p.ID)
		if got.VIFType != test.want || (levels == 1) != (test.want == "bridge") {
			t.Errorf("%s: %s with %d levels", test.name, got.VIFType, levels)
		}
	}
	p := e.port(overlay, "binding:host_id", "h2")
	want := model.Dict{"connectivity": "l2", "port_filter": true, "bound_drivers": map[string]any{"0": "linuxbridge"}}
	if diff := cmp.Diff(want, reread(e, e.catalog.Ports, p.ID).VIFDetails); diff != "" {
		t.Error(diff)
	}
	e.exec("UPDATE ports SET status = 'ACTIVE' WHERE id = ?", p.ID)
	for _, step := range []struct{ host, want string }{{"h1", "binding_failed DOWN 0"}, {"h2", "bridge DOWN 1"}, {"", "unbound DOWN 0"}} {
		resourcetest.Wants(t, e.setPort(p, "binding:host_id", step.host), "")
		got := reread(e, e.catalog.Ports, p.ID)
		levels := e.count("SELECT COUNT(*) FROM ml2_port_binding_levels WHERE port_id = ?", p.ID)
		if s := got.VIFType + " " + got.Status + " " + num(levels).String(); s != step.want || got.HostID != step.host {
			t.Errorf("host %q: %s on %q", step.host, s, got.HostID)
		}
	}
	resourcetest.Wants(t, e.setPort(p, "binding:host_id", "h2"), "")
	resourcetest.Wants(t, e.setPort(p, "binding:host_id", nil), "")
	if got := reread(e, e.catalog.Ports, p.ID); got.VIFType != "unbound" || got.HostID != "" {
		t.Errorf("%s on %q after null", got.VIFType, got.HostID)
	}
	// What failed is tried again with the next update.
	failed := e.port(overlay, "binding:host_id", "h1")
	e.exec("UPDATE agents SET configurations = ? WHERE host = 'h1'", `{"tunnel_types": ["vxlan"]}`)
	resourcetest.Wants(t, e.setPort(failed, "name", "again"), "")
	if got := reread(e, e.catalog.Ports, failed.ID); got.VIFType != "bridge" {
		t.Errorf("still %s", got.VIFType)
	}
}

// Upstream stores the outcome of binding in a step of its own, which counts once, and once more if it is another than before.
func TestRevisionsOfBinding(t *testing.T) {
	e := setUp(t)
	n := e.network()
	e.agent("h1", "Linux bridge agent", `{"tunnel_types": ["vxlan"]}`)
	e.agent("h2", "Linux bridge agent", `{"tunnel_types": ["vxlan"]}`)
	for _, test := range []struct {
		host    string
		changes [][]any
		want    []int64 // after creation and after each change
	}{
		{"", [][]any{{"name", "x"}, {"binding:vnic_type", "direct"}, {"binding:host_id", ""}}, []int64{1, 2, 3, 3}},
		{"h1", [][]any{{"name", "x"}, {"binding:host_id", "h2"}, {"binding:host_id", "h2"}, {"binding:host_id", ""}}, []int64{3, 4, 7, 7, 8}},
		{"none", [][]any{{"name", "x"}, {"binding:host_id", "h1"}, {"binding:host_id", "none"}}, []int64{3, 5, 8, 11}},
	} {
		p := e.port(n, "binding:host_id", test.host)
		got := []int64{reread(e, e.catalog.Ports, p.ID).Revision}
		for _, c := range test.changes {
			resourcetest.Wants(t, e.setPort(p, c...), "")
			got = append(got, reread(e, e.catalog.Ports, p.ID).Revision)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("host %q (-want +got):\n%s", test.host, diff)
		}
	}
}

// What upstream answers to an update shows less than the port then has.
func TestAnswerToPortUpdate(t *testing.T) {
	e := setUp(t)
	e.agent("h1", "Linux bridge agent", `{"tunnel_types": ["vxlan"]}`)
	old := e.port(e.network(), "binding:host_id", "h1")
	old.VIFType, old.VIFDetails, old.HostID, old.Revision = "bridge", model.Dict{"port_filter": true, "bound_drivers": 1}, "h1", 5
	for _, test := range []struct {
		name     string
		change   func(*model.Port)
		drivers  bool
		revision int64
	}{
		{"nothing to bind", func(p *model.Port) { p.Name = "x" }, false, 6},
		{"bound anew", func(p *model.Port) { p.HostID = "h2" }, true, 6},
		{"only unbound", func(p *model.Port) { p.HostID, p.VIFType = "", "unbound" }, true, 5},
		{"unbound and more", func(p *model.Port) { p.HostID, p.Name = "", "x" }, true, 6},
	} {
		now := *old
		test.change(&now)
		now.Revision = 6
		answer := now
		answer.VIFDetails = maps.Clone(now.VIFDetails)
		e.plugin.Ports().Answer(&resource.Change[model.Port]{Old: old, New: &now}, &answer)
		if got := answer.VIFDetails["bound_drivers"] != nil; got != test.drivers || answer.Revision != test.revision {
			t.Errorf("%s: drivers %t, revision %d", test.name, got, answer.Revision)
		}
	}
}

// Upstream keeps the names of the drivers apart from the details.
func TestBoundDriversOfUpstreamsBindings(t *testing.T) {
	e := setUp(t)
	n := e.network()
	e.agent("h2", "Linux bridge agent", `{"tunnel_types": ["vxlan"]}`)
	p := e.port(n, "binding:host_id", "h2")
	e.exec("UPDATE ml2_port_bindings SET vif_details = ?", `{"port_filter": true}`)
	err := e.db.Read(ctx, func(tx *store.Tx) error {
		r := e.catalog.Ports
		objs, err := r.Select(tx, &resource.Query{Set: r.All, Where: []resource.Cond{r.ByID(p.ID)}})
		if err != nil {
			return err
		}
		if err := e.plugin.Ports().Load(tx, admin, r.All, objs); err != nil {
			return err
		}
		want := model.Dict{"port_filter": true, "bound_drivers": map[string]any{"0": "linuxbridge"}}
		if diff := cmp.Diff(want, objs[0].VIFDetails); diff != "" {
			t.Error(diff)
		}
		return nil
	})
	resourcetest.Wants(t, err, "")
}

func TestProvisioning(t *testing.T) {
	e := setUp(t)
	n := e.network()
	e.subnet(n, "10.0.0.0/24", "allocation_pools", []any{body{"start": "10.0.0.100", "end": "10.0.0.200"}}) // .99 is named below
	e.agent("h1", "Linux bridge agent", `{"tunnel_types": ["vxlan"]}`)
	dhcp := e.agent("h1", "DHCP agent", `{}`)
	e.exec("INSERT INTO networkdhcpagentbindings (network_id, dhcp_agent_id, binding_index) VALUES (?, ?, 1)", n.ID, dhcp)
	complete := func(p *model.Port, entity, want string) {
		t.Helper()
		err := e.db.Write(ctx, func(tx *store.Tx) error { return e.plugin.ProvisioningComplete(tx, entity, p.ID) })
		resourcetest.Wants(t, err, "")
		if got := reread(e, e.catalog.Ports, p.ID).Status; got != want {
			t.Errorf("after %s the port is %s, not %s", entity, got, want)
		}
	}
	p := e.port(n, "device_owner", "compute:nova", "binding:host_id", "h1")
	complete(p, EntityL2, "DOWN")
	complete(p, EntityDHCP, "ACTIVE")
	p = e.port(n, "device_owner", "compute:nova", "binding:host_id", "h1")
	complete(p, EntityDHCP, "DOWN")
	resourcetest.Wants(t, e.setPort(p, "admin_state_up", false), "")
	complete(p, EntityL2, "DOWN")
	resourcetest.Wants(t, e.setPort(p, "admin_state_up", true), "")
	complete(p, EntityL2, "ACTIVE")
	resourcetest.Wants(t, e.setPort(p, "fixed_ips", fixed("", "10.0.0.99")), "")
	if e.count("SELECT COUNT(*) FROM provisioningblocks") != 1 {
		t.Error("nobody waits for the DHCP agent to learn the new address")
	}
	complete(e.port(n, "device_owner", "compute:nova"), EntityDHCP, "DOWN") // not bound
	complete(e.port(n, "binding:host_id", "h1"), EntityL2, "ACTIVE")        // nobody waits for ports without owner
	err := e.db.Write(ctx, func(tx *store.Tx) error {
		if err := e.plugin.UpdatePortStatus(tx, "BUILD", "elsewhere", p.ID); err != nil {
			return err
		}
		return e.plugin.ProvisioningComplete(tx, EntityL2, id0)
	})
	resourcetest.Wants(t, err, "")
	if got := reread(e, e.catalog.Ports, p.ID).Status; got != "ACTIVE" {
		t.Errorf("%s by an agent that does not have the port", got)
	}
	err = e.db.Write(ctx, func(tx *store.Tx) error { return e.plugin.UpdatePortStatus(tx, "BUILD", "h1", p.ID) })
	resourcetest.Wants(t, err, "")
	if got := reread(e, e.catalog.Ports, p.ID).Status; got != "BUILD" {
		t.Errorf("%s instead of BUILD", got)
	}
	complete(p, EntityDHCP, "ACTIVE") // it waited
	err = e.db.Write(ctx, func(tx *store.Tx) error { return e.plugin.UpdatePortStatus(tx, "DOWN", "h1", p.ID) })
	resourcetest.Wants(t, err, "")
	complete(p, EntityDHCP, "DOWN") // its device is gone, and the DHCP agent has started
	complete(p, EntityL2, "ACTIVE")
}

// Once DHCP is off nobody waits for its agent any more, as long as the port has no address in another subnet with DHCP.
func TestNobodyWaitsForDHCPThatIsOff(t *testing.T) {
	e := setUp(t)
	n := e.network()
	first, second := e.subnet(n, "10.0.0.0/24"), e.subnet(n, "10.0.1.0/24")
	e.agent("h1", "Linux bridge agent", `{"tunnel_types": ["vxlan"]}`)
	dhcp := e.agent("h1", "DHCP agent", `{}`)
	e.exec("INSERT INTO networkdhcpagentbindings (network_id, dhcp_agent_id, binding_index) VALUES (?, ?, 1)", n.ID, dhcp)
	port := func(fixedIPs ...any) *model.Port {
		return e.port(n, "device_owner", "compute:nova", "binding:host_id", "h1", "fixed_ips", fixedIPs)
	}
	in := func(s *model.Subnet) any { return body{"subnet_id": s.ID} }
	wired, both, gone := port(in(first)), port(in(first), in(second)), port(in(first))
	err := e.db.Write(ctx, func(tx *store.Tx) error {
		if err := e.plugin.UpdatePortStatus(tx, "BUILD", "h1", wired.ID, both.ID); err != nil {
			return err
		}
		return e.plugin.ProvisioningComplete(tx, EntityL2, wired.ID, both.ID, gone.ID)
	})
	resourcetest.Wants(t, err, "")
	off := func(s *model.Subnet, want ...string) {
		t.Helper()
		_, err := resourcetest.Update(e.db, e.catalog.Subnets, e.plugin.Subnets(), admin, s.ID, body{"enable_dhcp": false})
		resourcetest.Wants(t, err, "")
		var got []string
		for _, p := range []*model.Port{wired, both, gone} {
			got = append(got, reread(e, e.catalog.Ports, p.ID).Status)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("without DHCP in %s: %s", s.CIDR, diff)
		}
	}
	off(first, "ACTIVE", "BUILD", "DOWN")
	off(second, "ACTIVE", "ACTIVE", "DOWN")
	if n := e.count("SELECT COUNT(*) FROM provisioningblocks"); n != 0 {
		t.Errorf("%d blocks are left", n)
	}
}

func TestGuardsAreForTheAPI(t *testing.T) {
	e := setUp(t)
	p := e.port(e.network(), "device_owner", "network:router_interface")
	e.plugin.Hooks.GuardPortDelete = append(e.plugin.Hooks.GuardPortDelete, func(c *resource.Change[model.Port]) error {
		return badRequest("ports", "%s is a router's", c.Old.ID)
	})
	resourcetest.Wants(t, resourcetest.Delete(e.db, e.catalog.Ports, e.plugin.Ports(), admin, p.ID), "400 BadRequest: Bad ports request: "+p.ID+" is a router's.")
	resourcetest.Wants(t, e.db.Write(ctx, func(tx *store.Tx) error { return e.plugin.DeletePort(tx, identity.System(), p.ID) }), "")
	resourcetest.Wants(t, e.db.Write(ctx, func(tx *store.Tx) error { return e.plugin.DeletePort(tx, identity.System(), p.ID) }),
		"404 PortNotFound: Port "+p.ID+" could not be found.")
}

// TestForeignSubnet: a subnet of another project on one's own network gives no addresses to one's ports.
func TestForeignSubnet(t *testing.T) {
	e := setUp(t)
	n := e.network()
	s := e.subnet(n, "10.0.0.0/24", "project_id", "q")
	try := func(caller *identity.Caller, attrs body) (*model.Port, error) {
		attrs["network_id"] = n.ID
		return resourcetest.Create(e.db, e.catalog.Ports, e.plugin.Ports(), caller, attrs)
	}
	for caller, want := range map[*identity.Caller]int{member: 0, admin: 1} {
		if p, err := try(caller, body{}); err != nil || len(p.FixedIPs) != want {
			t.Errorf("port of %+v: %+v, %v", caller, p, err)
		}
	}
	const refused = "400 InvalidInput: Invalid input for operation: IP allocation requires subnets for network."
	_, err := try(member, body{"fixed_ips": fixed(s.ID, "")})
	resourcetest.Wants(t, err, refused)
	bare := e.port(n, "fixed_ips", []any{})
	_, err = resourcetest.Update(e.db, e.catalog.Ports, e.plugin.Ports(), member, bare.ID, body{"fixed_ips": fixed(s.ID, "")})
	resourcetest.Wants(t, err, refused)
}
