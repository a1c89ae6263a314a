package dhcp

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
)

func duidOf(t testing.TB, mac string) dhcpv6.DUID {
	hw, err := net.ParseMAC(mac)
	if err != nil {
		t.Fatal(err)
	}
	return &dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: hw}
}

// message makes a DHCPv6 message as a client sends it, by way of the wire format.
func message(t testing.TB, kind dhcpv6.MessageType, opts ...dhcpv6.Option) *dhcpv6.Message {
	t.Helper()
	m := &dhcpv6.Message{MessageType: kind, TransactionID: dhcpv6.TransactionID{1, 2, 3}}
	for _, o := range opts {
		m.AddOption(o)
	}
	back, err := dhcpv6.MessageFromBytes(m.ToBytes())
	if err != nil {
		t.Fatal(err)
	}
	return back
}

func iana6(id byte, addrs ...string) *dhcpv6.OptIANA {
	ia := &dhcpv6.OptIANA{IaId: [4]byte{0, 0, 0, id}}
	for _, a := range addrs {
		ia.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: net.ParseIP(a), PreferredLifetime: time.Hour, ValidLifetime: time.Hour})
	}
	return ia
}

func TestReply6(t *testing.T) {
	client := dhcpv6.OptClientID(duidOf(t, "02:00:00:00:00:01")) // not the port's address
	server := dhcpv6.OptServerID(testNetwork(t).duid())
	other := dhcpv6.OptServerID(duidOf(t, "02:00:00:00:00:02"))
	oro := dhcpv6.OptRequestedOption(dhcpv6.OptionDNSRecursiveNameServer, dhcpv6.OptionDomainSearchList, dhcpv6.OptionBootfileURL)
	rapid := &dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionRapidCommit}
	ipxe := &dhcpv6.OptUserClass{UserClasses: [][]byte{[]byte("iPXE")}}
	fqdn := &dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionFQDN, OptionData: []byte{0, 1, 'x', 0}}
	ta := &dhcpv6.OptIATA{IaId: [4]byte{9}}
	pd := &dhcpv6.OptIAPD{IaId: [4]byte{8}}
	for name, c := range map[string]struct {
		mac string
		req *dhcpv6.Message
	}{
		"solicit":        {hostMAC, message(t, dhcpv6.MessageTypeSolicit, client, iana6(1), oro, fqdn)},
		"solicit_rapid":  {hostMAC, message(t, dhcpv6.MessageTypeSolicit, client, iana6(1), rapid)},
		"solicit_more":   {hostMAC, message(t, dhcpv6.MessageTypeSolicit, client, iana6(1), iana6(2), ta, pd)},
		"solicit_slaac":  {pxeMAC, message(t, dhcpv6.MessageTypeSolicit, client, iana6(1), oro)},
		"request":        {hostMAC, message(t, dhcpv6.MessageTypeRequest, client, server, iana6(1, "2001:db8:1::5"), oro)},
		"renew_wrong":    {hostMAC, message(t, dhcpv6.MessageTypeRenew, client, server, iana6(1, "2001:db8:1::66"))},
		"rebind":         {hostMAC, message(t, dhcpv6.MessageTypeRebind, client, iana6(1, "2001:db8:1::5"))},
		"confirm":        {hostMAC, message(t, dhcpv6.MessageTypeConfirm, client, iana6(1, "2001:db8:1::5"))},
		"confirm_moved":  {hostMAC, message(t, dhcpv6.MessageTypeConfirm, client, iana6(1, "2001:db8:77::5"))},
		"release":        {hostMAC, message(t, dhcpv6.MessageTypeRelease, client, server, iana6(1, "2001:db8:1::5"))},
		"decline":        {hostMAC, message(t, dhcpv6.MessageTypeDecline, client, server, iana6(1, "2001:db8:1::5"))},
		"inform":         {pxeMAC, message(t, dhcpv6.MessageTypeInformationRequest, client, oro)},
		"inform_ipxe":    {pxeMAC, message(t, dhcpv6.MessageTypeInformationRequest, client, oro, ipxe)},
		"inform_unknown": {"", message(t, dhcpv6.MessageTypeInformationRequest)},
	} {
		t.Run(name, func(t *testing.T) {
			reply := testNetwork(t).Reply6(c.req, from(t, c.mac))
			if reply == nil {
				t.Fatal("no reply")
			}
			if _, err := dhcpv6.MessageFromBytes(reply.ToBytes()); err != nil {
				t.Fatal(err)
			}
			back, _ := dhcpv6.MessageFromBytes(reply.ToBytes())
			golden(t, strings.TrimSpace(back.Summary())+"\n")
		})
	}
	for name, c := range map[string]struct {
		mac string
		req *dhcpv6.Message
	}{
		"unknown":          {"", message(t, dhcpv6.MessageTypeSolicit, client, iana6(1))},
		"no_client_id":     {hostMAC, message(t, dhcpv6.MessageTypeSolicit, iana6(1))},
		"other_server":     {hostMAC, message(t, dhcpv6.MessageTypeRequest, client, other, iana6(1))},
		"no_server_id":     {hostMAC, message(t, dhcpv6.MessageTypeRenew, client, iana6(1))},
		"server_in_rebind": {hostMAC, message(t, dhcpv6.MessageTypeRebind, client, server, iana6(1))},
		"confirm_nothing":  {hostMAC, message(t, dhcpv6.MessageTypeConfirm, client, iana6(1))},
		"inform_with_ia":   {hostMAC, message(t, dhcpv6.MessageTypeInformationRequest, client, iana6(1))},
		"a_reply":          {hostMAC, message(t, dhcpv6.MessageTypeReply, client, server)},
		"inform_for_other": {hostMAC, message(t, dhcpv6.MessageTypeInformationRequest, client, other)},
	} {
		t.Run("silent_"+name, func(t *testing.T) {
			if reply := testNetwork(t).Reply6(c.req, from(t, c.mac)); reply != nil {
				t.Errorf("answered:\n%s", reply.Summary())
			}
		})
	}
}

