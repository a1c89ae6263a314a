package dhcp

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
)

// extra is an extra_dhcp_opt of one port.
type extra struct {
	is4         bool
	name, value string
}

// compared are the options of the comparison with dnsmasq; each is given to a port of its own.
func compared() []extra {
	var list []extra
	for _, o := range [][2]string{
		{"tftp-server", "10.0.0.100"}, {"66", "10.0.0.100"}, {"tftp-server", "boot.example.org"}, {"bootfile-name", "pxelinux.0"}, {"67", "pxelinux.0"},
		{"150", "10.0.0.100"}, {"150", "10.0.0.100,10.0.0.101"}, {"tftp-server-address", "10.0.0.100"}, {"server-ip-address", "10.0.0.100"},
		{"255", "10.0.0.100"}, {"tag:!ipxe,67", "undionly.kpxe"}, {"tag:ipxe,67", "http://10.0.0.100/boot.ipxe"}, {"tag:!ipxe,bootfile-name", "a.kpxe"},
		{"tag:ipxe,tag:other,67", "never"}, {"tag:!ipxe,tag:!other,67", "both"}, {"210", "/tftpboot/"}, {"209", "conf"},
		{"ntp-server", "10.0.0.1,10.0.0.2"}, {"42", "10.0.0.1"}, {"dns-server", "10.0.0.9"}, {"6", "10.0.0.9,10.0.0.8"}, {"dns-server", ""},
		{"router", "10.0.0.254"}, {"3", "10.0.0.254"}, {"router", ""}, {"3", ""}, {"domain-name", "other.example"}, {"15", "other.example"},
		{"domain-search", "a.example,b.test"}, {"119", "a.example,b.test"}, {"mtu", "1400"}, {"26", "1400"}, {"12", "me"},
		{"classless-static-route", "10.1.0.0/20,10.0.0.1,0.0.0.0/0,10.0.0.2"}, {"121", "192.168.0.0/16,10.0.0.1"}, {"249", "192.168.0.0/16,10.0.0.1"},
		{"static-route", "10.1.0.0,10.0.0.1"}, {"netmask", "255.255.0.0"}, {"1", "255.255.0.0"}, {"28", "10.0.255.255"},
		{"time-offset", "-3600"}, {"2", "3600"}, {"default-ttl", "33"}, {"23", "33"}, {"arp-timeout", "300"}, {"ip-forward-enable", "1"},
		{"T1", "10m"}, {"58", "60"}, {"T2", "1d"}, {"59", "70"}, {"log-server", "10.0.0.7"}, {"nis-domain", "nis"}, {"root-path", "/export/root"},
		{"netbios-ns", "10.0.0.7"}, {"netbios-nodetype", "8"}, {"vendor-class", "abc"}, {"posix-timezone", "CET-1CEST"}, {"tzdb-timezone", "Europe/Berlin"},
		{"100", "EST5EDT,M3.2.0,M11.1.0"}, {"tzdb-timezone", "a,b"}, {"sip-server", "10.0.0.7"}, {"sip-server", "sip.example.org"}, {"120", "sip.example.org"},
		{"smtp-server", "10.0.0.7"}, {"user-class", "uc"}, {"client-arch", "7"}, {"252", "http://wpad/wpad.dat"},
		{"224", "5"}, {"225", "300"}, {"226", "70000"}, {"227", "-5"}, {"228", "01:02:ab"}, {"229", "text"}, {"230", "10.0.0.1"}, {"231", "10.0.0.1,10.0.0.2"},
		{"232", "a,b"}, {"233", "0x10"}, {"234", "01"}, {"235", "1,2"}, {"236", "\"quoted, text\""}, {"237", "de:ad:be:ef"}, {"238", "10.0.0.0/24"}, {"239", "true"},
		{"240", "5b"}, {"241", "300s"}, {"242", "TLSSRVR=10.0.0.1,HTTPSRVR=10.0.0.2"}, {"67", "a,b"}, {"ipv6-only", "300"}, {"108", "300"}, {"43", "01:04:0a:00:00:01"},
		{"160", "https://x/y"}, {"114", "https://portal"}, {"60", "PXEClient"}, {"81", "x"}, {"175", "x"},
		{"option:ntp-server", "10.0.0.3"}, {"17", "iscsi:10.0.0.1::::iqn"}, {"203", "iqn.x:1"},
	} {
		list = append(list, extra{true, o[0], o[1]})
	}
	for _, o := range [][2]string{
		{"dns-server", "[2001:db8::99]"}, {"23", "[2001:db8::99]"}, {"dns-server", "2001:db8::99"}, {"dns-server", "[2001:db8::99],[2001:db8::98]"}, {"dns-server", ""},
		{"domain-search", "a.example,b.example"}, {"24", "a.example"}, {"bootfile-url", "tftp://[2001:db8::1]/x"}, {"59", "tftp://[2001:db8::1]/x"},
		{"bootfile-param", "one,two"}, {"60", "one"}, {"ntp-server", "[2001:db8::5]"}, {"56", "[2001:db8::5]"}, {"ntp-server", "ntp.example.org"}, {"sntp-server", "[2001:db8::5]"},
		{"sip-server", "[2001:db8::5]"}, {"sip-server-domain", "sip.example"}, {"information-refresh-time", "1h"}, {"posix-timezone", "CET-1"},
		{"nis-domain", "nis.example"}, {"tag:ipxe6,59", "http://never"}, {"tag:!ipxe6,59", "tftp://x"}, {"300", "text"}, {"301", "01:02"}, {"302", "5"}, {"303", "[2001:db8::1]"},
		{"304", "70000"}, {"305", "a,b"}, {"103", "https://portal"}, {"option6:ntp-server", "[2001:db8::5]"},
	} {
		list = append(list, extra{false, o[0], o[1]})
	}
	return list
}

