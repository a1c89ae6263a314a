package dhcp

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"neutrino/internal/bus"
	"neutrino/internal/bus/bustest"
	"neutrino/internal/linux/netns"
	"neutrino/internal/linux/sandbox"
	"neutrino/internal/linux/veth"
	"neutrino/internal/metadata"
	"neutrino/internal/rpc"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { sandbox.Main(m) }

// host prepares a test that works on the kernel: nothing is left of an earlier one, and no goroutine after it.
func host(t *testing.T) *server {
	t.Helper()
	sandbox.Need(t)
	t.Cleanup(func() { goleak.VerifyNone(t) })
	t.Cleanup(func() {
		names, _ := netns.Names("")
		for _, n := range names {
			_ = netns.Delete(n)
		}
		links, _ := netlink.LinkList()
		for _, l := range links {
			if l.Attrs().Name != "lo" {
				_ = netlink.LinkDel(l)
			}
		}
	})
	return newServer(t)
}

// show is what `ip` says of a namespace, without indexes, counters and lifetimes.
func show(t *testing.T, namespace string) string {
	t.Helper()
	var out strings.Builder
	for _, args := range []string{"-4 -o addr", "-6 -o addr show scope global", "-6 -o addr show to fe80::a9fe:a9fe", "-4 route", "-6 route show default"} {
		b, err := exec.Command("ip", append([]string{"-n", namespace}, strings.Fields(args)...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, b)
		}
		for line := range strings.Lines(string(b)) {
			line, _, _ = strings.Cut(line, "\\")
			f := strings.Fields(line)
			if len(f) > 1 && strings.HasSuffix(f[0], ":") {
				f = f[1:]
			}
			if f[0] != "lo" {
				fmt.Fprintln(&out, strings.Join(f, " "))
			}
		}
	}
	return out.String()
}

// wire does the L2 agent's work: a bridge with the outer ends of the network's ports and an instance.
func wire(t *testing.T, vm, mac string, outers ...string) {
	t.Helper()
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br-" + vm}}
	must(t, netlink.LinkAdd(bridge))
	must(t, netlink.LinkSetUp(bridge))
	_, err := netns.Ensure(vm)
	must(t, err)
	must(t, netns.Sysctl(vm, "net/ipv6/conf/default/accept_dad", "0"))
	must(t, netns.Sysctl(vm, "net/ipv6/conf/all/accept_dad", "0"))
	hw, err := net.ParseMAC(mac)
	must(t, err)
	_, err = veth.Ensure(veth.Pair{Outer: "tap-" + vm, Inner: "eth0", Namespace: vm, MAC: hw, MTU: 1450})
	must(t, err)
	for _, name := range append(outers, "tap-"+vm) {
		l, err := netlink.LinkByName(name)
		must(t, err)
		must(t, netlink.LinkSetMaster(l, bridge))
	}
}

// udhcpc runs BusyBox's client in the instance and returns what it tells its script, and configures the address.
func udhcpc(t *testing.T, vm string, args ...string) map[string]string {
	t.Helper()
	client, err := exec.LookPath("udhcpc")
	if err != nil {
		t.Skip("needs udhcpc (BusyBox's DHCP client)")
	}
	script := filepath.Join(t.TempDir(), "script")
	must(t, os.WriteFile(script, []byte(`#!/bin/sh
[ "$1" = bound ] || [ "$1" = renew ] || exit 0
ip addr replace $ip/$mask dev $interface
env
`), 0o755))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	argv := append([]string{"netns", "exec", vm, client, "-i", "eth0", "-f", "-q", "-n", "-t", "40", "-T", "1", "-s", script,
		"-O", "staticroutes", "-O", "mtu", "-O", "hostname"}, args...)
	out, err := exec.CommandContext(ctx, "ip", argv...).Output()
	if err != nil {
		t.Fatalf("udhcpc: %v\n%s", err, out)
	}
	lease := map[string]string{}
	for _, key := range []string{"ip", "mask", "router", "lease", "mtu", "hostname", "domain", "staticroutes", "serverid", "dns"} {
		for line := range strings.Lines(string(out)) {
			if v, ok := strings.CutPrefix(line, key+"="); ok {
				lease[key] = strings.TrimSpace(v)
			}
		}
	}
	return lease
}

