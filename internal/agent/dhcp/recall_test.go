package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"neutrino/internal/agent/records"
	"neutrino/internal/linux/netns"
	"neutrino/internal/rpc"
)

// away makes all calls of agents fail, as if no server were there.
func (s *server) away(gone bool) {
	s.set(func() {
		for _, method := range []string{rpc.ReportState.Name, rpc.GetActiveNetworksInfo.Name, rpc.GetNetworkInfo.Name} {
			delete(s.fail, method)
			if gone {
				s.fail[method] = errors.New("nobody is there")
			}
		}
	})
}

// client is an instance that is wired to the network's DHCP port.
func client(t *testing.T, vm, mac, network string) {
	t.Helper()
	h, err := netns.Handle(namespacePrefix + network)
	must(t, err)
	defer h.Close()
	wire(t, vm, mac, "tap"+strings.TrimPrefix(ourDevices(h)[0], pairPrefix))
}

// An agent that is started while no server is there answers as its predecessor did, and changes nothing.
func TestStartWithoutServer(t *testing.T) {
	s := host(t)
	for i := 1; i <= 3; i++ {
		s.networks[fmt.Sprintf("net%d", i)] = testNetwork(i)
	}
	cfg := testConfig()
	cfg.Records = records.Dir(filepath.Join(t.TempDir(), "dhcp"))
	_, stop := s.start(t, cfg)
	eventually(t, "ports ready", s.isReady("port1-5", "port1-6", "port2-5", "port3-5"))
	s.addPort(t, rpc.Port{ID: "new", NetworkID: "net1", MACAddress: "fa:16:3e:00:01:07", DeviceOwner: "compute:nova",
		FixedIPs: []rpc.FixedIP{{SubnetID: "sub1", IPAddress: "10.0.0.7"}}})
	eventually(t, "new port ready", s.isReady("new"))
	stop()
	must(t, netns.Delete("qdhcp-net3")) // by hand: it is not made anew as nobody says that it is wanted
	s.away(true)

	a, _ := s.start(t, cfg)
	client(t, "vm5", "fa:16:3e:00:01:05", "net1")
	if lease := udhcpc(t, "vm5"); lease["ip"] != "10.0.0.5" || lease["router"] != "10.0.0.1" || lease["dns"] != "10.0.0.2" {
		t.Errorf("lease %v", lease)
	}
	dns := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (c net.Conn, err error) {
		err = netns.Do("vm5", func() error { c, err = (&net.Dialer{}).DialContext(ctx, network, "10.0.0.2:53"); return err })
		return c, err
	}}
	if at, err := dns.LookupHost(t.Context(), "host-10-0-0-7.openstacklocal."); !slices.Equal(at, []string{"10.0.0.7"}) || err != nil {
		t.Errorf("the new port's name is that of %q, %v", at, err)
	}
	if a.Writes() > 0 || a.Healthy() == nil || netns.Exists("qdhcp-net3") {
		t.Errorf("without a server: %d writes, health %v", a.Writes(), a.Healthy())
	}

	s.set(func() {
		delete(s.networks, "net2")
		s.networks["net1"].Ports[0].FixedIPs[0].IPAddress = "10.0.0.55"
	})
	s.away(false)
	eventually(t, "ports reported", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.ready["port1-5"] > 1 })
	eventually(t, "network removed", func() bool {
		_, err := os.Stat(filepath.Join(string(cfg.Records), "net2.jsonl"))
		return !netns.Exists("qdhcp-net2") && errors.Is(err, os.ErrNotExist)
	})
	if lease := udhcpc(t, "vm5"); lease["ip"] != "10.0.0.55" {
		t.Errorf("lease once the server is back: %v", lease)
	}
}

// Records grow with what changes, not with how often.
func TestRecords(t *testing.T) {
	cfg := testConfig()
	cfg.Records = records.Dir(t.TempDir())
	info := *testNetwork(1)
	own := info.Ports[0]
	own.ID, own.DeviceID, own.DeviceOwner = "own", rpc.DHCPDeviceID(cfg.Host, info.ID), ownerDHCP
	info.Ports = append(info.Ports, own)
	a := New(cfg, nil, quiet)
	s, n := a.service(info.ID), newNetwork(info, nil)
	serve := func() { a.record(s, n, s.translate(a.translator, a.news(s, n))) }
	serve()
	for i := range 1000 {
		if i == 990 { // somebody tidies up
			must(t, os.RemoveAll(string(cfg.Records)))
		}
		p := info.Ports[1]
		p.FixedIPs = []rpc.FixedIP{{SubnetID: "sub1", IPAddress: fmt.Sprintf("10.0.%d.%d", i/200, i%200+9)}}
		n = n.with(&p)
		serve()
	}
	n = n.without(info.Ports[0].ID)
	n.MTU = 1400
	serve()

	raw, err := os.ReadFile(filepath.Join(string(cfg.Records), info.ID+".jsonl"))
	must(t, err)
	if lines := strings.Count(string(raw), "\n"); lines > crowded+10 {
		t.Errorf("%d records of 2 ports", lines)
	}
	read := New(cfg, nil, quiet)
	got, err := read.readRecords(read.service(info.ID))
	must(t, err)
	if ip := got.ports.byID["port1-6"].FixedIPs[0].IPAddress; len(got.ports.byID) != 2 || ip != "10.0.4.208" || got.MTU != 1400 {
		t.Errorf("read: MTU %d, %d ports, one has %s", got.MTU, len(got.ports.byID), ip)
	}
}

// Damaged records keep nobody from being served once a server is there, and are mended then.
func TestDamagedRecords(t *testing.T) {
	s := host(t)
	s.networks["net1"] = testNetwork(1)
	cfg := testConfig()
	cfg.Records = records.Dir(t.TempDir())
	file := filepath.Join(string(cfg.Records), "net1.jsonl")
	_, stop := s.start(t, cfg)
	eventually(t, "ports ready", s.isReady("port1-5", "port1-6"))
	stop()
	whole, err := os.ReadFile(file)
	must(t, err)
	for _, damaged := range []string{"", "what?", `{"network":null}`, `{"network":{"id":"net2"}}`, string(whole[:len(whole)-9]), `[1]` + string(whole)} {
		must(t, os.WriteFile(file, []byte(damaged), 0o600))
		s.set(func() { clear(s.ready) })
		a, stop := s.start(t, cfg)
		eventually(t, "ports ready", s.isReady("port1-5", "port1-6"))
		stop()
		if now, err := os.ReadFile(file); err != nil || len(now) != len(whole) || a.Writes() > 0 {
			t.Errorf("after %q: %v, %d writes, records\n%s", damaged, err, a.Writes(), now)
		}
	}
}
