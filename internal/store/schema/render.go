package schema

import (
	"fmt"
	"slices"
	"strings"
)

// Create gives the statements that create the tables, in order. The dialect is "sqlite", "postgresql" or "mysql".
func Create(dialect string, tables []Table) ([]string, error) {
	r, ok := renderers()[dialect]
	if !ok {
		return nil, fmt.Errorf("no schema for dialect %q", dialect)
	}
	statements := r.createTypes(tables)
	for _, t := range tables {
		statements = append(statements, r.createTable(t))
		indexes := t.Indexes
		if !r.indexesForeignKeys {
			indexes = append(slices.Clone(indexes), foreignIndexes(t)...)
		}
		for _, k := range indexes {
			statements = append(statements, fmt.Sprintf("CREATE INDEX %s ON %s (%s)",
				r.quote(k.Name), r.quote(t.Name), r.quoteAll(k.Columns)))
		}
	}
	return statements, nil
}

// renderer is how one database spells a table.
type renderer struct {
	quoteMark          string
	types              map[Kind]string // of what has no parameters
	enum               func(Type) string
	namedEnums         bool              // enumerations are types with a name
	serialKey          string            // follows the type of a Serial
	booleans           map[string]string // literals of the defaults "0" and "1"
	tableSuffix        string
	exact              string // after the type of text of which case counts
	indexesForeignKeys bool   // by itself, as InnoDB does
}

func renderers() map[string]renderer {
	return map[string]renderer{
		"sqlite": {
			quoteMark: `"`,
			types: map[Kind]string{Boolean: "BOOLEAN", Integer: "INTEGER", BigInteger: "INTEGER", Serial: "INTEGER",
				DateTime: "DATETIME", Timestamp: "TIMESTAMP"},
			enum: func(t Type) string { return fmt.Sprintf("VARCHAR(%d)", longest(t.Values)) },
		},
		"postgresql": {
			quoteMark: `"`,
			types: map[Kind]string{Boolean: "BOOLEAN", Integer: "INTEGER", BigInteger: "BIGINT", Serial: "BIGSERIAL",
				DateTime: "TIMESTAMP WITHOUT TIME ZONE", Timestamp: "TIMESTAMP WITHOUT TIME ZONE"},
			enum:       func(t Type) string { return t.Name },
			namedEnums: true,
			booleans:   map[string]string{"0": "false", "1": "true"},
		},
		"mysql": {
			quoteMark: "`",
			types: map[Kind]string{Boolean: "TINYINT(1)", Integer: "INT", BigInteger: "BIGINT", Serial: "BIGINT",
				DateTime: "DATETIME", Timestamp: "TIMESTAMP"},
			enum:               func(t Type) string { return "ENUM" + literals(t.Values) },
			serialKey:          " AUTO_INCREMENT",
			tableSuffix:        " ENGINE=InnoDB",
			exact:              " CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
			indexesForeignKeys: true,
		},
	}
}

func (r renderer) createTypes(tables []Table) []string {
	if !r.namedEnums {
		return nil
	}
	var out []string
	seen := map[string]bool{} // "directions" serves two tables
	for _, t := range tables {
		for _, c := range t.Columns {
			if c.Type.Kind == Enum && !seen[c.Type.Name] {
				seen[c.Type.Name] = true
				out = append(out, fmt.Sprintf("CREATE TYPE %s AS ENUM %s", c.Type.Name, literals(c.Type.Values)))
			}
		}
	}
	return out
}

func (r renderer) createTable(t Table) string {
	var lines []string
	for _, c := range t.Columns {
		lines = append(lines, r.column(c))
	}
	if len(t.Primary) > 0 {
		lines = append(lines, fmt.Sprintf("PRIMARY KEY (%s)", r.quoteAll(t.Primary)))
	}
	for _, k := range t.Unique {
		name := ""
		if k.Name != "" {
			name = "CONSTRAINT " + r.quote(k.Name) + " "
		}
		lines = append(lines, fmt.Sprintf("%sUNIQUE (%s)", name, r.quoteAll(k.Columns)))
	}
	for _, f := range t.Foreign {
		line := fmt.Sprintf("FOREIGN KEY (%s) REFERENCES %s (%s)", r.quoteAll(f.Columns), r.quote(f.Table), r.quoteAll(f.Referred))
		if f.OnDelete != Restrict {
			line += " ON DELETE " + string(f.OnDelete)
		}
		lines = append(lines, line)
	}
	for _, c := range t.Checks {
		lines = append(lines, fmt.Sprintf("CONSTRAINT %s CHECK (%s)", r.quote(c.Name), c.Expr))
	}
	return fmt.Sprintf("CREATE TABLE %s (\n\t%s\n)%s", r.quote(t.Name), strings.Join(lines, ",\n\t"), r.tableSuffix)
}

func (r renderer) column(c Column) string {
	out := r.quote(c.Name) + " " + r.columnType(c.Type)
	if c.Type.Exact {
		out += r.exact
	}
	if c.Default != "" {
		literal := c.Default
		if b, ok := r.booleans[literal]; ok && c.Type.Kind == Boolean {
			literal = b
		}
		out += " DEFAULT " + literal
	}
	if !c.Null {
		out += " NOT NULL"
	} else if c.Type.Kind == Timestamp {
		out += " NULL" // MySQL's TIMESTAMP is NOT NULL unless told
	}
	if c.Type.Kind == Serial {
		out += r.serialKey
	}
	return out
}

func (r renderer) columnType(t Type) string {
	switch t.Kind {
	case Text:
		return fmt.Sprintf("VARCHAR(%d)", t.Length)
	case Enum:
		return r.enum(t)
	default:
		return r.types[t.Kind]
	}
}

func (r renderer) quote(ident string) string { return r.quoteMark + ident + r.quoteMark }

func (r renderer) quoteAll(idents []string) string {
	quoted := make([]string, len(idents))
	for i, ident := range idents {
		quoted[i] = r.quote(ident)
	}
	return strings.Join(quoted, ", ")
}

// foreignIndexes are the indexes that InnoDB makes by itself and the others lack: without them every deletion reads
// the referring tables whole. They are ours, and are named so.
func foreignIndexes(t Table) []Key {
	var out []Key
	for _, f := range t.Foreign {
		if !hasIndex(t, f.Columns) {
			out = append(out, Key{Name: "neutrino_" + t.Name + "_" + strings.Join(f.Columns, "_"), Columns: f.Columns})
		}
	}
	return out
}

// hasIndex tells whether some key of t starts with columns.
func hasIndex(t Table, columns []string) bool {
	starts := func(key []string) bool {
		return len(key) >= len(columns) && slices.Equal(key[:len(columns)], columns)
	}
	if starts(t.Primary) {
		return true
	}
	return slices.ContainsFunc(slices.Concat(t.Unique, t.Indexes), func(k Key) bool { return starts(k.Columns) })
}

func literals(values []string) string { return "('" + strings.Join(values, "','") + "')" }

func longest(values []string) int {
	n := 0
	for _, v := range values {
		n = max(n, len(v))
	}
	return n
}
