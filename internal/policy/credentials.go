package policy

import (
	"slices"
	"strings"
)

// Credentials are what a token says about the caller. An empty text is an unset one; it equals nothing, so that a
// caller without a project does not own the resources without a project.
type Credentials struct {
	UserID, UserName, UserDomainID                                               string
	ProjectID, ProjectName, ProjectDomainID                                      string
	DomainID                                                                     string // set by a domain-scoped token
	SystemScope                                                                  string // "all" for a system-scoped token
	ServiceUserID, ServiceUserDomainID, ServiceProjectID, ServiceProjectDomainID string

	Roles          []string // expanded: with the roles that they imply
	ServiceRoles   []string // of the service token that came along
	IsAdminProject bool     // Keystone's default is true
}

// scope is the scope of the token in oslo.policy's words.
func (c *Credentials) scope() string {
	switch {
	case c.SystemScope != "":
		return "system"
	case c.DomainID != "":
		return "domain"
	}
	return "project"
}

// values gives a credential by the name that policy files use; nothing for an unknown or unset one.
func (c *Credentials) values(name string) []string {
	switch name {
	case "roles":
		return c.Roles
	case "service_roles":
		return c.ServiceRoles
	case "is_admin_project":
		return []string{pythonBool(c.IsAdminProject)}
	}
	if s := c.text(name); s != "" {
		return []string{s}
	}
	return nil
}

func (c *Credentials) text(name string) string {
	switch name {
	case "user_id", "user":
		return c.UserID
	case "user_name":
		return c.UserName
	case "user_domain_id", "user_domain":
		return c.UserDomainID
	case "project_id":
		return c.ProjectID
	case "project_name":
		return c.ProjectName
	case "project_domain_id", "project_domain":
		return c.ProjectDomainID
	case "domain_id", "domain":
		return c.DomainID
	case "system_scope", "system":
		return c.SystemScope
	case "service_user_id":
		return c.ServiceUserID
	case "service_user_domain_id":
		return c.ServiceUserDomainID
	case "service_project_id":
		return c.ServiceProjectID
	case "service_project_domain_id":
		return c.ServiceProjectDomainID
	}
	return ""
}

// Attr lets rules about the caller (context_is_admin) use the credentials as their target.
func (c *Credentials) Attr(name string) (string, bool) {
	if values := c.values(name); len(values) == 1 {
		return values[0], true
	}
	return "", false
}

// Parent is part of Target: a caller has none.
func (c *Credentials) Parent(kind, attr string) (string, bool, error) { return "", false, nil }

func pythonBool(b bool) string {
	if b {
		return "True"
	}
	return "False"
}

// Expand adds the roles that Keystone's bootstrap makes implied: admin has manager, manager has member, member has
// reader. For callers that no Keystone has looked at.
func Expand(roles []string) []string {
	implied := map[string]string{"admin": "manager", "manager": "member", "member": "reader"}
	all := slices.Clone(roles)
	for i := 0; i < len(all); i++ {
		if role, ok := implied[strings.ToLower(all[i])]; ok && !slices.Contains(all, role) {
			all = append(all, role)
		}
	}
	return all
}