func TestLease(t *testing.T) {
	s := host(t)
	s.networks["net1"] = testNetwork(1)
	s.networks["net1"].Subnets[0].GatewayIP = ptr("192.0.2.1") // outside the subnet
	a, stop := s.start(t, testConfig())
	eventually(t, "ports ready", s.isReady("port1-5", "port1-6"))

	if diff := cmp.Diff(`ns-00000001-00 inet 10.0.0.2/24 brd 10.0.0.255 scope global ns-00000001-00
default via 192.0.2.1 dev ns-00000001-00 proto static
10.0.0.0/24 dev ns-00000001-00 proto kernel scope link src 10.0.0.2
192.0.2.1 dev ns-00000001-00 proto static scope link
`, show(t, "qdhcp-net1")); diff != "" {
		t.Errorf("namespace (-want +got):\n%s", diff)
	}
	wire(t, "vm", "fa:16:3e:00:01:05", "tap00000001-00")
	want := map[string]string{"ip": "10.0.0.5", "mask": "24", "router": "192.0.2.1", "lease": "86400", "mtu": "1450",
		"hostname": "host-10-0-0-5", "domain": "openstacklocal", "serverid": "10.0.0.2", "dns": "10.0.0.2"}
	if diff := cmp.Diff(want, udhcpc(t, "vm")); diff != "" {
		t.Errorf("lease (-want +got):\n%s", diff)
	}
	first := a.Writes()
	s.addPort(t, rpc.Port{ID: "new", NetworkID: "net1", MACAddress: "fa:16:3e:00:01:07", DeviceOwner: "compute:nova",
		FixedIPs: []rpc.FixedIP{{SubnetID: "sub1", IPAddress: "10.0.0.7"}}})
	eventually(t, "new port ready", s.isReady("new"))
	if a.Writes() != first || s.count("get_network_info") != 0 {
		t.Errorf("a new port cost %d writes and %d fetches", a.Writes()-first, s.count("get_network_info"))
	}
	before := show(t, "qdhcp-net1")

	stop()
	a, _ = s.start(t, testConfig())
	eventually(t, "second agent has synchronised", func() bool { return s.count("get_active_networks_info") == 2 && a.Healthy() == nil })
	eventually(t, "second agent serves", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.ready["new"] > 1 })
	if a.Writes() != 0 {
		t.Errorf("a restart wrote %d times", a.Writes())
	}
	if diff := cmp.Diff(before, show(t, "qdhcp-net1")); diff != "" {
		t.Errorf("a restart changed the namespace (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(want, udhcpc(t, "vm", "-r", "10.0.0.5")); diff != "" {
		t.Errorf("renewed lease (-want +got):\n%s", diff)
	}
	if got := s.count("create_dhcp_port"); got != 1 {
		t.Errorf("%d ports made", got)
	}
}

