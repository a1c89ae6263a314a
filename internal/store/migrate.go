package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"neutrino/internal/store/schema"
)

// Migrate brings the schema up to date: it fills an empty database with upstream's tables, accepts one that upstream
// brought to the release that this package knows, refuses any other, and adds the tables of our own that are missing.
func (db *DB) Migrate(ctx context.Context) error {
	err := db.Write(ctx, func(tx *Tx) (err error) {
		unlock, err := lockSchema(tx)
		if err != nil {
			return fmt.Errorf("waiting for other servers: %w", err)
		}
		defer func() { err = errors.Join(err, unlock()) }()
		tables, err := Strings(tx.Query(db.dialect.Tables()))
		if err != nil {
			return fmt.Errorf("listing tables: %w", err)
		}
		switch {
		case slices.Contains(tables, "alembic_version"):
			err = checkHeads(tx)
		case slices.ContainsFunc(tables, isUpstreams):
			err = fmt.Errorf("the database has tables but no alembic_version: it is not Neutron's")
		default:
			err = createUpstream(tx)
		}
		if err != nil {
			return err
		}
		return migrateOwn(tx, tables)
	})
	if err != nil {
		return fmt.Errorf("migrating the database: %w", err)
	}
	return nil
}

// lockSchema lets one server at a time change the schema.
func lockSchema(tx *Tx) (unlock func() error, err error) {
	query := func(q string) error {
		if q == "" {
			return nil
		}
		var ignored any
		return tx.QueryRow(q).Scan(&ignored)
	}
	return func() error { return query(tx.Dialect().UnlockSchema()) }, query(tx.Dialect().LockSchema())
}

func isUpstreams(table string) bool { return !strings.HasPrefix(table, "neutrino_") }

func checkHeads(tx *Tx) error {
	found, err := Strings(tx.Query("SELECT version_num FROM alembic_version ORDER BY version_num"))
	if err != nil {
		return fmt.Errorf("reading alembic_version: %w", err)
	}
	if len(found) == 0 { // MySQL cannot take back the tables that a transaction created
		return errors.New("making the tables was interrupted: drop the database and create it empty")
	}
	supported := []string{schema.ContractHead, schema.ExpandHead} // in order
	if !slices.Equal(found, supported) {
		return fmt.Errorf("unknown alembic heads %q: supported are %q (Neutron 2026.2); bring the database there with "+
			"upstream's neutron-db-manage upgrade heads", found, supported)
	}
	return nil
}

func createUpstream(tx *Tx) error {
	if err := create(tx, schema.Upstream()); err != nil {
		return err
	}
	if err := insertDefaultRules(tx); err != nil {
		return err
	}
	// Last, so that it is known whether all the rest was done.
	for _, head := range []string{schema.ContractHead, schema.ExpandHead} {
		if _, err := tx.Exec("INSERT INTO alembic_version (version_num) VALUES (?)", head); err != nil {
			return fmt.Errorf("noting the schema's version: %w", err)
		}
	}
	return nil
}

func create(tx *Tx, tables []schema.Table) error {
	statements, err := schema.Create(tx.Dialect().Name(), tables)
	if err != nil {
		return err
	}
	for _, s := range statements {
		if _, err := tx.Exec(s); err != nil {
			first, _, _ := strings.Cut(s, "\n")
			return fmt.Errorf("%s: %w", first, err)
		}
	}
	return nil
}

// insertDefaultRules adds the templates of the rules in new security groups, as upstream's migration does: members of
// a default group reach each other, and every group lets everything out.
func insertDefaultRules(tx *Tx) error {
	rules := []struct {
		direction, ethertype string
		remoteGroup          any // PARENT is the group that the rule is copied to
		inOtherGroups        bool
	}{
		{"egress", "IPv4", nil, true},
		{"egress", "IPv6", nil, true},
		{"ingress", "IPv4", "PARENT", false},
		{"ingress", "IPv6", "PARENT", false},
	}
	for _, r := range rules {
		attr, err := tx.Insert("INSERT INTO standardattributes (resource_type, description, revision_number) VALUES (?, ?, ?)",
			"securitygroupdefaultrules", "Legacy default SG rule for "+r.direction+" traffic", 0)
		if err != nil {
			return fmt.Errorf("adding a default security group rule: %w", err)
		}
		_, err = tx.Exec(`INSERT INTO securitygroupdefaultrules (id, standard_attr_id, remote_group_id, direction, ethertype,
			used_in_default_sg, used_in_non_default_sg) VALUES (?, ?, ?, ?, ?, ?, ?)`,
			uuid.NewString(), attr, r.remoteGroup, r.direction, r.ethertype, true, r.inOtherGroups)
		if err != nil {
			return fmt.Errorf("adding a default security group rule: %w", err)
		}
	}
	return nil
}

// migrateOwn creates those of our own tables that are not among the existing ones.
func migrateOwn(tx *Tx, existing []string) error {
	missing := slices.DeleteFunc(schema.Own(), func(t schema.Table) bool { return slices.Contains(existing, t.Name) })
	return create(tx, missing)
}
