package qos

import (
	"fmt"

	"neutrino/internal/fault"
	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"
)

// mayUse checks that the caller may see the policies that an object gets and loses.
func (s *Service) mayUse(tx *store.Tx, caller *identity.Caller, old, now *string) error {
	if old != nil {
		_, err := s.Policy(tx, caller, *old)
		if fault.Is(err, "QosPolicyNotFound") {
			return fault.Forbidden("PolicyRemoveAuthorizationError", "Failed to remove provided policy %s because you are not authorized.", *old)
		}
		if err != nil {
			return err
		}
	}
	if now == nil {
		return nil
	}
	_, err := s.Policy(tx, caller, *now)
	return err
}

// BeforePort checks the policy of a port (hook of the ML2 plug-in).
func (s *Service) BeforePort(c *resource.Change[model.Port]) error {
	if c.New == nil {
		return nil
	}
	b := binding{c.New.ID, "unbound", c.New.VNICType} // ports are bound after upstream looks
	policy := c.New.QosPolicyID
	if c.Old == nil {
		if err := s.mayUse(c.Tx, c.Caller, nil, policy); err != nil {
			return err
		}
		if policy == nil {
			id, found, err := store.One[string](c.Tx.QueryRow("SELECT policy_id FROM qos_network_policy_bindings WHERE network_id = ?", c.New.NetworkID))
			if err != nil || !found {
				return err
			}
			policy = &id
		}
	} else {
		if !c.Has("qos_policy_id") {
			return nil
		}
		if err := s.mayUse(c.Tx, c.Caller, c.Old.QosPolicyID, policy); err != nil || policy == nil || same(policy, c.Old.QosPolicyID) {
			return err
		}
		b.vifType = c.New.VIFType
	}
	rules, err := readRules(c.Tx, model.QosRuleKinds(), *policy)
	if err != nil {
		return err
	}
	return s.checkPort(rules[*policy], b)
}

func same(a, b *string) bool { return a == nil && b == nil || a != nil && b != nil && *a == *b }

// BeforeNetwork gives a new network the default policy of its project, and checks the policy of a network (hook of the
// ML2 plug-in).
func (s *Service) BeforeNetwork(c *resource.Change[model.Network]) error {
	n := c.New
	if n == nil || c.Old != nil && !c.Has("qos_policy_id") {
		return nil
	}
	var old *string
	if c.Old != nil {
		old = c.Old.QosPolicyID
	} else if n.QosPolicyID == nil {
		id, found, err := store.One[string](c.Tx.QueryRow("SELECT qos_policy_id FROM qos_policies_default WHERE project_id = ?", n.ProjectID))
		if err != nil {
			return fmt.Errorf("read default QoS policy: %w", err)
		}
		if found {
			n.QosPolicyID = &id
		}
	}
	if err := s.mayUse(c.Tx, c.Caller, old, n.QosPolicyID); err != nil || n.QosPolicyID == nil || same(old, n.QosPolicyID) {
		return err
	}
	byPolicy, err := readRules(c.Tx, model.QosRuleKinds(), *n.QosPolicyID)
	if err != nil {
		return err
	}
	rules := byPolicy[*n.QosPolicyID]
	for _, r := range rules {
		if !s.supportsAny(r.Kind.Type) {
			return fault.Conflict("QosRuleNotSupportedByNetwork", "Rule %s is not supported by network %s", r.Kind.Type, n.ID)
		}
	}
	if c.Old == nil || len(rules) == 0 {
		return nil
	}
	ports, err := readBindings(c.Tx, resource.Cond{Args: []any{n.ID},
		SQL: "p.network_id = ? AND NOT EXISTS (SELECT 1 FROM qos_port_policy_bindings q WHERE q.port_id = p.id)"})
	if err != nil {
		return err
	}
	for _, b := range ports {
		if err := s.checkPort(rules, b); err != nil {
			return err
		}
	}
	return nil
}

