package l3

import (
	"strings"
	"testing"

	"neutrino/internal/model"
	"neutrino/internal/resource/resourcetest"
	"neutrino/internal/store"
)

// failure is a request that is refused. In message, names in braces stand for ids.
type failure struct {
	name    string
	do      func(x *site) error
	status  int
	class   string
	message string
}

// run tries each on a site of its own.
func run(t *testing.T, failures []failure) {
	for _, f := range failures {
		t.Run(f.name, func(t *testing.T) {
			x := newSite(setUp(t))
			x.TB = t
			err := f.do(x)
			x.expect(err, f.status, f.class, f.message)
		})
	}
}

// expect is expect with the ids of the site in braces.
func (x *site) expect(err error, status int, class, message string) {
	x.Helper()
	ids := []string{"{router}", x.gateway.ID, "{private}", x.private.ID, "{public}", x.public.ID, "{internal}", x.internal.ID, "{external}", x.external.ID}
	for _, c := range []struct{ name, query string }{
		{"{interface}", "SELECT id FROM ports WHERE device_owner = 'network:router_interface' ORDER BY id"},
		{"{server}", "SELECT id FROM ports WHERE name = 'server'"},
		{"{fip}", "SELECT id FROM floatingips WHERE project_id = 'p'"},
		{"{address}", "SELECT floating_ip_address FROM floatingips WHERE project_id = 'p'"},
		{"{extra}", "SELECT id FROM subnets WHERE name = 'extra'"},
		{"{extra-net}", "SELECT network_id FROM subnets WHERE name = 'extra'"},
	} {
		if strings.Contains(message, c.name) {
			if found := x.column(c.query); len(found) > 0 {
				ids = append(ids, c.name, found[0])
			}
		}
	}
	expect(x, err, status, class, strings.NewReplacer(ids...).Replace(message))
}

const missing = "11111111-2222-3333-4444-555555555555"

// extra is another internal network with one subnet.
func (x *site) extra(cidr string, more body) *model.Subnet {
	x.Helper()
	attrs := body{"name": "extra"}
	for k, v := range more {
		attrs[k] = v
	}
	return x.subnet(x.network(member, nil), cidr, attrs)
}

func (x *site) server(ips ...string) *model.Port {
	x.Helper()
	attrs := body{"name": "server"}
	if len(ips) > 0 {
		var list []any
		for _, ip := range ips {
			list = append(list, body{"ip_address": ip})
		}
		attrs["fixed_ips"] = list
	}
	return x.port(x.internal, attrs)
}

func (x *site) add(attrs body) error {
	_, err := x.addInterface(member, x.gateway.ID, attrs)
	return err
}

func (x *site) setGateway(info any) error {
	_, err := x.updateRouter(x.gateway.ID, body{"external_gateway_info": info})
	return err
}

func (x *site) setRoutes(routes ...any) error {
	_, err := x.updateRouter(x.gateway.ID, body{"routes": routes})
	return err
}

func (x *site) fip(more body) error {
	attrs := body{"floating_network_id": x.external.ID}
	for k, v := range more {
		attrs[k] = v
	}
	_, err := x.tryFloatingIP(member, attrs)
	return err
}

