package api

import (
	"fmt"
	"strings"
	"sync"

	"neutrino/internal/identity"
	"neutrino/internal/policy"
)

// judge is the policy as one set of credentials meets it.
type judge struct {
	*policy.Caller
	admin, service bool
}

// judges keeps recent judges: rules need to be folded only once for all requests of a token.
type judges struct {
	mu    sync.Mutex
	rules *policy.Rules
	by    map[string]*judge
}

const maxJudges = 1000

func (j *judges) get(rules *policy.Rules, c *identity.Caller) *judge {
	// Quoted: no name may be chosen so that it looks like several.
	key := fmt.Sprintf("%q %q %q %q %q %q %q %q %q %q %q %v", c.UserID, c.UserName, c.UserDomainID, c.ProjectID, c.ProjectName,
		c.ProjectDomainID, c.DomainID, c.SystemScope, c.Roles, c.ServiceRoles, c.Service, c.NotAdminProject)
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.rules != rules || len(j.by) >= maxJudges {
		j.rules, j.by = rules, map[string]*judge{}
	}
	if known := j.by[key]; known != nil {
		return known
	}
	caller := rules.For(policy.Credentials{UserID: c.UserID, UserName: c.UserName, UserDomainID: c.UserDomainID,
		ProjectID: c.ProjectID, ProjectName: c.ProjectName, ProjectDomainID: c.ProjectDomainID, DomainID: c.DomainID,
		SystemScope: c.SystemScope, ServiceUserID: c.Service.UserID, ServiceUserDomainID: c.Service.UserDomainID,
		ServiceProjectID: c.Service.ProjectID, ServiceProjectDomainID: c.Service.ProjectDomainID,
		Roles: c.Roles, ServiceRoles: c.ServiceRoles, IsAdminProject: !c.NotAdminProject})
	found := &judge{Caller: caller, admin: caller.Is(policy.RuleAdmin),
		service: caller.Is(policy.RuleService) || caller.Is(policy.RuleAdvsvc)}
	j.by[key] = found
	return found
}

// attributes is a policy target that is no object of a resource table.
type attributes map[string]string

// Attr implements policy.Target.
func (a attributes) Attr(name string) (string, bool) { v, ok := a[name]; return v, ok }

// Parent implements policy.Target.
func (a attributes) Parent(kind, attr string) (string, bool, error) {
	v, ok := a[kind+":"+attr]
	return v, ok, nil
}

// enforce asks one rule, such as "add_router_interface" or "update_port:tags".
func (j *judge) enforce(rule string, t policy.Target) error {
	verb, rest, named := strings.Cut(rule, "_")
	if !named {
		return j.Enforce(policy.NewAction(rule), t)
	}
	return j.Enforce(policy.NewDemand(policy.Verb(verb), rest, nil), t)
}