func TestMetadata(t *testing.T) {
	s := host(t)
	s.networks["net1"] = testNetwork(1)
	n := s.networks["net1"]
	n.Subnets = append(n.Subnets, rpc.Subnet{ID: "sub6", NetworkID: "net1", IPVersion: 6, CIDR: "2001:db8::/64", EnableDHCP: true,
		GatewayIP: ptr("2001:db8::1"), IPv6AddressMode: ptr("slaac"), IPv6RAMode: ptr("slaac")})
	nova := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get("X-Instance-ID")
		fmt.Fprintf(w, "%s signed=%v", id, r.Header.Get("X-Instance-ID-Signature") == metadata.Sign("s3cret", id))
	}))
	defer nova.Close()
	x := rpc.NewMux(quiet)
	rpc.Handle(x, rpc.GetPorts, func(_ context.Context, f rpc.PortFilters) ([]rpc.Port, error) {
		if slices.Equal(f.Filters.NetworkID, []string{"net1"}) && (slices.Equal(f.Filters.FixedIPs["ip_address"], []string{"10.0.0.5"}) ||
			slices.Equal(f.Filters.MACAddress, []string{"fa:16:3e:00:01:05"})) {
			return []rpc.Port{{DeviceID: "vm1-5"}}, nil
		}
		return nil, nil
	})
	ports := bustest.New()
	stop, err := x.Serve(ports, "server")
	must(t, err)
	defer stop()
	backend, err := metadata.NewNova(metadata.NovaConfig{Port: nova.Listener.Addr().(*net.TCPAddr).Port, Secret: "s3cret"}, ports, quiet)
	must(t, err)
	defer backend.Close()
	cfg := testConfig()
	cfg.IsolatedMetadata, cfg.Metadata = true, backend
	s.start(t, cfg)
	eventually(t, "ports ready", s.isReady("port1-5"))
	if diff := cmp.Diff(`ns-00000001-00 inet 10.0.0.2/24 brd 10.0.0.255 scope global ns-00000001-00
ns-00000001-00 inet 169.254.169.254/32 scope global ns-00000001-00
ns-00000001-00 inet6 2001:db8::2/64 scope global nodad
ns-00000001-00 inet6 fe80::a9fe:a9fe/128 scope link nodad
default via 10.0.0.1 dev ns-00000001-00 proto static
10.0.0.0/24 dev ns-00000001-00 proto kernel scope link src 10.0.0.2
default via 2001:db8::1 dev ns-00000001-00 proto static metric 1024 pref medium
`, show(t, "qdhcp-net1")); diff != "" {
		t.Errorf("namespace (-want +got):\n%s", diff)
	}
	wire(t, "vm", "fa:16:3e:00:01:05", "tap00000001-00")
	lease := udhcpc(t, "vm")
	if got, want := lease["staticroutes"], "169.254.169.254/32 10.0.0.2 0.0.0.0/0 10.0.0.1"; got != want {
		t.Errorf("routes %q, want %q", got, want)
	}
	run(t, "ip", "-n", "vm", "route", "add", "169.254.169.254/32", "via", "10.0.0.2")
	index := strings.Split(run(t, "ip", "-n", "vm", "-o", "link", "show", "eth0"), ":")[0]
	for _, url := range []string{"http://169.254.169.254/", "http://[fe80::a9fe:a9fe%25" + index + "]/"} {
		if got := get(t, "vm", url); got != "vm1-5 signed=true" {
			t.Errorf("%s: %s", url, got)
		}
	}
	// A router makes the IPv4 subnet's metadata its own business; the IPv6 subnet is still isolated.
	s.set(func() { n.Subnets = n.Subnets[:1] })
	s.addPort(t, rpc.Port{ID: "router", NetworkID: "net1", MACAddress: "fa:16:3e:00:01:01", DeviceOwner: "network:router_interface",
		DeviceID: "r1", FixedIPs: []rpc.FixedIP{{SubnetID: "sub1", IPAddress: "10.0.0.1"}}})
	s.notify(t, rpc.DHCPSubnetDeleteEnd, rpc.DHCPPayload{SubnetID: "sub6", NetworkID: "net1"})
	eventually(t, "metadata address gone", func() bool { return !strings.Contains(show(t, "qdhcp-net1"), "169.254") })
}

