package qos

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"neutrino/internal/fault"
	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"

	"github.com/google/uuid"
)

// RuleChange is a rule that a request makes or changes.
type RuleChange struct {
	Kind   *model.QosRuleKind
	Policy string
	Rule   *model.QosRule
	Named  func(attr string) bool // what the request says, defaults of new rules included
}

// CreateRule adds a rule to a policy that the caller may see.
func (s *Service) CreateRule(tx *store.Tx, caller *identity.Caller, c RuleChange) error {
	policy, rules, err := s.rules(tx, caller, c.Policy)
	if err != nil {
		return err
	}
	r := c.Rule
	r.Kind, r.ID, r.PolicyID = c.Kind, uuid.NewString(), policy.ID
	if err := checkRule(policy.ID, rules, c); err != nil {
		return err
	}
	columns, args := []string{"id", "qos_policy_id", c.Kind.Value}, []any{r.ID, r.PolicyID, r.Value}
	if c.Kind.Burst != "" {
		columns, args = append(columns, c.Kind.Burst), append(args, r.Burst)
	}
	if c.Kind.Directions != nil {
		columns, args = append(columns, "direction"), append(args, r.Direction)
	}
	_, err = tx.Exec("INSERT INTO "+c.Kind.Table()+" ("+strings.Join(columns, ", ")+") VALUES "+store.In(len(args)), args...)
	if store.IsDuplicate(err) || store.IsForeignKey(err) {
		return store.Retry(err) // another request was quicker
	}
	if err != nil {
		return fmt.Errorf("create QoS rule: %w", err)
	}
	return s.ruleChanged(tx, policy, append(rules, *r), c.Kind)
}

// UpdateRule changes a rule to c.Rule.
func (s *Service) UpdateRule(tx *store.Tx, caller *identity.Caller, c RuleChange) error {
	policy, rules, err := s.rules(tx, caller, c.Policy)
	if err != nil {
		return err
	}
	r := c.Rule
	i := slices.IndexFunc(rules, func(x model.QosRule) bool { return x.ID == r.ID })
	if i < 0 {
		return ruleNotFound(r.ID, policy.ID)
	}
	if err := checkRule(policy.ID, rules, c); err != nil {
		return err
	}
	set, args := c.Kind.Value+" = ?", []any{r.Value}
	if c.Kind.Burst != "" {
		set, args = set+", "+c.Kind.Burst+" = ?", append(args, r.Burst)
	}
	if c.Kind.Directions != nil {
		set, args = set+", direction = ?", append(args, r.Direction)
	}
	_, err = tx.Exec("UPDATE "+c.Kind.Table()+" SET "+set+" WHERE id = ?", append(args, r.ID)...)
	if store.IsDuplicate(err) {
		return store.Retry(err)
	}
	if err != nil {
		return fmt.Errorf("update QoS rule %s: %w", r.ID, err)
	}
	rules[i] = *r
	return s.ruleChanged(tx, policy, rules, c.Kind)
}

// DeleteRule removes a rule.
func (s *Service) DeleteRule(tx *store.Tx, caller *identity.Caller, kind *model.QosRuleKind, policyID, id string) error {
	policy, _, err := s.rules(tx, caller, policyID)
	if err != nil {
		return err
	}
	if _, err := tx.Exec("DELETE FROM "+kind.Table()+" WHERE id = ?", id); err != nil {
		return fmt.Errorf("delete QoS rule %s: %w", id, err)
	}
	if err := s.inPlacement(tx, policy.ID, kind); err != nil {
		return err
	}
	return s.touch(tx, policy)
}

// Rule reads a rule, of any kind, of a policy that the caller may see.
func (s *Service) Rule(tx *store.Tx, caller *identity.Caller, policyID, id string) (*model.QosRule, error) {
	policy, rules, err := s.rules(tx, caller, policyID)
	if err != nil {
		return nil, err
	}
	for _, r := range rules {
		if r.ID == id {
			return &r, nil
		}
	}
	return nil, ruleNotFound(id, policy.ID)
}

// PolicyOf finds the policy of a rule.
func (s *Service) PolicyOf(tx *store.Tx, kind *model.QosRuleKind, rule string) (string, error) {
	id, found, err := store.One[string](tx.QueryRow("SELECT qos_policy_id FROM "+kind.Table()+" WHERE id = ?", rule))
	if err != nil {
		return "", fmt.Errorf("read QoS rule %s: %w", rule, err)
	}
	if !found {
		return "", ruleNotFound(rule, "")
	}
	return id, nil
}

// Owner is the project of a policy, "" if there is none of that id.
func (s *Service) Owner(tx *store.Tx, policy string) (string, error) {
	id, _, err := store.One[string](tx.QueryRow("SELECT COALESCE(project_id, '') FROM qos_policies WHERE id = ?", policy))
	return id, err
}

func ruleNotFound(rule, policy string) error {
	return fault.NotFound("QosRuleNotFound", "QoS rule %s for policy %s could not be found.", rule, policy)
}

