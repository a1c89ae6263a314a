package model

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"neutrino/internal/fault"
	"neutrino/internal/resource"
)

// SecurityGroup is a set of rules that ports refer to.
type SecurityGroup struct {
	Standard
	Stateful bool
	Shared   bool
	Rules    []*SecurityGroupRule // filled by the service
}

// SecurityGroupRule allows one kind of traffic. Nil fields match everything.
type SecurityGroupRule struct {
	Standard
	SecurityGroupID string
	Direction       string
	Ethertype       string
	Protocol        *string
	PortRangeMin    *int
	PortRangeMax    *int
	RemoteIPPrefix  *string
	RemoteGroupID   *string
	RemoteAddresses *string // address group
	NormalizedCIDR  *string // filled by the service
	InDefaultGroup  *bool   // nil where upstream does not look
}

// SecurityGroups describes security groups; rules tells how to show their rules.
func SecurityGroups(enabled func(string) bool, rules *resource.Resource[SecurityGroupRule]) *resource.Resource[SecurityGroup] {
	std := func(g *SecurityGroup) *Standard { return &g.Standard }
	t := table("securitygroups", std)
	t.Visible = "t.project_id = :project OR " + sharedBy("securitygrouprbacs", "t.id")
	t.Missing = func(id string) error {
		return fault.NotFound("SecurityGroupNotFound", "Security group %s does not exist", id)
	}
	groupRules := resource.Type[[]*SecurityGroupRule]{Name: "list of rules", Append: func(b []byte, list []*SecurityGroupRule) []byte {
		return resource.AppendList(func(b []byte, r *SecurityGroupRule) []byte {
			b = rules.Append(b, r, rules.Shown)
			// Inside a group upstream shows two things more.
			return fmt.Appendf(b[:len(b)-1], `,"standard_attr_id":%d,"tags":[]}`, r.RowID)
		})(b, list)
	}, Parse: func(v any) ([]*SecurityGroupRule, error) {
		return nil, resource.Reasonf("'%s' cannot be set", resource.Py(v))
	}}
	return resource.New("security_group", "security_groups", "security-groups", t, enabled,
		owned(std), standard("securitygroups", std), []resource.Attr[SecurityGroup]{
			resource.Field("name", groupName, post|put|filter|sort, func(g *SecurityGroup) *string { return &g.Name }, resource.Default("")),
			resource.Field("security_group_rules", groupRules, 0, func(g *SecurityGroup) *[]*SecurityGroupRule { return &g.Rules }, resource.Unstored()),
		},
		resource.Ext("stateful-security-group",
			resource.Field("stateful", resource.Bool, post|put|filter, func(g *SecurityGroup) *bool { return &g.Stateful }, resource.Default(true))),
		resource.Ext("security-groups-shared-filtering",
			resource.Field("shared", resource.Bool, filter|policy|needed, func(g *SecurityGroup) *bool { return &g.Shared },
				resource.Derived(sharedBy("securitygrouprbacs", "t.id")))),
	)
}

var groupName = func() resource.Type[string] {
	t := resource.String(255)
	return t.Checked(func(s string) error {
		if strings.EqualFold(s, "default") {
			return fault.Conflict("SecurityGroupDefaultAlreadyExists", "Default security group already exists.")
		}
		return nil
	})
}()

// SecurityGroupRules describes security group rules.
func SecurityGroupRules(enabled func(string) bool) *resource.Resource[SecurityGroupRule] {
	std := func(r *SecurityGroupRule) *Standard { return &r.Standard }
	t := table("securitygrouprules", std)
	t.Missing = func(id string) error {
		return fault.NotFound("SecurityGroupRuleNotFound", "Security group rule %s does not exist", id)
	}
	t.FromZero, t.FoundByAll = true, true
	t.Visible = "t.project_id = :project OR t.security_group_id IN (SELECT g.id FROM securitygroups g WHERE g.project_id = :project)"
	return resource.New("security_group_rule", "security_group_rules", "security-group-rules", t, enabled,
		owned(std)[:1], []resource.Attr[SecurityGroupRule]{
			resource.Field("security_group_id", resource.String(36), post|filter|sort|needed|must, func(r *SecurityGroupRule) *string { return &r.SecurityGroupID }),
		},
		traffic(func(r *SecurityGroupRule) *SecurityGroupRule { return r }), owned(std)[1:],
		[]resource.Attr[SecurityGroupRule]{ruleDescription(put, func(r *SecurityGroupRule) *SecurityGroupRule { return r })},
		without("description", standard("securitygrouprules", std)),
		resource.Ext("security-groups-normalized-cidr",
			resource.Field("normalized_cidr", resource.Nullable(CIDR), filter|sort, func(r *SecurityGroupRule) **string { return &r.NormalizedCIDR }, resource.Unstored(), resource.From("remote_ip_prefix"),
				resource.Matching(func([]string) (resource.Cond, error) { return resource.Cond{SQL: "1 = 1"}, nil }))), // upstream takes the filter and ignores it
		resource.Ext("security-groups-rules-belongs-to-default-sg",
			resource.Field("belongs_to_default_sg", resource.Nullable(resource.Bool), filter, func(r *SecurityGroupRule) **bool { return &r.InDefaultGroup },
				resource.Derived("EXISTS (SELECT 1 FROM default_security_group d WHERE d.security_group_id = t.security_group_id)"),
				resource.Matching(func(values []string) (resource.Cond, error) { // checked and ignored, too
					for _, v := range values {
						if _, err := resource.Bool.Parse(v); err != nil {
							return resource.Cond{}, err
						}
					}
					return resource.Cond{SQL: "1 = 1"}, nil
				}))),
	)
}

