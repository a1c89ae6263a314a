package store

import (
	"context"
	"database/sql"
	"errors"
)

// ErrReadOnly is returned when a transaction of Read tries to write.
var ErrReadOnly = errors.New("write in a read-only transaction")

// Rows is the result of Query; the caller closes it (All, Strings and One do).
type Rows = sql.Rows

// Tx is a running transaction. It is for one goroutine and ends with the function it was given to.
type Tx struct {
	db        *DB
	sql       *sql.Tx
	conn      *sql.Conn // that sql is on
	ctx       context.Context
	inner     context.Context // of statements: ctx, unless that is watched by other means
	readOnly  bool
	onCommit  hooks
	onFailure hooks
}

// hooks run after a transaction, in the order in which they were added.
type hooks []func(ctx context.Context)

func (hs hooks) run(ctx context.Context) {
	after := context.WithoutCancel(ctx)
	for _, h := range hs {
		h(after)
	}
}

func (db *DB) newTx(ctx, inner context.Context, conn *sql.Conn, tx *sql.Tx, readOnly bool) *Tx {
	t := &Tx{db: db, sql: tx, conn: conn, inner: inner, readOnly: readOnly}
	t.ctx = context.WithValue(ctx, txKey{}, t)
	return t
}

type txKey struct{}

func insideTx(ctx context.Context) bool { return ctx.Value(txKey{}) != nil }

// Context is the caller's context, marked so that a nested transaction is recognised.
func (tx *Tx) Context() context.Context { return tx.ctx }

// Dialect tells how the database spells what SQL leaves open.
func (tx *Tx) Dialect() Dialect { return tx.db.dialect }

// OnCommit lets f run once after the commit, in the order of the calls. After a rollback, also one that is tried
// again, f is forgotten. Its context has the values of the caller's without its cancellation.
func (tx *Tx) OnCommit(f func(ctx context.Context)) { tx.onCommit = append(tx.onCommit, f) }

// OnFailure lets f run once after the transaction was rolled back because of an error that is not tried again: for what must
// stay though the request was refused. The context is as that of OnCommit.
func (tx *Tx) OnFailure(f func(ctx context.Context)) { tx.onFailure = append(tx.onFailure, f) }

// Exec runs a statement that returns no rows and tells how many rows it changed.
func (tx *Tx) Exec(query string, args ...any) (int64, error) {
	res, err := tx.exec(query, args)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// Insert runs an INSERT of one row into a table whose column id the database numbers, and returns that number.
func (tx *Tx) Insert(query string, args ...any) (int64, error) {
	if clause := tx.db.dialect.ReturningID(); clause != "" {
		if tx.readOnly {
			return 0, ErrReadOnly
		}
		var id int64
		err := tx.QueryRow(query+clause, args...).Scan(&id)
		return id, err
	}
	res, err := tx.exec(query, args)
	if err != nil {
		return 0, err
	}
	return res.LastInsertId()
}

func (tx *Tx) exec(query string, args []any) (sql.Result, error) {
	if tx.readOnly {
		return nil, ErrReadOnly
	}
	tx.db.statements.Add(1)
	return tx.sql.ExecContext(tx.inner, tx.db.dialect.Rewrite(query), args...)
}

// Query runs a SELECT. Its rows must be closed before the next statement: not every driver can do both at once.
func (tx *Tx) Query(query string, args ...any) (*Rows, error) {
	tx.db.statements.Add(1)
	return tx.sql.QueryContext(tx.inner, tx.db.dialect.Rewrite(query), args...)
}

// QueryRow runs a SELECT of at most one row; errors, sql.ErrNoRows among them, come from Scan.
func (tx *Tx) QueryRow(query string, args ...any) *sql.Row {
	tx.db.statements.Add(1)
	return tx.sql.QueryRowContext(tx.inner, tx.db.dialect.Rewrite(query), args...)
}
