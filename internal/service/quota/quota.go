// Package quota limits how many objects of a kind a project may have. Usage is counted in the transaction that adds an
// object, so there are no usage records that could be wrong.
package quota

import (
	"fmt"
	"maps"
	"slices"

	"neutrino/internal/fault"
	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/store"

	"github.com/google/uuid"
)

// Unlimited is the limit that is none.
const Unlimited = -1

// kind is a countable kind of object: where the objects of a project are counted.
type kind struct {
	name  string
	limit int    // upstream's default
	count string // SQL with one argument, the project
}

// kinds are upstream's resources with their default limits (neutron/conf/quota.py), those that Neutrino offers.
var kinds = []kind{
	{"network", 100, "SELECT COUNT(*) FROM networks WHERE project_id = ?"},
	{"subnet", 100, "SELECT COUNT(*) FROM subnets WHERE project_id = ?"},
	{"subnetpool", -1, "SELECT COUNT(*) FROM subnetpools WHERE project_id = ?"},
	{"port", 500, "SELECT COUNT(*) FROM ports WHERE project_id = ?"},
	{"router", 10, "SELECT COUNT(*) FROM routers WHERE project_id = ?"},
	{"router_route", 30, ""}, // per router, counted by the L3 plug-in
	{"floatingip", 50, "SELECT COUNT(*) FROM floatingips WHERE project_id = ?"},
	{"security_group", 10, "SELECT COUNT(*) FROM securitygroups WHERE project_id = ?"},
	{"security_group_rule", 100, "SELECT COUNT(*) FROM securitygrouprules WHERE project_id = ?"},
	{"rbac_policy", 10, "SELECT COUNT(*) FROM " + model.RBACTable() + " p WHERE project_id = ?"},
}

// Service knows the limits.
type Service struct{ defaults map[string]int }

// New makes the service. overrides are the limits of the configuration (section [quotas]) by name.
func New(overrides map[string]int) *Service {
	s := &Service{defaults: map[string]int{}}
	for _, k := range kinds {
		s.defaults[k.name] = k.limit
	}
	for name, limit := range overrides {
		if _, known := s.defaults[name]; known {
			s.defaults[name] = max(limit, Unlimited)
		}
	}
	return s
}

// Known tells whether there is a limit for the kind of object.
func (s *Service) Known(name string) bool { _, ok := s.defaults[name]; return ok }

// Names are the kinds of objects, in upstream's order.
func (s *Service) Names() []string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = k.name
	}
	return names
}

// Defaults are the limits of a project that has none of its own.
func (s *Service) Defaults() map[string]int { return maps.Clone(s.defaults) }

// Limits are the limits of a project.
func (s *Service) Limits(tx *store.Tx, project string) (map[string]int, error) {
	limits := s.Defaults()
	own, err := ownLimits(tx, "WHERE project_id = ?", project)
	for _, same := range own { // MariaDB finds the project in other letter case, too
		for name, limit := range same {
			if s.Known(name) {
				limits[name] = limit
			}
		}
	}
	return limits, err
}

// All are the limits of all projects that have some of their own.
func (s *Service) All(tx *store.Tx) (map[string]map[string]int, error) {
	own, err := ownLimits(tx, "")
	for project, limits := range own {
		all := s.Defaults()
		for name, limit := range limits {
			if s.Known(name) {
				all[name] = limit
			}
		}
		own[project] = all
	}
	return own, err
}

func ownLimits(tx *store.Tx, where string, args ...any) (map[string]map[string]int, error) {
	type row struct {
		project, name string
		limit         int
	}
	rows, err := tx.Query("SELECT project_id, resource, "+tx.Dialect().Quote("limit")+" FROM quotas "+where, args...)
	list, err := store.All(rows, err, func(rows *store.Rows) (r row, err error) { return r, rows.Scan(&r.project, &r.name, &r.limit) })
	out := map[string]map[string]int{}
	for _, r := range list {
		if out[r.project] == nil {
			out[r.project] = map[string]int{}
		}
		out[r.project][r.name] = r.limit
	}
	return out, err
}

