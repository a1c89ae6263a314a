package dhcp

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"neutrino/internal/linux/netns"
	"neutrino/internal/linux/veth"
	"neutrino/internal/rpc"

	"github.com/google/go-cmp/cmp"
	query "github.com/miekg/dns"
)

// The tests of this file let the clients that guests have ask our server: ISC's dhclient, dhcpcd, systemd-networkd,
// WIDE's dhcp6c. (BusyBox's udhcpc is in kernel_test.go.)

const guestMAC = "fa:16:3e:00:01:05"

// rich is a network that uses whatever a subnet and a port can say.
func rich() *rpc.DHCPNetwork {
	n := testNetwork(1)
	n.Subnets[0].DNSNameservers = []string{"9.9.9.9", "8.8.8.8"}
	n.Subnets[0].HostRoutes = []rpc.Route{{Destination: "192.0.2.0/24", Nexthop: "10.0.0.9"}}
	n.Subnets = append(n.Subnets, rpc.Subnet{ID: "sub6", NetworkID: "net1", IPVersion: 6, CIDR: "2001:db8::/64", EnableDHCP: true,
		GatewayIP: ptr("2001:db8::1"), IPv6AddressMode: ptr("dhcpv6-stateful"), IPv6RAMode: ptr("dhcpv6-stateful"),
		DNSNameservers: []string{"2620:fe::9"}})
	p := &n.Ports[0]
	p.FixedIPs = append(p.FixedIPs, rpc.FixedIP{SubnetID: "sub6", IPAddress: "2001:db8::5"})
	p.DNSAssignment = []rpc.DNSAssignment{{IPAddress: "10.0.0.5", Hostname: "web", FQDN: "web.example.org."},
		{IPAddress: "2001:db8::5", Hostname: "web", FQDN: "web.example.org."}}
	for _, o := range []struct {
		name, value string
		version     int
	}{{"ntp-server", "10.0.0.123", 4}, {"domain-search", "one.example,two.example", 4}, {"ntp-server", "2001:db8::123", 6}} {
		p.ExtraDHCPOpts = append(p.ExtraDHCPOpts, rpc.DHCPOption{Name: o.name, Value: ptr(o.value), IPVersion: o.version})
	}
	return n
}

// guest runs an agent for the network and wires an instance, called vm, to it.
func guest(t *testing.T, n *rpc.DHCPNetwork, cfg Config) *server {
	t.Helper()
	s := host(t)
	s.networks["net1"] = n
	s.start(t, cfg)
	eventually(t, "ports ready", s.isReady("port1-5"))
	wire(t, "vm", guestMAC, "tap00000001-00")
	eventually(t, "link-local address", func() bool { // clients of DHCPv6 give up without
		own := run(t, "ip", "-n", "vm", "-6", "addr", "show", "dev", "eth0", "scope", "link")
		return strings.Contains(own, "fe80:") && !strings.Contains(own, "tentative")
	})
	return s
}

// program is a client in the instance.
type program struct {
	t   *testing.T
	cmd *exec.Cmd
	log string // file with what its script printed
}

// launch starts a client. It ends with the test.
func launch(t *testing.T, log string, argv ...string) *program {
	t.Helper()
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	must(t, err)
	defer out.Close()
	// In a process namespace of its own, so that nothing that it starts outlives it.
	p := &program{t, exec.Command("ip", append([]string{"netns", "exec", "vm", "unshare", "--pid", "--fork", "--kill-child", "--mount-proc"}, argv...)...), log}
	p.cmd.Stdout, p.cmd.Stderr = out, out
	must(t, p.cmd.Start())
	t.Cleanup(p.stop)
	return p
}

func (p *program) stop() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

func (p *program) said() string {
	b, _ := os.ReadFile(p.log)
	return string(b)
}

// until is what it said before the text: what follows is perhaps half written.
func (p *program) until(text string) string {
	before, _, _ := strings.Cut(p.said(), text)
	return before
}

// waits until the client printed the text that many times.
func (p *program) waits(what string, times int) {
	p.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); strings.Count(p.said(), what) < times; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatalf("no %q (%d times) from %v:\n%s", what, times, p.cmd.Args, p.said())
		}
	}
}

