package upkeep

import (
	"fmt"
	"strings"

	"neutrino/internal/store/schema"
)

// rules are all kinds of rows that should not be there, in an order in which purging one does not make another.
func rules() []rule {
	out := orphans()
	out = append(out, ownerless())
	out = append(out, addresses()...)
	for _, n := range []struct{ kind, table, id, physnet string }{
		{"vxlan", "ml2_vxlan_allocations", "vxlan_vni", ""},
		{"gre", "ml2_gre_allocations", "gre_id", ""},
		{"geneve", "ml2_geneve_allocations", "geneve_vni", ""},
		{"vlan", "ml2_vlan_allocations", "vlan_id", "physical_network"},
	} {
		out = append(out, numbers(n.kind, n.table, n.id, n.physnet))
	}
	return append(out,
		remove("expired reservation of quota", "reservations", "expiration < ?"),
		// Those that are dirty nobody believes: they are there to be locked.
		remove("usage of quota that is none", "quotausages", "in_use = 0 AND reserved = 0 AND NOT dirty"),
		rule{"port without binding", "ports", "NOT EXISTS (SELECT 1 FROM ml2_port_bindings b WHERE b.port_id = ports.id)", ""},
		rule{"port of a router that does not exist", "ports", "device_owner IN ('network:router_interface', 'network:router_gateway') AND " +
			"NOT EXISTS (SELECT 1 FROM routers r WHERE r.id = ports.device_id)", ""},
		rule{"router whose gateway port does not exist", "routers", "gw_port_id IS NOT NULL AND " +
			"NOT EXISTS (SELECT 1 FROM ports p WHERE p.id = routers.gw_port_id)", ""},
	)
}

// orphans are the rows that break a foreign key, possible where the database does not check them. Rows that go with
// the row they refer to are purged.
func orphans() []rule {
	var out []rule
	for _, t := range schema.Upstream() {
		for _, f := range t.Foreign {
			var where, on []string
			for i, c := range f.Columns {
				where = append(where, fmt.Sprintf("%s.%s IS NOT NULL", t.Name, c))
				on = append(on, fmt.Sprintf("p.%s = %s.%s", f.Referred[i], t.Name, c))
			}
			r := rule{"refers to a row of " + f.Table + " that does not exist", t.Name, fmt.Sprintf("%s AND NOT EXISTS (SELECT 1 FROM %s p WHERE %s)",
				strings.Join(where, " AND "), f.Table, strings.Join(on, " AND ")), ""}
			if f.OnDelete == schema.Cascade && f.Table != t.Name { // MySQL does not delete from what it reads
				r = remove(r.what, r.table, r.where)
			}
			out = append(out, r)
		}
	}
	return out
}

// ownerless are the standard attributes of no object.
func ownerless() rule {
	var where []string
	for _, t := range schema.Upstream() {
		for _, k := range t.Unique { // tags and other dependents have several rows for one object
			if len(k.Columns) == 1 && k.Columns[0] == "standard_attr_id" {
				where = append(where, fmt.Sprintf("NOT EXISTS (SELECT 1 FROM %s o WHERE o.standard_attr_id = standardattributes.id)", t.Name))
			}
		}
	}
	return remove("standard attributes of no object", "standardattributes", strings.Join(where, " AND "))
}

// addresses are what address management knows and ports do not, and the other way round.
func addresses() []rule {
	const sameAddress = "a.ip_address = %s.ip_address"
	return []rule{
		remove("subnet of address management that does not exist", "ipamsubnets",
			"NOT EXISTS (SELECT 1 FROM subnets s WHERE s.id = ipamsubnets.neutron_subnet_id)"),
		remove("address that no port has", "ipamallocations", "NOT EXISTS (SELECT 1 FROM ipallocations a JOIN ipamsubnets i "+
			"ON i.neutron_subnet_id = a.subnet_id WHERE "+fmt.Sprintf(sameAddress, "ipamallocations")+" AND i.id = ipamallocations.ipam_subnet_id)"),
		remove("address without port", "ipallocations", "port_id IS NULL"),
		{"address of a port that address management does not know", "ipallocations", "NOT EXISTS (SELECT 1 FROM ipamallocations a JOIN ipamsubnets i " +
			"ON i.id = a.ipam_subnet_id WHERE " + fmt.Sprintf(sameAddress, "ipallocations") + " AND i.neutron_subnet_id = ipallocations.subnet_id)", ""},
	}
}

// numbers are segmentation ids that no segment has and nevertheless are taken.
func numbers(kind, table, id, physnet string) rule {
	where := fmt.Sprintf("s.network_type = '%s' AND s.segmentation_id = %s.%s", kind, table, id)
	if physnet != "" {
		where += fmt.Sprintf(" AND s.physical_network = %s.%s", table, physnet)
	}
	return rule{"segmentation id that no network has", table, "allocated AND NOT EXISTS (SELECT 1 FROM networksegments s WHERE " + where + ")",
		"UPDATE " + table + " SET allocated = false"}
}
