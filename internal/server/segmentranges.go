package server

import (
	"neutrino/internal/api"
	"neutrino/internal/model"
	"neutrino/internal/service/agents"
	"neutrino/internal/service/ml2"
	"neutrino/internal/service/segmentrange"
	"neutrino/internal/store"
)

// segmentRangePlugin are the names of the service plug-in for network segment ranges.
var segmentRangePlugin = []string{"network_segment_range", "neutron.services.network_segment_range.plugin.NetworkSegmentRangePlugin"}

// segmentsPlugin are the names of the service plug-in for the segments of routed networks.
var segmentsPlugin = []string{"segments", "neutron.services.segments.plugin.Plugin"}

// mountSegments serves the segments of networks if their plug-in is loaded.
func mountSegments(a *api.Server, s *Server, catalog *model.Catalog, core *ml2.Plugin, agents *agents.Service) {
	if s.loads(segmentsPlugin) {
		api.Mount(a, catalog.Segments, core.Segments())
		agents.Started = func(tx *store.Tx, host string, configurations map[string]any) error {
			segments, err := core.MapHost(tx, host, configurations)
			if err != nil {
				return err
			}
			return agents.ScheduleSegments(tx, segments)
		}
	}
}

// mountSegmentRanges serves network segment ranges if their plug-in is loaded.
func mountSegmentRanges(a *api.Server, s *Server, catalog *model.Catalog, core *ml2.Plugin) {
	if s.loads(segmentRangePlugin) {
		api.Mount(a, catalog.NetworkSegmentRanges, segmentrange.New(catalog, core).Logic())
	}
}
