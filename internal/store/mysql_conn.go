package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"strings"
	"time"
)

// mysqlDriver is what the driver's connections can do.
type mysqlDriver interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.NamedValueChecker
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

// mysqlConn saves round trips to the server, which are most of what a short transaction takes: a transaction begins in
// the packet of its first statement, and nobody waits for the end of one that only read.
type mysqlConn struct {
	mysqlDriver
	begin  string     // what is still to be sent before the next statement
	ending chan error // tells how a transaction ended for which nobody waited; nil: there is none
}

// endTimeout bounds the end of a transaction for which nobody waits. A connection that takes longer is given up.
const endTimeout = 10 * time.Second

// BeginTx begins a transaction that writes, in the session's isolation level, or one that reads a snapshot.
func (c *mysqlConn) BeginTx(_ context.Context, opts driver.TxOptions) (driver.Tx, error) {
	c.begin = "START TRANSACTION; "
	if opts.ReadOnly {
		c.begin = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; START TRANSACTION READ ONLY; "
	}
	return &mysqlTx{c, opts.ReadOnly}, nil
}

// QueryContext sends the statement, with what begins its transaction. Its rows are those of the last of them.
func (c *mysqlConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	rows, err := c.mysqlDriver.QueryContext(ctx, c.begin+query, args)
	return rows, c.sent(ctx, err)
}

// ExecContext is like QueryContext.
func (c *mysqlConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	result, err := c.mysqlDriver.ExecContext(ctx, c.begin+query, args)
	return result, c.sent(ctx, err)
}

// sent notes that the transaction has begun. What the driver cannot send as text follows as a prepared statement, which
// is one alone.
func (c *mysqlConn) sent(ctx context.Context, err error) error {
	if !errors.Is(err, driver.ErrSkip) {
		c.begin = ""
		return err
	}
	if failed := c.start(ctx); failed != nil {
		return failed
	}
	return err
}

// PrepareContext begins the transaction first.
func (c *mysqlConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if err := c.start(ctx); err != nil {
		return nil, err
	}
	return c.mysqlDriver.PrepareContext(ctx, query)
}

func (c *mysqlConn) start(ctx context.Context) error {
	begin := strings.TrimSuffix(c.begin, "; ")
	c.begin = ""
	if begin == "" {
		return nil
	}
	_, err := c.mysqlDriver.ExecContext(ctx, begin, nil)
	return err
}

// ResetSession waits for the end of the last transaction, before the connection is used again.
func (c *mysqlConn) ResetSession(ctx context.Context) error {
	if err := c.ended(); err != nil {
		return driver.ErrBadConn
	}
	return c.mysqlDriver.ResetSession(ctx)
}

// IsValid tells whether the connection may be used again; if a transaction is just ending, ResetSession will tell.
func (c *mysqlConn) IsValid() bool { return c.ending != nil || c.mysqlDriver.IsValid() }

// Close closes the connection.
func (c *mysqlConn) Close() error {
	return errors.Join(c.ended(), c.mysqlDriver.Close())
}

func (c *mysqlConn) ended() (err error) {
	if c.ending != nil {
		err = <-c.ending
		c.ending = nil
	}
	return err
}

type mysqlTx struct {
	conn     *mysqlConn
	readOnly bool
}

// Commit ends the transaction.
func (t *mysqlTx) Commit() error { return t.end("COMMIT") }

// Rollback ends the transaction.
func (t *mysqlTx) Rollback() error { return t.end("ROLLBACK") }

func (t *mysqlTx) end(statement string) error {
	c := t.conn
	switch {
	case c.begin != "": // there was no statement
		c.begin = ""
		return nil
	case !t.readOnly:
		_, err := c.mysqlDriver.ExecContext(context.Background(), statement, nil)
		return err
	}
	c.ending = make(chan error, 1)
	go func(ending chan<- error) {
		ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
		defer cancel()
		_, err := c.mysqlDriver.ExecContext(ctx, statement, nil)
		ending <- err
	}(c.ending)
	return nil
}