// A network with a subnet of 169.254.0.0/16 that a router is on: requests come from behind the router, whose other networks
// have the instances.
func TestMetadataNetwork(t *testing.T) {
	s := host(t)
	n := testNetwork(1)
	n.Subnets[0].CIDR, n.Subnets[0].GatewayIP = "169.254.169.252/30", ptr("169.254.169.253")
	n.Ports = []rpc.Port{{ID: "router-port", NetworkID: "net1", MACAddress: guestMAC, DeviceOwner: "network:router_interface", DeviceID: "r1",
		FixedIPs: []rpc.FixedIP{{SubnetID: "sub1", IPAddress: "169.254.169.253"}}}}
	s.networks["net1"] = n
	nova := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Header.Get("X-Instance-ID")) }))
	defer nova.Close()
	x := rpc.NewMux(quiet)
	rpc.Handle(x, rpc.GetPorts, func(_ context.Context, f rpc.PortFilters) ([]rpc.Port, error) {
		switch {
		case slices.Equal(f.Filters.DeviceID, []string{"r1"}):
			return []rpc.Port{{NetworkID: "net1"}, {NetworkID: "net2"}}, nil
		case slices.Equal(f.Filters.NetworkID, []string{"net1", "net2"}) && slices.Equal(f.Filters.FixedIPs["ip_address"], []string{"10.7.0.5"}):
			return []rpc.Port{{DeviceID: "vm-behind"}}, nil
		}
		return nil, nil
	})
	ports := bustest.New()
	stop, err := x.Serve(ports, "server")
	must(t, err)
	defer stop()
	backend, err := metadata.NewNova(metadata.NovaConfig{Port: nova.Listener.Addr().(*net.TCPAddr).Port}, ports, quiet)
	must(t, err)
	defer backend.Close()
	cfg := testConfig()
	cfg.IsolatedMetadata, cfg.MetadataNetwork, cfg.Metadata = true, true, backend
	s.start(t, cfg)
	eventually(t, "ports ready", s.isReady("router-port"))
	wire(t, "vm", guestMAC, "tap00000001-00") // the router, with an instance's address behind it
	run(t, "ip", "-n", "vm", "addr", "add", "169.254.169.253/30", "dev", "eth0")
	run(t, "ip", "-n", "vm", "link", "set", "lo", "up")
	run(t, "ip", "-n", "vm", "addr", "add", "10.7.0.5/32", "dev", "lo")
	run(t, "ip", "-n", "vm", "route", "replace", "169.254.169.254/32", "dev", "eth0", "src", "10.7.0.5")
	if got := get(t, "vm", "http://169.254.169.254/"); got != "vm-behind" {
		t.Errorf("through the router: %s", got)
	}
}

func run(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", argv, err, out)
	}
	return string(out)
}

func get(t *testing.T, namespace, url string) string {
	t.Helper()
	c := http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (c net.Conn, err error) {
			err = netns.Do(namespace, func() error { c, err = (&net.Dialer{}).DialContext(ctx, network, addr); return err })
			return c, err
		}}}
	resp, err := c.Get(url)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return fmt.Sprint(string(b), errText(err))
}

func errText(err error) string {
	if err != nil {
		return err.Error()
	}
	return ""
}

