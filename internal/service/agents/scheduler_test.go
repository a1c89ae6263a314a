package agents

import (
	"fmt"
	"slices"
	"testing"

	"neutrino/internal/model"
	"neutrino/internal/store"

	"github.com/google/go-cmp/cmp"
)

func TestChoose(t *testing.T) {
	agent := func(id, zone string) *model.Agent { return &model.Agent{ID: id, AvailabilityZone: &zone} }
	all := []*model.Agent{agent("a1", "az1"), agent("a2", "az1"), agent("b1", "az2"), agent("b2", "az2"), agent("c1", "az3")}
	load := map[string]int{"a1": 1, "a2": 2, "b1": 7, "b2": 8, "c1": 9}
	for _, c := range []struct {
		name  string
		s     Scheduler
		zones map[string]int // that serve the network already
		n     int
		want  []string
	}{
		{"none is wanted", Weight, nil, 0, nil},
		{"the least loaded", Weight, nil, 1, []string{"a1"}},
		{"the two least loaded", Weight, nil, 2, []string{"a1", "a2"}},
		{"more than there are", Weight, nil, 9, []string{"a1", "a2", "b1", "b2", "c1"}},
		{"one by zones is the least loaded", AZAwareWeight, nil, 1, []string{"a1"}},
		{"one of each zone", AZAwareWeight, nil, 3, []string{"a1", "b1", "c1"}},
		{"then again by load", AZAwareWeight, nil, 4, []string{"a1", "b1", "c1", "a2"}},
		{"not where one is already", AZAwareWeight, map[string]int{"az1": 1}, 1, []string{"b1"}},
		{"the emptiest zone", AZAwareWeight, map[string]int{"az1": 1, "az2": 1}, 2, []string{"c1", "a1"}},
		{"a zone is used up", AZAwareWeight, map[string]int{"az1": 1, "az2": 1}, 5, []string{"c1", "a1", "b1", "a2", "b2"}},
	} {
		var got []string
		for _, a := range c.s.choose(all, load, c.zones, c.n) {
			got = append(got, a.ID)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", c.name, diff)
		}
	}
	seen := map[string]bool{}
	for range 200 {
		for _, a := range Chance.choose(all, load, nil, 1) {
			seen[a.ID] = true
		}
	}
	if len(seen) != len(all) {
		t.Errorf("by chance only %v", seen)
	}
}

// TestLoad: what counts as load is the configuration's matter.
func TestLoad(t *testing.T) {
	for kind, want := range map[string]string{"networks": "h2", "subnets": "h1", "ports": "h1"} {
		t.Run(kind, func(t *testing.T) {
			cfg := defaults()
			cfg.DHCPLoadType = kind
			e := setUp(t, cfg)
			e.dhcp("h1", "")
			e.dhcp("h2", "")
			serve := func(network, host string) {
				e.network(network, "", true)
				e.exec("INSERT INTO networkdhcpagentbindings (network_id, dhcp_agent_id, binding_index) SELECT '"+network+"', id, 1 FROM agents WHERE host = ?", host)
			}
			serve("x1", "h1") // h1: two networks with a subnet each
			serve("x2", "h1")
			serve("y", "h2") // h2: one network, with three subnets and two ports
			for i := range 2 {
				e.write(func(tx *store.Tx) error {
					row, err := tx.Insert("INSERT INTO standardattributes (resource_type, revision_number) VALUES ('subnets', 1)")
					if err == nil {
						_, err = tx.Exec("INSERT INTO subnets (id, project_id, name, network_id, ip_version, cidr, enable_dhcp, standard_attr_id) VALUES (?, 'p', '', 'y', 4, ?, ?, ?)",
							fmt.Sprint("more", i), fmt.Sprintf("10.1.%d.0/24", i), true, row)
					}
					return err
				})
				e.dhcpPort("y", fmt.Sprint("p", i))
			}
			e.network("n", "", true)
			e.schedule("n")
			if got := e.served(); !slices.Contains(got, "n@"+want) {
				t.Errorf("%v, want n@%s", got, want)
			}
		})
	}
}

