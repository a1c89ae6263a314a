package store

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// address is a database URL taken apart.
type address struct {
	backend        string // dialect without the driver: "mysql" of "mysql+pymysql"
	user, password string
	hasPassword    bool
	host, port     string
	database       string
	query          url.Values
	rest           string // all after "://"
}

// urlForm is SQLAlchemy's (sqlalchemy/engine/url.py, _parse_url): unlike in other URLs a password may hold any
// character but @ as it is, for example / and #.
var urlForm = regexp.MustCompile(`^(?:([^:/]*)(?::([^@]*))?@)?(?:(?:\[([^/?]+)\]|([^/:?]+))?(?::([^/?]*))?)?(?:/([^?]*))?(?:\?(.*))?$`)

// parseURL takes a database URL apart. Its errors do not show the password.
func parseURL(text string) (*address, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok {
		return nil, errors.New("database URL without scheme: expected something like sqlite:////var/lib/neutron/neutron.sqlite")
	}
	a := &address{rest: rest}
	a.backend, _, _ = strings.Cut(scheme, "+")
	m := urlForm.FindStringSubmatch(rest)
	if m == nil {
		return nil, fmt.Errorf("the database URL %s://… is not of the form user:password@host:port/database?option=value", scheme)
	}
	a.user, a.password, a.hasPassword = unquote(m[1]), unquote(m[2]), m[2] != ""
	a.host, a.port, a.database = m[3]+m[4], m[5], unquote(m[6])
	var err error
	if a.query, err = url.ParseQuery(m[7]); err != nil {
		return nil, fmt.Errorf("options of the database URL %s://…: %w", scheme, err)
	}
	return a, nil
}

// unquote replaces %XX; text in which a % stands for itself stays as it is.
func unquote(s string) string {
	if u, err := url.PathUnescape(s); err == nil {
		return u
	}
	return s
}