func TestChanges(t *testing.T) {
	s := host(t)
	for i := 1; i <= 3; i++ {
		s.networks[fmt.Sprintf("net%d", i)] = testNetwork(i)
	}
	s.networks["net3"].AdminStateUp = false
	reserved := rpc.Port{ID: "reserved0-0000", NetworkID: "net2", DeviceID: reservedDeviceID, DeviceOwner: ownerDHCP,
		MACAddress: "fa:16:3e:ee:00:01", FixedIPs: []rpc.FixedIP{{SubnetID: "sub2", IPAddress: "10.0.0.99"}}}
	s.networks["net2"].Ports = append(s.networks["net2"].Ports, reserved)
	stray(t, "qdhcp-gone", "ns-stray000000", "tapstray000000")
	stray(t, "qdhcp-foreign", "eth7", "tap-foreign")
	a, _ := s.start(t, testConfig())
	eventually(t, "ports ready", s.isReady("port1-5", "port2-5"))
	eventually(t, "stray namespace gone", func() bool { return !netns.Exists("qdhcp-gone") })

	namespaces := func() []string { n, _ := netns.Names("qdhcp-"); slices.Sort(n); return n }
	if diff := cmp.Diff([]string{"qdhcp-foreign", "qdhcp-net1", "qdhcp-net2"}, namespaces()); diff != "" {
		t.Errorf("namespaces (-want +got):\n%s", diff)
	}
	if !strings.Contains(show(t, "qdhcp-net2"), "ns-reserved0-0 inet 10.0.0.99/24") {
		t.Errorf("the reserved port is not used:\n%s", show(t, "qdhcp-net2"))
	}

	// One more subnet: our port gets an address in it.
	s.set(func() {
		n := s.networks["net1"]
		n.Subnets = append(n.Subnets, rpc.Subnet{ID: "more", NetworkID: "net1", IPVersion: 4, CIDR: "10.5.0.0/24", EnableDHCP: true})
	})
	s.notify(t, rpc.DHCPSubnetCreateEnd, rpc.DHCPPayload{Subnet: &rpc.Subnet{ID: "more", NetworkID: "net1"}})
	eventually(t, "address in the new subnet", func() bool { return strings.Contains(show(t, "qdhcp-net1"), "10.5.0.2/24") })

	// Another MTU.
	s.set(func() { s.networks["net1"].MTU = 1400 })
	s.notify(t, rpc.DHCPNetworkUpdateEnd, payloadNetwork("net1", true))
	eventually(t, "MTU", func() bool { return strings.Contains(run(t, "ip", "-n", "qdhcp-net1", "link"), "mtu 1400") })

	// Our port is deleted: another one is made.
	var own string
	s.set(func() {
		n := s.networks["net1"]
		n.Ports = slices.DeleteFunc(n.Ports, func(p rpc.Port) bool {
			if p.DeviceOwner == ownerDHCP {
				own = p.ID
			}
			return p.DeviceOwner == ownerDHCP
		})
	})
	s.notify(t, rpc.DHCPPortDeleteEnd, rpc.DHCPPayload{PortID: own, NetworkID: "net1"})
	eventually(t, "another device", func() bool {
		h, err := netns.Handle("qdhcp-net1")
		must(t, err)
		defer h.Close()
		d := ourDevices(h)
		return len(d) == 1 && d[0] != veth.DeviceName(pairPrefix, own)
	})

	// Networks go by deletion, by being switched off, and by losing DHCP; the third is switched on.
	s.set(func() {
		delete(s.networks, "net1")
		s.networks["net3"].AdminStateUp = true
		s.networks["net2"].Subnets[0].EnableDHCP = false
	})
	s.notify(t, rpc.DHCPNetworkDeleteEnd, rpc.DHCPPayload{NetworkID: "net1"})
	s.notify(t, rpc.DHCPNetworkUpdateEnd, payloadNetwork("net3", true))
	s.notify(t, rpc.DHCPSubnetUpdateEnd, rpc.DHCPPayload{Subnet: &rpc.Subnet{ID: "sub2", NetworkID: "net2"}})
	eventually(t, "one namespace of ours", func() bool { return cmp.Equal([]string{"qdhcp-foreign", "qdhcp-net3"}, namespaces()) })
	s.set(func() { s.networks["net3"].AdminStateUp = false })
	s.notify(t, rpc.DHCPNetworkUpdateEnd, payloadNetwork("net3", false))
	eventually(t, "no namespace of ours", func() bool { return cmp.Equal([]string{"qdhcp-foreign"}, namespaces()) })
	eventually(t, "no device of ours", func() bool { return !strings.Contains(run(t, "ip", "-o", "link"), "tap0") })
	eventually(t, "healthy", func() bool { return a.Healthy() == nil })
}

