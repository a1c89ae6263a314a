package policy

import (
	"slices"
	"strings"
)

// Verb is the kind of an action on a resource.
type Verb string

// The verbs of actions.
const (
	Create Verb = "create"
	Update Verb = "update"
	Delete Verb = "delete"
	Get    Verb = "get"
)

// Given is an attribute of a request that policy looks at. An API gives one for each attribute that is under policy
// (upstream's enforce_policy) and explicitly set: present in the body of an update, present and different from its
// default in a create.
type Given struct {
	Name string
	// Keys are the keys of a value that is a dict; nil for any other value, including null.
	Keys []string
	// Items are the keys of the dicts in a value that is a list, one list element after the other.
	Items []string
}

// dictAttrs are the attributes whose keys are under policy one by one, with the keys in the order of upstream's
// validators (neutron-lib api/definitions: l3, l3_ext_gw_mode, qos_gateway_ip, port_hints).
func dictAttrs(resource, attr string) []string {
	switch resource + ":" + attr {
	case "router:external_gateway_info":
		return []string{"network_id", "external_fixed_ips", "enable_snat", "qos_policy_id"}
	case "port:hints":
		return []string{"openvswitch"}
	}
	return nil
}

// ItemKeys are the keys that all dicts in a list have for policy, whether given or not: upstream fills them in before it asks
// (convert_segments in neutron-lib's multiprovidernet).
func ItemKeys(resource, attr string) []string {
	if resource == "network" && attr == "segments" {
		return []string{"provider:network_type", "provider:physical_network", "provider:segmentation_id"}
	}
	return nil
}

// Demand is the set of rules that must all allow one request.
type Demand struct {
	rules []string
	text  string
}

// NewAction is the demand of one rule whose name has no verb and resource, such as "activate".
func NewAction(rule string) Demand { return Demand{rules: []string{rule}, text: "rule:" + rule} }

// NewDemand builds the enforcement tree of neutron/policy.py (_build_match_rule): the rule of the action; for create and
// update also one for each given attribute, each key under policy of a dict and each key of the dicts in a list. A rule
// that does not exist counts as the default rule, so an attribute without a rule is for owners and administrators.
// Attributes are given in the order of the resource's table, which is the order in the text of a refusal.
func NewDemand(verb Verb, resource string, given []Given) Demand {
	action := string(verb) + "_" + resource
	d := Demand{rules: []string{action}, text: "rule:" + action}
	if verb != Create && verb != Update {
		return d
	}
	return d.About(resource, given)
}

// About adds the rules of attributes to the demand of an action.
func (d Demand) About(resource string, given []Given) Demand {
	action := d.rules[0]
	for _, g := range given {
		d.text = both(d.text, d.attribute(action, resource, g))
	}
	return d
}

// attribute adds the rules for one attribute and gives their text.
func (d *Demand) attribute(action, resource string, g Given) string {
	rule := action + ":" + g.Name
	text := d.all(rule)
	if known := dictAttrs(resource, g.Name); known != nil && g.Keys != nil {
		var keys []string
		for _, key := range known {
			if slices.Contains(g.Keys, key) {
				keys = append(keys, rule+":"+key)
			}
		}
		text = both(text, "("+d.all(keys...)+")")
	}
	if len(g.Items) > 0 {
		keys := make([]string, len(g.Items))
		for i, key := range g.Items {
			keys[i] = rule + ":" + key
		}
		text = both(text, "("+d.all(keys...)+")")
	}
	return text
}

func (d *Demand) all(names ...string) string {
	texts := make([]string, len(names))
	for i, name := range names {
		texts[i] = "rule:" + name
		if !slices.Contains(d.rules, name) {
			d.rules = append(d.rules, name)
		}
	}
	return strings.Join(texts, " and ")
}

func both(a, b string) string { return "(" + a + " and " + b + ")" }

// Rules gives the names of the rules, without repetition.
func (d Demand) Rules() []string { return slices.Clone(d.rules) }

// String is the text that upstream shows when it refuses the request.
func (d Demand) String() string { return d.text }
