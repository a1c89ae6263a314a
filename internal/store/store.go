// Package store is the SQL database: short transactions that are tried again as a whole, and a border to the dialects.
// What the tables look like is in package schema.
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
	"sync/atomic"
	"time"

	"neutrino/internal/fault"
	"neutrino/internal/store/sqlite"
)

// ErrNested is returned by Write and Read when the context already belongs to a transaction: the inner one could not
// be tried again alone, and with one writer connection it would wait for the outer one forever.
var ErrNested = errors.New("transactions must not be nested")

// maxTries and the back-off follow upstream's retry decorator (neutron_lib/db/api.py), with shorter waits. Who only lost
// races, each of which somebody else won, goes on for raceTime, and waits less.
const (
	maxTries     = 10
	firstDelay   = 5 * time.Millisecond
	maxDelay     = 500 * time.Millisecond
	raceTime     = 5 * time.Second
	maxRaceDelay = 100 * time.Millisecond
)

// DB is an open database.
type DB struct {
	dialect Dialect
	writer  *sql.DB
	reader  *sql.DB // may be the same as writer
	// writeOptions and readOptions are nil where the session's defaults are right.
	writeOptions, readOptions *sql.TxOptions
	acquire                   time.Duration // how long to wait for a connection, 0 = without limit
	raceTime                  time.Duration // how long lost races are repeated
	log                       *slog.Logger
	statements                atomic.Int64
	closers                   []func() error
	group                     *group                      // of SQLite's writers; nil for other databases
	shrink                    func(context.Context) error // nil: there is nothing to give back
}

// Open is OpenPool with DefaultPool.
func Open(ctx context.Context, url string, log *slog.Logger) (*DB, error) {
	return OpenPool(ctx, url, DefaultPool(), log)
}

