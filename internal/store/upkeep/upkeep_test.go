package upkeep

import (
	"log/slog"
	"strings"
	"testing"

	"neutrino/internal/store"
	"neutrino/internal/store/dbtest"

	"github.com/google/go-cmp/cmp"
)

func open(t *testing.T) *store.DB {
	t.Helper()
	db := dbtest.Open(t)
	return db
}

func described(t *testing.T, list []Finding, err error) []string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	out := []string{}
	for _, f := range list {
		line := f.String()
		if f.Kept {
			line += ", kept"
		}
		out = append(out, line)
	}
	return out
}

// leftovers are rows that belong to nothing, of a network n with a subnet s and a port p that are in order.
var leftovers = []string{
	"INSERT INTO standardattributes (id, resource_type, revision_number) VALUES (101, 'networks', 0), (102, 'subnets', 0), (103, 'ports', 0), (104, 'routers', 0)",
	"INSERT INTO networks (id, standard_attr_id) VALUES ('n', 101)",
	"INSERT INTO subnets (id, network_id, standard_attr_id, ip_version, cidr) VALUES ('s', 'n', 102, 4, '10.0.0.0/24')",
	"INSERT INTO ports (id, network_id, standard_attr_id, mac_address, admin_state_up, status, device_id, device_owner) VALUES ('p', 'n', 103, 'm', true, 'DOWN', '', '')",
	"INSERT INTO ml2_port_bindings (port_id, host, vif_type, vnic_type, profile, vif_details, status) VALUES ('p', '', 'unbound', 'normal', '', '', 'ACTIVE')",
	"INSERT INTO ipamsubnets (id, neutron_subnet_id) VALUES ('s', 's'), ('gone', 'gone')",
	"INSERT INTO ipamallocations (ip_address, status, ipam_subnet_id) VALUES ('10.0.0.2', 'ALLOCATED', 's'), ('10.0.0.3', 'ALLOCATED', 's'), ('10.0.0.2', 'ALLOCATED', 'gone')",
	"INSERT INTO ipallocations (port_id, ip_address, subnet_id, network_id) VALUES ('p', '10.0.0.2', 's', 'n'), (NULL, '10.0.0.9', 's', 'n')",
	"INSERT INTO networksegments (id, network_id, network_type, segmentation_id, is_dynamic, segment_index, standard_attr_id) VALUES ('g', 'n', 'vxlan', 7, false, 0, 105)",
	"INSERT INTO ml2_vxlan_allocations (vxlan_vni, allocated) VALUES (7, true), (8, true), (9, false)",
	"INSERT INTO reservations (id, project_id, expiration) VALUES ('old', 'p', '2020-01-01 00:00:00'), ('new', 'p', '2099-01-01 00:00:00')",
	"INSERT INTO ports (id, network_id, standard_attr_id, mac_address, admin_state_up, status, device_id, device_owner) VALUES ('q', 'n', 106, 'n', true, 'DOWN', 'r', 'network:router_gateway')",
}

func TestCheckAndPurge(t *testing.T) {
	db := open(t)
	if got, err := Check(t.Context(), db); err != nil || len(got) > 0 {
		t.Fatalf("faults of an empty database: %v, %v", got, err)
	}
	err := db.Write(t.Context(), func(tx *store.Tx) error {
		if _, err := tx.Exec("INSERT INTO standardattributes (id, resource_type, revision_number) VALUES (105, 'networksegments', 0), (106, 'ports', 0)"); err != nil {
			return err
		}
		for _, q := range leftovers {
			if _, err := tx.Exec(q); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	purged := []string{
		"standardattributes: 1 × standard attributes of no object",
		"ipamsubnets: 1 × subnet of address management that does not exist",
		"ipamallocations: 2 × address that no port has",
		"ipallocations: 1 × address without port",
		"ml2_vxlan_allocations: 1 × segmentation id that no network has",
		"reservations: 1 × expired reservation of quota",
	}
	kept := []string{
		"ports: 1 × port without binding, kept",
		"ports: 1 × port of a router that does not exist, kept",
	}
	unknown := "ipallocations: 1 × address of a port that address management does not know, kept" // the one without port
	checked, err := Check(t.Context(), db)
	got := described(t, checked, err)
	want := append(append(append([]string{}, purged[:4]...), unknown), append(purged[4:], kept...)...)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("check (-want +got):\n%s", diff)
	}
	removed, err := Purge(t.Context(), db)
	// With the subnet goes its address.
	want = strings.Split(strings.Replace(strings.Join(purged, "\n"), "2 × address that", "1 × address that", 1), "\n")
	if diff := cmp.Diff(want, described(t, removed, err)); diff != "" {
		t.Errorf("purge (-want +got):\n%s", diff)
	}
	left, err := Check(t.Context(), db)
	if diff := cmp.Diff(kept, described(t, left, err)); diff != "" {
		t.Errorf("check after purge (-want +got):\n%s", diff)
	}
}

// TestOrphans: SQLite checks no foreign keys for upstream, whose databases may have such rows.
func TestOrphans(t *testing.T) {
	if !dbtest.SQLite() {
		t.Skip("servers check foreign keys")
	}
	db := open(t)
	if err := db.Outside(t.Context(), "PRAGMA foreign_keys = 0"); err != nil {
		t.Fatal(err)
	}
	if err := db.Outside(t.Context(), "INSERT INTO tags (standard_attr_id, tag) VALUES (999, 'x')"); err != nil {
		t.Fatal(err)
	}
	got, err := Check(t.Context(), db)
	want := []string{"tags: 1 × refers to a row of standardattributes that does not exist"}
	if diff := cmp.Diff(want, described(t, got, err)); diff != "" {
		t.Error(diff)
	}
	if got, err := Purge(t.Context(), db); err != nil || len(got) != 1 {
		t.Errorf("purge: %v, %v", got, err)
	}
}

func TestMissingTable(t *testing.T) {
	db, err := store.Open(t.Context(), dbtest.Empty(t), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if found, supported, err := Version(t.Context(), db); err != nil || len(found) != 0 || len(supported) != 2 {
		t.Errorf("version of an empty database: %q, %q, %v", found, supported, err)
	}
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if found, supported, err := Version(t.Context(), db); err != nil || !cmp.Equal(found, supported) {
		t.Errorf("version: %q, %q, %v", found, supported, err)
	}
	if err := db.Outside(t.Context(), "DROP TABLE neutrino_lease"); err != nil {
		t.Fatal(err)
	}
	got, err := Check(t.Context(), db)
	if diff := cmp.Diff([]string{"neutrino_lease: 1 × table is missing, kept"}, described(t, got, err)); diff != "" {
		t.Error(diff)
	}
	if _, err := Purge(t.Context(), db); err == nil {
		t.Error("a database that lacks tables was purged")
	}
}
