package store

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// Lease lets one of several servers do a periodic task. The others take over when it has not done it for a term.
type Lease struct {
	db           *DB
	name, holder string
	term         time.Duration
}

// Lease is this process's claim to the task called name. The term must be longer than the task's period; it is
// measured by the servers' clocks, which therefore must agree to less than a term.
func (db *DB) Lease(name string, term time.Duration) *Lease {
	return &Lease{db: db, name: name, holder: uuid.NewString(), term: term}
}

// Do runs f if the lease is free or ours, outside of any transaction, and returns its error.
func (l *Lease) Do(ctx context.Context, f func(ctx context.Context) error) error {
	held := false
	err := l.db.Write(ctx, func(tx *Tx) (err error) {
		held, err = l.take(tx)
		return err
	})
	if err != nil {
		return fmt.Errorf("taking the lease of %s: %w", l.name, err)
	}
	if !held {
		return nil
	}
	return f(ctx)
}

// take takes or extends the lease.
func (l *Lease) take(tx *Tx) (bool, error) {
	now := Now()
	until := Time{now.Add(l.term)}
	n, err := tx.Exec("UPDATE neutrino_lease SET holder = ?, expires_at = ? WHERE name = ? AND (holder = ? OR expires_at < ?)",
		l.holder, until, l.name, l.holder, now)
	if err != nil || n > 0 {
		return n > 0, err
	}
	n, err = tx.Exec(tx.Dialect().InsertIgnore("neutrino_lease", "name", "holder", "expires_at"), l.name, l.holder, until)
	return n > 0, err
}
