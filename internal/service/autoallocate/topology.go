// Package autoallocate makes for a project, when it first asks, a network with subnets of the default pools and a
// router to the default external network (extension auto-allocated-topology, "get me a network").
package autoallocate

import (
	"encoding/json"
	"fmt"
	"strconv"

	"neutrino/internal/fault"
	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"
)

// InterfaceFunc connects or disconnects a router and the subnet that body names.
type InterfaceFunc func(tx *store.Tx, caller *identity.Caller, router string, body map[string]any) (map[string]any, error)

// Parts are the services that make what a topology consists of.
type Parts struct {
	Networks                      resource.Logic[model.Network]
	Subnets                       resource.Logic[model.Subnet]
	Routers                       resource.Logic[model.Router]
	AddInterface, RemoveInterface InterfaceFunc
}

// Service makes and removes topologies. Each is one row of auto_allocated_topologies, whose key is the project.
type Service struct {
	catalog *model.Catalog
	parts   Parts
}

// New makes the service.
func New(catalog *model.Catalog, parts Parts) *Service {
	return &Service{catalog: catalog, parts: parts}
}

// failure is what upstream calls an error of the deployment.
func failure(reason string) error {
	return fault.Conflict("AutoAllocationFailure", "Deployment error: %s.", reason)
}

// Project is the project that a request is about: "None" stands for the caller's. Others are for administrators.
func (s *Service) Project(caller *identity.Caller, project string) (string, error) {
	if project == "None" {
		project = caller.ProjectID
	}
	if !caller.IsAdmin && project != caller.ProjectID {
		return "", fault.Forbidden("NotAuthorized", "Not authorized.")
	}
	return project, nil
}

// Check tells whether a topology could be made.
func (s *Service) Check(tx *store.Tx, caller *identity.Caller) error {
	if _, err := externalNetwork(tx); err != nil {
		return err
	}
	pools, err := s.defaultPools(tx, caller)
	if err == nil && len(pools) == 0 {
		err = failure("No default subnetpools defined")
	}
	return err
}

// Get returns the network of the project's topology, which is made if there is none.
func (s *Service) Get(tx *store.Tx, caller *identity.Caller, project string) (network string, err error) {
	network, found, err := store.One[string](tx.QueryRow("SELECT network_id FROM auto_allocated_topologies WHERE project_id = ?", project))
	if err != nil {
		return "", fmt.Errorf("read topology of project %s: %w", project, err)
	}
	if found {
		return network, nil
	}
	external, err := externalNetwork(tx)
	if err != nil {
		return "", err
	}
	subnets, err := s.makeNetwork(tx, caller, project)
	if err != nil {
		return "", blame(err, "Unable to provide project private network", 400, 404)
	}
	router, err := s.makeRouter(tx, caller, project, external, subnets)
	if err != nil {
		return "", blame(err, "Unable to provide external connectivity", 400)
	}
	network = subnets[0].NetworkID
	_, err = tx.Exec("INSERT INTO auto_allocated_topologies (project_id, network_id, router_id) VALUES (?, ?, ?)", project, network, router)
	if store.IsDuplicate(err) { // somebody else was quicker: the next try finds that topology
		return "", store.Retry(err)
	}
	if err != nil {
		return "", fmt.Errorf("save topology of project %s: %w", project, err)
	}
	made, err := s.catalog.Networks.Get(tx, caller.Elevated(), network, s.catalog.Networks.Bits("id", "revision_number"))
	if err != nil {
		return "", err
	}
	return network, s.catalog.Networks.Touch(tx, made) // upstream switches it on here
}

// blame replaces errors that the deployment is to blame for: those with one of the statuses, and pools that are used up.
func blame(err error, reason string, statuses ...int) error {
	f := fault.As(err)
	if f.Type == "SubnetAllocationError" && len(statuses) > 1 {
		return failure(reason)
	}
	for _, status := range statuses {
		if f.Status == status {
			return failure(reason)
		}
	}
	return err
}

func externalNetwork(tx *store.Tx) (string, error) {
	id, found, err := store.One[string](tx.QueryRow("SELECT network_id FROM externalnetworks WHERE is_default = ? LIMIT 1", true))
	if err != nil {
		return "", fmt.Errorf("read default external network: %w", err)
	}
	if !found {
		return "", failure("No default router:external network")
	}
	return id, nil
}