// OpenPool opens the database that url names as SQLAlchemy spells it: "sqlite:////absolute/path",
// "sqlite:///relative/path", "sqlite://" (in memory, gone after Close), "postgresql://user:password@host/database" or
// "mysql+pymysql://user:password@host/database?charset=utf8mb4". The driver after the + is of no consequence; options
// are those of psycopg2 (libpq) and PyMySQL.
func OpenPool(ctx context.Context, url string, p Pool, log *slog.Logger) (*DB, error) {
	a, err := parseURL(url)
	if err != nil {
		return nil, err
	}
	db := &DB{log: log, raceTime: raceTime}
	switch a.backend {
	case "sqlite":
		err = db.openSQLite(ctx, a.rest)
	case "postgresql":
		err = db.openPostgreSQL(ctx, a, p)
	case "mysql", "mariadb":
		err = db.openMySQL(ctx, a, p)
	default:
		return nil, fmt.Errorf("database %q is not supported: there are sqlite, postgresql and mysql", a.backend)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the %s database: %w", a.backend, err), db.Close())
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

// Shrink gives back the memory in which idle connections of SQLite, 8 MB each at most, keep pages of the file.
func (db *DB) Shrink(ctx context.Context) error {
	if db.shrink == nil {
		return nil
	}
	return db.shrink(ctx)
}

// Dialect tells how the database spells what SQL leaves open.
func (db *DB) Dialect() Dialect { return db.dialect }

// Statements counts the statements executed since Open (begin and commit excluded), so that a test can bound the
// number of queries of a request.
func (db *DB) Statements() int64 { return db.statements.Load() }

// Write runs f in one read-write transaction and commits it. The whole is tried again (10 times or for 5 seconds) after a
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
	for try, began := 1, time.Now(); ; try++ {
		tx, err := db.once(ctx, p, readOnly, f)
		if err == nil {
			tx.onCommit.run(ctx)
			return nil
		}
		if ctx.Err() != nil {
			return db.unfit(err)
		}
		if !db.retryable(err) {
			if tx != nil {
				tx.onFailure.run(ctx)
			}
			return db.unfit(err)
		}
		ceiling := maxDelay
		race := !isLostConnection(err)
		if race {
			ceiling = maxRaceDelay
		}
		if try >= maxTries && (!race || db.isConstraint(err) || time.Since(began) > db.raceTime) {
			return fmt.Errorf("transaction failed %d times: %w", try, err)
		}
		db.log.DebugContext(ctx, "trying the transaction again", "try", try, "error", err)
		if err := pause(ctx, min(firstDelay<<min(try-1, 10), ceiling)); err != nil {
			return err
		}
	}
}

// once is one try: it returns the transaction, which has ended, for what to run afterwards; nil if it did not begin.
func (db *DB) once(ctx context.Context, p *sql.DB, readOnly bool, f func(tx *Tx) error) (*Tx, error) {
	if db.group != nil && !readOnly {
		return db.group.once(ctx, f)
	}
	conn, err := db.connection(ctx, p)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	options := db.writeOptions
	if readOnly {
		options = db.readOptions
	}
	inner, unwatch := watch(ctx, conn)
	defer unwatch()
	sqlTx, err := conn.BeginTx(inner, options)
	if err != nil {
		return nil, fmt.Errorf("beginning a transaction: %w", err)
	}
	defer sqlTx.Rollback() // without effect after Commit; also runs when f panics
	tx := db.newTx(ctx, inner, conn, sqlTx, readOnly)
	if err := f(tx); err != nil {
		return tx, err
	}
	return tx, db.commit(sqlTx)
}

func (db *DB) commit(tx *sql.Tx) error {
	err := tx.Commit()
	if err == nil {
		return nil
	}
	if !db.dialect.IsRetryable(err) && IsUnavailable(err) {
		err = &finalError{err} // it may have been committed: doing it again might do it twice
	}
	return fmt.Errorf("committing: %w", err)
}

// watch has SQLite watch ctx as a whole, so that database/sql need not do it for each statement. It returns the context for
// statements.
func watch(ctx context.Context, conn *sql.Conn) (inner context.Context, end func()) {
	inner, end = ctx, func() {}
	_ = conn.Raw(func(c any) error { // fails if the connection is lost, as the next statement will
		if c, ok := c.(*sqlite.Conn); ok {
			inner, end = context.WithoutCancel(ctx), c.Watch(ctx)
		}
		return nil
	})
	return inner, end
}

// connection takes a connection from the pool or makes one.
func (db *DB) connection(ctx context.Context, p *sql.DB) (*sql.Conn, error) {
	limited, cancel := ctx, func() {}
	if db.acquire != 0 {
		limited, cancel = context.WithTimeout(ctx, db.acquire)
	}
	defer cancel()
	conn, err := p.Conn(limited)
	if db.acquire != 0 && errors.Is(err, context.DeadlineExceeded) {
		err = &finalError{err}
	}
	if err != nil {
		return nil, fmt.Errorf("getting a database connection: %w", err)
	}
	return conn, nil
}

func (db *DB) retryable(err error) bool {
	if _, final := errors.AsType[*finalError](err); final {
		return false
	}
	return isAsked(err) || isLostConnection(err) || db.dialect.IsRetryable(err) || db.isConstraint(err)
}

func isAsked(err error) bool {
	_, asked := errors.AsType[*RetryError](err)
	return asked
}

// isConstraint tells whether a row that should be there is gone, or the other way round, which nobody had seen coming: as a
// rule somebody else was quicker, and the checks of the next try will say so.
func (db *DB) isConstraint(err error) bool {
	_, told := errors.AsType[*fault.Error](err)
	return !told && !isAsked(err) && (db.dialect.IsDuplicate(err) || db.dialect.IsForeignKey(err))
}

// pause waits before the next try, with jitter so that rivals do not meet again.
func pause(ctx context.Context, ceiling time.Duration) error {
	timer := time.NewTimer(ceiling/2 + rand.N(ceiling/2))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// Outside runs one statement outside of any transaction, for the few that PostgreSQL does not allow in one.
func (db *DB) Outside(ctx context.Context, statement string) error {
	db.statements.Add(1)
	_, err := db.writer.ExecContext(ctx, statement)
	return err
}
