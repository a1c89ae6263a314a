package model

import (
	"slices"

	"neutrino/internal/fault"
	"neutrino/internal/resource"
)

// NetworkSegment is a segment of a network as an object of its own (plug-in segments).
type NetworkSegment struct {
	Standard
	Label           *string // its name
	NetworkID       string
	NetworkType     string
	PhysicalNetwork *string
	SegmentationID  *int
	Index           int // place among the network's segments
}

// Segments describes segments.
func Segments(enabled func(string) bool) *resource.Resource[NetworkSegment] {
	std := func(s *NetworkSegment) *Standard { return &s.Standard }
	t := table("networksegments", std)
	t.OneByOne, t.WholeLists = true, true
	t.FromZero, t.Visible = true, "" // only who administers networks sees any
	t.Missing = func(id string) error {
		return fault.NotFound("SegmentNotFound", "Segment %s could not be found.", id)
	}
	common := slices.DeleteFunc(standard("networksegments", std), func(a resource.Attr[NetworkSegment]) bool { return a.Name == "tags" })
	project := func(s *NetworkSegment) *string { return &s.ProjectID }
	return resource.New("segment", "segments", "segments", t, enabled, resource.Ext("segment",
		resource.Field("id", resource.UUID, filter|sort, func(s *NetworkSegment) *string { return &s.ID }),
		resource.Field("tenant_id", resource.String(255), post|hidden, project, resource.Unstored()),
		resource.Field("project_id", resource.String(255), post|hidden, project, resource.Unstored()),
		resource.Field("network_id", resource.UUID, post|filter|sort|must, func(s *NetworkSegment) *string { return &s.NetworkID }),
		resource.Field("physical_network", givenOrAbsent(resource.String(64)), post|filter|sort, func(s *NetworkSegment) **string { return &s.PhysicalNetwork }),
		resource.Field("network_type", resource.String(32), post|filter|sort|must, func(s *NetworkSegment) *string { return &s.NetworkType }),
		resource.Field("segmentation_id", givenOrAbsent(resource.Int), post|sort, func(s *NetworkSegment) **int { return &s.SegmentationID }),
		resource.Field("segment_index", resource.Int, inner, func(s *NetworkSegment) *int { return &s.Index }),
		resource.Field("name", resource.Nullable(resource.Name), post|put|filter|sort, func(s *NetworkSegment) **string { return &s.Label })),
		resource.Ext("standard-attr-segment", common...))
}

// ipAllocation is text; absent stands for the usual value.
var ipAllocation = resource.Type[string]{Name: "immediate | deferred | none", Parse: resource.String(16).Parse,
	Append: func(b []byte, v string) []byte {
		if v == "" {
			v = "immediate"
		}
		return resource.AppendString(b, v)
	}}