// upstreamLine writes an option as upstream does for dnsmasq (agent/linux/dhcp.py _format_option).
func (e extra) upstreamLine(tag string) string {
	name := strings.TrimPrefix(strings.TrimPrefix(e.name, "option:"), "option6:") // upstream doubles them, so that dnsmasq refuses
	tags := ""
	if i := strings.LastIndex(name, "tag:"); i >= 0 {
		i += strings.Index(name[i:], ",") + 1
		tags, name = name[:i], name[i:]
	}
	switch {
	case !e.is4:
		name = "option6:" + name
	case strings.Trim(name, "0123456789") != "":
		name = "option:" + name
	}
	line := "tag:" + tag + "," + tags + name
	if e.value != "" {
		line += "," + e.value
	}
	return line
}

// askDnsmasq starts dnsmasq with upstream's arguments and each option for a port of its own, in a namespace. The result
// sends it a request by way of a relay.
func askDnsmasq(t *testing.T, list []extra) (ask4 func(*dhcpv4.DHCPv4) *dhcpv4.DHCPv4, ask6 func(*dhcpv6.Message, MAC) *dhcpv6.Message) {
	t.Helper()
	namespace, client := link(t, "fa:16:3e:00:00:01", "2001:db8:1::1")
	for _, args := range []string{"addr add 10.0.0.1/24 dev " + client, "link set " + client + " up"} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %s", args, out)
		}
	}
	dir := t.TempDir()
	var hosts, opts strings.Builder
	for i, e := range list {
		port := fmt.Sprintf("port-%d", i)
		if e.name == "client-id" {
			fmt.Fprintf(&hosts, "%s,id:%s,host-%d.example.org,10.0.0.%d\n", macOfCase(i), e.value, i, i+3)
			continue
		}
		if e.is4 {
			fmt.Fprintf(&hosts, "%s,host-%d.example.org,10.0.0.%d,set:%s\n", macOfCase(i), i, i+3, port)
		} else {
			fmt.Fprintf(&hosts, "%s,tag:dhcpv6,host-%d.example.org,[2001:db8:1::%x],set:%s\n", macOfCase(i), i, i+3, port)
		}
		fmt.Fprintln(&opts, e.upstreamLine(port))
	}
	fmt.Fprintf(&opts, "tag:subnet-v4,option:dns-server,9.9.9.9\ntag:subnet-v4,option:router,10.0.0.1\n")
	fmt.Fprintf(&opts, "tag:subnet-v6,option6:dns-server,[2620:fe::9]\ntag:subnet-v6,option6:domain-search,openstacklocal\n")
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, []byte(text), 0o644))
		return path
	}
	must(t, os.Chmod(filepath.Dir(dir), 0o755))
	must(t, os.Chmod(dir, 0o777))
	cmd := exec.Command("ip", "netns", "exec", namespace, "dnsmasq", "--no-daemon", "--no-hosts", "--no-resolv", "--pid-file="+filepath.Join(dir, "pid"),
		"--dhcp-hostsfile="+file("host", hosts.String()), "--dhcp-optsfile="+file("opts", opts.String()), "--dhcp-leasefile="+file("leases", ""),
		"--dhcp-match=set:ipxe,175", "--dhcp-userclass=set:ipxe6,iPXE", "--local-service", "--bind-dynamic", "--user=root",
		"--dhcp-range=set:subnet-v4,10.0.0.0,static,255.255.255.0,86400s", "--dhcp-range=set:subnet-v6,2001:db8:1::,static,64,86400s",
		"--dhcp-option-force=option:mtu,1450", "--dhcp-lease-max=1000", "--conf-file=/dev/null", "--domain=openstacklocal")
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		for line := range strings.Lines(log.String()) {
			if strings.Contains(line, "bad ") || strings.Contains(line, "error") || strings.Contains(line, "unrecog") {
				t.Log(strings.TrimSpace(line))
			}
		}
	})
	conn4, err := net.ListenPacket("udp4", "10.0.0.1:67")
	must(t, err)
	conn6, err := net.ListenPacket("udp6", "[2001:db8:1::1]:547")
	must(t, err)
	t.Cleanup(func() { conn4.Close(); conn6.Close() })
	exchange := func(conn net.PacketConn, to net.Addr, request, transaction []byte) []byte {
		buf := make([]byte, 4096)
		for range 40 { // it may not be up yet
			_, err := conn.WriteTo(request, to)
			must(t, err)
			must(t, conn.SetReadDeadline(time.Now().Add(250*time.Millisecond)))
			for {
				n, _, err := conn.ReadFrom(buf)
				if err != nil {
					break
				}
				if bytes.Contains(buf[:n], transaction) { // no late answer to something else
					return buf[:n]
				}
			}
		}
		t.Fatal("dnsmasq does not answer")
		return nil
	}
	ask4 = func(req *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
		reply, err := dhcpv4.FromBytes(exchange(conn4, &net.UDPAddr{IP: net.IPv4(10, 0, 0, 2), Port: 67}, req.ToBytes(), req.TransactionID[:]))
		must(t, err)
		return reply
	}
	ask6 = func(req *dhcpv6.Message, mac MAC) *dhcpv6.Message {
		relay := &dhcpv6.RelayMessage{MessageType: dhcpv6.MessageTypeRelayForward, LinkAddr: net.ParseIP("2001:db8:1::1"), PeerAddr: net.ParseIP("fe80::1")}
		relay.AddOption(dhcpv6.OptClientLinkLayerAddress(iana.HWTypeEthernet, mac[:]))
		relay.AddOption(dhcpv6.OptRelayMessage(req))
		packet, err := dhcpv6.FromBytes(exchange(conn6, &net.UDPAddr{IP: net.ParseIP("2001:db8:1::2"), Port: 547}, relay.ToBytes(), req.TransactionID[:]))
		must(t, err)
		reply, err := packet.GetInnerMessage()
		must(t, err)
		return reply
	}
	return ask4, ask6
}

