// Package httpbasic is auth_strategy http_basic: users prove who they are by name and password (RFC 7617), which are in a
// file as Apache's htpasswd writes it (oslo.middleware's basic_auth).
package httpbasic

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"

	"neutrino/internal/fault"
	"neutrino/internal/identity"
	"neutrino/internal/policy"

	"golang.org/x/crypto/bcrypt"
)

const (
	challenge = `Basic realm="Neutron API"`
	// project of users whom the roles file gives none, as with auth_strategy noauth.
	project = "fake_project_id"
	// maxProven bounds how many right passwords are remembered. Without that each request would cost bcrypt's time.
	maxProven = 1000
)

// Config names the files. They are read for each request, so that changes count at once.
type Config struct {
	UserFile string // user:bcrypt hash
	// RolesFile has lines user:project id:role,role. Empty means that every user is an administrator. Users that it does
	// not have may not do anything.
	RolesFile string
}

// Auth implements api.Authenticator.
type Auth struct {
	cfg Config
	log *slog.Logger

	mu     sync.Mutex
	proven map[[sha256.Size]byte]bool // of hash and password
}

// New checks that the files can be used.
func New(cfg Config, log *slog.Logger) (*Auth, error) {
	users, err := read(cfg.UserFile, 2)
	if err != nil {
		return nil, fmt.Errorf("http_basic_auth_user_file: %w", err)
	}
	for name, fields := range users {
		if _, err := bcrypt.Cost([]byte(fields[0])); err != nil {
			return nil, fmt.Errorf("http_basic_auth_user_file: the password of %s is not hashed by bcrypt: %w", name, err)
		}
	}
	if cfg.RolesFile != "" {
		if _, err := read(cfg.RolesFile, 3); err != nil {
			return nil, fmt.Errorf("http_basic_auth_roles_file: %w", err)
		}
	}
	return &Auth{cfg: cfg, log: log, proven: map[[sha256.Size]byte]bool{}}, nil
}

// read gives what follows the user's name in lines of fields separated by colons. Empty lines and those that begin with #
// do not count.
func read(path string, fields int) (map[string][]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	all := map[string][]string{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		words := strings.Split(line, ":")
		if len(words) != fields {
			return nil, fmt.Errorf("%s:%d: not %d fields separated by colons", path, n, fields)
		}
		all[words[0]] = words[1:]
	}
	return all, lines.Err()
}

// Authenticate finds the user whom a request names. The error is a 401, or a 503 if a file cannot be read.
func (a *Auth) Authenticate(r *http.Request) (*identity.Caller, error) {
	name, password, ok := r.BasicAuth()
	if !ok {
		return nil, fault.Unauthorized(challenge)
	}
	users, err := read(a.cfg.UserFile, 2)
	if err != nil {
		return nil, unreadable(err)
	}
	fields := users[name]
	if fields == nil || !a.right(fields[0], password) {
		a.log.Info("wrong user or password", "user", name)
		return nil, fault.Unauthorized(challenge)
	}
	c := &identity.Caller{UserID: name, UserName: name, ProjectID: project, Roles: []string{"admin"}}
	if a.cfg.RolesFile != "" {
		if c.ProjectID, c.Roles, err = a.roles(name); err != nil {
			return nil, unreadable(err)
		}
	}
	c.Roles = policy.Expand(c.Roles)
	return c, nil
}

func unreadable(err error) error {
	return fault.Unavailable("ServiceUnavailable", "Users cannot be looked up at the moment.").Because(err)
}

// right tells whether the hash is the password's.
func (a *Auth) right(hash, password string) bool {
	key := sha256.Sum256([]byte(hash + ":" + password)) // a hash has no colon
	a.mu.Lock()
	known := a.proven[key]
	a.mu.Unlock()
	if known {
		return true
	}
	err := bcrypt.CompareHashAndPassword([]byte(hash), []byte(password))
	if err != nil {
		if !errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
			a.log.Error("the file of users has a hash that is not bcrypt's", "error", err)
		}
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.proven) >= maxProven {
		clear(a.proven)
	}
	a.proven[key] = true
	return true
}

func (a *Auth) roles(name string) (projectID string, roles []string, err error) {
	users, err := read(a.cfg.RolesFile, 3)
	if err != nil || users[name] == nil {
		return "", nil, err
	}
	fields := users[name]
	for role := range strings.SplitSeq(fields[1], ",") {
		roles = append(roles, strings.TrimSpace(role))
	}
	return fields[0], slices.DeleteFunc(roles, func(r string) bool { return r == "" }), nil
}