// When our port is replaced and the new one gets the same address, instances that know the old one's MAC address hear of it.
func TestAddressIsAnnounced(t *testing.T) {
	s := host(t)
	s.networks["net1"] = testNetwork(1)
	s.start(t, testConfig())
	eventually(t, "ports ready", s.isReady("port1-5"))
	wire(t, "vm", "fa:16:3e:00:01:05", "tap00000001-00")
	run(t, "ip", "-n", "vm", "addr", "add", "10.0.0.5/24", "dev", "eth0")
	run(t, "ip", "-n", "vm", "neigh", "replace", "10.0.0.2", "lladdr", "fa:16:3e:ff:00:01", "dev", "eth0", "nud", "reachable")

	s.set(func() {
		n := s.networks["net1"]
		n.Ports = slices.DeleteFunc(n.Ports, func(p rpc.Port) bool { return p.DeviceOwner == ownerDHCP })
	})
	s.notify(t, rpc.DHCPPortDeleteEnd, rpc.DHCPPayload{PortID: "00000001-0000-4000-8000-000000000000", NetworkID: "net1"})
	eventually(t, "the new port's device", func() bool { _, err := netlink.LinkByName("tap00000002-00"); return err == nil })
	run(t, "ip", "link", "set", "tap00000002-00", "master", "br-vm")
	eventually(t, "the address is at the new port", func() bool {
		return strings.Contains(run(t, "ip", "-n", "vm", "neigh", "show", "10.0.0.2"), "lladdr fa:16:3e:ff:00:02")
	})
	if !strings.Contains(show(t, "qdhcp-net1"), "ns-00000002-00 inet 10.0.0.2/24") {
		t.Errorf("the new port has another address:\n%s", show(t, "qdhcp-net1"))
	}
}

func payloadNetwork(id string, up bool) (p rpc.DHCPPayload) {
	p.Network = &struct {
		ID           string `json:"id"`
		AdminStateUp *bool  `json:"admin_state_up,omitempty"`
	}{id, &up}
	return p
}

func stray(t *testing.T, namespace, inner, outer string) {
	t.Helper()
	_, err := netns.Ensure(namespace)
	must(t, err)
	_, err = veth.Ensure(veth.Pair{Outer: outer, Inner: inner, Namespace: namespace, MTU: 1450})
	must(t, err)
}

func TestFailures(t *testing.T) {
	s := host(t)
	s.networks["net1"], s.networks["net2"] = testNetwork(1), testNetwork(2)
	s.fail["get_active_networks_info"] = bus.ErrTimeout
	s.fail["dhcp_ready_on_ports"] = bus.ErrTimeout
	a, _ := s.start(t, testConfig())
	eventually(t, "first fetch failed twice", func() bool { return s.count("get_active_networks_info") > 1 })
	if names, _ := netns.Names("qdhcp-"); len(names) != 0 || a.Writes() != 0 {
		t.Errorf("the kernel was touched before the server answered: %v", names)
	}
	if a.Healthy() == nil {
		t.Error("healthy without ever having synchronised")
	}
	// One network cannot get a port; the other is served nevertheless.
	s.set(func() { delete(s.fail, "get_active_networks_info"); s.full["net2"] = true })
	eventually(t, "report tried", func() bool { return s.count("dhcp_ready_on_ports") > 1 })
	s.set(func() { delete(s.fail, "dhcp_ready_on_ports") })
	eventually(t, "report came through", s.isReady("port1-5", "port1-6"))
	if s.isReady("port2-5")() || a.Healthy() == nil {
		t.Error("a network without addresses is served")
	}
	s.set(func() { delete(s.full, "net2") })
	s.notify(t, rpc.DHCPSubnetUpdateEnd, rpc.DHCPPayload{Subnet: &s.networks["net2"].Subnets[0]})
	eventually(t, "second network is served", s.isReady("port2-5"))
	eventually(t, "healthy", func() bool { return a.Healthy() == nil })
	s.bus.Reconnect()
	before := s.count("get_active_networks_info")
	eventually(t, "resync after a lost connection", func() bool { return s.count("get_active_networks_info") > before })
}