// defaultPools are the default subnet pools that the caller may use, at most one for each IP version, IPv4 first.
func (s *Service) defaultPools(tx *store.Tx, caller *identity.Caller) ([]*model.Subnetpool, error) {
	pools := s.catalog.Subnetpools
	list, err := pools.Select(tx, &resource.Query{Caller: caller, Set: pools.Bits("id", "ip_version"),
		Where: []resource.Cond{{SQL: "t.is_default = ?", Args: []any{true}}}})
	if err != nil {
		return nil, err
	}
	var chosen []*model.Subnetpool
	for _, version := range []int{4, 6} {
		for _, p := range list {
			if p.IPVersion == version {
				chosen = append(chosen, p)
				break
			}
		}
	}
	return chosen, nil
}

func (s *Service) makeNetwork(tx *store.Tx, caller *identity.Caller, project string) ([]*model.Subnet, error) {
	network, err := resource.Make(tx, caller, s.catalog.Networks, s.parts.Networks, map[string]any{"name": "auto_allocated_network", "project_id": project})
	if err != nil {
		return nil, err
	}
	pools, err := s.defaultPools(tx, caller)
	if err != nil {
		return nil, err
	}
	if len(pools) == 0 {
		return nil, fault.NotFound("NotFound", "An unknown exception occurred.")
	}
	subnets := make([]*model.Subnet, len(pools))
	for i, pool := range pools {
		version := strconv.Itoa(pool.IPVersion)
		subnets[i], err = resource.Make(tx, caller, s.catalog.Subnets, s.parts.Subnets, map[string]any{"name": "auto_allocated_subnet_v" + version,
			"network_id": network.ID, "project_id": project, "ip_version": json.Number(version), "subnetpool_id": pool.ID})
		if err != nil {
			return nil, err
		}
	}
	return subnets, nil
}

func (s *Service) makeRouter(tx *store.Tx, caller *identity.Caller, project, external string, subnets []*model.Subnet) (id string, err error) {
	router, err := resource.Make(tx, caller, s.catalog.Routers, s.parts.Routers, map[string]any{"name": "auto_allocated_router",
		"project_id": project, "external_gateway_info": map[string]any{"network_id": external}}, func(r *model.Router) { r.Description = nil })
	if err != nil {
		return "", err
	}
	for _, subnet := range subnets {
		if _, err := s.parts.AddInterface(tx, caller, router.ID, map[string]any{"subnet_id": subnet.ID}); err != nil {
			return "", err
		}
	}
	return router.ID, nil
}

// Delete removes the project's topology, as far as it is still there.
func (s *Service) Delete(tx *store.Tx, caller *identity.Caller, project string) error {
	var network string
	var router *string
	rows, err := tx.Query("SELECT network_id, router_id FROM auto_allocated_topologies WHERE project_id = ?", project)
	found, err := store.All(rows, err, func(rows *store.Rows) (bool, error) { return true, rows.Scan(&network, &router) })
	if err != nil {
		return fmt.Errorf("read topology of project %s: %w", project, err)
	}
	if len(found) == 0 {
		return nil
	}
	if router != nil {
		if err := s.deleteRouter(tx, caller, *router, network); err != nil {
			return err
		}
	}
	return remove(tx, caller, s.catalog.Networks, s.parts.Networks, network)
}

func (s *Service) deleteRouter(tx *store.Tx, caller *identity.Caller, router, network string) error {
	subnets, err := store.Strings(tx.Query("SELECT id FROM subnets WHERE network_id = ? ORDER BY id", network))
	if err != nil {
		return fmt.Errorf("read subnets of network %s: %w", network, err)
	}
	for _, id := range subnets {
		_, err := s.parts.RemoveInterface(tx, caller, router, map[string]any{"subnet_id": id})
		if err := unlessGone(err); err != nil {
			return err
		}
	}
	return remove(tx, caller, s.catalog.Routers, s.parts.Routers, router)
}

// remove deletes an object as a DELETE request would, but for policy. One that is not there is no error.
func remove[R any](tx *store.Tx, caller *identity.Caller, res *resource.Resource[R], logic resource.Logic[R], id string) error {
	obj, err := res.Get(tx, caller, id, res.All)
	if err != nil {
		return unlessGone(err)
	}
	return unlessGone(logic.Delete(&resource.Change[R]{Resource: res, Tx: tx, Caller: caller, Old: obj}))
}

func unlessGone(err error) error {
	if err != nil && fault.As(err).Status == 404 {
		return nil
	}
	return err
}
