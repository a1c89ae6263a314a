package model

import (
	"encoding/json"

	"neutrino/internal/fault"
	"neutrino/internal/resource"
)

// Flavor is a way in which a service is provided, as projects see it.
type Flavor struct {
	ID          string
	Name        string
	Description *string
	ServiceType string
	Enabled     bool
	Profiles    []string // service profiles
}

// ServiceProfile is what a flavor means: the driver that provides the service.
type ServiceProfile struct {
	ID          string
	Description *string
	Driver      string
	Metainfo    *string
	Enabled     bool
}

// enabledFlag is a boolean that null leaves true.
var enabledFlag = func() resource.Type[bool] {
	t := resource.Bool
	t.Parse = func(v any) (bool, error) {
		if v == nil {
			return true, nil
		}
		return resource.Bool.Parse(v)
	}
	return t
}()

// Flavors describes flavors. Their profiles are bound by requests of their own.
func Flavors(enabled func(string) bool) *resource.Resource[Flavor] {
	t := resource.Table[Flavor]{Name: "flavors", OneByOne: true, ID: func(f *Flavor) *string { return &f.ID }}
	serviceType := resource.Type[string]{Name: "service type", Append: resource.AppendString,
		Parse: func(v any) (string, error) { return resource.Py(v), nil }}
	return resource.New("flavor", "flavors", "flavors", t, enabled, resource.Ext("flavors",
		resource.Field("id", resource.UUID, filter|sort, func(f *Flavor) *string { return &f.ID }),
		resource.Field("name", resource.Name, post|put|filter|sort, func(f *Flavor) *string { return &f.Name }, resource.Default("")),
		resource.Field("description", resource.Nullable(resource.String(1024)), post|put|filter|sort,
			func(f *Flavor) **string { return &f.Description }, resource.Default(new(string))),
		resource.Field("service_type", serviceType, post|filter|sort|must, func(f *Flavor) *string { return &f.ServiceType }),
		resource.List("service_profiles", givenUUIDs, post|put, func(f *Flavor) *[]string { return &f.Profiles }, resource.Children[string]{
			Table: "flavorserviceprofilebindings", Parent: "flavor_id", ReadOnly: true,
			Columns: []resource.Col[string]{{Name: "service_profile_id", Ref: func(e *string) any { return e }}}}),
		resource.Field("enabled", enabledFlag, post|put|filter|sort, func(f *Flavor) *bool { return &f.Enabled }, resource.Default(true))))
}

// givenUUIDs does not take null for an empty list.
var givenUUIDs = func() resource.Type[[]string] {
	t := UUIDs
	t.Parse = func(v any) ([]string, error) {
		if v == nil {
			return nil, resource.Reasonf("'None' is not a list")
		}
		return UUIDs.Parse(v)
	}
	return t
}()

// ServiceProfiles describes service profiles.
func ServiceProfiles(enabled func(string) bool) *resource.Resource[ServiceProfile] {
	t := resource.Table[ServiceProfile]{Name: "serviceprofiles", OneByOne: true, ID: func(p *ServiceProfile) *string { return &p.ID },
		Missing: func(id string) error {
			return fault.NotFound("ServiceProfileNotFound", "Service Profile %s could not be found.", id)
		}}
	return resource.New("service_profile", "service_profiles", "service_profiles", t, enabled, resource.Ext("flavors",
		resource.Field("id", resource.UUID, filter|sort, func(p *ServiceProfile) *string { return &p.ID }),
		resource.Field("description", resource.Nullable(resource.String(1024)), post|put|filter|sort,
			func(p *ServiceProfile) **string { return &p.Description }, resource.Default(new(string))),
		resource.Field("driver", resource.String(1024), post|put|filter|sort, func(p *ServiceProfile) *string { return &p.Driver }, resource.Default("")),
		resource.Field("enabled", enabledFlag, post|put|filter|sort, func(p *ServiceProfile) *bool { return &p.Enabled }, resource.Default(true)),
		resource.Field("metainfo", metainfo, post|put|sort, func(p *ServiceProfile) **string { return &p.Metainfo }, resource.Default(new(string)))))
}

// metainfo is any scalar as text, and anything else, which upstream's database refuses, as text of JSON.
var metainfo = resource.Type[*string]{Name: "text or null", Append: resource.AppendNullable(resource.AppendString),
	Parse: func(v any) (*string, error) {
		text := resource.Py(v)
		switch v.(type) {
		case nil:
			return nil, nil
		case map[string]any, []any:
			if resource.Falsy(v) {
				return new(string), nil
			}
			raw, err := json.Marshal(v)
			if err != nil {
				return nil, resource.Reasonf("'%s' is not a valid string", text)
			}
			text = string(raw)
		}
		return &text, nil
	}}

// anyText is the text of whatever is given, null included, which names nothing that exists.
var anyText = resource.Type[*string]{Name: "string", Append: resource.AppendNullable(resource.AppendString),
	Parse: func(v any) (*string, error) { text := resource.Py(v); return &text, nil }}
