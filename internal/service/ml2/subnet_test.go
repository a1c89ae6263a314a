package ml2

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"neutrino/internal/model"
	"neutrino/internal/resource/resourcetest"

	"github.com/google/go-cmp/cmp"
)

func TestSubnetDefaults(t *testing.T) {
	tests := []struct {
		cidr  string
		attrs []any
		want  string // gateway and pools
	}{
		{"10.0.0.0/24", nil, "10.0.0.1 10.0.0.2-10.0.0.254"},
		{"10.0.0.77/24", nil, "10.0.0.1 10.0.0.2-10.0.0.254"},
		{"10.0.0.0/255.255.255.0", nil, "10.0.0.1 10.0.0.2-10.0.0.254"},
		{"10.0.0.0/0.0.0.255", nil, "10.0.0.1 10.0.0.2-10.0.0.254"},
		{"10.0.0.9", []any{"enable_dhcp", false}, "10.0.0.10 10.0.0.9-10.0.0.9"},
		{"10.0.0.0/24", []any{"gateway_ip", "10.0.0.100"}, "10.0.0.100 10.0.0.1-10.0.0.99 10.0.0.101-10.0.0.254"},
		{"10.0.0.0/24", []any{"gateway_ip", "10.0.0.254"}, "10.0.0.254 10.0.0.1-10.0.0.253"},
		{"10.0.0.0/24", []any{"gateway_ip", nil}, "- 10.0.0.1-10.0.0.254"},
		{"10.0.0.0/24", []any{"gateway_ip", "192.0.2.1"}, "192.0.2.1 10.0.0.1-10.0.0.254"},
		{"10.0.0.0/24", []any{"allocation_pools", []any{body{"start": "10.0.0.10", "end": "10.0.0.12"}}}, "10.0.0.1 10.0.0.10-10.0.0.12"},
		{"10.0.0.0/30", nil, "10.0.0.1 10.0.0.2-10.0.0.2"},
		{"2001:db8::5/128", []any{"enable_dhcp", false}, "2001:db8::5 2001:db8::5-2001:db8::5"},
		{"10.0.0.9/32", []any{"enable_dhcp", false, "gateway_ip", nil}, "- 10.0.0.9-10.0.0.9"},
		{"2001:db8::/64", nil, "2001:db8:: 2001:db8::1-2001:db8::ffff:ffff:ffff:ffff"},
		{"2001:db8::/64", []any{"gateway_ip", "2001:db8::1"}, "2001:db8::1 2001:db8::2-2001:db8::ffff:ffff:ffff:ffff"},
		{"2001:db8::/64", []any{"gateway_ip", "fe80::1"}, "fe80::1 2001:db8::1-2001:db8::ffff:ffff:ffff:ffff"},
	}
	e := setUp(t)
	for i, test := range tests {
		s := e.subnet(e.network("provider:network_type", "vxlan", "provider:segmentation_id", num(1000+i)), test.cidr, test.attrs...)
		got := "-"
		if s.GatewayIP != nil {
			got = *s.GatewayIP
		}
		for _, p := range s.AllocationPools {
			got += " " + p.Start + "-" + p.End
		}
		if got != test.want {
			t.Errorf("%s %v: got %q, want %q", test.cidr, test.attrs, got, test.want)
		}
	}
}

