package model

import (
	"net/netip"
	"strings"

	"neutrino/internal/fault"
	"neutrino/internal/resource"
)

// AddressGroup is a set of addresses that security group rules refer to.
type AddressGroup struct {
	Standard
	Addresses []string // prefixes without host bits
	Shared    bool     // an RBAC policy shares it with the caller
}

// AddressGroups describes address groups.
func AddressGroups(enabled func(string) bool) *resource.Resource[AddressGroup] {
	std := func(g *AddressGroup) *Standard { return &g.Standard }
	t := table("address_groups", std)
	t.Visible = "t.project_id = :project OR " + sharedBy("addressgrouprbacs", "t.id")
	t.FromZero = true
	t.Fields = func(r *resource.Resource[AddressGroup], wanted resource.Set, _ bool) resource.Set {
		return wanted | r.Bit("tenant_id")
	}
	t.Missing = NoAddressGroup
	return resource.New("address_group", "address_groups", "address-groups", t, enabled,
		resource.Ext("address-group", owned(std)...), resource.Ext("address-group", named(std)...), resource.Ext("address-group", standard("address_groups", std)...),
		resource.Ext("address-group",
			resource.List("addresses", addressList, post, func(g *AddressGroup) *[]string { return &g.Addresses }, resource.Children[string]{
				Table: "address_associations", Parent: "address_group_id",
				Columns: []resource.Col[string]{{Name: "address", Ref: func(e *string) any { return e }}}}, resource.Default([]string{})),
			resource.Field("shared", resource.Bool, hidden, func(g *AddressGroup) *bool { return &g.Shared },
				resource.Derived(sharedBy("addressgrouprbacs", "t.id")))))
}

// NoAddressGroup is the error for an address group that does not exist.
func NoAddressGroup(id string) error {
	return fault.NotFound("AddressGroupNotFound", "Address group %s could not be found.", id)
}

// addressList is a list of distinct prefixes; null means none.
var addressList = resource.Type[[]string]{Name: "list of CIDR", Append: resource.AppendList(resource.AppendString), Parse: func(v any) ([]string, error) {
	list, isList := v.([]any)
	if !isList && v != nil {
		return nil, resource.Reasonf("'%s' is not a list", resource.Py(v))
	}
	if err := distinct(list); err != nil {
		return nil, err
	}
	out, seen := []string{}, map[string]bool{}
	for _, e := range list {
		s, isText := e.(string)
		p, err := CIDR.Parse(s)
		if !isText || err != nil || !strings.Contains(s, "/") {
			return nil, resource.Reasonf("'%s' is not a valid IP subnet", resource.Py(e))
		}
		if !seen[p] { // the same but for host bits
			seen[p] = true
			out = append(out, p)
		}
	}
	return out, nil
}}

// ParseNetwork reads a prefix or an address, which stands for itself, and clears the host bits.
func ParseNetwork(s string) (string, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen()).String(), nil
	}
	return CIDR.Parse(s)
}
