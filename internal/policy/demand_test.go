package policy

import (
	"errors"
	"testing"

	"neutrino/internal/fault"

	"github.com/google/go-cmp/cmp"
)

// TestDemand has the trees and answers that Neutron 29.0.0 gave for these requests. The target belongs to the caller's
// project, its network to another one.
func TestDemand(t *testing.T) {
	rules, err := Load(Options{})
	if err != nil {
		t.Fatal(err)
	}
	target := &rowTarget{attrs: map[string]string{"project_id": "p1", "device_owner": ""},
		parents: map[string]string{"network:project_id": "p2", "network:shared": "False"}}
	for _, tt := range []struct {
		verb                   Verb
		resource               string
		given                  []Given
		want                   string
		admin, member, service bool
	}{
		{Create, "network", []Given{{Name: "shared"}}, "(rule:create_network and rule:create_network:shared)", true, false, false},
		{Create, "network", nil, "rule:create_network", true, true, false},
		{Create, "network", []Given{{Name: "mtu"}, {Name: "qos_policy_id"}}, // neither has a rule: the default one counts
			"((rule:create_network and rule:create_network:mtu) and rule:create_network:qos_policy_id)", true, true, false},
		{Create, "network", []Given{{Name: "segments", Items: []string{"provider:network_type", "provider:segmentation_id", "provider:network_type"}}},
			"(rule:create_network and (rule:create_network:segments and (rule:create_network:segments:provider:network_type and " +
				"rule:create_network:segments:provider:segmentation_id and rule:create_network:segments:provider:network_type)))", true, false, false},
		{Create, "port", []Given{{Name: "device_id"}, {Name: "device_owner"}},
			"((rule:create_port and rule:create_port:device_id) and rule:create_port:device_owner)", true, false, true},
		{Create, "port", []Given{{Name: "fixed_ips", Items: []string{"subnet_id", "ip_address", "subnet_id"}}},
			"(rule:create_port and (rule:create_port:fixed_ips and (rule:create_port:fixed_ips:subnet_id and " +
				"rule:create_port:fixed_ips:ip_address and rule:create_port:fixed_ips:subnet_id)))", true, false, true},
		{Create, "port", []Given{{Name: "fixed_ips"}}, "(rule:create_port and rule:create_port:fixed_ips)", true, false, true},
		{Create, "port", []Given{{Name: "allowed_address_pairs", Items: []string{"ip_address", "mac_address"}}, {Name: "binding:host_id"},
			{Name: "binding:profile", Keys: []string{"a"}}},
			"(((rule:create_port and (rule:create_port:allowed_address_pairs and (rule:create_port:allowed_address_pairs:ip_address and " +
				"rule:create_port:allowed_address_pairs:mac_address))) and rule:create_port:binding:host_id) and rule:create_port:binding:profile)",
			false, false, true}, // binding:profile is for services only
		{Create, "port", []Given{{Name: "hints", Keys: []string{"openvswitch"}}},
			"(rule:create_port and (rule:create_port:hints and (rule:create_port:hints:openvswitch)))", true, false, false},
		{Update, "port", []Given{{Name: "mac_address"}, {Name: "fixed_ips", Items: []string{"ip_address"}}},
			"((rule:update_port and rule:update_port:mac_address) and (rule:update_port:fixed_ips and (rule:update_port:fixed_ips:ip_address)))",
			true, false, true},
		{Create, "router", []Given{{Name: "external_gateway_info", Keys: []string{"enable_snat", "external_fixed_ips", "network_id"}}},
			"(rule:create_router and (rule:create_router:external_gateway_info and (rule:create_router:external_gateway_info:network_id and " +
				"rule:create_router:external_gateway_info:external_fixed_ips and rule:create_router:external_gateway_info:enable_snat)))", true, false, false},
		{Create, "router", []Given{{Name: "external_gateway_info", Keys: []string{"qos_policy_id", "network_id"}}},
			"(rule:create_router and (rule:create_router:external_gateway_info and (rule:create_router:external_gateway_info:network_id and " +
				"rule:create_router:external_gateway_info:qos_policy_id)))", true, true, false},
		{Update, "router", []Given{{Name: "external_gateway_info", Keys: []string{}}},
			"(rule:update_router and (rule:update_router:external_gateway_info and ()))", true, true, false},
		{Update, "router", []Given{{Name: "external_gateway_info"}}, "(rule:update_router and rule:update_router:external_gateway_info)", true, true, false},
		{Update, "router", []Given{{Name: "ha"}}, "(rule:update_router and rule:update_router:ha)", true, false, false},
		{Get, "router", []Given{{Name: "ha"}}, "rule:get_router", true, true, false},
		{Delete, "network", []Given{{Name: "shared"}}, "rule:delete_network", true, true, false},
		{Create, "floatingip", []Given{{Name: "floating_ip_address"}},
			"(rule:create_floatingip and rule:create_floatingip:floating_ip_address)", true, false, false},
		{Create, "trunk", []Given{{Name: "sub_ports", Items: []string{"port_id", "segmentation_id"}}},
			"(rule:create_trunk and (rule:create_trunk:sub_ports and (rule:create_trunk:sub_ports:port_id and " +
				"rule:create_trunk:sub_ports:segmentation_id)))", true, true, false},
	} {
		d := NewDemand(tt.verb, tt.resource, tt.given)
		if diff := cmp.Diff(tt.want, d.String()); diff != "" {
			t.Error(diff)
		}
		for roles, want := range map[string]bool{"admin": tt.admin, "member": tt.member, "service": tt.service} {
			caller := rules.For(Credentials{ProjectID: "p1", Roles: Expand([]string{roles})})
			err := caller.Enforce(d, target)
			if err != nil && err.Error() != "PolicyNotAuthorized: "+tt.want+" is disallowed by policy" {
				t.Errorf("%s, %s: %v", roles, d, err)
			}
			if got := err == nil; got != want {
				t.Errorf("%s, %s: got %t", roles, d, got)
			}
		}
	}
}

