package schema

import (
	"fmt"
	"strings"
)

// The words in which the tables are described.

type part interface{ addTo(t *Table) }

type partFunc func(t *Table)

func (f partFunc) addTo(t *Table) { f(t) }

func table(name string, parts ...part) Table {
	t := Table{Name: name}
	for _, p := range parts {
		p.addTo(&t)
	}
	return t
}

func (c Column) addTo(t *Table) {
	if c.foreign != nil {
		t.Foreign = append(t.Foreign, *c.foreign)
		c.foreign = nil
	}
	t.Columns = append(t.Columns, c)
}

func text(name string, length int) Column {
	return Column{Name: name, Type: Type{Kind: Text, Length: length}}
}

// exact is text of which case counts, where that is not so anyhow.
func exact(name string, length int) Column {
	c := text(name, length)
	c.Type.Exact = true
	return c
}

func uuid(name string) Column      { return text(name, 36) }
func boolean(name string) Column   { return Column{Name: name, Type: Type{Kind: Boolean}} }
func integer(name string) Column   { return Column{Name: name, Type: Type{Kind: Integer}} }
func bigint(name string) Column    { return Column{Name: name, Type: Type{Kind: BigInteger}} }
func serial(name string) Column    { return Column{Name: name, Type: Type{Kind: Serial}} }
func datetime(name string) Column  { return Column{Name: name, Type: Type{Kind: DateTime}} }
func timestamp(name string) Column { return Column{Name: name, Type: Type{Kind: Timestamp}} }

func enum(name, typeName string, values ...string) Column {
	return Column{Name: name, Type: Type{Kind: Enum, Name: typeName, Values: values}}
}

func (c Column) null() Column { c.Null = true; return c }

// or sets the default value, an SQL literal.
func (c Column) or(literal string) Column { c.Default = literal; return c }

// refers makes the column a foreign key; target is "table.column".
func (c Column) refers(target string, onDelete OnDelete) Column {
	t, col, _ := strings.Cut(target, ".")
	c.foreign = &Foreign{[]string{c.Name}, t, []string{col}, onDelete}
	return c
}

func primaryKey(columns ...string) part {
	return partFunc(func(t *Table) { t.Primary = columns })
}

// foreignKey is a foreign key of several columns.
func foreignKey(f Foreign) part {
	return partFunc(func(t *Table) { t.Foreign = append(t.Foreign, f) })
}

func unique(name string, columns ...string) part {
	return partFunc(func(t *Table) { t.Unique = append(t.Unique, Key{name, columns}) })
}

func index(name string, columns ...string) part {
	return partFunc(func(t *Table) { t.Indexes = append(t.Indexes, Key{name, columns}) })
}

func check(name, expr string) part {
	return partFunc(func(t *Table) { t.Checks = append(t.Checks, Check{name, expr}) })
}

// id is the usual key.
func id() part {
	return partFunc(func(t *Table) {
		uuid("id").addTo(t)
		t.Primary = []string{"id"}
	})
}

// project is the owner's column, with its index.
func project() part {
	return partFunc(func(t *Table) {
		text("project_id", 255).null().addTo(t)
		index(fmt.Sprintf("ix_%s_project_id", t.Name), "project_id").addTo(t)
	})
}

// standard ties a row to its standard attributes; name is that of the unique constraint.
func standard(name string) part {
	return partFunc(func(t *Table) {
		bigint("standard_attr_id").refers("standardattributes.id", Cascade).addTo(t)
		unique(name, "standard_attr_id").addTo(t)
	})
}

// rbac is the table that tells with whom the rows of object are shared.
func rbac(name, object string) Table {
	return table(name,
		id(),
		project(),
		text("target_project", 255),
		text("action", 255),
		uuid("object_id").refers(object+".id", Cascade),
		unique("uniq_"+name+"0target_project0object_id0action", "target_project", "object_id", "action"),
		index("ix_"+name+"_action", "action"),
		index("ix_"+name+"_target_project", "target_project"),
	)
}
