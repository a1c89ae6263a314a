package scenario

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"neutrino/test/lab"
)

// What routers do beyond SNAT and a floating IP, asked for by the API and seen with packets.
//
//	a 10.0.0.x  tenant | edge  | public
//	b 10.1.0.x  other  | second | public, and transit 10.9.0.0/24 between edge and second
func TestRouters(t *testing.T) {
	c := allInOne(t)
	c.withRouter()
	host := c.Compute[0]
	other, otherSubnet := c.network("other", "10.1.0.0/24")
	second := c.API.Create("routers", lab.Object{"name": "second", "external_gateway_info": lab.Object{"network_id": c.public.ID()}})
	c.API.Action("routers", second.ID(), "add_router_interface", lab.Object{"subnet_id": otherSubnet.ID()})
	a, b := c.boot("a", host, c.tenant), c.boot("b", host, other)

	t.Run("floating IPs of two routers", func(t *testing.T) {
		fipA, fipB := c.API.Create("floatingips", lab.Object{"floating_network_id": c.public.ID(), "port_id": a.Port.ID()}),
			c.API.Create("floatingips", lab.Object{"floating_network_id": c.public.ID(), "port_id": b.Port.ID()})
		outA, outB := netip.MustParseAddr(fipA.Str("floating_ip_address")), netip.MustParseAddr(fipB.Str("floating_ip_address"))
		for _, f := range []lab.Object{fipA, fipB} {
			if err := c.API.WaitFor("floatingips", f.ID(), "status", "ACTIVE", patience); err != nil {
				t.Error(err)
			}
		}
		for _, p := range []struct {
			from *lab.Instance
			to   netip.Addr
		}{{a, outB}, {b, outA}, {a, outA}} {
			if err := reach(p.from.Node, p.to); err != nil {
				t.Error(err)
			}
		}
		seen := b.Capture("eth0", "icmp and src host "+outA.String())
		if err := reach(a.Node, outB); err != nil {
			t.Error(err)
		}
		if _, err := seen.WaitFor(" > ", patience); err != nil {
			t.Errorf("%s does not come with its floating IP %s: %v", a.Name, outA, err)
		}
		seen.Stop()
		long(t, a.Node, outB)
		long(t, c.Internet, outA)

		c.API.Update("floatingips", fipA.ID(), lab.Object{"port_id": nil})
		if err := c.API.WaitFor("floatingips", fipA.ID(), "status", "DOWN", patience); err != nil {
			t.Error(err)
		}
		if err := c.Internet.Silent(outA, 300*time.Millisecond); err != nil {
			t.Error(err)
		}
		// To a port behind the other router: the other router must have the last word about its status.
		c.API.Update("floatingips", fipB.ID(), lab.Object{"port_id": nil})
		c.API.Update("floatingips", fipB.ID(), lab.Object{"port_id": a.Port.ID()})
		if err := c.API.WaitFor("floatingips", fipB.ID(), "status", "ACTIVE", patience); err != nil {
			t.Error(err)
		}
		if err := reach(c.Internet, outB); err != nil {
			t.Error(err)
		}
		time.Sleep(500 * time.Millisecond)
		if err := c.API.WaitFor("floatingips", fipB.ID(), "status", "ACTIVE", patience); err != nil {
			t.Errorf("the floating IP that moved: %v", err)
		}
		for _, f := range []lab.Object{fipA, fipB} {
			c.API.Delete("floatingips", f.ID())
		}
	})

	t.Run("changes by hand", func(t *testing.T) {
		address := c.floatingIP(a.Port)
		if err := reach(c.Internet, address); err != nil {
			t.Error(err)
		}
		ns := "qrouter-" + c.router.ID()
		before := c.steady()
		for _, command := range []string{"nft flush ruleset", "ip route del default", "ip -4 addr flush dev qg-" + c.gatewayPort()[:11]} {
			host.Run("ip netns exec " + ns + " " + command)
		}
		for _, line := range host.WaitState(before[host], patience) {
			t.Errorf("is not as before: %s", line)
		}
		host.Run("ip netns del " + ns)
		if err := lab.Eventually(patience, func() error { return namespaceOn(host, c.router.ID(), true) }); err != nil {
			t.Error(err)
		}
		for from, to := range map[*lab.Node]netip.Addr{c.Internet: address, a.Node: lab.InternetIP} {
			if err := reach(from, to); err != nil {
				t.Error(err)
			}
		}
		// Until the kernel is done with the removed namespace, requests may still end there.
		if err := lab.Eventually(patience, func() error { return metadata(a) }); err != nil {
			t.Error(err)
		}
		if n := strings.Count(host.Daemons["all-in-one"].Log(), "router was changed by somebody"); n < 2 {
			t.Errorf("it is in the log %d times", n)
		}
		c.API.Delete("floatingips", c.API.List("floatingips", "")[0].ID())
	})

	t.Run("extra routes through two routers", func(t *testing.T) {
		transit, transitSubnet := c.network("transit", "10.9.0.0/24")
		for _, r := range []struct{ router, address, far, via string }{
			{c.router.ID(), "10.9.0.11", "10.1.0.0/24", "10.9.0.12"}, {second.ID(), "10.9.0.12", "10.0.0.0/24", "10.9.0.11"}} {
			p := c.API.Create("ports", lab.Object{"network_id": transit.ID(),
				"fixed_ips": []lab.Object{{"subnet_id": transitSubnet.ID(), "ip_address": r.address}}})
			c.API.Action("routers", r.router, "add_router_interface", lab.Object{"port_id": p.ID()})
			c.API.Update("routers", r.router, lab.Object{"routes": []lab.Object{{"destination": r.far, "nexthop": r.via}}})
		}
		seen := b.Capture("eth0", "icmp and src host "+a.IP().String()) // nothing is translated
		if err := reach(a.Node, b.IP()); err != nil {
			t.Error(err)
		}
		if err := reach(b.Node, a.IP()); err != nil {
			t.Error(err)
		}
		if _, err := seen.WaitFor(" > ", patience); err != nil {
			t.Errorf("packets between the networks are translated: %v", err)
		}
		seen.Stop()
		long(t, a.Node, b.IP())
		for _, r := range []string{c.router.ID(), second.ID()} {
			c.API.Update("routers", r, lab.Object{"routes": []lab.Object{}})
		}
		if err := lab.Eventually(patience, func() error { return a.Silent(b.IP(), 200*time.Millisecond) }); err != nil {
			t.Error(err)
		}
	})

	t.Run("no SNAT", func(t *testing.T) {
		gateway := lab.Object{"network_id": c.public.ID(), "enable_snat": false}
		c.API.Update("routers", c.router.ID(), lab.Object{"external_gateway_info": gateway})
		seen := c.Internet.Capture("eth0", "icmp and src host "+a.IP().String())
		defer seen.Stop()
		if err := lab.Eventually(patience, func() error {
			_, _ = a.Reach(lab.InternetIP, 100*time.Millisecond) // the internet has no way back
			_, err := seen.WaitFor(a.IP().String(), 100*time.Millisecond)
			return err
		}); err != nil {
			t.Error(err)
		}
		c.API.Update("routers", c.router.ID(), lab.Object{"external_gateway_info": nil})
		if err := lab.Eventually(patience, func() error { return a.Silent(lab.InternetIP, 200*time.Millisecond) }); err != nil {
			t.Error(err)
		}
	})
}

