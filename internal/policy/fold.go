package policy

import (
	"slices"
	"strings"
)

// Target is the resource that an action is about. The API implements it over a typed row, so that no map is built.
type Target interface {
	// Attr gives an attribute as Python's str() shows it: True and False for booleans, decimal numbers, None for null. ok is
	// false when the target has no such attribute.
	Attr(name string) (value string, ok bool)
	// Parent gives an attribute of a parent of the target (see the Parent constants); ok is false when the target has no
	// such parent. The "shared" attribute of a network is asked as the project of the target sees it.
	Parent(kind, attr string) (value string, ok bool, err error)
}

// fold evaluates what depends on the credentials. The result is a Const, or holds only And, Or, Not, Field and oneOf.
func (c *Caller) fold(e Expr) Expr {
	switch e := e.(type) {
	case Not:
		return negate(c.fold(e.X))
	case And:
		rest, result := c.foldList(e, false)
		if result == nil {
			result = And(rest)
		}
		return result
	case Or:
		rest, result := c.foldList(e, true)
		if result == nil {
			result = Or(rest)
		}
		return result
	case Ref:
		i := c.rules.lookup(e.Name)
		if i < 0 {
			return Const(false)
		}
		return c.folded(i).expr
	case Role:
		return oneOf{c.creds.Roles, true, e.Name}.fold()
	case Compare:
		if e.Literal != nil {
			return oneOf{[]string{*e.Literal}, false, e.Match}.fold()
		}
		return oneOf{c.values(e.Kind), false, e.Match}.fold()
	}
	return e // Const and Field do not depend on credentials
}

func negate(e Expr) Expr {
	if k, ok := e.(Const); ok {
		return !k
	}
	return Not{e}
}

// foldList folds the operands of And (decisive false) or Or (decisive true). It gives the two or more operands that
// remain, cheapest first, or else the result.
func (c *Caller) foldList(list []Expr, decisive Const) (rest []Expr, result Expr) {
	for _, x := range list {
		x = c.fold(x)
		if k, ok := x.(Const); !ok {
			rest = append(rest, x)
		} else if k == decisive {
			return nil, k
		}
	}
	switch len(rest) {
	case 0:
		return nil, !decisive
	case 1:
		return nil, rest[0]
	}
	slices.SortStableFunc(rest, func(a, b Expr) int { return cost(a) - cost(b) })
	return rest, nil
}

// cost ranks expressions by the worst thing that their evaluation may do: nothing but compare, or load a parent.
func cost(e Expr) int {
	switch e := e.(type) {
	case Not:
		return cost(e.X)
	case And:
		return cost(e[len(e)-1]) // operands are sorted already
	case Or:
		return cost(e[len(e)-1])
	case Field:
		if e.ofNetwork() {
			return 1
		}
	case oneOf:
		if slices.ContainsFunc(e.match, func(p part) bool { return p.parent != "" }) {
			return 2
		}
	}
	return 0
}

func (e oneOf) fold() Expr {
	if len(e.texts) == 0 {
		return Const(false)
	}
	if text, ok := e.match.constant(); ok {
		return Const(e.has(text))
	}
	return e
}

func (e oneOf) has(text string) bool {
	for _, t := range e.texts {
		if t == text || e.foldCase && strings.EqualFold(t, text) {
			return true
		}
	}
	return false
}

// eval decides a folded expression.
func eval(e Expr, t Target) (bool, error) {
	switch e := e.(type) {
	case Const:
		return bool(e), nil
	case Not:
		ok, err := eval(e.X, t)
		return !ok && err == nil, err
	case And:
		return evalList(e, t, false)
	case Or:
		return evalList(e, t, true)
	case Field:
		return e.eval(t)
	case oneOf:
		text, ok, err := e.match.render(t)
		return ok && e.has(text), err
	}
	panic("policy: not a folded expression: " + e.String())
}

func evalList(list []Expr, t Target, decisive bool) (bool, error) {
	for _, x := range list {
		ok, err := eval(x, t)
		if err != nil {
			return false, err
		}
		if ok == decisive {
			return decisive, nil
		}
	}
	return !decisive, nil
}

// ofNetwork tells that the attribute may be that of the target's network: ports and subnets are as shared as it is.
func (e Field) ofNetwork() bool { return e.Resource == "networks" && e.Attr == "shared" }

func (e Field) eval(t Target) (bool, error) {
	value, ok := t.Attr(e.Attr)
	if !ok && e.ofNetwork() {
		var err error
		if value, ok, err = (part{parent: ParentNetwork, attr: e.Attr}).render(t); err != nil {
			return false, err
		}
	}
	switch {
	case !ok, value == "None":
		return false, nil
	case e.re != nil:
		return e.re.MatchString(value), nil
	case value == "True", value == "False": // a boolean: the rule may spell its value in any way that the API accepts
		return boolText(e.Value) == value, nil
	}
	return value == e.Value, nil
}

// boolText normalizes the spellings of a boolean and leaves other text alone.
func boolText(s string) string {
	switch strings.ToLower(s) {
	case "true", "1":
		return "True"
	case "false", "0":
		return "False"
	}
	return s
}

// attrs appends the attributes of the target that evaluation of a folded expression may read.
func attrs(e Expr, names []string) []string {
	switch e := e.(type) {
	case Not:
		return attrs(e.X, names)
	case And:
		for _, x := range e {
			names = attrs(x, names)
		}
	case Or:
		for _, x := range e {
			names = attrs(x, names)
		}
	case Field:
		names = append(names, e.Attr)
		if e.ofNetwork() {
			names = append(names, "network_id")
		}
	case oneOf:
		for _, p := range e.match {
			names = append(names, p.needs()...)
		}
	}
	return names
}

// needs gives the attribute of the target that the part reads, if any.
func (p part) needs() []string {
	name := p.attr
	if p.parent != "" {
		name, _ = foreignKey(p.parent)
	}
	if name == "" {
		return nil
	}
	return []string{name}
}
