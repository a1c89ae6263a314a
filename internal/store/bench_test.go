package store

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
)

// benchDB is a migrated file with n networks; its context can be cancelled, as that of a request.
func benchDB(b *testing.B, n int) (context.Context, *DB) {
	ctx, cancel := context.WithCancel(context.Background())
	b.Cleanup(cancel)
	db, err := Open(ctx, "sqlite:///"+filepath.Join(b.TempDir(), "neutron.sqlite"), slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	if err := db.Migrate(ctx); err != nil {
		b.Fatal(err)
	}
	err = db.Write(ctx, func(tx *Tx) error {
		for i := range n {
			if err := addNetwork(tx, i); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return ctx, db
}

func addNetwork(tx *Tx, i int) error {
	now := Now()
	attr, err := tx.Insert("INSERT INTO standardattributes (resource_type, created_at, updated_at, description, revision_number) VALUES (?,?,?,?,?)",
		"networks", now, now, "", 1)
	if err != nil {
		return err
	}
	_, err = tx.Exec("INSERT INTO networks (project_id, id, name, status, admin_state_up, mtu, standard_attr_id) VALUES (?,?,?,?,?,?,?)",
		"project", fmt.Sprintf("%036d", i), "net", "ACTIVE", true, 1450, attr)
	return err
}

func BenchmarkInsertNetwork(b *testing.B) {
	ctx, db := benchDB(b, 0)
	for i := 0; b.Loop(); i++ {
		if err := db.Write(ctx, func(tx *Tx) error { return addNetwork(tx, i) }); err != nil {
			b.Fatal(err)
		}
	}
}

const selectNetworks = `SELECT n.id, n.name, n.status, n.admin_state_up, n.mtu, s.description, s.revision_number,
	s.created_at, s.updated_at FROM networks n JOIN standardattributes s ON s.id = n.standard_attr_id`

func scanNetwork(r *sql.Rows) (id string, err error) {
	var name, status, description string
	var up bool
	var mtu, revision int
	var created, updated Time
	err = r.Scan(&id, &name, &status, &up, &mtu, &description, &revision, &created, &updated)
	return id, err
}

func benchmarkSelect(b *testing.B, rows int, query string, args ...any) {
	ctx, db := benchDB(b, 5000)
	for b.Loop() {
		err := db.Read(ctx, func(tx *Tx) error {
			r, err := tx.Query(query, args...)
			got, err := All(r, err, scanNetwork)
			if len(got) != rows {
				b.Fatalf("%d rows", len(got))
			}
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSelectOne(b *testing.B) {
	benchmarkSelect(b, 1, selectNetworks+" WHERE n.id = ?", fmt.Sprintf("%036d", 42))
}

func BenchmarkSelect5000(b *testing.B) { benchmarkSelect(b, 5000, selectNetworks) }

func BenchmarkMigrate(b *testing.B) {
	for b.Loop() {
		db, err := Open(context.Background(), "sqlite://", slog.New(slog.DiscardHandler))
		if err != nil {
			b.Fatal(err)
		}
		if err := db.Migrate(context.Background()); err != nil {
			b.Fatal(err)
		}
		if err := db.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