// values picks from the lines "name=value" those of the names, the last of each.
func values(text string, names ...string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if slices.Contains(names, name) {
			out[name] = strings.Trim(value, `'"`)
		}
	}
	return out
}

func script(t *testing.T, text string) (path, dir string) {
	t.Helper()
	dir = t.TempDir()
	must(t, os.Chmod(filepath.Dir(dir), 0o755))
	path = filepath.Join(dir, "script")
	must(t, os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755))
	return path, dir
}

const dhclientConf = `option rfc3442-classless-static-routes code 121 = array of unsigned integer 8;
option ms-routes code 249 = array of unsigned integer 8;
request subnet-mask, broadcast-address, routers, domain-name, domain-name-servers, domain-search, host-name, interface-mtu, ntp-servers,
  rfc3442-classless-static-routes, ms-routes, dhcp6.name-servers, dhcp6.domain-search;
timeout 20; initial-interval 1; initial-delay 0;
`

const dhclientScript = `case $reason in
BOUND|RENEW|REBIND|REBOOT) ip addr replace $new_ip_address/24 dev $interface; [ -z "$REFUSE" ] || exit 1 ;;
BOUND6|RENEW6|REBIND6) [ -z "$new_ip6_address" ] || ip -6 addr replace $new_ip6_address/64 dev $interface ;;
EXPIRE|RELEASE|STOP|FAIL) ip -4 addr flush dev $interface ;;
esac
env
echo "done $reason"
`

// dhclient starts ISC's client; state is its directory.
func dhclient(t *testing.T, script, state string, args ...string) *program {
	t.Helper()
	conf := filepath.Join(state, "dhclient.conf")
	more, _ := os.ReadFile(conf + ".more")
	must(t, os.WriteFile(conf, append([]byte(dhclientConf), more...), 0o644))
	_ = os.Remove(filepath.Join(state, "pid")) // it would kill itself: all are process 1
	return launch(t, filepath.Join(state, "log"), append([]string{"dhclient", "-d", "-cf", conf, "-sf", script, "-lf", filepath.Join(state, "leases"),
		"-pf", filepath.Join(state, "pid"), "eth0"}, args...)...)
}

// A lease from its beginning to its end: bound, renewed with the server, extended with any server when that one does not
// answer, given back; and asked for again after the client found the address in use.
func TestDhclient(t *testing.T) {
	cfg := testConfig()
	cfg.LeaseDuration, cfg.RenewalTime, cfg.RebindingTime = 60*time.Second, time.Second, 3*time.Second
	guest(t, rich(), cfg)
	path, state := script(t, dhclientScript)
	p := dhclient(t, path, state)
	p.waits("done BOUND", 1)
	want := map[string]string{
		"new_ip_address": "10.0.0.5", "new_subnet_mask": "255.255.255.0", "new_broadcast_address": "10.0.0.255", "new_routers": "10.0.0.1",
		"new_domain_name": "openstacklocal", "new_domain_name_servers": "9.9.9.9 8.8.8.8", "new_domain_search": "one.example. two.example.",
		"new_host_name": "web", "new_interface_mtu": "1450", "new_ntp_servers": "10.0.0.123", "new_dhcp_lease_time": "60",
		"new_dhcp_renewal_time": "1", "new_dhcp_rebinding_time": "3", "new_dhcp_server_identifier": "10.0.0.2",
		"new_rfc3442_classless_static_routes": "24 192 0 2 10 0 0 9 0 10 0 0 1", "new_ms_routes": "24 192 0 2 10 0 0 9 0 10 0 0 1",
	}
	var names []string
	for name := range want {
		names = append(names, name)
	}
	if diff := cmp.Diff(want, values(p.until("done BOUND"), names...)); diff != "" {
		t.Errorf("lease (-want +got):\n%s", diff)
	}
	p.waits("done RENEW", 2)
	// What is sent to the server alone does not arrive; what is sent to all does, since that is a raw packet.
	run(t, "ip", "netns", "exec", "vm", "nft", "add table ip t; add chain ip t o {type filter hook output priority 0;}; add rule ip t o ip daddr 10.0.0.2 udp dport 67 drop")
	before := strings.Count(p.said(), "DHCPACK")
	p.waits("DHCPREQUEST for 10.0.0.5 on eth0 to 255.255.255.255", 1)
	p.waits("DHCPACK", before+1)
	run(t, "ip", "netns", "exec", "vm", "nft", "delete table ip t")
	p.stop()
	out := run(t, "ip", "netns", "exec", "vm", "dhclient", "-r", "-v", "-cf", filepath.Join(state, "dhclient.conf"), "-sf", path,
		"-lf", filepath.Join(state, "leases"), "-pf", filepath.Join(state, "none"), "eth0")
	if !strings.Contains(out, "DHCPRELEASE of 10.0.0.5") {
		t.Errorf("no release:\n%s", out)
	}
	if got := udhcpc(t, "vm")["ip"]; got != "10.0.0.5" {
		t.Errorf("after the release: %s", got)
	}
}

