package secgroup

import (
	"fmt"
	"net/url"
	"slices"
	"testing"

	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/resource/resourcetest"
	"neutrino/internal/store"

	"github.com/google/go-cmp/cmp"
)

// describe is a rule in a line.
func describe(r *model.SecurityGroupRule, own string) string {
	remote := text(r.RemoteGroupID)
	if remote == own {
		remote = "own group"
	}
	return fmt.Sprintf("%s %s %s %s-%s from %s %s", r.Direction, r.Ethertype, text(r.Protocol), text(r.PortRangeMin), text(r.PortRangeMax),
		remote, text(r.RemoteIPPrefix))
}

func (e *env) rulesOf(id string) []string {
	e.Helper()
	var out []string
	err := e.db.Read(e.ctx, func(tx *store.Tx) error {
		g, err := e.catalog.SecurityGroups.Get(tx, admin, id, e.catalog.SecurityGroups.All)
		if err != nil {
			return err
		}
		if err := e.groups.loadRules(tx, admin, e.catalog.SecurityGroups.All, []*model.SecurityGroup{g}); err != nil {
			return err
		}
		for _, r := range g.Rules {
			out = append(out, describe(r, g.ID))
		}
		return nil
	})
	if err != nil {
		e.Fatal(err)
	}
	return sorted(out)
}

func TestTemplates(t *testing.T) {
	e := setUp(t)
	g := e.group("web")
	out := []string{"egress IPv4 - --- from - -", "egress IPv6 - --- from - -"}
	if diff := cmp.Diff(out, e.rulesOf(g.ID)); diff != "" {
		t.Errorf("rules of a new group (-want +got):\n%s", diff)
	}
	in := []string{"ingress IPv4 - --- from own group -", "ingress IPv6 - --- from own group -"}
	if diff := cmp.Diff(append(out, in...), e.rulesOf(e.defaultGroup("p"))); diff != "" {
		t.Errorf("rules of a default group (-want +got):\n%s", diff)
	}
}

