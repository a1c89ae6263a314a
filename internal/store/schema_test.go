package store

import (
	"context"
	"database/sql"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestSQLiteSchema asks SQLite what Migrate made and compares it with the facts about upstream's schema; their format
// is told in schema/facts_test.go.
func TestSQLiteSchema(t *testing.T) {
	db := openFile(t, "")
	if err := db.Migrate(context.Background()); err != nil {
		t.Fatal(err)
	}
	untyped := map[string]bool{} // columns of which upstream has no model, hence no type in SQLite
	var want []string
	for _, f := range readFacts(t) {
		switch f[0] {
		case "column":
			untyped[f[1]] = f[3] == "-"
			f = slices.Delete(f, 2, 3)
		case "unique":
			f = slices.Delete(f, 2, 3) // SQLite forgets the names of constraints
		}
		want = append(want, strings.Join(f, " "))
	}
	got := slices.Concat(
		describe(t, db, `SELECT 'column', m.name || '.' || c.name, c.type, iif(c."notnull", 'notnull', 'null'), coalesce(c.dflt_value, '-')
			FROM sqlite_schema m, pragma_table_info(m.name) c WHERE m.type = 'table'`),
		describe(t, db, `SELECT 'primary', name, coalesce(group_concat(pk), '') FROM
			(SELECT m.name, c.name AS pk FROM sqlite_schema m LEFT JOIN pragma_table_info(m.name) c ON c.pk > 0
			WHERE m.type = 'table' ORDER BY m.name, c.pk) GROUP BY name`),
		describe(t, db, `SELECT 'unique', t, group_concat(c) FROM
			(SELECT m.name AS t, i.name AS i, c.name AS c FROM sqlite_schema m, pragma_index_list(m.name) i, pragma_index_info(i.name) c
			WHERE m.type = 'table' AND i.origin = 'u' ORDER BY m.name, i.name, c.seqno) GROUP BY t, i`),
		describe(t, db, `SELECT 'index', t, i, group_concat(c) FROM
			(SELECT m.name AS t, i.name AS i, c.name AS c FROM sqlite_schema m, pragma_index_list(m.name) i, pragma_index_info(i.name) c
			WHERE m.type = 'table' AND i.origin = 'c' ORDER BY m.name, i.name, c.seqno) GROUP BY t, i`),
		describe(t, db, `SELECT 'foreign', t, group_concat(c), p, group_concat(r), replace(d, 'NO ACTION', 'RESTRICT') FROM
			(SELECT m.name AS t, f.id AS id, f."from" AS c, f."table" AS p, f."to" AS r, f.on_delete AS d
			FROM sqlite_schema m, pragma_foreign_key_list(m.name) f WHERE m.type = 'table' ORDER BY m.name, f.id, f.seq) GROUP BY t, id`),
	)
	for i, line := range got {
		if f := strings.Split(line, " "); f[0] == "column" && untyped[f[1]] {
			f[2] = "-"
			got[i] = strings.Join(f, " ")
		}
	}
	// The rest is ours (neutrino_*) or alembic's.
	got = slices.DeleteFunc(got, func(l string) bool {
		return strings.Contains(l, " neutrino_") || strings.Contains(l, " alembic_version")
	})
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("upstream (-), SQLite (+):\n" + diff)
	}
}

// TestForeignKeysAreIndexed: SQLite reads a referring table whole for each deletion unless an index serves.
func TestForeignKeysAreIndexed(t *testing.T) {
	db := openFile(t, "")
	if err := db.Migrate(context.Background()); err != nil {
		t.Fatal(err)
	}
	scans := describe(t, db, `SELECT m.name, f."from" FROM sqlite_schema m, pragma_foreign_key_list(m.name) f
		WHERE m.type = 'table' AND f.seq = 0 AND NOT EXISTS (
			SELECT 1 FROM pragma_index_list(m.name) i, pragma_index_info(i.name) c WHERE c.seqno = 0 AND c.name = f."from")
		AND NOT EXISTS (SELECT 1 FROM pragma_table_info(m.name) c WHERE c.pk = 1 AND c.name = f."from")`)
	if len(scans) > 0 {
		t.Errorf("foreign keys without index: %q", scans)
	}
}

func readFacts(t *testing.T) [][]string {
	t.Helper()
	data, err := os.ReadFile("schema/testdata/upstream-2026.2.tsv")
	if err != nil {
		t.Fatal(err)
	}
	var out [][]string
	for line := range strings.Lines(string(data)) {
		out = append(out, strings.Split(strings.TrimSuffix(line, "\n"), "\t"))
	}
	return out
}

// describe gives the rows of query, which are texts, joined by spaces.
func describe(t *testing.T, db *DB, query string) []string {
	t.Helper()
	var out []string
	err := db.Read(context.Background(), func(tx *Tx) error {
		rows, err := tx.Query(query)
		out, err = All(rows, err, func(r *sql.Rows) (string, error) {
			columns, err := r.Columns()
			if err != nil {
				return "", err
			}
			values, into := make([]string, len(columns)), make([]any, len(columns))
			for i := range values {
				into[i] = &values[i]
			}
			err = r.Scan(into...)
			return strings.Join(values, " "), err
		})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
