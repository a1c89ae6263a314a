package server

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"neutrino/internal/api"
	"neutrino/internal/config"
	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/service/qos"
	"neutrino/internal/store"
)

// qosPlugin are the names of the service plug-in for quality of service.
var qosPlugin = []string{"qos", "neutron.services.qos.qos_plugin.QoSPlugin"}

// qosExtensions are what it brings; those for routers only with the router plug-in.
var (
	qosExtensions = []string{"qos", "qos-bw-limit-direction", "qos-default", "qos-rule-type-details", "qos-rule-type-filter", "port-resource-request",
		"port-resource-request-groups", "qos-bw-minimum-ingress", "qos-rules-alias", "qos-port-network-policy", "qos-pps", "qos-pps-minimum",
		"qos-pps-minimum-rule-alias"}
	qosRouterExtensions = []string{"qos-fip", "qos-gateway-ip"}
)

// newQos makes the plug-in.
func newQos(s *Server, catalog *model.Catalog) *qos.Service {
	return qos.New(catalog, qos.Drivers(config.MechanismDrivers.Get(s.d.File)))
}

// qosUse adds policies to the logic of what uses them; without the plug-in nothing.
type qosUse struct{ service *qos.Service }

func (u qosUse) ports(l resource.Logic[model.Port]) resource.Logic[model.Port] {
	if u.service == nil {
		return l
	}
	return u.service.WithRequests(l)
}

func (u qosUse) floatingIPs(l resource.Logic[model.FloatingIP]) resource.Logic[model.FloatingIP] {
	if u.service == nil {
		return l
	}
	return u.service.WithFloatingIPs(l)
}

func (u qosUse) routers(l resource.Logic[model.Router]) resource.Logic[model.Router] {
	if u.service == nil {
		return l
	}
	return u.service.WithGateways(l)
}

// mountQos serves policies, their rules, and the types of rules.
func mountQos(a *api.Server, catalog *model.Catalog, service *qos.Service) {
	api.Mount(a, catalog.QosPolicies, service.Policies())
	for _, k := range model.QosRuleKinds() {
		r := &qosRules{service, k, catalog.QosRules[k.Type], false}
		many := "/" + r.res.Path
		a.Handle("GET", many, api.Endpoint{Do: r.list})
		a.Handle("POST", many, api.Endpoint{Do: r.create, Write: true, Status: 201})
		r.mountOne(a, many+"/{id}")
		if k.Type != "packet_rate_limit" {
			alias := &qosRules{service, k, catalog.QosAliasRules[k.Type], true}
			alias.mountOne(a, "/"+alias.res.Path+"/{id}")
		}
	}
	a.Handle("GET", "/qos/rule-types", api.Endpoint{Rule: "get_rule_type", Do: func(_ context.Context, _ *store.Tx, c *api.Call) (any, error) {
		return listRuleTypes(service, c)
	}})
	a.Handle("GET", "/qos/rule-types/{type}", api.Endpoint{Rule: "get_rule_type", Do: func(_ context.Context, _ *store.Tx, c *api.Call) (any, error) {
		if !c.Caller.IsAdmin {
			return nil, fault.Forbidden("NotAuthorized", "Not authorized.")
		}
		kind := c.Path("type")
		if !slices.Contains(service.Kinds(false, true), kind) {
			return nil, fault.NotFound("HTTPNotFound", "The resource could not be found.")
		}
		return map[string]any{"rule_type": map[string]any{"type": kind, "drivers": service.Details(kind)}}, nil
	}})
}

func listRuleTypes(service *qos.Service, c *api.Call) (any, error) {
	var unknown []string
	for name := range c.Query {
		if !slices.Contains([]string{"all_supported", "all_rules", "fields", "sort_key", "sort_dir", "limit", "marker", "page_reverse"}, name) {
			unknown = append(unknown, "'"+name+"'")
		}
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		return nil, fault.BadRequest("HTTPBadRequest", "[%s] is invalid attribute for filtering", strings.Join(unknown, ", "))
	}
	flag := map[string]bool{}
	for _, name := range []string{"all_supported", "all_rules"} {
		for _, text := range c.Query[name] {
			on, err := resource.Bool.Parse(text)
			if err != nil {
				return nil, fault.InvalidInput("%s", err)
			}
			flag[name] = on
		}
	}
	list := []map[string]string{}
	for _, kind := range service.Kinds(flag["all_supported"], flag["all_rules"]) {
		list = append(list, map[string]string{"type": kind})
	}
	return map[string]any{"rule_types": list}, nil
}

// qosRules serves the rules of one kind.
type qosRules struct {
	service *qos.Service
	kind    *model.QosRuleKind
	res     *resource.Resource[model.QosRule]
	alias   bool // the URL does not name the policy
}

func (r *qosRules) mountOne(a *api.Server, path string) {
	a.Handle("GET", path, api.Endpoint{Do: r.show})
	a.Handle("PUT", path, api.Endpoint{Do: r.update, Write: true})
	a.Handle("DELETE", path, api.Endpoint{Do: r.delete, Write: true})
}

// policy finds the policy that a request is about.
func (r *qosRules) policy(tx *store.Tx, c *api.Call) (string, error) {
	if r.alias {
		return r.service.PolicyOf(tx, r.kind, c.Path("id"))
	}
	return c.Path("policy"), nil
}

