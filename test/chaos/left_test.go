package chaos

import (
	"database/sql"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	_ "modernc.org/sqlite"

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
		rows, err := rows(filepath.Join(w.Dir, "state-"+h.Name, "neutron.db"))
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
func rows(file string) (all []string, err error) {
	db, err := sql.Open("sqlite", "file:"+file+"?mode=ro&_pragma=busy_timeout(5000)")
	if err != nil {
		return nil, err
	}
	defer db.Close()
	tables, err := column(db, "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
	if err != nil {
		return nil, err
	}
	for _, t := range tables {
		where := ""
		if strings.HasSuffix(t, "_allocations") && strings.HasPrefix(t, "ml2_") {
			where = " WHERE allocated"
		}
		n, err := column(db, fmt.Sprintf("SELECT count(*) FROM %q%s", t, where))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t, err)
		}
		all = append(all, fmt.Sprintf(" table %s has %s rows%s", t, n[0], strings.ToLower(where)))
	}
	return all, nil
}

func column(db *sql.DB, query string) (all []string, err error) {
	found, err := db.Query(query)
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
