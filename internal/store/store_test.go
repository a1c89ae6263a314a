package store

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
)

func openFile(t *testing.T, path string) *DB {
	t.Helper()
	db, err := Open(context.Background(), "sqlite:///"+path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// onBoth runs a test on a file and in memory: they differ in their connections.
func onBoth(t *testing.T, test func(t *testing.T, db *DB)) {
	t.Run("file", func(t *testing.T) { test(t, openFile(t, filepath.Join(t.TempDir(), "neutron.sqlite"))) })
	t.Run("memory", func(t *testing.T) { test(t, openFile(t, "")) })
}

func mustExec(t *testing.T, db *DB, query string, args ...any) {
	t.Helper()
	err := db.Write(context.Background(), func(tx *Tx) error {
		_, err := tx.Exec(query, args...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func count(t *testing.T, db *DB, query string, args ...any) (n int) {
	t.Helper()
	err := db.Read(context.Background(), func(tx *Tx) (err error) {
		n, _, err = One[int](tx.QueryRow(query, args...))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestWriteRollsBackOnError(t *testing.T) {
	onBoth(t, func(t *testing.T, db *DB) {
		mustExec(t, db, "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)")
		boom := errors.New("boom")
		err := db.Write(context.Background(), func(tx *Tx) error {
			id, err := tx.Insert("INSERT INTO t (v) VALUES (?)", "a")
			if err != nil || id != 1 {
				t.Errorf("Insert = %d, %v", id, err)
			}
			return boom
		})
		if !errors.Is(err, boom) {
			t.Errorf("Write = %v", err)
		}
		if n := count(t, db, "SELECT count(*) FROM t"); n != 0 {
			t.Errorf("%d rows after the rollback", n)
		}
	})
}

func TestReadRefusesToWrite(t *testing.T) {
	onBoth(t, func(t *testing.T, db *DB) {
		mustExec(t, db, "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)")
		err := db.Read(context.Background(), func(tx *Tx) error {
			_, err := tx.Exec("INSERT INTO t (v) VALUES (?)", "a")
			return err
		})
		if !errors.Is(err, ErrReadOnly) {
			t.Errorf("Read = %v", err)
		}
	})
}

func TestNestedTransactionsAreRefused(t *testing.T) {
	onBoth(t, func(t *testing.T, db *DB) {
		for name, outer := range map[string]func(context.Context, func(*Tx) error) error{"Write": db.Write, "Read": db.Read} {
			err := outer(context.Background(), func(tx *Tx) error {
				return db.Read(tx.Context(), func(*Tx) error { return nil })
			})
			if !errors.Is(err, ErrNested) {
				t.Errorf("Read inside %s = %v", name, err)
			}
		}
	})
}

func TestShrinkClosesIdleReaders(t *testing.T) {
	onBoth(t, func(t *testing.T, db *DB) {
		mustExec(t, db, "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)")
		mustExec(t, db, "INSERT INTO t (v) VALUES ('a')")
		if n := count(t, db, "SELECT count(*) FROM t"); n != 1 {
			t.Fatal(n)
		}
		if err := db.Shrink(t.Context()); err != nil {
			t.Error(err)
		}
		if idle := db.reader.Stats().Idle; db.reader != db.writer && idle != 0 {
			t.Errorf("%d readers are kept", idle)
		}
		if n := count(t, db, "SELECT count(*) FROM t"); n != 1 || db.reader.Stats().Idle != 1 {
			t.Errorf("%d rows, %d readers kept after a read", n, db.reader.Stats().Idle)
		}
	})
}
