package model

import (
	"neutrino/internal/fault"
	"neutrino/internal/resource"
)

// NetworkSegmentRange is a range of segmentation ids for networks, shared or of one project.
type NetworkSegmentRange struct {
	Standard
	Project         *string // nil for a shared one
	Default         bool    // from the configuration
	Shared          bool
	NetworkType     string
	PhysicalNetwork string // "" for tunnels
	Minimum         int
	Maximum         int
	Used            UsedIDs // filled by the service
	Available       []int   // filled by the service

	created bool // see ForCreateAnswer
}

// ForCreateAnswer makes the range look as upstream shows it in the answer to its creation: with a project even if that is
// null.
func (r *NetworkSegmentRange) ForCreateAnswer() { r.created = true }

// UsedIDs are the projects of the networks that use segmentation ids.
type UsedIDs map[int]string

// segmentationID is a number that some network type could have as segmentation id; GRE has the most.
var segmentationID = resource.Int.Named("1 to 4294967295").Checked(func(n int) error {
	switch {
	case n < 1:
		return resource.Reasonf("'%d' is too small - must be at least '1'", n)
	case n > 1<<32-1:
		return resource.Reasonf("'%d' is too large - must be no larger than '%d'", n, 1<<32-1)
	}
	return nil
})

// NetworkSegmentRanges describes network segment ranges. Default ones have no name and were never updated.
func NetworkSegmentRanges(enabled func(string) bool) *resource.Resource[NetworkSegmentRange] {
	std := func(r *NetworkSegmentRange) *Standard { return &r.Standard }
	isDefault := func(r *NetworkSegmentRange) bool { return r.Default }
	t := table("network_segment_ranges", std)
	t.FromZero, t.Visible, t.TagsDoNotFilter = true, "t.project_id = :project OR t.shared", true
	t.Fields = func(r *resource.Resource[NetworkSegmentRange], wanted resource.Set, _ bool) resource.Set {
		return wanted | r.Bits("description", "revision_number", "created_at", "updated_at", "tags") // which upstream adds afterwards
	}
	t.Missing = func(id string) error {
		return fault.NotFound("NetworkSegmentRangeNotFound", "Network Segment Range %s could not be found.", id)
	}
	project := givenOrAbsent(resource.String(255))
	owner := func(r *NetworkSegmentRange) **string { return &r.Project }
	common := standard("network_segment_ranges", std)
	for i, a := range common {
		if a.Name == "updated_at" {
			common[i] = a.OmitWhen(isDefault, "default")
		}
	}
	used := resource.Type[UsedIDs]{Name: "projects by segmentation id", Append: resource.AppendJSON[UsedIDs], Parse: readOnly[UsedIDs]}
	available := resource.Type[[]int]{Name: "list of integers", Append: resource.AppendList(resource.Int.Append), Parse: readOnly[[]int]}
	return resource.New("network_segment_range", "network_segment_ranges", "network-segment-ranges", t, enabled,
		[]resource.Attr[NetworkSegmentRange]{
			resource.Field("id", resource.UUID, filter|sort, func(r *NetworkSegmentRange) *string { return &r.ID }),
			resource.Field("name", resource.Name.Named("string ≤ 255 or null"), post|put|filter|sort, func(r *NetworkSegmentRange) *string { return &r.Name },
				resource.Default(""), resource.Matching(func(names []string) (resource.Cond, error) { return resource.In("t.name", names), nil })).OmitWhen(isDefault, "default"),
			resource.Field("default", resource.Bool, needed, func(r *NetworkSegmentRange) *bool { return &r.Default }),
			resource.Field("shared", resource.Bool, post, func(r *NetworkSegmentRange) *bool { return &r.Shared }, resource.Default(true)),
			resource.Field("project_id", project, post|filter|sort|needed, owner,
				resource.Matching(func(values []string) (resource.Cond, error) { return resource.In("t.project_id", values), nil })).
				OmitWhen(func(r *NetworkSegmentRange) bool { return r.Project == nil && !r.created }),
			resource.Field("tenant_id", project, post|filter|hidden, owner, resource.Derived("t.project_id")),
			resource.Field("network_type", resource.OneOf("vlan", "vxlan", "gre", "geneve"), post|filter,
				func(r *NetworkSegmentRange) *string { return &r.NetworkType }, resource.Enum()),
			resource.Field("physical_network", resource.String(64), post|filter, func(r *NetworkSegmentRange) *string { return &r.PhysicalNetwork }),
			resource.Field("minimum", segmentationID, post|put|must, func(r *NetworkSegmentRange) *int { return &r.Minimum }),
			resource.Field("maximum", segmentationID, post|put|must, func(r *NetworkSegmentRange) *int { return &r.Maximum }),
			resource.Field("used", used, 0, func(r *NetworkSegmentRange) *UsedIDs { return &r.Used }, resource.Unstored()),
			resource.Field("available", available, 0, func(r *NetworkSegmentRange) *[]int { return &r.Available }, resource.Unstored()),
		}, common)
}

// readOnly refuses values of attributes that only the service sets.
func readOnly[T any](v any) (T, error) {
	var none T
	return none, resource.Reasonf("'%s' cannot be set", resource.Py(v))
}
