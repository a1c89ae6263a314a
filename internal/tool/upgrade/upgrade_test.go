package upgrade

import (
	"fmt"
	"strings"
	"testing"

	"neutrino/internal/store"
	"neutrino/internal/store/dbtest"

	"github.com/google/go-cmp/cmp"
)

// TestTable: the form is that of oslo.upgradecheck with prettytable.
func TestTable(t *testing.T) {
	results := []Result{
		{"Cells", Success, "Fine."},
		{"Placement API", Failure, "There is no placement-api endpoint in the service catalog. It has to be made before the upgrade, with openstack-endpoint-create-and-a-very-long-word-that-does-not-fit-into-one-line" +
			", thiswordislongerthanalineandhasnohyphensatallsoitmustbecutsomewhereinthemiddle."},
	}
	var b strings.Builder
	if err := Print(&b, results); err != nil {
		t.Fatal(err)
	}
	want := `+---------------------------------------------------------------------+
| Upgrade Check Results                                               |
+---------------------------------------------------------------------+
| Check: Cells                                                        |
| Result: Success                                                     |
| Details: Fine.                                                      |
+---------------------------------------------------------------------+
| Check: Placement API                                                |
| Result: Failure                                                     |
| Details: There is no placement-api endpoint in the service catalog. |
|   It has to be made before the upgrade, with openstack-             |
|   endpoint-create-and-a-very-long-word-that-does-not-fit-           |
|   into-one-line, thiswordislongerthanalineandhasnohyphensata        |
|   llsoitmustbecutsomewhereinthemiddle.                              |
+---------------------------------------------------------------------+
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
	b.Reset()
	if err := PrintJSON(&b, results[:1]); err != nil {
		t.Fatal(err)
	}
	if want := `{"name":"Upgrade Check Results","checks":[{"check":"Cells","result":0,"details":"Fine."}]}` + "\n"; b.String() != want {
		t.Error(b.String())
	}
	if got := Worst(results); got != Failure {
		t.Errorf("worst %v", got)
	}
}

// TestQuestions: each kind of bad row is found, and nothing in a database without.
func TestQuestions(t *testing.T) {
	db := dbtest.Open(t)
	fine := Config{HeadsKnown: true}
	check := func() map[string]Code {
		t.Helper()
		results, err := Run(t.Context(), db, fine)
		if err != nil {
			t.Fatal(err)
		}
		bad := map[string]Code{}
		for _, r := range results {
			if r.Code != Success {
				bad[r.Check] = r.Code
				t.Log(r.Details)
			}
		}
		return bad
	}
	if bad := check(); len(bad) > 0 {
		t.Errorf("in an empty database: %v", bad)
	}
	err := db.Write(t.Context(), func(tx *store.Tx) error {
		std := func(kind string) int64 {
			id, err := tx.Insert("INSERT INTO standardattributes (resource_type, revision_number) VALUES (?, 1)", kind)
			if err != nil {
				t.Fatal(err)
			}
			return id
		}
		port := std("ports")
		for _, x := range []struct {
			sql  string
			args []any
		}{
			{"INSERT INTO networks (id, project_id, name, status, admin_state_up, mtu, standard_attr_id) VALUES ('n', 'p', '', 'ACTIVE', ?, 1500, ?)", []any{true, std("networks")}},
			{"INSERT INTO ports (id, network_id, name, mac_address, admin_state_up, status, device_id, device_owner, standard_attr_id) " +
				"VALUES ('po', 'n', '', 'FA:16:3e:00:00:01', ?, 'ACTIVE', '', '', ?)", []any{true, port}},
			{"INSERT INTO ml2_port_bindings (port_id, host, vif_type, vnic_type, profile, vif_details, status) VALUES ('po', 'h', 'ovs', 'normal', '{\"allocation\": \"x\"}', '', 'ACTIVE')", nil},
			{"INSERT INTO extradhcpopts (id, port_id, opt_name, opt_value, ip_version) VALUES ('e', 'po', 'a', ?, 4)", []any{"b\nc"}},
			{"INSERT INTO networkrbacs (id, project_id, target_project, action, object_id) VALUES ('r', 'p', 'demo', 'access_as_shared', 'n')", nil},
		} {
			if _, err := tx.Exec(x.sql, x.args...); err != nil {
				return err
			}
		}
		for n := range 51 {
			if _, err := tx.Exec("INSERT INTO tags (standard_attr_id, tag) VALUES (?, ?)", port, fmt.Sprint(n)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]Code{"Port MAC address sanity check": Warning,
		"Port Binding profile sanity check": Failure, "Port extra DHCP options check": Warning, "Existing tags exceeds limit per resource": Warning,
		"RBAC policies with invalid target_project": Warning}
	if diff := cmp.Diff(want, check()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestConfiguration(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  Config
		want map[string]Code
	}{
		{"foreign schema", Config{}, map[string]Code{"Database schema": Failure}},
		{"no database", Config{NoDatabase: true}, map[string]Code{"Database schema": Warning}},
		{"plug-ins", Config{HeadsKnown: true, Missing: []string{"service_plugins: x"}}, map[string]Code{"Plug-ins and drivers": Warning}},
		{"options", Config{HeadsKnown: true, Warnings: []string{"x"}}, map[string]Code{"Options known": Warning}},
		{"policy", Config{HeadsKnown: true, JSONPolicy: true}, map[string]Code{"Policy File JSON to YAML Migration": Failure}},
	} {
		results, err := Run(t.Context(), nil, c.cfg)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]Code{}
		for _, r := range results[:4] { // the others say that there is no database
			if r.Code != Success {
				got[r.Check] = r.Code
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}
