package keystone

import (
	"net/http"
	"slices"
	"time"

	"neutrino/internal/identity"
)

// token is Keystone's answer about a token, as far as it matters here.
type token struct {
	ExpiresAt time.Time `json:"expires_at"`
	User      owner     `json:"user"`
	Project   owner     `json:"project"`
	Domain    named     `json:"domain"`
	System    struct {
		All bool `json:"all"`
	} `json:"system"`
	Roles          []named `json:"roles"`
	IsAdminProject *bool   `json:"is_admin_project"` // absent means true
	Catalog        []struct {
		Type string `json:"type"`
	} `json:"catalog"`
	ApplicationCredential struct {
		AccessRules []accessRule `json:"access_rules"` // null means no restriction, an empty list that nothing is allowed
	} `json:"application_credential"`
}

type named struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// owner is a user or a project.
type owner struct {
	named
	Domain named `json:"domain"`
}

func (t *token) roles() []string {
	names := make([]string, len(t.Roles))
	for i, r := range t.Roles {
		names[i] = r.Name
	}
	return names
}

func (t *token) has(roles []string) bool {
	return slices.ContainsFunc(t.Roles, func(r named) bool { return slices.Contains(roles, r.Name) })
}

// caller is who the token stands for. Keystone has expanded implied roles already.
func (t *token) caller() *identity.Caller {
	c := &identity.Caller{
		UserID: t.User.ID, UserName: t.User.Name, UserDomainID: t.User.Domain.ID,
		ProjectID: t.Project.ID, ProjectName: t.Project.Name, ProjectDomainID: t.Project.Domain.ID,
		DomainID: t.Domain.ID, Roles: t.roles(), NotAdminProject: t.IsAdminProject != nil && !*t.IsAdminProject,
	}
	if t.System.All {
		c.SystemScope = "all"
	}
	return c
}

// permits tells whether the access rules of an application credential, if it has any, let the request through
// (keystonemiddleware, validate_allowed_request). A valid service token means that the request is one of a chain that
// started with an allowed one.
func (t *token) permits(r *http.Request, serviceType string, fromService bool) bool {
	rules := t.ApplicationCredential.AccessRules
	if rules == nil {
		return true
	}
	inCatalog := false
	for _, s := range t.Catalog {
		inCatalog = inCatalog || s.Type == serviceType
	}
	if serviceType == "" || !inCatalog {
		return false
	}
	return fromService || slices.ContainsFunc(rules, func(rule accessRule) bool {
		return rule.Method == r.Method && rule.Service == serviceType && rule.matches(r.URL.Path)
	})
}
