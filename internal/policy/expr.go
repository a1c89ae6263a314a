package policy

import (
	"regexp"
	"strconv"
	"strings"
)

// Expr is a parsed rule. Its String is canonical policy language: parsing it again gives an equal expression.
type Expr interface {
	String() string
	// compound tells that the expression needs parentheses below and, or, not.
	compound() bool
}

type (
	// Const is "@" (and the empty rule) or "!".
	Const bool
	// Not is "not X".
	Not struct{ X Expr }
	// And is "X and Y and …".
	And []Expr
	// Or is "X or Y or …".
	Or []Expr
	// Ref is "rule:NAME".
	Ref struct{ Name string }
	// Role is "role:NAME"; roles compare without regard to case.
	Role struct{ Name Template }
	// Compare is "KIND:MATCH": a literal or a credential against text and attributes of the target.
	Compare struct {
		Kind    string
		Literal *string // the value of Kind when it is 'text', a number, True, False or None
		Match   Template
	}
	// Field is "field:RESOURCES:ATTRIBUTE=VALUE"; "~" before the value makes it a regular expression.
	Field struct {
		Resource, Attr, Value string
		re                    *regexp.Regexp
	}
	// oneOf is what is left of Role and Compare once the credentials are known: the target must show one of the texts.
	oneOf struct {
		texts    []string
		foldCase bool
		match    Template
	}
)

func (Const) compound() bool   { return false }
func (Not) compound() bool     { return false }
func (And) compound() bool     { return true }
func (Or) compound() bool      { return true }
func (Ref) compound() bool     { return false }
func (Role) compound() bool    { return false }
func (Compare) compound() bool { return false }
func (Field) compound() bool   { return false }
func (oneOf) compound() bool   { return false }

func (e Const) String() string {
	if e {
		return "@"
	}
	return "!"
}

func (e Not) String() string { return "not " + operand(e.X) }

func (e And) String() string { return join(e, " and ", operand) }

// Or prints an and below it bare, because and binds tighter.
func (e Or) String() string {
	return join(e, " or ", func(x Expr) string {
		if _, ok := x.(And); ok {
			return x.String()
		}
		return operand(x)
	})
}

func (e Ref) String() string     { return "rule:" + e.Name }
func (e Role) String() string    { return "role:" + e.Name.String() }
func (e Compare) String() string { return e.Kind + ":" + e.Match.String() }
func (e Field) String() string   { return "field:" + e.Resource + ":" + e.Attr + "=" + e.Value }

func (e oneOf) String() string {
	quoted := make([]string, len(e.texts))
	for i, t := range e.texts {
		quoted[i] = strconv.Quote(t)
	}
	return "[" + strings.Join(quoted, " ") + "]:" + e.match.String()
}

func operand(e Expr) string {
	if e.compound() {
		return "(" + e.String() + ")"
	}
	return e.String()
}

func join(list []Expr, sep string, text func(Expr) string) string {
	parts := make([]string, len(list))
	for i, e := range list {
		parts[i] = text(e)
	}
	return strings.Join(parts, sep)
}
