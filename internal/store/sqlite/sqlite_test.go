package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	sqlite3 "modernc.org/sqlite/lib"
)

// open gives a database with one connection, and the connection.
func open(t *testing.T) (*sql.DB, *Conn) {
	t.Helper()
	db := sql.OpenDB(&Connector{URI: "file:" + filepath.Join(t.TempDir(), "db"), Begin: "BEGIN IMMEDIATE", Pragmas: []string{"foreign_keys(1)"}})
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	db.SetMaxOpenConns(1)
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var c *Conn
	if err := conn.Raw(func(x any) error { c = x.(*Conn); return nil }); err != nil {
		t.Fatal(err)
	}
	return db, c
}

func TestValues(t *testing.T) {
	db, _ := open(t)
	long := strings.Repeat("ü", 5000)
	at := time.Date(2026, 1, 2, 3, 4, 5, 600000, time.FixedZone("east", 3600))
	for _, x := range []struct{ in, want any }{
		{"", ""}, {"text", "text"}, {long, long}, {"a\x00b", "a\x00b"}, {nil, nil}, {7, int64(7)}, {int64(-1 << 63), int64(-1 << 63)}, {true, int64(1)},
		{false, int64(0)}, {1.5, 1.5}, {[]byte{}, []byte{}}, {[]byte{0, 1}, []byte{0, 1}}, {at, "2026-01-02 02:04:05.000600"},
	} {
		var got, twice any
		if err := db.QueryRow("SELECT ?1, ?2", x.in, x.in).Scan(&got, &twice); err != nil || !reflect.DeepEqual(got, x.want) || !reflect.DeepEqual(twice, x.want) {
			t.Errorf("%.20v comes back as %.20v, %.20v: %v", x.in, got, twice, err)
		}
	}
}

func TestResult(t *testing.T) {
	db, _ := open(t)
	if _, err := db.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT UNIQUE)"); err != nil {
		t.Fatal(err)
	}
	r, err := db.Exec("INSERT INTO t (v) VALUES ('a'), ('b')")
	if err != nil {
		t.Fatal(err)
	}
	id, _ := r.LastInsertId()
	if n, _ := r.RowsAffected(); id != 2 || n != 2 {
		t.Errorf("id %d, %d rows", id, n)
	}
	for query, want := range map[string]int{
		"INSERT INTO t (v) VALUES ('a')": sqlite3.SQLITE_CONSTRAINT_UNIQUE, "SELEKT": sqlite3.SQLITE_ERROR,
	} {
		_, err := db.Exec(query)
		var e *Error
		if !errors.As(err, &e) || e.Code != want {
			t.Errorf("%s: %v", query, err)
		}
	}
	for _, query := range []string{"SELECT 1; SELECT 2", "", "-- nothing"} {
		if _, err := db.Exec(query); err == nil {
			t.Errorf("%q is taken for one statement", query)
		}
	}
	if _, err := db.Exec("SELECT ?", 1, 2); err == nil {
		t.Error("an argument too many is accepted")
	}
	rows, err := db.Query("SELECT id AS number, v FROM t")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	if names, err := rows.Columns(); err != nil || !reflect.DeepEqual(names, []string{"number", "v"}) {
		t.Errorf("columns %v, %v", names, err)
	}
}

func TestStatementsKept(t *testing.T) {
	db, c := open(t)
	for i := range 3 * cachedStatements {
		var n int
		if err := db.QueryRow(fmt.Sprintf("SELECT %d", i)).Scan(&n); err != nil || n != i {
			t.Fatalf("%d: %v", n, err)
		}
	}
	if _, err := db.Exec("SELECT '" + strings.Repeat("x", maxCachedQuery) + "'"); err != nil {
		t.Fatal(err)
	}
	if n := c.statements.recent.Len(); n != cachedStatements || len(c.statements.byQuery) != n {
		t.Errorf("%d statements are kept", n)
	}
}

// endless is a query that does not end by itself, and gives no row.
const endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n WHERE i < 0"

// TestCancel: what runs when its context ends stops, and the connection can go on.
func TestCancel(t *testing.T) {
	db, c := open(t)
	for name, run := range map[string]func(ctx context.Context) error{
		"exec": func(ctx context.Context) error { _, err := db.ExecContext(ctx, endless); return err },
		"query": func(ctx context.Context) error {
			var n int
			return db.QueryRowContext(ctx, endless).Scan(&n)
		},
		"each": func(ctx context.Context) error { return c.Each(ctx, endless, nil, func(*Row) error { return nil }) },
		"each, between rows": func(ctx context.Context) error {
			return c.Each(ctx, strings.Replace(endless, "< 0", "> 0", 1), nil, func(*Row) error { return nil })
		},
		"transaction": func(ctx context.Context) error {
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			defer tx.Rollback()
			_, err = tx.ExecContext(ctx, endless)
			return err
		},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		if err := run(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
		if err := run(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s, when the context has ended before: %v", name, err)
		}
		cancel()
		var n int
		if err := db.QueryRowContext(t.Context(), "SELECT 1").Scan(&n); err != nil || n != 1 {
			t.Errorf("after %s: %v", name, err)
		}
	}
}

func TestEach(t *testing.T) {
	_, c := open(t)
	var got []string
	args := []driver.NamedValue{{Ordinal: 1, Value: "x"}}
	err := c.Each(t.Context(), "SELECT 1, ? UNION ALL SELECT NULL, NULL UNION ALL SELECT '12', ''", args, func(r *Row) error {
		got = append(got, fmt.Sprintf("%d %t %q %t", r.Int(0), r.Null(0), r.Bytes(1), r.Null(1)))
		return nil
	})
	if want := []string{`1 false "x" false`, `0 true "" true`, `12 false "" false`}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%q, %v", got, err)
	}
}
