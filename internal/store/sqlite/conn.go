// Package sqlite is a database/sql driver on SQLite's own interface as modernc.org translated it to Go. It keeps compiled
// statements, watches contexts once per transaction instead of once per statement, and has Conn.Each, which reads rows
// without making a Go value of each column.
package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// Connector opens connections to one database.
type Connector struct {
	URI     string   // file name as a URI: https://www.sqlite.org/uri.html
	Pragmas []string // run on each new connection: "foreign_keys(1)"
	Begin   string   // begins a transaction: "BEGIN IMMEDIATE"
}

// Error is a failure that SQLite reports.
type Error struct {
	Code    int // extended result code: https://www.sqlite.org/rescode.html
	Message string
}

func (e *Error) Error() string { return fmt.Sprintf("%s (SQLite %d)", e.Message, e.Code) }

// Driver implements driver.Connector.
func (c *Connector) Driver() driver.Driver { return opener{} }

type opener struct{}

func (opener) Open(string) (driver.Conn, error) { return nil, errors.New("open it by a Connector") }

// Connect implements driver.Connector.
func (c *Connector) Connect(ctx context.Context) (driver.Conn, error) {
	conn := &Conn{tls: libc.NewTLS(), begin: c.Begin, statements: newStatements()}
	err := conn.open(c.URI)
	for _, pragma := range c.Pragmas {
		if err == nil {
			_, err = conn.ExecContext(ctx, "PRAGMA "+pragma, nil)
		}
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// Conn is a connection. As every driver.Conn it is used by one goroutine at a time, so SQLite need not lock it.
type Conn struct {
	tls        *libc.TLS
	db         uintptr
	begin      string
	statements *statements

	mu     sync.Mutex // between the connection's goroutine and those that interrupt it
	closed bool       // under mu
	ctx    context.Context
	unwait func() // ends the watch on ctx; nil while there is none
}

func (c *Conn) open(uri string) error {
	name, err := libc.CString(uri)
	if err != nil {
		return err
	}
	defer libc.Xfree(c.tls, name)
	out := libc.Xmalloc(c.tls, 8)
	defer libc.Xfree(c.tls, out)
	const flags = sqlite3.SQLITE_OPEN_READWRITE | sqlite3.SQLITE_OPEN_CREATE | sqlite3.SQLITE_OPEN_NOMUTEX | sqlite3.SQLITE_OPEN_URI
	rc := sqlite3.Xsqlite3_open_v2(c.tls, name, out, flags, 0)
	c.db = libc.AtomicLoadPUintptr(out) // also after most failures, for the message
	if rc == sqlite3.SQLITE_OK {
		rc = sqlite3.Xsqlite3_extended_result_codes(c.tls, c.db, 1)
	}
	return c.fault(rc)
}

// fault makes an error of a result code.
func (c *Conn) fault(rc int32) error {
	if rc == sqlite3.SQLITE_OK {
		return nil
	}
	message := sqlite3.Xsqlite3_errstr(c.tls, rc)
	if c.db != 0 && sqlite3.Xsqlite3_extended_errcode(c.tls, c.db) == rc {
		message = sqlite3.Xsqlite3_errmsg(c.tls, c.db)
	}
	return &Error{int(rc), libc.GoString(message)}
}

// Close implements driver.Conn.
func (c *Conn) Close() error {
	c.statements.close(c)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	err := c.fault(sqlite3.Xsqlite3_close_v2(c.tls, c.db))
	c.tls.Close()
	return err
}

// watch interrupts what runs when ctx ends, until the function that it returns is called.
func (c *Conn) watch(ctx context.Context) func() {
	if ctx.Done() == nil {
		return func() {}
	}
	var over bool // under mu
	stop := context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if over || c.closed {
			return
		}
		tls := libc.NewTLS() // the connection's own is in use
		defer tls.Close()
		sqlite3.Xsqlite3_interrupt(tls, c.db)
	})
	return func() {
		if !stop() {
			c.mu.Lock()
			over = true
			c.mu.Unlock()
		}
	}
}

// Watch interrupts statements when ctx ends, until the function that it returns is called. Meanwhile the statements' own
// contexts need not end, which saves database/sql a goroutine for each.
func (c *Conn) Watch(ctx context.Context) (end func()) {
	unwait := c.watch(ctx)
	c.ctx, c.unwait = ctx, unwait
	return func() {
		unwait()
		c.ctx, c.unwait = nil, nil
	}
}

// during watches ctx for one statement, unless it is watched already.
func (c *Conn) during(ctx context.Context) (end func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if c.unwait != nil {
		if err := c.ctx.Err(); err != nil {
			return nil, err
		}
	}
	if c.unwait != nil && c.ctx.Done() == ctx.Done() {
		return func() {}, nil
	}
	return c.watch(ctx), nil
}

// Begin implements driver.Conn.
func (c *Conn) Begin() (driver.Tx, error) { return c.BeginTx(context.Background(), driver.TxOptions{}) }

// BeginTx implements driver.ConnBeginTx.
func (c *Conn) BeginTx(ctx context.Context, _ driver.TxOptions) (driver.Tx, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	unwatch := func() {}
	if c.unwait == nil {
		unwatch = c.Watch(ctx)
	}
	if _, err := c.ExecContext(context.WithoutCancel(ctx), c.begin, nil); err != nil {
		err = c.cancelled(ctx, err)
		unwatch()
		return nil, err
	}
	return (*tx)(c), nil
}

// cancelled is the error of ctx, or of the context that is watched, if that is why err happened.
func (c *Conn) cancelled(ctx context.Context, err error) error {
	var e *Error
	if !errors.As(err, &e) || e.Code&0xff != sqlite3.SQLITE_INTERRUPT {
		return err
	}
	if ctx.Err() == nil && c.ctx != nil {
		ctx = c.ctx
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

type tx Conn

// Commit implements driver.Tx.
func (t *tx) Commit() error {
	err := t.end("COMMIT")
	if err != nil && !(*Conn)(t).Idle() { // busy, for example: database/sql takes the transaction for ended
		err = errors.Join(err, t.end("ROLLBACK"))
	}
	return err
}

// Rollback implements driver.Tx.
func (t *tx) Rollback() error {
	if (*Conn)(t).Idle() { // some failures roll back on their own
		return t.end("")
	}
	return t.end("ROLLBACK")
}

func (t *tx) end(statement string) error {
	c := (*Conn)(t)
	if c.unwait != nil {
		c.unwait()
		c.ctx, c.unwait = nil, nil
	}
	if statement == "" {
		return nil
	}
	_, err := c.ExecContext(context.Background(), statement, nil)
	return err
}

// Idle tells whether no transaction is open: some failures end it.
func (c *Conn) Idle() bool { return sqlite3.Xsqlite3_get_autocommit(c.tls, c.db) != 0 }

// ResetSession implements driver.SessionResetter.
func (c *Conn) ResetSession(context.Context) error {
	if !c.IsValid() {
		return driver.ErrBadConn
	}
	return nil
}

// IsValid implements driver.Validator.
func (c *Conn) IsValid() bool { return !c.closed && c.Idle() }