func TestDhclientDecline(t *testing.T) {
	guest(t, rich(), testConfig())
	path, state := script(t, "REFUSE=1\n"+dhclientScript)
	p := dhclient(t, path, state)
	p.waits("DHCPDECLINE", 1)
	p.stop()
	run(t, "ip", "-n", "vm", "addr", "flush", "dev", "eth0", "scope", "global")
	if got := udhcpc(t, "vm")["ip"]; got != "10.0.0.5" {
		t.Errorf("after a decline: %s", got)
	}
}

func TestDhclient6(t *testing.T) {
	cfg := testConfig()
	cfg.LeaseDuration, cfg.RenewalTime, cfg.RebindingTime = 60*time.Second, time.Second, 3*time.Second
	guest(t, rich(), cfg)
	path, state := script(t, dhclientScript)
	p := dhclient(t, path, state, "-6")
	p.waits("done BOUND6", 1)
	want := map[string]string{"new_ip6_address": "2001:db8::5", "new_max_life": "60", "new_preferred_life": "60", "new_renew": "1", "new_rebind": "3",
		"new_dhcp6_name_servers": "2620:fe::9", "new_dhcp6_domain_search": "openstacklocal."}
	if diff := cmp.Diff(want, values(p.until("done BOUND6"), "new_ip6_address", "new_max_life", "new_preferred_life", "new_renew", "new_rebind",
		"new_dhcp6_name_servers", "new_dhcp6_domain_search")); diff != "" {
		t.Errorf("lease (-want +got):\n%s", diff)
	}
	p.waits("done RENEW6", 2)
	p.stop()
	p = dhclient(t, path, state, "-6", "-r", "-v")
	p.waits("XMT: Release", 1) // it does not wait for the answer
	p.stop()
	answers := strings.Count(p.said(), "new_dhcp6_name_servers=2620:fe::9")
	p = dhclient(t, path, state, "-6", "-S", "-v")
	p.waits("XMT: Info-Request", 1)
	p.waits("new_dhcp6_name_servers=2620:fe::9", answers+1)
}

func TestDhcpcd(t *testing.T) {
	guest(t, rich(), testConfig())
	path, state := script(t, `[ -z "$if_up" ] || env; echo "done $reason"`+"\n")
	conf := filepath.Join(state, "dhcpcd.conf")
	must(t, os.WriteFile(conf, []byte("duid ll\nipv6\nnoipv6rs\nia_na\noption domain_name_servers, domain_name, domain_search, host_name, classless_static_routes, interface_mtu, ntp_servers\n"+
		"option dhcp6_name_servers, dhcp6_domain_search\n"), 0o644))
	for _, dir := range []string{"/var/lib/dhcpcd", "/run/dhcpcd"} { // of this process only: its mounts are its own
		must(t, os.MkdirAll(dir, 0o755))
		run(t, "mount", "-t", "tmpfs", "-o", "mode=755", "sandbox", dir)
		t.Cleanup(func() { run(t, "umount", "-l", dir) })
	}
	p := launch(t, filepath.Join(state, "log"), "dhcpcd", "-B", "-d", "-f", conf, "-c", path, "eth0")
	p.waits("done BOUND6", 1)
	p.waits("done BOUND\n", 1)
	want := map[string]string{"new_ip_address": "10.0.0.5", "new_domain_name_servers": "9.9.9.9 8.8.8.8", "new_domain_search": "one.example two.example",
		"new_host_name": "web", "new_interface_mtu": "1450", "new_ntp_servers": "10.0.0.123", "new_classless_static_routes": "192.0.2.0/24 10.0.0.9 0.0.0.0/0 10.0.0.1",
		"new_dhcp6_ia_na1_ia_addr1": "2001:db8::5", "new_dhcp6_name_servers": "2620:fe::9", "new_dhcp6_domain_search": "openstacklocal"}
	var names []string
	for name := range want {
		names = append(names, name)
	}
	if diff := cmp.Diff(want, values(p.said(), names...)); diff != "" {
		t.Errorf("leases (-want +got):\n%s\n%s", diff, p.said())
	}
	if routes := run(t, "ip", "-n", "vm", "route"); !regexp.MustCompile(`(?m)^default via 10.0.0.1 .*\n(.*\n)*192.0.2.0/24 via 10.0.0.9 `).MatchString(routes) {
		t.Errorf("routes:\n%s", routes)
	}
}

