package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Option is a setting with a type. Its methods that return it are for its declaration.
type Option[T any] struct {
	set      *Set
	name     name
	section  string // as declared
	old      []name
	kind     string // of the value, for people
	def      T
	defText  string        // def as it would be written
	computed func() string // the default, if it depends on the machine
	help     string
	limits   []Limit[T]
	secret   bool
	noEffect bool
	parse    func(values []string) (T, error)
}

// add declares an option whose value is one string, of which the last one written counts.
func add[T any](c *Section, option, kind string, def T, defText, help string, parse func(string) (T, error)) *Option[T] {
	o := &Option[T]{
		set: c.set, name: newName(c.name, option), section: c.name, kind: kind, def: def, defText: defText, help: help,
		parse: func(values []string) (T, error) { return parse(values[len(values)-1]) },
	}
	c.options = append(c.options, o)
	o.set.declare(o.name, o)
	return o
}

func (s *Set) declare(n name, o known) {
	if s.byName[n] != nil {
		panic("config: declared twice: " + n.String())
	}
	s.byName[n] = o
}

// String declares an option of any text.
func (c *Section) String(option, def, help string) *Option[string] {
	return add(c, option, "text", def, def, help, func(s string) (string, error) { return s, nil })
}

// Int declares an integer.
func (c *Section) Int(option string, def int, help string) *Option[int] {
	return add(c, option, "integer", def, strconv.Itoa(def), help, emptyIs(def, parseInt))
}

// Float declares a number.
func (c *Section) Float(option string, def float64, help string) *Option[float64] {
	return add(c, option, "number", def, strconv.FormatFloat(def, 'g', -1, 64), help, emptyIs(def, parseFloat))
}

// Seconds declares a time that is written as a number of seconds.
func (c *Section) Seconds(option string, def time.Duration, help string) *Option[time.Duration] {
	return add(c, option, "seconds", def, strconv.FormatFloat(def.Seconds(), 'g', -1, 64), help, emptyIs(def, parseSeconds))
}

// Bool declares a switch.
func (c *Section) Bool(option string, def bool, help string) *Option[bool] {
	return add(c, option, "boolean", def, strconv.FormatBool(def), help, parseBool)
}

// List declares strings separated by commas.
func (c *Section) List(option string, def []string, help string) *Option[[]string] {
	return add(c, option, "list", def, strings.Join(def, ","), help, parseList)
}

// Map declares key:value pairs separated by commas. Its default is empty.
func (c *Section) Map(option, help string) *Option[map[string]string] {
	return add(c, option, "key:value list", map[string]string{}, "", help, parseMap)
}

// Multi declares an option that may be repeated; all its values count. Its default is empty.
func (c *Section) Multi(option, help string) *Option[[]string] {
	o := add[[]string](c, option, multiKind, nil, "", help, nil)
	o.parse = func(values []string) ([]string, error) { return values, nil }
	return o
}

const multiKind = "text, may be repeated"

// Limit adds what values must fulfil.
func (o *Option[T]) Limit(l ...Limit[T]) *Option[T] {
	o.limits = append(o.limits, l...)
	return o
}

// Was adds an older name of the option, in the same section unless written as "section.name".
func (o *Option[T]) Was(old ...string) *Option[T] {
	for _, s := range old {
		section, option, ok := strings.Cut(s, ".")
		if !ok {
			section, option = o.section, s
		}
		n := newName(section, option)
		o.old = append(o.old, n)
		o.set.declare(n, o)
	}
	return o
}

// Secret keeps the value out of messages.
func (o *Option[T]) Secret() *Option[T] {
	o.secret = true
	return o
}

// NoEffect says that this version does not act on the option. Whoever sets it to something else than its default is
// warned.
func (o *Option[T]) NoEffect() *Option[T] {
	o.noEffect = true
	return o
}

// Computed sets a default that depends on the machine; text describes it.
func (o *Option[T]) Computed(text string, f func() string) *Option[T] {
	o.computed, o.defText = f, text
	return o
}

// Get gives the value, or the default where the option is not set. A value that is not valid, which Check reports,
// counts as not set.
func (o *Option[T]) Get(f *File) T {
	v, err := o.lookup(f)
	if err != nil {
		return o.def
	}
	return v
}

// Given tells whether a file sets the option.
func (o *Option[T]) Given(f *File) bool {
	_, ok := f.last(o.names())
	return ok
}

func (o *Option[T]) lookup(f *File) (T, error) {
	given, err := o.given(f)
	if err != nil {
		return o.def, err
	}
	if len(given) == 0 {
		if o.computed == nil && !strings.Contains(o.defText, "$") {
			return o.def, nil
		}
		text, err := o.defaultText(f, 0)
		if err != nil {
			return o.def, fmt.Errorf("default of %s: %w", o.name, err)
		}
		return o.parse([]string{text})
	}
	values := make([]string, len(given))
	for i, g := range given {
		values[i] = g.value
	}
	v, err := o.valid(values)
	if err != nil {
		last := given[len(given)-1]
		return o.def, fmt.Errorf("%s: %s = %s: %w", last.where, last.name, o.show(last.value), err)
	}
	return v, nil
}

func (o *Option[T]) valid(values []string) (T, error) {
	v, err := o.parse(values)
	if err != nil {
		return v, err
	}
	for _, l := range o.limits {
		if !l.ok(v) {
			return v, fmt.Errorf("must be %s", l.text)
		}
	}
	return v, nil
}

// given is what the files say, references replaced.
func (o *Option[T]) given(f *File) ([]setting, error) {
	var list []setting
	if o.kind == multiKind {
		list = f.all(o.names())
	} else if g, ok := f.last(o.names()); ok {
		list = []setting{g}
	}
	for i, g := range list {
		v, err := o.set.expand(f, g.section, g.value, 0)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", g.where, g.name, err)
		}
		list[i].value = v
	}
	return list, nil
}

func (o *Option[T]) show(value string) string {
	if o.secret {
		return "***"
	}
	return strconv.Quote(value)
}

func (o *Option[T]) names() []name { return append([]name{o.name}, o.old...) }

func (o *Option[T]) check(f *File) error {
	_, err := o.lookup(f)
	return err
}

func (o *Option[T]) inVain(f *File) bool {
	return o.noEffect && fmt.Sprint(o.Get(f)) != fmt.Sprint(o.def) // an empty list may be nil or not
}

func (o *Option[T]) text(f *File, depth int) (string, error) {
	if g, ok := f.last(o.names()); ok {
		return o.set.expand(f, g.section, g.value, depth)
	}
	return o.defaultText(f, depth)
}

func (o *Option[T]) defaultText(f *File, depth int) (string, error) {
	if o.computed != nil {
		return o.computed(), nil
	}
	return o.set.expand(f, o.section, o.defText, depth)
}
