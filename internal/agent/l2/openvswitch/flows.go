package openvswitch

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"neutrino/internal/linux/bridge"
	"neutrino/internal/ovs"
)

// The flows that do not depend on ports. Each function gives all flows of one owner.

func drop(table, priority int, match string) ovs.Flow {
	return ovs.Flow{Table: table, Priority: priority, Match: match, Actions: "drop"}
}

func resubmit(table int) string { return fmt.Sprintf("resubmit(,%d)", table) }

// integrationFlows are those that the integration bridge always has. Unlike upstream's, what comes from unknown ports is
// dropped.
func integrationFlows(patch int) []ovs.Flow {
	flows := []ovs.Flow{drop(tableLocal, 0, ""), drop(tableCanary, 0, ""),
		{Table: tableTransient, Priority: 3, Actions: "NORMAL"},
		{Table: tableAcceptedOut, Priority: 1, Actions: resubmit(tableNormal)}, {Table: tableNormal, Priority: 1, Actions: "NORMAL"}}
	for _, t := range []int{tableBaseEgress, tableRulesEgress, tableAcceptOrLocal, tableBaseIngress, tableRulesIngress, tableAcceptedIn, tableDropped} {
		flows = append(flows, drop(t, 0, ""))
	}
	flows = append(flows, againFlows()...)
	if patch > 0 {
		flows = append(flows, ovs.Flow{Table: tableLocal, Priority: 1, Match: inPort(patch), Actions: resubmit(tableTransient)})
	}
	return flows
}

func inPort(n int) string { return "in_port=" + strconv.Itoa(n) }

// tunnelFlows are those that the tunnel bridge always has.
func tunnelFlows(patch int, responder bool) []ovs.Flow {
	learn := fmt.Sprintf("learn(table=%d,hard_timeout=300,priority=1,cookie=%#x,NXM_OF_VLAN_TCI[0..11],NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],"+
		"load:0->NXM_OF_VLAN_TCI[],load:NXM_NX_TUN_ID[]->NXM_NX_TUN_ID[],output:OXM_OF_IN_PORT[]),output:%d", tableUnicast, ovs.LearnCookie, patch)
	flows := []ovs.Flow{
		drop(tableLocal, 0, ""),
		{Table: tableLocal, Priority: 1, Match: inPort(patch), Actions: resubmit(tableFromLocal)},
		{Table: tableFromLocal, Priority: 0, Match: "dl_dst=00:00:00:00:00:00/01:00:00:00:00:00", Actions: resubmit(tableUnicast)},
		{Table: tableFromLocal, Priority: 0, Match: "dl_dst=01:00:00:00:00:00/01:00:00:00:00:00", Actions: resubmit(tableFlood)},
		{Table: tableLearn, Priority: 1, Actions: learn},
		{Table: tableUnicast, Priority: 0, Actions: resubmit(tableFlood)},
		drop(tableFlood, 0, ""),
	}
	for _, t := range tunnelTables {
		flows = append(flows, drop(t, 0, ""))
	}
	if responder {
		flows = append(flows,
			ovs.Flow{Table: tableFromLocal, Priority: 1, Match: "arp,dl_dst=ff:ff:ff:ff:ff:ff", Actions: resubmit(tableARP)},
			ovs.Flow{Table: tableFromLocal, Priority: 1, Match: "icmp6,icmp_type=135,icmp_code=0", Actions: resubmit(tableARP)},
			ovs.Flow{Table: tableARP, Priority: 0, Actions: resubmit(tableFlood)})
	}
	return flows
}

// tunnelPortFlows receive what comes out of a tunnel.
func tunnelPortFlows(kind string, port int) []ovs.Flow {
	return []ovs.Flow{{Table: tableLocal, Priority: 1, Match: inPort(port), Actions: resubmit(tunnelTables[kind])}}
}

// tunnelNetworkFlows give what comes for a network its local VLAN.
func tunnelNetworkFlows(kind string, segment, vlan int) []ovs.Flow {
	return []ovs.Flow{{Table: tunnelTables[kind], Priority: 1, Match: fmt.Sprintf("tun_id=%#x", segment),
		Actions: fmt.Sprintf("mod_vlan_vid:%d,%s", vlan, resubmit(tableLearn))}}
}

// responder is what a tunnel bridge answers for.
type responder struct {
	arp bool
	nd  bool // neighbour solicitations: the kernel's datapath cannot make answers to them, so they are flooded
}