func from(t testing.TB, mac string) Client6 {
	if mac == "" {
		return Client6{}
	}
	return Client6{MAC: mustMAC(t, mac)}
}

func FuzzReply6(f *testing.F) {
	n := testNetwork(f)
	client := dhcpv6.OptClientID(duidOf(f, hostMAC))
	server := dhcpv6.OptServerID(n.duid())
	f.Add(message(f, dhcpv6.MessageTypeSolicit, client, iana6(1)).ToBytes())
	f.Add(message(f, dhcpv6.MessageTypeRenew, client, server, iana6(1, "2001:db8:1::5")).ToBytes())
	relay, err := dhcpv6.EncapsulateRelay(message(f, dhcpv6.MessageTypeConfirm, client, iana6(1, "::1")),
		dhcpv6.MessageTypeRelayForward, net.ParseIP("2001:db8:1::1"), net.ParseIP("fe80::1"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(relay.ToBytes())
	who := from(f, hostMAC)
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := dhcpv6.FromBytes(b)
		if err != nil {
			return
		}
		if r, ok := p.(*dhcpv6.RelayMessage); ok {
			r = innermost(r)
			who.Link, _ = netip.AddrFromSlice(r.LinkAddr.To16())
		}
		req, err := p.GetInnerMessage()
		if err != nil {
			return
		}
		reply := n.Reply6(req, who)
		if reply == nil {
			return
		}
		if r, ok := p.(*dhcpv6.RelayMessage); ok {
			if _, err := dhcpv6.NewRelayReplFromRelayForw(r, reply); err != nil {
				return
			}
		}
		if _, err := dhcpv6.MessageFromBytes(reply.ToBytes()); err != nil {
			t.Errorf("our own reply cannot be read: %v", err)
		}
	})
}
