package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"runtime"
	"strings"
	"time"

	"neutrino/internal/store/sqlite"

	sqlite3 "modernc.org/sqlite/lib"
)

// busyTimeout is how long SQLite itself waits for another process's write before Write tries again.
const busyTimeout = time.Second

// idleReader is after what time an unused reading connection gives its memory back.
const idleReader = time.Minute

// walPages is how many pages of 4 KiB the write-ahead log gets before they are copied into the database: the more, the more
// often a page that changed several times is copied once. SQLite's default is 1000.
const walPages = "wal_autocheckpoint(4000)"

// walLimit cuts the write-ahead log back to this many bytes once a slow reader no longer keeps it long.
const walLimit = "journal_size_limit(16777216)"

// openSQLite opens rest, the part of SQLAlchemy's URL after "sqlite://".
func (db *DB) openSQLite(ctx context.Context, rest string) error {
	db.dialect = sqliteDialect{}
	path, _, _ := strings.Cut(rest, "?") // options there are for Python's driver
	path = strings.TrimPrefix(path, "/")
	if path == "" || path == ":memory:" {
		return db.openSQLiteMemory(ctx)
	}
	// Created here for the mode: configuration and names of all projects are not for every user of the machine.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	uri := "file:" + (&url.URL{Path: path}).EscapedPath()
	// journal_mode needs the write lock once and is kept in the file, so only the writer sets it.
	db.writer = db.sqlitePool(uri, 1, "BEGIN IMMEDIATE", "journal_mode(WAL)", walPages, walLimit)
	db.reader = db.sqlitePool(uri, sqliteReaders(), "BEGIN", "query_only(1)")
	db.reader.SetConnMaxIdleTime(idleReader)
	db.shrink = func(ctx context.Context) error {
		db.reader.SetMaxIdleConns(0)
		db.reader.SetMaxIdleConns(sqliteReaders())
		_, err := db.writer.ExecContext(ctx, "PRAGMA shrink_memory")
		return err
	}
	db.group = &group{db: db}
	return db.writer.PingContext(ctx)
}

// sqliteReaders is how many may read at the same time. More than there are processors let short reads pass long ones.
func sqliteReaders() int { return max(4, runtime.GOMAXPROCS(0)) }

// openSQLiteMemory uses one connection for all: SQLite lets nobody read a database in memory while somebody writes, so
// more would only wait. A second one, which nobody uses, keeps the data if database/sql replaces the first.
func (db *DB) openSQLiteMemory(ctx context.Context) error {
	uri := "file:/neutrino-" + rand.Text() + "?vfs=memdb"
	keeper := db.sqlitePool(uri, 1, "BEGIN IMMEDIATE")
	if _, err := keeper.ExecContext(ctx, "SELECT 1 FROM sqlite_schema"); err != nil {
		return err
	}
	db.writer = db.sqlitePool(uri, 1, "BEGIN IMMEDIATE")
	db.reader = db.writer
	db.group = &group{db: db}
	return nil
}

func (db *DB) sqlitePool(uri string, connections int, begin string, pragmas ...string) *sql.DB {
	p := sql.OpenDB(&sqlite.Connector{URI: uri, Begin: begin, Pragmas: append([]string{
		fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds()),
		"foreign_keys(1)",
		"synchronous(NORMAL)", // with WAL: nothing is lost when the process dies, the last commits when the machine does
		"temp_store(MEMORY)",
		"mmap_size(0)",
		"cache_size(-4096)", // KiB
	}, pragmas...)})
	p.SetMaxOpenConns(connections)
	p.SetMaxIdleConns(connections)
	db.closers = append(db.closers, p.Close)
	return p
}

type sqliteDialect struct{}

func (sqliteDialect) Name() string                { return "sqlite" }
func (sqliteDialect) Rewrite(query string) string { return query }
func (sqliteDialect) Quote(ident string) string {
	return `"` + strings.ReplaceAll(ident, `"`, `""`) + `"`
}
func (sqliteDialect) Like(column string) string { return column + " LIKE ? ESCAPE '!'" }
func (sqliteDialect) ForUpdate() string         { return "" } // BEGIN IMMEDIATE already excludes other writers
func (sqliteDialect) ForShare() string          { return "" }
func (sqliteDialect) ReturningID() string       { return "" }

// RowBound is the highest row id: SQLite numbers rows as they come.
func (sqliteDialect) RowBound(table string) string { return "(SELECT MAX(rowid) FROM " + table + ")" }

func (sqliteDialect) Tables() string {
	return "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
}

func (sqliteDialect) LockSchema() string   { return "" } // the transaction has the only writer
func (sqliteDialect) UnlockSchema() string { return "" }

func (d sqliteDialect) InsertIgnore(table string, columns ...string) string {
	return insert(d, table, columns) + " ON CONFLICT DO NOTHING"
}

func (d sqliteDialect) Upsert(table string, key []string, columns ...string) string {
	return upsertOnConflict(d, table, key, columns)
}

func (sqliteDialect) IsDuplicate(err error) bool {
	switch sqliteCode(err) {
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_ROWID:
		return true
	}
	return false
}

func (sqliteDialect) IsForeignKey(err error) bool {
	return sqliteCode(err) == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY
}

func (sqliteDialect) IsRetryable(err error) bool {
	switch sqliteCode(err) & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return true
	}
	return false
}

// IsBadValue is for too many values; SQLite stores any.
func (sqliteDialect) IsBadValue(err error) bool {
	return sqliteCode(err) == sqlite3.SQLITE_ERROR && strings.Contains(err.Error(), "too many SQL variables")
}

func (sqliteDialect) IsUnavailable(err error) bool {
	switch sqliteCode(err) & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL:
		return true
	}
	return false
}

// sqliteCode is SQLite's extended result code, 0 for other errors; the low byte is the general class.
func sqliteCode(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code
	}
	return 0
}
