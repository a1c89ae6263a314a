// Package dbtest gives tests databases: SQLite, or if the environment says so those of a PostgreSQL or MariaDB server.
//
// Making upstream's 200 tables takes a server longer than most tests do. So databases are kept: what a test leaves is
// deleted, and another test gets the same. Which there are is noted in the server itself, for all test processes.
package dbtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"neutrino/internal/store"

	"github.com/google/uuid"
)

// Variable is the name of the environment variable that holds the URL of a server's administrative database.
const Variable = "NEUTRINO_TEST_DATABASE"

// stock is the table of kept databases, in the administrative one.
const stock = "neutrino_stock"

// SQLite tells whether tests run on SQLite.
func SQLite() bool { return os.Getenv(Variable) == "" }

// Open gives a migrated database without objects. It is closed when the test ends.
func Open(t testing.TB) *store.DB {
	t.Helper()
	return OpenURL(t, URL(t))
}

// OpenURL is Open for a database that several open.
func OpenURL(t testing.TB, url string) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), url, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return db
}

// URL gives the address of a database without objects for one to open. It is the test's until it ends. The caller
// migrates it: SQLite's, which is in memory, has no tables yet.
func URL(t testing.TB) string {
	t.Helper()
	if SQLite() {
		return "sqlite://"
	}
	return SharedURL(t)
}

// SharedURL is URL for a database that several open.
func SharedURL(t testing.TB) string {
	t.Helper()
	if SQLite() {
		return Empty(t)
	}
	admin := os.Getenv(Variable)
	name, err := take(t.Context(), admin)
	if err != nil {
		t.Fatal(err)
	}
	if name == "" {
		name = create(t, admin)
		if err := with(t.Context(), inServer(admin, name), func(db *store.DB) error { return db.Migrate(t.Context()) }); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if err := giveBack(context.Background(), admin, name); err != nil {
			t.Error(err)
		}
	})
	return inServer(admin, name)
}

// Empty gives the address of a database without tables.
func Empty(t testing.TB) string {
	t.Helper()
	if SQLite() {
		return "sqlite:///" + filepath.Join(t.TempDir(), "neutron.sqlite")
	}
	admin := os.Getenv(Variable)
	name := create(t, admin)
	t.Cleanup(func() {
		if err := execute(context.Background(), admin, "DROP DATABASE "+name); err != nil {
			t.Error(err)
		}
	})
	return inServer(admin, name)
}

func create(t testing.TB, admin string) string {
	t.Helper()
	name := "t" + strings.ReplaceAll(uuid.NewString(), "-", "")
	if err := execute(t.Context(), admin, "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	return name
}

// inServer is the URL of another database of the same server.
func inServer(admin, name string) string {
	address, options, _ := strings.Cut(admin, "?")
	return address[:strings.LastIndex(address, "/")+1] + name + "?" + options
}

func (s *Server) makeStock(ctx context.Context) error {
	return with(ctx, s.URL(s.kind.admin), func(db *store.DB) error {
		return db.Write(ctx, func(tx *store.Tx) error {
			_, err := tx.Exec("CREATE TABLE " + stock + " (name VARCHAR(64) PRIMARY KEY)")
			return err
		})
	})
}

// take takes a database out of the stock; "" if there is none.
func take(ctx context.Context, admin string) (name string, err error) {
	err = with(ctx, admin, func(db *store.DB) error {
		return db.Write(ctx, func(tx *store.Tx) error {
			found := false
			if name, found, err = store.One[string](tx.QueryRow("SELECT name FROM " + stock + " LIMIT 1")); err != nil || !found {
				return err
			}
			n, err := tx.Exec("DELETE FROM "+stock+" WHERE name = ?", name)
			if err == nil && n == 0 {
				err = store.Retry(errors.New("another test has taken it"))
			}
			return err
		})
	})
	return name, err
}

// giveBack empties a database and puts it into the stock. One that misses what every database has is not kept.
func giveBack(ctx context.Context, admin, name string) error {
	whole, err := empty(ctx, inServer(admin, name))
	switch {
	case err != nil:
		return fmt.Errorf("emptying database %s: %w", name, err)
	case !whole:
		return execute(ctx, admin, "DROP DATABASE "+name)
	}
	return with(ctx, admin, func(db *store.DB) error {
		return db.Write(ctx, func(tx *store.Tx) error {
			_, err := tx.Exec("INSERT INTO "+stock+" (name) VALUES (?)", name)
			return err
		})
	})
}

// templates are the rows of upstream's migrations: the rules of new security groups.
const templates = "securitygroupdefaultrules"

func empty(ctx context.Context, url string) (whole bool, err error) {
	k, err := kindOf(url)
	if err != nil {
		return false, err
	}
	err = with(ctx, url, func(db *store.DB) error {
		return db.Write(ctx, func(tx *store.Tx) error {
			if _, err := tx.Exec(k.noKeys); err != nil {
				return err
			}
			used, err := usedTables(tx, k)
			if err != nil {
				return err
			}
			for _, table := range used {
				query := "DELETE FROM " + table
				if table == "standardattributes" {
					query += " WHERE id NOT IN (SELECT standard_attr_id FROM " + templates + ")"
				}
				if _, err := tx.Exec(query); err != nil {
					return err
				}
			}
			n, _, err := store.One[int](tx.QueryRow("SELECT COUNT(*) FROM " + templates))
			whole = n == 4
			return err
		})
	})
	return whole, err
}

// usedTables finds the tables that a test may have put rows into.
func usedTables(tx *store.Tx, k kind) ([]string, error) {
	tables, err := store.Strings(tx.Query(cmp.Or(k.used, tx.Dialect().Tables())))
	if err != nil {
		return nil, err
	}
	tables = slices.DeleteFunc(tables, func(t string) bool { return t == "alembic_version" || t == templates })
	queries := make([]string, len(tables))
	for i, t := range tables {
		queries[i] = fmt.Sprintf("SELECT '%s' WHERE EXISTS (SELECT 1 FROM %s)", t, tx.Dialect().Quote(t))
	}
	return store.Strings(tx.Query(strings.Join(queries, " UNION ALL ")))
}

// with opens a database for f.
func with(ctx context.Context, url string, f func(db *store.DB) error) error {
	db, err := store.Open(ctx, url, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	return errors.Join(f(db), db.Close())
}

func execute(ctx context.Context, url, statement string) error {
	return with(ctx, url, func(db *store.DB) error { return db.Outside(ctx, statement) })
}