func TestCreateSubnetErrors(t *testing.T) {
	e := setUp(t)
	n := e.network()
	e.subnet(n, "10.9.0.0/24")
	small := e.network("mtu", num(1000))
	input := func(m string) string { return "400 InvalidInput: Invalid input for operation: " + m + "." }
	pool := func(start, end string) any { return body{"start": start, "end": end} }
	many := func(format string, n int, wrap func(string) any) []any {
		var out []any
		for i := range n {
			out = append(out, wrap(fmt.Sprintf(format, i+1)))
		}
		return out
	}
	plain := func(s string) any { return s }
	route := func(s string) any { return body{"destination": s, "nexthop": "10.0.0.3"} }
	tests := []struct {
		name  string
		attrs []any
		want  string
	}{
		{"no prefix", []any{"cidr", absent}, "400 BadRequest: Bad subnets request: a subnetpool must be specified in the absence of a cidr."},
		{"cidr and prefixlen", []any{"prefixlen", num(24)}, "400 BadRequest: Bad subnets request: cidr and prefixlen must not be supplied together."},
		{"unknown pool", []any{"cidr", absent, "subnetpool_id", id0}, "404 SubnetPoolNotFound: Subnet pool " + id0 + " could not be found."},
		{"unknown network", []any{"network_id", id0}, "404 NetworkNotFound: Network " + id0 + " could not be found."},
		{"family of cidr", []any{"ip_version", num(6)}, input("cidr '10.0.0.0/24' does not match the ip_version '6'")},
		{"family of gateway", []any{"gateway_ip", "2001:db8::1"}, input("gateway_ip '2001:db8::1' does not match the ip_version '4'")},
		{"family of nameserver", []any{"dns_nameservers", []any{"2001:db8::1"}},
			input("dns_nameserver '2001:db8::1' does not match the ip_version '4'")},
		{"family of route", []any{"host_routes", []any{body{"destination": "2001:db8::/64", "nexthop": "10.0.0.3"}}},
			input("destination '2001:db8::/64' does not match the ip_version '4'")},
		{"no length", []any{"host_routes", []any{body{"destination": "10.1.0.0", "nexthop": "10.0.0.3"}}},
			"400 HTTPBadRequest: Invalid input for host_routes. Reason: '10.1.0.0' is not a valid CIDR."},
		{"host bits under a mask", []any{"host_routes", []any{body{"destination": "10.1.0.5/255.255.255.0", "nexthop": "10.0.0.3"}}},
			"400 HTTPBadRequest: Invalid input for host_routes. Reason: '10.1.0.5/255.255.255.0' is not a valid CIDR."},
		{"space before the length", []any{"host_routes", []any{body{"destination": "10.1.0.0/ 24", "nexthop": "10.0.0.3"}}},
			"400 HTTPBadRequest: Invalid input for host_routes. Reason: '10.1.0.0/ 24' is not a valid CIDR."},
		{"nameserver twice", []any{"dns_nameservers", []any{"9.9.9.9", "2001:DB8::1", "2001:DB8::1"}},
			"400 HTTPBadRequest: Invalid input for dns_nameservers. Reason: Duplicate nameserver '2001:DB8::1'."},
		{"family of next hop", []any{"host_routes", []any{body{"destination": "10.1.0.0/24", "nexthop": "2001:db8::1"}}},
			input("nexthop '2001:db8::1' does not match the ip_version '4'")},
		{"overlap", []any{"cidr", "10.9.0.128/25"},
			input("Requested subnet with cidr: 10.9.0.128/25 for network: " + n.ID + " overlaps with another subnet")},
		{"length 0", []any{"cidr", "0.0.0.0/0", "enable_dhcp", false, "gateway_ip", nil}, input("0 is not allowed as CIDR prefix length")},
		{"first address 0", []any{"cidr", "0.0.0.0/8"}, input("First IP '0.0.0.0' of network is not supported if enable_dhcp is True.")},
		{"gateway in /31", []any{"cidr", "10.0.0.0/31", "enable_dhcp", false}, "409 IpamValueInvalid: Gateway IP 10.0.0.1 cannot be the network or broadcast IP address 10.0.0.0/31"},
		{"DHCP in /31", []any{"cidr", "10.0.0.0/31"}, input("Subnet has a prefix length that is incompatible with DHCP service enabled")},
		{"multicast", []any{"cidr", "224.0.0.0/24"}, input("Multicast IP subnet is not supported if enable_dhcp is True")},
		{"loopback", []any{"cidr", "127.0.0.0/24"}, input("Loopback IP subnet is not supported if enable_dhcp is True")},
		{"gateway is network", []any{"gateway_ip", "10.0.0.0"}, input("Gateway is not valid on subnet")},
		{"gateway is broadcast", []any{"gateway_ip", "10.0.0.255"}, input("Gateway is not valid on subnet")},
		{"gateway in pool", []any{"gateway_ip", "10.0.0.9", "allocation_pools", []any{pool("10.0.0.5", "10.0.0.20")}},
			"409 GatewayConflictWithAllocationPools: Gateway ip 10.0.0.9 conflicts with allocation pool 10.0.0.5-10.0.0.20."},
		{"pool outside", []any{"allocation_pools", []any{pool("10.0.0.5", "10.0.1.20")}},
			"400 OutOfBoundsAllocationPool: The allocation pool 10.0.0.5-10.0.1.20 spans beyond the subnet cidr 10.0.0.0/24."},
		{"pool backwards", []any{"allocation_pools", []any{pool("10.0.0.9", "10.0.0.5")}},
			"400 InvalidAllocationPool: The allocation pool {'start': '10.0.0.9', 'end': '10.0.0.5'} is not valid."},
		{"pool of other family", []any{"allocation_pools", []any{pool("2001:db8::1", "2001:db8::5")}},
			"400 InvalidAllocationPool: The allocation pool 2001:db8::1-2001:db8::5 is not valid."},
		{"pools overlap", []any{"allocation_pools", []any{pool("10.0.0.5", "10.0.0.9"), pool("10.0.0.9", "10.0.0.11")}},
			"409 OverlappingAllocationPools: Found overlapping allocation pools: 10.0.0.5-10.0.0.9 10.0.0.9-10.0.0.11 for subnet 10.0.0.0/24."},
		{"nameservers", []any{"dns_nameservers", many("10.0.0.%d", 6, plain)},
			"400 DNSNameServersExhausted: Unable to complete operation for new subnet. The number of DNS nameservers exceeds the limit 5."},
		{"routes", []any{"host_routes", many("10.1.%d.0/24", 21, route)},
			"400 HostRoutesExhausted: Unable to complete operation for new subnet. The number of host routes exceeds the limit 20."},
		{"RA mode in IPv4", []any{"ipv6_ra_mode", "slaac"}, input("ipv6_ra_mode is not valid when ip_version is 4")},
		{"address mode in IPv4", []any{"ipv6_address_mode", "slaac"}, input("ipv6_address_mode is not valid when ip_version is 4")},
		{"modes without DHCP", []any{"ip_version", num(6), "cidr", "2001:db8::/64", "enable_dhcp", false, "ipv6_ra_mode", "slaac"},
			input("ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to False")},
		{"modes differ", []any{"ip_version", num(6), "cidr", "2001:db8::/64", "ipv6_ra_mode", "slaac", "ipv6_address_mode", "dhcpv6-stateful"},
			input("ipv6_ra_mode set to 'slaac' with ipv6_address_mode set to 'dhcpv6-stateful' is not valid. If both attributes are set, " +
				"they must be the same value")},
		{"SLAAC in /96", []any{"ip_version", num(6), "cidr", "2001:db8::/96", "ipv6_address_mode", "slaac"},
			input("Invalid CIDR 2001:db8::/96 for IPv6 address mode. OpenStack uses the EUI-64 address format, which requires the prefix to be /64")},
		{"::", []any{"ip_version", num(6), "cidr", "::/64"}, input("IPv6 subnet '::' is not supported")},
		{"MTU", []any{"network_id", small.ID, "ip_version", num(6), "cidr", "2001:db8::/64"},
			"409 NetworkMTUSubnetConflict: MTU of " + small.ID + " is not valid, subnet requires a minimum of 1280"},
		{"service type", []any{"service_types", []any{"sauce"}},
			"400 InvalidSubnetServiceType: Subnet service type sauce does not correspond to a valid device owner."},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			attrs := with(body{"network_id": n.ID, "cidr": "10.0.0.0/24", "ip_version": num(4)}, test.attrs...)
			for k, v := range attrs {
				if v == absent {
					delete(attrs, k)
				}
			}
			_, err := e.trySubnet(attrs)
			resourcetest.Wants(t, err, test.want)
		})
	}
	if left := e.count("SELECT COUNT(*) FROM subnets"); left != 1 {
		t.Errorf("%d subnets", left)
	}
}