// forwardFlows send what stays in a network's VLAN through tunnels: broadcasts to all endpoints, known addresses to
// theirs. ports are the tunnels by endpoint.
func forwardFlows(vlan, segment int, entries map[bridge.Entry]string, ports map[netip.Addr]int, r responder) []ovs.Flow {
	var flows []ovs.Flow
	var flood []int
	head := fmt.Sprintf("strip_vlan,set_field:%#x->tun_id", segment)
	for e, value := range entries {
		switch e.Kind {
		case bridge.Flood:
			if port := ports[e.IP]; port > 0 {
				flood = append(flood, port)
			}
		case bridge.Remote:
			endpoint, _ := netip.ParseAddr(value)
			if port := ports[endpoint]; port > 0 {
				flows = append(flows, ovs.Flow{Table: tableUnicast, Priority: 2, Match: fmt.Sprintf("dl_vlan=%d,dl_dst=%s", vlan, e.MAC),
					Actions: fmt.Sprintf("%s,output:%d", head, port)})
			}
		case bridge.Neighbour:
			if r.arp && (e.IP.Is4() || r.nd) {
				flows = append(flows, answer(vlan, e.IP, value)...)
			}
		}
	}
	if len(flood) > 0 {
		slices.Sort(flood)
		actions := head
		for _, port := range slices.Compact(flood) {
			actions += fmt.Sprintf(",output:%d", port)
		}
		flows = append(flows, ovs.Flow{Table: tableFlood, Priority: 1, Match: fmt.Sprintf("dl_vlan=%d", vlan), Actions: actions})
	}
	return flows
}

// answer replies to ARP requests and neighbour solicitations for an address.
func answer(vlan int, ip netip.Addr, mac string) []ovs.Flow {
	if ip.Is4() {
		return []ovs.Flow{{Table: tableARP, Priority: 1, Match: fmt.Sprintf("arp,dl_vlan=%d,arp_op=1,arp_tpa=%s", vlan, ip),
			Actions: "move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],set_field:" + mac + "->eth_src,set_field:2->arp_op," +
				"move:NXM_NX_ARP_SHA[]->NXM_NX_ARP_THA[],move:NXM_OF_ARP_SPA[]->NXM_OF_ARP_TPA[],set_field:" + mac + "->arp_sha," +
				"set_field:" + ip.String() + "->arp_spa,IN_PORT"}}
	}
	// Only solicitations that say who asks: those of address detection are flooded. The answer's flags are solicited and
	// override (RFC 4861, section 4.4). Its option can be written only where the type is matched, hence the second flow.
	return []ovs.Flow{
		{Table: tableARP, Priority: 1, Match: fmt.Sprintf("icmp6,dl_vlan=%d,icmp_type=135,icmp_code=0,nd_target=%s,nd_options_type=1", vlan, ip),
			Actions: "move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],set_field:" + mac + "->eth_src,move:NXM_NX_IPV6_SRC[]->NXM_NX_IPV6_DST[]," +
				"set_field:" + ip.String() + "->ipv6_src,set_field:136->icmpv6_type," + resubmit(tableARP)},
		{Table: tableARP, Priority: 1, Match: fmt.Sprintf("icmp6,dl_vlan=%d,icmp_type=136,icmp_code=0,nd_target=%s", vlan, ip),
			Actions: "set_field:0x60000000->nd_reserved,set_field:2->nd_options_type,set_field:" + mac + "->nd_tll,set_field:255->nw_ttl,IN_PORT"},
	}
}

// physicalFlows are those that the bridge of a physical network always has.
func physicalFlows(patch int) []ovs.Flow {
	return []ovs.Flow{{Table: tableLocal, Priority: 0, Actions: "NORMAL"}, drop(tableLocal, 2, inPort(patch))}
}

// physicalOutFlows give what leaves a network its VLAN outside, or none; segment is 0 for flat networks.
func physicalOutFlows(patch, vlan, segment int) []ovs.Flow {
	action := "strip_vlan"
	if segment > 0 {
		action = fmt.Sprintf("mod_vlan_vid:%d", segment)
	}
	return []ovs.Flow{{Table: tableLocal, Priority: 4, Match: fmt.Sprintf("%s,dl_vlan=%d", inPort(patch), vlan), Actions: action + ",NORMAL"}}
}

// physicalInFlows give what comes for a network its local VLAN.
func physicalInFlows(patch, vlan, segment int) []ovs.Flow {
	match := inPort(patch) + ",vlan_tci=0x0000/0x1fff"
	if segment > 0 {
		match = fmt.Sprintf("%s,dl_vlan=%d", inPort(patch), segment)
	}
	return []ovs.Flow{{Table: tableLocal, Priority: 3, Match: match, Actions: fmt.Sprintf("mod_vlan_vid:%d,%s", vlan, resubmit(tableTransient))}}
}

// portMasks splits a range of ports into values with masks.
func portMasks(low, high int) []string {
	if low == 0 && high == 65535 {
		return nil
	}
	var out []string
	for low <= high {
		size := 1
		for low%(size*2) == 0 && low+size*2-1 <= high {
			size *= 2
		}
		if size == 1 {
			out = append(out, strconv.Itoa(low))
		} else {
			out = append(out, fmt.Sprintf("%#x/%#x", low, 0xffff&^(size-1)))
		}
		low += size
	}
	return out
}

func join(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), ",")
}

func keysSorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
