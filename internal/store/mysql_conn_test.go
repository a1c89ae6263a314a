package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"slices"
	"testing"
)

// recorder is a connection that notes what it is asked. It is used by one goroutine at a time, as the driver's are.
type recorder struct {
	mysqlDriver // nil: what is not below must not be used
	sent        []string
	tooLong     bool             // statements must be prepared
	broken      map[string]error // what statements fail with
	release     chan struct{}    // closed: a COMMIT goes on
}

func (r *recorder) ExecContext(_ context.Context, query string, _ []driver.NamedValue) (driver.Result, error) {
	if query == "COMMIT" && r.release != nil {
		<-r.release
	}
	r.sent = append(r.sent, query)
	return driver.RowsAffected(1), r.broken[query]
}

func (r *recorder) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if r.tooLong && len(args) > 0 {
		return nil, driver.ErrSkip
	}
	_, err := r.ExecContext(ctx, query, args)
	return noRows{}, err
}

func (r *recorder) PrepareContext(_ context.Context, query string) (driver.Stmt, error) {
	r.sent = append(r.sent, "prepare "+query)
	return nil, errors.New("enough")
}

func (r *recorder) Connect(context.Context) (driver.Conn, error) { return r, nil }
func (r *recorder) Driver() driver.Driver                        { return nil }
func (r *recorder) CheckNamedValue(*driver.NamedValue) error     { return nil }
func (r *recorder) IsValid() bool                                { return true }
func (r *recorder) ResetSession(context.Context) error           { return nil }
func (r *recorder) Close() error                                 { r.sent = append(r.sent, "close"); return nil }

type noRows struct{}

func (noRows) Columns() []string         { return []string{"x"} }
func (noRows) Close() error              { return nil }
func (noRows) Next([]driver.Value) error { return io.EOF }

const isolation = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"

func TestMySQLTransactions(t *testing.T) {
	read := &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
	const snapshot = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; START TRANSACTION READ ONLY"
	query := func(text string, args ...any) func(tx *sql.Tx) {
		return func(tx *sql.Tx) {
			if rows, err := tx.Query(text, args...); err == nil {
				rows.Close()
			}
		}
	}
	exec := func(tx *sql.Tx) { _, _ = tx.Exec("UPDATE b") }
	for _, test := range []struct {
		name    string
		options *sql.TxOptions
		tooLong bool
		do      []func(tx *sql.Tx)
		sent    []string
	}{
		{"read", read, false, []func(*sql.Tx){query("SELECT a"), query("SELECT b")}, []string{snapshot + "; SELECT a", "SELECT b", "COMMIT"}},
		{"write", nil, false, []func(*sql.Tx){query("SELECT a"), exec}, []string{"START TRANSACTION; SELECT a", "UPDATE b", "COMMIT"}},
		{"write at once", nil, false, []func(*sql.Tx){exec}, []string{"START TRANSACTION; UPDATE b", "COMMIT"}},
		{"nothing", nil, false, nil, nil},
		{"prepared", read, true, []func(*sql.Tx){query("SELECT ?", 1)}, []string{snapshot, "prepare SELECT ?", "COMMIT"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := &recorder{tooLong: test.tooLong}
			db := sql.OpenDB(mysqlConnector{r})
			for range 2 { // on the same connection
				tx, err := db.BeginTx(t.Context(), test.options)
				if err != nil {
					t.Fatal(err)
				}
				for _, do := range test.do {
					do(tx)
				}
				if err := tx.Commit(); err != nil {
					t.Fatal(err)
				}
			}
			if err := db.Close(); err != nil {
				t.Error(err)
			}
			if want := slices.Concat([]string{isolation}, test.sent, test.sent, []string{"close"}); !slices.Equal(r.sent, want) {
				t.Errorf("sent %q, want %q", r.sent, want)
			}
		})
	}
}

// Nobody waits for the end of a transaction that only read; the next one does. If the end fails, it gets another connection.
func TestMySQLEndOfReading(t *testing.T) {
	for _, failure := range []error{nil, errors.New("gone")} {
		r := &recorder{broken: map[string]error{"COMMIT": failure}, release: make(chan struct{})}
		db := sql.OpenDB(mysqlConnector{r})
		db.SetMaxOpenConns(1)
		tx, err := db.BeginTx(t.Context(), &sql.TxOptions{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = tx.Exec("SELECT a")
		if err := tx.Commit(); err != nil { // returns before the connection does
			t.Fatal(err)
		}
		close(r.release)
		if _, err := db.Exec("UPDATE b"); err != nil {
			t.Error(err)
		}
		want := []string{"COMMIT", "UPDATE b"}
		if failure != nil {
			want = []string{"COMMIT", "close", isolation, "UPDATE b"}
		}
		if !slices.Equal(r.sent[2:], want) {
			t.Errorf("sent %q, want %q", r.sent[2:], want)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
}