func macOfCase(i int) MAC { return MAC{0xfa, 0x16, 0x3e, 1, 0, byte(i)} }

// theSame makes the network of askDnsmasq for our server.
func theSame(t *testing.T, list []extra) *Network {
	t.Helper()
	var hosts []*Host
	parser := NewParser()
	for i, e := range list {
		h := &Host{MAC: macOfCase(i)}
		a := Assignment{Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 3)}), SubnetID: "v4", Name: fmt.Sprintf("host-%d", i)}
		o, err := parser.Parse(e.is4, e.name, e.value)
		if !e.is4 {
			a.Addr, a.SubnetID = netip.MustParseAddr(fmt.Sprintf("2001:db8:1::%x", i+3)), "v6"
		}
		h.Addrs = []Assignment{a}
		switch {
		case e.name == "client-id":
			h.ClientID = ParseClientID(e.value)
		case err != nil:
			t.Logf("refused: %v", err)
		case e.is4:
			h.Options4 = []Option{o}
		default:
			h.Options6 = []Option{o}
		}
		hosts = append(hosts, h)
	}
	return NewNetwork(Settings{MAC: mustMAC(t, "fa:16:3e:00:00:02"), MTU: 1450, Domain: "openstacklocal", Lease: 24 * time.Hour, Subnets: []Subnet{
		{ID: "v4", Prefix: netip.MustParsePrefix("10.0.0.0/24"), Server: netip.MustParseAddr("10.0.0.2"), Gateway: netip.MustParseAddr("10.0.0.1"),
			DNS: []netip.Addr{netip.MustParseAddr("9.9.9.9")}},
		{ID: "v6", Prefix: netip.MustParsePrefix("2001:db8:1::/64"), Server: netip.MustParseAddr("2001:db8:1::2"), DNS: []netip.Addr{netip.MustParseAddr("2620:fe::9")}},
	}}, NewHosts(hosts...))
}

