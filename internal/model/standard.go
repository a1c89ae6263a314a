// Package model declares Neutron's objects: for each a Go struct and the table of its attributes. A file per family.
// Behaviour is elsewhere (package service); here is only what the attributes are and where they are stored.
package model

import (
	"slices"
	"strconv"
	"strings"

	"neutrino/internal/resource"
)

// Standard is what every API object has. Some have no name.
type Standard struct {
	ID        string
	ProjectID string
	Name      string
	resource.StandardAttr
}

const (
	post   = resource.Post
	put    = resource.Put
	hidden = resource.Hidden
	filter = resource.Filter
	sort   = resource.Sort
	policy = resource.Policy
	needed = resource.Needed
	must   = resource.Required
	inner  = resource.Hidden | resource.Internal
)

// owned are the attributes id, project_id and its old name tenant_id.
func owned[R any](s func(*R) *Standard) []resource.Attr[R] {
	project := func(r *R) *string { return &s(r).ProjectID }
	return []resource.Attr[R]{
		resource.Field("id", resource.UUID, filter|sort, func(r *R) *string { return &s(r).ID }),
		// Upstream checks the old name first, and names it in its errors.
		resource.Field("tenant_id", resource.String(255), post|filter|sort, project, resource.Derived("t.project_id")),
		resource.Field("project_id", resource.String(255), post|filter|sort|needed, project),
	}
}

func named[R any](s func(*R) *Standard) []resource.Attr[R] {
	return []resource.Attr[R]{
		resource.Field("name", resource.Name, post|put|filter|sort, func(r *R) *string { return &s(r).Name }, resource.Default("")),
	}
}

// without drops an attribute.
func without[R any](name string, attrs []resource.Attr[R]) []resource.Attr[R] {
	return slices.DeleteFunc(attrs, func(a resource.Attr[R]) bool { return a.Name == name })
}

// taggable are the tables whose objects have tags (neutron/extensions/tagging.py).
var taggable = []string{"networks", "subnets", "ports", "subnetpools", "routers", "floatingips", "qos_policies", "securitygroups", "network_segment_ranges"}

// standard are the attributes that live in the table standardattributes, and tags.
func standard[R any](table string, s func(*R) *Standard) []resource.Attr[R] {
	attrs := []resource.Attr[R]{
		resource.Field("description", givenOrAbsent(descriptionOf(table)), post|put|filter,
			func(r *R) **string { return &s(r).Description }, resource.Derived("sa.description"), resource.Default(new(string))),
		resource.Field("created_at", resource.Timestamp, 0, func(r *R) *resource.Time { return &s(r).CreatedAt },
			resource.Derived("sa.created_at")),
		resource.Field("updated_at", resource.Timestamp, 0, func(r *R) *resource.Time { return &s(r).UpdatedAt },
			resource.Derived("sa.updated_at")),
		resource.Field("revision_number", int64Type, filter, func(r *R) *int64 { return &s(r).Revision },
			resource.Derived("sa.revision_number")),
	}
	if !slices.Contains(taggable, table) {
		return attrs
	}
	var use resource.Flags
	if table == "ports" { // only they take tags in POST, upstream too
		use = post
	}
	tagRows := "(SELECT o.id AS object_id, g.tag AS tag FROM " + table + " o JOIN tags g ON g.standard_attr_id = o.standard_attr_id)"
	return append(attrs, resource.List("tags", Tags, use, func(r *R) *[]string { return &s(r).Tags }, resource.Children[string]{
		Table: tagRows, Source: "tags", Parent: "object_id", ReadOnly: true,
		Columns: []resource.Col[string]{{Name: "tag", Ref: func(e *string) any { return e }}}}, resource.Default([]string{})))
}

// MaxDescription is how long a description in the database can be.
const MaxDescription = 255

// descriptionOf is the type of descriptions. Those of address groups may be longer than their column at first (see the service
// addressgroup), which is why upstream finds other mistakes of a request before.
func descriptionOf(table string) resource.Type[string] {
	t := resource.String(MaxDescription)
	if table == "address_groups" {
		t.Parse = resource.String(1024).Parse
	}
	return t
}

var int64Type = resource.Type[int64]{Name: "integer", Append: resource.AppendJSON[int64],
	Parse:     func(v any) (int64, error) { n, err := resource.Int.Parse(v); return int64(n), err },
	FromQuery: numberIn}

// numberIn is the number at the beginning of a text, 0 if there is none: as such the database of most clouds compares text
// with numbers. Upstream does not convert these filters.
func numberIn(s string) (any, error) {
	s = strings.TrimLeft(s, " \t\n")
	end := 0
	for end < len(s) && (s[end] >= '0' && s[end] <= '9' || end == 0 && (s[0] == '-' || s[0] == '+')) {
		end++
	}
	n, _ := strconv.Atoi(s[:end]) // what is no number is 0, as for the database
	return n, nil
}

// table describes a table whose objects have standard attributes.
func table[R any](name string, s func(*R) *Standard) resource.Table[R] {
	return resource.Table[R]{Name: name, Order: checkOrder[name], ID: func(r *R) *string { return &s(r).ID },
		Standard: func(r *R) *resource.StandardAttr { return &s(r).StandardAttr },
		Visible:  "t.project_id = :project"}
}

// sharedBy is the SQL condition that an RBAC entry of the table shares the object whose id is expr with the caller.
func sharedBy(rbacTable, expr string) string {
	return "EXISTS (SELECT 1 FROM " + rbacTable + " r WHERE r.object_id = " + expr +
		" AND r.action = 'access_as_shared' AND r.target_project IN ('*', :project))"
}

// reachableBy is the same for any action: shared objects and, for networks, external ones.
func reachableBy(rbacTable, expr string) string {
	return "EXISTS (SELECT 1 FROM " + rbacTable + " r WHERE r.object_id = " + expr + " AND r.target_project IN ('*', :project))"
}
