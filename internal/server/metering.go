package server

import (
	"neutrino/internal/api"
	"neutrino/internal/model"
	"neutrino/internal/service/metering"
)

// meteringPlugin are the names of the service plug-in for metering.
var meteringPlugin = []string{"metering", "neutron.services.metering.metering_plugin.MeteringPlugin"}

// mountMetering serves metering labels and their rules if the plug-in is loaded.
func mountMetering(a *api.Server, s *Server, catalog *model.Catalog) {
	if !s.loads(meteringPlugin) {
		return
	}
	service := metering.New(catalog)
	api.Mount(a, catalog.MeteringLabels, service.Labels())
	api.Mount(a, catalog.MeteringLabelRules, service.Rules())
}
