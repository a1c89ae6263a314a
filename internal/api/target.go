package api

import (
	"database/sql"
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

// Parent implements policy.Target.
func (t target[R]) Parent(kind, attr string) (string, bool, error) {
	key, ok := t.res.Text(t.obj, kind+"_id")
	if !ok || key == "" || key == "None" {
		return "", false, nil
	}
	project, _ := t.res.Text(t.obj, "project_id")
	return t.parents.attr(parentKey{kind, key, project}, attr)
}

// parents looks up the owners of the parents of objects, each once per transaction.
type parents struct {
	tx    *store.Tx
	known map[parentKey]attributes
	// all lists the parents of all objects of a list, so that one query finds them; nil = the one asked for.
	all func(kind string) []parentKey
}

// parentKey names a parent. How shared a network is depends on the project that looks.
type parentKey struct{ kind, id, project string }

func newParents(tx *store.Tx) *parents { return &parents{tx: tx, known: map[parentKey]attributes{}} }

// parentsOf looks up the parents of all objs with one query for each kind and project.
func parentsOf[R any](tx *store.Tx, res *resource.Resource[R], objs []*R) *parents {
	p := newParents(tx)
	p.all = func(kind string) []parentKey {
		var keys []parentKey
		for _, obj := range objs {
			if id, ok := res.Text(obj, kind+"_id"); ok {
				project, _ := res.Text(obj, "project_id")
				keys = append(keys, parentKey{kind, id, project})
			}
		}
		return keys
	}
	return p
}

func (p *parents) attr(key parentKey, name string) (string, bool, error) {
	found, ok := p.known[key]
	if !ok {
		keys := []parentKey{key}
		if p.all != nil {
			keys = append(p.all(key.kind), key)
		}
		if err := p.load(key.kind, keys); err != nil {
			return "", false, err
		}
		found = p.known[key]
	}
	if found == nil {
		return "", false, missingParent(key)
	}
	v, ok := found[name]
	return v, ok, nil
}

// missingParent is what upstream's look-up of the parent raises.
func missingParent(key parentKey) error {
	if key.kind == policy.ParentNetwork {
		return fault.NotFound("NetworkNotFound", "Network %s could not be found.", key.id)
	}
	return fault.NotFound("SecurityGroupNotFound", "Security group %s does not exist", key.id)
}

// parentQueries select id, owner and, for networks, whether the row is shared with the project in the first argument.
var parentQueries = map[string]string{
	policy.ParentNetwork: "SELECT n.id, n.project_id, EXISTS (SELECT 1 FROM networkrbacs r WHERE r.object_id = n.id " +
		"AND r.action = 'access_as_shared' AND r.target_project IN ('*', ?)), " +
		"EXISTS (SELECT 1 FROM externalnetworks e WHERE e.network_id = n.id) FROM networks n WHERE ",
	policy.ParentSecurityGroup: "SELECT n.id, n.project_id, EXISTS (SELECT 1 FROM securitygrouprbacs r WHERE r.object_id = n.id " +
		"AND r.action = 'access_as_shared' AND r.target_project IN ('*', ?)), false FROM securitygroups n WHERE ",
}

const parentChunk = 1000 // ids in one query

func (p *parents) load(kind string, keys []parentKey) error {
	query, ok := parentQueries[kind]
	if !ok {
		return fmt.Errorf("policy: parents of kind %s cannot be looked up", kind)
	}
	byProject := map[string][]string{}
	for _, k := range keys {
		if _, known := p.known[k]; !known {
			p.known[k] = nil
			byProject[k.project] = append(byProject[k.project], k.id)
		}
	}
	for project, ids := range byProject {
		for chunk := range slices.Chunk(ids, parentChunk) {
			in := resource.In("n.id", chunk)
			rows, err := p.tx.Query(query+in.SQL, append([]any{project}, in.Args...)...)
			if err == nil {
				err = p.scan(kind, project, rows)
			}
			if err != nil {
				return fmt.Errorf("look up %ss for policy: %w", kind, err)
			}
		}
	}
	return nil
}

func (p *parents) scan(kind, project string, rows *sql.Rows) error {
	defer rows.Close()
	for rows.Next() {
		var id string
		var owner sql.NullString
		var shared, external bool
		if err := rows.Scan(&id, &owner, &shared, &external); err != nil {
			return err
		}
		p.known[parentKey{kind, id, project}] = attributes{
			"project_id": owner.String, "shared": resource.Py(shared), "router:external": resource.Py(external)}
	}
	return rows.Err()
}
