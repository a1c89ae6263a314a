package policy

import (
	"slices"
	"sync/atomic"

	"neutrino/internal/fault"
)

// Verdict is what the credentials alone say about an action.
type Verdict uint8

// The verdicts.
const (
	No Verdict = iota
	Yes
	AskRow // depends on the target
)

func (v Verdict) String() string { return [...]string{"no", "yes", "ask row"}[v] }

// Caller is a set of rules seen with fixed credentials. It folds each rule once, when it is first asked for. It may be
// used by many goroutines and kept as long as the token is.
type Caller struct {
	rules  *Rules
	creds  Credentials
	scope  string
	bypass bool // an administrator under legacy defaults
	about  bool // folds a rule about the caller itself: credentials that derive from such rules are unset
	cache  []atomic.Pointer[folded]
}

type folded struct {
	expr    Expr
	verdict Verdict
}

// For gives the view of a caller.
func (r *Rules) For(creds Credentials) *Caller {
	c := &Caller{rules: r, creds: creds, scope: creds.scope(), cache: make([]atomic.Pointer[folded], len(r.names))}
	c.bypass = r.legacy && c.Is(RuleAdmin)
	return c
}

// Names of the rules about callers.
const (
	RuleAdmin        = "context_is_admin"
	RuleGlobalAccess = "context_with_global_access" // sees resources of all projects
	RuleSetProject   = "context_can_set_project_id" // creates resources for other projects
	RuleAdvsvc       = "context_is_advsvc"          // the old role of other services
	RuleService      = "service_api"                // the role of other services
)

// Is answers a rule about the caller itself, such as RuleAdmin. The credentials are its target.
func (c *Caller) Is(rule string) bool {
	i, ok := c.rules.index[rule]
	if !ok {
		return false
	}
	self := &Caller{rules: c.rules, creds: c.creds, about: true}
	is, err := eval(self.folded(i).expr, &c.creds)
	return is && err == nil
}

// Rules gives the set of rules that the caller is judged by.
func (c *Caller) Rules() *Rules { return c.rules }

// folded gives the rest of rule i. Two goroutines may both fold it, with the same result.
func (c *Caller) folded(i int) *folded {
	if c.about {
		return &folded{expr: c.fold(c.rules.exprs[i])}
	}
	if f := c.cache[i].Load(); f != nil {
		return f
	}
	f := &folded{expr: c.fold(c.rules.exprs[i]), verdict: AskRow}
	if k, ok := f.expr.(Const); ok && bool(k) {
		f.verdict = Yes
	} else if ok {
		f.verdict = No
	}
	c.cache[i].Store(f)
	return f
}

// values gives a credential, or one of those that rules about the caller define.
func (c *Caller) values(name string) []string {
	var rule string
	switch name {
	case "is_admin":
		rule = RuleAdmin
	case "has_global_access":
		rule = RuleGlobalAccess
	case "can_set_project_id":
		rule = RuleSetProject
	default:
		return c.creds.values(name)
	}
	if c.about {
		return nil
	}
	return []string{pythonBool(c.Is(rule))}
}

// Decide says whether the credentials alone decide about an action. It costs a map look-up.
func (c *Caller) Decide(action string) Verdict { return c.decide(c.rules.lookup(action)) }

func (c *Caller) decide(rule int) Verdict {
	switch {
	case c.bypass:
		return Yes
	case rule < 0, c.outOfScope(rule):
		return No
	}
	return c.folded(rule).verdict
}

// outOfScope tells that the rule is for project-scoped tokens and the caller has another one.
func (c *Caller) outOfScope(rule int) bool { return c.scope != "project" && c.rules.scoped[rule] }

// Allows says whether the caller may do the action to the target, which is read only if need be. The errors are those
// of the target's Parent.
func (c *Caller) Allows(action string, t Target) (bool, error) {
	return c.allows(c.rules.lookup(action), t)
}

func (c *Caller) allows(rule int, t Target) (bool, error) {
	switch c.decide(rule) {
	case Yes:
		return true, nil
	case No:
		return false, nil
	}
	return eval(c.folded(rule).expr, t)
}

// NeedsAttrs gives the attributes of a target that Allows may read for the action, foreign keys of parents included,
// sorted; none when the credentials decide.
func (c *Caller) NeedsAttrs(action string) []string {
	if c.Decide(action) != AskRow {
		return nil
	}
	names := attrs(c.folded(c.rules.lookup(action)).expr, nil)
	slices.Sort(names)
	return slices.Compact(names)
}

// Explain gives what the caller's credentials left of the rule for an action, as an operator would want to read it.
func (c *Caller) Explain(action string) string {
	switch c.Decide(action) {
	case Yes:
		return Const(true).String()
	case No:
		return Const(false).String()
	}
	return c.folded(c.rules.lookup(action)).expr.String()
}

// Hidden gives the attributes of a resource that the caller may not read, sorted. Like upstream an API asks once per
// answer, with the first element of a list as target.
func (c *Caller) Hidden(resource string, t Target) ([]string, error) {
	var hidden []string
	for _, read := range c.rules.reads[resource] {
		ok, err := c.allows(read.rule, t)
		if err != nil {
			return nil, err
		}
		if !ok {
			hidden = append(hidden, read.attr)
		}
	}
	return hidden, nil
}

// Enforce checks a demand. A refusal is a 403 fault of class PolicyNotAuthorized or InvalidScope; when to show it as
// 404 is the API's business. No target is read when the credentials refuse any part. Upstream forgets the scope when
// a request names attributes under policy (its AndCheck has no scope_types); here it always counts.
func (c *Caller) Enforce(d Demand, t Target) error {
	for _, name := range d.rules {
		if c.Decide(name) == No {
			return c.refuse(d)
		}
	}
	for _, name := range d.rules {
		ok, err := c.Allows(name, t)
		if err != nil {
			return err
		}
		if !ok {
			return c.refuse(d)
		}
	}
	return nil
}

func (c *Caller) refuse(d Demand) error {
	if rule := c.rules.lookup(d.rules[0]); rule >= 0 && c.outOfScope(rule) {
		return fault.Forbidden("InvalidScope", "%s requires a scope of ['project'], request was made with %s scope.", d, c.scope)
	}
	return fault.Forbidden("PolicyNotAuthorized", "%s is disallowed by policy", d)
}
