package l2

import (
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"neutrino/internal/linux/conntrack"
	"neutrino/internal/linux/sandbox"
	"neutrino/internal/rpc"

	"github.com/vishvananda/netlink"
)

// likeUpstream wires instances of a VXLAN network and filters them as upstream's agent does
// (linuxbridge_neutron_agent.py, iptables_firewall.py, arp_protect.py of Neutron 2024.1).
func likeUpstream(t *testing.T, br string, vni, zone int, peer string, all ...*instance) {
	t.Helper()
	run(t, fmt.Sprintf(`ip link add %[1]s type bridge forward_delay 0 && ip link set %[1]s mtu 1400 up
		ip link add vxlan-%[2]d mtu 1400 type vxlan id %[2]d dev %[3]s local %[4]s dstport 4789 && ip link set vxlan-%[2]d master %[1]s up
		sysctl -qw net.ipv6.conf.vxlan-%[2]d.disable_ipv6=1 net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1
		bridge fdb add 00:00:00:00:00:00 dev vxlan-%[2]d dst %[5]s
		bridge fdb replace fa:16:3e:00:00:02 dev vxlan-%[2]d dst %[5]s`, br, vni, underlay[0], endpoints()[0], peer))
	filter := `*filter
:neutron-filter-top - [0:0]
:neutron-linuxbri-FORWARD - [0:0]
:neutron-linuxbri-INPUT - [0:0]
:neutron-linuxbri-OUTPUT - [0:0]
:neutron-linuxbri-local - [0:0]
:neutron-linuxbri-sg-chain - [0:0]
:neutron-linuxbri-sg-fallback - [0:0]
-A INPUT -j neutron-linuxbri-INPUT
-A INPUT -i lo -j ACCEPT
-A FORWARD -j neutron-filter-top
-A FORWARD -j neutron-linuxbri-FORWARD
-A OUTPUT -j neutron-filter-top
-A OUTPUT -j neutron-linuxbri-OUTPUT
-A neutron-filter-top -j neutron-linuxbri-local
-A neutron-linuxbri-sg-fallback -m comment --comment "Default drop rule for unmatched traffic." -j DROP
`
	raw := fmt.Sprintf(`*raw
:neutron-linuxbri-PREROUTING - [0:0]
-A PREROUTING -j neutron-linuxbri-PREROUTING
-A neutron-linuxbri-PREROUTING -m physdev --physdev-in %[1]s -m comment --comment "Set zone for net" -j CT --zone %[2]d
-A neutron-linuxbri-PREROUTING -i %[1]s -m comment --comment "Set zone for net" -j CT --zone %[2]d
`, br, zone)
	if err := netlink.IpsetCreate("NIPv4d0000000-0000-4000-8000-", "hash:net", netlink.IpsetCreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		run(t, fmt.Sprintf("ip link set %[1]s mtu 1400 master %[2]s up", i.device, br))
		short := i.device[3:12]
		filter += fmt.Sprintf(`:neutron-linuxbri-i%[1]s - [0:0]
:neutron-linuxbri-o%[1]s - [0:0]
:neutron-linuxbri-s%[1]s - [0:0]
-I neutron-linuxbri-FORWARD -m physdev --physdev-out %[2]s --physdev-is-bridged -m comment --comment "Direct traffic from the VM interface to the security group chain." -j neutron-linuxbri-sg-chain
-I neutron-linuxbri-FORWARD -m physdev --physdev-in %[2]s --physdev-is-bridged -j neutron-linuxbri-sg-chain
-A neutron-linuxbri-INPUT -m physdev --physdev-in %[2]s --physdev-is-bridged -j neutron-linuxbri-o%[1]s
-A neutron-linuxbri-sg-chain -m physdev --physdev-out %[2]s --physdev-is-bridged -j neutron-linuxbri-i%[1]s
-A neutron-linuxbri-sg-chain -m physdev --physdev-in %[2]s --physdev-is-bridged -j neutron-linuxbri-o%[1]s
-A neutron-linuxbri-i%[1]s -m state --state RELATED,ESTABLISHED -j RETURN
-A neutron-linuxbri-i%[1]s -m set --match-set NIPv4d0000000-0000-4000-8000- src -j RETURN
-A neutron-linuxbri-i%[1]s -p icmp -j RETURN
-A neutron-linuxbri-i%[1]s -p tcp -m tcp --dport 22 -j RETURN
-A neutron-linuxbri-i%[1]s -j neutron-linuxbri-sg-fallback
-A neutron-linuxbri-s%[1]s -s %[3]s/32 -m mac --mac-source %[4]s -j RETURN
-A neutron-linuxbri-s%[1]s -j DROP
-A neutron-linuxbri-o%[1]s -j neutron-linuxbri-s%[1]s
-A neutron-linuxbri-o%[1]s -j RETURN
`, short, i.device, i.v4, i.mac)
		raw += fmt.Sprintf("-A neutron-linuxbri-PREROUTING -m physdev --physdev-in %s -j CT --zone %d\n", i.device, zone)
		run(t, fmt.Sprintf(`e="ebtables -t nat"; $e -N neutronMAC-%[1]s -P DROP; $e -A neutronMAC-%[1]s -j DROP
			$e -I PREROUTING -i %[1]s -j neutronMAC-%[1]s; $e -I neutronMAC-%[1]s -i %[1]s --among-src %[2]s -j RETURN
			$e -N neutronARP-%[1]s -P DROP; $e -A neutronARP-%[1]s -j DROP; $e -I neutronARP-%[1]s -p ARP --arp-ip-src %[3]s -j ACCEPT
			$e -A PREROUTING -i %[1]s -j neutronARP-%[1]s -p ARP`, i.device, i.mac, i.v4))
	}
	run(t, "ebtables -t nat -A PREROUTING -i other0 -j ACCEPT")
	restore := func(rules string) {
		t.Helper()
		cmd := exec.Command("iptables-restore", "--noflush")
		cmd.Stdin = strings.NewReader(rules)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	restore(filter + "-A neutron-linuxbri-sg-chain -j ACCEPT\nCOMMIT\n" + raw + "COMMIT\n")
}

// What upstream's agent left is taken over without a lost packet, and its filters go when ours are there.
func TestAdoption(t *testing.T) {
	r := newRig(t)
	startOtherHost(t, setUnderlay)
	a := tunnelHost(t, r.server, 0).plug()
	c := newInstance(t, r.server, netA, 3, groupDefault).plug()
	r.server.Groups[groupDefault] = append(r.server.Groups[groupDefault],
		rpc.SecurityGroupRule{Direction: "ingress", Ethertype: "IPv4", Protocol: "tcp", PortRangeMin: ptr(22), PortRangeMax: ptr(22), Stateful: true})
	const br, zone = "brqaaaa0000-00", 4242
	remote := netip.MustParseAddr("10.0.0.2")
	likeUpstream(t, br, 5, zone, endpoints()[1].String(), a, c)
	a.reaches(remote, true)
	shell := a.connect(c, 22)
	shell.echoes()
	const indexes = "ip -o link show " + br + " | cut -d: -f1; ip -o link show vxlan-5 | cut -d: -f1"
	index := run(t, indexes)
	for _, to := range []netip.Addr{remote, c.v4} {
		defer sandbox.Lossless(t, a.ns, to.String())()
	}
	r.start()
	r.server.waitFor(t, a.device, c.device)
	eventually(t, "upstream's filters gone", func() bool {
		return !strings.Contains(run(t, "iptables-save; ebtables-save"), "neutron")
	})
	shell.echoes()
	if now := run(t, indexes); now != index {
		t.Errorf("devices were made anew: %s, %s", index, now)
	}
	if left := run(t, "iptables-save; ebtables-save"); !strings.Contains(left, "-A INPUT -i lo -j ACCEPT") || !strings.Contains(left, "other0") {
		t.Errorf("rules of others are gone:\n%s", left)
	}
	eventually(t, "upstream's sets gone", func() bool {
		sets, err := netlink.IpsetListAll()
		return err == nil && len(sets) == 0
	})
	if tunnel := run(t, "ip -d link show vxlan-5"); !strings.Contains(tunnel, "nolearning") {
		t.Error(tunnel)
	}
	flows, err := conntrack.List(func(f *conntrack.Flow) bool { return f.DestPort == 22 })
	if err != nil || len(flows) != 1 || flows[0].Zone != zone {
		t.Errorf("connections: %+v, %v", flows, err)
	}
	c.reaches(a.v4, true)
	r.stop()
	r.server.change(func() { clear(r.server.up) })
	r.start()
	r.server.waitFor(t, a.device, c.device)
	shell.echoes()
	if n := r.agent.Writes(); n != 0 {
		t.Errorf("%d writes by a restart after the adoption", n)
	}
}

// A host whose own filter drops what it forwards, as Docker sets it, still bridges.
func TestHostDropsForwarded(t *testing.T) {
	r := newRig(t)
	r.cfg.VerifyInterval = time.Second
	run(t, "iptables -P FORWARD DROP; ip6tables -P FORWARD DROP")
	a := newInstance(t, r.server, netA, 1, groupDefault).plug()
	b := newInstance(t, r.server, netA, 2, groupDefault).plug()
	r.server.Groups[groupDefault] = append(allOut(), rpc.SecurityGroupRule{Direction: "ingress", Ethertype: "IPv4", Stateful: true},
		rpc.SecurityGroupRule{Direction: "ingress", Ethertype: "IPv6", Stateful: true})
	r.start()
	r.server.waitFor(t, a.device, b.device)
	a.reaches(b.v4, true)
	a.reaches(b.v6, true)
	run(t, "iptables -F FORWARD")
	a.reaches(b.v4, true)
	r.stop()
	r.server.change(func() { clear(r.server.up) })
	r.start()
	r.server.waitFor(t, a.device, b.device)
	if n := r.agent.Writes(); n != 0 {
		t.Errorf("%d writes for an unchanged state", n)
	}
}
