package ml2

import (
	"fmt"
	"slices"
	"testing"

	"neutrino/internal/model"
	"neutrino/internal/store"
	"neutrino/internal/store/dbtest"

	"github.com/google/go-cmp/cmp"
)

// TestHostsWithAccess: hosts whose agents do not reach a network are no place for its DHCP.
func TestHostsWithAccess(t *testing.T) {
	db := dbtest.Open(t)
	err := db.Write(t.Context(), func(tx *store.Tx) error {
		now := store.Now()
		for i, a := range []struct{ host, kind, conf string }{
			{"vlans", "Open vSwitch agent", `{"bridge_mappings": {"phys": "br-p"}}`},
			{"tunnels", "Open vSwitch agent", `{"tunnel_types": ["vxlan"]}`},
			{"bridges", "Linux bridge agent", `{"interface_mappings": {"phys": "eth1"}}`},
		} {
			if _, err := tx.Exec("INSERT INTO agents (id, agent_type, "+tx.Dialect().Quote("binary")+", topic, host, admin_state_up, created_at, started_at, heartbeat_timestamp, "+
				"configurations, "+tx.Dialect().Quote("load")+") VALUES (?, ?, 'b', 't', ?, ?, ?, ?, ?, ?, 0)", fmt.Sprint(i), a.kind, a.host, true, now, now, now, a.conf); err != nil {
				return err
			}
		}
		for i, n := range []struct{ id, kind, physnet string }{{"v", "vlan", "phys"}, {"t", "vxlan", ""}, {"g", "geneve", ""}} {
			row, err := tx.Insert("INSERT INTO standardattributes (resource_type, revision_number) VALUES ('networks', 1)")
			if err != nil {
				return err
			}
			if _, err := tx.Exec("INSERT INTO networks (id, project_id, name, status, admin_state_up, mtu, standard_attr_id) VALUES (?, 'p', '', 'ACTIVE', ?, 1500, ?)", n.id, true, row); err != nil {
				return err
			}
			if row, err = tx.Insert("INSERT INTO standardattributes (resource_type, revision_number) VALUES ('networksegments', 1)"); err != nil {
				return err
			}
			var physnet any
			if n.physnet != "" {
				physnet = n.physnet
			}
			if _, err := tx.Exec("INSERT INTO networksegments (id, network_id, network_type, physical_network, segmentation_id, is_dynamic, segment_index, standard_attr_id) "+
				"VALUES (?, ?, ?, ?, ?, ?, 0, ?)", "s"+n.id, n.id, n.kind, physnet, 100+i, false, row); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	all := []string{"vlans", "tunnels", "bridges", "bare"}
	for _, c := range []struct {
		mechanisms []string
		network    string
		want       []string
	}{
		{[]string{"openvswitch"}, "v", []string{"vlans"}},
		{[]string{"openvswitch"}, "t", []string{"tunnels"}},
		{[]string{"openvswitch"}, "g", nil},
		{[]string{"openvswitch", "linuxbridge"}, "v", []string{"bridges", "vlans"}},
		{[]string{"openvswitch", "l2population"}, "v", []string{"vlans"}}, // l2population connects nothing
		{[]string{"l2population"}, "v", nil},
		{nil, "v", []string{"bare", "bridges", "tunnels", "vlans"}},
	} {
		p := &Plugin{catalog: model.NewCatalog(func(string) bool { return true })}
		for _, m := range builtinMechanisms(Config{}) {
			if slices.Contains(c.mechanisms, m.Name()) {
				p.mechanisms = append(p.mechanisms, m)
			}
		}
		if err := db.Read(t.Context(), func(tx *store.Tx) error {
			got, err := p.HostsWithAccess(tx, c.network, all)
			got = slices.Clone(got)
			slices.Sort(got)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%v, network %s: -want +got:\n%s", c.mechanisms, c.network, diff)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
}