// absent removes an attribute from the body; id0 is nobody's id.
const (
	absent = "\x00absent"
	id0    = "00000000-0000-4000-8000-000000000000"
)

func TestUpdateSubnet(t *testing.T) {
	e := setUp(t)
	n := e.network()
	s := e.subnet(n, "10.0.0.0/24")
	set := func(kv ...any) error {
		_, err := resourcetest.Update(e.db, e.catalog.Subnets, e.plugin.Subnets(), admin, s.ID, with(body{}, kv...))
		return err
	}
	before := reread(e, e.catalog.Networks, n.ID).Revision
	resourcetest.Wants(t, set("dns_nameservers", []any{"9.9.9.9", "1.1.1.1"}, "host_routes", []any{body{"destination": "10.1.0.0/24", "nexthop": "10.0.0.3"}},
		"allocation_pools", []any{body{"start": "10.0.0.10", "end": "10.0.0.11"}}, "enable_dhcp", false, "name", "s"), "")
	got := reread(e, e.catalog.Subnets, s.ID)
	if diff := cmp.Diff([]string{"9.9.9.9", "1.1.1.1"}, got.DNSNameservers); diff != "" || got.EnableDHCP || len(got.HostRoutes) != 1 {
		t.Errorf("DHCP %t, routes %v, nameservers %s", got.EnableDHCP, got.HostRoutes, diff)
	}
	if after := reread(e, e.catalog.Networks, n.ID).Revision; after != before+1 {
		t.Errorf("the network's revision went from %d to %d", before, after)
	}
	for range 2 {
		if ip := e.port(n).FixedIPs[0].IPAddress; !strings.HasPrefix(ip, "10.0.0.1") {
			t.Errorf("%s is not in the new pool", ip)
		}
	}
	_, err := e.tryPort(body{"network_id": n.ID})
	resourcetest.Wants(t, err, "409 IpAddressGenerationFailure: No more IP addresses available on network "+n.ID+".")
	resourcetest.Wants(t, set("gateway_ip", "10.0.0.10"), "409 GatewayConflictWithAllocationPools: Gateway ip 10.0.0.10 conflicts with allocation pool "+
		"10.0.0.10-10.0.0.11.")
	e.exec("INSERT INTO routers (id, standard_attr_id, enable_snat) VALUES ('r', (SELECT MAX(standard_attr_id) FROM ports), ?)", true)
	p := e.port(n, "device_owner", "network:router_interface", "fixed_ips", []any{body{"ip_address": "10.0.0.1"}})
	e.exec("INSERT INTO routerports (router_id, port_id, port_type) VALUES ('r', ?, 'network:router_interface')", p.ID)
	resourcetest.Wants(t, set("gateway_ip", nil), "409 GatewayIpInUse: Current gateway ip 10.0.0.1 already in use by port "+p.ID+". Unable to update.")
	resourcetest.Wants(t, set("gateway_ip", "10.0.0.1"), "")
	v6 := e.subnet(n, "2001:db8::/64", "ipv6_ra_mode", "slaac", "ipv6_address_mode", "slaac")
	_, err = resourcetest.Update(e.db, e.catalog.Subnets, e.plugin.Subnets(), admin, v6.ID, body{"enable_dhcp": false})
	resourcetest.Wants(t, err, "400 InvalidInput: Invalid input for operation: Cannot disable enable_dhcp with ipv6 attributes set.")
}