// A port that is announced while an older answer about its network is on its way must not get lost.
func TestPortDuringFetch(t *testing.T) {
	s := host(t)
	s.networks["net1"] = testNetwork(1)
	a, _ := s.start(t, testConfig())
	eventually(t, "ports ready", s.isReady("port1-5"))
	eventually(t, "first run over", func() bool { return a.failure.Load() != nil })
	a.turn.Lock() // what follows does the loop's work
	defer a.turn.Unlock()
	a.mu.Lock()
	a.fetch["net1"] = true
	a.mu.Unlock()
	_, ids, _ := a.begin()
	late := rpc.Port{ID: "late", NetworkID: "net1", MACAddress: "fa:16:3e:00:01:09", DeviceOwner: "compute:nova"}
	s.notify(t, rpc.DHCPPortCreateEnd, rpc.DHCPPayload{Port: &late}) // the server's answer below is without it
	s.notify(t, rpc.DHCPPortDeleteEnd, rpc.DHCPPayload{PortID: "port1-6", NetworkID: "net1"})
	must(t, a.fetchSome(t.Context(), ids))
	n, _ := a.table.Wanted("net1")
	if n.ports.byID["late"] == nil || n.ports.byID["port1-6"] != nil {
		t.Errorf("ports %v", slices.Sorted(maps.Keys(n.ports.byID)))
	}
	s.notify(t, rpc.DHCPPortUpdateEnd, rpc.DHCPPayload{Port: &rpc.Port{ID: "port1-6", NetworkID: "net1"}})
	if n, _ := a.table.Wanted("net1"); n.ports.byID["port1-6"] != nil {
		t.Error("a late message brought a deleted port back")
	}
}

// The same with a network that the agent does not have yet.
func TestPortDuringFirstFetch(t *testing.T) {
	s := host(t)
	s.networks["net1"] = testNetwork(1)
	a, _ := s.start(t, testConfig())
	eventually(t, "ports ready", s.isReady("port1-5"))
	eventually(t, "first run over", func() bool { return a.failure.Load() != nil })
	a.turn.Lock() // what follows does the loop's work
	defer a.turn.Unlock()
	s.networks["net2"] = testNetwork(2)
	a.mu.Lock()
	a.fetch["net2"] = true
	a.mu.Unlock()
	_, ids, _ := a.begin()
	late := rpc.Port{ID: "late", NetworkID: "net2", MACAddress: "fa:16:3e:00:02:09", DeviceOwner: "compute:nova"}
	s.notify(t, rpc.DHCPPortCreateEnd, rpc.DHCPPayload{Port: &late})
	must(t, a.fetchSome(t.Context(), ids))
	if n, _ := a.table.Wanted("net2"); n == nil || n.ports.byID["late"] == nil {
		t.Error("the port is lost")
	}
}

func TestReadyInBatches(t *testing.T) {
	s := newServer(t)
	r := newReadyPorts(s.bus, quiet)
	var many []string
	for i := range 200 {
		many = append(many, fmt.Sprint("p", i))
	}
	r.add(many)
	r.add([]string{"new"})
	if first := r.take(); len(first) != readyBatch || first[0] != "new" {
		t.Errorf("first batch has %d ports and starts with %s", len(first), first[0])
	} else {
		r.putBack(first)
	}
	must(t, r.send(t.Context()))
	if diff := cmp.Diff([]int{64, 64, 64, 9}, s.batches); diff != "" || len(s.ready) != 201 {
		t.Errorf("batches %v, %d ports", s.batches, len(s.ready))
	}
}

