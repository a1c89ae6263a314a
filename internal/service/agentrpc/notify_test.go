package agentrpc

import (
	"slices"
	"testing"
	"time"

	"neutrino/internal/rpc"
	"neutrino/internal/service/addressgroup"
	"neutrino/internal/service/agents"
	"neutrino/internal/store"

	"github.com/google/go-cmp/cmp"
)

func TestNotifications(t *testing.T) {
	e := setUp(t, func(c *agents.Config) { c.DHCPAgentsPerNetwork = 2 })
	for i, h := range []string{"h1", "h2", "h3"} {
		e.host(h, i+1)
	}
	for _, h := range []string{"d1", "d2"} {
		e.dhcp(h)
	}
	n := e.network("net", "10.0.0.0/24", true)
	e.expect("d1 network_create_end", "d2 network_create_end", "d1 subnet_create_end", "d2 subnet_create_end")
	e.dhcp("d3") // serves nothing
	p := e.port(n, "h1", "10.0.0.10", "security_groups", []any{})
	e.expect("d1 port_create_end", "d2 port_create_end", "h1 port_update")
	for _, step := range []struct {
		name string
		do   func()
		want []string
	}{
		{"name", func() { e.change(p, body{"name": "x"}) }, nil},
		{"the same address", func() { e.change(p, body{"fixed_ips": []any{body{"ip_address": "10.0.0.10"}}}) }, nil},
		{"address", func() { e.change(p, body{"fixed_ips": []any{body{"ip_address": "10.0.0.11"}}}) },
			[]string{"d1 port_update_end", "d2 port_update_end", "h1 port_update"}},
		{"DHCP options", func() {
			e.change(p, body{"extra_dhcp_opts": []any{body{"opt_name": "bootfile-name", "opt_value": "x"}}})
		}, []string{"d1 port_update_end", "d2 port_update_end"}},
		{"allowed pairs", func() { e.change(p, body{"allowed_address_pairs": []any{body{"ip_address": "10.9.0.1"}}}) }, []string{"h1 port_update"}},
		{"no pairs", func() { e.change(p, body{"allowed_address_pairs": []any{}}) }, []string{"h1 port_update"}},
		{"port security", func() { e.change(p, body{"port_security_enabled": false}) }, []string{"h1 port_update"}},
		{"off", func() { e.change(p, body{"admin_state_up": false}) }, []string{"h1 port_update"}},
		{"moved", func() { e.change(p, body{"binding:host_id": "h2"}) }, []string{"h1 port_delete", "h2 port_update"}},
		{"MTU", func() { update(e, e.catalog.Networks, e.core.Networks(), n.ID, body{"mtu": "1400"}) },
			[]string{"d1 network_update_end", "d2 network_update_end", "h2 network_update"}},
		{"network's name", func() { update(e, e.catalog.Networks, e.core.Networks(), n.ID, body{"name": "y"}) }, nil},
		{"deleted", func() { e.remove(p) }, []string{"d1 port_delete_end", "d2 port_delete_end", "h2 port_delete"}},
		{"network deleted", func() { remove(e, e.catalog.Networks, e.core.Networks(), n.ID) },
			[]string{"d1 network_delete_end", "d2 network_delete_end", "d3 network_delete_end", "h1 network_delete", "h2 network_delete", "h3 network_delete"}},
	} {
		step.do()
		e.only("port_create_end", "port_update_end", "port_delete_end", "port_update", "port_delete", "network_update", "network_update_end",
			"network_delete", "network_delete_end")
		t.Log(step.name)
		e.expect(step.want...)
	}
}

