// Package schema describes the tables of upstream's 2026.2 schema and of Neutrino's own, as data that is rendered for
// each database. Names, types and constraints are upstream's, so that either server can open the other's database; a
// test compares them with facts taken from a database that upstream's migrations made.
package schema

// Upstream's alembic heads of 2026.2, one of each branch (neutron/db/migration/alembic_migrations/versions).
const (
	ExpandHead   = "c7f8d9e0f1a2"
	ContractHead = "5c85685d616d"
)

// Table is one table.
type Table struct {
	Name    string
	Columns []Column
	Primary []string // empty for the few tables that have no primary key
	Foreign []Foreign
	Unique  []Key
	Indexes []Key
	Checks  []Check
}

// Key is a unique constraint or an index. A unique constraint without a name gets the database's default name.
type Key struct {
	Name    string
	Columns []string
}

// Check is a check constraint.
type Check struct{ Name, Expr string }

// Column is one column; NOT NULL unless Null is set.
type Column struct {
	Name    string
	Type    Type
	Null    bool
	Default string   // SQL literal, "" for none; 0 and 1 stand for the booleans
	foreign *Foreign // on its way to the table's list
}

// Foreign is a foreign key.
type Foreign struct {
	Columns  []string
	Table    string
	Referred []string
	OnDelete OnDelete
}

// OnDelete tells what the deletion of the row referred to does.
type OnDelete string

// The three behaviours that upstream uses.
const (
	Restrict OnDelete = ""
	Cascade  OnDelete = "CASCADE"
	SetNull  OnDelete = "SET NULL"
)

// Kind is a type of column without its parameters.
type Kind int

// The kinds of columns.
const (
	Text Kind = iota
	Boolean
	Integer
	BigInteger
	Serial // BigInteger that the database numbers
	DateTime
	Timestamp // DateTime where upstream said TIMESTAMP
	Enum
)

// Type is the type of a column.
type Type struct {
	Kind   Kind
	Length int      // of Text, in characters
	Exact  bool     // of Text of which case counts
	Name   string   // of Enum, where enumerations are named
	Values []string // of Enum
}

// Upstream gives upstream's tables, each after those it refers to.
func Upstream() []Table {
	all := []Table{table("alembic_version", text("version_num", 32), primaryKey("version_num"))}
	for _, family := range [][]Table{
		coreTables(), addressTables(), portTables(), ml2Tables(), securityTables(), routerTables(), floatingTables(),
		agentTables(), quotaTables(), qosTables(), serviceTables(), ovnTables(), bgpTables(),
	} {
		all = append(all, family...)
	}
	return ordered(all)
}

// Own gives the tables that upstream does not have.
func Own() []Table {
	return []Table{
		// A lease is held by the one server that may run a periodic task until it expires.
		table("neutrino_lease",
			text("name", 64),
			text("holder", 255),
			datetime("expires_at"),
			primaryKey("name"),
		),
	}
}

// ordered sorts the tables so that each comes after those it refers to. There are no cycles: what upstream calls its
// cycle (routers, ports) closes over columns without a constraint.
func ordered(tables []Table) []Table {
	byName := map[string]Table{}
	for _, t := range tables {
		byName[t.Name] = t
	}
	done := map[string]bool{}
	var out []Table
	var visit func(t Table)
	visit = func(t Table) {
		if done[t.Name] {
			return
		}
		done[t.Name] = true
		for _, f := range t.Foreign {
			visit(byName[f.Table])
		}
		out = append(out, t)
	}
	for _, t := range tables {
		visit(t)
	}
	return out
}
