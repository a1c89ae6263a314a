package store

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strconv"

	"neutrino/internal/store/sqlite"
)

// Row is the row that Each has reached. Columns count from 0.
type Row struct {
	columns columns
	last    []memory
}

// memory is what a column held in the row before: lists repeat many values, which then need no memory of their own.
type memory struct {
	text string
	time Time
}

// columns are the values of a row as a driver has them.
type columns interface {
	Null(i int) bool
	Int(i int) int64
	// Bytes is text; it is valid until the next row.
	Bytes(i int) []byte
	Value(i int) driver.Value
}

// Null tells whether column i is NULL.
func (r *Row) Null(i int) bool { return r.columns.Null(i) }

// Int is the number in column i, 0 for NULL; false is 0 and true is 1.
func (r *Row) Int(i int) int64 { return r.columns.Int(i) }

// Bytes is the text in column i, nil for NULL. It is overwritten by the next row.
func (r *Row) Bytes(i int) []byte { return r.columns.Bytes(i) }

// Text is the text in column i, "" for NULL.
func (r *Row) Text(i int) string {
	for len(r.last) <= i {
		r.last = append(r.last, memory{})
	}
	m := &r.last[i]
	if b := r.columns.Bytes(i); string(b) != m.text { // compares without a copy
		m.text = string(b)
	}
	return m.text
}

// Time is the time in column i, the zero Time for NULL.
func (r *Row) Time(i int) (Time, error) {
	if v, ok := r.columns.(values); ok {
		if _, text := v[i].([]byte); !text {
			var t Time
			return t, t.Scan(v[i])
		}
	}
	if r.Null(i) {
		return Time{}, nil
	}
	var before string
	if i < len(r.last) {
		before = r.last[i].text
	}
	text := r.Text(i)
	m := &r.last[i]
	if text == before && !m.time.IsZero() {
		return m.time, nil
	}
	m.time = Time{}
	return m.time, m.time.parse(text)
}

// Value is column i as a sql.Scanner wants it.
func (r *Row) Value(i int) any { return r.columns.Value(i) }

// Each runs a SELECT and calls f for each row. It is the fast way for long lists, as it passes by database/sql. f must
// not use the transaction. An error of f ends it and is returned.
func (tx *Tx) Each(query string, args []any, f func(*Row) error) error {
	tx.db.statements.Add(1)
	query = tx.db.dialect.Rewrite(query)
	given := make([]driver.NamedValue, len(args))
	for i, a := range args {
		v, err := driver.DefaultParameterConverter.ConvertValue(a)
		if err != nil {
			return fmt.Errorf("argument %d of a query: %w", i+1, err)
		}
		given[i] = driver.NamedValue{Ordinal: i + 1, Value: v}
	}
	err := tx.conn.Raw(func(conn any) error {
		if c, ok := conn.(*sqlite.Conn); ok {
			row := &Row{}
			return c.Each(tx.ctx, query, given, func(r *sqlite.Row) error {
				row.columns = r
				return f(row)
			})
		}
		rows, err := conn.(driver.QueryerContext).QueryContext(tx.ctx, query, given)
		if err != nil {
			return err
		}
		return eachOf(rows, f)
	})
	if errors.Is(err, driver.ErrSkip) { // MySQL's driver: the statement is too long to put the arguments into
		return tx.eachSlowly(query, args, f)
	}
	return err
}

func eachOf(rows driver.Rows, f func(*Row) error) (err error) {
	defer func() {
		if e := rows.Close(); err == nil {
			err = e
		}
	}()
	v := make(values, len(rows.Columns()))
	row := &Row{columns: v}
	for {
		if err := rows.Next(v); err != nil {
			if err == io.EOF {
				return nil
			}
			return err
		}
		if err := f(row); err != nil {
			return err
		}
	}
}

// eachSlowly is Each by way of database/sql.
func (tx *Tx) eachSlowly(query string, args []any, f func(*Row) error) error {
	rows, err := tx.sql.QueryContext(tx.inner, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return err
	}
	v := make(values, len(names))
	dst := make([]any, len(v))
	for i := range v {
		dst[i] = &v[i]
	}
	row := &Row{columns: v}
	for rows.Next() {
		if err := rows.Scan(dst...); err != nil {
			return err
		}
		if err := f(row); err != nil {
			return err
		}
	}
	return rows.Err()
}

// values is a row as drivers of database/sql give it.
type values []driver.Value

func (v values) Null(i int) bool          { return v[i] == nil }
func (v values) Value(i int) driver.Value { return v[i] }

func (v values) Int(i int) int64 {
	switch x := v[i].(type) {
	case int64:
		return x
	case uint64:
		return int64(x)
	case bool:
		if x {
			return 1
		}
	case []byte:
		n, _ := strconv.ParseInt(string(x), 10, 64)
		return n
	case string:
		n, _ := strconv.ParseInt(x, 10, 64)
		return n
	}
	return 0
}

func (v values) Bytes(i int) []byte {
	switch x := v[i].(type) {
	case []byte:
		return x
	case string:
		return []byte(x)
	case nil:
		return nil
	default:
		return fmt.Append(nil, x)
	}
}