// rules reads a policy that the caller may see, and its rules.
func (s *Service) rules(tx *store.Tx, caller *identity.Caller, id string) (*model.QosPolicy, []model.QosRule, error) {
	policies := s.catalog.QosPolicies
	policy, err := policies.Get(tx, caller, id, policies.Bits("id", "project_id", "description"))
	if err != nil {
		return nil, nil, err
	}
	rules, err := readRules(tx, model.QosRuleKinds(), policy.ID)
	return policy, rules[policy.ID], err
}

// checkRule refuses rules that contradict others of the policy (neutron/objects/qos/qos_policy_validator.py).
func checkRule(policy string, rules []model.QosRule, c RuleChange) error {
	conflict := func(value any, with *model.QosRule, has any) error {
		return fault.Conflict("QoSRuleParameterConflict", "Unable to add the rule with value %v to the policy %s as the existing rule of type %s "+
			"has value %v.", value, policy, with.Kind.Type, has)
	}
	r := c.Rule
	for _, x := range rules {
		if x.Kind.Directions == nil || c.Kind.Directions != nil && c.Named("direction") && x.Direction != r.Direction || !c.Named(c.Kind.Value) {
			continue
		}
		if x.Kind.Value == "min_kbps" && c.Kind.Value == "max_kbps" && x.Value > r.Value ||
			x.Kind.Value == "max_kbps" && c.Kind.Value == "min_kbps" && x.Value < r.Value {
			return conflict(strconv.Itoa(r.Value), &x, x.Value)
		}
	}
	for _, x := range rules {
		if x.Kind.Type == "minimum_packet_rate" && c.Kind.Type == x.Kind.Type && x.ID != r.ID && (x.Direction == "any") != (r.Direction == "any") {
			return conflict(r.Direction, &x, x.Direction)
		}
	}
	for _, x := range rules {
		if x.Kind.Type == c.Kind.Type && x.ID != r.ID && x.Direction == r.Direction {
			return fault.Conflict("QoSRulesConflict", "Rule %s conflicts with rule %s which already exists in QoS Policy %s.", c.Kind.Type, x.ID, policy)
		}
	}
	return nil
}

// ruleChanged refuses rules that ports with the policy cannot have, and counts the policy's revision up.
func (s *Service) ruleChanged(tx *store.Tx, policy *model.QosPolicy, rules []model.QosRule, kind *model.QosRuleKind) error {
	ports, err := bindingsOf(tx, policy.ID)
	if err != nil {
		return err
	}
	for _, b := range ports {
		if err := s.checkPort(rules, b); err != nil {
			return err
		}
	}
	if err := s.inPlacement(tx, policy.ID, kind); err != nil {
		return err
	}
	return s.touch(tx, policy)
}

// touch counts a policy's revision up: its rules changed.
func (s *Service) touch(tx *store.Tx, policy *model.QosPolicy) error {
	return s.catalog.QosPolicies.Touch(tx, policy)
}

// ofPorts is the condition that a port, p, has a policy itself or, having none, from its network.
const ofPorts = "(EXISTS (SELECT 1 FROM qos_port_policy_bindings q WHERE q.port_id = p.id AND q.policy_id = ?) OR " +
	"EXISTS (SELECT 1 FROM qos_network_policy_bindings q WHERE q.network_id = p.network_id AND q.policy_id = ?) AND " +
	"NOT EXISTS (SELECT 1 FROM qos_port_policy_bindings q WHERE q.port_id = p.id))"

func bindingsOf(tx *store.Tx, policy string) ([]binding, error) {
	return readBindings(tx, resource.Cond{SQL: ofPorts, Args: []any{policy, policy}})
}

func readBindings(tx *store.Tx, where resource.Cond) ([]binding, error) {
	rows, err := tx.Query("SELECT p.id, COALESCE(b.vif_type, 'unbound'), COALESCE(b.vnic_type, 'normal') FROM ports p "+
		"LEFT JOIN ml2_port_bindings b ON b.port_id = p.id AND b.status = 'ACTIVE' WHERE "+where.SQL+" ORDER BY p.id", where.Args...)
	list, err := store.All(rows, err, func(rows *store.Rows) (b binding, err error) {
		return b, rows.Scan(&b.port, &b.vifType, &b.vnicType)
	})
	if err != nil {
		return nil, fmt.Errorf("read ports with QoS policy: %w", err)
	}
	return list, nil
}

func (s *Service) checkPort(rules []model.QosRule, b binding) error {
	for _, r := range rules {
		if !s.supports(r.Kind.Type, b) {
			return fault.Conflict("QosRuleNotSupported", "Rule %s is not supported by port %s", r.Kind.Type, b.port)
		}
	}
	return nil
}

// inPlacement refuses to change rules for which instances have resources in Placement.
func (s *Service) inPlacement(tx *store.Tx, policy string, kind *model.QosRuleKind) error {
	if kind.Type != "minimum_bandwidth" && kind.Type != "minimum_packet_rate" {
		return nil
	}
	_, used, err := store.One[int](tx.QueryRow("SELECT 1 FROM ports p WHERE p.device_owner LIKE 'compute:%' AND "+ofPorts+" LIMIT 1", policy, policy))
	if err != nil {
		return fmt.Errorf("read ports of instances with QoS policy %s: %w", policy, err)
	}
	if used {
		return fault.New(501, "NotImplementedError", "Cannot update QoS policies/rules backed by resources tracked in Placement")
	}
	return nil
}