// WithFloatingIPs adds policies to the logic of floating IPs.
func (s *Service) WithFloatingIPs(ips resource.Logic[model.FloatingIP]) resource.Logic[model.FloatingIP] {
	create, update := ips.Create, ips.Update
	ips.Create = func(c *resource.Change[model.FloatingIP]) error {
		if c.New.QosPolicyID != nil {
			if _, err := s.Policy(c.Tx, c.Caller, *c.New.QosPolicyID); err != nil {
				return err
			}
		}
		return create(c)
	}
	ips.Update = func(c *resource.Change[model.FloatingIP]) error {
		if err := s.exchange(c.Tx, c.Caller, c.Old.QosPolicyID, c.New.QosPolicyID); err != nil {
			return err
		}
		return update(c)
	}
	return ips
}

// exchange checks that the caller may see what an object loses and gets, if that is not the same.
func (s *Service) exchange(tx *store.Tx, caller *identity.Caller, old, now *string) error {
	if same(old, now) {
		return nil
	}
	for _, id := range []*string{old, now} {
		if id == nil {
			continue
		}
		if _, err := s.Policy(tx, caller, *id); err != nil {
			return err
		}
	}
	return nil
}

// WithGateways adds policies to the gateways of routers.
func (s *Service) WithGateways(routers resource.Logic[model.Router]) resource.Logic[model.Router] {
	create, update, load := routers.Create, routers.Update, routers.Load
	around := func(do func(*resource.Change[model.Router]) error) func(*resource.Change[model.Router]) error {
		return func(c *resource.Change[model.Router]) error {
			asked := c.New.Gateway
			if err := do(c); err != nil || !c.Has("external_gateway_info") {
				return err
			}
			if c.New.GatewayPortID == nil {
				return s.setGatewayPolicy(c, nil)
			}
			if asked == nil || asked.QosPolicyID == nil {
				return nil
			}
			return s.setGatewayPolicy(c, *asked.QosPolicyID)
		}
	}
	routers.Create, routers.Update = around(create), around(update)
	routers.Load = func(tx *store.Tx, caller *identity.Caller, set resource.Set, list []*model.Router) error {
		if err := load(tx, caller, set, list); err != nil || set&s.catalog.Routers.Bit("external_gateway_info") == 0 {
			return err
		}
		return loadGateways(tx, list)
	}
	return routers
}

func (s *Service) setGatewayPolicy(c *resource.Change[model.Router], policy *string) error {
	old, found, err := store.One[string](c.Tx.QueryRow("SELECT policy_id FROM qos_router_gw_policy_bindings WHERE router_id = ?", c.New.ID))
	if err != nil {
		return fmt.Errorf("read QoS policy of router %s: %w", c.New.ID, err)
	}
	var was *string
	if found {
		was = &old
	}
	if same(was, policy) {
		return nil
	}
	if err := s.exchange(c.Tx, c.Caller, was, policy); err != nil {
		return err
	}
	if _, err := c.Tx.Exec("DELETE FROM qos_router_gw_policy_bindings WHERE router_id = ?", c.New.ID); err != nil {
		return err
	}
	if policy == nil {
		return nil
	}
	_, err = c.Tx.Exec("INSERT INTO qos_router_gw_policy_bindings (policy_id, router_id) VALUES (?, ?)", *policy, c.New.ID)
	return err
}

// loadGateways fills the policies of gateways that have one themselves or from their network.
func loadGateways(tx *store.Tx, routers []*model.Router) error {
	byID := map[string]*model.Router{}
	var ids []string
	for _, r := range routers {
		if r.Gateway != nil {
			byID[r.ID] = r
			ids = append(ids, r.ID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	in := resource.In("r.id", ids)
	rows, err := tx.Query("SELECT r.id, b.policy_id FROM routers r JOIN ports p ON p.id = r.gw_port_id "+
		"LEFT JOIN qos_router_gw_policy_bindings b ON b.router_id = r.id LEFT JOIN qos_network_policy_bindings n ON n.network_id = p.network_id "+
		"WHERE "+in.SQL+" AND (b.policy_id IS NOT NULL OR n.policy_id IS NOT NULL)", in.Args...)
	_, err = store.All(rows, err, func(rows *store.Rows) (struct{}, error) {
		var router string
		var policy *string
		err := rows.Scan(&router, &policy)
		if r := byID[router]; r != nil {
			r.Gateway.QosPolicyID = &policy
		}
		return struct{}{}, err
	})
	if err != nil {
		return fmt.Errorf("read QoS policies of gateways: %w", err)
	}
	return nil
}