// Used counts the objects of a kind that a project has.
func (s *Service) Used(tx *store.Tx, name, project string) (int, error) {
	for _, k := range kinds {
		if k.name != name || k.count == "" {
			continue
		}
		var n int
		if err := tx.QueryRow(k.count, project).Scan(&n); err != nil {
			return 0, fmt.Errorf("count %s of project: %w", name, err)
		}
		return n, nil
	}
	return 0, nil
}

// Check makes sure that a project may have count more objects of a kind. Kinds without a limit are not checked.
func (s *Service) Check(tx *store.Tx, _ *identity.Caller, name, project string, count int) error {
	limit, known := s.defaults[name]
	if !known || project == "" || count == 0 {
		return nil
	}
	own, found, err := store.One[int](tx.QueryRow("SELECT "+tx.Dialect().Quote("limit")+" FROM quotas WHERE project_id = ? AND resource = ?",
		project, name))
	if err != nil {
		return err
	}
	if found {
		limit = own
	}
	if limit < 0 {
		return nil
	}
	if err := lock(tx, name, project); err != nil {
		return err
	}
	used, err := s.Used(tx, name, project)
	if err != nil {
		return err
	}
	if used+count > limit {
		return over(name)
	}
	return nil
}

// lock makes others who add objects of the kind to the project wait until the transaction ends, so that they count what
// it adds. It uses the row that upstream's quota drivers lock; dirty tells them not to believe its numbers.
func lock(tx *store.Tx, name, project string) error {
	clause := tx.Dialect().ForUpdate()
	if clause == "" {
		return nil // the database has one writer at a time
	}
	_, found, err := store.One[string](tx.QueryRow("SELECT resource FROM quotausages WHERE project_id = ? AND resource = ?"+clause, project, name))
	if err != nil || found {
		return err
	}
	n, err := tx.Exec(tx.Dialect().InsertIgnore("quotausages", "project_id", "resource", "dirty", "in_use", "reserved"), project, name, true, 0, 0)
	if err == nil && n == 0 {
		err = store.Retry(fmt.Errorf("somebody else counts the objects of project %s too", project))
	}
	return err
}

// Limit is the limit of one kind for a project, Unlimited if there is none.
func (s *Service) Limit(tx *store.Tx, name, project string) (int, error) {
	limits, err := s.Limits(tx, project)
	return limits[name], err
}

func over(name string) error {
	return fault.Conflict("OverQuota", "Quota exceeded for resources: ['%s'].", name)
}

// Set gives a project limits of its own. Unless force, a limit must not be below what is used.
func (s *Service) Set(tx *store.Tx, project string, limits map[string]int, force bool) error {
	for _, name := range slices.Sorted(maps.Keys(limits)) {
		limit := limits[name]
		if !force && limit != Unlimited {
			used, err := s.Used(tx, name, project)
			if err != nil {
				return err
			}
			if used > limit {
				return fault.BadRequest("HTTPBadRequest", "Quota limit %d for %s must be greater than or equal to already used %d", limit, name, used)
			}
		}
		column := tx.Dialect().Quote("limit")
		n, err := tx.Exec("UPDATE quotas SET "+column+" = ? WHERE project_id = ? AND resource = ?", limit, project, name)
		if err == nil && n == 0 {
			_, err = tx.Exec("INSERT INTO quotas (id, project_id, resource, "+column+") VALUES (?, ?, ?, ?)", uuid.NewString(), project, name, limit)
		}
		if store.IsDuplicate(err) {
			return store.Retry(err)
		}
		if err != nil {
			return fmt.Errorf("set quota: %w", err)
		}
	}
	return nil
}

// Reset takes a project's own limits away.
func (s *Service) Reset(tx *store.Tx, project string) error {
	n, err := tx.Exec("DELETE FROM quotas WHERE project_id = ?", project)
	if err == nil && n == 0 {
		return fault.NotFound("TenantQuotaNotFound", "Quota for project %s could not be found.", project)
	}
	return err
}
