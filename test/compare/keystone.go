package main

import (
	"fmt"

	"neutrino/test/keystone"
)

// personas are the callers: a name, their role, and whether they are of the first project or of another one.
var personas = []struct {
	name, role string
	other      bool
}{
	{"admin", "admin", false}, {"manager", "manager", false}, {"member", "member", false}, {"reader", "reader", false},
	{"service", "service", false}, {"other", "member", true}, {"otheradmin", "admin", true},
}

// callers are the personas in a Keystone.
type callers struct {
	*keystone.Keystone
	tokens   map[string]string
	projects map[string]string
}

func newCallers(url, password string) (*callers, error) {
	k, err := keystone.New(url, password, "compare")
	c := &callers{Keystone: k, tokens: map[string]string{}, projects: map[string]string{}}
	var projects [2]string
	for i := range projects {
		if err == nil {
			projects[i], err = k.Project(fmt.Sprint(i))
		}
	}
	for _, p := range personas {
		if err != nil {
			break
		}
		c.projects[p.name] = projects[0]
		if p.other {
			c.projects[p.name] = projects[1]
		}
		c.tokens[p.name], err = k.User(p.name, p.role, c.projects[p.name])
	}
	return c, err
}
