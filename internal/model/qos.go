package model

import (
	"slices"
	"strings"

	"neutrino/internal/fault"
	"neutrino/internal/resource"
)

// QosPolicy says how the traffic of ports and other objects that use it is treated: its rules.
type QosPolicy struct {
	Standard
	Shared    bool // an RBAC entry shares it with the caller
	IsDefault bool // new networks of the project get it
	Rules     []QosRule
}

// QosRule is a rule of a policy. What Value and Burst are depends on the kind.
type QosRule struct {
	Kind      *QosRuleKind
	ID        string
	PolicyID  string
	Value     int
	Burst     int
	Direction string
}

// QosRuleKind is a kind of rules. Each has a table and attributes of its own.
type QosRuleKind struct {
	Type       string // "bandwidth_limit"
	Ext        string // alias of the extension that brings it
	Value      string // name of its value
	Burst      string // name of the burst, "" = none
	Directions []string
	Values     []int // nil = any number that fits the database
}

// Table is where rules of the kind are.
func (k *QosRuleKind) Table() string { return "qos_" + k.Type + "_rules" }

// QosRuleKinds are the kinds in upstream's order (neutron_lib/services/qos/constants.py, VALID_RULE_TYPES).
func QosRuleKinds() []*QosRuleKind {
	two := []string{"ingress", "egress"}
	return []*QosRuleKind{
		{Type: "bandwidth_limit", Ext: "qos", Value: "max_kbps", Burst: "max_burst_kbps", Directions: two},
		{Type: "dscp_marking", Ext: "qos", Value: "dscp_mark", Values: dscpMarks()},
		{Type: "minimum_bandwidth", Ext: "qos", Value: "min_kbps", Directions: two},
		{Type: "minimum_packet_rate", Ext: "qos-pps-minimum", Value: "min_kpps", Directions: append([]string{"any"}, two...)},
		{Type: "packet_rate_limit", Ext: "qos-pps", Value: "max_kpps", Burst: "max_burst_kpps", Directions: two},
	}
}

// dscpMarks are the code points with a name (RFC 2474, 2597, 3246, 5865).
func dscpMarks() []int {
	marks := []int{0}
	for n := 8; n <= 40; n += 2 {
		marks = append(marks, n)
	}
	return append(marks, 44, 46, 48, 56)
}

// QosPolicies describes QoS policies. Rules are read by the service.
func QosPolicies(enabled func(string) bool) *resource.Resource[QosPolicy] {
	std := func(p *QosPolicy) *Standard { return &p.Standard }
	t := table("qos_policies", std)
	shared := sharedBy("qospolicyrbacs", "t.id")
	t.Visible = "t.project_id = :project OR " + shared
	t.Missing = func(id string) error {
		return fault.NotFound("QosPolicyNotFound", "QoS policy %s could not be found.", id)
	}
	t.FromZero = true
	return resource.New("policy", "policies", "qos/policies", t, enabled,
		resource.Ext("qos", owned(std)...), resource.Ext("qos", named(std)...), resource.Ext("qos", standard("qos_policies", std)...),
		resource.Ext("qos",
			resource.Field("shared", resource.Bool, post|put|filter|needed, func(p *QosPolicy) *bool { return &p.Shared },
				resource.Derived(shared), resource.Default(false)),
			resource.Field("rules", qosRules, 0, func(p *QosPolicy) *[]QosRule { return &p.Rules }, resource.Unstored(), resource.From("id"))),
		resource.Ext("qos-default",
			resource.Field("is_default", resource.Bool, post|put|filter, func(p *QosPolicy) *bool { return &p.IsDefault },
				resource.Derived("EXISTS (SELECT 1 FROM qos_policies_default d WHERE d.qos_policy_id = t.id)"), resource.Default(false),
				resource.Matching(ignoredBool))))
}

var qosRules = resource.Type[[]QosRule]{Name: "list of rules", Append: func(b []byte, rules []QosRule) []byte {
	list := make([]map[string]any, len(rules))
	for i, r := range rules {
		list[i] = map[string]any{"id": r.ID, "qos_policy_id": r.PolicyID, "type": r.Kind.Type, r.Kind.Value: r.Value}
		if r.Kind.Burst != "" {
			list[i][r.Kind.Burst] = r.Burst
		}
		if r.Kind.Directions != nil {
			list[i]["direction"] = r.Direction
		}
	}
	return resource.AppendJSON(b, list)
}, Parse: func(v any) ([]QosRule, error) { return nil, resource.Reasonf("'%s' cannot be set", resource.Py(v)) }}

