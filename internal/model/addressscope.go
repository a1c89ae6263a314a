package model

import "neutrino/internal/resource"

// AddressScope is a space of addresses that are routed without NAT among each other. It has no standard attributes.
type AddressScope struct {
	Standard
	IPVersion int
	Shared    bool // an RBAC entry shares it with the caller
}

// AddressScopes describes address scopes.
func AddressScopes(enabled func(string) bool) *resource.Resource[AddressScope] {
	std := func(a *AddressScope) *Standard { return &a.Standard }
	shared := sharedBy("addressscoperbacs", "t.id")
	t := resource.Table[AddressScope]{Name: "address_scopes", ID: func(a *AddressScope) *string { return &a.ID },
		Visible: "t.project_id = :project OR " + shared}
	return resource.New("address_scope", "address_scopes", "address-scopes", t, enabled,
		named(std), owned(std), []resource.Attr[AddressScope]{
			resource.Field("shared", resource.Bool, post|put|filter|sort|policy|needed, func(a *AddressScope) *bool { return &a.Shared },
				resource.Derived(shared), resource.Default(false)),
			resource.Field("ip_version", ipVersion, post|filter|sort|must, func(a *AddressScope) *int { return &a.IPVersion }),
		})
}

// networkScope is the address scope of a network's subnets of one IP version; all are in the same one.
func networkScope(version string) string {
	return "(SELECT MAX(p.address_scope_id) FROM subnets s JOIN subnetpools p ON p.id = s.subnetpool_id " +
		"WHERE s.network_id = t.id AND p.ip_version = " + version + ")"
}
