// Package store is the SQL database: short transactions that are tried again as a whole, a border to the dialects,
// and a cache of prepared statements. What the tables look like is in package schema.
//
// The rules for callers: queries use ? placeholders and portable SQL; one request is one transaction; a function given
// to Write may run several times, so everything it does outside the database belongs into Tx.OnCommit.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// ErrNested is returned by Write and Read when the context already belongs to a transaction: the inner one could not
// be tried again alone, and with one writer connection it would wait for the outer one forever.
var ErrNested = errors.New("transactions must not be nested")

// maxTries and the back-off follow upstream's retry decorator (neutron_lib/db/api.py), with shorter waits.
const (
	maxTries   = 10
	firstDelay = 5 * time.Millisecond
	maxDelay   = 500 * time.Millisecond
)

// DB is an open database.
type DB struct {
	dialect    Dialect
	writer     *sql.DB
	reader     *sql.DB // the same as writer where the database has only one connection
	log        *slog.Logger
	statements atomic.Int64
	closers    []func() error
}

// Open opens the database that url names as SQLAlchemy spells it: "sqlite:////absolute/path", "sqlite:///relative/path"
// or "sqlite://" (in memory, gone after Close).
func Open(ctx context.Context, url string, log *slog.Logger) (*DB, error) {
	scheme, rest, ok := strings.Cut(url, "://")
	if !ok {
		return nil, errors.New("database URL without scheme: expected something like sqlite:////var/lib/neutron/neutron.sqlite")
	}
	db := &DB{log: log}
	backend, _, _ := strings.Cut(scheme, "+")
	switch backend {
	case "sqlite":
		if err := db.openSQLite(ctx, rest); err != nil {
			return nil, errors.Join(fmt.Errorf("opening SQLite database: %w", err), db.Close())
		}
	default:
		return nil, fmt.Errorf("database %q is not supported: this build supports sqlite", scheme)
	}
	return db, nil
}

// Close closes the connections, those opened first last: the writer leaves its file tidy when nobody reads it. No
// transaction may be running.
func (db *DB) Close() error {
	var errs []error
	for _, c := range slices.Backward(db.closers) {
		errs = append(errs, c())
	}
	db.closers = nil
	return errors.Join(errs...)
}

// Dialect tells how the database spells what SQL leaves open.
func (db *DB) Dialect() Dialect { return db.dialect }

// Statements counts the statements executed since Open (begin and commit excluded), so that a test can bound the
// number of queries of a request.
func (db *DB) Statements() int64 { return db.statements.Load() }

// Write runs f in one read-write transaction and commits it. The whole is tried again (at most 10 times) after a
// deadlock, a serialization failure, a busy database, a lost connection or an error made by Retry.
func (db *DB) Write(ctx context.Context, f func(tx *Tx) error) error {
	return db.run(ctx, db.writer, false, f)
}

// Read runs f on a read-only snapshot. Like Write it may run f again.
func (db *DB) Read(ctx context.Context, f func(tx *Tx) error) error {
	return db.run(ctx, db.reader, true, f)
}

func (db *DB) run(ctx context.Context, p *sql.DB, readOnly bool, f func(tx *Tx) error) error {
	if insideTx(ctx) {
		return ErrNested
	}
	for try := 1; ; try++ {
		hooks, err := db.once(ctx, p, readOnly, f)
		if err == nil {
			after := context.WithoutCancel(ctx)
			for _, h := range hooks {
				h(after)
			}
			return nil
		}
		if !db.retryable(err) || ctx.Err() != nil {
			return err
		}
		if try == maxTries {
			return fmt.Errorf("transaction failed %d times: %w", try, err)
		}
		db.log.DebugContext(ctx, "trying the transaction again", "try", try, "error", err)
		if err := pause(ctx, try); err != nil {
			return err
		}
	}
}

// once is one try: it returns what to run after the commit.
func (db *DB) once(ctx context.Context, p *sql.DB, readOnly bool, f func(tx *Tx) error) ([]func(context.Context), error) {
	conn, err := p.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("getting a database connection: %w", err)
	}
	defer conn.Close()
	sqlTx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("beginning a transaction: %w", err)
	}
	defer sqlTx.Rollback() // without effect after Commit; also runs when f panics
	tx := &Tx{db: db, sql: sqlTx, readOnly: readOnly}
	tx.ctx = context.WithValue(ctx, txKey{}, tx)
	if err := f(tx); err != nil {
		return nil, err
	}
	if err := sqlTx.Commit(); err != nil {
		return nil, fmt.Errorf("committing: %w", err)
	}
	return tx.onCommit, nil
}

func (db *DB) retryable(err error) bool {
	_, asked := errors.AsType[*RetryError](err)
	return asked || isLostConnection(err) || db.dialect.IsRetryable(err)
}

// pause waits before the next try: doubling, with jitter so that rivals do not meet again.
func pause(ctx context.Context, try int) error {
	ceiling := min(firstDelay<<(try-1), maxDelay)
	timer := time.NewTimer(ceiling/2 + rand.N(ceiling/2))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
