package secgroup

import (
	"fmt"
	"net/netip"
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

// Rules is what security group rules do beyond being stored.
func (s *Service) Rules() resource.Logic[model.SecurityGroupRule] {
	return resource.Logic[model.SecurityGroupRule]{
		Create: func(c *resource.Change[model.SecurityGroupRule]) error {
			return s.createRules([]*resource.Change[model.SecurityGroupRule]{c})
		},
		CreateMany: s.createRules, Delete: s.deleteRule, BeforeList: s.ensureForList,
		Load: func(_ *store.Tx, _ *identity.Caller, _ resource.Set, rules []*model.SecurityGroupRule) error {
			for _, r := range rules {
				normalize(r)
			}
			return nil
		},
	}
}

// normalize fills the prefix without host bits.
func normalize(r *model.SecurityGroupRule) {
	if r.RemoteIPPrefix == nil {
		return
	}
	if p, err := netip.ParsePrefix(*r.RemoteIPPrefix); err == nil {
		n := p.Masked().String()
		r.NormalizedCIDR = &n
	}
}

func (s *Service) createRules(cs []*resource.Change[model.SecurityGroupRule]) error {
	first := cs[0].New
	for _, c := range cs {
		if c.New.SecurityGroupID != first.SecurityGroupID {
			return fault.BadRequest("SecurityGroupNotSingleGroupRules", "Only allowed to update rules for one security profile at a time")
		}
		if c.New.ProjectID != first.ProjectID {
			return fault.BadRequest("SecurityGroupRulesNotSingleProject", "Multiple project_ids in bulk security group rule create not allowed")
		}
	}
	for _, c := range cs {
		if err := checkRule(c.New); err != nil {
			return err
		}
	}
	tx := cs[0].Tx
	group, err := s.checkRuleGroups(cs)
	if err != nil {
		return err
	}
	if err := s.checkAddressGroups(cs); err != nil {
		return err
	}
	if err := s.checkDuplicates(tx, cs); err != nil {
		return err
	}
	for _, c := range cs {
		if c.New.ID == "" {
			c.New.ID = uuid.NewString()
		}
		if err := s.catalog.SecurityGroupRules.Insert(tx, c.New); err != nil {
			return err
		}
	}
	notify(tx, s.Hooks.RulesChanged, []string{group.ID})
	return s.catalog.SecurityGroups.Touch(tx, group)
}

// checkRuleGroups finds the group that gets the rules and the remote groups, as far as the rules' project sees them.
func (s *Service) checkRuleGroups(cs []*resource.Change[model.SecurityGroupRule]) (*model.SecurityGroup, error) {
	ids := []string{}
	for _, c := range cs {
		if c.New.RemoteGroupID != nil {
			ids = append(ids, *c.New.RemoteGroupID)
		}
	}
	ids = append(ids, cs[0].New.SecurityGroupID)
	view := *cs[0].Caller
	view.ProjectID = cs[0].New.ProjectID
	groups, err := s.catalog.SecurityGroups.Select(cs[0].Tx, &resource.Query{Set: s.catalog.SecurityGroups.Bits("id", "name"), Caller: &view,
		Where: []resource.Cond{s.catalog.SecurityGroups.ByID(ids...)}})
	if err != nil {
		return nil, err
	}
	byID := map[string]*model.SecurityGroup{}
	for _, g := range groups {
		byID[g.ID] = g
	}
	for _, id := range ids {
		if byID[id] == nil {
			return nil, s.catalog.SecurityGroups.NotFound(id)
		}
	}
	return byID[cs[0].New.SecurityGroupID], nil
}

// checkAddressGroups checks that the rules' project sees the address groups that they name.
func (s *Service) checkAddressGroups(cs []*resource.Change[model.SecurityGroupRule]) error {
	var ids []string
	for _, c := range cs {
		if id := c.New.RemoteAddresses; id != nil && *id != "" {
			ids = append(ids, *id)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	view := *cs[0].Caller
	view.ProjectID = cs[0].New.ProjectID
	groups := s.catalog.AddressGroups
	found, err := groups.Select(cs[0].Tx, &resource.Query{Set: groups.Bit("id"), Caller: &view, Where: []resource.Cond{groups.ByID(ids...)}})
	if err != nil {
		return err
	}
	for _, id := range ids {
		if !slices.ContainsFunc(found, func(g *model.AddressGroup) bool { return g.ID == id }) {
			return groups.NotFound(id)
		}
	}
	return nil
}

func (s *Service) checkDuplicates(tx *store.Tx, cs []*resource.Change[model.SecurityGroupRule]) error {
	seen := map[string]bool{}
	for _, c := range cs {
		k := ruleKey(c.New)
		if seen[k] {
			return fault.Conflict("DuplicateSecurityGroupRuleInPost", "Duplicate Security Group Rule in POST.")
		}
		seen[k] = true
	}
	existing, err := s.catalog.SecurityGroupRules.Select(tx, &resource.Query{Set: s.catalog.SecurityGroupRules.All,
		Where: []resource.Cond{resource.In("t.security_group_id", []string{cs[0].New.SecurityGroupID})}})
	if err != nil {
		return err
	}
	for _, r := range existing {
		if seen[ruleKey(r)] {
			return fault.Conflict("SecurityGroupRuleExists", "Security group rule already exists. Rule id is %s.", r.ID)
		}
	}
	return nil
}

// ruleKey is the same for rules that mean the same (upstream _rule_to_key).
func ruleKey(r *model.SecurityGroupRule) string {
	prefix := ""
	if r.RemoteIPPrefix != nil && *r.RemoteIPPrefix != "0.0.0.0/0" && *r.RemoteIPPrefix != "::/0" {
		prefix = *r.RemoteIPPrefix
	}
	protocol := ""
	if r.Protocol != nil {
		protocol = strconv.Itoa(protocolNumber(*r.Protocol, r.Ethertype))
		if *r.Protocol == "hopopt" { // has the number of "ip"
			protocol = *r.Protocol
		}
	}
	return fmt.Sprint(r.Direction, "|", r.Ethertype, "|", text(r.PortRangeMin), "|", text(r.PortRangeMax), "|", protocol, "|",
		text(r.RemoteGroupID), "|", text(r.RemoteAddresses), "|", prefix)
}

func text[T any](p *T) string {
	if p == nil {
		return "-"
	}
	return fmt.Sprint(*p)
}

// Numbers of protocols that rules treat in a way of their own.
const (
	icmp   = 1
	icmpv6 = 58
)

// protocolNumber knows that ICMP in IPv6 is ICMPv6.
func protocolNumber(p, ethertype string) int {
	n, named := model.Protocols[p]
	if !named {
		n, _ = strconv.Atoi(p)
	}
	if n == icmp && ethertype == "IPv6" {
		return icmpv6
	}
	return n
}

// portProtocols have port numbers, in upstream's order.
var portProtocols = []struct {
	name   string
	number int
}{{"dccp", 33}, {"sctp", 132}, {"tcp", 6}, {"udp", 17}, {"udplite", 136}}

// onlyIPv6 are protocols that IPv4 does not know, by number.
var onlyIPv6 = []int{41, 44, 58, 59, 60, 43}

// checkRule brings a rule to its canonical form and checks it (upstream _validate_base_security_group_rule_attributes).
func checkRule(r *model.SecurityGroupRule) error {
	canonical(r)
	if err := checkPorts(r); err != nil {
		return err
	}
	if r.RemoteIPPrefix != nil {
		if p, err := netip.ParsePrefix(*r.RemoteIPPrefix); err == nil && p.Addr().Is4() != (r.Ethertype == "IPv4") {
			return fault.BadRequest("SecurityGroupRuleParameterConflict", "Conflicting value ethertype %s for CIDR %s", r.Ethertype, *r.RemoteIPPrefix)
		}
	}
	if r.Protocol != nil && r.Ethertype == "IPv4" {
		n, named := model.Protocols[*r.Protocol]
		if !named {
			n, _ = strconv.Atoi(*r.Protocol)
		}
		if slices.Contains(onlyIPv6, n) {
			return fault.BadRequest("SecurityGroupEthertypeConflictWithProtocol", "Invalid ethertype %s for protocol %s.", r.Ethertype, *r.Protocol)
		}
	}
	if remotes(r) > 1 {
		return fault.BadRequest("SecurityGroupMultipleRemoteEntites",
			"Only one of remote_ip_prefix or remote_group_id or remote_address_group_id may be provided.")
	}
	return nil
}

// remotes counts the ways in which a rule limits the other end.
func remotes(r *model.SecurityGroupRule) int {
	n := 0
	for _, x := range []*string{r.RemoteIPPrefix, r.RemoteGroupID, r.RemoteAddresses} {
		if x != nil && *x != "" {
			n++
		}
	}
	return n
}

func canonical(r *model.SecurityGroupRule) {
	if r.Protocol != nil && r.Ethertype == "IPv6" {
		switch *r.Protocol {
		case "icmp", "icmpv6":
			*r.Protocol = "ipv6-icmp"
		case "1":
			*r.Protocol = "58"
		}
	}
	if r.PortRangeMin != nil && r.PortRangeMax != nil && *r.PortRangeMin == 1 && *r.PortRangeMax == 65535 {
		r.PortRangeMin, r.PortRangeMax = nil, nil
	}
}

func checkPorts(r *model.SecurityGroupRule) error {
	if r.PortRangeMin == nil && r.PortRangeMax == nil {
		return nil
	}
	if r.Protocol == nil {
		return fault.BadRequest("SecurityGroupProtocolRequiredWithPorts", "Must also specify protocol if port range is given.")
	}
	n := protocolNumber(*r.Protocol, "")
	for _, p := range portProtocols {
		if n == p.number {
			return checkPortRange(r)
		}
	}
	if n == icmp || n == icmpv6 {
		return checkICMP(r)
	}
	var names []string
	for _, p := range portProtocols {
		names = append(names, strings.ToUpper(p.name))
	}
	return fault.BadRequest("SecurityGroupInvalidProtocolForPort", "Ports cannot be specified for protocol %d. Ports are only supported for %s.",
		n, strings.Join(names, ", "))
}

func checkPortRange(r *model.SecurityGroupRule) error {
	for _, p := range []*int{r.PortRangeMin, r.PortRangeMax} {
		if p != nil && *p == 0 {
			return fault.BadRequest("SecurityGroupInvalidPortValue", "Invalid value for port 0")
		}
	}
	if r.PortRangeMin == nil || r.PortRangeMax == nil || *r.PortRangeMin > *r.PortRangeMax {
		return fault.BadRequest("SecurityGroupInvalidPortRange", "For TCP/UDP protocols, port_range_min must be <= port_range_max")
	}
	return nil
}

func checkICMP(r *model.SecurityGroupRule) error {
	for _, x := range []struct {
		attr, field string
		value       *int
	}{{"port_range_min", "type", r.PortRangeMin}, {"port_range_max", "code", r.PortRangeMax}} {
		if x.value != nil && *x.value > 255 {
			return fault.BadRequest("SecurityGroupInvalidIcmpValue", "Invalid value for ICMP %s (%s) %d. It must be 0 to 255.", x.field, x.attr, *x.value)
		}
	}
	if r.PortRangeMin == nil {
		return fault.BadRequest("SecurityGroupMissingIcmpType",
			"ICMP code (port-range-max) %d is provided but ICMP type (port-range-min) is missing.", *r.PortRangeMax)
	}
	return nil
}

func (s *Service) deleteRule(c *resource.Change[model.SecurityGroupRule]) error {
	if err := s.catalog.SecurityGroupRules.Delete(c.Tx, c.Old); err != nil {
		return err
	}
	notify(c.Tx, s.Hooks.RulesChanged, []string{c.Old.SecurityGroupID})
	group, err := s.catalog.SecurityGroups.Get(c.Tx, nil, c.Old.SecurityGroupID, s.catalog.SecurityGroups.Bits("id", "name"))
	if err != nil {
		return err
	}
	return s.catalog.SecurityGroups.Touch(c.Tx, group)
}
