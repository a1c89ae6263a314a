// Package upkeep finds rows that belong to nothing, such as SQLite without foreign keys, interrupted servers or people
// leave behind, and removes those that nobody needs.
package upkeep

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"neutrino/internal/store"
	"neutrino/internal/store/schema"
)

// Finding is a number of rows of one kind.
type Finding struct {
	What  string
	Table string
	Rows  int64
	// Kept says that purging does not touch them: they are a user's objects, or a table is missing.
	Kept bool
}

func (f Finding) String() string { return fmt.Sprintf("%s: %d × %s", f.Table, f.Rows, f.What) }

// rule is a kind of rows that should not be there: those of a table for which a condition holds.
type rule struct {
	what, table, where string
	repair             string // statement up to WHERE, "" = only reported
}

func remove(what, table, where string) rule { return rule{what, table, where, "DELETE FROM " + table} }

// Version tells the alembic heads of the database, none if it has no tables, and those that this program knows.
func Version(ctx context.Context, db *store.DB) (found, supported []string, err error) {
	supported = []string{schema.ContractHead, schema.ExpandHead}
	err = db.Read(ctx, func(tx *store.Tx) error {
		tables, err := store.Strings(tx.Query(tx.Dialect().Tables()))
		if err != nil || !slices.Contains(tables, "alembic_version") {
			return err
		}
		found, err = store.Strings(tx.Query("SELECT version_num FROM alembic_version ORDER BY version_num"))
		return err
	})
	return found, supported, err
}

// Check tells what is wrong, without changing anything.
func Check(ctx context.Context, db *store.DB) (findings []Finding, err error) {
	err = db.Read(ctx, func(tx *store.Tx) error {
		findings, err = CheckIn(tx)
		return err
	})
	return findings, err
}

// CheckIn is Check within a transaction.
func CheckIn(tx *store.Tx) ([]Finding, error) {
	findings, err := missing(tx)
	if err != nil || len(findings) > 0 {
		return findings, err // the rules are about tables that may not exist
	}
	for _, r := range rules() {
		n, _, err := store.One[int64](tx.QueryRow("SELECT COUNT(*) FROM "+r.table+" WHERE "+r.where, r.args()...))
		if err != nil {
			return nil, fmt.Errorf("looking for %s in %s: %w", r.what, r.table, err)
		}
		if n > 0 {
			findings = append(findings, Finding{r.what, r.table, n, r.repair == ""})
		}
	}
	return findings, nil
}

// Purge removes what nobody needs, in one transaction, and tells what it was. What only comes to light by that, it
// removes too.
func Purge(ctx context.Context, db *store.DB) (findings []Finding, err error) {
	err = db.Write(ctx, func(tx *store.Tx) error {
		findings = nil
		if gone, err := missing(tx); err != nil || len(gone) > 0 {
			return orElse(err, fmt.Errorf("the database lacks tables, such as %s", table(gone)))
		}
		for {
			before := len(findings)
			for _, r := range rules() {
				if r.repair == "" {
					continue
				}
				n, err := tx.Exec(r.repair+" WHERE "+r.where, r.args()...)
				if err != nil {
					return fmt.Errorf("purging %s of %s: %w", r.what, r.table, err)
				}
				if n > 0 {
					findings = append(findings, Finding{r.what, r.table, n, false})
				}
			}
			if len(findings) == before {
				return nil
			}
		}
	})
	return findings, err
}

func orElse(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

func table(f []Finding) string {
	if len(f) == 0 {
		return ""
	}
	return f[0].Table
}

func missing(tx *store.Tx) (findings []Finding, err error) {
	tables, err := store.Strings(tx.Query(tx.Dialect().Tables()))
	if err != nil {
		return nil, fmt.Errorf("listing tables: %w", err)
	}
	for _, t := range slices.Concat(schema.Upstream(), schema.Own()) {
		if !slices.Contains(tables, t.Name) {
			findings = append(findings, Finding{"table is missing", t.Name, 1, true})
		}
	}
	return findings, nil
}

func (r rule) args() []any {
	if strings.Contains(r.where, "?") {
		return []any{store.Now()}
	}
	return nil
}
