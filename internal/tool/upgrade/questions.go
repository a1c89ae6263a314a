package upgrade

import (
	"encoding/json"
	"regexp"
	"strings"

	"neutrino/internal/store"
	"neutrino/internal/store/upkeep"
)

// question is about rows of the database that cause trouble.
type question struct {
	check       string // upstream's title
	code        Code   // if there are any
	fine, wrong string // wrong has a place for the rows
	find        func(tx *store.Tx) ([]string, error)
}

var (
	sanitizedMAC = regexp.MustCompile(`^([0-9a-f]{2}:){5}[0-9a-f]{2}$`)
	uuidLike     = regexp.MustCompile(`(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$`)
)

var questions = []question{
	{"NIC Switch agent check kernel", Warning, "No NIC Switch agents detected.",
		"NIC Switch agents detected on hosts %s, please ensure the hosts run with a kernel version 3.13 or newer.",
		query("SELECT host FROM agents WHERE agent_type = 'NIC Switch agent' ORDER BY host")},
	{"VLAN allocations valid segmentation ID check", Warning, "All 'ml2_vlan_allocations' registers have a valid segmentation ID.",
		"Rows in 'ml2_vlan_allocations' have a 'vlan_id' that is not between 1 and 4094: %s",
		query("SELECT vlan_id FROM ml2_vlan_allocations WHERE vlan_id < 1 OR vlan_id > 4094 ORDER BY vlan_id")},
	{"Port MAC address sanity check", Warning, "All port MAC addresses are correctly formatted in the database.",
		"There are port MAC addresses not correctly formatted in the database: %s",
		keep("SELECT DISTINCT mac_address FROM ports", func(mac string) bool { return !sanitizedMAC.MatchString(mac) })},
	{"NetworkSegments unique constraint check", Warning, "No networksegments sharing the same network_id, network_type and physical_network found.",
		"Networks have several networksegments with the same combination of network_type and physical_network: %s",
		query("SELECT network_id FROM networksegments WHERE physical_network IS NOT NULL GROUP BY network_id, network_type, physical_network, segment_index " +
			"HAVING COUNT(*) > 1 ORDER BY network_id")},
	{"Port Binding profile sanity check", Failure, "All ml2_port_bindings.profile rows are correctly formatted in the database.",
		"ml2_port_bindings.profile rows have an allocation that is not a map: %s. Run upstream's neutron-sanitize-port-binding-profile-allocation.",
		keep("SELECT profile FROM ml2_port_bindings WHERE profile LIKE '%allocation%'", oldAllocation)},
	{"Floating IP inherits the QoS policy from the external network", Warning,
		"There are no external networks with QoS policies associated and floating IPs without.",
		"External networks have a QoS policy and floating IPs without one, which inherit it: %s",
		query("SELECT DISTINCT e.network_id FROM externalnetworks e JOIN qos_network_policy_bindings q ON q.network_id = e.network_id " +
			"JOIN floatingips f ON f.floating_network_id = e.network_id WHERE NOT EXISTS (SELECT 1 FROM qos_fip_policy_bindings b WHERE b.fip_id = f.id)")},
	{"Port extra DHCP options check", Warning, "There are no extra_dhcp_opts with the newline character in DB.",
		"Ports have extra DHCP options with the newline character inside: %s",
		query("SELECT DISTINCT port_id FROM extradhcpopts WHERE opt_name LIKE '%\n%' OR opt_value LIKE '%\n%' ORDER BY port_id")},
	{"Duplicated HA network per project check", Warning, "There are no duplicated HA networks in the system.",
		"Projects have duplicated HA networks: %s",
		query("SELECT project_id FROM ha_router_networks GROUP BY project_id HAVING COUNT(*) > 1 ORDER BY project_id")},
	{"Existing tags exceeds limit per resource", Warning, "Number of tags for each resource is below the limit of 50.",
		"Resources have more than 50 tags and get no new ones until some are removed: standard attributes %s",
		query("SELECT standard_attr_id FROM tags GROUP BY standard_attr_id HAVING COUNT(*) > 50 ORDER BY standard_attr_id")},
	{"RBAC policies with invalid target_project", Warning, "All RBAC policies have a valid target_project value.",
		"RBAC policies have a target_project that is not a UUID, and so no effect: %s", invalidTargets},
	{"Database rows", Warning, "No rows belong to nothing.", "There are rows that belong to nothing, see neutrino db check: %s", strays},
}

func query(sql string) func(*store.Tx) ([]string, error) {
	return func(tx *store.Tx) ([]string, error) { return store.Strings(tx.Query(sql)) }
}

// keep are the rows of a query for which bad holds.
func keep(sql string, bad func(string) bool) func(*store.Tx) ([]string, error) {
	return func(tx *store.Tx) (out []string, err error) {
		all, err := store.Strings(tx.Query(sql))
		for _, s := range all {
			if bad(s) {
				out = append(out, s)
			}
		}
		return out, err
	}
}

// oldAllocation tells whether a binding profile has an allocation in the form of before Xena.
func oldAllocation(profile string) bool {
	var p struct {
		Allocation json.RawMessage `json:"allocation"`
	}
	if json.Unmarshal([]byte(profile), &p) != nil {
		return false
	}
	var isMap map[string]any
	var isEmpty any
	text := strings.TrimSpace(string(p.Allocation))
	if text == "" || json.Unmarshal(p.Allocation, &isMap) == nil {
		return false
	}
	return json.Unmarshal(p.Allocation, &isEmpty) == nil && isEmpty != nil && isEmpty != "" && isEmpty != false
}

func invalidTargets(tx *store.Tx) (out []string, err error) {
	for _, table := range []string{"networkrbacs", "qospolicyrbacs", "securitygrouprbacs", "addressgrouprbacs", "addressscoperbacs", "subnetpoolrbacs"} {
		rows, err := tx.Query("SELECT id, target_project FROM " + table + " WHERE target_project <> '*' ORDER BY id")
		if _, err := store.All(rows, err, func(rows *store.Rows) (struct{}, error) {
			var id, target string
			err := rows.Scan(&id, &target)
			if !uuidLike.MatchString(target) {
				out = append(out, table+" "+id+" ("+target+")")
			}
			return struct{}{}, err
		}); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func strays(tx *store.Tx) (out []string, err error) {
	findings, err := upkeep.CheckIn(tx)
	for _, f := range findings {
		out = append(out, f.String())
	}
	return out, err
}
