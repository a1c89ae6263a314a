package l2

import (
	"bufio"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"neutrino/internal/rpc"
)

// otherNetwork says how the network of the other host is made, if not by VXLAN with forwarding entries.
const otherNetwork = "NEUTRINO_L2_TEST_NETWORK"

func onOtherHost(cfg *Config, s *fakeServer, i *instance) {
	switch os.Getenv(otherNetwork) {
	case "vlan":
		cfg.PhysicalInterfaceMappings = map[string]string{"physnet": underlay[1]}
		p := s.Ports[i.device]
		onVLAN(100)(&p.Details)
		s.Ports[i.device] = p
	case "multicast":
		*cfg = multicast(*cfg)
		clear(s.FDB)
	}
}

func onVLAN(id int) func(*rpc.DeviceDetails) {
	return func(d *rpc.DeviceDetails) {
		d.NetworkType, d.SegmentationID, d.PhysicalNetwork = "vlan", &id, ptr("physnet")
	}
}

// sniff runs tcpdump until the wanted number of packets was seen, and returns what it says.
func sniff(t *testing.T, filter string) (lines func() string) {
	t.Helper()
	cmd := exec.Command("tcpdump", append([]string{"-i", underlay[0], "-nelv", "-c", "2"}, strings.Fields(filter)...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	errs, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop := time.AfterFunc(2*patience, func() { cmd.Process.Kill() })
	for ready := bufio.NewScanner(errs); ready.Scan() && !strings.Contains(ready.Text(), "listening"); {
	}
	return func() string {
		var all strings.Builder
		for s := bufio.NewScanner(out); s.Scan(); {
			all.WriteString(s.Text() + "\n")
		}
		cmd.Wait()
		stop.Stop()
		return all.String()
	}
}

// A VLAN reaches the other host with its tag on the wire, and no other VLAN. It leaves nothing behind.
func TestVLAN(t *testing.T) {
	r := newRig(t)
	startOtherHost(t, setUnderlay, otherNetwork+"=vlan")
	r.cfg.PhysicalInterfaceMappings = map[string]string{"physnet": underlay[0]}
	r.cfg.VerifyInterval = time.Second
	a := tunnelHost(t, r.server, 0).plug()
	r.details(a, onVLAN(100))
	other := newInstance(t, r.server, netB, 1, groupDefault).plug()
	r.details(other, onVLAN(101))
	const asBefore = "tc qdisc show dev underlay1; ip link show underlay1 | sed 's/ *qlen .*//; s/ *$//'"
	before := run(t, asBefore)
	r.start()
	r.server.waitFor(t, a.device, other.device)
	wire := sniff(t, "vlan 100 and icmp")
	for _, remote := range []string{"10.0.0.2", "fd00::2"} {
		a.reaches(netip.MustParseAddr(remote), true)
		other.reaches(netip.MustParseAddr(remote), false)
	}
	if seen := wire(); strings.Count(seen, "vlan 100") != 2 {
		t.Errorf("on the wire:\n%s", seen)
	}
	r.stop()
	r.server.change(func() { clear(r.server.up) })
	r.start()
	r.server.waitFor(t, a.device, other.device)
	if n := r.agent.Writes(); n != 0 {
		t.Errorf("%d writes for an unchanged state", n)
	}
	for _, harm := range []string{"ip link set underlay1.100 nomaster", "ip link del underlay1.100", "tc qdisc del dev underlay1 clsact 2>&1 || true"} {
		run(t, harm)
		a.reaches(netip.MustParseAddr("10.0.0.2"), true)
	}
	a.unplug()
	other.unplug()
	r.server.waitFor(t)
	eventually(t, "VLANs gone", func() bool { return !exists("underlay1.100") && !exists("underlay1.101") })
	if after := run(t, asBefore); after != before {
		t.Errorf("before:\n%safter:\n%s", before, after)
	}
}

func multicast(cfg Config) Config {
	cfg.DisableL2Population = true
	cfg.Tunnels.Group = netip.MustParsePrefix("239.1.0.0/16")
	cfg.Tunnels.TTL, cfg.Tunnels.TOS = 7, 32
	cfg.Tunnels.SourcePorts = [2]int{50000, 50100}
	return cfg
}

// Without l2population a tunnel floods to its multicast group and learns where addresses are, whatever a server tells.
func TestMulticastTunnel(t *testing.T) {
	r := newRig(t)
	startOtherHost(t, setUnderlay, otherNetwork+"=multicast")
	r.cfg = multicast(r.cfg)
	a := tunnelHost(t, r.server, 0).plug()
	r.start()
	r.server.waitFor(t, a.device)
	wire := sniff(t, "udp and dst host 239.1.0.5 and src host "+endpoints()[0].String()) // VNI 5
	for _, remote := range []string{"10.0.0.2", "fd00::2"} {
		a.reaches(netip.MustParseAddr(remote), true)
	}
	seen := wire()
	for _, want := range []string{"tos 0x20", "ttl 7", ".500"} {
		if !strings.Contains(seen, want) {
			t.Errorf("no %q in\n%s", want, seen)
		}
	}
	time.Sleep(2 * r.cfg.StaleAfter)
	a.pings(netip.MustParseAddr("10.0.0.77"))
	if fdb := run(t, "bridge fdb show dev vxlan-5"); !strings.Contains(fdb, "dst 239.1.0.5") || strings.Contains(fdb, endpoints()[1].String()+" self permanent") {
		t.Errorf("the group is gone, or not alone: %s", fdb)
	}
	r.stop()
	r.server.change(func() { clear(r.server.up) })
	r.start()
	r.server.waitFor(t, a.device)
	a.reaches(netip.MustParseAddr("10.0.0.2"), true)
	if n := r.agent.Writes(); n != 0 {
		t.Errorf("%d writes for an unchanged state", n)
	}
}
