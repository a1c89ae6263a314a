package config

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Set is the options a program knows.
type Set struct {
	sections []*Section
	byName   map[name]known
	ignored  map[name]string // why
	movable  []*Auth         // whose options may be in a section that the files name
}

// known is an Option of any type.
type known interface {
	names() []name                           // the current one first
	text(f *File, depth int) (string, error) // the value as it would be written, for $name
	check(f *File) error
	inVain(f *File) bool // it is set although it has no effect
	reference() row
}

// Section is a section of the files: options are declared by its methods.
type Section struct {
	set     *Set
	title   string // for the reference: whose options these are
	name    string
	options []known
	ignored []ignored
}

// ignored is options that upstream has and that make no sense here.
type ignored struct {
	names  []string
	reason string
}

// NewSet makes an empty Set.
func NewSet() *Set {
	return &Set{byName: map[name]known{}, ignored: map[name]string{}}
}

// Section starts a section. Several may have one name, with different titles in the reference.
func (s *Set) Section(title, section string) *Section {
	c := &Section{set: s, title: title, name: section}
	s.sections = append(s.sections, c)
	return c
}

// Ignore declares options that are accepted without a warning and without effect, because of reason. The result is
// only there so that it can stand among other declarations.
func (c *Section) Ignore(reason string, options ...string) struct{} {
	c.ignored = append(c.ignored, ignored{options, reason})
	for _, o := range options {
		c.set.ignored[newName(c.name, o)] = reason
	}
	return struct{}{}
}

// Check looks at everything that is set. It returns a warning for each option that is not known, has no effect or has
// an old name, and one error that tells all values that are not valid.
func (s *Set) Check(f *File) (warnings []string, err error) {
	var bad []error
	for _, c := range s.sections {
		for _, o := range c.options {
			if err := o.check(f); err != nil {
				bad = append(bad, err)
			}
		}
	}
	for _, g := range f.given() {
		if w := s.warning(f, g); w != "" {
			warnings = append(warnings, w)
		}
	}
	return warnings, errors.Join(bad...)
}

func (s *Set) warning(f *File, g setting) string {
	if o, ok := s.byName[g.name]; ok {
		if o.inVain(f) {
			return fmt.Sprintf("%s: %s has no effect in this version", g.where, g.name)
		}
		if current := o.names()[0]; current != g.name {
			return fmt.Sprintf("%s: %s is an old name, write %s", g.where, g.name, current)
		}
		return ""
	}
	if _, ok := s.ignored[g.name]; ok {
		return ""
	}
	for _, a := range s.movable {
		if a.isIn(f, g.name) {
			return ""
		}
	}
	w := fmt.Sprintf("%s: %s is not known and has no effect", g.where, g.name)
	for _, c := range s.sections {
		if n := newName(c.name, g.option); s.byName[n] != nil {
			return w + "; do you mean " + n.String() + "?"
		}
	}
	return w
}

// reference is $name, ${name}, ${section.name} or $$, as Python's string.Template finds them with the identifiers of
// oslo.config.
var reference = regexp.MustCompile(`(?i)\$(?:\$|([_a-z][._a-z0-9]*)|\{([_a-z][._a-z0-9]*)\})`)

// maxDepth of references that refer to others; more is taken for a circle.
const maxDepth = 10

var errCircle = errors.New("it refers to itself")

// expand replaces references to other options. section is where the text stands: names without a section are looked
// up there and then in DEFAULT.
func (s *Set) expand(f *File, section, text string, depth int) (string, error) {
	if depth > maxDepth {
		return "", errCircle
	}
	text = strings.ReplaceAll(text, `\$`, "$$")
	var failed error
	out := reference.ReplaceAllStringFunc(text, func(ref string) string {
		if ref == "$$" || failed != nil {
			return "$"
		}
		v, err := s.resolve(f, section, strings.Trim(ref, "${}"), depth)
		failed = err
		return v
	})
	return out, failed
}

func (s *Set) resolve(f *File, section, ref string, depth int) (string, error) {
	candidates := []name{newName(section, ref), newName(Default, ref)}
	if group, option, ok := strings.Cut(ref, "."); ok {
		candidates = []name{newName(group, option)}
	}
	for _, n := range candidates {
		if o := s.byName[n]; o != nil {
			return o.text(f, depth+1)
		}
		if g, ok := f.last([]name{n}); ok {
			return s.expand(f, n.section, g.value, depth+1)
		}
	}
	return "", fmt.Errorf("$%s is no option; write $$ for a dollar sign", ref)
}
