package dhcp

import (
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

func TestDnsmasqFile(t *testing.T) {
	f, err := NewParser().ReadDnsmasqFile(strings.NewReader(`# for all
dhcp-option=option:ntp-server,192.0.2.1,192.0.2.2
dhcp-option-force=26,1400
dhcp-option=tag:ipxe,67,http://192.0.2.1/x
dhcp-option = option6:dns-server,[2001:db8::1]
server=192.0.2.53
log-dhcp
dhcp-option=nonsense,1
`))
	must(t, err)
	want := DnsmasqFile{
		Options4: []Option{{Code: 42, Data: []byte{192, 0, 2, 1, 192, 0, 2, 2}}, {Code: 26, Data: []byte{5, 120}, Force: true},
			{Code: 67, Data: []byte("http://192.0.2.1/x"), Tags: []string{"ipxe"}}},
		Options6: []Option{{Code: 23, Data: net.ParseIP("2001:db8::1")}},
		Servers:  []string{"192.0.2.53"},
		Unused:   []string{"log-dhcp", `dhcp-option=nonsense,1: option "nonsense" is neither a known name nor a number`},
	}
	if diff := cmp.Diff(want, f); diff != "" {
		t.Errorf("file (-want +got):\n%s", diff)
	}

	n := testNetwork(t)
	n.Options4, n.MTU = f.Options4, 0
	hw, _ := net.ParseMAC(hostMAC)
	req, err := dhcpv4.NewDiscovery(hw, dhcpv4.WithRequestedOptions(dhcpv4.OptionNTPServers, dhcpv4.OptionDomainNameServer))
	must(t, err)
	req.Options.Del(dhcpv4.OptionParameterRequestList)
	req.UpdateOption(dhcpv4.OptParameterRequestList(dhcpv4.OptionNTPServers, dhcpv4.OptionDomainNameServer))
	reply := n.Reply4(req)
	if mtu := reply.GetOneOption(dhcpv4.OptionInterfaceMTU); len(reply.NTPServers()) != 2 || string(mtu) != "\x05\x78" || reply.DNS()[0].String() != "192.0.2.53" {
		t.Errorf("reply %s", reply.Summary())
	}
}
