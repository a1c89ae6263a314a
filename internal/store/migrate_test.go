package store

import (
	"context"
	"database/sql"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMigrate(t *testing.T) {
	onBoth(t, func(t *testing.T, db *DB) {
		ctx := context.Background()
		for range 2 { // the second finds everything done
			if err := db.Migrate(ctx); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		err := db.Read(ctx, func(tx *Tx) error {
			rows, err := tx.Query(`SELECT s.id, s.resource_type, s.description, s.revision_number, r.direction, r.ethertype,
				coalesce(r.remote_group_id, '-'), r.used_in_default_sg, r.used_in_non_default_sg
				FROM securitygroupdefaultrules r JOIN standardattributes s ON s.id = r.standard_attr_id ORDER BY s.id`)
			got, err = All(rows, err, func(r *sql.Rows) (string, error) {
				c := make([]string, 9)
				err := r.Scan(&c[0], &c[1], &c[2], &c[3], &c[4], &c[5], &c[6], &c[7], &c[8])
				return strings.Join(c, "|"), err
			})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		want := []string{ // as found in a database of upstream 2026.2
			"1|securitygroupdefaultrules|Legacy default SG rule for egress traffic|0|egress|IPv4|-|1|1",
			"2|securitygroupdefaultrules|Legacy default SG rule for egress traffic|0|egress|IPv6|-|1|1",
			"3|securitygroupdefaultrules|Legacy default SG rule for ingress traffic|0|ingress|IPv4|PARENT|1|0",
			"4|securitygroupdefaultrules|Legacy default SG rule for ingress traffic|0|ingress|IPv6|PARENT|1|0",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestMigrateRefuses(t *testing.T) {
	tests := []struct{ name, make, want string }{
		{"an unknown head", "UPDATE alembic_version SET version_num = 'ffff' WHERE version_num = 'c7f8d9e0f1a2'", `"5c85685d616d" "c7f8d9e0f1a2"`},
		{"a missing head", "DELETE FROM alembic_version WHERE version_num = 'c7f8d9e0f1a2'", "neutron-db-manage upgrade heads"},
		{"somebody else's database", "DROP TABLE alembic_version", "not Neutron's"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			db := openFile(t, "")
			if err := db.Migrate(context.Background()); err != nil {
				t.Fatal(err)
			}
			mustExec(t, db, test.make)
			err := db.Migrate(context.Background())
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Migrate = %v, expected %q in it", err, test.want)
			}
		})
	}
}
