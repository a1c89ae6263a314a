package sqlite

import (
	"container/list"
	"context"
	"database/sql/driver"
	"fmt"
	"time"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

const (
	cachedStatements = 128     // per connection
	maxCachedQuery   = 4 << 10 // bytes; longer ones are mostly IN lists of a length that does not come again
)

// statements are the compiled statements of a connection, those used most recently: compiling costs SQLite about as much as
// running. database/sql's own Stmt cannot do that here, as preparing one needs a second connection and the pool of writers
// has one.
type statements struct {
	byQuery map[string]*list.Element
	recent  *list.List // of *statement, most recently used first
}

// statement is one that SQLite has compiled.
type statement struct {
	query   string
	handle  uintptr
	inputs  int
	columns []string // names; nil until somebody asks
	busy    bool     // rows of it are being read: running it again would rewind them
	kept    bool
	// text holds the arguments while the statement runs.
	text uintptr
	size int
}

func newStatements() *statements {
	return &statements{byQuery: map[string]*list.Element{}, recent: list.New()}
}

func (s *statements) close(c *Conn) {
	for e := s.recent.Front(); e != nil; e = e.Next() {
		c.finalize(e.Value.(*statement))
	}
	s.recent.Init()
	clear(s.byQuery)
}

// take finds or compiles the statement of query and marks it as busy; give gives it back.
func (c *Conn) take(query string) (*statement, error) {
	e := c.statements.byQuery[query]
	if e != nil && !e.Value.(*statement).busy {
		s := e.Value.(*statement)
		s.busy = true
		c.statements.recent.MoveToFront(e)
		return s, nil
	}
	s, err := c.compile(query)
	if err != nil {
		return nil, err
	}
	if e == nil && len(query) <= maxCachedQuery {
		s.kept = true
		c.statements.byQuery[query] = c.statements.recent.PushFront(s)
		c.shrink()
	}
	return s, nil
}

// shrink forgets the statements that were used longest ago.
func (c *Conn) shrink() {
	for e := c.statements.recent.Back(); e != nil && c.statements.recent.Len() > cachedStatements; {
		s, before := e.Value.(*statement), e.Prev()
		if !s.busy {
			c.statements.recent.Remove(e)
			delete(c.statements.byQuery, s.query)
			c.finalize(s)
		}
		e = before
	}
}

func (c *Conn) compile(query string) (*statement, error) {
	text, err := libc.CString(query)
	if err != nil {
		return nil, err
	}
	defer libc.Xfree(c.tls, text)
	out := libc.Xmalloc(c.tls, 16)
	defer libc.Xfree(c.tls, out)
	if rc := sqlite3.Xsqlite3_prepare_v2(c.tls, c.db, text, int32(len(query)+1), out, out+8); rc != sqlite3.SQLITE_OK {
		return nil, c.fault(rc)
	}
	s := &statement{query: query, handle: libc.AtomicLoadPUintptr(out), busy: true}
	if rest := libc.GoString(libc.AtomicLoadPUintptr(out + 8)); s.handle == 0 || rest != "" {
		c.finalize(s)
		return nil, fmt.Errorf("not exactly one SQL statement: %q", query)
	}
	s.inputs = int(sqlite3.Xsqlite3_bind_parameter_count(c.tls, s.handle))
	return s, nil
}

func (c *Conn) finalize(s *statement) {
	sqlite3.Xsqlite3_finalize(c.tls, s.handle) // reports the statement's last failure, which its caller already got
	if s.text != 0 {
		libc.Xfree(c.tls, s.text)
	}
}

// maxKeptText is how much room for arguments a statement keeps.
const maxKeptText = 4 << 10

// give ends the run of a statement.
func (c *Conn) give(s *statement) {
	s.busy = false
	if !s.kept {
		c.finalize(s)
		return
	}
	sqlite3.Xsqlite3_reset(c.tls, s.handle) // repeats the last failure
	if s.size > maxKeptText {
		libc.Xfree(c.tls, s.text)
		s.text, s.size = 0, 0
		sqlite3.Xsqlite3_clear_bindings(c.tls, s.handle)
	}
}

// bind gives the statement its arguments. Texts are copied to where SQLite, which knows nothing of Go's memory, may keep
// reading them.
func (c *Conn) bind(s *statement, args []driver.NamedValue) error {
	if len(args) != s.inputs {
		return fmt.Errorf("%d arguments for %d placeholders of %q", len(args), s.inputs, s.query)
	}
	need := 1 // an address even for the empty text, as no address means NULL
	for i := range args {
		if t, ok := args[i].Value.(time.Time); ok {
			args[i].Value = t.UTC().Format("2006-01-02 15:04:05.000000")
		}
		switch v := args[i].Value.(type) {
		case string:
			need += len(v)
		case []byte:
			need += len(v)
		}
	}
	if need > s.size {
		if s.text != 0 {
			libc.Xfree(c.tls, s.text)
		}
		s.size = max(need, 256)
		s.text = libc.Xmalloc(c.tls, libc.Tsize_t(s.size))
	}
	at := s.text
	for i := range args {
		n := int32(i + 1)
		var rc int32
		switch v := args[i].Value.(type) {
		case string:
			copy(libc.GoBytes(at, len(v)), v)
			rc = sqlite3.Xsqlite3_bind_text(c.tls, s.handle, n, at, int32(len(v)), 0)
			at += uintptr(len(v))
		case []byte:
			copy(libc.GoBytes(at, len(v)), v)
			rc = sqlite3.Xsqlite3_bind_blob(c.tls, s.handle, n, at, int32(len(v)), 0)
			at += uintptr(len(v))
		case int64:
			rc = sqlite3.Xsqlite3_bind_int64(c.tls, s.handle, n, v)
		case bool:
			var number int64
			if v {
				number = 1
			}
			rc = sqlite3.Xsqlite3_bind_int64(c.tls, s.handle, n, number)
		case float64:
			rc = sqlite3.Xsqlite3_bind_double(c.tls, s.handle, n, v)
		case nil:
			rc = sqlite3.Xsqlite3_bind_null(c.tls, s.handle, n)
		default:
			return fmt.Errorf("argument of type %T", v)
		}
		if rc != sqlite3.SQLITE_OK {
			return c.fault(rc)
		}
	}
	return nil
}

// step runs the statement to its next row; there is none if more is false.
func (c *Conn) step(s *statement) (more bool, err error) {
	switch rc := sqlite3.Xsqlite3_step(c.tls, s.handle); rc {
	case sqlite3.SQLITE_ROW:
		return true, nil
	case sqlite3.SQLITE_DONE:
		return false, nil
	default:
		return false, c.fault(rc)
	}
}

// begun takes a statement and binds its arguments.
func (c *Conn) begun(query string, args []driver.NamedValue) (*statement, error) {
	s, err := c.take(query)
	if err != nil {
		return nil, err
	}
	if err := c.bind(s, args); err != nil {
		c.give(s)
		return nil, err
	}
	return s, nil
}

// result is what a statement that returns no rows did.
type result struct{ id, changes int64 }

func (r result) LastInsertId() (int64, error) { return r.id, nil }
func (r result) RowsAffected() (int64, error) { return r.changes, nil }

// ExecContext implements driver.ExecerContext.
func (c *Conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	end, err := c.during(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	s, err := c.begun(query, args)
	if err != nil {
		return nil, err
	}
	defer c.give(s)
	for more := true; more; {
		if more, err = c.step(s); err != nil {
			return nil, c.cancelled(ctx, err)
		}
	}
	return result{sqlite3.Xsqlite3_last_insert_rowid(c.tls, c.db), sqlite3.Xsqlite3_changes64(c.tls, c.db)}, nil
}

// Prepare implements driver.Conn; the statement is compiled when it runs.
func (c *Conn) Prepare(query string) (driver.Stmt, error) { return &prepared{c, query}, nil }

// prepared is what database/sql wants of Prepare; our callers never use it.
type prepared struct {
	c     *Conn
	query string
}

func (p *prepared) Close() error  { return nil }
func (p *prepared) NumInput() int { return -1 }

func (p *prepared) Exec(args []driver.Value) (driver.Result, error) {
	return p.c.ExecContext(context.Background(), p.query, named(args))
}

func (p *prepared) Query(args []driver.Value) (driver.Rows, error) {
	return p.c.QueryContext(context.Background(), p.query, named(args))
}

func named(args []driver.Value) []driver.NamedValue {
	out := make([]driver.NamedValue, len(args))
	for i, v := range args {
		out[i] = driver.NamedValue{Ordinal: i + 1, Value: v}
	}
	return out
}