func TestEnforceReadsNothingInVain(t *testing.T) {
	rules, err := Load(Options{})
	if err != nil {
		t.Fatal(err)
	}
	target := &rowTarget{attrs: map[string]string{"project_id": "p1"}, err: errors.New("no database")}
	member := rules.For(Credentials{ProjectID: "p1", Roles: Expand([]string{"member"})})
	d := NewDemand(Create, "subnet", []Given{{Name: "segment_id"}}) // create_subnet asks the network, :segment_id the roles
	if err := member.Enforce(d, target); !fault.Is(err, "PolicyNotAuthorized") || target.reads > 0 {
		t.Errorf("got %v after %d reads", err, target.reads)
	}
	if err := member.Enforce(NewDemand(Create, "subnet", nil), target); !errors.Is(err, target.err) {
		t.Errorf("got %v, want the error of the look-up", err)
	}
}

func TestScope(t *testing.T) {
	rules, err := Load(Options{})
	if err != nil {
		t.Fatal(err)
	}
	target := &rowTarget{}
	for scope, creds := range map[string]Credentials{
		"system": {Roles: Expand([]string{"admin"}), SystemScope: "all"},
		"domain": {Roles: Expand([]string{"admin"}), DomainID: "default"},
	} {
		err := rules.For(creds).Enforce(NewDemand(Create, "network", []Given{{Name: "shared"}}), target)
		want := "InvalidScope: (rule:create_network and rule:create_network:shared) requires a scope of ['project'], " +
			"request was made with " + scope + " scope."
		if err == nil || err.Error() != want {
			t.Errorf("%s: got %v", scope, err)
		}
	}
}

func TestHidden(t *testing.T) {
	rules, err := Load(Options{})
	if err != nil {
		t.Fatal(err)
	}
	own := &rowTarget{attrs: map[string]string{"project_id": "p1"}}
	foreign := &rowTarget{attrs: map[string]string{"project_id": "p2"}}
	for _, tt := range []struct {
		roles  string
		target *rowTarget
		want   []string
	}{
		{"admin", own, nil},
		{"service", own, []string{"hints", "pvlan_community", "pvlan_type", "resource_request", "tags", "trusted"}},
		{"member", own, []string{"binding:host_id", "binding:profile", "binding:vif_details", "binding:vif_type", "hints", "resource_request", "trusted"}},
		{"member", foreign, rules.ReadAttrs("port")},
	} {
		got, err := rules.For(Credentials{ProjectID: "p1", Roles: Expand([]string{tt.roles})}).Hidden("port", tt.target)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: %s", tt.roles, diff)
		}
	}
	if got := rules.ReadAttrs("flavor"); len(got) > 0 {
		t.Errorf("flavors: %v", got)
	}
}
