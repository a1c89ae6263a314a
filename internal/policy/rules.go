// Package policy decides what a caller may do: the language of oslo.policy, upstream's default rules, the operator's
// policy files, and the enforcement tree of neutron/policy.py.
//
// Rules are evaluated in two steps. A Caller fixes the credentials and folds a rule to yes, no or a rest that depends
// on the target only. Most rules end there, and their targets are never read.
package policy

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Default is one rule that Neutron ships.
type Default struct {
	Name    string
	Check   string
	Legacy  string // what the rule was before roles manager, member and reader; empty: the same
	OldName string // name of the rule before it was renamed; a policy file may still use it
	// Alias tells that the rule only names a check for other rules. Other rules refuse system and domain scoped tokens.
	Alias bool
}

// Options say how the rules are put together. The zero value is upstream's default without any file.
type Options struct {
	Files []string // policy files (YAML or JSON); a missing one is no error; a later one wins
	Dirs  []string // directories of policy files, read in the order of their names after Files; hidden files are skipped
	// LegacyDefaults is enforce_new_defaults=False: the legacy check of a default rule grants too, and an administrator is
	// never refused.
	LegacyDefaults bool
	DefaultRule    string // the rule that stands for unknown ones; empty: "default"
}

// Rules is a complete set of rules. It does not change and may be used by many goroutines.
type Rules struct {
	names    []string
	exprs    []Expr
	scoped   []bool // by rule: refuses system and domain scoped tokens
	index    map[string]int
	fallback int // index of the rule that stands for unknown ones, or -1
	legacy   bool
	reads    map[string][]readRule
	warnings []string
}

// readRule is "get_RESOURCE:ATTRIBUTE".
type readRule struct {
	attr string
	rule int
}

// Load reads the policy files over the default rules. Errors name the file, the rule and the position.
func Load(opts Options) (*Rules, error) {
	over, err := readOverrides(opts.Files, opts.Dirs)
	if err != nil {
		return nil, err
	}
	return build(Defaults(), over, opts)
}

func build(defaults []Default, over overrides, opts Options) (*Rules, error) {
	r := &Rules{index: map[string]int{}, legacy: opts.LegacyDefaults, reads: map[string][]readRule{}}
	for _, d := range defaults {
		e, err := d.effective(over, opts.LegacyDefaults)
		if err != nil {
			return nil, fmt.Errorf("default rule %s: %w", d.Name, err)
		}
		r.add(d.Name, e, !d.Alias)
	}
	for _, name := range slices.Sorted(maps.Keys(over)) {
		if _, known := r.index[name]; !known {
			r.add(name, over[name].expr, false)
		}
	}
	name := opts.DefaultRule
	if name == "" {
		name = "default"
	}
	r.fallback = -1
	if i, ok := r.index[name]; ok {
		r.fallback = i
	}
	r.indexReads()
	if err := r.checkReferences(); err != nil {
		if o, ok := over[cycleStart(err)]; ok {
			return nil, &SyntaxError{File: o.file, Line: o.line, Err: err}
		}
		return nil, err
	}
	return r, nil
}

func (r *Rules) add(name string, e Expr, scoped bool) {
	r.index[name] = len(r.names)
	r.names = append(r.names, name)
	r.exprs = append(r.exprs, e)
	r.scoped = append(r.scoped, scoped)
}

// effective is the rule that counts: a file's, under the current name or the old one, before the default.
func (d Default) effective(over overrides, legacyDefaults bool) (Expr, error) {
	if o, ok := over[d.Name]; ok {
		return o.expr, nil
	}
	current, err := Parse(d.Check)
	if err != nil {
		return nil, err
	}
	old := current
	if d.Legacy != "" {
		if old, err = Parse(d.Legacy); err != nil {
			return nil, err
		}
	}
	if o, ok := over[d.OldName]; ok && d.OldName != "" {
		// Generated sample files define the old name as a reference to the new one: that is no change of the rule.
		if text := o.expr.String(); text != old.String() && text != "rule:"+d.Name {
			return o.expr, nil
		}
	}
	if legacyDefaults && d.Legacy != "" {
		return Or{current, old}, nil
	}
	return current, nil
}

