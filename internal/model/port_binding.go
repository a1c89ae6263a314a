package model

import "neutrino/internal/resource"

// PortBinding is a port on a host. While a machine moves, its ports have one on the old host and one on the new; only one
// of them is active.
type PortBinding struct {
	Host       string
	VNICType   string
	Profile    Dict
	VIFType    string
	VIFDetails Dict
	Status     string // ACTIVE or INACTIVE
	ProjectID  string // of the request
}

// PortBindings describes the bindings of one port. Rows are written by the ML2 plug-in.
func PortBindings(enabled func(string) bool) *resource.Resource[PortBinding] {
	project := func(b *PortBinding) *string { return &b.ProjectID }
	return resource.New("binding", "bindings", "", resource.Table[PortBinding]{Name: "ml2_port_bindings", Order: checkOrder["ml2_port_bindings"], IDColumn: "host",
		ID: func(b *PortBinding) *string { return &b.Host }}, enabled,
		resource.Ext("binding-extended",
			resource.Field("host", hostID, post|put|filter|must, func(b *PortBinding) *string { return &b.Host }),
			resource.Field("vif_type", resource.String(64), filter, func(b *PortBinding) *string { return &b.VIFType }),
			resource.Field("vif_details", Dictionary, 0, func(b *PortBinding) *Dict { return &b.VIFDetails }),
			resource.Field("vnic_type", vnicType, post|put|filter, func(b *PortBinding) *string { return &b.VNICType }, resource.Default("normal")),
			resource.Field("profile", Dictionary, post|put, func(b *PortBinding) *Dict { return &b.Profile }),
			resource.Field("status", resource.String(16), filter, func(b *PortBinding) *string { return &b.Status }),
			resource.Field("project_id", resource.String(255), post|hidden, project, resource.Unstored()),
			resource.Field("tenant_id", resource.String(255), post|hidden, project, resource.Unstored())))
}