func TestRouterFailures(t *testing.T) {
	run(t, []failure{
		{"gateway network unknown", func(x *site) error { return x.setGateway(body{"network_id": missing}) },
			404, "NetworkNotFound", "Network " + missing + " could not be found."},
		{"gateway network internal", func(x *site) error { return x.setGateway(body{"network_id": x.internal.ID}) },
			400, "BadRequest", "Bad router request: Network {internal} is not an external network."},
		{"gateway is the gateway's gateway", func(x *site) error {
			return x.setGateway(body{"network_id": x.external.ID, "external_fixed_ips": []any{body{"ip_address": "203.0.113.1"}}})
		}, 400, "BadRequest", "Bad router request: External IP 203.0.113.1 is the same as the gateway IP."},
		{"gateway used by floating IP", func(x *site) error {
			x.floatingIP(body{"floating_network_id": x.external.ID, "port_id": x.server().ID})
			return x.setGateway(nil)
		}, 409, "RouterExternalGatewayInUseByFloatingIp", "Gateway cannot be updated for router {router}, since a gateway to external network " +
			"{external} is required by one or more floating IPs."},
		{"gateway overlaps with an interface", func(x *site) error {
			n := x.network(admin, body{"router:external": true})
			x.subnet(n, "10.0.0.0/16", body{"name": "extra"})
			return x.setGateway(body{"network_id": n.ID})
		}, 400, "BadRequest", "Bad router request: Cidr 10.0.0.0/16 of subnet {extra} overlaps with cidr 10.0.0.0/24 of subnet {private}."},
		{"route to nowhere", func(x *site) error { return x.setRoutes(route("10.5.0.0/16", "192.0.2.1")) },
			400, "InvalidRoutes", "Invalid format for routes: [{'destination': '10.5.0.0/16', 'nexthop': '192.0.2.1'}], the nexthop is not connected with router"},
		{"route via itself", func(x *site) error { return x.setRoutes(route("10.5.0.0/16", "10.0.0.1")) },
			400, "InvalidRoutes", "Invalid format for routes: [{'destination': '10.5.0.0/16', 'nexthop': '10.0.0.1'}], the nexthop is used by router"},
		{"too many routes", func(x *site) error {
			return x.setRoutes(route("10.5.0.0/16", "10.0.0.9"), route("10.6.0.0/16", "10.0.0.9"), route("10.7.0.0/16", "10.0.0.9"), route("10.8.0.0/16", "10.0.0.9"))
		}, 409, "OverQuota", "Quota exceeded for resources: ['router_route']."},
		{"gateway needed by a route", func(x *site) error {
			if err := x.setRoutes(route("10.5.0.0/16", "203.0.113.200")); err != nil {
				return err
			}
			return x.setGateway(nil)
		}, 400, "InvalidRoutes", "Invalid format for routes: [{'destination': '10.5.0.0/16', 'nexthop': '203.0.113.200'}], the nexthop is not connected with router"},
		{"extra routes without routes", func(x *site) error {
			return x.db.Write(ctx, func(tx *store.Tx) error {
				_, err := x.l3.AddExtraRoutes(tx, member, x.gateway.ID, body{"router": body{}})
				return err
			})
		}, 400, "HTTPBadRequest", "Failed to parse request. Required attribute 'routes' not specified"},
	})
}