func TestEnsureDefault(t *testing.T) {
	e := setUp(t)
	ensure := func(caller *identity.Caller, project string) string {
		t.Helper()
		var id string
		err := e.db.Write(e.ctx, func(tx *store.Tx) (err error) { id, err = e.groups.EnsureDefault(tx, caller, project); return err })
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	if id := ensure(member, "other"); id != "" {
		t.Error("a user made the default group of another project")
	}
	if id := ensure(member, ""); id != "" {
		t.Error("no project has a default group")
	}
	first := ensure(member, "p")
	if first == "" || ensure(admin, "p") != first || ensure(member, "p") != first {
		t.Error("the default group is made once")
	}
	if ensure(admin, "third") == first {
		t.Error("two projects share a default group")
	}
}

func TestBeforeList(t *testing.T) {
	for _, tt := range []struct {
		name, query string
		caller      *identity.Caller
		want        []string
	}{
		{"own project", "", member, []string{"p"}},
		{"another project by a user", "project_id=other", member, nil},
		{"another project by an administrator", "tenant_id=other", admin, []string{"other"}},
		{"no project", "", &identity.Caller{IsAdmin: true}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := setUp(t)
			q, _ := url.ParseQuery(tt.query)
			for range 2 {
				if err := e.groups.ensureForList(e.ctx, tt.caller, q); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(tt.want, e.strings("SELECT project_id FROM default_security_group ORDER BY project_id")); diff != "" {
				t.Errorf("projects with a default group (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGroupRefusals(t *testing.T) {
	e := setUp(t)
	used, free := e.group("used"), e.group("free")
	n := e.network(body{})
	e.port(body{"network_id": n.ID, "security_groups": []any{used.ID}})
	def := e.defaultGroup("p")
	put := func(id string, b body) error {
		return update(e, e.catalog.SecurityGroups, e.groups.Groups(), member, id, b)
	}
	del := func(c *identity.Caller, id string) error {
		return remove(e, e.catalog.SecurityGroups, e.groups.Groups(), c, id)
	}
	tests := []struct {
		name string
		do   func() error
		want string
	}{
		{"rename the default group", func() error { return put(def, body{"name": "x"}) },
			"409 SecurityGroupCannotUpdateDefault: Updating default security group not allowed."},
		{"describe the default group", func() error { return put(def, body{"description": "x"}) }, ""},
		{"stateless while in use", func() error { return put(used.ID, body{"stateful": false}) }, "409 SecurityGroupInUse: Security Group " + used.ID + " in use."},
		{"stateless", func() error { return put(free.ID, body{"stateful": false}) }, ""},
		{"delete while in use", func() error { return del(admin, used.ID) }, "409 SecurityGroupInUse: Security Group " + used.ID + " in use."},
		{"delete the default group", func() error { return del(member, def) },
			"409 SecurityGroupCannotRemoveDefault: Insufficient rights for removing default security group."},
		{"delete what another project has", func() error { return del(other, free.ID) },
			"404 SecurityGroupNotFound: Security group " + free.ID + " does not exist"},
		{"delete the default group as administrator", func() error { return del(admin, def) }, ""},
		{"a second default group", func() error { _, err := e.tryGroup(member, body{"name": "Default"}); return err },
			"409 SecurityGroupDefaultAlreadyExists: Default security group already exists."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { resourcetest.Wants(t, tt.do(), tt.want) })
	}
}

func TestDeletedGroupLeavesNothing(t *testing.T) {
	e := setUp(t)
	gone, stays := e.group("gone"), e.group("stays")
	if _, err := e.tryRules(member, body{"security_group_id": stays.ID, "direction": "ingress", "remote_group_id": gone.ID}); err != nil {
		t.Fatal(err)
	}
	e.rules = nil
	if err := remove(e, e.catalog.SecurityGroups, e.groups.Groups(), member, gone.ID); err != nil {
		t.Fatal(err)
	}
	orphans := e.strings("SELECT resource_type FROM standardattributes a WHERE resource_type IN ('securitygroups', 'securitygrouprules') " +
		"AND NOT EXISTS (SELECT 1 FROM securitygroups g WHERE g.standard_attr_id = a.id) " +
		"AND NOT EXISTS (SELECT 1 FROM securitygrouprules r WHERE r.standard_attr_id = a.id)")
	if len(orphans) > 0 {
		t.Errorf("standard attributes without an object: %v", orphans)
	}
	if n := len(e.rulesOf(stays.ID)); n != 2 {
		t.Errorf("the other group has %d rules, want the 2 it began with", n)
	}
	if len(e.rules) != 1 || !slices.Equal(e.rules[0], []string{stays.ID}) {
		t.Errorf("agents are told of rules of %v, want those of %s", e.rules, stays.ID)
	}
}

func TestDefaultStatefulness(t *testing.T) {
	e := setUp(t)
	exec := func(q string, args ...any) {
		t.Helper()
		if err := e.db.Write(e.ctx, func(tx *store.Tx) error { _, err := tx.Exec(q, args...); return err }); err != nil {
			t.Fatal(err)
		}
	}
	exec("INSERT INTO security_groups_default_statefulness (id, project_id, stateful) VALUES ('1', 'p', ?)", false)
	if e.group("a").Stateful {
		t.Error("the project's groups are stateless")
	}
	if g, err := e.tryGroup(member, body{"name": "b", "stateful": true}); err != nil || !g.Stateful {
		t.Errorf("a request decides itself: %v", err)
	}
	if g, err := e.tryGroup(other, body{"name": "c"}); err != nil || !g.Stateful {
		t.Errorf("other projects keep upstream's default: %v", err)
	}
}

func TestQuotaOfTemplates(t *testing.T) {
	e := setUp(t)
	e.quota = nil
	e.group("first") // 4 rules of the default group and 2
	if err := e.db.Write(e.ctx, func(tx *store.Tx) error {
		return e.groups.quota.(interface {
			Set(*store.Tx, string, map[string]int, bool) error
		}).Set(tx, "p", map[string]int{"security_group_rule": 7}, false)
	}); err != nil {
		t.Fatal(err)
	}
	_, err := e.tryGroup(member, body{"name": "second"})
	resourcetest.Wants(t, err, "409 OverQuota: Quota exceeded for resources: ['security_group_rule'].")
}

func TestPortGroups(t *testing.T) {
	e := setUp(t)
	n := e.network(body{})
	e.subnet(n, "10.0.0.0/24")
	bare := e.network(body{}) // without a subnet
	open := e.network(body{"port_security_enabled": false})
	a, b := e.group("a"), e.group("b")
	stateless, err := e.tryGroup(member, body{"name": "s", "stateful": false})
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := e.tryGroup(other, body{"name": "f"})
	if err != nil {
		t.Fatal(err)
	}
	def := e.defaultGroup("p")
	const conflict = "409 SecurityGroupConflict: Error Cannot apply both stateful and stateless security groups on the same port at the same time " +
		"while attempting the operation."
	tests := []struct {
		name   string
		caller *identity.Caller
		body   body
		groups []string
		err    string
	}{
		{"nothing said", member, body{"network_id": n.ID}, []string{def}, ""},
		{"without addresses", member, body{"network_id": bare.ID}, []string{def}, ""},
		{"none", member, body{"network_id": n.ID, "security_groups": []any{}}, nil, ""},
		{"some", member, body{"network_id": n.ID, "security_groups": []any{a.ID, b.ID}}, []string{a.ID, b.ID}, ""},
		{"network without port security", member, body{"network_id": open.ID}, nil, ""},
		{"a service's", admin, body{"network_id": n.ID, "device_owner": "network:dhcp"}, nil, ""},
		{"mixed", member, body{"network_id": n.ID, "security_groups": []any{a.ID, stateless.ID}}, nil, conflict},
		{"another project's", member, body{"network_id": n.ID, "security_groups": []any{foreign.ID}}, nil,
			"404 SecurityGroupNotFound: Security group " + foreign.ID + " does not exist"},
		{"another project's by an administrator", admin, body{"network_id": n.ID, "security_groups": []any{foreign.ID}}, []string{foreign.ID}, ""},
		{"of another project, default", admin, body{"network_id": n.ID, "project_id": "other"}, []string{e.defaultGroup("other")}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := e.tryPort(tt.caller, tt.body)
			resourcetest.Wants(t, err, tt.err)
			if err != nil {
				return
			}
			got := e.strings("SELECT security_group_id FROM securitygroupportbindings WHERE port_id = ?", p.ID)
			if !same(got, tt.groups) || !same(p.SecurityGroups, tt.groups) {
				t.Errorf("the port has the groups %v (database: %v), want %v", p.SecurityGroups, got, tt.groups)
			}
		})
	}
}

func TestMembersChanged(t *testing.T) {
	e := setUp(t)
	n := e.network(body{})
	e.subnet(n, "10.0.0.0/24")
	a, b := e.group("a"), e.group("b")
	p := e.port(body{"network_id": n.ID, "security_groups": []any{a.ID}, "fixed_ips": []any{body{"ip_address": "10.0.0.10"}, body{"ip_address": "10.0.0.20"}}})
	put := func(attrs body) func() error {
		return func() error { return update(e, e.catalog.Ports, e.core.Ports(), admin, p.ID, attrs) }
	}
	if len(e.members) != 1 || !same(e.members[0], []string{a.ID}) {
		t.Errorf("after create: %v", e.members)
	}
	for _, tt := range []struct {
		name string
		do   func() error
		want []string
		at   string // addresses; "any" for any
	}{
		{"name", put(body{"name": "x"}), nil, ""},
		{"the same addresses in another order", put(body{"fixed_ips": []any{body{"ip_address": "10.0.0.20"}, body{"ip_address": "10.0.0.10"}}}), nil, ""},
		{"addresses", put(body{"fixed_ips": []any{body{"ip_address": "10.0.0.11"}}}), []string{a.ID}, "[10.0.0.10 10.0.0.11 10.0.0.20]"},
		{"allowed pairs", put(body{"allowed_address_pairs": []any{body{"ip_address": "10.1.0.1/32"}}}), []string{a.ID}, "[10.0.0.11 10.1.0.1]"},
		{"allowed prefixes", put(body{"allowed_address_pairs": []any{body{"ip_address": "10.1.0.0/24"}}}), []string{a.ID}, "any"},
		{"no prefix any more", put(body{"allowed_address_pairs": []any{}}), []string{a.ID}, "any"},
		{"MAC address", put(body{"mac_address": "fa:16:3e:00:00:99"}), []string{a.ID}, "[10.0.0.11]"},
		{"groups", put(body{"security_groups": []any{b.ID}}), []string{a.ID, b.ID}, "[10.0.0.11]"},
		{"another port without groups", func() error {
			_, err := e.tryPort(admin, body{"network_id": n.ID, "security_groups": []any{}})
			return err
		}, nil, ""},
		{"delete", func() error { return remove(e, e.catalog.Ports, e.core.Ports(), admin, p.ID) }, []string{b.ID}, "[10.0.0.11]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e.members = nil
			if err := tt.do(); err != nil {
				t.Fatal(err)
			}
			switch {
			case len(tt.want) == 0 && len(e.members) > 0, len(tt.want) > 0 && len(e.members) != 1:
				t.Errorf("told of %v, want %v", e.members, tt.want)
			case len(tt.want) > 0 && !same(e.members[0], tt.want):
				t.Errorf("told of %v, want %v", e.members[0], tt.want)
			}
			at := fmt.Sprint(e.at)
			if e.at == nil {
				at = "any"
			}
			if len(tt.want) > 0 && at != tt.at {
				t.Errorf("told of %s, want %s", at, tt.at)
			}
		})
	}
}

// TestListIsBounded: rules of many groups are one query.
func TestListIsBounded(t *testing.T) {
	e := setUp(t)
	for i := range 8 {
		e.group(fmt.Sprint("g", i))
	}
	cost := func(limit int) int64 {
		before := e.db.Statements()
		err := e.db.Read(e.ctx, func(tx *store.Tx) error {
			r := e.catalog.SecurityGroups
			list, err := r.Select(tx, &resource.Query{Set: r.All, Limit: limit})
			if err != nil {
				return err
			}
			return e.groups.loadRules(tx, admin, r.All, list)
		})
		if err != nil {
			t.Fatal(err)
		}
		return e.db.Statements() - before
	}
	if one, many := cost(1), cost(8); one != many {
		t.Errorf("1 group took %d statements, 8 took %d", one, many)
	}
}