// text4 is what a client sees of a reply.
func text4(r *dhcpv4.DHCPv4) map[string]string {
	if r == nil {
		return nil
	}
	out := map[string]string{"address": r.YourIPAddr.String(), "siaddr": r.ServerIPAddr.String(), "file": r.BootFileName, "sname": r.ServerHostName,
		"flags": fmt.Sprint(r.Flags), "client": r.ClientIPAddr.String()}
	for code, data := range r.Options {
		out[fmt.Sprint(code)] = hex.EncodeToString(data)
	}
	delete(out, "52")
	return out
}

func text6(m *dhcpv6.Message) map[string]string {
	if m == nil {
		return nil
	}
	out := map[string]string{}
	for _, o := range m.Options.Options {
		out[fmt.Sprint(o.Code())] += hex.EncodeToString(o.ToBytes()) + " "
	}
	for _, code := range []dhcpv6.OptionCode{dhcpv6.OptionServerID, dhcpv6.OptionStatusCode, dhcpv6.OptionIANA} {
		delete(out, fmt.Sprint(code))
	}
	maps.DeleteFunc(out, func(name, data string) bool { // dnsmasq's ways to say nothing
		return name == fmt.Sprint(dhcpv6.OptionPreference) && data == "00 " || data == " "
	})
	return out
}

// Each extra DHCP option gives the same reply as upstream's dnsmasq gives, to clients that ask for everything, for
// nothing but the option, by PXE, and by iPXE.
func TestOptionsAsDnsmasq(t *testing.T) {
	list := compared()
	ask4, ask6 := askDnsmasq(t, list)
	n := theSame(t, list)
	relay := net.IPv4(10, 0, 0, 1)
	for i, e := range list {
		mac := macOfCase(i)
		if !e.is4 {
			for name, add := range map[string]func(m *dhcpv6.Message){
				"all": func(*dhcpv6.Message) {}, "some": func(m *dhcpv6.Message) {
					m.AddOption(dhcpv6.OptRequestedOption(dhcpv6.OptionDNSRecursiveNameServer, dhcpv6.OptionBootfileURL, 302))
				},
				"ipxe": func(m *dhcpv6.Message) { m.AddOption(&dhcpv6.OptUserClass{UserClasses: [][]byte{[]byte("iPXE")}}) },
			} {
				req := &dhcpv6.Message{MessageType: dhcpv6.MessageTypeSolicit, TransactionID: dhcpv6.TransactionID{1, 2, byte(i)}}
				req.AddOption(dhcpv6.OptClientID(&dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: mac[:]}))
				req.AddOption(&dhcpv6.OptIANA{IaId: [4]byte{0, 0, 0, 1}})
				add(req)
				want, got := text6(ask6(req, mac)), text6(n.Reply6(req, Client6{MAC: mac, Link: netip.MustParseAddr("2001:db8:1::1")}))
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("IPv6 %s=%q, %s (-dnsmasq +ours):\n%s", e.name, e.value, name, diff)
				}
			}
			continue
		}
		for name, modify := range map[string][]dhcpv4.Modifier{
			"all": nil, "some": {dhcpv4.WithRequestedOptions(dhcpv4.OptionRouter, dhcpv4.OptionTFTPServerName, dhcpv4.GenericOptionCode(229))},
			"pxe": {dhcpv4.WithRequestedOptions(dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer, dhcpv4.OptionBootfileName, dhcpv4.OptionTFTPServerName,
				dhcpv4.GenericOptionCode(150), dhcpv4.GenericOptionCode(43)), dhcpv4.WithOption(dhcpv4.OptClassIdentifier("PXEClient:Arch:00007:UNDI:003016")),
				dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionClientSystemArchitectureType, []byte{0, 7}))},
			"ipxe": {dhcpv4.WithRequestedOptions(dhcpv4.OptionBootfileName), dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(175), []byte{1, 1, 1}))},
		} {
			req, err := dhcpv4.NewDiscovery(net.HardwareAddr(mac[:]), dhcpv4.WithRelay(relay))
			must(t, err)
			delete(req.Options, dhcpv4.OptionParameterRequestList.Code())
			for _, m := range modify {
				m(req)
			}
			want, got := text4(ask4(req)), text4(n.Reply4(req))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("IPv4 %s=%q, %s (-dnsmasq +ours):\n%s", e.name, e.value, name, diff)
			}
		}
	}
}