func TestAddInterfaceFailures(t *testing.T) {
	run(t, []failure{
		{"nothing named", func(x *site) error { return x.add(nil) },
			400, "BadRequest", "Bad router request: Either subnet_id or port_id must be specified."},
		{"both named", func(x *site) error { return x.add(body{"subnet_id": missing, "port_id": missing}) },
			400, "BadRequest", "Bad router request: Cannot specify both subnet-id and port-id."},
		{"no UUID", func(x *site) error { return x.add(body{"subnet_id": "x"}) },
			400, "BadRequest", "Bad router request: 'x' is not a valid UUID."},
		{"unknown router", func(x *site) error {
			_, err := x.addInterface(member, missing, body{"subnet_id": x.private.ID})
			return err
		}, 404, "RouterNotFound", "Router " + missing + " could not be found"},
		{"unknown subnet", func(x *site) error { return x.add(body{"subnet_id": missing}) },
			404, "SubnetNotFound", "Subnet " + missing + " could not be found."},
		{"unknown port", func(x *site) error { return x.add(body{"port_id": missing}) },
			404, "PortNotFound", "Port " + missing + " could not be found."},
		{"same subnet again", func(x *site) error { return x.add(body{"subnet_id": x.private.ID}) },
			400, "BadRequest", "Bad router request: Router already has a port on subnet {private}."},
		{"overlap with an interface", func(x *site) error { return x.add(body{"subnet_id": x.extra("10.0.0.0/25", nil).ID}) },
			400, "BadRequest", "Bad router request: Cidr 10.0.0.0/25 of subnet {extra} overlaps with cidr 10.0.0.0/24 of subnet {private}."},
		{"overlap with the gateway", func(x *site) error { return x.add(body{"subnet_id": x.extra("203.0.113.128/25", nil).ID}) },
			400, "BadRequest", "Bad router request: Cidr 203.0.113.128/25 of subnet {extra} overlaps with cidr 203.0.113.0/24 of subnet {public}."},
		{"subnet without gateway", func(x *site) error {
			return x.add(body{"subnet_id": x.extra("10.3.0.0/24", body{"gateway_ip": nil}).ID})
		},
			400, "BadRequest", "Bad router request: Subnet for router interface must have a gateway IP."},
		{"advertisements of somebody else", func(x *site) error {
			return x.add(body{"subnet_id": x.extra("2001:db8::/64", body{"ipv6_address_mode": "slaac"}).ID})
		}, 400, "BadRequest", "Bad router request: IPv6 subnet {extra} configured to receive RAs from an external router cannot be added to Neutron Router.."},
		{"subnet shared with everybody", func(x *site) error {
			n := x.network(admin, body{"project_id": "other", "shared": true})
			return x.add(body{"subnet_id": x.subnet(n, "10.4.0.0/24", body{"name": "extra"}).ID})
		}, 400, "BadRequest", "Bad router request: Cannot add interface to router because subnet {extra} is not owned by project making the request."},
		{"port in use", func(x *site) error {
			return x.add(body{"port_id": x.port(x.internal, body{"name": "server", "device_id": "vm"}).ID})
		}, 409, "PortInUse", "Unable to complete operation on port {server} for network {internal}. Port already has an attached device vm."},
		{"port without address", func(x *site) error { return x.add(body{"port_id": x.port(x.internal, body{"fixed_ips": []any{}}).ID}) },
			400, "BadRequest", "Bad router request: Router port must have at least one fixed IP."},
		{"port of the subnet again", func(x *site) error { return x.add(body{"port_id": x.server().ID}) },
			400, "BadRequest", "Bad router request: Router already has a port on subnet {private}."},
		{"port with two IPv4 subnets", func(x *site) error {
			a := x.extra("10.3.0.0/24", nil)
			n := &model.Network{}
			n.ID, n.ProjectID = a.NetworkID, "p"
			b := x.subnet(n, "10.4.0.0/24", nil)
			return x.add(body{"port_id": x.port(n, body{"fixed_ips": []any{body{"subnet_id": a.ID}, body{"subnet_id": b.ID}}}).ID})
		}, 400, "BadRequest", "Bad router request: Cannot have multiple IPv4 subnets on router port."},
		{"second IPv6 port of a network", func(x *site) error {
			a := x.extra("2001:db8:1::/64", nil)
			n := &model.Network{}
			n.ID, n.ProjectID = a.NetworkID, "p"
			b := x.subnet(n, "2001:db8:2::/64", nil)
			x.exec("DELETE FROM routerports WHERE port_type = ?", ownerInterface) // so that {interface} is the new one
			x.exec("DELETE FROM ports WHERE device_owner = ?", ownerInterface)
			x.connect(x.gateway, a)
			return x.add(body{"port_id": x.port(n, body{"fixed_ips": []any{body{"subnet_id": b.ID}}}).ID})
		}, 400, "BadRequest", "Bad router request: Router already contains IPv6 port {interface} belonging to network id {extra-net}. Only one IPv6 port from " +
			"the same network subnet can be connected to a router.."},
		{"port outside of another project's pool", func(x *site) error {
			n := x.network(admin, body{"project_id": "other", "shared": true})
			x.subnet(n, "10.4.0.0/24", body{"name": "extra", "allocation_pools": []any{body{"start": "10.4.0.10", "end": "10.4.0.20"}}})
			return x.add(body{"port_id": x.port(n, body{"name": "server", "project_id": "p", "fixed_ips": []any{body{"ip_address": "10.4.0.99"}}}).ID})
		}, 400, "BadRequest", "Bad router request: Cannot add interface to router because specified port {server} has an IP address out of the allocation " +
			"pool of subnet {extra}, which is not owned by the project making the request."},
	})
}

