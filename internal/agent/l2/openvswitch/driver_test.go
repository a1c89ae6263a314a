package openvswitch

import (
	"testing"

	"neutrino/internal/ovs"
)

func TestLivingPortsKeepTheirVLAN(t *testing.T) {
	port := func(tag int, network string) *ovs.Port {
		return &ovs.Port{Tag: &tag, OtherConfig: map[string]string{"net_uuid": network, "tag": "1"}}
	}
	ports := map[string]*ovs.Port{"living": port(1, "b"), "dead": port(deadVLAN, "a"), "other": port(deadVLAN, "c")}
	for range 50 { // a map has another order each time
		d := New(Config{IntegrationBridge: "br-int"}, nil, nil)
		d.restoreAll(ports, map[string]string{"living": "br-int", "dead": "br-int", "other": "br-int"})
		if d.vlans[1] != "b" || d.restored["a"] != 0 || d.restored["c"] != 0 {
			t.Fatalf("VLAN 1 is that of %s; restored %v", d.vlans[1], d.restored)
		}
	}
}