// The same for the messages of a lease's life.
func TestMessagesAsDnsmasq(t *testing.T) {
	list := []extra{{true, "ntp-server", "10.0.0.1"}, {true, "client-id", "01:02:03:04"}}
	ask4, _ := askDnsmasq(t, list)
	n := theSame(t, list)
	relay, own, wrong := dhcpv4.WithRelay(net.IPv4(10, 0, 0, 1)), net.IPv4(10, 0, 0, 3), net.IPv4(10, 0, 0, 99)
	request := func(more ...dhcpv4.Modifier) []dhcpv4.Modifier {
		return append([]dhcpv4.Modifier{relay, dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest)}, more...)
	}
	option := func(code dhcpv4.OptionCode, data string) dhcpv4.Modifier {
		return dhcpv4.WithOption(dhcpv4.OptGeneric(code, []byte(data)))
	}
	for _, c := range []struct {
		name string
		mac  MAC
		with []dhcpv4.Modifier
	}{
		{"discover", macOfCase(0), []dhcpv4.Modifier{relay, dhcpv4.WithMessageType(dhcpv4.MessageTypeDiscover)}},
		{"discover wants another", macOfCase(0), []dhcpv4.Modifier{relay, dhcpv4.WithMessageType(dhcpv4.MessageTypeDiscover), dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(wrong))}},
		{"selecting", macOfCase(0), request(dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(own)), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(10, 0, 0, 2))))},
		{"reboot", macOfCase(0), request(dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(own)))},
		{"renew", macOfCase(0), request(dhcpv4.WithClientIP(own))},
		{"reboot elsewhere", macOfCase(0), request(dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.IPv4(192, 0, 2, 9))))},
		{"reboot with another's", macOfCase(0), request(dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(wrong)))},
		{"host name", macOfCase(0), request(dhcpv4.WithClientIP(own), option(dhcpv4.OptionHostName, "mine"))},
		{"FQDN", macOfCase(0), request(dhcpv4.WithClientIP(own), option(dhcpv4.OptionFQDN, "\x00\x00\x00mine"))},
		{"FQDN, server updates", macOfCase(0), request(dhcpv4.WithClientIP(own), option(dhcpv4.OptionFQDN, "\x01\x00\x00mine.example"))},
		{"FQDN, encoded", macOfCase(0), request(dhcpv4.WithClientIP(own), option(dhcpv4.OptionFQDN, "\x05\x00\x00\x04mine"))},
		{"short lease", macOfCase(0), []dhcpv4.Modifier{relay, dhcpv4.WithMessageType(dhcpv4.MessageTypeDiscover), dhcpv4.WithOption(dhcpv4.OptIPAddressLeaseTime(10 * time.Minute))}},
		{"very short lease", macOfCase(0), []dhcpv4.Modifier{relay, dhcpv4.WithMessageType(dhcpv4.MessageTypeDiscover), dhcpv4.WithOption(dhcpv4.OptIPAddressLeaseTime(time.Second))}},
		{"long lease", macOfCase(0), []dhcpv4.Modifier{relay, dhcpv4.WithMessageType(dhcpv4.MessageTypeDiscover), dhcpv4.WithOption(dhcpv4.OptIPAddressLeaseTime(1000 * time.Hour))}},
		{"broadcast", macOfCase(0), []dhcpv4.Modifier{relay, dhcpv4.WithMessageType(dhcpv4.MessageTypeDiscover), dhcpv4.WithBroadcast(true)}},
		{"inform", macOfCase(0), []dhcpv4.Modifier{relay, dhcpv4.WithMessageType(dhcpv4.MessageTypeInform), dhcpv4.WithClientIP(own)}},
		{"client id", MAC{2, 2, 2, 2, 2, 2}, []dhcpv4.Modifier{relay, dhcpv4.WithMessageType(dhcpv4.MessageTypeDiscover), option(dhcpv4.OptionClientIdentifier, "\x01\x02\x03\x04")}},
		{"subnet selection", macOfCase(0), []dhcpv4.Modifier{dhcpv4.WithRelay(net.IPv4(10, 0, 0, 1)), dhcpv4.WithMessageType(dhcpv4.MessageTypeDiscover), option(dhcpv4.OptionSubnetSelection, "\x0a\x00\x00\x00")}},
		{"link selection", macOfCase(0), []dhcpv4.Modifier{dhcpv4.WithMessageType(dhcpv4.MessageTypeDiscover), relay, option(dhcpv4.OptionRelayAgentInformation, "\x05\x04\x0a\x00\x00\x00")}},
		{"long name", macOfCase(0), request(dhcpv4.WithClientIP(own), option(dhcpv4.OptionHostName, strings.Repeat("a", 200)))},
		{"small maximum", macOfCase(0), request(dhcpv4.WithClientIP(own), option(dhcpv4.OptionMaximumDHCPMessageSize, "\x02\x40"))},
		{"rapid commit", macOfCase(0), []dhcpv4.Modifier{relay, dhcpv4.WithMessageType(dhcpv4.MessageTypeDiscover), option(dhcpv4.GenericOptionCode(80), "")}},
		{"server override", macOfCase(0), []dhcpv4.Modifier{dhcpv4.WithMessageType(dhcpv4.MessageTypeDiscover), relay, option(dhcpv4.OptionRelayAgentInformation, "\x0b\x04\x0a\x00\x00\x01")}},
		{"server override, request", macOfCase(0), request(dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(own)), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(10, 0, 0, 1))), option(dhcpv4.OptionRelayAgentInformation, "\x0b\x04\x0a\x00\x00\x01"))},
		{"BOOTP", macOfCase(0), []dhcpv4.Modifier{relay}},
		{"BOOTP of another", macOfCase(1), []dhcpv4.Modifier{relay}},
		{"other client id", macOfCase(1), []dhcpv4.Modifier{relay, dhcpv4.WithMessageType(dhcpv4.MessageTypeDiscover), option(dhcpv4.OptionClientIdentifier, "\x09\x09")}},
	} {
		req, err := dhcpv4.New(append([]dhcpv4.Modifier{dhcpv4.WithHwAddr(net.HardwareAddr(c.mac[:]))}, c.with...)...)
		must(t, err)
		want, got := text4(ask4(req)), text4(n.Reply4(req))
		// On purpose: renewal times are not shaken, identifiers are returned (RFC 6842), and what has no lease gets no time of one.
		for _, code := range []string{"58", "59", "61"} {
			delete(want, code)
			delete(got, code)
		}
		switch c.name {
		case "inform":
			delete(want, "51")
		case "link selection": // dnsmasq says what a relay chose as if the client had chosen it
			delete(want, "118")
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-dnsmasq +ours):\n%s", c.name, diff)
		}
	}
}

