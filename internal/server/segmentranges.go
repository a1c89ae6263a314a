package server

import (
	"neutrino/internal/api"
	"neutrino/internal/model"
	"neutrino/internal/service/ml2"
	"neutrino/internal/service/segmentrange"
)

// segmentRangePlugin are the names of the service plug-in for network segment ranges.
var segmentRangePlugin = []string{"network_segment_range", "neutron.services.network_segment_range.plugin.NetworkSegmentRangePlugin"}

// mountSegmentRanges serves network segment ranges if their plug-in is loaded.
func mountSegmentRanges(a *api.Server, s *Server, catalog *model.Catalog, core *ml2.Plugin) {
	if s.loads(segmentRangePlugin) {
		api.Mount(a, catalog.NetworkSegmentRanges, segmentrange.New(catalog, core).Logic())
	}
}
