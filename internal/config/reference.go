package config

import (
	"fmt"
	"slices"
	"strings"
)

// row is one option in the reference.
type row struct {
	name, kind, def, meaning string
}

func (o *Option[T]) reference() row {
	meaning := o.help
	for _, l := range o.limits {
		meaning += " Must be " + l.text + "."
	}
	for _, n := range o.old {
		meaning += " Formerly `" + n.String() + "`."
	}
	if o.noEffect {
		meaning += " No effect in this version."
	}
	def := o.defText
	if def != "" && o.computed == nil {
		def = "`" + def + "`"
	}
	return row{o.name.option, o.kind, def, meaning}
}

const preface = `# Configuration options

All options of all daemons, by section of the configuration files. An empty default means that nothing is set. "seconds"
may have a fraction; a "list" is separated by commas. Section titles say which daemon reads the options.
`

// Reference describes all options in Markdown.
func (s *Set) Reference() string {
	var b strings.Builder
	b.WriteString(preface)
	for _, c := range s.sections {
		fmt.Fprintf(&b, "\n## %s: [%s]\n", c.title, c.name)
		if len(c.options) > 0 {
			b.WriteString("\n| option | type | default | meaning |\n|--|--|--|--|\n")
		}
		for _, r := range c.rows() {
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", r.name, r.kind, cell(r.def), cell(r.meaning))
		}
		for _, i := range c.ignored {
			fmt.Fprintf(&b, "\nAccepted without effect (%s): `%s`.\n", i.reason, strings.Join(i.names, "`, `"))
		}
	}
	return b.String()
}

// rows are sorted: the order of declarations is not that of initialisation.
func (c *Section) rows() []row {
	rows := make([]row, len(c.options))
	for i, o := range c.options {
		rows[i] = o.reference()
	}
	slices.SortFunc(rows, func(a, b row) int { return strings.Compare(a.name, b.name) })
	return rows
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