// ignoredBool checks the values of a filter and does not apply it, as upstream: is_default is no column there.
func ignoredBool(values []string) (resource.Cond, error) {
	for _, v := range values {
		if _, err := resource.Bool.Parse(v); err != nil {
			return resource.Cond{}, err
		}
	}
	return ignored(values)
}

// QosRules describes the rules of a kind. alias is for the URL that does not name the policy.
func QosRules(enabled func(string) bool, k *QosRuleKind, alias bool) *resource.Resource[QosRule] {
	t := resource.Table[QosRule]{Name: k.Table(), ID: func(r *QosRule) *string { return &r.ID }}
	name, path := k.Type+"_rule", "qos/policies/{policy}/"+k.Type+"_rules"
	if alias {
		name, path = "alias_"+name, "qos/alias-"+strings.ReplaceAll(k.Type, "_", "-")+"-rules"
	}
	attrs := []resource.Attr[QosRule]{
		resource.Field("id", resource.UUID, filter|sort, func(r *QosRule) *string { return &r.ID }),
		resource.Field(k.Value, qosNumber(k.Values), post|put|filter|sort|must, func(r *QosRule) *int { return &r.Value }),
	}
	if k.Burst != "" {
		attrs = append(attrs, resource.Field(k.Burst, qosNumber(nil), post|put|filter|sort, func(r *QosRule) *int { return &r.Burst }, resource.Default(0)))
	}
	if k.Directions != nil {
		use := post | put | filter | sort
		if k.Type == "bandwidth_limit" {
			use &^= filter // upstream's definition says otherwise, its server refuses it
		}
		attrs = append(attrs, resource.Field("direction", resource.OneOf(k.Directions...), use,
			func(r *QosRule) *string { return &r.Direction }, resource.Default("egress"), resource.Enum()))
	}
	return resource.New(name, name+"s", path, t, enabled, resource.Ext(k.Ext, attrs...))
}

// qosNumber is a number out of values, or from 0 to what the column holds.
func qosNumber(values []int) resource.Type[int] {
	const largest = 1<<31 - 1
	return resource.Int.Named("integer ≥ 0").Checked(func(n int) error {
		switch {
		case values != nil && !slices.Contains(values, n):
			return resource.Reasonf("%d is not in valid_values", n)
		case n < 0:
			return resource.Reasonf("'%d' is too small - must be at least '0'", n)
		case n > largest:
			return resource.Reasonf("'%d' is too large - must be no larger than '%d'", n, largest)
		}
		return nil
	})
}

// ResourceRequest is what a port needs of Placement (extension port-resource-request-groups).
type ResourceRequest struct {
	RequestGroups []RequestGroup `json:"request_groups"`
	SameSubtree   []string       `json:"same_subtree"`
}

// RequestGroup is what must come from one resource provider.
type RequestGroup struct {
	ID        string         `json:"id"`
	Required  []string       `json:"required"` // traits
	Resources map[string]int `json:"resources"`
}

var resourceRequest = resource.Type[*ResourceRequest]{Name: "resource request or null", Append: resource.AppendJSON[*ResourceRequest],
	Parse: func(v any) (*ResourceRequest, error) {
		return nil, resource.Reasonf("'%s' cannot be set", resource.Py(v))
	}}

// portQos are the attributes of ports that QoS brings.
func portQos() []resource.Attr[Port] {
	network := "(SELECT q.policy_id FROM qos_network_policy_bindings q WHERE q.network_id = t.network_id)"
	return slices.Concat(
		resource.Ext("qos",
			resource.Field("qos_policy_id", resource.Nullable(resource.UUID), post|put|policy, func(p *Port) **string { return &p.QosPolicyID },
				resource.Side("qos_port_policy_bindings", "policy_id", "NULL"), resource.Default((*string)(nil)))),
		resource.Ext("qos-port-network-policy",
			resource.Field("qos_network_policy_id", resource.Nullable(resource.UUID), 0, func(p *Port) **string { return &p.QosNetworkPolicyID }, resource.Derived(network))),
		resource.Ext("port-resource-request",
			resource.Field("resource_request", resourceRequest, policy, func(p *Port) **ResourceRequest { return &p.ResourceRequest }, resource.Unstored(),
				resource.From("id", "network_id", "binding:vnic_type", "qos_policy_id", "qos_network_policy_id"))))
}
