package secgroup

import (
	"testing"

	"neutrino/internal/fault"
	"neutrino/internal/identity"
	"neutrino/internal/resource/resourcetest"
	"neutrino/internal/store"

	"github.com/google/go-cmp/cmp"
)

// TestDefaultRules: templates are checked as rules are, and new groups get them.
func TestDefaultRules(t *testing.T) {
	e := setUp(t)
	add := func(b body) error {
		_, err := create(e, e.catalog.DefaultSecurityGroupRules, e.groups.DefaultRules(), admin, b)
		return err
	}
	for _, tt := range []struct {
		name string
		body body
		want string
	}{
		{"for others", body{"direction": "ingress", "protocol": "tcp", "port_range_min": "22", "port_range_max": "22", "description": "ssh"}, ""},
		{"from the group itself", body{"direction": "ingress", "remote_group_id": "PARENT"}, ""},
		{"from a group that does not exist", body{"direction": "ingress", "remote_group_id": "00000000-0000-4000-8000-000000000000"}, ""},
		{"from addresses that do not exist", body{"direction": "ingress", "remote_address_group_id": "00000000-0000-4000-8000-000000000000"}, ""},
		{"ports without protocol", body{"direction": "ingress", "port_range_min": "22", "port_range_max": "22"},
			"400 SecurityGroupProtocolRequiredWithPorts: Must also specify protocol if port range is given."},
		{"two remotes", body{"direction": "ingress", "remote_group_id": "PARENT", "remote_ip_prefix": "10.0.0.0/8"},
			"400 SecurityGroupMultipleRemoteEntites: Only one of remote_ip_prefix or remote_group_id or remote_address_group_id may be provided."},
	} {
		tt.body["used_in_default_sg"], tt.body["used_in_non_default_sg"] = false, true
		t.Run(tt.name, func(t *testing.T) { resourcetest.Wants(t, add(tt.body), tt.want) })
	}
	if err := add(body{"direction": "ingress", "remote_group_id": "PARENT", "used_in_default_sg": true, "used_in_non_default_sg": true}); !fault.Is(err, "DefaultSecurityGroupRuleExists") {
		t.Errorf("the same template twice: %v", err)
	}
	g := e.group("web")
	want := []string{"egress IPv4 - --- from - -", "egress IPv6 - --- from - -", "ingress IPv4 - --- from own group -", "ingress IPv4 tcp 22-22 from - -"}
	if diff := cmp.Diff(want, e.rulesOf(g.ID)); diff != "" {
		t.Errorf("rules of a new group (-want +got):\n%s", diff)
	}
	for _, r := range g.Rules {
		if r.Description != nil {
			t.Errorf("a rule has its template's description: %+v", r)
		}
	}
}

// TestStatefulnessSettings: a project's own setting goes before that for all.
func TestStatefulnessSettings(t *testing.T) {
	e := setUp(t)
	set := func(caller *identity.Caller, b body) error {
		_, err := create(e, e.catalog.DefaultStatefulnesses, e.groups.DefaultStatefulness(), caller, b)
		return err
	}
	stateful := func(project string) (is bool) {
		t.Helper()
		if err := e.db.Read(e.ctx, func(tx *store.Tx) (err error) { is, err = e.groups.defaultStateful(tx, project); return err }); err != nil {
			t.Fatal(err)
		}
		return is
	}
	if !stateful("p") {
		t.Error("groups are stateless without any setting")
	}
	resourcetest.Wants(t, set(admin, body{"project_id": nil, "stateful": false}), "")
	if stateful("p") {
		t.Error("the setting for all projects has no effect")
	}
	resourcetest.Wants(t, set(member, body{"stateful": true}), "")
	if !stateful("p") || stateful("other") {
		t.Error("a project's own setting does not go before that for all")
	}
	const exists = "409 SecurityGroupDefaultStatefulnessAlreadyExists: A security group default statefulness setting already exists for project "
	resourcetest.Wants(t, set(member, body{"stateful": true}), exists+"'p'.")
	resourcetest.Wants(t, set(admin, body{"project_id": nil}), exists+"'system-wide'.")
}
