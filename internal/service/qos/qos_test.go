package qos

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"testing"

	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/resource/resourcetest"
	"neutrino/internal/service/ml2"
	"neutrino/internal/store"
	"neutrino/internal/store/dbtest"

	"github.com/google/uuid"
)

var ctx = context.Background()

var (
	admin  = &identity.Caller{ProjectID: "p", IsAdmin: true}
	member = &identity.Caller{ProjectID: "p"}
)

type body = map[string]any

type env struct {
	*testing.T
	db      *store.DB
	catalog *model.Catalog
	core    *ml2.Plugin
	qos     *Service
}

func setUp(t *testing.T) *env {
	db := dbtest.Open(t)
	catalog := model.NewCatalog(func(string) bool { return true })
	core := ml2.New(ml2.Config{TypeDrivers: []string{"vxlan", "vlan"}, TenantNetworkTypes: []string{"vxlan"}, MechanismDrivers: []string{"linuxbridge"},
		VNIRanges: []ml2.Range{{Min: 1, Max: 500}}, VLANRanges: []ml2.SegmentRange{{PhysicalNetwork: "net-1"}}}, db, catalog, slog.New(slog.DiscardHandler))
	if err := core.Start(ctx); err != nil {
		t.Fatal(err)
	}
	e := &env{t, db, catalog, core, New(catalog, Drivers([]string{"linuxbridge"}))}
	core.Hooks.BeforeNetwork = append(core.Hooks.BeforeNetwork, e.qos.BeforeNetwork)
	core.Hooks.BeforePort = append(core.Hooks.BeforePort, e.qos.BeforePort)
	return e
}

func made[R any](e *env, caller *identity.Caller, r *resource.Resource[R], logic resource.Logic[R], attrs body) (*R, error) {
	return resourcetest.Create(e.db, r, logic, caller, attrs)
}

func changed[R any](e *env, caller *identity.Caller, r *resource.Resource[R], logic resource.Logic[R], id string, attrs body) error {
	_, err := resourcetest.Update(e.db, r, logic, caller, id, attrs)
	return err
}

func removed[R any](e *env, r *resource.Resource[R], logic resource.Logic[R], id string) error {
	return resourcetest.Delete(e.db, r, logic, admin, id)
}

func (e *env) policy(attrs body) *model.QosPolicy {
	e.Helper()
	p, err := made(e, admin, e.catalog.QosPolicies, e.qos.Policies(), attrs)
	e.want(err, "")
	return p
}

// rule adds a rule given as "kind value direction".
func (e *env) rule(policy, text string) error {
	var kind, direction string
	r := &model.QosRule{}
	if _, err := fmt.Sscanf(text, "%s %d %s", &kind, &r.Value, &direction); err != nil {
		e.Fatal(text, err)
	}
	for _, k := range model.QosRuleKinds() {
		if k.Type != kind {
			continue
		}
		if k.Directions != nil {
			r.Direction = direction
		}
		return e.db.Write(ctx, func(tx *store.Tx) error {
			copied := *r
			return e.qos.CreateRule(tx, admin, RuleChange{Kind: k, Policy: policy, Rule: &copied, Named: func(string) bool { return true }})
		})
	}
	e.Fatal(text)
	return nil
}

// want checks the class of an error, "" for none.
func (e *env) want(err error, class string) {
	e.Helper()
	if class == "" && err != nil || class != "" && (err == nil || !strings.HasPrefix(err.Error(), class+":")) {
		e.Errorf("got %v, want %q", err, class)
	}
}

func TestRulesOfAPolicy(t *testing.T) {
	for _, c := range []struct{ first, second, class string }{
		{"bandwidth_limit 1000 egress", "bandwidth_limit 1000 ingress", ""},
		{"bandwidth_limit 1000 egress", "bandwidth_limit 7 egress", "QoSRulesConflict"},
		{"bandwidth_limit 1000 egress", "minimum_bandwidth 1000 egress", ""},
		{"bandwidth_limit 1000 egress", "minimum_bandwidth 1001 egress", "QoSRuleParameterConflict"},
		{"bandwidth_limit 1000 egress", "minimum_bandwidth 1001 ingress", ""},
		{"minimum_bandwidth 1001 ingress", "bandwidth_limit 1000 ingress", "QoSRuleParameterConflict"},
		{"minimum_packet_rate 5 any", "minimum_packet_rate 5 egress", "QoSRuleParameterConflict"},
		{"minimum_packet_rate 5 ingress", "minimum_packet_rate 5 egress", ""},
		{"dscp_marking 8 x", "dscp_marking 10 x", "QoSRulesConflict"},
		{"packet_rate_limit 8 egress", "dscp_marking 10 x", ""},
	} {
		t.Run(c.first+", "+c.second, func(t *testing.T) {
			e := setUp(t)
			p := e.policy(body{"name": "p"})
			e.want(e.rule(p.ID, c.first), "")
			e.want(e.rule(p.ID, c.second), c.class)
		})
	}
}

