package policy

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxDepth bounds parentheses and "not"s, so that no rule can exhaust the stack.
const maxDepth = 100

// SyntaxError says where a rule cannot be understood.
type SyntaxError struct {
	File string // empty for a default rule
	Line int    // line of the rule's name in File; 0: unknown
	Rule string
	Pos  int // character of the rule's text, from 1; 0: the rule as a whole
	Err  error
}

func (e *SyntaxError) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.File + ":")
		if e.Line > 0 {
			fmt.Fprintf(&b, "%d:", e.Line)
		}
		b.WriteByte(' ')
	}
	if e.Rule != "" {
		fmt.Fprintf(&b, "rule %q: ", e.Rule)
	}
	if e.Pos > 0 {
		fmt.Fprintf(&b, "character %d: ", e.Pos)
	}
	return b.String() + e.Err.Error()
}

// Unwrap gives what is wrong.
func (e *SyntaxError) Unwrap() error { return e.Err }

func syntax(pos int, format string, args ...any) error {
	return &SyntaxError{Pos: pos, Err: fmt.Errorf(format, args...)}
}

type tokenKind uint8

const (
	tokenEnd tokenKind = iota
	tokenOpen
	tokenClose
	tokenAnd
	tokenOr
	tokenNot
	tokenCheck
)

type token struct {
	kind tokenKind
	text string
	pos  int // character, from 1
}

// scan cuts a rule at white space. Parentheses count only at the ends of a word, because "%(x)s" has its own.
func scan(rule string) []token {
	var tokens []token
	end := 1
	for start := 0; start < len(rule); {
		word := rule[start:]
		if i := strings.IndexFunc(word, unicode.IsSpace); i == 0 {
			_, size := utf8.DecodeRuneInString(word)
			start, end = start+size, end+1
			continue
		} else if i > 0 {
			word = word[:i]
		}
		tokens = scanWord(tokens, word, end)
		start, end = start+len(word), end+utf8.RuneCountInString(word)
	}
	return append(tokens, token{tokenEnd, "", end})
}

func scanWord(tokens []token, word string, pos int) []token {
	for ; strings.HasPrefix(word, "("); pos++ {
		tokens, word = append(tokens, token{tokenOpen, "(", pos}), word[1:]
	}
	check := strings.TrimRight(word, ")")
	closing := len(word) - len(check)
	switch strings.ToLower(check) {
	case "":
	case "and":
		tokens = append(tokens, token{tokenAnd, check, pos})
	case "or":
		tokens = append(tokens, token{tokenOr, check, pos})
	case "not":
		tokens = append(tokens, token{tokenNot, check, pos})
	default:
		tokens = append(tokens, token{tokenCheck, check, pos})
	}
	pos += utf8.RuneCountInString(check)
	for i := range closing {
		tokens = append(tokens, token{tokenClose, ")", pos + i})
	}
	return tokens
}

// Parse reads one rule of the policy language. The empty rule allows everything. Errors are *SyntaxError.
func Parse(rule string) (Expr, error) {
	if rule == "" {
		return Const(true), nil
	}
	p := parser{tokens: scan(rule)}
	e, err := p.or(0)
	if err != nil {
		return nil, err
	}
	if t := p.next(); t.kind != tokenEnd {
		return nil, unexpected(t)
	}
	return e, nil
}

// parseList reads the form that oslo.policy had before the language: an outer list joined by or, inner lists of single
// checks joined by and. An empty outer list allows everything, a list of empty lists nothing.
func parseList(list []any) (Expr, error) {
	if len(list) == 0 {
		return Const(true), nil
	}
	var or Or
	for _, item := range list {
		inner, ok := item.([]any)
		if !ok {
			inner = []any{item}
		}
		var and And
		for _, check := range inner {
			e, err := parseSingle(check)
			if err != nil {
				return nil, err
			}
			and = append(and, e)
		}
		switch len(and) {
		case 0:
		case 1:
			or = append(or, and[0])
		default:
			or = append(or, and)
		}
	}
	switch len(or) {
	case 0:
		return Const(false), nil
	case 1:
		return or[0], nil
	}
	return or, nil
}

func parseSingle(check any) (Expr, error) {
	text, ok := check.(string)
	if !ok {
		return nil, syntax(0, "a list may hold checks and lists of checks, not %v", check)
	}
	tokens := scan(text)
	if tokens[0].kind != tokenCheck || tokens[1].kind != tokenEnd {
		return nil, syntax(0, "%q in a list is not a single check", text)
	}
	return parseCheck(tokens[0])
}

type parser struct {
	tokens []token
}

// next takes a token; the end is never taken away.
func (p *parser) next() token {
	t := p.tokens[0]
	if t.kind != tokenEnd {
		p.tokens = p.tokens[1:]
	}
	return t
}

func (p *parser) accept(kind tokenKind) bool {
	if p.tokens[0].kind != kind {
		return false
	}
	p.next()
	return true
}

