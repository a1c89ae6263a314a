package store

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestErrorClasses(t *testing.T) {
	db := openFile(t, "")
	mustExec(t, db, "CREATE TABLE parent (id TEXT PRIMARY KEY, mac TEXT UNIQUE)")
	mustExec(t, db, "CREATE TABLE child (id INTEGER PRIMARY KEY, parent TEXT REFERENCES parent (id))")
	mustExec(t, db, "INSERT INTO parent VALUES ('p', 'm')")
	mustExec(t, db, "INSERT INTO child VALUES (1, 'p')")
	tests := []struct {
		query                 string
		duplicate, foreignKey bool
	}{
		{"INSERT INTO parent VALUES ('p', 'n')", true, false},
		{"INSERT INTO parent VALUES ('q', 'm')", true, false},
		{"INSERT INTO child VALUES (1, 'p')", true, false},
		{"INSERT INTO child VALUES (2, 'absent')", false, true},
		{"DELETE FROM parent", false, true},
		{"INSERT INTO absent VALUES (1)", false, false},
	}
	for _, test := range tests {
		t.Run(test.query, func(t *testing.T) {
			err := db.Write(context.Background(), func(tx *Tx) error {
				_, err := tx.Exec(test.query)
				return err
			})
			if err == nil {
				t.Fatal("no error")
			}
			if IsDuplicate(err) != test.duplicate || IsForeignKey(err) != test.foreignKey || IsUnavailable(err) {
				t.Errorf("%v: duplicate %v, foreign key %v, unavailable %v", err, IsDuplicate(err), IsForeignKey(err), IsUnavailable(err))
			}
		})
	}
	if !IsUnavailable(&net.OpError{Op: "dial", Err: errors.New("connection refused")}) {
		t.Error("a lost network connection is not unavailable")
	}
	if IsDuplicate(nil) || IsForeignKey(nil) || IsUnavailable(nil) {
		t.Error("no error has a class")
	}
}

func TestOpenRefuses(t *testing.T) {
	tests := map[string]string{
		"postgresql://neutron:secret@127.0.0.1:1/neutron":    "connection refused",
		"mysql+pymysql://neutron:secret@127.0.0.1:1/neutron": "connection refused",
		"oracle://neutron:secret@127.0.0.1/neutron":          "not supported",
		"neutron.sqlite":                        "without scheme",
		"sqlite:////nonexistent/neutron.sqlite": "no such file",
	}
	for url, want := range tests {
		_, err := Open(context.Background(), url, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Open(%q) = %v, expected %q in it", url, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}

func TestOpenRelativeAndOddNames(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, name := range []string{"neutron.sqlite", "with space#and%41.sqlite"} {
		mustExec(t, openFile(t, name), "CREATE TABLE t (v TEXT)")
		if n := count(t, openFile(t, filepath.Join(".", name)), "SELECT count(*) FROM sqlite_schema"); n != 1 {
			t.Errorf("%s: reopened, it has %d tables", name, n)
		}
	}
}

func TestInsertIgnoreAndUpsert(t *testing.T) {
	db := openFile(t, "")
	mustExec(t, db, `CREATE TABLE t (k TEXT PRIMARY KEY, "limit" INTEGER)`)
	ignore := db.Dialect().InsertIgnore("t", "k", "limit")
	upsert := db.Dialect().Upsert("t", []string{"k"}, "k", "limit")
	mustExec(t, db, ignore, "a", 1)
	mustExec(t, db, ignore, "a", 2)
	mustExec(t, db, upsert, "b", 1)
	mustExec(t, db, upsert, "b", 2)
	if diff := cmp.Diff([]string{"a 1", "b 2"}, describe(t, db, `SELECT k, "limit" FROM t ORDER BY k`)); diff != "" {
		t.Error(diff)
	}
}

func TestLike(t *testing.T) {
	db := openFile(t, "")
	mustExec(t, db, "CREATE TABLE t (v TEXT)")
	for _, v := range []string{"50%", "50x", "a_b", "axb", "wow!"} {
		mustExec(t, db, "INSERT INTO t VALUES (?)", v)
	}
	for _, v := range []string{"50%", "a_b", "wow!"} {
		if n := count(t, db, "SELECT count(*) FROM t WHERE "+db.Dialect().Like("v"), EscapeLike(v)); n != 1 {
			t.Errorf("%q matches %d rows", v, n)
		}
	}
	if n := count(t, db, "SELECT count(*) FROM t WHERE "+db.Dialect().Like("v"), EscapeLike("50")+"%"); n != 2 {
		t.Errorf("prefix matches %d rows", n)
	}
}

func TestTimeAndBoolAreStoredAsUpstreamDoes(t *testing.T) {
	db := openFile(t, "")
	mustExec(t, db, "CREATE TABLE t (at DATETIME, untyped, flag BOOLEAN, none DATETIME)")
	at := Time{time.Date(2026, 11, 22, 21, 17, 40, 5000, time.FixedZone("CET", 3600))}
	mustExec(t, db, "INSERT INTO t VALUES (?, ?, ?, ?)", at, at, true, Time{})
	stored := describe(t, db, "SELECT CAST(at AS TEXT), CAST(flag AS TEXT), typeof(flag), typeof(none) FROM t")
	if diff := cmp.Diff([]string{"2026-11-22 20:17:40.000005 1 integer null"}, stored); diff != "" {
		t.Error(diff)
	}
	err := db.Read(context.Background(), func(tx *Tx) error {
		var typed, untyped, none Time
		var flag bool
		if err := tx.QueryRow("SELECT at, untyped, flag, none FROM t").Scan(&typed, &untyped, &flag, &none); err != nil {
			return err
		}
		if !typed.Equal(at.Time) || !untyped.Equal(at.Time) || typed.Location() != time.UTC || !flag || !none.IsZero() {
			t.Errorf("read %v, %v, %v, %v", typed, untyped, flag, none)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestStatementsAreCounted(t *testing.T) {
	db := openFile(t, "")
	mustExec(t, db, "CREATE TABLE t (v TEXT)")
	before := db.Statements()
	mustExec(t, db, "INSERT INTO t VALUES (?)", "x")
	count(t, db, "SELECT count(*) FROM t")
	if n := db.Statements() - before; n != 2 {
		t.Errorf("%d statements", n)
	}
}

// TestOneQueryTwiceAtOnce: the cached statement of the outer loop must not be rewound by the inner one.
func TestOneQueryTwiceAtOnce(t *testing.T) {
	db := openFile(t, "")
	mustExec(t, db, "CREATE TABLE t (v INTEGER)")
	mustExec(t, db, "INSERT INTO t VALUES (1), (2), (3)")
	pairs := 0
	err := db.Read(context.Background(), func(tx *Tx) error {
		const query = "SELECT v FROM t ORDER BY v"
		outer, err := tx.Query(query)
		_, err = All(outer, err, func(*sql.Rows) (bool, error) {
			inner, err := Strings(tx.Query(query))
			pairs += len(inner)
			return true, err
		})
		return err
	})
	if err != nil || pairs != 9 {
		t.Errorf("%d pairs, %v", pairs, err)
	}
}
