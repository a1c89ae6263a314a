package quota

import (
	"errors"
	"fmt"
	"testing"

	"neutrino/internal/fault"
	"neutrino/internal/store"
	"neutrino/internal/store/dbtest"

	"github.com/google/go-cmp/cmp"
)

// within runs f in a transaction and describes its error.
func within(t *testing.T, db *store.DB, f func(tx *store.Tx) error) string {
	t.Helper()
	err := db.Write(t.Context(), f)
	if err == nil {
		return ""
	}
	if x, ok := errors.AsType[*fault.Error](err); ok {
		return fmt.Sprintf("%d %s: %s", x.Status, x.Type, x.Message)
	}
	return "500 " + err.Error()
}

// networks adds networks to a project.
func networks(t *testing.T, db *store.DB, project string, count int) {
	t.Helper()
	err := within(t, db, func(tx *store.Tx) error {
		for i := range count {
			row, err := tx.Insert("INSERT INTO standardattributes (resource_type, revision_number) VALUES ('networks', 1)")
			if err != nil {
				return err
			}
			if _, err := tx.Exec("INSERT INTO networks (id, project_id, name, status, admin_state_up, mtu, standard_attr_id) VALUES (?, ?, '', 'ACTIVE', ?, 1500, ?)",
				fmt.Sprint(project, row, i), project, true, row); err != nil {
				return err
			}
		}
		return nil
	})
	if err != "" {
		t.Fatal(err)
	}
}

// MariaDB does not tell projects apart whose ids differ in letter case: what holds for one when it creates holds when it reads.
func TestLetterCaseOfProjects(t *testing.T) {
	db := dbtest.Open(t)
	q := New(map[string]int{"network": 3, "subnet": 5})
	want, refused := map[string]int{"network": 3, "subnet": 5}, ""
	problem := within(t, db, func(tx *store.Tx) error {
		if tx.Dialect().Name() == "mysql" {
			want, refused = map[string]int{"network": 0, "subnet": 8}, "409 OverQuota: Quota exceeded for resources: ['network']."
		}
		return errors.Join(q.Set(tx, "p", map[string]int{"network": 0}, true), q.Set(tx, "P", map[string]int{"subnet": want["subnet"]}, true))
	})
	if problem != "" {
		t.Fatal(problem)
	}
	if got := within(t, db, func(tx *store.Tx) error { return q.Check(tx, nil, "network", "P", 1) }); got != refused {
		t.Errorf("check: %q, want %q", got, refused)
	}
	problem = within(t, db, func(tx *store.Tx) error {
		limits, err := q.Limits(tx, "P")
		for name, limit := range want {
			if limits[name] != limit {
				t.Errorf("limit of %s: %d, want %d", name, limits[name], limit)
			}
		}
		return err
	})
	if problem != "" {
		t.Fatal(problem)
	}
}

func TestCheck(t *testing.T) {
	db := dbtest.Open(t)
	q := New(map[string]int{"network": 3, "subnet": -7, "nonsense": 1})
	networks(t, db, "p", 2)
	const over = "409 OverQuota: Quota exceeded for resources: ['network']."
	for _, tt := range []struct {
		name, project, kind string
		count               int
		own                 map[string]int // limits of the project
		want                string
	}{
		{"up to the limit", "p", "network", 1, nil, ""},
		{"one more", "p", "network", 2, nil, over},
		{"nothing", "p", "network", 0, map[string]int{"network": 0}, ""},
		{"another project", "other", "network", 3, nil, ""},
		{"no project", "", "network", 9, nil, ""},
		{"own limit", "p", "network", 2, map[string]int{"network": 4}, ""},
		{"no limit", "p", "network", 1000, map[string]int{"network": -1}, ""},
		{"less than there is", "p", "network", 1, map[string]int{"network": 1}, over},
		{"configured as unlimited", "p", "subnet", 1000, nil, ""},
		{"no such kind", "p", "nonsense", 1000, nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := within(t, db, func(tx *store.Tx) error {
				if tt.own != nil {
					if err := q.Set(tx, tt.project, tt.own, true); err != nil {
						return err
					}
				}
				err := q.Check(tx, nil, tt.kind, tt.project, tt.count)
				if tt.own != nil {
					err = errors.Join(err, q.Reset(tx, tt.project))
				}
				return err
			})
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	db := dbtest.Open(t)
	q := New(nil)
	networks(t, db, "p", 2)
	const low = "400 HTTPBadRequest: Quota limit 1 for network must be greater than or equal to already used 2"
	set := func(limits map[string]int, force bool) string {
		t.Helper()
		return within(t, db, func(tx *store.Tx) error { return q.Set(tx, "p", limits, force) })
	}
	if got := set(map[string]int{"network": 1}, false); got != low {
		t.Errorf("got %q", got)
	}
	for _, limits := range []map[string]int{{"network": 2}, {"network": -1, "port": 7}} {
		if got := set(limits, false); got != "" {
			t.Error(got)
		}
	}
	if got := set(map[string]int{"network": 1}, true); got != "" {
		t.Error(got)
	}
	want := q.Defaults()
	want["network"], want["port"] = 1, 7
	if got := within(t, db, func(tx *store.Tx) error {
		// A limit that another version of the server stored is none of ours.
		if _, err := tx.Exec("INSERT INTO quotas (id, project_id, resource, " + tx.Dialect().Quote("limit") + ") VALUES ('1', 'p', 'trunk', 5)"); err != nil {
			return err
		}
		limits, err := q.Limits(tx, "p")
		if diff := cmp.Diff(want, limits); diff != "" {
			t.Errorf("limits (-want +got):\n%s", diff)
		}
		all, err2 := q.All(tx)
		if diff := cmp.Diff(map[string]map[string]int{"p": want}, all); diff != "" {
			t.Errorf("all limits (-want +got):\n%s", diff)
		}
		return errors.Join(err, err2)
	}); got != "" {
		t.Error(got)
	}
	reset := func() string { return within(t, db, func(tx *store.Tx) error { return q.Reset(tx, "p") }) }
	if got := reset(); got != "" {
		t.Error(got)
	}
	if got := reset(); got != "404 TenantQuotaNotFound: Quota for project p could not be found." {
		t.Errorf("got %q", got)
	}
}

// TestKindsCount: the tables and columns of all kinds exist.
func TestKindsCount(t *testing.T) {
	db := dbtest.Open(t)
	q := New(nil)
	for _, name := range q.Names() {
		if got := within(t, db, func(tx *store.Tx) error { _, err := q.Used(tx, name, "p"); return err }); got != "" {
			t.Errorf("%s: %s", name, got)
		}
	}
}