// ruleDescription is the description of a rule. With put upstream's table says that it can be changed, though it cannot.
func ruleDescription[R any](use resource.Flags, rule func(*R) *SecurityGroupRule) resource.Attr[R] {
	return resource.Field("description", givenOrAbsent(resource.String(255)), post|filter|use, func(r *R) **string { return &rule(r).Description },
		resource.Derived("sa.description"), resource.Default(new(string)),
		resource.Matching(func(values []string) (resource.Cond, error) { return resource.In("sa.description", values), nil }))
}

// traffic are the attributes that say what a rule allows.
func traffic[R any](rule func(*R) *SecurityGroupRule) []resource.Attr[R] {
	none, nowhere := resource.Default((*string)(nil)), resource.Default((*int)(nil))
	return append([]resource.Attr[R]{ // in upstream's order, in which mistakes are found
		resource.Field("remote_group_id", ruleRemote, post|filter|sort, func(r *R) **string { return &rule(r).RemoteGroupID }, none),
		resource.Field("direction", resource.OneOf("ingress", "egress"), post|filter|sort|must, func(r *R) *string { return &rule(r).Direction }, resource.Enum()),
		resource.Field("protocol", ruleProtocol, post|filter|sort, func(r *R) **string { return &rule(r).Protocol }, none),
		resource.Field("port_range_min", rulePort, post|filter|sort, func(r *R) **int { return &rule(r).PortRangeMin }, nowhere),
		resource.Field("port_range_max", rulePort, post|filter|sort, func(r *R) **int { return &rule(r).PortRangeMax }, nowhere),
		resource.Field("ethertype", ethertype, post|filter|sort, func(r *R) *string { return &rule(r).Ethertype }, resource.Default("IPv4")),
		resource.Field("remote_ip_prefix", rulePrefix, post|filter|sort, func(r *R) **string { return &rule(r).RemoteIPPrefix }, none),
	}, resource.Ext("security-groups-remote-address-group",
		resource.Field("remote_address_group_id", ruleRemote, post|filter|sort, func(r *R) **string { return &rule(r).RemoteAddresses }, none))...)
}

// ruleRemote takes whatever it is given as the id of a group, as upstream does, and "" as none.
var ruleRemote = resource.Type[*string]{Name: "uuid or null", Append: resource.AppendNullable(resource.AppendString), Parse: func(v any) (*string, error) {
	s := resource.Py(v)
	if v == nil || s == "" {
		return nil, nil
	}
	return &s, nil
}}

var ethertype = resource.Type[string]{Name: "IPv4 | IPv6", Append: resource.AppendString, Parse: parseEthertype,
	FromQuery: func(s string) (any, error) { return parseEthertype(s) }}

func parseEthertype(v any) (string, error) {
	if s, ok := v.(string); ok {
		for _, e := range []string{"IPv4", "IPv6"} {
			if strings.EqualFold(s, e) {
				return e, nil
			}
		}
	}
	return "", fault.BadRequest("SecurityGroupRuleInvalidEtherType",
		"Security group rule for ethertype '%s' not supported. Allowed values are ['IPv4', 'IPv6'].", resource.Py(v))
}

// Protocols are the names that rules accept, with their numbers (neutron_lib/constants.py IP_PROTOCOL_MAP).
var Protocols = map[string]int{"ah": 51, "dccp": 33, "egp": 8, "esp": 50, "gre": 47, "hopopt": 0, "icmp": 1, "igmp": 2, "ip": 0,
	"ipip": 4, "ipv6-encap": 41, "ipv6-frag": 44, "ipv6-icmp": 58, "icmpv6": 58, "ipv6-nonxt": 59, "ipv6-opts": 60, "ipv6-route": 43,
	"ospf": 89, "pgm": 113, "rsvp": 46, "sctp": 132, "tcp": 6, "udp": 17, "udplite": 136, "vrrp": 112}

var ruleProtocol = resource.Type[*string]{Name: "protocol name or number, or null", Append: resource.AppendNullable(resource.AppendString),
	Parse: parseProtocol, FromQuery: func(s string) (any, error) {
		p, err := parseProtocol(s)
		if err != nil || p == nil {
			return nil, err
		}
		return *p, nil
	}}

