package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
)

// openMySQL connects as PyMySQL would.
func (db *DB) openMySQL(ctx context.Context, a *address, p Pool) error {
	db.dialect = mysqlDialect{}
	// Sessions are READ COMMITTED (see mysqlConnector). A list is made of several queries that must see the same.
	db.readOptions = &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
	config, err := mysqlConfig(a, db.log)
	if err != nil {
		return err
	}
	c, err := mysql.NewConnector(config)
	if err != nil {
		return err
	}
	return db.openPool(ctx, mysqlConnector{c}, p)
}

// mysqlConnector prepares new sessions. In READ COMMITTED an UPDATE and what is read after it see what a rival has
// just committed, which is what the conditions of our updates rely on, and InnoDB locks no gaps. The statement is the
// one spelling that all versions of MySQL and MariaDB know; their variables differ.
type mysqlConnector struct{ driver.Connector }

func (c mysqlConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := conn.(driver.ExecerContext).ExecContext(ctx, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED", nil); err != nil {
		return nil, errors.Join(fmt.Errorf("setting the isolation level: %w", err), conn.Close())
	}
	return &mysqlConn{mysqlDriver: conn.(mysqlDriver)}, nil
}

func mysqlConfig(a *address, log *slog.Logger) (*mysql.Config, error) {
	c := mysql.NewConfig()
	c.User, c.Passwd, c.DBName = a.user, a.password, a.database
	c.Net, c.Addr = "tcp", net.JoinHostPort(orElse(a.host, "localhost"), orElse(a.port, "3306"))
	c.Timeout = connectTimeout
	c.Logger = &mysql.NopLogger{} // what it would write comes as an error too
	c.InterpolateParams = true    // one round trip for a statement instead of three
	c.MultiStatements = true      // none for the begin of a transaction (see mysqlConn)
	c.ClientFoundRows = true      // an UPDATE counts rows that it matches, changed or not, as the other databases do
	// TRADITIONAL is oslo.db's mysql_sql_mode: errors instead of values that are cut. The others make it read SQL as
	// the rest of the world does.
	c.Params = map[string]string{"sql_mode": "'TRADITIONAL,ANSI_QUOTES,PIPES_AS_CONCAT'"}
	for _, option := range slices.Sorted(maps.Keys(a.query)) {
		if err := setMySQL(c, option, a.query.Get(option)); err != nil {
			if !errors.Is(err, errNoEffect) {
				return nil, err
			}
			log.Warn("option of the database URL has no effect", "option", option)
		}
	}
	tlsConfig, err := mysqlTLS(a)
	c.TLS = tlsConfig
	return c, err
}

var errNoEffect = errors.New("no effect")

// setMySQL sets one of PyMySQL's connection arguments (pymysql/connections.py); those of TLS are in mysqlTLS.
func setMySQL(c *mysql.Config, option, value string) (err error) {
	switch option {
	case "unix_socket":
		c.Net, c.Addr = "unix", value
	case "charset":
		err = c.Apply(mysql.Charset(value, ""))
	case "connect_timeout":
		c.Timeout, err = parseSeconds(value)
	case "read_timeout":
		c.ReadTimeout, err = parseSeconds(value)
	case "write_timeout":
		c.WriteTimeout, err = parseSeconds(value)
	default:
		if !slices.Contains(mysqlTLSOptions, option) {
			return errNoEffect
		}
	}
	if err != nil {
		return fmt.Errorf("option %s: %w", option, err)
	}
	return nil
}

func parseSeconds(s string) (time.Duration, error) {
	f, err := strconv.ParseFloat(s, 64)
	return time.Duration(f * float64(time.Second)), err
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

type mysqlDialect struct{}

func (mysqlDialect) Name() string                { return "mysql" }
func (mysqlDialect) Rewrite(query string) string { return query }
func (mysqlDialect) Quote(ident string) string {
	return "`" + strings.ReplaceAll(ident, "`", "``") + "`"
}
func (mysqlDialect) Like(column string) string { return column + " LIKE ? ESCAPE '!'" }
func (mysqlDialect) ForUpdate() string         { return " FOR UPDATE" }
func (mysqlDialect) ForShare() string          { return " LOCK IN SHARE MODE" } // MariaDB does not know FOR SHARE
func (mysqlDialect) ReturningID() string       { return "" }

func (mysqlDialect) RowBound(string) string { return "" }

func (mysqlDialect) Tables() string {
	return "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()"
}

func (mysqlDialect) LockSchema() string {
	return "SELECT GET_LOCK(CONCAT('neutrino.', DATABASE()), 300)"
}
func (mysqlDialect) UnlockSchema() string {
	return "SELECT RELEASE_LOCK(CONCAT('neutrino.', DATABASE()))"
}

// InsertIgnore also ignores a missing parent row, so it is for rows whose parents the transaction has seen.
func (d mysqlDialect) InsertIgnore(table string, columns ...string) string {
	return "INSERT IGNORE" + strings.TrimPrefix(insert(d, table, columns), "INSERT")
}

func (d mysqlDialect) Upsert(table string, key []string, columns ...string) string {
	var set []string
	for _, c := range columns {
		if !slices.Contains(key, c) {
			set = append(set, fmt.Sprintf("%s=VALUES(%s)", d.Quote(c), d.Quote(c)))
		}
	}
	if len(set) == 0 {
		return d.InsertIgnore(table, columns...)
	}
	return insert(d, table, columns) + " ON DUPLICATE KEY UPDATE " + strings.Join(set, ",")
}

// MySQL's error numbers: https://mariadb.com/kb/en/mariadb-error-code-reference/

func (mysqlDialect) IsDuplicate(err error) bool {
	return slices.Contains([]uint16{1062, 1586}, mysqlCode(err))
}

func (mysqlDialect) IsForeignKey(err error) bool {
	return slices.Contains([]uint16{1216, 1217, 1451, 1452}, mysqlCode(err))
}

func (mysqlDialect) IsRetryable(err error) bool {
	switch mysqlCode(err) {
	case 1020, // record changed since it was read, with MariaDB's innodb_snapshot_isolation
		1205, // lock wait timeout
		1213: // deadlock; Galera's lost races too
		return true
	}
	return false
}

func (d mysqlDialect) IsUnavailable(err error) bool {
	switch mysqlCode(err) {
	case 0:
		return errors.Is(err, mysql.ErrInvalidConn)
	case 1021, // disk full
		1040, 1203, 1226, // too many connections
		1047,             // Galera: the node does not serve
		1053, 1077, 1079, // shutdown
		1129,             // host blocked after errors
		1290, 1792, 1836, // read only: it has become a replica
		1317, 1927: // connection or query killed
		return true
	}
	return d.IsRetryable(err)
}

// IsBadValue is for numbers out of range, illegal mixes of collations, wrong characters, text that is too long and too
// many values.
func (mysqlDialect) IsBadValue(err error) bool {
	return slices.Contains([]uint16{1264, 1267, 1271, 1300, 1366, 1390, 1406, 3988}, mysqlCode(err))
}

// mysqlCode is the number of MySQL's error, 0 for other errors.
func mysqlCode(err error) uint16 {
	if e, ok := errors.AsType[*mysql.MySQLError](err); ok {
		return e.Number
	}
	return 0
}
