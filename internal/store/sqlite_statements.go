package store

import (
	"container/list"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
)

const (
	cachedStatements = 128     // per connection
	maxCachedQuery   = 4 << 10 // bytes; longer ones are mostly IN lists of a length that does not come again
)

// cachingConnector opens connections that keep their most recently used compiled statements: compiling costs SQLite
// about as much as running. database/sql's own Stmt cannot do that here, as preparing one needs a second connection
// and the pool of writers has one.
type cachingConnector struct{ driver.Connector }

func (c cachingConnector) Connect(ctx context.Context) (driver.Conn, error) {
	raw, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	conn, ok := raw.(sqliteConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("SQLite driver's connection %T lacks expected methods", raw), raw.Close())
	}
	return &cachingConn{sqliteConn: conn, byQuery: map[string]*list.Element{}, recent: list.New()}, nil
}

// sqliteConn is what the driver's connection can do and database/sql looks for.
type sqliteConn interface {
	driver.Conn
	driver.ConnPrepareContext
	driver.ConnBeginTx
	driver.ExecerContext
	driver.QueryerContext
	driver.SessionResetter
	driver.Validator
	driver.Pinger
}

// cachingConn is used by one goroutine at a time, as every driver.Conn.
type cachingConn struct {
	sqliteConn
	byQuery map[string]*list.Element
	recent  *list.List // of *statement, most recently used first
}

type statement struct {
	query string
	stmt  sqliteStmt
	busy  bool // rows of it are being read: running it again would rewind them
}

type sqliteStmt interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

func (c *cachingConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	s, err := c.statement(ctx, query)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return c.sqliteConn.ExecContext(ctx, query, args)
	}
	return s.stmt.ExecContext(ctx, args)
}

func (c *cachingConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	s, err := c.statement(ctx, query)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return c.sqliteConn.QueryContext(ctx, query, args)
	}
	rows, err := s.stmt.QueryContext(ctx, args)
	if err != nil {
		return nil, err
	}
	s.busy = true
	return &cachedRows{Rows: rows, statement: s}, nil
}

type cachedRows struct {
	driver.Rows
	statement *statement
}

func (r *cachedRows) Close() error {
	r.statement.busy = false
	return r.Rows.Close()
}

// statement finds or compiles the statement of query; nil means that the driver should run the text itself: it is too
// long to keep, or its statement is busy.
func (c *cachingConn) statement(ctx context.Context, query string) (*statement, error) {
	if len(query) > maxCachedQuery {
		return nil, nil
	}
	e, ok := c.byQuery[query]
	if !ok {
		stmt, err := c.PrepareContext(ctx, query)
		if err != nil {
			return nil, err
		}
		e = c.recent.PushFront(&statement{query: query, stmt: stmt.(sqliteStmt)})
		c.byQuery[query] = e
		c.shrink()
	}
	s := e.Value.(*statement)
	if s.busy {
		return nil, nil
	}
	c.recent.MoveToFront(e)
	return s, nil
}

func (c *cachingConn) shrink() {
	for e := c.recent.Back(); e != nil && c.recent.Len() > cachedStatements; {
		s, before := e.Value.(*statement), e.Prev()
		if !s.busy {
			c.recent.Remove(e)
			delete(c.byQuery, s.query)
			s.stmt.Close() // reports the statement's last failure, which its caller already got
		}
		e = before
	}
}

// Close releases the statements before the connection they belong to.
func (c *cachingConn) Close() error {
	for e := c.recent.Front(); e != nil; e = e.Next() {
		e.Value.(*statement).stmt.Close()
	}
	return c.sqliteConn.Close()
}