func TestState(t *testing.T) {
	s := host(t)
	s.networks["net1"] = testNetwork(1)
	cfg := testConfig()
	cfg.ReportInterval = 20 * time.Millisecond
	cfg.LeaseDuration = -1
	s.start(t, cfg)
	var last rpc.AgentState
	eventually(t, "report with counts", func() bool {
		s.set(func() {
			if len(s.states) > 0 {
				last = s.states[len(s.states)-1]
			}
		})
		return last.Configurations["networks"] == 1.0 && !last.StartFlag
	})
	want := rpc.AgentState{Binary: "neutron-dhcp-agent", Host: "h1", AgentType: "DHCP agent", Topic: "dhcp_agent",
		Configurations: map[string]any{"dhcp_driver": "neutron.agent.linux.dhcp.Dnsmasq", "dhcp_lease_duration": -1.0,
			"log_agent_heartbeats": false, "networks": 1.0, "subnets": 1.0, "ports": last.Configurations["ports"]}}
	if diff := cmp.Diff(want, last); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
	s.set(func() {
		if !s.states[0].StartFlag {
			t.Error("the first report has no start flag")
		}
		s.answer = rpc.AgentRevived
	})
	eventually(t, "resync after revival", func() bool { return s.count("get_active_networks_info") > 1 })
}

// Whatever is removed or added by hand is as before soon, and clients are served again.
func TestMending(t *testing.T) {
	s := host(t)
	s.networks["net1"] = rich()
	cfg := testConfig()
	cfg.InspectInterval = 200 * time.Millisecond
	var log syncBuffer
	a := New(cfg, s.bus, slog.New(slog.NewTextHandler(&log, nil)))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	var before string
	defer func() {
		if t.Failed() {
			t.Logf("before:\n%s\nnow:\n%s", before, showOr(t, "qdhcp-net1"))
		}
		cancel()
		must(t, <-ended)
		if t.Failed() {
			t.Log(log.b.String())
		}
	}()
	eventually(t, "ports ready", s.isReady("port1-5"))
	before = show(t, "qdhcp-net1")
	for _, harm := range []string{
		"ip -n qdhcp-net1 addr del 10.0.0.2/24 dev ns-00000001-00",
		"ip -n qdhcp-net1 addr del 2001:db8::2/64 dev ns-00000001-00",
		"ip -n qdhcp-net1 addr add 10.9.9.9/24 dev ns-00000001-00",
		"ip -n qdhcp-net1 route del default",
		"ip -n qdhcp-net1 route add 192.0.2.0/24 via 10.0.0.77 proto static",
		"ip -n qdhcp-net1 link set ns-00000001-00 down",
		"ip -n qdhcp-net1 link set ns-00000001-00 mtu 1300",
		"ip -n qdhcp-net1 link set lo down",
		"ip link set tap00000001-00 down",
		"ip -n qdhcp-net1 link del ns-00000001-00",
		"ip link del tap00000001-00",
		"ip netns del qdhcp-net1",
	} {
		said := log.Len()
		command := strings.Fields(harm)
		// The agent may mend a namespace between the two steps of its deletion; then the second fails.
		eventually(t, harm, func() bool { return exec.Command(command[0], command[1:]...).Run() == nil })
		eventually(t, "mended after "+harm, func() bool {
			return log.Len() > said && netns.Exists("qdhcp-net1") && showOr(t, "qdhcp-net1") == before && loopbackIsUp("qdhcp-net1")
		})
	}
	wire(t, "vm", guestMAC, "tap00000001-00")
	if got := udhcpc(t, "vm")["ip"]; got != "10.0.0.5" {
		t.Errorf("lease %s", got)
	}
	rest := a.Writes()
	time.Sleep(3 * cfg.InspectInterval)
	if a.Writes() != rest {
		t.Error("there are writes although nothing is wrong")
	}
}

func loopbackIsUp(namespace string) bool {
	out, err := exec.Command("ip", "-n", namespace, "link", "show", "lo").Output()
	return err == nil && strings.Contains(string(out), "UP")
}

// showOr is show of a namespace that may be half made.
func showOr(t *testing.T, namespace string) string {
	if exec.Command("ip", "-n", namespace, "addr").Run() != nil {
		return ""
	}
	return show(t, namespace)
}

// syncBuffer is a log that is read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) Len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Len()
}