// lease6 is what a reply says of addresses: those of each identity association with their lifetimes, and all status codes.
func lease6(m *dhcpv6.Message) string {
	var out []string
	if st := m.Options.Status(); st != nil {
		out = append(out, "status "+st.StatusCode.String())
	}
	for _, ia := range m.Options.IANA() {
		text := fmt.Sprintf("IA T1 %s T2 %s", ia.T1.Round(12*time.Hour), ia.T2.Round(24*time.Hour)) // dnsmasq shakes them
		for _, a := range ia.Options.Addresses() {
			text += fmt.Sprintf(" %s for %s, %s", a.IPv6Addr, a.PreferredLifetime, a.ValidLifetime)
		}
		if st := ia.Options.Status(); st != nil {
			text += " status " + st.StatusCode.String()
		}
		out = append(out, text)
	}
	return fmt.Sprint(m.MessageType, " ", strings.Join(out, "; "))
}

// The same for DHCPv6.
func TestMessages6AsDnsmasq(t *testing.T) {
	list := []extra{{false, "ntp-server", "[2001:db8::5]"}}
	_, ask6 := askDnsmasq(t, list)
	n := theSame(t, list)
	mac, own, link := macOfCase(0), net.ParseIP("2001:db8:1::3"), netip.MustParseAddr("2001:db8:1::1")
	message := func(kind dhcpv6.MessageType, server dhcpv6.DUID, holds net.IP) *dhcpv6.Message {
		m := &dhcpv6.Message{MessageType: kind, TransactionID: dhcpv6.TransactionID{0xa5, byte(kind), byte(len(holds))}}
		m.AddOption(dhcpv6.OptClientID(&dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: mac[:]}))
		if server != nil {
			m.AddOption(dhcpv6.OptServerID(server))
		}
		if kind != dhcpv6.MessageTypeInformationRequest {
			ia := &dhcpv6.OptIANA{IaId: [4]byte{0, 0, 0, 1}}
			if holds != nil {
				ia.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: holds})
			}
			m.AddOption(ia)
		}
		return m
	}
	theirs := ask6(message(dhcpv6.MessageTypeSolicit, nil, nil), mac).Options.ServerID()
	for _, c := range []struct {
		name   string
		kind   dhcpv6.MessageType
		server bool // the message names it
		holds  net.IP
	}{
		{"solicit", dhcpv6.MessageTypeSolicit, false, nil},
		{"request", dhcpv6.MessageTypeRequest, true, own},
		{"request without address", dhcpv6.MessageTypeRequest, true, nil},
		{"renew", dhcpv6.MessageTypeRenew, true, own},
		{"rebind", dhcpv6.MessageTypeRebind, false, own},
		{"confirm", dhcpv6.MessageTypeConfirm, false, own},
		{"confirm elsewhere", dhcpv6.MessageTypeConfirm, false, net.ParseIP("2001:db8:9::9")},
		{"inform", dhcpv6.MessageTypeInformationRequest, false, nil},
		{"release", dhcpv6.MessageTypeRelease, true, own},
	} {
		var theirServer, ourServer dhcpv6.DUID
		if c.server {
			theirServer, ourServer = theirs, n.duid()
		}
		their := ask6(message(c.kind, theirServer, c.holds), mac)
		our := n.Reply6(message(c.kind, ourServer, c.holds), Client6{MAC: mac, Link: link})
		if our == nil {
			t.Errorf("%s: no answer, dnsmasq: %s", c.name, their.Summary())
			continue
		}
		if c.kind == dhcpv6.MessageTypeInformationRequest { // the only one where dnsmasq tells the domain of its hosts file
			their.Options.Del(dhcpv6.OptionFQDN)
			our.Options.Del(dhcpv6.OptionFQDN)
		}
		if diff := cmp.Diff(lease6(their), lease6(our)); diff != "" {
			t.Errorf("%s (-dnsmasq +ours):\n%s", c.name, diff)
		}
		if diff := cmp.Diff(text6(their), text6(our)); diff != "" {
			t.Errorf("%s: options (-dnsmasq +ours):\n%s", c.name, diff)
		}
	}
}
