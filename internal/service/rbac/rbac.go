// Package rbac is the service of RBAC policies: which project shares which of its objects with whom. What sharing means
// is decided where objects are read (Table.Visible in package model).
package rbac

import (
	"fmt"
	"slices"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"

	"github.com/google/uuid"
)

// Service manages RBAC policies.
type Service struct {
	catalog *model.Catalog
	kinds   map[string]model.RBACKind
}

// New makes the service.
func New(catalog *model.Catalog) *Service {
	s := &Service{catalog: catalog, kinds: map[string]model.RBACKind{}}
	for _, k := range model.RBACKinds() {
		s.kinds[k.Name] = k
	}
	return s
}

// Policies is what RBAC policies do; they have no table of their own, so it is everything.
func (s *Service) Policies() resource.Logic[model.RBACPolicy] {
	return resource.Logic[model.RBACPolicy]{Create: s.create, Update: s.update, Delete: s.delete}
}

func (s *Service) create(c *change) error {
	p := c.New
	if p.ID == "" {
		p.ID = uuid.NewString()
	}
	k, known := s.kinds[p.ObjectType]
	if !known { // the attribute was absent
		return fault.InvalidInput("'None' is not a valid RBAC object type")
	}
	if err := s.check(c, k, p, []step{{callback(k), s.mayShare}, {callbackNetwork, networkShareable}, {callbackExternalCreate, externalShareable}}); err != nil {
		return err
	}
	if !slices.Contains(k.Actions, p.Action) {
		return fault.BadRequest("InvalidActionForType", "Invalid action '%s' for object type '%s'. Valid actions: %s", p.Action, k.Name, pyTuple(k.Actions))
	}
	if p.Action == model.AccessExternal {
		if err := s.makeExternal(c.Tx, k, p.ObjectID); err != nil {
			return err
		}
	}
	_, err := c.Tx.Exec("INSERT INTO "+k.Table+" (id, project_id, object_id, target_project, action) VALUES (?, ?, ?, ?, ?)",
		p.ID, p.ProjectID, p.ObjectID, p.Target, p.Action)
	switch {
	case store.IsDuplicate(err):
		return errDuplicate
	case store.IsForeignKey(err):
		return store.Retry(err) // the object was there when it was checked
	case err != nil:
		return fmt.Errorf("create RBAC policy: %w", err)
	}
	return s.touch(c.Tx, k, p.ObjectID)
}

var errDuplicate = fault.Conflict("DuplicateRbacPolicy", "An RBAC policy already exists with those values.")

func (s *Service) update(c *change) error {
	k := s.kinds[c.Old.ObjectType]
	if err := s.check(c, k, c.Old, []step{{callback(k), s.mayChange}, {callbackNetwork, networkChange}, {callbackExternalInUse, externalChange}}); err != nil {
		return err
	}
	if c.Old.Target == c.New.Target {
		return nil
	}
	_, err := c.Tx.Exec("UPDATE "+k.Table+" SET target_project = ? WHERE id = ?", c.New.Target, c.Old.ID)
	if store.IsDuplicate(err) {
		return errDuplicate
	}
	if err != nil {
		return fmt.Errorf("update RBAC policy %s: %w", c.Old.ID, err)
	}
	return s.touch(c.Tx, k, c.Old.ObjectID)
}

func (s *Service) delete(c *change) error {
	k, p := s.kinds[c.Old.ObjectType], c.Old
	if err := s.check(c, k, p, []step{{callback(k), s.unshareable}, {callbackNetwork, networkDelete}, {callbackExternalInUse, externalDelete}}); err != nil {
		return err
	}
	if _, err := c.Tx.Exec("DELETE FROM "+k.Table+" WHERE id = ?", p.ID); err != nil {
		return fmt.Errorf("delete RBAC policy %s: %w", p.ID, err)
	}
	if p.Action == model.AccessExternal {
		if err := s.makeInternal(c.Tx, k, p.ObjectID); err != nil {
			return err
		}
	}
	return s.touch(c.Tx, k, p.ObjectID)
}

// touch counts the revision of a network up whose policies changed; other objects' revisions do not depend on theirs.
func (s *Service) touch(tx *store.Tx, k model.RBACKind, id string) error {
	if k.Name != network {
		return nil
	}
	n, err := s.catalog.Networks.Get(tx, nil, id, s.catalog.Networks.Bits("id", "name"))
	if err != nil {
		return err
	}
	return s.catalog.Networks.Touch(tx, n)
}

// pyTuple is how Python shows a tuple of names.
func pyTuple(names []string) string {
	text := ""
	for i, n := range names {
		if i > 0 {
			text += ", "
		}
		text += "'" + n + "'"
	}
	if len(names) == 1 {
		text += ","
	}
	return "(" + text + ")"
}