// enforce asks the rule for a verb about the owner of the policy. Who may not even see rules is told that there is none.
func (r *qosRules) enforce(tx *store.Tx, c *api.Call, verb, policy string) error {
	owner, err := r.service.Owner(tx, policy)
	if err != nil {
		return err
	}
	target := map[string]string{"ext_parent:project_id": owner, "ext_parent:tenant_id": owner}
	name := "policy_" + r.res.Name
	if r.alias {
		name = r.res.Name
	}
	err = c.Enforce(verb+"_"+name, target)
	if err != nil && verb != "create" && c.Enforce("get_"+name, target) != nil {
		return fault.NotFound("HTTPNotFound", "The resource could not be found.")
	}
	return err
}

func (r *qosRules) list(_ context.Context, tx *store.Tx, c *api.Call) (any, error) {
	q, err := api.Query(c, r.res)
	if err != nil {
		return nil, err
	}
	if _, err := r.service.Policy(tx, c.Caller, c.Path("policy")); err != nil {
		return nil, err
	}
	q.Set = r.res.All
	q.Where = append(q.Where, resource.Cond{SQL: "t.qos_policy_id = ?", Args: []any{c.Path("policy")}})
	list, err := r.res.Select(tx, q)
	if err != nil {
		return nil, err
	}
	if r.enforce(tx, c, "get", c.Path("policy")) != nil {
		list = nil
	}
	return api.List(c, r.res, q, list), nil
}

// found reads the rule that a request names, and asks policy.
func (r *qosRules) found(tx *store.Tx, c *api.Call, verb string) (*model.QosRule, error) {
	policy, err := r.policy(tx, c)
	if err != nil {
		return nil, err
	}
	rule, err := r.service.Rule(tx, c.Caller, policy, c.Path("id"))
	if err != nil {
		return nil, err
	}
	return rule, r.enforce(tx, c, verb, policy)
}

func (r *qosRules) show(_ context.Context, tx *store.Tx, c *api.Call) (any, error) {
	rule, err := r.found(tx, c, "get")
	if err != nil {
		return nil, err
	}
	return r.one(c, rule), nil
}

// one is the answer about a rule. Under the URL of another kind upstream finds it, too, but shows nothing but its id.
func (r *qosRules) one(c *api.Call, rule *model.QosRule) any {
	if rule.Kind.Type != r.kind.Type {
		return map[string]any{r.res.Name: map[string]string{"id": rule.ID}}
	}
	return api.One(c, r.res, rule)
}

func (r *qosRules) create(_ context.Context, tx *store.Tx, c *api.Call) (any, error) {
	bodies, bulk, err := r.res.Bodies(c.Body, true)
	if err != nil {
		return nil, err
	}
	rules := make([]*model.QosRule, len(bodies))
	for i, body := range bodies {
		if rules[i], _, err = r.res.Create(c.Caller, body); err != nil {
			return nil, err
		}
	}
	if err := r.enforce(tx, c, "create", c.Path("policy")); err != nil {
		return nil, err
	}
	for _, rule := range rules {
		err := r.service.CreateRule(tx, c.Caller, qos.RuleChange{Kind: r.kind, Policy: c.Path("policy"), Rule: rule, Named: func(string) bool { return true }})
		if err != nil {
			return nil, err
		}
	}
	if !bulk {
		return api.One(c, r.res, rules[0]), nil
	}
	list := make([]json.RawMessage, len(rules))
	for i, rule := range rules { // upstream shows more here than otherwise
		b := r.res.Append(nil, rule, r.res.Shown)
		b = resource.AppendString(append(b[:len(b)-1], `,"type":`...), r.kind.Type)
		b = resource.AppendString(append(b, `,"qos_policy_id":`...), rule.PolicyID)
		list[i] = append(b, '}')
	}
	return map[string]any{r.res.Collection: list}, nil
}

func (r *qosRules) update(_ context.Context, tx *store.Tx, c *api.Call) (any, error) {
	bodies, _, err := r.res.Bodies(c.Body, false)
	if err != nil {
		return nil, err
	}
	if _, err := r.res.Update(c.Caller, &model.QosRule{}, bodies[0]); err != nil {
		return nil, err // before anything is looked up, as upstream
	}
	rule, err := r.found(tx, c, "update")
	if err != nil {
		return nil, err
	}
	if rule.Kind.Type != r.kind.Type {
		return r.one(c, rule), nil
	}
	named, err := r.res.Update(c.Caller, rule, bodies[0])
	if err != nil {
		return nil, err
	}
	names := r.res.Names(named)
	err = r.service.UpdateRule(tx, c.Caller, qos.RuleChange{Kind: r.kind, Policy: rule.PolicyID, Rule: rule,
		Named: func(attr string) bool { return slices.Contains(names, attr) }})
	if err != nil {
		return nil, err
	}
	return api.One(c, r.res, rule), nil
}

func (r *qosRules) delete(_ context.Context, tx *store.Tx, c *api.Call) (any, error) {
	rule, err := r.found(tx, c, "delete")
	if err != nil {
		return nil, err
	}
	return nil, r.service.DeleteRule(tx, c.Caller, rule.Kind, rule.PolicyID, rule.ID)
}
