package l3

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"neutrino/internal/linux/netns"
	"neutrino/internal/rpc"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/ndp"
)

// received is what a host makes of an advertisement.
type received struct {
	Managed, Other bool
	Lifetime       time.Duration
	Preference     ndp.Preference
	MTU            uint32
	Prefixes       []string // with L and A flags
	Servers        []string
	Routes         []string
}

// hearAdvertisements listens before there is a router: its kernel asks for one until it hears one.
func (m machine) hearAdvertisements() net.PacketConn {
	m.t.Helper()
	var c net.PacketConn
	must(m.t, netns.Do(m.name, func() (err error) {
		c, err = net.ListenPacket("ip6:ipv6-icmp", "::")
		return err
	}))
	m.t.Cleanup(func() { c.Close() })
	return c
}

// advertisement is the first one that the machine hears.
func (m machine) advertisement(c net.PacketConn) received {
	m.t.Helper()
	c.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, 1500)
	for {
		n, _, err := c.ReadFrom(b)
		must(m.t, err)
		parsed, err := ndp.ParseMessage(b[:n])
		ra, ok := parsed.(*ndp.RouterAdvertisement)
		if err != nil || !ok {
			continue
		}
		out := received{Managed: ra.ManagedConfiguration, Other: ra.OtherConfiguration, Lifetime: ra.RouterLifetime, Preference: ra.RouterSelectionPreference}
		for _, o := range ra.Options {
			switch o := o.(type) {
			case *ndp.MTU:
				out.MTU = o.MTU
			case *ndp.PrefixInformation:
				out.Prefixes = append(out.Prefixes, fmt.Sprintf("%s/%d L=%v A=%v", o.Prefix, o.PrefixLength, o.OnLink, o.AutonomousAddressConfiguration))
			case *ndp.RecursiveDNSServer:
				for _, s := range o.Servers {
					out.Servers = append(out.Servers, s.String())
				}
			case *ndp.RouteInformation:
				out.Routes = append(out.Routes, netip.PrefixFrom(o.Prefix, int(o.PrefixLength)).String())
			}
		}
		return out
	}
}

// What hosts are told about subnets of each mode, as upstream's radvd says it.
func TestAdvertisements(t *testing.T) {
	needHost(t)
	t.Cleanup(func() { removeRouters(t) })
	const lifetime = 300 * time.Second
	metadata := []string{"fe80::a9fe:a9fe/128"}
	cases := []struct {
		mode string
		want received
	}{
		{"slaac", received{Prefixes: []string{"fd00:a::/64 L=true A=true"}, Servers: []string{"fd00::53"}}},
		{"dhcpv6-stateless", received{Other: true, Prefixes: []string{"fd00:b::/64 L=true A=true"}}},
		{"dhcpv6-stateful", received{Managed: true, Prefixes: []string{"fd00:c::/64 L=true A=false"}}},
		{"", received{}},
	}
	r := rpc.Router{ID: routerID, AdminStateUp: true}
	var machines []machine
	var heard []net.PacketConn
	for n, c := range cases {
		id := fmt.Sprintf("%d%[1]d%[1]d%[1]d%[1]d%[1]d%[1]d%[1]d-%[1]d%[1]d%[1]d%[1]d", n+1)
		p := port(id, fmt.Sprintf("fa:16:3e:00:01:%02d", n), fmt.Sprintf("s=fd00:%x::1/64", 10+n))
		p.Subnets[0].DNSNameservers = []string{"fd00::53"}
		if c.mode != "" {
			p.Subnets[0].IPv6RAMode = &c.mode
		}
		r.Interfaces = append(r.Interfaces, p)
		name := fmt.Sprintf("br-%d", n)
		bridge(t, name, "tap"+id[:11])
		machines = append(machines, newMachine(t, fmt.Sprintf("m%d", n), name, "", ""))
		heard = append(heard, machines[n].hearAdvertisements())
	}
	run(t, newServer(r), nil).settled()
	for n, c := range cases {
		c.want.Lifetime, c.want.MTU, c.want.Routes, c.want.Preference = lifetime, 1450, metadata, ndp.Medium
		if diff := cmp.Diff(c.want, machines[n].advertisement(heard[n])); diff != "" {
			t.Errorf("mode %q (-want +got):\n%s", c.mode, diff)
		}
	}
}