func TestDeleteSubnet(t *testing.T) {
	e := setUp(t)
	n := e.network()
	s := e.subnet(n, "10.0.0.0/24")
	dhcp := e.port(n, "device_owner", "network:dhcp")
	user := e.port(n)
	err := resourcetest.Delete(e.db, e.catalog.Subnets, e.plugin.Subnets(), admin, s.ID)
	resourcetest.Wants(t, err, "409 SubnetInUse: Unable to complete operation on subnet "+s.ID+": One or more ports have an IP allocation from this subnet.")
	resourcetest.Wants(t, resourcetest.Delete(e.db, e.catalog.Ports, e.plugin.Ports(), admin, user.ID), "")
	resourcetest.Wants(t, resourcetest.Delete(e.db, e.catalog.Subnets, e.plugin.Subnets(), admin, s.ID), "")
	if p := reread(e, e.catalog.Ports, dhcp.ID); len(p.FixedIPs) != 0 || p.Revision != 2 {
		t.Errorf("DHCP port has %v, revision %d", p.FixedIPs, p.Revision)
	}
	if left := e.count("SELECT COUNT(*) FROM ipamallocations"); left != 0 {
		t.Errorf("%d addresses still allocated", left)
	}
}

func TestSLAACSubnetOnUsedNetwork(t *testing.T) {
	e := setUp(t)
	n := e.network()
	e.subnet(n, "10.0.0.0/24")
	p := e.port(n, "mac_address", "fa:16:3e:01:02:03")
	router := e.port(n, "device_owner", "network:router_interface")
	s := e.subnet(n, "2001:db8::/64", "ipv6_ra_mode", "slaac", "ipv6_address_mode", "slaac")
	want := []model.FixedIP{p.FixedIPs[0], {SubnetID: s.ID, IPAddress: "2001:db8::f816:3eff:fe01:203"}}
	got := reread(e, e.catalog.Ports, p.ID)
	if diff := cmp.Diff(want, got.FixedIPs); diff != "" || got.Revision != 2 {
		t.Errorf("revision %d, addresses %s", got.Revision, diff)
	}
	if got := reread(e, e.catalog.Ports, router.ID); len(got.FixedIPs) != 1 {
		t.Errorf("router port has %v", got.FixedIPs)
	}
	resourcetest.Wants(t, resourcetest.Delete(e.db, e.catalog.Subnets, e.plugin.Subnets(), admin, s.ID), "")
	if got := reread(e, e.catalog.Ports, p.ID); len(got.FixedIPs) != 1 {
		t.Errorf("port has %v after the subnet is gone", got.FixedIPs)
	}
}