func TestSecurityGroupMessages(t *testing.T) {
	e := setUp(t)
	for i, h := range []string{"h1", "h2", "h3"} {
		e.host(h, i+1)
	}
	n := e.network("net", "10.0.0.0/24", false)
	group := func(name string) string {
		g := create(e, e.catalog.SecurityGroups, e.groups.Groups(), body{"name": name})
		e.names[g.ID] = name
		return g.ID
	}
	web, db := group("web"), group("db")
	w := e.port(n, "h1", "10.0.0.10", "security_groups", []any{web})
	d := e.port(n, "h2", "10.0.0.20", "security_groups", []any{db})
	e.port(n, "h3", "10.0.0.30", "security_groups", []any{})
	e.forget()
	sg := func() *env { return e.only("security_groups_rule_updated", "security_groups_member_updated") }

	// db accepts web: its hosts must know the members of web. All are told, also those that are not concerned.
	everybody := []string{"h1 security_groups_member_updated web", "h2 security_groups_member_updated web", "h3 security_groups_member_updated web"}
	rule := create(e, e.catalog.SecurityGroupRules, e.groups.Rules(), body{"security_group_id": db, "direction": "ingress", "remote_group_id": web, "protocol": "tcp"})
	sg().expect("h2 security_groups_rule_updated db")
	e.change(w, body{"fixed_ips": []any{body{"ip_address": "10.0.0.11"}}})
	sg().expect(everybody...)
	e.change(d, body{"fixed_ips": []any{body{"ip_address": "10.0.0.21"}}})
	sg().expect() // nobody asks for members of db

	info := call(e, rpc.SecurityGroupInfoForDevices, rpc.SecurityGroupArgs{Devices: []string{d.ID}})
	ip, mac := "10.0.0.11", w.MACAddress
	if diff := cmp.Diff(map[string]map[string][][2]*string{web: {"IPv4": {{&ip, &mac}}}}, info.MemberIPs); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
	if f := info.Devices[d.ID]; len(info.Devices) != 1 || f.MACAddress != d.MACAddress || len(info.SecurityGroups[db]) != 3 {
		t.Errorf("devices %+v, rules %+v", info.Devices, info.SecurityGroups)
	}

	own := create(e, e.catalog.SecurityGroupRules, e.groups.Rules(), body{"security_group_id": web, "direction": "ingress", "remote_group_id": web})
	sg().expect("h1 security_groups_rule_updated web")
	e.change(w, body{"allowed_address_pairs": []any{body{"ip_address": "10.5.0.0/16"}}})
	sg().expect(everybody...)
	remove(e, e.catalog.SecurityGroupRules, e.groups.Rules(), own.ID)
	sg().expect("h1 security_groups_rule_updated web")
	e.remove(w)
	sg().expect(everybody...)
	remove(e, e.catalog.SecurityGroupRules, e.groups.Rules(), rule.ID)
	sg().expect("h2 security_groups_rule_updated db")
}

// TestAddressGroupMessages: agents get the addresses of address groups as members, and news of them.
func TestAddressGroupMessages(t *testing.T) {
	e := setUp(t)
	e.host("h1", 1)
	e.host("h2", 2)
	n := e.network("net", "10.0.0.0/24", false)
	web := create(e, e.catalog.SecurityGroups, e.groups.Groups(), body{"name": "web"}).ID
	addresses := create(e, e.catalog.AddressGroups, addressgroup.New(e.catalog, e.server.MembersChanged).Groups(), body{"name": "office", "addresses": []any{"192.0.2.0/24", "2001:db8::/32"}}).ID
	e.names[web], e.names[addresses] = "web", "office"
	port := e.port(n, "h1", "10.0.0.10", "security_groups", []any{web})
	e.port(n, "h2", "10.0.0.20", "security_groups", []any{})
	create(e, e.catalog.SecurityGroupRules, e.groups.Rules(), body{"security_group_id": web, "direction": "ingress", "remote_address_group_id": addresses})
	e.forget()
	info := call(e, rpc.SecurityGroupInfoForDevices, rpc.SecurityGroupArgs{Devices: []string{port.ID}})
	prefix := "192.0.2.0/24"
	if diff := cmp.Diff(map[string]map[string][][2]*string{addresses: {"IPv4": {{&prefix, nil}}}}, info.MemberIPs); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
	if !slices.ContainsFunc(info.SecurityGroups[web], func(r rpc.SecurityGroupRule) bool { return r.RemoteAddressGroupID == addresses }) {
		t.Errorf("rules %+v do not name the address group", info.SecurityGroups[web])
	}
	e.server.MembersChanged(e.ctx, []string{addresses})
	e.server.tellMembers(e.ctx, e.server.members.take())
	e.expect("h1 security_groups_member_updated office", "h2 security_groups_member_updated office")
}