func TestRemoveInterfaceFailures(t *testing.T) {
	drop := func(x *site, attrs body) error {
		_, err := x.removeInterface(x.gateway.ID, attrs)
		return err
	}
	run(t, []failure{
		{"nothing named", func(x *site) error { return drop(x, nil) },
			400, "BadRequest", "Bad router request: Either subnet_id or port_id must be specified."},
		{"unknown port", func(x *site) error { return drop(x, body{"port_id": missing}) },
			404, "RouterInterfaceNotFound", "Router {router} does not have an interface with id " + missing},
		{"unknown subnet", func(x *site) error { return drop(x, body{"subnet_id": missing}) },
			404, "SubnetNotFound", "Subnet " + missing + " could not be found."},
		{"not connected subnet", func(x *site) error { return drop(x, body{"subnet_id": x.extra("10.3.0.0/24", nil).ID}) },
			404, "RouterInterfaceNotFoundForSubnet", "Router {router} has no interface on subnet {extra}"},
		{"port and subnet do not match", func(x *site) error {
			port := x.column("SELECT id FROM ports WHERE device_owner = ?", ownerInterface)[0]
			return drop(x, body{"port_id": port, "subnet_id": x.public.ID})
		}, 400, "SubnetMismatchForPort", "Subnet on port {interface} does not match the requested subnet {public}."},
		{"used by a floating IP", func(x *site) error {
			x.floatingIP(body{"floating_network_id": x.external.ID, "port_id": x.server().ID})
			return drop(x, body{"subnet_id": x.private.ID})
		}, 409, "RouterInterfaceInUseByFloatingIP", "Router interface for subnet {private} on router {router} cannot be deleted, as it is required by one or " +
			"more floating IPs."},
		{"used by a route", func(x *site) error {
			if err := x.setRoutes(route("10.5.0.0/16", "10.0.0.9")); err != nil {
				return err
			}
			return drop(x, body{"subnet_id": x.private.ID})
		}, 409, "RouterInterfaceInUseByRoute", "Router interface for subnet {private} on router {router} cannot be deleted, as it is required by one or more routes."},
	})
}

func TestFloatingIPFailures(t *testing.T) {
	run(t, []failure{
		{"network internal", func(x *site) error { return x.fip(body{"floating_network_id": x.internal.ID}) },
			400, "BadRequest", "Bad floatingip request: Network {internal} is not a valid external network."},
		{"network unknown", func(x *site) error { return x.fip(body{"floating_network_id": missing}) },
			404, "NetworkNotFound", "Network " + missing + " could not be found."},
		{"network without IPv4", func(x *site) error {
			n := x.network(admin, body{"router:external": true})
			x.subnet(n, "2001:db8::/64", body{"name": "extra"})
			return x.fip(body{"floating_network_id": n.ID})
		}, 400, "BadRequest", "Bad floatingip request: Network {extra-net} does not contain any IPv4 subnet."},
		{"only IPv6 addresses", func(x *site) error {
			six := x.subnet(x.external, "2001:db8::/64", nil)
			return x.fip(body{"subnet_id": six.ID})
		}, 400, "ExternalIpAddressExhausted", "Unable to find any IP address on external network {external}."},
		{"address in use", func(x *site) error {
			x.floatingIP(body{"floating_network_id": x.external.ID, "floating_ip_address": "203.0.113.50"})
			return x.fip(body{"floating_ip_address": "203.0.113.50"})
		}, 409, "IpAddressAlreadyAllocated", "IP address 203.0.113.50 already allocated in subnet {public}"},
		{"fixed address without port", func(x *site) error { return x.fip(body{"fixed_ip_address": "10.0.0.5"}) },
			400, "BadRequest", "Bad floatingip request: fixed_ip_address cannot be specified without a port_id."},
		{"port unknown", func(x *site) error { return x.fip(body{"port_id": missing}) }, 404, "PortNotFound", "Port " + missing + " could not be found."},
		{"port of another project", func(x *site) error {
			return x.fip(body{"port_id": x.port(x.internal, body{"name": "server", "project_id": "other"}).ID})
		}, 400, "BadRequest", "Bad floatingip request: Cannot process floating IP association with Port {server}, since that port is owned by a different project."},
		{"port of DHCP", func(x *site) error {
			return x.fip(body{"port_id": x.port(x.internal, body{"name": "server", "device_owner": "network:dhcp"}).ID})
		}, 400, "BadRequest", "Bad floatingip request: Port {server} is unable to be assigned a floating IP."},
		{"IPv6 address", func(x *site) error {
			return x.fip(body{"port_id": x.server().ID, "fixed_ip_address": "2001:db8::5"})
		}, 400, "BadRequest", "Bad floatingip request: Cannot process floating IP association with 2001:db8::5, since that is not an IPv4 address."},
		{"another port's address", func(x *site) error { return x.fip(body{"port_id": x.server().ID, "fixed_ip_address": "10.0.0.222"}) },
			400, "BadRequest", "Bad floatingip request: Port {server} does not have fixed ip 10.0.0.222."},
		{"port without IPv4", func(x *site) error {
			return x.fip(body{"port_id": x.port(x.internal, body{"name": "server", "fixed_ips": []any{}}).ID})
		}, 400, "BadRequest", "Bad floatingip request: Cannot add floating IP to port {server} that has no fixed IPv4 addresses."},
		{"several addresses", func(x *site) error { return x.fip(body{"port_id": x.server("10.0.0.30", "10.0.0.31").ID}) },
			400, "BadRequest", "Bad floatingip request: Port {server} has multiple fixed IPv4 addresses.  Must provide a specific IPv4 address when assigning a floating IP."},
		{"no router between", func(x *site) error {
			s := x.extra("10.3.0.0/24", nil)
			n := &model.Network{}
			n.ID, n.ProjectID = s.NetworkID, "p"
			return x.fip(body{"port_id": x.port(n, body{"name": "server"}).ID})
		}, 404, "ExternalGatewayForFloatingIPNotFound", "External network {external} is not reachable from subnet {extra}.  Therefore, cannot associate Port {server} " +
			"with a Floating IP."},
		{"address has one already", func(x *site) error {
			server := x.server("10.0.0.30")
			x.floatingIP(body{"floating_network_id": x.external.ID, "port_id": server.ID})
			f, err := x.tryFloatingIP(admin, body{"floating_network_id": x.external.ID, "project_id": "operator", "floating_ip_address": "203.0.113.88"})
			if err != nil {
				return err
			}
			_, err = resourcetest.Update(x.db, x.catalog.FloatingIPs, x.l3.FloatingIPs(), admin, f.ID, body{"port_id": server.ID})
			x.exec("UPDATE floatingips SET project_id = CASE project_id WHEN 'p' THEN 'q' ELSE 'p' END") // so that {fip} is the second one
			return err
		}, 409, "FloatingIPPortAlreadyAssociated", "Cannot associate floating IP 203.0.113.88 ({fip}) with port {server} using fixed IP 10.0.0.30, as that fixed IP " +
			"already has a floating IP on external network {external}."},
		{"fixed address alone in an update", func(x *site) error {
			f := x.floatingIP(body{"floating_network_id": x.external.ID, "port_id": x.server("10.0.0.30", "10.0.0.31").ID, "fixed_ip_address": "10.0.0.30"})
			_, err := x.updateFloatingIP(f.ID, body{"fixed_ip_address": "10.0.0.31"})
			return err
		}, 400, "BadRequest", "Bad floatingip request: fixed_ip_address cannot be specified without a port_id."},
	})
}