// The revision of a subnet counts what upstream's does: its own row and its service types, not its lists.
func TestSubnetRevision(t *testing.T) {
	e := setUp(t)
	n := e.network()
	s := e.subnet(n, "10.0.0.0/24", "dns_nameservers", []any{"192.0.2.1"})
	typed := e.subnet(n, "10.0.1.0/24", "service_types", []any{"compute:a"})
	if s.Revision != 0 || typed.Revision != 1 {
		t.Errorf("new subnets: revisions %d and %d, want 0 and 1", s.Revision, typed.Revision)
	}
	for _, x := range []struct {
		attrs body
		want  int64
	}{
		{body{"dns_nameservers": []any{"192.0.2.2"}}, 1},
		{body{"host_routes": []any{body{"destination": "10.9.0.0/16", "nexthop": "10.0.1.9"}}}, 1},
		{body{"service_types": []any{"compute:a"}}, 2},
		{body{"name": "x"}, 3},
		{body{"name": "x"}, 3},
		{body{"description": "x"}, 4},
		{body{"service_types": []any{"compute:a"}, "description": "y"}, 6},
	} {
		network := reread(e, e.catalog.Networks, n.ID).Revision
		if _, err := resourcetest.Update(e.db, e.catalog.Subnets, e.plugin.Subnets(), admin, typed.ID, x.attrs); err != nil {
			t.Fatal(err)
		}
		if got := e.count("SELECT a.revision_number FROM standardattributes a JOIN subnets s ON s.standard_attr_id = a.id WHERE s.id = ?", typed.ID); int64(got) != x.want {
			t.Errorf("%v: revision %d, want %d", x.attrs, got, x.want)
		}
		if _, described := x.attrs["description"]; described && len(x.attrs) == 1 && reread(e, e.catalog.Networks, n.ID).Revision != network {
			t.Error("a subnet's description counts as a change of its network")
		}
	}
}

// TestSpelling: name servers and destinations of routes stay as they are spelled; agents get destinations in their usual form.
func TestSpelling(t *testing.T) {
	e := setUp(t)
	six := e.subnet(e.network(), "2001:db8::/64", "dns_nameservers", []any{"2001:DB8::53", "2001:db8:0::53"},
		"host_routes", []any{body{"destination": "2001:DB8:1:0::/64", "nexthop": "2001:DB8::9"}})
	four := e.subnet(e.network(), "10.0.0.0/24", "host_routes", []any{body{"destination": "10.8.0.0/255.255.0.0", "nexthop": "10.0.0.9"},
		body{"destination": "10.9.0.0/024", "nexthop": "10.0.0.9"}, body{"destination": "10.7.0.0/0.0.255.255", "nexthop": "10.0.0.9"}})
	six, four = reread(e, e.catalog.Subnets, six.ID), reread(e, e.catalog.Subnets, four.ID)
	if diff := cmp.Diff([]string{"2001:DB8::53", "2001:db8:0::53"}, six.DNSNameservers); diff != "" {
		t.Errorf("name servers (-want +got):\n%s", diff)
	}
	spelled := map[string]string{"2001:DB8:1:0::/64": "2001:db8:1::/64", "10.8.0.0/255.255.0.0": "10.8.0.0/16", "10.9.0.0/024": "10.9.0.0/24", "10.7.0.0/0.0.255.255": "10.7.0.0/16"}
	for _, r := range slices.Concat(six.HostRoutes, four.HostRoutes) {
		p, err := r.Prefix()
		if err != nil || p.String() != spelled[r.Destination] {
			t.Errorf("destination %s is %s, %v; want %q", r.Destination, p, err, spelled[r.Destination])
		}
		delete(spelled, r.Destination)
	}
	if len(spelled) > 0 {
		t.Errorf("routes that are not there: %v", spelled)
	}
}