func TestTrustedPortsAreNotFiltered(t *testing.T) {
	e := setUp(t)
	e.host("h1", 1)
	n := e.network("net", "10.0.0.0/24", false)
	service := e.port(n, "h1", "10.0.0.2", "device_owner", "network:router_interface")
	open := e.port(n, "h1", "10.0.0.3", "port_security_enabled", false)
	info := call(e, rpc.SecurityGroupInfoForDevices, rpc.SecurityGroupArgs{Devices: []string{tap(service), open.ID}})
	if len(info.Devices)+len(info.SecurityGroups) > 0 {
		t.Errorf("%+v", info)
	}
}

func TestRemind(t *testing.T) {
	e := setUp(t)
	e.host("h1", 1)
	e.dhcp("d1")
	n := e.network("net", "10.0.0.0/24", true)
	p := e.port(n, "h1", "10.0.0.10")
	unbound := e.port(n, "", "10.0.0.11")
	remind := func(later time.Duration) {
		t.Helper()
		e.forget()
		if err := e.server.Remind(e.ctx, time.Now().Add(later)); err != nil {
			t.Fatal(err)
		}
	}
	remind(0)
	e.expect()
	remind(time.Minute)
	e.expect("h1 port_update", "d1 port_update_end")
	remind(time.Hour) // nobody waits any longer
	e.expect()
	e.up("h1", p)
	remind(time.Minute)
	e.expect("d1 port_update_end")
	e.kill(rpc.AgentTypeDHCP, "d1")
	remind(time.Minute)
	if s := e.status(p); s != "ACTIVE" {
		t.Errorf("with a dead DHCP agent the port is %s", s)
	}
	if s := e.status(unbound); s != "DOWN" {
		t.Errorf("the port without host is %s", s)
	}
	remind(time.Minute)
	e.expect()
}