// long pings with a packet that takes three fragments.
func long(t *testing.T, from *lab.Node, to netip.Addr) {
	t.Helper()
	out, err := from.Exec("ping", "-n", "-c", "1", "-W", "10", "-s", "4000", to.String())
	if err != nil || !strings.Contains(out, "1 received") {
		t.Errorf("a long packet from %s to %s: %v %s", from.Name, to, err, out)
	}
}

// Address scopes: subnets of one are routed to the outside as they are, others are translated, and they do not reach
// each other.
func TestAddressScopes(t *testing.T) {
	c := allInOne(t)
	host := c.Compute[0]
	scope := func(name string) string {
		return c.API.Create("address-scopes", lab.Object{"name": name, "ip_version": 4}).ID()
	}
	pool := func(name, scope, prefix string) string {
		return c.API.Create("subnetpools", lab.Object{"name": name, "address_scope_id": scope, "prefixes": []string{prefix},
			"default_prefixlen": 24}).ID()
	}
	outside, apart := scope("outside"), scope("apart")
	c.public = c.API.Create("networks", lab.Object{"name": "public", "router:external": true,
		"provider:network_type": "flat", "provider:physical_network": "public"})
	c.API.Create("subnets", lab.Object{"network_id": c.public.ID(), "ip_version": 4, "subnetpool_id": pool("public", outside, lab.PublicCIDR),
		"cidr": lab.PublicCIDR, "gateway_ip": lab.InternetIP.String(), "enable_dhcp": false})
	c.router = c.API.Create("routers", lab.Object{"name": "edge", "external_gateway_info": lab.Object{"network_id": c.public.ID()}})
	boot := func(name, scope, prefix string) *lab.Instance {
		network := c.API.Create("networks", lab.Object{"name": name})
		subnet := c.API.Create("subnets", lab.Object{"network_id": network.ID(), "ip_version": 4, "subnetpool_id": pool(name, scope, prefix)})
		c.API.Action("routers", c.router.ID(), "add_router_interface", lab.Object{"subnet_id": subnet.ID()})
		return c.boot(name, host, network)
	}
	same, other := boot("same", outside, "198.51.100.0/24"), boot("other", apart, "10.2.0.0/24")
	gateway := c.API.Show("routers", c.router.ID()).Object("external_gateway_info").Objects("external_fixed_ips")[0].Str("ip_address")
	c.Internet.Run("ip route add 198.51.100.0/24 via " + gateway)

	for _, p := range []struct {
		from *lab.Instance
		as   string
	}{{same, same.IP().String()}, {other, gateway}} {
		seen := c.Internet.Capture("eth0", "icmp and src host "+p.as)
		if err := reach(p.from.Node, lab.InternetIP); err != nil {
			t.Error(err)
		}
		if _, err := seen.WaitFor(" > ", patience); err != nil {
			t.Errorf("%s does not come as %s: %v", p.from.Name, p.as, err)
		}
		seen.Stop()
	}
	if err := reach(c.Internet, same.IP()); err != nil {
		t.Error(err)
	}
	if err := same.Silent(other.IP(), 300*time.Millisecond); err != nil {
		t.Error(err)
	}
	fip := c.floatingIP(other.Port)
	for _, from := range []*lab.Node{c.Internet, same.Node} {
		if err := reach(from, fip); err != nil {
			t.Error(err)
		}
	}
}
