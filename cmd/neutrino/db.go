package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"neutrino/internal/config"
	"neutrino/internal/logging"
	"neutrino/internal/store"
	"neutrino/internal/store/upkeep"
)

const dbVerbs = "upgrade, check, purge or version"

// database looks after the server's database. The verb may stand before or after the options, as in upstream's
// "neutron-db-manage --config-file FILE upgrade heads".
func database(c *call) error {
	var files, dirs list
	fs := c.flags()
	fs.Var(&files, "config-file", "`FILE` configuration file in oslo.config's format; may be repeated, later ones win")
	fs.Var(&dirs, "config-dir", "`DIR` directory whose *.conf files are read after the configuration files; may be repeated")
	dryRun := fs.Bool("dry-run", false, "with purge: only tell what would be removed")
	verb, rest := splitVerb(c.args)
	c.args = rest
	if err := c.parseFlags(fs); err != nil {
		return err
	}
	run, ok := map[string]func(context.Context, *store.DB) error{
		"upgrade": upgradeDB, "version": versionOfDB, "current": versionOfDB, "check": checkDB,
		"purge": func(ctx context.Context, db *store.DB) error { return purgeDB(ctx, db, *dryRun) },
	}[verb]
	if !ok {
		return fmt.Errorf("what shall be done with the database: %s?", dbVerbs)
	}
	f, err := config.Load(files, dirs)
	if err != nil {
		return err
	}
	ctx := context.Background()
	db, err := store.Open(ctx, config.DatabaseConnection.Get(f), logging.New(os.Stderr, logging.Config{Program: c.program}))
	if err != nil {
		return err
	}
	return errors.Join(run(ctx, db), db.Close())
}

// splitVerb takes the verb out of the arguments, and the "heads" that upstream wants after upgrade.
func splitVerb(args []string) (verb string, rest []string) {
	i := slices.IndexFunc(args, func(a string) bool {
		return slices.Contains([]string{"upgrade", "check", "purge", "version", "current"}, a)
	})
	if i < 0 {
		return "", args
	}
	rest = append(slices.Clone(args[:i]), args[i+1:]...)
	if args[i] == "upgrade" && i+1 < len(args) && strings.HasPrefix(args[i+1], "head") {
		rest = slices.Delete(rest, i, i+1)
	}
	return args[i], rest
}

func upgradeDB(ctx context.Context, db *store.DB) error {
	if err := db.Migrate(ctx); err != nil {
		return err
	}
	return versionOfDB(ctx, db)
}

func versionOfDB(ctx context.Context, db *store.DB) error {
	found, supported, err := upkeep.Version(ctx, db)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		found = []string{"none: the database is empty"}
	}
	fmt.Printf("alembic heads: %s\nsupported: %s (Neutron 2026.2)\n", strings.Join(found, " "), strings.Join(supported, " "))
	return nil
}

func checkDB(ctx context.Context, db *store.DB) error {
	findings, err := upkeep.Check(ctx, db)
	if err != nil {
		return err
	}
	for _, f := range findings {
		remark := "purge removes it"
		if f.Kept {
			remark = "purge does not touch it"
		}
		fmt.Printf("%v (%s)\n", f, remark)
	}
	if len(findings) > 0 {
		return fmt.Errorf("%d kinds of faults were found", len(findings))
	}
	fmt.Println("no faults")
	return nil
}

func purgeDB(ctx context.Context, db *store.DB, dryRun bool) error {
	purge := upkeep.Purge
	if dryRun {
		purge = upkeep.Check
	}
	findings, err := purge(ctx, db)
	if err != nil {
		return err
	}
	for _, f := range findings {
		if !f.Kept {
			fmt.Println(f)
		}
	}
	return nil
}
