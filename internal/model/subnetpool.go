package model

import (
	"database/sql/driver"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"

	"neutrino/internal/fault"
	"neutrino/internal/resource"
)

// PrefixDelegation is the id of the pool that is none: its subnets get their prefix from the provider's router (IPv6
// prefix delegation, RFC 8415).
const PrefixDelegation = "prefix_delegation"

// Subnetpool is a stock of prefixes from which subnets are made.
type Subnetpool struct {
	Standard
	Prefixes         []string // without overlaps and in as few pieces as possible
	DefaultQuota     *int     // for a project: /32s of IPv4, /64s of IPv6
	IPVersion        int
	DefaultPrefixlen Prefixlen
	MinPrefixlen     Prefixlen
	MaxPrefixlen     Prefixlen
	IsDefault        bool
	Shared           bool // an RBAC entry shares it with the caller
	AddressScopeID   *string

	omitQuota, omitScope bool // see ForUpdateAnswer
}

// ForUpdateAnswer makes the pool look as upstream shows it in the answer to an update, which is not as otherwise
// (db_base_plugin_v2.py, update_subnetpool): prefix lengths are numbers, and what is null is left out unless the request
// named it.
func (p *Subnetpool) ForUpdateAnswer(scopeNamed bool) {
	for _, n := range []*Prefixlen{&p.DefaultPrefixlen, &p.MinPrefixlen, &p.MaxPrefixlen} {
		n.number = true
	}
	p.omitQuota, p.omitScope = p.DefaultQuota == nil, p.AddressScopeID == nil && !scopeNamed
}

// Prefixlen is the length of a prefix.
type Prefixlen struct {
	Bits   int
	number bool // shown as a number instead of as text
}

// Scan reads an integer.
func (p *Prefixlen) Scan(v any) error {
	n, ok := v.(int64)
	if !ok {
		return fmt.Errorf("prefix length %v is a %T", v, v)
	}
	*p = Prefixlen{Bits: int(n)}
	return nil
}

// Value writes an integer.
func (p Prefixlen) Value() (driver.Value, error) { return int64(p.Bits), nil }

// prefixlen is the type of prefix lengths, which are usually shown as text.
var prefixlen = resource.Type[Prefixlen]{Name: "integer ≥ 0, shown as text", Append: func(b []byte, p Prefixlen) []byte {
	if p.number {
		return strconv.AppendInt(b, int64(p.Bits), 10)
	}
	return append(strconv.AppendInt(append(b, '"'), int64(p.Bits), 10), '"')
}, Parse: func(v any) (Prefixlen, error) {
	n, err := resource.NonNegative.Parse(v)
	return Prefixlen{Bits: n}, err
}, FromQuery: resource.Int.FromQuery}

// Subnetpools describes subnet pools.
func Subnetpools(enabled func(string) bool) *resource.Resource[Subnetpool] {
	std := func(p *Subnetpool) *Standard { return &p.Standard }
	t := table("subnetpools", std)
	shared := sharedBy("subnetpoolrbacs", "t.id")
	t.FromZero, t.OneByOne = true, true
	t.Visible = "t.project_id = :project OR " + shared
	t.Missing = func(id string) error {
		return fault.NotFound("SubnetPoolNotFound", "Subnet pool %s could not be found.", id)
	}
	return resource.New("subnetpool", "subnetpools", "subnetpools", t, enabled,
		owned(std), []resource.Attr[Subnetpool]{
			resource.Field("name", notBlankName, post|put|filter|sort|must, func(p *Subnetpool) *string { return &p.Name }),
			resource.List("prefixes", prefixes, post|put|must, func(p *Subnetpool) *[]string { return &p.Prefixes }, resource.Children[string]{
				Table: "subnetpoolprefixes", Parent: "subnetpool_id",
				Columns: []resource.Col[string]{{Name: "cidr", Ref: func(e *string) any { return e }}}}, resource.Quiet()),
			resource.Field("default_quota", givenOrAbsent(resource.NonNegative), post|put|filter|sort, func(p *Subnetpool) **int { return &p.DefaultQuota }).
				OmitWhen(func(p *Subnetpool) bool { return p.omitQuota }),
			resource.Field("ip_version", shownInt, filter|sort, func(p *Subnetpool) *int { return &p.IPVersion }),
			resource.Field("default_prefixlen", prefixlen, post|put|filter|sort, func(p *Subnetpool) *Prefixlen { return &p.DefaultPrefixlen }),
			resource.Field("min_prefixlen", prefixlen, post|put|filter|sort, func(p *Subnetpool) *Prefixlen { return &p.MinPrefixlen }),
			resource.Field("max_prefixlen", prefixlen, post|put|filter|sort, func(p *Subnetpool) *Prefixlen { return &p.MaxPrefixlen }),
			resource.Field("is_default", resource.Bool, post|put|filter|sort|policy|needed, func(p *Subnetpool) *bool { return &p.IsDefault }, resource.Default(false)),
			resource.Field("shared", resource.Bool, post|filter|sort|policy|needed, func(p *Subnetpool) *bool { return &p.Shared },
				resource.Derived(shared), resource.Default(false)),
		},
		resource.Ext("address-scope",
			resource.Field("address_scope_id", resource.Nullable(resource.UUID), post|put|filter|sort, func(p *Subnetpool) **string { return &p.AddressScopeID },
				resource.Matching(func(values []string) (resource.Cond, error) { return resource.In("t.address_scope_id", values), nil })).
				OmitWhen(func(p *Subnetpool) bool { return p.omitScope })),
		standard("subnetpools", std),
	)
}

// shownInt is an integer that filters do not check, because upstream converts only what requests may set.
var shownInt = func() resource.Type[int] {
	t := resource.Int
	t.FromQuery = func(s string) (any, error) {
		if n, err := resource.Int.Parse(s); err == nil {
			return n, nil
		}
		return -1, nil
	}
	return t
}()

// notBlankName is a name that must say something. Upstream leaves its length to the database, see NameFits.
var notBlankName = func() resource.Type[string] {
	text := resource.NameUpTo(math.MaxInt)
	t := text
	t.Name = resource.Name.Name
	t.Parse = func(v any) (string, error) {
		if s, ok := v.(string); ok && strings.TrimSpace(s) == "" {
			return "", resource.Reasonf("'%s' Blank strings are not permitted", s)
		}
		return text.Parse(v)
	}
	return t
}()

// NameFits refuses a pool with a name that the database cannot hold.
func (p *Subnetpool) NameFits() error {
	if _, err := resource.Name.Parse(p.Name); err != nil {
		return fault.BadRequest("HTTPBadRequest", "Invalid input for name. Reason: %s.", err)
	}
	return nil
}

// prefixes is the type of the prefixes of a pool. Upstream refuses the same text twice before it looks at the elements
// (neutron_lib/api/validators).
var prefixes = resource.Type[[]string]{Name: "list of CIDRs", Append: resource.AppendList(resource.AppendString), Parse: func(v any) ([]string, error) {
	elements, ok := v.([]any)
	if !ok {
		return nil, resource.Reasonf("'%s' is not a list", resource.Py(v))
	}
	if err := distinct(elements); err != nil {
		return nil, err
	}
	out := []string{}
	for _, e := range elements {
		s, _ := e.(string)
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, resource.Reasonf("'%s' is not a valid IP subnet", resource.Py(e))
		}
		out = append(out, p.Masked().String())
	}
	return out, nil
}}
