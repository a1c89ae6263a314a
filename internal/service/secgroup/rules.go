package secgroup

import (
	"fmt"
	"net/http"
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
		CreateMany: s.createRules, Update: unchangeable[model.SecurityGroupRule], Delete: s.deleteRule, BeforeList: s.ensureForList,
		Load: func(_ *store.Tx, _ *identity.Caller, _ resource.Set, rules []*model.SecurityGroupRule) error {
			for _, r := range rules {
				normalize(r)
			}
			return nil
		},
	}
}

// unchangeable refuses a request that says nothing wrong; upstream fails at it.
func unchangeable[R any](*resource.Change[R]) error {
	return fault.New(http.StatusMethodNotAllowed, "HTTPMethodNotAllowed",
		"The server could not comply with the request since it is either malformed or otherwise incorrect.")
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
	tx := cs[0].Tx
	group, err := s.checkRules(cs)
	if err != nil {
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

// checkRules checks rules one by one, each for itself and for the groups that it names, as far as the rules' project sees
// them. It returns the group that gets the rules.
func (s *Service) checkRules(cs []*resource.Change[model.SecurityGroupRule]) (*model.SecurityGroup, error) {
	view := *cs[0].Caller
	view.ProjectID = cs[0].New.ProjectID
	var groups, addresses []string
	for _, c := range cs {
		groups = append(groups, c.New.SecurityGroupID)
		groups = append(groups, present(c.New.RemoteGroupID)...)
		addresses = append(addresses, present(c.New.RemoteAddresses)...)
	}
	seen, err := readable(cs[0].Tx, s.catalog.SecurityGroups, &view, groups, s.catalog.SecurityGroups.Bits("id", "name"))
	if err != nil {
		return nil, err
	}
	seenAddresses, err := readable(cs[0].Tx, s.catalog.AddressGroups, &view, addresses, s.catalog.AddressGroups.Bits("id"))
	if err != nil {
		return nil, err
	}
	for _, c := range cs {
		if err := checkRule(c.New); err != nil {
			return nil, err
		}
		for _, id := range present(c.New.RemoteGroupID) {
			if seen[id] == nil {
				return nil, s.catalog.SecurityGroups.NotFound(id)
			}
		}
		for _, id := range present(c.New.RemoteAddresses) {
			if seenAddresses[id] == nil {
				return nil, s.catalog.AddressGroups.NotFound(id)
			}
		}
		if seen[c.New.SecurityGroupID] == nil {
			return nil, s.catalog.SecurityGroups.NotFound(c.New.SecurityGroupID)
		}
		if c.New.Protocol != nil {
			if err := model.CheckProtocol(*c.New.Protocol); err != nil {
				return nil, err
			}
		}
	}
	return seen[cs[0].New.SecurityGroupID], nil
}

// present is the value in a list, or none.
func present(id *string) []string {
	if id == nil || *id == "" {
		return nil
	}
	return []string{*id}
}

// readable reads those of the objects that the caller sees, by id.
func readable[R any](tx *store.Tx, res *resource.Resource[R], caller *identity.Caller, ids []string, set resource.Set) (map[string]*R, error) {
	byID := map[string]*R{}
	if len(ids) == 0 {
		return byID, nil
	}
	list, err := res.Select(tx, &resource.Query{Set: set, Caller: caller, Where: []resource.Cond{res.ByID(ids...)}})
	for _, obj := range list {
		byID[res.ID(obj)] = obj
	}
	return byID, err
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
		protocol = protocolKey(*r.Protocol, r.Ethertype)
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

// protocolKey is the same for the name and the number of a protocol. Of the two names of number 0, upstream takes "ip".
func protocolKey(p, ethertype string) string {
	p = canonicalICMP(p, ethertype)
	if p == "hopopt" {
		return p
	}
	if n, named := model.Protocols[p]; named {
		return strconv.Itoa(n)
	}
	return p
}

// Numbers of protocols that rules treat in a way of their own.
const (
	icmp   = 1
	icmpv6 = 58
)

func protocolNumber(p string) int {
	n, named := model.Protocols[p]
	if !named {
		n, _ = resource.PyInt(p)
	}
	return n
}

// portProtocols have port numbers, in upstream's order.
var portProtocols = []struct {
	name   string
	number int
}{{"dccp", 33}, {"sctp", 132}, {"tcp", 6}, {"udp", 17}, {"udplite", 136}}

// onlyIPv6 are protocols that IPv4 does not know.
var onlyIPv6 = []string{"ipv6-encap", "ipv6-frag", "ipv6-icmp", "icmpv6", "ipv6-nonxt", "ipv6-opts", "ipv6-route", "41", "44", "58", "59", "60", "43"}

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
	if r.Protocol != nil && r.Ethertype == "IPv4" && slices.Contains(onlyIPv6, *r.Protocol) {
		return fault.BadRequest("SecurityGroupEthertypeConflictWithProtocol", "Invalid ethertype %s for protocol %s.", r.Ethertype, *r.Protocol)
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

// canonicalICMP knows that ICMP in IPv6 is ICMPv6.
func canonicalICMP(protocol, ethertype string) string {
	if ethertype != "IPv6" {
		return protocol
	}
	switch protocol {
	case "icmp", "icmpv6":
		return "ipv6-icmp"
	case "1":
		return "58"
	}
	return protocol
}

func canonical(r *model.SecurityGroupRule) {
	if r.Protocol != nil {
		*r.Protocol = canonicalICMP(*r.Protocol, r.Ethertype)
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
	n := protocolNumber(*r.Protocol)
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
	if r := c.Old; !c.Caller.SeesAll() && r.ProjectID != c.Caller.ProjectID {
		return s.catalog.SecurityGroupRules.NotFound(r.ID) // policy lets the group's owner see it, upstream's query does not
	}
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
