package api

import (
	"net/http"
	"strings"
	"unicode/utf8"

	"neutrino/internal/identity"
	"neutrino/internal/policy"
)

// Authenticator finds out who sends a request. IsAdmin and IsService of the caller need not be set: policy says what they are.
type Authenticator interface {
	// Authenticate returns a caller of its own for each request; the error is the 401 for the client.
	Authenticate(r *http.Request) (*identity.Caller, error)
}

// NoAuth is auth_strategy noauth: headers are believed.
type NoAuth struct{}

// maxProject is the width of the columns for projects, in bytes.
const maxProject = 255

// fakeProject is the project of requests that name none (neutron/auth.py, NoauthFakeProjectId).
const fakeProject = "fake_project_id"

// Authenticate implements Authenticator. X-Roles gives less than all rights to requests that name a project.
func (NoAuth) Authenticate(r *http.Request) (*identity.Caller, error) {
	c := &identity.Caller{
		UserID:          r.Header.Get("X-User-Id"),
		UserName:        r.Header.Get("X-User-Name"),
		UserDomainID:    r.Header.Get("X-User-Domain-Id"),
		ProjectID:       r.Header.Get("X-Project-Id"),
		ProjectName:     r.Header.Get("X-Project-Name"),
		ProjectDomainID: r.Header.Get("X-Project-Domain-Id"),
		Roles:           words(r.Header.Get("X-Roles")),
		ServiceRoles:    words(r.Header.Get("X-Service-Roles")),
	}
	if c.ProjectID == "" {
		c.ProjectID = r.Header.Get("X-Tenant-Id")
	}
	if c.ProjectID == "" {
		c.ProjectID = fakeProject
		c.Roles = append(c.Roles, "admin")
	} else if len(c.Roles) == 0 {
		c.Roles = []string{"admin"}
	}
	if len(c.ProjectID) > maxProject || !utf8.ValidString(c.ProjectID) {
		return nil, errBadRequest
	}
	c.Roles = policy.Expand(c.Roles)
	return c, nil
}

// words splits a header whose values are separated by commas.
func words(s string) []string {
	var all []string
	for w := range strings.SplitSeq(s, ",") {
		if w = strings.TrimSpace(w); w != "" {
			all = append(all, w)
		}
	}
	return all
}
