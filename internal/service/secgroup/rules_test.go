package secgroup

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource/resourcetest"
	"neutrino/internal/store"
)

func TestRuleChecks(t *testing.T) {
	e := setUp(t)
	g := e.group("g")
	foreign, err := e.tryGroup(other, body{"name": "f"})
	if err != nil {
		t.Fatal(err)
	}
	const nobody = "00000000-0000-0000-0000-00000000dead"
	noPorts := func(n string) string {
		return "400 SecurityGroupInvalidProtocolForPort: Ports cannot be specified for protocol " + n +
			". Ports are only supported for DCCP, SCTP, TCP, UDP, UDPLITE."
	}
	const badRange = "400 SecurityGroupInvalidPortRange: For TCP/UDP protocols, port_range_min must be <= port_range_max"
	tests := []struct {
		name string
		body body
		want string // the rule or the error
	}{
		{"all", body{}, "ingress IPv4 - --- from - -"},
		{"a port", body{"protocol": "tcp", "port_range_min": json.Number("22"), "port_range_max": "22"}, "ingress IPv4 tcp 22-22 from - -"},
		{"all ports", body{"protocol": "udp", "port_range_min": json.Number("1"), "port_range_max": json.Number("65535")}, "ingress IPv4 udp --- from - -"},
		{"address without prefix", body{"remote_ip_prefix": "10.0.0.1"}, "ingress IPv4 - --- from - 10.0.0.1/32"},
		{"host bits stay", body{"remote_ip_prefix": "10.0.0.1/8"}, "ingress IPv4 - --- from - 10.0.0.1/8"},
		{"ICMP in IPv6", body{"ethertype": "ipv6", "protocol": "icmp"}, "ingress IPv6 ipv6-icmp --- from - -"},
		{"old ICMPv6 name", body{"ethertype": "IPv6", "protocol": "ICMPv6", "direction": "egress", "port_range_min": json.Number("128")}, "egress IPv6 ipv6-icmp 128-- from - -"},
		{"ICMP number in IPv6", body{"ethertype": "IPv6", "protocol": json.Number("1"), "direction": "egress"}, "egress IPv6 58 --- from - -"},
		{"ICMP type 0", body{"protocol": "icmp", "port_range_min": json.Number("0")}, "ingress IPv4 icmp 0-- from - -"},
		{"own group", body{"remote_group_id": g.ID}, "ingress IPv4 - --- from own group -"},
		{"any", body{"protocol": "any", "direction": "egress", "ethertype": "IPv4", "remote_ip_prefix": "10.0.0.0/8"}, "egress IPv4 - --- from - 10.0.0.0/8"},

		{"ports without protocol", body{"port_range_min": json.Number("1"), "port_range_max": json.Number("2")},
			"400 SecurityGroupProtocolRequiredWithPorts: Must also specify protocol if port range is given."},
		{"port 0", body{"protocol": "tcp", "port_range_min": json.Number("0"), "port_range_max": json.Number("2")}, "400 SecurityGroupInvalidPortValue: Invalid value for port 0"},
		{"turned round", body{"protocol": "tcp", "port_range_min": json.Number("3"), "port_range_max": json.Number("2")}, badRange},
		{"one end", body{"protocol": "6", "port_range_min": json.Number("3")}, badRange},
		{"ports for a protocol without", body{"protocol": "gre", "port_range_min": json.Number("3")}, noPorts("47")},
		{"ICMP type too large", body{"protocol": "icmp", "port_range_min": json.Number("256")},
			"400 SecurityGroupInvalidIcmpValue: Invalid value for ICMP type (port_range_min) 256. It must be 0 to 255."},
		{"ICMP code without type", body{"protocol": "icmp", "port_range_max": json.Number("3")},
			"400 SecurityGroupMissingIcmpType: ICMP code (port-range-max) 3 is provided but ICMP type (port-range-min) is missing."},
		{"prefix of the other family", body{"remote_ip_prefix": "2001:db8::/64"},
			"400 SecurityGroupRuleParameterConflict: Conflicting value ethertype IPv4 for CIDR 2001:db8::/64"},
		{"IPv6 protocol", body{"protocol": "ipv6-icmp"}, "400 SecurityGroupEthertypeConflictWithProtocol: Invalid ethertype IPv4 for protocol ipv6-icmp."},
		{"prefix and group", body{"remote_ip_prefix": "10.0.0.0/8", "remote_group_id": g.ID},
			"400 SecurityGroupMultipleRemoteEntites: Only one of remote_ip_prefix or remote_group_id or remote_address_group_id may be provided."},
		{"unknown remote group", body{"remote_group_id": nobody}, "404 SecurityGroupNotFound: Security group " + nobody + " does not exist"},
		{"another project's remote group", body{"remote_group_id": foreign.ID}, "404 SecurityGroupNotFound: Security group " + foreign.ID + " does not exist"},
		{"another project's group", body{"security_group_id": foreign.ID}, "404 SecurityGroupNotFound: Security group " + foreign.ID + " does not exist"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := body{"security_group_id": g.ID, "direction": "ingress"}
			maps.Copy(b, tt.body)
			rules, err := e.tryRules(member, b)
			if err != nil || tt.want[0] == '4' {
				resourcetest.Wants(t, err, tt.want)
				return
			}
			if got := describe(rules[0], g.ID); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestDuplicateRules(t *testing.T) {
	e := setUp(t)
	g := e.group("g")
	rule := func(kv ...any) body {
		b := body{"security_group_id": g.ID, "direction": "ingress"}
		for i := 0; i+1 < len(kv); i += 2 {
			b[kv[i].(string)] = kv[i+1]
		}
		return b
	}
	first, err := e.tryRules(member, rule("protocol", "icmp"))
	if err != nil {
		t.Fatal(err)
	}
	exists := "409 SecurityGroupRuleExists: Security group rule already exists. Rule id is " + first[0].ID + "."
	const twice = "409 DuplicateSecurityGroupRuleInPost: Duplicate Security Group Rule in POST."
	for _, tt := range []struct {
		name   string
		bodies []body
		want   string
	}{
		{"the same", []body{rule("protocol", "icmp")}, exists},
		{"by number", []body{rule("protocol", "1")}, exists},
		{"from anywhere", []body{rule("protocol", "icmp", "remote_ip_prefix", "0.0.0.0/0")}, exists},
		{"another description", []body{rule("protocol", "icmp", "description", "x")}, exists},
		{"twice in a request", []body{rule("protocol", "tcp"), rule("protocol", "6")}, twice},
		{"different", []body{rule("protocol", "tcp"), rule("protocol", "udp"), rule("protocol", "icmp", "direction", "egress")}, ""},
		{"two groups", []body{rule("protocol", "gre"), rule("security_group_id", e.defaultGroup("p"))},
			"400 SecurityGroupNotSingleGroupRules: Only allowed to update rules for one security profile at a time"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := e.tryRules(member, tt.bodies...)
			resourcetest.Wants(t, err, tt.want)
		})
	}
	_, err = e.tryRules(admin, rule("protocol", "gre"), rule("protocol", "esp", "project_id", "other"))
	resourcetest.Wants(t, err, "400 SecurityGroupRulesNotSingleProject: Multiple project_ids in bulk security group rule create not allowed")
}

// TestEveryRemoteGroupIsChecked: that one rule names the own group must not hide what another one names.
func TestEveryRemoteGroupIsChecked(t *testing.T) {
	e := setUp(t)
	g := e.group("g")
	const nobody = "00000000-0000-0000-0000-00000000dead"
	_, err := e.tryRules(member, body{"security_group_id": g.ID, "direction": "ingress", "remote_group_id": g.ID},
		body{"security_group_id": g.ID, "direction": "ingress", "remote_group_id": nobody})
	resourcetest.Wants(t, err, "404 SecurityGroupNotFound: Security group "+nobody+" does not exist")
}

func TestRulesTellAndCount(t *testing.T) {
	e := setUp(t)
	g := e.group("g")
	revision := func() string {
		return strings.Join(e.strings("SELECT revision_number FROM standardattributes a JOIN securitygroups g ON g.standard_attr_id = a.id WHERE g.id = ?", g.ID), "")
	}
	before := revision()
	rules, err := e.tryRules(member, body{"security_group_id": g.ID, "direction": "ingress", "protocol": "tcp"},
		body{"security_group_id": g.ID, "direction": "ingress", "protocol": "udp"})
	if err != nil {
		t.Fatal(err)
	}
	if len(e.rules) != 1 || !same(e.rules[0], []string{g.ID}) {
		t.Errorf("told of %v, want the group once", e.rules)
	}
	if revision() == before {
		t.Error("new rules leave the group's revision")
	}
	before, e.rules = revision(), nil
	if err := remove(e, e.catalog.SecurityGroupRules, e.groups.Rules(), member, rules[0].ID); err != nil {
		t.Fatal(err)
	}
	if len(e.rules) != 1 || revision() == before {
		t.Errorf("deleting a rule: told %v, revision %s", e.rules, revision())
	}
	e.rules = nil
	if _, err := e.tryRules(member, body{"security_group_id": g.ID, "direction": "ingress", "protocol": "udp"}); err == nil {
		t.Error("the other rule is still there")
	}
	if len(e.rules) > 0 {
		t.Error("told of a change that was rolled back")
	}
}

// TestRuleOfAnotherProject: a rule that an administrator gave another project than its group's is not found by the group's owner who deletes it.
func TestRuleOfAnotherProject(t *testing.T) {
	e := setUp(t)
	g := e.group("g")
	rules, err := e.tryRules(admin, body{"security_group_id": g.ID, "direction": "ingress", "protocol": "tcp", "project_id": "other"})
	if err != nil {
		t.Fatal(err)
	}
	id := rules[0].ID
	resourcetest.Wants(t, remove(e, e.catalog.SecurityGroupRules, e.groups.Rules(), member, id), "404 SecurityGroupRuleNotFound: Security group rule "+id+" does not exist")
	for _, caller := range []*identity.Caller{other, admin} {
		rules, err := e.tryRules(admin, body{"security_group_id": g.ID, "direction": "ingress", "protocol": "udp", "project_id": "other"})
		if err != nil {
			t.Fatal(err)
		}
		resourcetest.Wants(t, remove(e, e.catalog.SecurityGroupRules, e.groups.Rules(), caller, rules[0].ID), "")
	}
}

func TestNormalizedCIDR(t *testing.T) {
	e := setUp(t)
	prefix := "10.1.2.3/16"
	r := &model.SecurityGroupRule{RemoteIPPrefix: &prefix}
	err := e.db.Read(e.ctx, func(tx *store.Tx) error {
		return e.groups.Rules().Load(tx, admin, 0, []*model.SecurityGroupRule{r, {}})
	})
	if err != nil || text(r.NormalizedCIDR) != "10.1.0.0/16" {
		t.Errorf("%v %s", err, text(r.NormalizedCIDR))
	}
}