func (p *parser) or(depth int) (Expr, error) {
	list, err := p.list(tokenOr, depth, p.and)
	if err != nil || len(list) == 1 {
		return first(list), err
	}
	return Or(list), nil
}

func (p *parser) and(depth int) (Expr, error) {
	list, err := p.list(tokenAnd, depth, p.unary)
	if err != nil || len(list) == 1 {
		return first(list), err
	}
	return And(list), nil
}

func (p *parser) list(sep tokenKind, depth int, item func(int) (Expr, error)) ([]Expr, error) {
	var list []Expr
	for {
		e, err := item(depth)
		if err != nil {
			return nil, err
		}
		list = append(list, e)
		if !p.accept(sep) {
			return list, nil
		}
	}
}

func first(list []Expr) Expr {
	if len(list) == 0 {
		return nil
	}
	return list[0]
}

func (p *parser) unary(depth int) (Expr, error) {
	t := p.next()
	if depth > maxDepth {
		return nil, syntax(t.pos, "nested more than %d deep", maxDepth)
	}
	switch t.kind {
	case tokenNot:
		x, err := p.unary(depth + 1)
		if err != nil {
			return nil, err
		}
		return Not{x}, nil
	case tokenOpen:
		e, err := p.or(depth + 1)
		if err != nil {
			return nil, err
		}
		if !p.accept(tokenClose) {
			return nil, syntax(t.pos, "the parenthesis is not closed")
		}
		return e, nil
	case tokenCheck:
		return parseCheck(t)
	}
	return nil, unexpected(t)
}

func unexpected(t token) error {
	if t.kind == tokenEnd {
		return syntax(t.pos, "a check is missing at the end")
	}
	return syntax(t.pos, "unexpected %q", t.text)
}

// parseCheck reads KIND:MATCH, "@" or "!".
func parseCheck(t token) (Expr, error) {
	switch t.text {
	case "@":
		return Const(true), nil
	case "!":
		return Const(false), nil
	}
	kind, match, found := strings.Cut(t.text, ":")
	quoted := len(t.text) > 1 && t.text[0] == t.text[len(t.text)-1] && strings.ContainsRune(`'"`, rune(t.text[0]))
	if !found || quoted {
		return nil, syntax(t.pos, "%q is not a check of the form kind:match", t.text)
	}
	e, err := newCheck(kind, match)
	if err != nil {
		return nil, syntax(t.pos, "%q: %w", t.text, err)
	}
	return e, nil
}

func newCheck(kind, match string) (Expr, error) {
	switch kind {
	case "rule":
		return Ref{match}, nil
	case "role":
		name, err := parseTemplate(match)
		return Role{name}, err
	case "field":
		return newField(match)
	case "project_id", "tenant_id":
		owner, err := ownerTemplate(match)
		return Compare{Kind: "project_id", Match: owner}, err
	case "http", "https":
		return nil, errors.New("checks answered by a remote server are not supported")
	}
	literal, err := parseLiteral(kind)
	if err != nil {
		return nil, err
	}
	template, err := parseTemplate(match)
	return Compare{Kind: kind, Literal: literal, Match: template}, err
}

// newField reads RESOURCES:ATTRIBUTE=VALUE. The attribute may contain colons ("router:external").
func newField(match string) (Expr, error) {
	resource, rest, found := strings.Cut(match, ":")
	attr, value, hasValue := strings.Cut(rest, "=")
	if !found || !hasValue || attr == "" {
		return nil, errors.New("want field:resources:attribute=value")
	}
	f := Field{Resource: resource, Attr: attr, Value: value}
	if pattern, ok := strings.CutPrefix(value, "~"); ok {
		re, err := regexp.Compile("^(?:" + pattern + ")")
		if err != nil {
			return nil, fmt.Errorf("regular expression: %w", err)
		}
		f.re = re
	}
	return f, nil
}

// parseLiteral gives the text that Python's str() would show for a literal, or nil when kind names a credential.
func parseLiteral(kind string) (*string, error) {
	switch {
	case kind == "":
		return nil, errors.New("nothing stands before the colon")
	case kind == "True", kind == "False", kind == "None":
		return &kind, nil
	case kind[0] == '\'' || kind[0] == '"':
		inner := kind[1:]
		if len(inner) == 0 || inner[len(inner)-1] != kind[0] || strings.ContainsAny(inner[:len(inner)-1], kind[:1]+`\`) {
			return nil, errors.New("bad literal before the colon")
		}
		inner = inner[:len(inner)-1]
		return &inner, nil
	}
	if n, err := strconv.Atoi(kind); err == nil {
		text := strconv.Itoa(n)
		return &text, nil
	}
	if strings.ContainsAny(kind, `()'"`) { // "not(role:x" is one word
		return nil, errors.New("bad name before the colon; a space may be missing")
	}
	return nil, nil
}
