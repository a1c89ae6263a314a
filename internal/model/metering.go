package model

import (
	"neutrino/internal/fault"
	"neutrino/internal/resource"
)

// MeteringLabel is a name under which the traffic of a project's routers is counted.
type MeteringLabel struct {
	Standard
	Shared bool // counts the routers of all projects
}

// MeteringLabelRule says which traffic a metering label counts.
type MeteringLabelRule struct {
	ID           string
	ProjectID    string // the label's
	LabelID      string
	Direction    string
	RemotePrefix *string // deprecated in favour of the other two
	SourcePrefix *string
	DestPrefix   *string
	Excluded     bool
}

// MeteringLabels describes metering labels. They cannot be changed.
func MeteringLabels(enabled func(string) bool) *resource.Resource[MeteringLabel] {
	std := func(l *MeteringLabel) *Standard { return &l.Standard }
	t := resource.Table[MeteringLabel]{Name: "meteringlabels", Order: checkOrder["meteringlabels"], WholeLists: true, ID: func(l *MeteringLabel) *string { return &l.ID },
		Visible: "t.project_id = :project OR t.shared",
		Missing: func(id string) error {
			return fault.NotFound("MeteringLabelNotFound", "Metering label '%s' does not exist.", id)
		}}
	return resource.New("metering_label", "metering_labels", "metering/metering-labels", t, enabled,
		resource.Ext("metering",
			resource.Field("name", resource.Name, post|filter|sort, func(l *MeteringLabel) *string { return &l.Name }, resource.Default("")),
			resource.Field("description", givenOrAbsent(resource.String(1024)), post|filter|sort,
				func(l *MeteringLabel) **string { return &l.Description }, resource.Default(new(string)))),
		resource.Ext("metering", owned(std)...),
		resource.Ext("metering",
			resource.Field("shared", resource.Bool, post|filter|sort, func(l *MeteringLabel) *bool { return &l.Shared }, resource.Default(false))))
}

// MeteringLabelRules describes metering label rules. They cannot be changed.
func MeteringLabelRules(enabled func(string) bool) *resource.Resource[MeteringLabelRule] {
	t := resource.Table[MeteringLabelRule]{Name: "meteringlabelrules", Order: checkOrder["meteringlabelrules"], WholeLists: true, Picked: []string{"metering_label_id"}, ID: func(r *MeteringLabelRule) *string { return &r.ID },
		Visible: "EXISTS (SELECT 1 FROM meteringlabels l WHERE l.id = t.metering_label_id AND l.project_id = :project)",
		Missing: func(id string) error {
			return fault.NotFound("MeteringLabelRuleNotFound", "Metering label rule '%s' does not exist.", id)
		}}
	project := func(r *MeteringLabelRule) *string { return &r.ProjectID }
	ofLabel := resource.Derived("(SELECT l.project_id FROM meteringlabels l WHERE l.id = t.metering_label_id)")
	none := resource.Default((*string)(nil))
	return resource.New("metering_label_rule", "metering_label_rules", "metering/metering-label-rules", t, enabled,
		resource.Ext("metering",
			resource.Field("id", resource.UUID, filter|sort, func(r *MeteringLabelRule) *string { return &r.ID }),
			resource.Field("metering_label_id", resource.UUID, post|filter|sort|must, func(r *MeteringLabelRule) *string { return &r.LabelID }),
			resource.Field("direction", resource.OneOf("ingress", "egress"), post|filter|sort|must, func(r *MeteringLabelRule) *string { return &r.Direction }, resource.Enum()),
			resource.Field("excluded", resource.Bool, post|filter|sort, func(r *MeteringLabelRule) *bool { return &r.Excluded }, resource.Default(false)),
			resource.Field("tenant_id", resource.String(255), post|hidden, project, ofLabel),
			resource.Field("project_id", resource.String(255), post|hidden|needed, project, ofLabel),
			resource.Field("remote_ip_prefix", meteringPrefix, post|filter|sort, func(r *MeteringLabelRule) **string { return &r.RemotePrefix }, none)),
		resource.Ext("metering_source_and_destination_fields",
			resource.Field("source_ip_prefix", meteringPrefix, post|put|filter|sort, func(r *MeteringLabelRule) **string { return &r.SourcePrefix }, none),
			resource.Field("destination_ip_prefix", meteringPrefix, post|put|filter|sort, func(r *MeteringLabelRule) **string { return &r.DestPrefix }, none)))
}

// meteringPrefix is text or nothing, as which upstream takes whatever Python calls false. The service looks at the
// text.
var meteringPrefix = resource.Type[*string]{Name: "prefix or null", Append: resource.AppendNullable(resource.AppendString),
	Parse: func(v any) (*string, error) {
		if resource.Falsy(v) {
			return nil, nil
		}
		return new(resource.Py(v)), nil
	}}
