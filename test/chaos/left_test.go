package chaos

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"neutrino/internal/store"
	"neutrino/test/lab"
)

// stateOf is all that may be left on a host: what its kernel has, processes, files, and rows of the server's database.
func (w *world) stateOf(h *lab.Host) []string {
	w.t.Helper()
	all := append(h.KernelState(), processes(h)...)
	for _, root := range []string{filepath.Join(w.Dir, "state-"+h.Name), fmt.Sprintf("/proc/%d/root/run", h.Pid())} {
		all = append(all, files(root)...)
	}
	if h == w.Network {
		rows, err := rows(w.t.Context(), cmp.Or(w.Database, "sqlite:///"+filepath.Join(w.Dir, "state-"+h.Name, "neutron.db")))
		if err != nil {
			rows = []string{err.Error()}
		}
		all = append(all, rows...)
	}
	slices.Sort(all)
	return all
}

// processes are the names of the host's. Dead ones whose parent was killed stay in its list: nobody there waits for orphans.
func processes(h *lab.Host) (all []string) {
	stats, _ := filepath.Glob(fmt.Sprintf("/proc/%d/root/proc/[0-9]*/stat", h.Pid()))
	for _, file := range stats {
		text, err := os.ReadFile(file)
		_, rest, found := strings.Cut(string(text), " (")
		name, state, ends := strings.Cut(rest, ") ")
		if err == nil && found && ends && !strings.HasPrefix(state, "Z") {
			all = append(all, " process "+name)
		}
	}
	return all
}

// files are the names below a directory. Sockets of bridges have those of Open vSwitch.
func files(root string) (all []string) {
	_ = filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			all = append(all, " file "+strings.TrimPrefix(path, filepath.Dir(root)))
		}
		return nil
	})
	return all
}

// rows are the numbers of rows of a database's tables, and of segments that are in use.
func rows(ctx context.Context, url string) (all []string, err error) {
	db, err := store.Open(ctx, url, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	defer db.Close()
	err = db.Read(ctx, func(tx *store.Tx) error {
		tables, err := column(tx, tx.Dialect().Tables())
		if err != nil {
			return err
		}
		slices.Sort(tables)
		all = nil
		for _, t := range tables {
			where := ""
			if strings.HasSuffix(t, "_allocations") && strings.HasPrefix(t, "ml2_") {
				where = " WHERE allocated"
			}
			n, err := column(tx, "SELECT count(*) FROM "+t+where)
			if err != nil {
				return fmt.Errorf("%s: %w", t, err)
			}
			all = append(all, fmt.Sprintf(" table %s has %s rows%s", t, n[0], strings.ToLower(where)))
		}
		return nil
	})
	return all, err
}

func column(tx *store.Tx, query string) (all []string, err error) {
	found, err := tx.Query(query)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	for found.Next() {
		var text string
		if err := found.Scan(&text); err != nil {
			return nil, err
		}
		all = append(all, text)
	}
	return all, found.Err()
}
