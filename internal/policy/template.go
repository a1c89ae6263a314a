package policy

import (
	"errors"
	"fmt"
	"strings"
)

// Template is the right side of a check: text with "%(attribute)s" in it.
type Template []part

// part is one of: text, an attribute of the target, an attribute of a parent of the target.
type part struct {
	text   string
	attr   string
	parent string
}

// Kinds of parents that an ownership check may look at.
const (
	ParentNetwork       = "network"
	ParentSecurityGroup = "security_group"
	// ParentExtension is the resource that a sub-resource belongs to: the router of a conntrack helper, the floating IP of a
	// port forwarding, the policy of a QoS rule, the local IP of an association.
	ParentExtension = "ext_parent"
)

// foreignKey is the attribute by which a child names its parent; none for ParentExtension, where the URL names it.
func foreignKey(parent string) (attr string, known bool) {
	switch parent {
	case ParentNetwork:
		return "network_id", true
	case ParentSecurityGroup:
		return "security_group_id", true
	case ParentExtension:
		return "", true
	}
	return "", false
}

// parseTemplate reads Python's "%" formatting as far as oslo.policy uses it: "%(name)s" and "%%".
func parseTemplate(s string) (Template, error) {
	var t Template
	var text strings.Builder
	for {
		before, rest, found := strings.Cut(s, "%")
		text.WriteString(before)
		if found && strings.HasPrefix(rest, "%") {
			text.WriteByte('%')
			s = rest[1:]
			continue
		}
		if text.Len() > 0 {
			t = append(t, part{text: text.String()})
			text.Reset()
		}
		if !found {
			return t, nil
		}
		name, after, ok := strings.Cut(strings.TrimPrefix(rest, "("), ")s")
		if !ok || !strings.HasPrefix(rest, "(") || name == "" || strings.ContainsAny(name, "()") {
			return nil, errors.New(`after "%" must come "(attribute)s" or another "%"`)
		}
		t = append(t, part{attr: name})
		s = after
	}
}

// ownerTemplate is the right side of project_id: exactly one attribute, of the target or ("network:project_id") of a
// parent. The pre-2013 spelling "network_project_id" means the same.
func ownerTemplate(s string) (Template, error) {
	t, err := parseTemplate(s)
	if err != nil {
		return nil, err
	}
	if len(t) != 1 || t[0].attr == "" {
		return nil, errors.New(`an ownership check must compare with "%(attribute)s"`)
	}
	name := t[0].attr
	parent, attr, found := strings.Cut(name, ":")
	if !found {
		parent, attr, found = strings.Cut(name, "_")
		if _, known := foreignKey(parent); !found || !known || !isOwnerAttr(attr) {
			return Template{{attr: ownerAttr(name)}}, nil
		}
	}
	if _, known := foreignKey(parent); !known || attr == "" {
		return nil, fmt.Errorf("the owner of a parent %q cannot be looked up", parent)
	}
	return Template{{parent: parent, attr: ownerAttr(attr)}}, nil
}

func isOwnerAttr(name string) bool { return name == "project_id" || name == "tenant_id" }

// ownerAttr gives the attribute its current name: tenant_id is the old one of project_id.
func ownerAttr(name string) string {
	if name == "tenant_id" {
		return "project_id"
	}
	return name
}

func (t Template) String() string {
	var b strings.Builder
	for _, p := range t {
		switch {
		case p.parent != "":
			b.WriteString("%(" + p.parent + ":" + p.attr + ")s")
		case p.attr != "":
			b.WriteString("%(" + p.attr + ")s")
		default:
			b.WriteString(strings.ReplaceAll(p.text, "%", "%%"))
		}
	}
	return b.String()
}

// constant gives the text of a template that needs no target.
func (t Template) constant() (string, bool) {
	switch {
	case len(t) == 0:
		return "", true
	case len(t) == 1 && t[0].attr == "":
		return t[0].text, true
	}
	return "", false
}

// render fills the template from the target; ok is false when an attribute or a parent is missing.
func (t Template) render(target Target) (text string, ok bool, err error) {
	if len(t) == 1 {
		return t[0].render(target)
	}
	var b strings.Builder
	for _, p := range t {
		s, ok, err := p.render(target)
		if err != nil || !ok {
			return "", false, err
		}
		b.WriteString(s)
	}
	return b.String(), true, nil
}

func (p part) render(target Target) (string, bool, error) {
	switch {
	case p.parent != "":
		s, ok, err := target.Parent(p.parent, p.attr)
		if err != nil {
			return "", false, fmt.Errorf("look up %s of the %s: %w", p.attr, p.parent, err)
		}
		return s, ok, nil
	case p.attr != "":
		s, ok := target.Attr(p.attr)
		return s, ok, nil
	}
	return p.text, true, nil
}
