package sqlite

import (
	"context"
	"database/sql/driver"
	"io"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// Row is the row that Each has reached.
type Row struct {
	c *Conn
	s *statement
}

// Null tells whether column i is NULL.
func (r *Row) Null(i int) bool {
	return sqlite3.Xsqlite3_column_type(r.c.tls, r.s.handle, int32(i)) == sqlite3.SQLITE_NULL
}

// Bytes is the text of column i, nil for NULL. It is overwritten by the next row.
func (r *Row) Bytes(i int) []byte {
	p := sqlite3.Xsqlite3_column_text(r.c.tls, r.s.handle, int32(i))
	if p == 0 {
		return nil
	}
	return libc.GoBytes(p, int(sqlite3.Xsqlite3_column_bytes(r.c.tls, r.s.handle, int32(i))))
}

// Int is the number in column i, 0 for NULL.
func (r *Row) Int(i int) int64 { return sqlite3.Xsqlite3_column_int64(r.c.tls, r.s.handle, int32(i)) }

// Value is column i as database/sql would have it.
func (r *Row) Value(i int) driver.Value {
	switch sqlite3.Xsqlite3_column_type(r.c.tls, r.s.handle, int32(i)) {
	case sqlite3.SQLITE_INTEGER:
		return r.Int(i)
	case sqlite3.SQLITE_FLOAT:
		return sqlite3.Xsqlite3_column_double(r.c.tls, r.s.handle, int32(i))
	case sqlite3.SQLITE_TEXT:
		return string(r.Bytes(i))
	case sqlite3.SQLITE_BLOB:
		p := sqlite3.Xsqlite3_column_blob(r.c.tls, r.s.handle, int32(i))
		b := make([]byte, sqlite3.Xsqlite3_column_bytes(r.c.tls, r.s.handle, int32(i)))
		if len(b) > 0 {
			copy(b, libc.GoBytes(p, len(b)))
		}
		return b
	}
	return nil
}

// Each runs a query and calls f for each row, with the same Row. f must not use the connection.
func (c *Conn) Each(ctx context.Context, query string, args []driver.NamedValue, f func(*Row) error) error {
	end, err := c.during(ctx)
	if err != nil {
		return err
	}
	defer end()
	s, err := c.begun(query, args)
	if err != nil {
		return err
	}
	defer c.give(s)
	row := &Row{c, s}
	for n := 0; ; n++ {
		more, err := c.step(s)
		if err != nil || !more {
			return c.cancelled(ctx, err)
		}
		if err := f(row); err != nil {
			return err
		}
		if n%64 == 63 && ctx.Err() != nil { // an interrupt between two steps has no effect
			return ctx.Err()
		}
	}
}

// QueryContext implements driver.QueryerContext.
func (c *Conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	end, err := c.during(ctx)
	if err != nil {
		return nil, err
	}
	s, err := c.begun(query, args)
	if err != nil {
		end()
		return nil, err
	}
	return &rows{Row: Row{c, s}, ctx: ctx, end: end}, nil
}

type rows struct {
	Row
	ctx context.Context
	end func()
}

// Columns implements driver.Rows. database/sql asks for each query, and wants their number.
func (r *rows) Columns() []string {
	if n := int(sqlite3.Xsqlite3_column_count(r.c.tls, r.s.handle)); len(r.s.columns) != n {
		r.s.columns = make([]string, n)
		for i := range r.s.columns {
			r.s.columns[i] = libc.GoString(sqlite3.Xsqlite3_column_name(r.c.tls, r.s.handle, int32(i)))
		}
	}
	return r.s.columns
}

// Next implements driver.Rows.
func (r *rows) Next(dest []driver.Value) error {
	more, err := r.c.step(r.s)
	switch {
	case err != nil:
		return r.c.cancelled(r.ctx, err)
	case !more:
		return io.EOF
	}
	for i := range dest {
		dest[i] = r.Value(i)
	}
	return nil
}

// Close implements driver.Rows.
func (r *rows) Close() error {
	if r.s != nil {
		r.c.give(r.s)
		r.end()
		r.s = nil
	}
	return nil
}
