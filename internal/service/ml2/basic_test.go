package ml2

import (
	"encoding/json"
	"fmt"
	"testing"

	"neutrino/internal/resource/resourcetest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func num(n int) json.Number { return json.Number(fmt.Sprint(n)) }

// What create returns must be what the next reader gets.
func TestCreatedIsStored(t *testing.T) {
	e := setUp(t)
	n := e.network("name", "net", "shared", true, "router:external", true)
	s := e.subnet(n, "10.0.0.0/24", "dns_nameservers", []any{"9.9.9.9", "1.1.1.1"})
	p := e.port(n, "allowed_address_pairs", []any{body{"ip_address": "10.0.0.9"}}, "device_owner", "compute:nova")
	n.SubnetIDs = []string{s.ID}
	opts := cmpopts.EquateEmpty()
	stored := reread(e, e.catalog.Networks, n.ID)
	if stored.Revision != n.Revision+1 {
		t.Errorf("revision %d: a new subnet has to count it up", stored.Revision)
	}
	stored.Revision, stored.UpdatedAt = n.Revision, n.UpdatedAt
	if diff := cmp.Diff(n, stored, opts); diff != "" {
		t.Error("network", diff)
	}
	if diff := cmp.Diff(s, reread(e, e.catalog.Subnets, s.ID), opts); diff != "" {
		t.Error("subnet", diff)
	}
	if diff := cmp.Diff(p, reread(e, e.catalog.Ports, p.ID), opts); diff != "" {
		t.Error("port", diff)
	}
}

func TestDeleteAll(t *testing.T) {
	e := setUp(t)
	n := e.network()
	e.subnet(n, "10.0.0.0/24")
	p := e.port(n)
	e.port(n, "device_owner", "network:dhcp")
	err := resourcetest.Delete(e.db, e.catalog.Networks, e.plugin.Networks(), admin, n.ID)
	resourcetest.Wants(t, err, "409 NetworkInUse: Unable to complete operation on network "+n.ID+". There are one or more ports still in use on "+
		"the network, id for these ports is: "+p.ID+".")
	resourcetest.Wants(t, resourcetest.Delete(e.db, e.catalog.Ports, e.plugin.Ports(), admin, p.ID), "")
	resourcetest.Wants(t, resourcetest.Delete(e.db, e.catalog.Networks, e.plugin.Networks(), admin, n.ID), "")
	for _, table := range []string{"networks", "subnets", "ports", "ipallocations", "ipamallocations", "ipamsubnets", "ipamallocationpools",
		"networksegments", "ml2_port_bindings", "networkrbacs", "networksecuritybindings", "provisioningblocks"} {
		if left := e.count("SELECT COUNT(*) FROM " + table); left != 0 {
			t.Errorf("%d rows left in %s", left, table)
		}
	}
	if left := e.count("SELECT COUNT(*) FROM standardattributes WHERE resource_type <> 'securitygroupdefaultrules'"); left != 0 {
		t.Errorf("%d rows left in standardattributes", left)
	}
	if left := e.count("SELECT COUNT(*) FROM ml2_vxlan_allocations WHERE allocated"); left != 0 {
		t.Errorf("%d VNIs still allocated", left)
	}
}
