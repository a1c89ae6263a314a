package l2

import (
	"bytes"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"neutrino/internal/rpc"
)

// lockedBuffer takes a log while it is read.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.b.Reset()
	return l.b.String()
}

// run is a command line's output.
func run(t testing.TB, line string) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", line).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", line, err, out)
	}
	return string(out)
}

func sysctlValue(t testing.TB, key string) string {
	t.Helper()
	b, err := os.ReadFile("/proc/sys/" + key)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// What somebody changes by hand is as before soon, and the log says so. Afterwards nothing more is written.
func TestDrift(t *testing.T) {
	r := newRig(t)
	r.cfg.VerifyInterval = time.Second
	a := newInstance(t, r.server, netA, 1, groupDefault).plug()
	b := newInstance(t, r.server, netA, 2, groupDefault).plug()
	r.members(groupDefault, a, b)
	r.server.FDB[netA] = remoteFDB()
	log := &lockedBuffer{}
	r.log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	r.start()
	r.server.waitFor(t, a.device, b.device)
	a.reaches(b.v4, true)
	eventually(t, "remote entries", func() bool { return len(kernelFDB(t)) == 5 })
	const br = "brqaaaa0000-00"
	shows := func(line, want string) func() bool {
		return func() bool { return strings.Contains(run(t, line+" 2>&1 || true"), want) }
	}
	link := func(device, want string) func() bool { return shows("ip -d link show "+device, want) }
	sysctl := func(key, want string) func() bool {
		return func() bool { return sysctlValue(t, key) == want }
	}
	chain := run(t, "nft list chain bridge neutrino guard4")
	kinds := []struct {
		name, harm string
		restored   func() bool
	}{
		{"port in bridge", "ip link set " + a.device + " nomaster", link(a.device, "master "+br)},
		{"port up", "ip link set " + a.device + " down", link(a.device, ",UP")},
		{"MTU of port", "ip link set " + a.device + " mtu 1300", link(a.device, "mtu 1400 ")},
		{"MTU of bridge", "ip link set " + br + " mtu 1300", link(br, "mtu 1400 ")},
		{"MTU of tunnel", "ip link set vxlan-5 mtu 1300", link("vxlan-5", "mtu 1400 ")},
		{"bridge up", "ip link set " + br + " down", link(br, ",UP")},
		{"address of bridge", "ip link set " + br + " address 02:00:00:00:00:01",
			func() bool { return !shows("ip link show "+br, "02:00:00:00:00:01")() }},
		{"bridge", "ip link del " + br, link(a.device, "master "+br)},
		{"tunnel", "ip link del vxlan-5", link("vxlan-5", "master "+br)},
		{"tunnel learns nothing", "ip link set vxlan-5 type vxlan learning", link("vxlan-5", " nolearning")},
		{"suppression", "bridge link set dev vxlan-5 neigh_suppress off", shows("bridge -d link show dev vxlan-5", "neigh_suppress on")},
		{"announcements", "tc qdisc del dev " + br + " clsact", shows("tc filter show dev "+br+" ingress", "neutrino announcements")},
		{"snooping", "ip link set " + br + " type bridge mcast_snooping 1", link(br, "mcast_snooping 0")},
		{"entry of tunnel", "bridge fdb del fa:16:3e:00:00:63 dev vxlan-5 self", shows("bridge fdb show dev vxlan-5", "fa:16:3e:00:00:63 dst 192.168.50.2")},
		{"flooding", "bridge fdb del 00:00:00:00:00:00 dev vxlan-5 dst 192.168.50.2", shows("bridge fdb show dev vxlan-5", "00:00:00:00:00:00 dst 192.168.50.2")},
		{"entry of bridge", "bridge fdb del fa:16:3e:00:00:63 dev vxlan-5 master", shows("bridge fdb show dev vxlan-5", "fa:16:3e:00:00:63 master "+br+" static")},
		{"foreign entry", "bridge fdb add fa:16:3e:00:00:64 dev vxlan-5 dst 192.168.50.2",
			func() bool { return !shows("bridge fdb show dev vxlan-5", "fa:16:3e:00:00:64")() }},
		{"neighbour", "ip neigh del 10.0.0.99 dev " + br, shows("ip neigh show dev "+br, "10.0.0.99 lladdr fa:16:3e:00:00:63 PERMANENT")},
		{"IPv6 of port", "sysctl -qw net.ipv6.conf." + a.device + ".disable_ipv6=0", sysctl("net/ipv6/conf/"+a.device+"/disable_ipv6", "1")},
		{"ARP of bridge", "sysctl -qw net.ipv4.conf." + br + ".arp_ignore=0", sysctl("net/ipv4/conf/"+br+"/arp_ignore", "1")},
		{"br_netfilter", "sysctl -qw net.bridge.bridge-nf-call-iptables=0", sysctl("net/bridge/bridge-nf-call-iptables", "1")},
		{"nft element", "nft delete element bridge neutrino ports { " + a.device + " }", shows("nft list set bridge neutrino ports", a.device)},
		{"foreign nft element", "nft add element bridge neutrino ports { tapffffffff-ff }",
			func() bool { return !shows("nft list set bridge neutrino ports", "tapffffffff-ff")() }},
		{"foreign nft rule", "nft insert rule bridge neutrino guard4 accept",
			func() bool { return run(t, "nft list chain bridge neutrino guard4") == chain }},
		{"nft rule", "nft delete rule bridge neutrino guard4 handle $(nft -a list chain bridge neutrino guard4 | sed -n 's/.*@macs drop # handle //p')",
			func() bool { return run(t, "nft list chain bridge neutrino guard4") == chain }},
		{"nft chain", "nft flush chain bridge neutrino guard4", func() bool { return run(t, "nft list chain bridge neutrino guard4") == chain }},
		{"nft table", "nft delete table bridge neutrino", shows("nft list set bridge neutrino ports", a.device)},
		{"other nft table", "nft delete table inet neutrino", shows("nft list table inet neutrino", br)},
	}
	log.take()
	for _, k := range kinds {
		run(t, k.harm)
		eventually(t, k.name, k.restored)
		said := ""
		eventually(t, k.name+" is logged", func() bool { said += log.take(); return strings.Contains(said, "restored") })
		for before := int64(-1); before != r.agent.Writes(); time.Sleep(100 * time.Millisecond) { // what disturbs its work is not told as a change
			before = r.agent.Writes()
		}
		log.take()
	}
	a.reaches(b.v4, true)
	eventually(t, "remote entries", func() bool { return len(kernelFDB(t)) == 5 })
	eventually(t, "no more writes without need", func() bool {
		before := r.agent.Writes()
		time.Sleep(2 * r.cfg.VerifyInterval)
		return r.agent.Writes() == before
	})
}

// A network's MTU that changes on the server reaches every device, and is no drift.
func TestMTUChanges(t *testing.T) {
	r := newRig(t)
	a := newInstance(t, r.server, netA, 1, groupDefault).plug()
	log := &lockedBuffer{}
	r.log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	r.start()
	r.server.waitFor(t, a.device)
	for _, mtu := range []string{"1300", "1450"} {
		r.details(a, func(d *rpc.DeviceDetails) { d.MTU = map[string]int{"1300": 1300, "1450": 1450}[mtu] })
		var args rpc.NetworkArgs
		args.Network.ID = netA
		if err := rpc.NetworkUpdate.Fanout(t.Context(), r.bus, args); err != nil {
			t.Fatal(err)
		}
		for _, device := range []string{a.device, "brqaaaa0000-00", "vxlan-5"} {
			eventually(t, device+" has MTU "+mtu, func() bool { return strings.Contains(run(t, "ip link show "+device), "mtu "+mtu+" ") })
		}
	}
	if said := log.take(); strings.Contains(said, "restored") {
		t.Error(said)
	}
}

// A physical interface that somebody takes out of its bridge goes back, also with the host's address on it again.
func TestDriftOfInterface(t *testing.T) {
	r := newRig(t)
	r.cfg.PhysicalInterfaceMappings = map[string]string{"physnet": "phys0"}
	r.cfg.VerifyInterval = time.Second // an address that comes just after the interface was put back is no news
	run(t, "ip link add phys0 type veth peer name phys1 && ip addr add 192.168.99.2/24 dev phys0 && ip link set phys0 up")
	t.Cleanup(func() { deleteLink(t, "phys0") })
	a := newInstance(t, r.server, netA, 1, groupClosed).plug()
	r.details(a, func(d *rpc.DeviceDetails) {
		d.NetworkType, d.SegmentationID, d.PhysicalNetwork = "flat", nil, ptr("physnet")
	})
	r.start()
	r.server.waitFor(t, a.device)
	run(t, "ip link set phys0 nomaster; ip addr add 192.168.99.3/24 dev phys0")
	eventually(t, "interface is in the bridge, its addresses on the bridge", func() bool {
		return strings.Contains(run(t, "ip link show phys0"), "master brqaaaa0000-00") && len(addressesOf(t, "phys0")) == 0 &&
			len(addressesOf(t, "brqaaaa0000-00")) == 2
	})
}

// A device that is plugged anew under the same name, as by a restart of its instance, works as before.
func TestReplug(t *testing.T) {
	r := newRig(t)
	a := newInstance(t, r.server, netA, 1, groupDefault).plug()
	b := newInstance(t, r.server, netA, 2, groupDefault).plug()
	r.members(groupDefault, a, b)
	r.start()
	r.server.waitFor(t, a.device, b.device)
	for range 3 {
		a.reaches(b.v4, true)
		a.unplug()
		a.plug()
	}
	a.reaches(b.v4, true)
	if err := r.agent.Healthy(); err != nil {
		t.Error(err)
	}
}