// networkd runs without systemd and without D-Bus. A read-only /sys tells it that no udev will announce interfaces.
func TestNetworkd(t *testing.T) {
	guest(t, rich(), testConfig())
	path, state := script(t, `set -e
mount --make-rprivate /
mount -o remount,ro,bind /sys 2>/dev/null || mount -t sysfs -o ro sysfs /sys
mount -t tmpfs -o mode=755 sandbox /run
mkdir -p /run/systemd/network /run/systemd/netif/leases /run/systemd/netif/links /run/systemd/netif/lldp
chown -R systemd-network: /run/systemd/netif
cat >/run/systemd/network/eth0.network <<N
[Match]
Name=eth0
[Network]
DHCP=yes
IPv6AcceptRA=no
[DHCP]
UseMTU=yes
UseDomains=yes
[DHCPv4]
ClientIdentifier=mac
[DHCPv6]
DUIDType=link-layer
WithoutRA=solicit
N
/lib/systemd/systemd-networkd &
while sleep 0.05; do
	cat /run/systemd/netif/leases/* /run/systemd/netif/links/* 2>/dev/null || true
	echo "link mtu=$(cat /sys/class/net/eth0/mtu)"
	echo "addresses=$(ip -o addr show dev eth0 scope global | awk '{print $4}' | sort | xargs)" # which are its own: no script, no D-Bus
done
`)
	p := launch(t, filepath.Join(state, "log"), "unshare", "-m", path)
	p.waits("DNS=9.9.9.9 8.8.8.8 2620:fe::9", 1)
	p.waits("addresses=10.0.0.5/24 2001:db8::5/128", 1)
	want := map[string]string{"ADDRESS": "10.0.0.5", "SERVER_ADDRESS": "10.0.0.2", "MTU": "1450", "HOSTNAME": "web", "DOMAINNAME": "openstacklocal",
		"LIFETIME": "86400", "T1": "43200", "T2": "75600", "CLASSLESS_ROUTES": "192.0.2.0/24,10.0.0.9 0.0.0.0/0,10.0.0.1",
		"DNS": "9.9.9.9 8.8.8.8 2620:fe::9", "NTP": "10.0.0.123 2001:db8::123", "DOMAINS": "openstacklocal one.example two.example openstacklocal",
		"link mtu": "1450"}
	var names []string
	for name := range want {
		names = append(names, name)
	}
	// The client writes its files one after the other, and they are printed all the time: the last printing may be half of one.
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		said := p.said()
		diff := cmp.Diff(want, values(said, names...))
		if diff == "" {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("lease (-want +got):\n%s\n%s", diff, said)
		}
	}
}

func TestDhcp6c(t *testing.T) {
	guest(t, rich(), testConfig())
	path, state := script(t, `env >>`+"/proc/$PPID/fd/1\n")
	conf := filepath.Join(state, "dhcp6c.conf")
	must(t, os.WriteFile(conf, []byte(fmt.Sprintf("interface eth0 { send ia-na 1; request domain-name-servers; request domain-name; request ntp-servers; script %q; };\nid-assoc na 1 { };\n", path)), 0o644))
	must(t, os.MkdirAll("/var/lib/dhcpv6", 0o755))
	run(t, "mount", "-t", "tmpfs", "sandbox", "/var/lib/dhcpv6")
	t.Cleanup(func() { run(t, "umount", "-l", "/var/lib/dhcpv6") })
	p := launch(t, filepath.Join(state, "log"), "dhcp6c", "-f", "-D", "-c", conf, "-p", filepath.Join(state, "pid"), "eth0")
	eventually(t, "address", func() bool { return strings.Contains(run(t, "ip", "-n", "vm", "-6", "addr"), "2001:db8::5/") })
	p.waits("2620:fe::9", 1)
	p.waits("openstacklocal", 1)
}

