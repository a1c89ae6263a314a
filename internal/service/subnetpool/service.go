// Package subnetpool keeps the stocks of prefixes from which subnets are made, and the address scopes in which these
// prefixes are unique.
package subnetpool

import (
	"fmt"
	"net/netip"

	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"

	"github.com/google/uuid"
)

// Hooks are what others do when pools change.
type Hooks struct {
	// ScopeChanged functions run in the transaction in which a pool, or subnets that came into it, got another address scope.
	ScopeChanged []func(tx *store.Tx, pool string) error
}

// Service manages subnet pools and address scopes.
type Service struct {
	Hooks Hooks

	catalog *model.Catalog
	// delegate makes requests for any IPv6 prefix wait for the provider's router (option ipv6_pd_enabled).
	delegate bool
}

// New makes the service. With delegate, subnets of the default IPv6 pool get their prefix by prefix delegation.
func New(catalog *model.Catalog, delegate bool) *Service {
	return &Service{catalog: catalog, delegate: delegate}
}

// lock keeps everybody else from giving out or taking away prefixes of the pool until the transaction ends: of two
// that do it at the same time, only one can replace the value in the column hash, and the other starts again (upstream
// ipam/subnet_alloc.py, _lock_subnetpool).
func (s *Service) lock(tx *store.Tx, id string) error {
	old, found, err := store.One[string](tx.QueryRow("SELECT hash FROM subnetpools WHERE id = ?", id))
	if err != nil {
		return fmt.Errorf("lock subnet pool %s: %w", id, err)
	}
	if !found {
		return s.catalog.Subnetpools.NotFound(id)
	}
	n, err := tx.Exec("UPDATE subnetpools SET hash = ? WHERE id = ? AND hash = ?", uuid.NewString(), id, old)
	if err != nil {
		return fmt.Errorf("lock subnet pool %s: %w", id, err)
	}
	if n == 0 {
		return store.Retry(fmt.Errorf("subnet pool %s is used by somebody else", id))
	}
	return nil
}

// allocated are the prefixes of the subnets that are in the pool.
func allocated(tx *store.Tx, pool string) (prefixSet, error) {
	texts, err := store.Strings(tx.Query("SELECT cidr FROM subnets WHERE subnetpool_id = ?", pool))
	if err != nil {
		return nil, fmt.Errorf("read subnets of pool %s: %w", pool, err)
	}
	return parse(texts)
}

// parse makes a set of prefixes that are in the database.
func parse(texts []string) (prefixSet, error) {
	list := make([]netip.Prefix, len(texts))
	for i, t := range texts {
		var err error
		if list[i], err = netip.ParsePrefix(t); err != nil {
			return nil, fmt.Errorf("prefix of a subnet pool: %w", err)
		}
	}
	return newSet(list), nil
}

const shared = "access_as_shared"

// share lets all projects use an object, by an entry of the RBAC table.
func share(tx *store.Tx, table, object, project string) error {
	_, err := tx.Exec(tx.Dialect().InsertIgnore(table, "id", "project_id", "object_id", "target_project", "action"),
		uuid.NewString(), project, object, "*", shared)
	if err != nil {
		return fmt.Errorf("share %s: %w", object, err)
	}
	return nil
}

// exists tells whether a query finds anything.
func exists(tx *store.Tx, where resource.Cond) (bool, error) {
	_, found, err := store.One[int](tx.QueryRow("SELECT 1 FROM "+where.SQL+" LIMIT 1", where.Args...))
	return found, err
}