func TestDHCPPorts(t *testing.T) {
	e := setUp(t, func(c *agents.Config) { c.DHCPAgentsPerNetwork = 2 })
	e.dhcp("d1.example.org")
	n := e.network("net", "10.0.0.0/24", true)
	var subnet string
	if err := e.db.Read(e.ctx, func(tx *store.Tx) error {
		return tx.QueryRow("SELECT id FROM subnets WHERE network_id = ?", n.ID).Scan(&subnet)
	}); err != nil {
		t.Fatal(err)
	}
	device := func(host string) *string { id := rpc.DHCPDeviceID(host, n.ID); return &id }
	ask := func(host string) *rpc.Port {
		t.Helper()
		return call(e, rpc.CreateDHCPPort, rpc.CreateDHCPPortArgs{Host: host, Port: rpc.DHCPPortBody{Port: rpc.DHCPPort{NetworkID: n.ID,
			DeviceID: device(host), FixedIPs: &[]rpc.FixedIPRequest{{SubnetID: subnet}}}}})
	}
	first := ask("d1.example.org")
	if first == nil || first.DeviceOwner != "network:dhcp" || first.HostID != "d1.example.org" || first.DeviceID != *device("d1") {
		t.Fatalf("%+v", first)
	}
	if again := ask("d1.example.org"); again.ID != first.ID {
		t.Error("asking twice makes two ports")
	}
	take := func(host string) (*rpc.Port, error) {
		return rpc.UpdateDHCPPort.Call(e.ctx, e.bus, "", rpc.UpdateDHCPPortArgs{Host: host, PortID: first.ID,
			Port: rpc.DHCPPortBody{Port: rpc.DHCPPort{NetworkID: n.ID, DeviceID: device(host)}}})
	}
	e.dhcp("d2")
	call(e, rpc.GetActiveNetworksInfo, rpc.HostArgs{Host: "d2"})
	if p, err := take("d2"); p != nil || err != nil {
		t.Errorf("d2 took the port of d1: %+v, %v", p, err)
	}
	agent := e.agentID("d1.example.org")
	if err := e.db.Write(e.ctx, func(tx *store.Tx) error { return e.agents.RemoveNetwork(tx, agent, n.ID) }); err != nil {
		t.Fatal(err)
	}
	if _, err := take("d1.example.org"); err == nil {
		t.Error("an agent without the network took a port")
	}
	if p, err := take("d2"); err != nil || p == nil || p.HostID != "d2" || p.DeviceID != *device("d2") || !cmp.Equal(p.FixedIPs, first.FixedIPs) {
		t.Errorf("d2 takes the reserved port with its address: %+v, %v", p, err)
	}
	call(e, rpc.ReleaseDHCPPort, rpc.ReleaseDHCPPortArgs{Host: "d2", NetworkID: n.ID, DeviceID: *device("d2")})
	if p, err := take("d2"); p != nil || err != nil {
		t.Errorf("the port was released: %+v, %v", p, err)
	}
	remove(e, e.catalog.Networks, e.core.Networks(), n.ID)
	if p := ask("d2"); p != nil {
		t.Errorf("a port without a network: %+v", p)
	}
	if info := call(e, rpc.GetNetworkInfo, rpc.NetworkInfoArgs{NetworkID: n.ID}); info != nil {
		t.Errorf("a network that is gone: %+v", info)
	}
}

func (e *env) agentID(host string) string {
	e.Helper()
	var id string
	if err := e.db.Read(e.ctx, func(tx *store.Tx) error {
		return tx.QueryRow("SELECT id FROM agents WHERE host = ? AND agent_type = 'DHCP agent'", host).Scan(&id)
	}); err != nil {
		e.Fatal(err)
	}
	return id
}

func TestActiveNetworks(t *testing.T) {
	e := setUp(t)
	n := e.network("net", "10.0.0.0/24", true) // no agent lives
	create(e, e.catalog.Subnets, e.core.Subnets(), body{"network_id": n.ID, "cidr": "10.0.1.0/24", "ip_version": "4", "enable_dhcp": false})
	e.network("static", "10.1.0.0/24", false)
	p := e.port(n, "", "10.0.0.10")
	e.dhcp("d1")
	off := false
	for _, tt := range []struct {
		filter  *bool
		subnets int
	}{{nil, 1}, {&off, 2}} {
		list := call(e, rpc.GetActiveNetworksInfo, rpc.HostArgs{Host: "d1", EnableDHCPFilter: tt.filter})
		if len(list) != 1 || list[0].ID != n.ID || len(list[0].Subnets) != tt.subnets || len(list[0].Ports) != 1 || list[0].Ports[0].ID != p.ID {
			t.Errorf("the agent serves %+v", list)
		}
	}
	e.dhcp("d2")
	if list := call(e, rpc.GetActiveNetworksInfo, rpc.HostArgs{Host: "d2"}); len(list) != 0 {
		t.Errorf("one agent is enough: %+v", list)
	}
	if list := call(e, rpc.GetPorts, func() (f rpc.PortFilters) {
		f.Filters.FixedIPs = map[string][]string{"ip_address": {"10.0.0.10"}}
		f.Filters.NetworkID = []string{n.ID}
		return f
	}()); len(list) != 1 || list[0].ID != p.ID {
		t.Errorf("the port by its address: %+v", list)
	}
}
