package server

import (
	"neutrino/internal/api"
	"neutrino/internal/model"
	"neutrino/internal/service/metering"
)

// meteringPlugin are the names of the service plug-in for metering.
var meteringPlugin = []string{"metering", "neutron.services.metering.metering_plugin.MeteringPlugin"}

// mountMetering serves metering labels and their rules if the plug-in is loaded, else it returns nil.
func mountMetering(a *api.Server, s *Server, catalog *model.Catalog, notifier metering.Notifier) *metering.Service {
	if !s.loads(meteringPlugin) {
		return nil
	}
	service := metering.New(catalog)
	service.Notifier = notifier
	api.Mount(a, catalog.MeteringLabels, service.Labels())
	api.Mount(a, catalog.MeteringLabelRules, service.Rules())
	return service
}

// Meters tells whether the metering plug-in is loaded.
func (s *Server) Meters() bool { return s.loads(meteringPlugin) }