// indexReads sorts the rules about reading single attributes by resource.
func (r *Rules) indexReads() {
	for i, name := range r.names {
		rest, ok := strings.CutPrefix(name, "get_")
		resource, attr, hasAttr := strings.Cut(rest, ":")
		if ok && hasAttr {
			r.reads[resource] = append(r.reads[resource], readRule{attr, i})
		}
	}
	for _, list := range r.reads {
		slices.SortFunc(list, func(a, b readRule) int { return strings.Compare(a.attr, b.attr) })
	}
}

// lookup gives the index of the rule for an action, or of the one that stands for unknown rules, or -1.
func (r *Rules) lookup(name string) int {
	if i, ok := r.index[name]; ok {
		return i
	}
	return r.fallback
}

// Has tells whether a rule of this name exists.
func (r *Rules) Has(name string) bool {
	_, ok := r.index[name]
	return ok
}

// Names gives the rules in the order of definition.
func (r *Rules) Names() []string { return slices.Clone(r.names) }

// Text gives a rule in canonical form, or "" for an unknown one.
func (r *Rules) Text(name string) string {
	if i, ok := r.index[name]; ok {
		return r.exprs[i].String()
	}
	return ""
}

// ReadAttrs gives the attributes of a resource whose reading is subject to a rule of its own (get_RESOURCE:ATTRIBUTE).
func (r *Rules) ReadAttrs(resource string) []string {
	list := make([]string, len(r.reads[resource]))
	for i, read := range r.reads[resource] {
		list[i] = read.attr
	}
	return list
}

// Warnings lists what an operator should look at: references to rules that do not exist.
func (r *Rules) Warnings() []string { return r.warnings }

// CycleError is a set of rules that refer to each other in a circle.
type CycleError struct {
	Rules []string // the first one is repeated at the end
}

func (e *CycleError) Error() string {
	return "rules refer to each other: " + strings.Join(e.Rules, " -> ")
}

func cycleStart(err error) string {
	if cycle, ok := errors.AsType[*CycleError](err); ok {
		return cycle.Rules[0]
	}
	return ""
}

// checkReferences refuses cycles, because folding follows references, and notes references to unknown rules. A
// reference to an unknown rule is one to the default rule and can close a cycle too.
func (r *Rules) checkReferences() error {
	const (
		unseen = iota
		open
		done
	)
	state := make([]int, len(r.names))
	var path []string
	var visit func(i int) error
	visit = func(i int) error {
		path = append(path, r.names[i])
		defer func() { path = path[:len(path)-1] }()
		switch state[i] {
		case done:
			return nil
		case open:
			return &CycleError{Rules: slices.Clone(path[slices.Index(path, r.names[i]):])}
		}
		state[i] = open
		for _, ref := range references(r.exprs[i], nil) {
			if !r.Has(ref) {
				r.warnings = append(r.warnings, fmt.Sprintf("rule %q refers to rule %q, which does not exist", r.names[i], ref))
			}
			if to := r.lookup(ref); to >= 0 {
				if err := visit(to); err != nil {
					return err
				}
			}
		}
		state[i] = done
		return nil
	}
	for i := range r.names {
		if err := visit(i); err != nil {
			return err
		}
	}
	return nil
}

// references appends the names of the rules that e refers to.
func references(e Expr, names []string) []string {
	switch e := e.(type) {
	case Ref:
		return append(names, e.Name)
	case Not:
		return references(e.X, names)
	case And:
		for _, x := range e {
			names = references(x, names)
		}
	case Or:
		for _, x := range e {
			names = references(x, names)
		}
	}
	return names
}
