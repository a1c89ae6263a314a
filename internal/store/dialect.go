package store

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"strings"

	"neutrino/internal/fault"

	"github.com/go-sql-driver/mysql"
)

// Dialect is the border between portable SQL and one database.
type Dialect interface {
	// Name is "sqlite", "postgresql" or "mysql", as SQLAlchemy says.
	Name() string
	// Rewrite turns the ? placeholders of a query into the driver's.
	Rewrite(query string) string
	// Quote quotes an identifier, for names that are keywords (limit, default, group).
	Quote(ident string) string
	// Like is a comparison of column with one argument, a pattern whose literal parts went through EscapeLike.
	Like(column string) string
	// ForUpdate and ForShare end a SELECT whose rows nobody else may change until the commit.
	ForUpdate() string
	ForShare() string
	// ReturningID ends an INSERT where the driver does not tell the new id otherwise.
	ReturningID() string
	// InsertIgnore inserts one row unless a row with one of its keys exists; its arguments are the columns' values.
	InsertIgnore(table string, columns ...string) string
	// Upsert inserts one row or, if the key exists, sets its other columns; its arguments are the columns' values.
	Upsert(table string, key []string, columns ...string) string

	// RowBound is an expression for a number that the database has at hand and that is not less than the number of rows of
	// a table; "" where there is none, or where joins are fast anyway.
	RowBound(table string) string

	// Tables is the query of the names of all tables.
	Tables() string
	// LockSchema is a query that waits until no other process changes the schema, and UnlockSchema one that lets them
	// if the end of the transaction does not; "" where nothing is needed.
	LockSchema() string
	UnlockSchema() string

	IsDuplicate(err error) bool   // unique or primary key violated
	IsForeignKey(err error) bool  // foreign key violated
	IsRetryable(err error) bool   // deadlock, serialization failure, busy
	IsUnavailable(err error) bool // the database cannot serve at all just now
	IsBadValue(err error) bool    // text or a number that its columns cannot hold, or too many of them
}

func dialects() []Dialect { return []Dialect{sqliteDialect{}, postgresDialect{}, mysqlDialect{}} }

func anyDialect(err error, is func(Dialect, error) bool) bool {
	for _, d := range dialects() {
		if is(d, err) {
			return true
		}
	}
	return false
}

// IsDuplicate tells whether a unique or primary key was violated.
func IsDuplicate(err error) bool { return err != nil && anyDialect(err, Dialect.IsDuplicate) }

// IsForeignKey tells whether a foreign key was violated: the row referred to does not exist, or is still referred to.
func IsForeignKey(err error) bool { return err != nil && anyDialect(err, Dialect.IsForeignKey) }

// IsUnavailable tells whether the database is out of reach or overloaded, which is the operator's matter and not the
// request's: the caller may come back later.
func IsUnavailable(err error) bool {
	return err != nil && (isLostConnection(err) || anyDialect(err, Dialect.IsUnavailable))
}

// unfit is the answer to a request with a value that the database cannot hold. Which values those are differs: a NUL in
// PostgreSQL, a character outside of a column's character set in MariaDB. Nor may a statement have any number of them.
func (db *DB) unfit(err error) error {
	if !db.dialect.IsBadValue(err) {
		return err
	}
	if _, told := errors.AsType[*fault.Error](err); told {
		return err
	}
	return fault.InvalidInput("there are too many values, or one that cannot be stored").Because(err)
}

func isLostConnection(err error) bool {
	_, network := errors.AsType[net.Error](err)
	return network || errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) ||
		errors.Is(err, mysql.ErrInvalidConn) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
}

// finalError is a lost connection or a full pool after which the transaction is not tried again.
type finalError struct{ cause error }

func (e *finalError) Error() string { return e.cause.Error() }
func (e *finalError) Unwrap() error { return e.cause }

// RetryError makes Write try again; see Retry.
type RetryError struct{ cause error }

func (e *RetryError) Error() string { return "lost a race: " + e.cause.Error() }

// Unwrap gives the cause, which the caller of Write gets when every try failed.
func (e *RetryError) Unwrap() error { return e.cause }

// Retry makes Write try again: for a race that was lost without an error of the database, such as an UPDATE that
// matched no row because the revision has moved on.
func Retry(cause error) error { return &RetryError{cause} }

// In is a list of n placeholders in parentheses, for IN or VALUES; n must be positive.
func In(n int) string { return "(" + strings.Repeat("?,", n-1) + "?)" }

// EscapeLike escapes s for use in a pattern of Dialect.Like. The escape character is not the backslash, which MySQL
// treats in a way of its own.
func EscapeLike(s string) string {
	return strings.NewReplacer("!", "!!", "%", "!%", "_", "!_").Replace(s)
}

func insert(d Dialect, table string, columns []string) string {
	return "INSERT INTO " + d.Quote(table) + " (" + quoteAll(d, columns) + ") VALUES " + In(len(columns))
}

func quoteAll(d Dialect, idents []string) string {
	quoted := make([]string, len(idents))
	for i, ident := range idents {
		quoted[i] = d.Quote(ident)
	}
	return strings.Join(quoted, ",")
}

// upsertOnConflict is Upsert for the databases that know ON CONFLICT.
func upsertOnConflict(d Dialect, table string, key, columns []string) string {
	isKey := map[string]bool{}
	for _, k := range key {
		isKey[k] = true
	}
	var set []string
	for _, c := range columns {
		if !isKey[c] {
			set = append(set, d.Quote(c)+"=excluded."+d.Quote(c))
		}
	}
	action := "NOTHING"
	if len(set) > 0 {
		action = "UPDATE SET " + strings.Join(set, ",")
	}
	return insert(d, table, columns) + " ON CONFLICT (" + quoteAll(d, key) + ") DO " + action
}
