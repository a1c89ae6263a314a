package schema

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

// facts reads what information_schema says of a MariaDB database that upstream's migrations made. The lines are
//
//	column  table.column  type in MariaDB  type in SQLite or -  null|notnull  default or -
//	primary table         columns
//	unique  table         name or -        columns
//	index   table         name             columns
//	foreign table         columns          table   columns   ON DELETE
//
// without the indexes that MariaDB adds for foreign keys. drop names fields that the caller does not compare.
func facts(t *testing.T, drop func(fields []string) []string) []string {
	t.Helper()
	data, err := os.ReadFile("testdata/upstream-2026.2.tsv")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(data)) {
		out = append(out, strings.Join(drop(strings.Split(strings.TrimSuffix(line, "\n"), "\t")), " "))
	}
	slices.Sort(out)
	return out
}

// TestDescription compares the description with upstream's database, constraints and their names included.
func TestDescription(t *testing.T) {
	want := facts(t, func(f []string) []string {
		if f[0] == "column" {
			return slices.Delete(f, 3, 4)
		}
		return f
	})
	want = append(want, "column alembic_version.version_num varchar(32) notnull -", "primary alembic_version version_num")
	slices.Sort(want)
	mysql := renderers()["mysql"]
	var got []string
	add := func(fields ...string) { got = append(got, strings.Join(fields, " ")) }
	for _, table := range Upstream() {
		for _, c := range table.Columns {
			sqlType := mysql.columnType(c.Type)
			add("column", table.Name+"."+c.Name, strings.ToLower(sqlType), nullness(c.Null), orDash(c.Default))
		}
		add("primary", table.Name, strings.Join(table.Primary, ","))
		for _, k := range table.Unique {
			add("unique", table.Name, orDash(k.Name), strings.Join(k.Columns, ","))
		}
		for _, k := range table.Indexes {
			add("index", table.Name, k.Name, strings.Join(k.Columns, ","))
		}
		for _, f := range table.Foreign {
			rule := string(f.OnDelete)
			if f.OnDelete == Restrict {
				rule = "RESTRICT"
			}
			add("foreign", table.Name, strings.Join(f.Columns, ","), f.Table, strings.Join(f.Referred, ","), rule)
		}
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("upstream (-), description (+):\n" + diff)
	}
}

func nullness(null bool) string {
	if null {
		return "null"
	}
	return "notnull"
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func TestTablesComeAfterThoseTheyReferTo(t *testing.T) {
	seen := map[string]bool{}
	for _, table := range Upstream() {
		if seen[table.Name] {
			t.Errorf("table %s is described twice", table.Name)
		}
		seen[table.Name] = true
		for _, f := range table.Foreign {
			if !seen[f.Table] {
				t.Errorf("%s refers to %s, which comes later", table.Name, f.Table)
			}
		}
	}
}

// TestCreateGolden shows how each database spells a few tables that have one of everything.
func TestCreateGolden(t *testing.T) {
	show := []string{"standardattributes", "ports", "subnets", "qos_bandwidth_limit_rules", "qos_minimum_bandwidth_rules",
		"ml2_vlan_allocations", "ml2_port_binding_levels", "evpn_advertised_ports", "ovn_revision_numbers"}
	tables := slices.DeleteFunc(Upstream(), func(t Table) bool { return !slices.Contains(show, t.Name) })
	for dialect := range renderers() {
		t.Run(dialect, func(t *testing.T) {
			statements, err := Create(dialect, tables)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(statements, ";\n") + ";\n"
			golden := filepath.Join("testdata", fmt.Sprintf("create-%s.golden", dialect))
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCreateRefusesUnknownDialect(t *testing.T) {
	if _, err := Create("oracle", nil); err == nil {
		t.Error("no error")
	}
}