func parseProtocol(v any) (*string, error) {
	text, isText := v.(string)
	if v == nil || text == "any" {
		return nil, nil
	}
	if n, ok := pythonInt(v); ok && n >= 0 && n <= 255 {
		return new(resource.Py(v)), nil
	}
	s := strings.ToLower(text)
	if _, known := Protocols[s]; isText && known {
		return &s, nil
	}
	return nil, invalidProtocol(v)
}

// pythonInt is int() of Python.
func pythonInt(v any) (int, bool) {
	switch v := v.(type) {
	case bool:
		return map[bool]int{true: 1}[v], true
	case string:
		n, err := resource.PyInt(v)
		return n, err == nil
	case json.Number:
		f, err := v.Float64()
		return int(f), err == nil && math.Abs(f) < 1<<53
	}
	return 0, false
}

// CheckProtocol refuses spellings of numbers that rules take only until all else is checked.
func CheckProtocol(p string) error {
	if _, named := Protocols[p]; named {
		return nil
	}
	if n, err := strconv.Atoi(p); err == nil && strconv.Itoa(n) == p {
		return nil
	}
	return invalidProtocol(p)
}

func invalidProtocol(v any) error {
	names := sortedNames(Protocols)
	return fault.BadRequest("SecurityGroupRuleInvalidProtocol",
		"Security group rule protocol %s not supported. Only protocol values %s and integer representations [0 to 255] are supported.",
		resource.Py(v), pyTuple(append([]any{nil, "any"}, anys(names)...)))
}

func pyTuple(values []any) string {
	s := resource.Py(values)
	return "(" + s[1:len(s)-1] + ")"
}

func sortedNames(m map[string]int) []string {
	var names []string
	for n := range m {
		names = append(names, n)
	}
	slices.SortFunc(names, func(a, b string) int { return strings.Compare(upstreamOrder(a), upstreamOrder(b)) })
	return names
}

// upstreamOrder makes names sort as those of upstream's constants do, where icmpv6 is the legacy form of ipv6-icmp.
func upstreamOrder(name string) string {
	if name == "icmpv6" {
		return "ipv6-icmp legacy"
	}
	return name
}

var rulePort = resource.Type[*int]{Name: "port or ICMP type/code, or null", Append: resource.AppendNullable(resource.Int.Append),
	Parse: func(v any) (*int, error) {
		if v == nil {
			return nil, nil
		}
		n, err := resource.Int.Parse(v)
		if err != nil || n < 0 || n > 65535 {
			return nil, fault.BadRequest("SecurityGroupInvalidPortValue", "Invalid value for port %s", resource.Py(v))
		}
		return &n, nil
	}, FromQuery: func(s string) (any, error) {
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 || n > 65535 {
			return nil, fault.BadRequest("SecurityGroupInvalidPortValue", "Invalid value for port %s", s)
		}
		return n, nil
	}}

// falsy tells whether Python takes a JSON value for false; upstream's converter treats all of these as null.
func falsy(v any) bool {
	switch x := v.(type) {
	case nil:
		return true
	case string:
		return x == ""
	case bool:
		return !x
	case []any:
		return len(x) == 0
	case map[string]any:
		return len(x) == 0
	}
	return resource.Py(v) == "0"
}

var rulePrefix = resource.Type[*string]{Name: "CIDR or null", Append: resource.AppendNullable(resource.AppendString),
	Parse: func(v any) (*string, error) {
		if falsy(v) {
			return nil, nil
		}
		s, _ := v.(string)
		if p, ok := networkOf(s); ok {
			return &p, nil
		}
		return nil, fault.BadRequest("InvalidCIDR", "Invalid CIDR %s given as IP prefix.", resource.Py(v))
	}, FromQuery: func(s string) (any, error) {
		if s == "" {
			return nil, nil
		}
		if p, ok := networkOf(s); ok {
			return p, nil
		}
		return nil, fault.BadRequest("InvalidCIDR", "Invalid CIDR %s given as IP prefix.", s)
	}}

// networkOf reads an address with or without a prefix, which may be a number of bits, a netmask or its complement. Host bits
// stay (netaddr.IPNetwork).
func networkOf(s string) (string, bool) {
	addr, mask, found := strings.Cut(s, "/")
	a, err := netip.ParseAddr(addr)
	if err != nil || a.Zone() != "" {
		return "", false
	}
	length := a.BitLen()
	if found {
		n, err := strconv.Atoi(strings.TrimSpace(mask))
		if err != nil {
			if n, err = maskBits(mask); err != nil || !a.Is4() {
				return "", false
			}
		}
		length = n
	}
	if length < 0 || length > a.BitLen() {
		return "", false
	}
	return a.String() + "/" + strconv.Itoa(length), true
}

// maskBits is the length of an IPv4 netmask, 255.255.0.0, or of its complement.
func maskBits(s string) (int, error) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return 0, err
	}
	m := binary.BigEndian.Uint32(a.AsSlice()[:4])
	if ones := bits.LeadingZeros32(^m); m == ^uint32(0)<<(32-ones) {
		return ones, nil
	}
	zeros := bits.LeadingZeros32(m)
	if m != ^uint32(0)>>zeros {
		return 0, errors.New("no netmask")
	}
	return zeros, nil
}