func TestUnreachableHosts(t *testing.T) {
	e := setUp(t, defaults())
	e.dhcp("h1", "")
	e.dhcp("h2", "")
	e.far = []string{"h1"}
	for i := range 4 {
		e.network(fmt.Sprint("n", i), "", true)
		e.schedule(fmt.Sprint("n", i))
	}
	e.far = []string{"h1", "h2"}
	e.network("nowhere", "", true)
	e.schedule("nowhere")
	if diff := cmp.Diff([]string{"n0@h2", "n1@h2", "n2@h2", "n3@h2"}, e.served()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestDisabledAgents: agents that are switched off get nothing by themselves, and lose what they serve only without the
// option.
func TestDisabledAgents(t *testing.T) {
	for _, serve := range []bool{false, true} {
		cfg := defaults()
		cfg.ServeDisabled = serve
		e := setUp(t, cfg)
		id := e.dhcp("h1", "")
		e.network("n", "", true)
		e.schedule("n")
		e.exec("UPDATE agents SET admin_state_up = ?", false)
		e.network("later", "", true)
		e.schedule("later")
		e.network("by hand", "", true)
		added := e.db.Write(t.Context(), func(tx *store.Tx) error { return e.AddNetwork(tx, id, "by hand") }) == nil
		e.write(func(tx *store.Tx) error {
			networks, err := e.NetworksOn(tx, "h1")
			slices.Sort(networks)
			var want []string
			if serve {
				want = []string{"by hand", "n"}
			}
			if diff := cmp.Diff(want, networks); diff != "" || added != serve {
				t.Errorf("option %v, added by hand %v: -want +got:\n%s", serve, added, diff)
			}
			hosts, err2 := e.DHCPHosts(tx, "n")
			if len(hosts["n"]) > 0 != serve {
				t.Errorf("option %v: hosts %v", serve, hosts)
			}
			if err == nil {
				err = err2
			}
			return err
		})
	}
}

// TestRoutedNetworks: each segment gets agents of its own, among those whose hosts reach it.
func TestRoutedNetworks(t *testing.T) {
	e := setUp(t, defaults())
	for _, host := range []string{"rack1", "rack2", "rack3"} {
		e.dhcp(host, "")
	}
	e.network("n", "", true)
	e.exec("DELETE FROM subnets")
	for i := 1; i <= 2; i++ {
		segment := fmt.Sprint("seg", i)
		e.write(func(tx *store.Tx) error {
			row, err := tx.Insert("INSERT INTO standardattributes (resource_type, revision_number) VALUES ('networksegments', 1)")
			if err != nil {
				return err
			}
			if _, err = tx.Exec("INSERT INTO networksegments (id, network_id, network_type, physical_network, segmentation_id, is_dynamic, segment_index, standard_attr_id) "+
				"VALUES (?, 'n', 'vlan', ?, 5, ?, ?, ?)", segment, fmt.Sprint("phys", i), false, i, row); err != nil {
				return err
			}
			if row, err = tx.Insert("INSERT INTO standardattributes (resource_type, revision_number) VALUES ('subnets', 1)"); err != nil {
				return err
			}
			_, err = tx.Exec("INSERT INTO subnets (id, project_id, name, network_id, ip_version, cidr, enable_dhcp, segment_id, standard_attr_id) VALUES (?, 'p', '', 'n', 4, ?, ?, ?, ?)",
				"s"+segment, fmt.Sprintf("10.2.%d.0/24", i), true, segment, row)
			return err
		})
		e.exec("INSERT INTO segmenthostmappings (segment_id, host) VALUES (?, ?)", segment, fmt.Sprint("rack", i))
	}
	ask := func(host string) {
		e.write(func(tx *store.Tx) error { return e.AutoSchedule(tx, host) })
	}
	check := func(what string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, e.served()); diff != "" {
			t.Errorf("%s: -want +got:\n%s", what, diff)
		}
	}
	ask("rack3")
	check("a host that reaches no segment asks")
	ask("rack1")
	check("one that does asks", "n@rack1")
	arrive := func(segments ...string) {
		e.write(func(tx *store.Tx) error { return e.ScheduleSegments(tx, segments) })
	}
	arrive("seg1", "other")
	check("the segment has its agent", "n@rack1")
	arrive("seg1", "seg2")
	check("the other segment gets one too", "n@rack1", "n@rack2")
}
