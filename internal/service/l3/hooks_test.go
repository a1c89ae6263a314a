package l3

import (
	"encoding/json"
	"neutrino/internal/resource/resourcetest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// addresses are those of the gateway, without the parts that are chosen by chance.
func (x *site) addresses() (out []string) {
	x.Helper()
	for _, ip := range x.column("SELECT a.ip_address FROM ipallocations a JOIN routers r ON r.gw_port_id = a.port_id WHERE r.id = ?", x.gateway.ID) {
		switch {
		case strings.HasPrefix(ip, "203.0.113."), strings.HasPrefix(ip, "198.51.100."):
			ip = ip[:strings.LastIndex(ip, ".")]
		case strings.HasPrefix(ip, "2001:db8:"):
			ip = ip[:len("2001:db8:1:")]
		}
		out = append(out, ip)
	}
	slices.Sort(out)
	return out
}

func TestNewSubnetOutside(t *testing.T) {
	x := newSite(setUp(t))
	x.agent("h1", 0, "z", "{}")
	x.schedule()
	x.told.take()
	updated := "h1 updated " + x.gateway.ID
	for _, s := range []struct {
		name, cidr string
		more       body
		want       []string
		told       bool
	}{
		{"another IPv4 subnet", "198.51.100.0/24", nil, []string{"203.0.113"}, false},
		{"IPv6", "2001:db8:1::/64", nil, []string{"2001:db8:1:", "203.0.113"}, true},
		{"another IPv6 subnet", "2001:db8:2::/64", nil, []string{"2001:db8:1:", "203.0.113"}, false},
	} {
		x.subnet(x.external, s.cidr, s.more)
		if diff := cmp.Diff(s.want, x.addresses()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", s.name, diff)
		}
		if told := x.told.take(); slices.Contains(told, updated) != s.told {
			t.Errorf("%s: told %v", s.name, told)
		}
	}
}

// TestFirstSubnetOutside: a gateway on a network without subnets gets an address as soon as there is one.
func TestFirstSubnetOutside(t *testing.T) {
	x := newSite(setUp(t))
	n := x.network(admin, body{"router:external": true})
	if err := x.setGateway(body{"network_id": n.ID}); err != nil {
		t.Fatal(err)
	}
	if got := x.addresses(); len(got) > 0 {
		t.Fatalf("addresses without a subnet: %v", got)
	}
	x.subnet(n, "198.51.100.0/24", body{"service_types": []any{"compute:nova"}})
	if got := x.addresses(); len(got) > 0 {
		t.Errorf("addresses of a subnet that is for others: %v", got)
	}
	x.subnet(n, "203.0.113.0/24", nil)
	if diff := cmp.Diff([]string{"203.0.113"}, x.addresses()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAgentsAreToldOf(t *testing.T) {
	x := newSite(setUp(t))
	x.agent("h1", 0, "z", "{}")
	x.schedule()
	port := x.column("SELECT id FROM ports WHERE device_owner = ?", ownerInterface)[0]
	server := x.server("10.0.0.30")
	subnet := func(id string, attrs body) func() error {
		return func() error {
			_, err := resourcetest.Update(x.db, x.catalog.Subnets, x.core.Subnets(), admin, id, attrs)
			return err
		}
	}
	network := func(attrs body) func() error {
		return func() error {
			_, err := resourcetest.Update(x.db, x.catalog.Networks, x.core.Networks(), admin, x.internal.ID, attrs)
			return err
		}
	}
	for _, c := range []struct {
		name string
		do   func() error
		want bool
	}{
		{"MTU", network(body{"mtu": json.Number("1400")}), true},
		{"name of a network", network(body{"name": "other"}), false},
		{"name servers", subnet(x.private.ID, body{"dns_nameservers": []any{"9.9.9.9"}}), true},
		{"gateway of the provider", subnet(x.public.ID, body{"gateway_ip": "203.0.113.2"}), true},
		{"name of a subnet", subnet(x.private.ID, body{"name": "other"}), false},
		{"interface switched off", func() error { return x.updatePort(admin, port, body{"admin_state_up": false}) }, true},
		{"server renamed", func() error { return x.updatePort(member, server.ID, body{"name": "other"}) }, false},
		{"server deleted", func() error { return x.deletePort(member, server.ID) }, false},
		{"router renamed", func() error { _, err := x.updateRouter(x.gateway.ID, body{"name": "n"}); return err }, true},
		{"interface removed", func() error { _, err := x.removeInterface(x.gateway.ID, body{"port_id": port}); return err }, true},
	} {
		x.told.take()
		if err := c.do(); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		var want []string
		if c.want {
			want = []string{"h1 updated " + x.gateway.ID}
		}
		if diff := cmp.Diff(want, x.told.take()); diff != "" {
			t.Errorf("%s: told (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestPortsThatMayChange(t *testing.T) {
	x := newSite(setUp(t))
	six := x.subnet(x.internal, "2001:db8:1::/64", nil)
	x.connect(x.gateway, six)
	v6 := x.column("SELECT p.id FROM ports p JOIN ipallocations a ON a.port_id = p.id WHERE p.device_owner = ? AND a.subnet_id = ?", ownerInterface, six.ID)[0]
	server := x.server("10.0.0.30", "10.0.0.31")
	x.floatingIP(body{"floating_network_id": x.external.ID, "port_id": server.ID, "fixed_ip_address": "10.0.0.30"})
	ips := func(list ...string) body {
		var out []any
		for _, ip := range list {
			out = append(out, body{"ip_address": ip})
		}
		return body{"fixed_ips": out}
	}
	for name, err := range map[string]error{
		"IPv6 address of an interface":       x.updatePort(admin, v6, ips("2001:db8:1::99")),
		"address without a floating IP":      x.updatePort(member, server.ID, ips("10.0.0.30", "10.0.0.32")),
		"left-over port of a missing router": x.deletePort(admin, x.port(x.internal, body{"device_owner": ownerInterface, "device_id": missing}).ID),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSharedByName: a subnet of another project may be used if its network is shared with the caller's project itself.
func TestSharedByName(t *testing.T) {
	x := newSite(setUp(t))
	n := x.network(admin, body{"project_id": "other"})
	s := x.subnet(n, "10.4.0.0/24", nil)
	x.exec("INSERT INTO networkrbacs (id, project_id, object_id, action, target_project) VALUES (?, ?, ?, ?, ?)", missing, "other", n.ID, "access_as_shared", "p")
	if err := x.add(body{"subnet_id": s.ID}); err != nil {
		t.Error(err)
	}
}
