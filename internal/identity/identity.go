// Package identity says on whose behalf something is done.
package identity

import (
	"context"
	"slices"
)

// Caller is who asks: a token's owner, or the system itself.
type Caller struct {
	UserID       string
	UserName     string
	UserDomainID string
	ProjectID    string
	ProjectName  string
	// ProjectDomainID is the domain that the project is in.
	ProjectDomainID string
	Roles           []string // expanded: admin implies manager, member and reader
	ServiceRoles    []string // of the service token that came along
	Service         Service
	IsAdmin         bool // context_is_admin holds
	IsService       bool // the service role, or a service token
	// DomainID or SystemScope ("all") is set when the token is for a domain or the system instead of a project.
	DomainID, SystemScope string
	// NotAdminProject is Keystone's word that the project is not the one for administrators (is_admin_project false).
	NotAdminProject bool
	RequestID       string
	GlobalRequestID string // the id that the calling service gave the work this request is part of
}

// Service is the service whose token came along with the user's. Empty without such a token.
type Service struct {
	UserID, UserDomainID       string
	ProjectID, ProjectDomainID string
}

// System is the caller of work that nobody asked for: agents' requests, periodic tasks, follow-ups.
func System() *Caller {
	return &Caller{IsAdmin: true, Roles: []string{"admin", "manager", "member", "reader", "service"}}
}

// Elevated is the same caller with the rights of an administrator; the project stays.
func (c *Caller) Elevated() *Caller {
	e := *c
	e.IsAdmin = true
	if !slices.Contains(e.Roles, "admin") {
		e.Roles = append(slices.Clone(e.Roles), "admin")
	}
	return &e
}

// MaySetProject tells whether the caller may act for another project.
func (c *Caller) MaySetProject() bool { return c.IsAdmin || c.IsService }

// SeesAll tells whether look-ups are not limited to the caller's project; policy still judges each object.
func (c *Caller) SeesAll() bool { return c.IsAdmin || c.IsService }

type key struct{}

// With puts the caller into a context.
func With(ctx context.Context, c *Caller) context.Context { return context.WithValue(ctx, key{}, c) }

// From gets the caller from a context; without one it is the nobody who owns nothing.
func From(ctx context.Context) *Caller {
	if c, ok := ctx.Value(key{}).(*Caller); ok {
		return c
	}
	return &Caller{}
}