// Where a subnet names no DNS server, the agents' ports are that: they know the network's ports, also one that comes later.
func TestInternalDNS(t *testing.T) {
	n := testNetwork(1)
	n.Ports[1].DNSAssignment = []rpc.DNSAssignment{{IPAddress: "10.0.0.6", Hostname: "db", FQDN: "db.openstacklocal."}}
	n.Ports = append(n.Ports, rpc.Port{ID: "other-agent", NetworkID: "net1", DeviceID: "dhcp-elsewhere", DeviceOwner: ownerDHCP, MACAddress: "fa:16:3e:00:01:03",
		FixedIPs: []rpc.FixedIP{{SubnetID: "sub1", IPAddress: "10.0.0.3"}}})
	s := guest(t, n, testConfig())
	lease := udhcpc(t, "vm")
	if lease["dns"] != "10.0.0.2 10.0.0.3" {
		t.Errorf("DNS servers %q", lease["dns"])
	}
	ask := func(name string, kind uint16) (answer string) {
		err := netns.Do("vm", func() error {
			reply, err := query.Exchange(new(query.Msg).SetQuestion(name, kind), "10.0.0.2:53")
			for tries := 1; err != nil && tries < 10; tries++ { // as a resolver does
				reply, err = query.Exchange(new(query.Msg).SetQuestion(name, kind), "10.0.0.2:53")
			}
			if err == nil {
				answer = query.RcodeToString[reply.Rcode]
				for _, rr := range reply.Answer {
					answer += " " + strings.TrimPrefix(rr.String(), rr.Header().String())
				}
			}
			return err
		})
		must(t, err)
		return answer
	}
	for name, want := range map[string]string{"db.openstacklocal.": "NOERROR 10.0.0.6", "db.": "NOERROR 10.0.0.6", "host-10-0-0-5.openstacklocal.": "NOERROR 10.0.0.5",
		"www.example.org.": "REFUSED"} {
		if got := ask(name, query.TypeA); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	if got := ask("6.0.0.10.in-addr.arpa.", query.TypePTR); got != "NOERROR db.openstacklocal." {
		t.Errorf("PTR: %s", got)
	}
	s.addPort(t, rpc.Port{ID: "new", NetworkID: "net1", MACAddress: "fa:16:3e:00:01:07", DeviceOwner: "compute:nova",
		FixedIPs: []rpc.FixedIP{{SubnetID: "sub1", IPAddress: "10.0.0.7"}}})
	eventually(t, "new port ready", s.isReady("new"))
	if got := ask("host-10-0-0-7.openstacklocal.", query.TypeA); got != "NOERROR 10.0.0.7" {
		t.Errorf("new port: %s", got)
	}
}

// upstream leaves what upstream's agent leaves on a network: a namespace with a device and dnsmasq. The device's other end
// is called peer.
func upstream(t *testing.T, network, device, peer, options string) *exec.Cmd {
	t.Helper()
	ns, dir := "qdhcp-"+network, filepath.Join(t.TempDir(), "dhcp", network)
	must(t, os.MkdirAll(dir, 0o755))
	_, err := netns.Ensure(ns)
	must(t, err)
	run(t, "ip", "link", "add", peer, "type", "veth", "peer", "name", device, "netns", ns)
	run(t, "ip", "link", "set", peer, "up")
	run(t, "ip", "-n", ns, "link", "set", device, "address", "fa:16:3e:ff:00:01") // the port stays the same
	run(t, "ip", "-n", ns, "link", "set", device, "up")
	run(t, "ip", "-n", ns, "addr", "add", "10.0.0.2/24", "dev", device)
	must(t, veth.DisableChecksumOffload(ns, device)) // upstream has a netfilter rule for that
	args := strings.Fields("netns exec " + ns + " dnsmasq --no-daemon --user=root --no-hosts --no-resolv --pid-file=" + dir + "/pid --dhcp-leasefile=" + dir + "/leases " +
		"--bind-dynamic --conf-file=/dev/null --local-service --dhcp-range=10.0.0.0,static,255.255.255.0,120s " + options)
	cmd := exec.Command("ip", args...)
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	isRunning(t, cmd, "dnsmasq")
	return cmd
}

// isRunning waits until a process is what ip(8) was told to make of it: before, nobody sees of which network it is.
func isRunning(t *testing.T, c *exec.Cmd, program string) {
	t.Helper()
	eventually(t, program+" runs", func() bool {
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", c.Process.Pid))
		return err == nil && string(name) == program+"\n"
	})
}

// A client of upstream's dnsmasq keeps its lease and its address when we take the network over. A dnsmasq that is not
// certainly the network's is left alone; one of a network that is no longer here goes with its namespace.
func TestTakeover(t *testing.T) {
	s := host(t)
	s.networks["net1"] = testNetwork(1)
	lease := "--dhcp-host=" + guestMAC + ",host-10-0-0-5,10.0.0.5"
	old, stray := upstream(t, "net1", "tap00000001-00", "br-port1", lease), upstream(t, "gone", "tap00000009-00", "br-port2", "")
	foreign := exec.Command("ip", strings.Fields("netns exec qdhcp-net1 dnsmasq --no-daemon --port=5353 --conf-file=/dev/null --pid-file="+t.TempDir()+"/other/pid")...)
	must(t, foreign.Start())
	t.Cleanup(func() { _ = foreign.Process.Kill(); _ = foreign.Wait() })
	isRunning(t, foreign, "dnsmasq")
	wire(t, "vm", guestMAC, "br-port1")
	path, state := script(t, dhclientScript)
	must(t, os.WriteFile(filepath.Join(state, "dhclient.conf.more"), []byte("supersede dhcp-renewal-time 1;"), 0o644))
	p := dhclient(t, path, state)
	p.waits("done RENEW", 1)
	discovers := strings.Count(p.said(), "DHCPDISCOVER")

	a, _ := s.start(t, testConfig())
	eventually(t, "ports ready", s.isReady("port1-5"))
	_ = old.Wait()
	_ = stray.Wait()
	eventually(t, "namespace of a network that is gone", func() bool { return !netns.Exists("qdhcp-gone") })
	if err := foreign.Process.Signal(syscall.Signal(0)); err != nil {
		t.Error("somebody else's dnsmasq was ended")
	}
	run(t, "ip", "link", "set", "tap00000001-00", "master", "br-vm")
	p.waits("done RENEW", strings.Count(p.said(), "done RENEW")+2)
	for _, bad := range []string{"DHCPNAK", "EXPIRE", "FAIL"} {
		if strings.Contains(p.said(), bad) {
			t.Errorf("the client saw %s:\n%s", bad, p.said())
		}
	}
	if n := strings.Count(p.said(), "DHCPDISCOVER"); n != discovers {
		t.Errorf("the client began anew:\n%s", p.said())
	}
	if got := run(t, "ip", "-n", "qdhcp-net1", "-o", "link"); strings.Contains(got, "tap") {
		t.Errorf("the device of the former agent is left:\n%s", got)
	}
	if err := a.Healthy(); err != nil {
		t.Error(err)
	}
}

func TestNetworkOfProcess(t *testing.T) {
	for _, c := range []struct{ program, args, want string }{
		{"dnsmasq", "dnsmasq --no-hosts --pid-file=/var/lib/neutron/dhcp/0b1c/pid", "0b1c"},
		{"dnsmasq", "dnsmasq --pid-file=/run/dnsmasq.pid", ""},
		{"dnsmasq", "dnsmasq", ""},
		{"haproxy", "haproxy -f /var/lib/neutron/ns-metadata-proxy/0b1c.conf", "0b1c"},
		{"haproxy", "haproxy -f /etc/haproxy/haproxy.cfg", ""},
	} {
		if got := networkOf(c.program, strings.Fields(c.args)); got != c.want {
			t.Errorf("%s: %q, want %q", c.args, got, c.want)
		}
	}
}