func TestPortFailures(t *testing.T) {
	port := func(x *site, owner string) string {
		return x.column("SELECT id FROM ports WHERE device_owner = ?", owner)[0]
	}
	run(t, []failure{
		{"delete an interface", func(x *site) error { return x.deletePort(admin, port(x, ownerInterface)) },
			409, "ServicePortInUse", "Port {interface} cannot be deleted directly via the port API: has device owner network:router_interface."},
		{"move an interface", func(x *site) error {
			return x.updatePort(admin, port(x, ownerInterface), body{"fixed_ips": []any{body{"ip_address": "10.0.0.99"}}})
		}, 400, "IPAddressChangeNotAllowed", "IP updates for port {interface} are not allowed"},
		{"take a floating IP's address", func(x *site) error {
			server := x.server("10.0.0.30")
			x.floatingIP(body{"floating_network_id": x.external.ID, "port_id": server.ID})
			return x.updatePort(member, server.ID, body{"fixed_ips": []any{body{"ip_address": "10.0.0.31"}}})
		}, 400, "BadRequest", "Bad port request: Cannot update the fixed_ips of the port {server}, because its original fixed_ip has been associated to a floating ip."},
		{"leave a floating IP's address to chance", func(x *site) error {
			server := x.server("10.0.0.30")
			x.floatingIP(body{"floating_network_id": x.external.ID, "port_id": server.ID})
			return x.updatePort(member, server.ID, body{"fixed_ips": []any{body{"subnet_id": server.FixedIPs[0].SubnetID}}})
		}, 400, "BadRequest", "Bad port request: Cannot update the fixed_ips of the port {server}, because its original fixed_ip has been associated to a floating ip."},
		{"delete a port with an administrator's floating IP", func(x *site) error {
			server := x.server()
			_, err := x.tryFloatingIP(admin, body{"floating_network_id": x.external.ID, "port_id": server.ID, "project_id": "operator"})
			if err != nil {
				return err
			}
			return x.deletePort(member, server.ID)
		}, 409, "FipAssociated", "Unable to complete the operation on port {server} because the port still has an associated floating IP."},
	})
}
