package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"neutrino/internal/store"
	"neutrino/internal/store/dbtest"
)

// Each reads what Query reads, on every database.
func TestEach(t *testing.T) {
	db := dbtest.Open(t)
	exec := func(query string, args ...any) {
		t.Helper()
		err := db.Write(context.Background(), func(tx *store.Tx) error {
			_, err := tx.Exec(query, args...)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	at := store.Time{time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)}
	exec("CREATE TABLE neutrino_each (n INTEGER, v VARCHAR(20), flag BOOLEAN, at TIMESTAMP NULL)")
	t.Cleanup(func() { exec("DROP TABLE neutrino_each") })
	for i, text := range []any{"one", "one", nil, "", "zwölf"} {
		var when store.Time
		if text != nil {
			when = at
		}
		exec("INSERT INTO neutrino_each VALUES (?, ?, ?, ?)", i, text, i%2 == 1, when)
	}
	var got []string
	read := func(tx *store.Tx, query string, args ...any) error {
		return tx.Each(query, args, func(r *store.Row) error {
			when, err := r.Time(3)
			got = append(got, fmt.Sprintf("%d %s %t %d %t %t", r.Int(0), r.Text(1), r.Null(1), r.Int(2), when.Equal(at.Time), when.IsZero()))
			return err
		})
	}
	err := db.Read(context.Background(), func(tx *store.Tx) error {
		got = nil
		if err := read(tx, "SELECT n, v, flag, at FROM neutrino_each WHERE n < ? ORDER BY n", 9); err != nil {
			return err
		}
		if err := read(tx, "SELECT n, v, flag, at FROM neutrino_each WHERE n = 0"); err != nil { // its rows were closed
			return err
		}
		boom := errors.New("boom")
		if err := tx.Each("SELECT n FROM neutrino_each", nil, func(*store.Row) error { return boom }); err != boom {
			t.Errorf("Each = %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"0 one false 0 true false", "1 one false 1 true false", "2  true 0 false true", "3  false 1 true false",
		"4 zwölf false 0 true false", "0 one false 0 true false"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