func TestUseOfPolicies(t *testing.T) {
	e := setUp(t)
	p, hidden := e.policy(body{"name": "mine", "is_default": true}), e.policy(body{"name": "hidden", "project_id": "q"})
	e.want(e.rule(p.ID, "bandwidth_limit 1000 egress"), "")
	_, err := made(e, admin, e.catalog.QosPolicies, e.qos.Policies(), body{"is_default": true})
	e.want(err, "QoSPolicyDefaultAlreadyExists")

	n, err := made(e, member, e.catalog.Networks, e.core.Networks(), body{"name": "n"})
	e.want(err, "")
	if n.QosPolicyID == nil || *n.QosPolicyID != p.ID {
		t.Errorf("a new network has the policy %v, want the default", n.QosPolicyID)
	}
	networks := e.core.Networks()
	e.want(changed(e, member, e.catalog.Networks, networks, n.ID, body{"qos_policy_id": hidden.ID}), "QosPolicyNotFound")
	e.want(removed(e, e.catalog.QosPolicies, e.qos.Policies(), p.ID), "QosPolicyInUse")

	_, err = made(e, member, e.catalog.Ports, e.core.Ports(), body{"network_id": n.ID, "binding:vnic_type": "direct"})
	e.want(err, "QosRuleNotSupported")
	port, err := made(e, member, e.catalog.Ports, e.core.Ports(), body{"network_id": n.ID, "qos_policy_id": p.ID})
	e.want(err, "")
	_, err = made(e, member, e.catalog.Ports, e.core.Ports(), body{"network_id": n.ID, "qos_policy_id": hidden.ID})
	e.want(err, "QosPolicyNotFound")
	e.want(changed(e, admin, e.catalog.Ports, e.core.Ports(), port.ID, body{"qos_policy_id": hidden.ID}), "")
	e.want(changed(e, member, e.catalog.Ports, e.core.Ports(), port.ID, body{"qos_policy_id": nil}), "PolicyRemoveAuthorizationError")

	// Sharing lets others use a policy, until they do.
	e.want(changed(e, admin, e.catalog.QosPolicies, e.qos.Policies(), hidden.ID, body{"shared": true}), "")
	e.want(changed(e, member, e.catalog.Networks, networks, n.ID, body{"qos_policy_id": hidden.ID}), "")
	e.want(changed(e, admin, e.catalog.QosPolicies, e.qos.Policies(), hidden.ID, body{"shared": false}), "RbacPolicyInUse")
	e.want(changed(e, admin, e.catalog.Networks, networks, n.ID, body{"qos_policy_id": nil}), "")
	e.want(changed(e, admin, e.catalog.Ports, e.core.Ports(), port.ID, body{"qos_policy_id": nil, "device_owner": "compute:x"}), "")
	e.want(changed(e, admin, e.catalog.QosPolicies, e.qos.Policies(), hidden.ID, body{"shared": false}), "")
	e.want(removed(e, e.catalog.QosPolicies, e.qos.Policies(), hidden.ID), "")

	// What Placement counts for instances cannot change.
	e.want(changed(e, admin, e.catalog.Ports, e.core.Ports(), port.ID, body{"qos_policy_id": p.ID}), "")
	e.want(e.rule(p.ID, "minimum_bandwidth 5 egress"), "NotImplementedError")
	e.want(e.rule(p.ID, "dscp_marking 8 x"), "")
}

func TestResourceRequest(t *testing.T) {
	e := setUp(t)
	for _, c := range []struct {
		name    string
		network body
		rules   string
		want    string // JSON, ids left out
	}{
		{"nothing", body{}, "bandwidth_limit 5 egress", "null"},
		{"an overlay", body{}, "minimum_bandwidth 5 egress",
			`[{"required":["CUSTOM_NETWORK_TUNNEL_PROVIDER","CUSTOM_VNIC_TYPE_NORMAL"],"resources":{"NET_BW_EGR_KILOBIT_PER_SEC":5}}]`},
		{"a physical network", body{"provider:network_type": "vlan", "provider:physical_network": "net-1", "provider:segmentation_id": json.Number("7")},
			"minimum_bandwidth 5 ingress,minimum_packet_rate 9 any",
			`[{"required":["CUSTOM_PHYSNET_NET_1","CUSTOM_VNIC_TYPE_NORMAL"],"resources":{"NET_BW_IGR_KILOBIT_PER_SEC":5}},` +
				`{"required":["CUSTOM_VNIC_TYPE_NORMAL"],"resources":{"NET_PACKET_RATE_KILOPACKET_PER_SEC":9}}]`},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := e.policy(body{"name": c.name})
			for r := range strings.SplitSeq(c.rules, ",") {
				e.want(e.rule(p.ID, r), "")
			}
			attrs := maps.Clone(c.network)
			attrs["qos_policy_id"] = p.ID
			n, err := made(e, admin, e.catalog.Networks, e.core.Networks(), attrs)
			e.want(err, "")
			port, err := made(e, admin, e.catalog.Ports, e.core.Ports(), body{"network_id": n.ID})
			e.want(err, "")
			ports := e.qos.WithRequests(e.core.Ports())
			err = e.db.Read(ctx, func(tx *store.Tx) error {
				if port, err = e.catalog.Ports.Get(tx, admin, port.ID, e.catalog.Ports.All); err != nil {
					return err
				}
				return ports.Load(tx, admin, e.catalog.Ports.All, []*model.Port{port})
			})
			e.want(err, "")
			got := "null"
			if r := port.ResourceRequest; r != nil {
				for i := range r.RequestGroups {
					if r.RequestGroups[i].ID != r.SameSubtree[i] || uuid.Validate(r.SameSubtree[i]) != nil {
						t.Errorf("group %q in subtree %q", r.RequestGroups[i].ID, r.SameSubtree[i])
					}
				}
				raw, _ := json.Marshal(r.RequestGroups)
				got = string(raw)
				for _, id := range r.SameSubtree {
					got = strings.ReplaceAll(got, `"id":"`+id+`",`, "")
				}
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}
