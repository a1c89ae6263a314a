package api

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"neutrino/internal/fault"
	"neutrino/internal/policy"
	"neutrino/internal/resource"
	"neutrino/internal/store"
)

// target is an object as policy sees it.
type target[R any] struct {
	res     *resource.Resource[R]
	obj     *R
	parents *parents
}

// Attr implements policy.Target.
func (t target[R]) Attr(name string) (string, bool) { return t.res.Text(t.obj, name) }

// asFetched is an object as policy sees it when it decides whether a caller who may not change it is told so or that it
// does not exist: attributes that are not part of the API are not read then (neutron/pecan_wsgi/hooks/
// policy_enforcement.py, fetch_resource).
type asFetched[R any] struct{ target[R] }

// Attr implements policy.Target.
func (t asFetched[R]) Attr(name string) (string, bool) {
	if a, ok := t.res.Attr(name); ok && a.Flags&(resource.Hidden|resource.Needed) == resource.Hidden {
		return "", false
	}
	return t.target.Attr(name)
}

// Parent implements policy.Target.
func (t target[R]) Parent(kind, attr string) (string, bool, error) {
	key, ok := t.res.Text(t.obj, kind+"_id")
	if !ok || key == "" || key == "None" {
		return "", false, nil
	}
	p, err := t.parents.get(kind, key)
	if err != nil {
		return "", false, err
	}
	switch attr {
	case "project_id":
		return p.owner, true, nil
	case "router:external":
		return resource.Py(p.external), true, nil
	case "shared":
		project, _ := t.res.Text(t.obj, "project_id")
		if kind == policy.ParentNetwork && p.owner != project && !p.with(p.reachedBy, project) { // upstream looks it up as the project
			return "", false, notFound(kind, key)
		}
		return resource.Py(p.with(p.sharedWith, project)), true, nil
	}
	return "", false, nil
}

// parent is what policy asks about the network or the security group of an object.
type parent struct {
	owner      string
	external   bool
	sharedWith []string // projects, "*" = all
	reachedBy  []string // projects for which there is an RBAC entry of any kind
}

func (*parent) with(projects []string, project string) bool {
	return slices.Contains(projects, "*") || slices.Contains(projects, project)
}

// parents looks up the parents of objects, each once per transaction.
type parents struct {
	tx    *store.Tx
	known map[parentKey]*parent
	// all lists the parents of all objects of a list, so that one look-up finds them; nil = only the one asked for.
	all func(kind string) []string
}

type parentKey struct{ kind, id string }

func newParents(tx *store.Tx) *parents { return &parents{tx: tx, known: map[parentKey]*parent{}} }

// parentsOf looks up the parents of all objs at once.
func parentsOf[R any](tx *store.Tx, res *resource.Resource[R], objs []*R) *parents {
	p := newParents(tx)
	p.all = func(kind string) []string {
		var ids []string
		for _, obj := range objs {
			if id, ok := res.Text(obj, kind+"_id"); ok {
				ids = append(ids, id)
			}
		}
		slices.Sort(ids)
		return slices.Compact(ids)
	}
	return p
}

func (p *parents) get(kind, id string) (*parent, error) {
	if _, asked := p.known[parentKey{kind, id}]; !asked {
		ids := []string{id}
		if p.all != nil {
			ids = p.all(kind)
		}
		for chunk := range slices.Chunk(ids, parentChunk) {
			if err := p.load(kind, chunk); err != nil {
				return nil, fmt.Errorf("look up %ss for policy: %w", kind, err)
			}
		}
	}
	if found := p.known[parentKey{kind, id}]; found != nil {
		return found, nil
	}
	return nil, notFound(kind, id)
}

// notFound is what upstream's look-up of a parent raises.
func notFound(kind, id string) error {
	if kind == policy.ParentNetwork {
		return fault.NotFound("NetworkNotFound", "Network %s could not be found.", id)
	}
	return fault.NotFound("SecurityGroupNotFound", "Security group %s does not exist", id)
}

const parentChunk = 10000 // ids in one query; databases take 32000 arguments and more

// parentQueries find the parents with the given ids and whom they are shared with.
var parentQueries = map[string]struct{ owners, shares string }{
	policy.ParentNetwork: {
		"SELECT p.id, p.project_id, EXISTS (SELECT 1 FROM externalnetworks e WHERE e.network_id = p.id) FROM networks p WHERE ",
		"SELECT r.object_id, r.target_project, r.action = 'access_as_shared' FROM networkrbacs r WHERE ",
	},
	policy.ParentSecurityGroup: {
		"SELECT p.id, p.project_id, 1 = 0 FROM securitygroups p WHERE ",
		"SELECT r.object_id, r.target_project, r.action = 'access_as_shared' FROM securitygrouprbacs r WHERE ",
	},
}

func (p *parents) load(kind string, ids []string) error {
	queries, ok := parentQueries[kind]
	if !ok {
		return errors.New("no parents of this kind are known")
	}
	for _, id := range ids {
		p.known[parentKey{kind, id}] = nil
	}
	in := resource.In("p.id", ids)
	err := each(p.tx, queries.owners+in.SQL, in.Args, func(row *sql.Rows) error {
		var id string
		var owner sql.NullString
		found := &parent{}
		err := row.Scan(&id, &owner, &found.external)
		found.owner = owner.String
		p.known[parentKey{kind, id}] = found
		return err
	})
	if err != nil {
		return err
	}
	in = resource.In("r.object_id", ids)
	return each(p.tx, queries.shares+in.SQL, in.Args, func(row *sql.Rows) error {
		var id, project string
		var shared bool
		err := row.Scan(&id, &project, &shared)
		if found := p.known[parentKey{kind, id}]; found != nil {
			found.reachedBy = append(found.reachedBy, project)
			if shared {
				found.sharedWith = append(found.sharedWith, project)
			}
		}
		return err
	})
}

// each runs a query and gives every row to f.
func each(tx *store.Tx, query string, args []any, f func(*sql.Rows) error) error {
	rows, err := tx.Query(query, args...)
	_, err = store.All(rows, err, func(row *sql.Rows) (struct{}, error) { return struct{}{}, f(row) })
	return err
}
