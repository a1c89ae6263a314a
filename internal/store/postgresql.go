package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// openPostgreSQL connects as psycopg2 would: the URL's options are libpq's.
func (db *DB) openPostgreSQL(ctx context.Context, a *address, p Pool) error {
	db.dialect = postgresDialect{}
	// In READ COMMITTED an UPDATE sees what a rival has just committed, which is what the conditions of our updates
	// rely on. A list is made of several queries that must see the same.
	db.writeOptions = &sql.TxOptions{Isolation: sql.LevelReadCommitted}
	db.readOptions = &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
	config, err := pgx.ParseConfig(libpq(a))
	if err != nil {
		return errors.New("its URL has an option or value that is not understood") // the cause may show the password
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTimeout
	}
	return db.openPool(ctx, stdlib.GetConnector(*config), p)
}

// libpq spells an address as libpq's "keyword = 'value'" list.
func libpq(a *address) string {
	words := map[string]string{"host": a.host, "port": a.port, "user": a.user, "password": a.password, "dbname": a.database}
	for option, values := range a.query {
		words[option] = strings.Join(values, ",") // several hosts
	}
	quote := strings.NewReplacer(`\`, `\\`, `'`, `\'`)
	var out []string
	for _, word := range slices.Sorted(maps.Keys(words)) {
		if words[word] != "" {
			out = append(out, fmt.Sprintf("%s='%s'", word, quote.Replace(words[word])))
		}
	}
	return strings.Join(out, " ")
}

type postgresDialect struct{}

func (postgresDialect) Name() string { return "postgresql" }

// Rewrite turns the question marks into $1, $2 and so on, except those inside of quotes.
func (postgresDialect) Rewrite(query string) string {
	if !strings.Contains(query, "?") {
		return query
	}
	out := make([]byte, 0, len(query)+16)
	var quote byte
	n := int64(0)
	for i := range len(query) {
		c := query[i]
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote = c
		case c == '?':
			n++
			out = strconv.AppendInt(append(out, '$'), n, 10)
			continue
		}
		out = append(out, c)
	}
	return string(out)
}

func (postgresDialect) Quote(ident string) string {
	return `"` + strings.ReplaceAll(ident, `"`, `""`) + `"`
}
func (postgresDialect) Like(column string) string { return column + " LIKE ? ESCAPE '!'" }
func (postgresDialect) ForUpdate() string         { return " FOR UPDATE" }
func (postgresDialect) ForShare() string          { return " FOR SHARE" }
func (postgresDialect) ReturningID() string       { return " RETURNING id" }

func (postgresDialect) RowBound(string) string { return "" }

func (postgresDialect) Tables() string {
	return "SELECT tablename FROM pg_catalog.pg_tables WHERE schemaname = current_schema()"
}

// The number is arbitrary; it must only differ from those that other programs use in this database.
func (postgresDialect) LockSchema() string   { return "SELECT pg_advisory_xact_lock(7463870011)" }
func (postgresDialect) UnlockSchema() string { return "" }

func (d postgresDialect) InsertIgnore(table string, columns ...string) string {
	return insert(d, table, columns) + " ON CONFLICT DO NOTHING"
}

func (d postgresDialect) Upsert(table string, key []string, columns ...string) string {
	return upsertOnConflict(d, table, key, columns)
}

// PostgreSQL's error codes: https://www.postgresql.org/docs/current/errcodes-appendix.html

func (postgresDialect) IsDuplicate(err error) bool { return sqlState(err) == "23505" }

func (postgresDialect) IsForeignKey(err error) bool {
	state := sqlState(err)
	return state == "23503" || state == "23001" // foreign_key_violation; restrict_violation since version 18
}

func (postgresDialect) IsRetryable(err error) bool {
	switch sqlState(err) {
	case "40001", "40P01", "55P03": // serialization failure, deadlock, lock not available
		return true
	}
	return false
}

func (d postgresDialect) IsUnavailable(err error) bool {
	switch state := sqlState(err); {
	case strings.HasPrefix(state, "08"), strings.HasPrefix(state, "53"), strings.HasPrefix(state, "57P"):
		return true // connection exceptions, insufficient resources, shutdown and start
	case state == "25006": // read only: it has become a standby
		return true
	case state == "":
		_, connecting := errors.AsType[*pgconn.ConnectError](err)
		return connecting || errors.Is(err, io.ErrUnexpectedEOF)
	}
	return d.IsRetryable(err)
}

// IsBadValue is for class 22 (data exception), where among others a NUL and text that is too long are, and for what pgx
// does not send: it has no error types for numbers out of range and for too many arguments.
func (postgresDialect) IsBadValue(err error) bool {
	if err == nil {
		return false
	}
	text := err.Error()
	return strings.HasPrefix(sqlState(err), "22") || strings.Contains(text, "failed to encode args[") || strings.Contains(text, "limited to 65535 parameters")
}

// sqlState is the code of PostgreSQL's error, "" for other errors.
func sqlState(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}
