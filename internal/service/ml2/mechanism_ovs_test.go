package ml2

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"neutrino/internal/model"

	"github.com/google/go-cmp/cmp"
)

// What Nova reads of a bound port. Values are those of upstream 2026.2.
func TestOpenVSwitchBinding(t *testing.T) {
	const kernel = `{"bridge_mappings": {"p": "br-p"}, "tunnel_types": ["vxlan", "gre"], "integration_bridge": "br-int", "ovs_hybrid_plug": false}`
	const dpdk = `{"tunnel_types": ["vxlan"], "datapath_type": "netdev", "vhostuser_socket_dir": "/s", "ovs_capabilities": {"iface_types": ["dpdkvhostuserclient"]}}`
	const provider = "37db8e4c-80cb-5aac-a5ae-d6d528e5c4a0" // Python's uuid.uuid5(resource_provider_uuid5_namespace, "h1")
	for _, x := range []struct {
		name, agent, network, vnic, profile string
		cfg                                 Config
		want                                string // vif_type and vif_details; "" for a failure
	}{
		{"kernel", kernel, "vxlan", "normal", "", Config{}, `ovs {"bridge_name":"br-int","connectivity":"l2","datapath_type":"system","ovs_create_tap":true,"ovs_hybrid_plug":false,"port_filter":true}`},
		{"Nova keeps its taps", kernel, "gre", "normal", "", Config{OVSKeepTap: true, NoSecurityGroups: true}, `ovs {"bridge_name":"br-int","connectivity":"l2","datapath_type":"system","ovs_hybrid_plug":false,"port_filter":false}`},
		{"hybrid", strings.ReplaceAll(kernel, `plug": false`, `plug": true`), "local", "normal", "", Config{}, `ovs {"bridge_name":"br-int","connectivity":"l2","datapath_type":"system","ovs_hybrid_plug":true,"port_filter":true}`},
		{"no such tunnels", kernel, "geneve", "normal", "", Config{}, ""},
		{"physical network", kernel, "vlan", "normal", "", Config{}, `ovs {"bridge_name":"br-int","connectivity":"l2","datapath_type":"system","ovs_create_tap":true,"ovs_hybrid_plug":false,"port_filter":true}`},
		{"no such physical network", dpdk, "flat", "normal", "", Config{}, ""},
		{"shared memory", dpdk, "vxlan", "normal", "", Config{}, `vhostuser {"datapath_type":"netdev","ovs_hybrid_plug":false,"port_filter":false,"vhostuser_mode":"server","vhostuser_ovs_plug":true,"vhostuser_socket":"/s/vhu01234567-89"}`},
		{"direct", kernel, "vxlan", "direct", "", Config{}, ""},
		{"direct by the switch", kernel, "vxlan", "direct", `{"capabilities": ["switchdev"]}`, Config{}, `ovs {"bridge_name":"br-int","connectivity":"l2","datapath_type":"system","ovs_hybrid_plug":false,"port_filter":true}`},
		{"prohibited", kernel, "vxlan", "vdpa", "", Config{OVSProhibitedVNICTypes: []string{"vdpa"}}, ""},
		{"another driver's", kernel, "vxlan", "macvtap", "", Config{}, ""},
		{"no smart card", kernel, "vxlan", "smart-nic", "", Config{}, ""},
		{"allocation of the host", strings.Replace(kernel, "{", `{"resource_provider_packet_processing_with_direction": {}, `, 1), "local", "normal",
			`{"allocation": {"g": "` + provider + `"}}`, Config{OVSKeepTap: true}, `ovs {"bridge_name":"br-int","connectivity":"l2","datapath_type":"system","ovs_hybrid_plug":false,"port_filter":true}`},
	} {
		t.Run(x.name, func(t *testing.T) {
			physical := "p"
			a := &model.Agent{Host: "h1", Alive: true}
			port := &model.Port{VNICType: x.vnic}
			port.ID = "01234567-89ab-4000-8000-000000000000"
			unmarshal(t, x.agent, &a.Configurations)
			if x.profile != "" {
				unmarshal(t, x.profile, &port.Profile)
			}
			m := openvswitch(x.cfg)
			if allocation, ok := port.Profile["allocation"].(map[string]any); ok {
				if !m.Responsible(allocation, []*model.Agent{a}) {
					t.Error("not responsible for what the agent reports")
				}
				allocation["g"] = "a0000000-0000-4000-8000-000000000001"
				if m.Responsible(allocation, []*model.Agent{a}) {
					t.Error("responsible for what no agent reports")
				}
			}
			b, ok := m.Bind(port, []model.Segment{{ID: "s", NetworkType: x.network, PhysicalNetwork: &physical}}, []*model.Agent{a})
			got := ""
			if ok {
				details, err := json.Marshal(b.VIFDetails)
				if err != nil {
					t.Fatal(err)
				}
				got = fmt.Sprintf("%s %s", b.VIFType, details)
			}
			if diff := cmp.Diff(x.want, got); diff != "" {
				t.Error(diff)
			}
			a.Alive = false
			if _, ok := m.Bind(port, []model.Segment{{ID: "s", NetworkType: "local"}}, []*model.Agent{a}); ok {
				t.Error("bound by a dead agent")
			}
		})
	}
}

func unmarshal(t *testing.T, text string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), v); err != nil {
		t.Fatal(err)
	}
}

func TestProhibitedVNICTypes(t *testing.T) {
	for _, x := range []struct {
		list []string
		ok   bool
	}{{nil, true}, {[]string{"direct", "vdpa"}, true}, {[]string{"macvtap"}, false}, {ovsVNICTypes, false}} {
		if err := checkProhibited(x.list); (err == nil) != x.ok {
			t.Errorf("%v: %v", x.list, err)
		}
	}
}
