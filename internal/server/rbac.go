package server

import (
	"neutrino/internal/api"
	"neutrino/internal/model"
	"neutrino/internal/service/rbac"
)

// mountRBAC serves RBAC policies.
func mountRBAC(s *api.Server, catalog *model.Catalog) {
	api.Mount(s, catalog.RBACPolicies, rbac.New(catalog).Policies())
}
